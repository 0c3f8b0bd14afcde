package tests

import (
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"github.com/oauth2-passport/caddy-passport/store/pgstore/pgtest"
	"github.com/oauth2-passport/caddy-passport/tests/internal/gateway"
)

// threeNodes starts three gateways on a database, with a person and an app of first party.
func threeNodes(t *testing.T, database string) [3]*gateway.Gateway {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(adasPassword), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	options := `user ada {
			password_hash {env.ADA_HASH}
		}
		client app {
			secret {env.APP_SECRET}
			grants authorization_code refresh_token
			redirect_uris ` + appRedirect + `
			scopes read
			first_party
		}`
	var nodes [3]*gateway.Gateway
	for i := range nodes {
		nodes[i] = startNodeWith(t, database, options, "ADA_HASH="+string(hash), "APP_SECRET="+secretOfApp)
	}
	return nodes
}

// atOnce sends the same form to the token endpoint of all nodes at the same moment.
func atOnce(nodes [3]*gateway.Gateway, form url.Values) (answers [3]gateway.Response) {
	var group sync.WaitGroup
	begin := make(chan struct{})
	for i, g := range nodes {
		group.Go(func() {
			<-begin
			answers[i] = g.Form("/oauth/token", "app", secretOfApp, form)
		})
	}
	close(begin)
	group.Wait()
	return answers
}

// TestThreeNodesRaceForACode: one of them redeems it, and what it gave is taken back, for somebody has had the code
// twice (RFC 6749 section 4.1.2).
func TestThreeNodesRaceForACode(t *testing.T) {
	nodes := threeNodes(t, pgtest.Start(t).Database())
	browser := nodes[0].Browser()
	browser.SignIn(browser.Open("/oauth/login"), "ada", adasPassword)
	for range 20 {
		code := codeOf(t, browser)
		won := 0
		for _, resp := range atOnce(nodes, redemption(code)) {
			switch {
			case resp.Status == http.StatusOK:
				won++
				token := resp.String("access_token")
				for _, g := range nodes {
					g.Eventually("the token is taken back", func() bool {
						return g.Get("/orders", token).Status == http.StatusUnauthorized
					})
				}
			case resp.Status != http.StatusBadRequest || resp.String("error") != "invalid_grant":
				t.Fatalf("%d %s", resp.Status, resp.Body)
			}
		}
		if won != 1 {
			t.Fatalf("the code was redeemed %d times", won)
		}
	}
}

func codeOf(t *testing.T, browser *gateway.Browser) string {
	t.Helper()
	left := browser.Open(authorization()).Left
	if left == nil || left.Query().Get("code") == "" {
		t.Fatalf("no code, but %v", left)
	}
	return left.Query().Get("code")
}

func redemption(code string) url.Values {
	return url.Values{
		"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {appRedirect},
		"code_verifier": {strings.Repeat("v", 43)},
	}
}

// TestThreeNodesRaceForARefreshToken: within the grace window all get the same successor, whichever they ask, and there
// is one family of tokens. Used after its successor the old one has been stolen: the family ends on all nodes.
func TestThreeNodesRaceForARefreshToken(t *testing.T) {
	nodes := threeNodes(t, pgtest.Start(t).Database())
	browser := nodes[0].Browser()
	browser.SignIn(browser.Open("/oauth/login"), "ada", adasPassword)
	first := nodes[1].Form("/oauth/token", "app", secretOfApp, redemption(codeOf(t, browser)))
	refresh := first.String("refresh_token")
	refreshing := func(token string) url.Values {
		return url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}
	}
	old := refresh
	var access []string
	for range 20 {
		old = refresh
		for i, resp := range atOnce(nodes, refreshing(old)) {
			next := resp.String("refresh_token")
			if resp.Status != http.StatusOK || next == old || i > 0 && next != refresh {
				t.Fatalf("%d %s, another node gave %s", resp.Status, resp.Body, refresh)
			}
			refresh, access = next, append(access, resp.String("access_token"))
		}
	}
	for i, token := range access[len(access)-3:] {
		for _, g := range nodes {
			if err := callOn(g, token); err != nil {
				t.Errorf("the token of node %d: %v", i, err)
			}
		}
	}
	if resp := nodes[0].Form("/oauth/token", "app", secretOfApp, refreshing(refresh)); resp.Status != http.StatusOK {
		t.Fatalf("the successor: %d %s", resp.Status, resp.Body)
	}
	if resp := nodes[1].Form("/oauth/token", "app", secretOfApp, refreshing(old)); resp.Status != http.StatusBadRequest {
		t.Errorf("a token that was used before the last one: %d %s", resp.Status, resp.Body)
	}
	for _, g := range nodes {
		g.Eventually("the family has ended", func() bool {
			return g.Get("/orders", access[len(access)-1]).Status == http.StatusUnauthorized
		})
	}
	if resp := nodes[2].Form("/oauth/token", "app", secretOfApp, refreshing(refresh)); resp.Status != http.StatusBadRequest {
		t.Errorf("a token of the ended family: %d %s", resp.Status, resp.Body)
	}
}

// TestReplicaIsPromotedUnderTraffic kills the primary of three nodes and promotes its replica: tokens that are out stay
// good all the while, nobody is told anything but 503 with Retry-After where one can't be issued, and all goes on by
// itself, what the nodes hear of each other included.
func TestReplicaIsPromotedUnderTraffic(t *testing.T) {
	primary := pgtest.Start(t)
	address, err := url.Parse(primary.Database())
	if err != nil {
		t.Fatal(err)
	}
	replica := primary.Standby()
	nodes := threeNodes(t, pgtest.URL(strings.TrimPrefix(address.Path, "/"), primary, replica))
	token := nodes[0].Token("demo", demoSecret, "read")
	var issued, unavailable atomic.Int64
	issue := issuing(nodes[:], &issued, &unavailable)
	use := func() error { return callOn(nodes[rand.IntN(len(nodes))], token) }
	tr := startTraffic(issue, issue, use)
	nodes[0].Eventually("tokens are issued", func() bool { return issued.Load() > 20 })
	primary.Kill()
	nodes[0].Eventually("issuing is refused", func() bool { return unavailable.Load() > 3 })
	replica.Promote()
	for _, g := range nodes {
		g.Eventually("tokens are issued again", func() bool {
			resp, err := issueOn(g)
			return err == nil && resp.Status == http.StatusOK
		})
	}
	tr.stop(t)
	revoke := nodes[0].Form("/oauth/revoke", "demo", demoSecret, url.Values{"token": {token}})
	if revoke.Status != http.StatusOK {
		t.Errorf("revoke: %d %s", revoke.Status, revoke.Body)
	}
	for _, g := range nodes {
		g.Eventually("the feed of revocations works again", func() bool {
			return g.Get("/orders", token).Status == http.StatusUnauthorized
		})
		g.Eventually("the node is healthy", func() bool {
			return adminGet(t, g, "/passport/health").Status == http.StatusOK
		})
	}
	if err := callOn(nodes[1], nodes[2].Token("demo", demoSecret, "read")); err != nil {
		t.Errorf("a new token: %v", err)
	}
}
