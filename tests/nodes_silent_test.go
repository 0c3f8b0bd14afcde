package tests

import (
	"errors"
	"net/http"
	"net/url"
	"sync/atomic"
	"testing"

	"github.com/oauth2-passport/caddy-passport/store/pgstore/pgtest"
	"github.com/oauth2-passport/caddy-passport/tests/internal/gateway"
)

// TestSilentNetwork has the database answer nothing, and no connection end, as when a cable is cut: tokens that are out
// stay good, who asks for another is told to come again, and all is well by itself once the network is back.
func TestSilentNetwork(t *testing.T) {
	database := pgtest.Start(t).Database()
	w := pgtest.NewWire(t, database)
	a, b := startNode(t, w.Through(database)), startNode(t, database)
	token := a.Token("demo", demoSecret, "read")
	if err := errors.Join(callOn(a, token), callOn(b, token)); err != nil {
		t.Fatal(err)
	}
	w.Silent(true)
	var issued, unavailable atomic.Int64
	use := func() error { return callOn(a, token) }
	ask := issuing([]*gateway.Gateway{a}, &issued, &unavailable)
	tr := startTraffic(use, ask, ask)
	if resp, err := issueOn(a); err != nil || resp.Status != http.StatusServiceUnavailable {
		t.Errorf("a token: %d %s %v", resp.Status, resp.Body, err)
	}
	if issued.Load() > 0 {
		t.Error("tokens are issued without the database")
	}
	w.Silent(false)
	a.Eventually("tokens are issued again", func() bool { return issued.Load() > 10 })
	tr.stop(t)
	form := url.Values{"token": {token}}
	if resp := b.Form("/oauth/revoke", "demo", demoSecret, form); resp.Status != http.StatusOK {
		t.Fatalf("revoke: %d %s", resp.Status, resp.Body)
	}
	for _, g := range []*gateway.Gateway{a, b} {
		g.Eventually("the token is refused", func() bool { return g.Get("/orders", token).Status == http.StatusUnauthorized })
		g.Eventually("the node is healthy", func() bool {
			return adminGet(t, g, "/passport/health").Status == http.StatusOK
		})
	}
}
