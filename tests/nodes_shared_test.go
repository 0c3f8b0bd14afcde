package tests

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/oauth2-passport/caddy-passport/store"
	"github.com/oauth2-passport/caddy-passport/store/pgstore"
	"github.com/oauth2-passport/caddy-passport/store/pgstore/pgtest"
	"github.com/oauth2-passport/caddy-passport/tests/internal/gateway"
)

// startNodeWith starts a node with more options of the issuer.
func startNodeWith(t *testing.T, database, options string, env ...string) *gateway.Gateway {
	t.Helper()
	upstream := gateway.NewUpstream(t)
	caddyfile := strings.Replace(node, "storage postgres", options+"\n\t\tstorage postgres", 1)
	env = append(env, "UPSTREAM="+upstream.Addr, "DEMO_SECRET="+demoSecret, "DATABASE_URL="+database)
	return gateway.Start(t, caddyfile, env...)
}

// TestGuessesOnAnotherNode: who goes to another node after wrong passwords has no more guesses there. Told to wait by
// one, a guesser is told so by the other, which has not seen a single one itself.
func TestGuessesOnAnotherNode(t *testing.T) {
	hash, err := bcrypt.GenerateFromPassword([]byte(personPassword), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	database := pgtest.Start(t).Database()
	options := `grants password client_credentials
		user ann {
			password_hash {env.ANN_HASH}
			scopes read
		}
		client app {
			secret ` + appSecret + `
			grants password
			scopes read
		}`
	var nodes [2]*gateway.Gateway
	for i := range nodes {
		nodes[i] = startNodeWith(t, database, options, "ANN_HASH="+string(hash))
	}
	signIn := func(g *gateway.Gateway, password string) gateway.Response {
		t.Helper()
		return g.Form("/oauth/token", "app", appSecret, url.Values{
			"grant_type": {"password"}, "username": {"ann"}, "password": {password}, "scope": {"read"},
		})
	}
	waits := func(g *gateway.Gateway) bool {
		t.Helper()
		resp := signIn(g, guessedWrong)
		switch {
		case resp.Status == http.StatusTooManyRequests && resp.Header.Get("Retry-After") != "":
			return true
		case resp.Status != http.StatusBadRequest:
			t.Fatalf("a wrong password: %d %s", resp.Status, resp.Body)
		}
		return false
	}
	// Each wait is twice as long as the one before, so that the other node is asked in time, be it ever so slow. It is
	// asked fewer times than it would take guesses for nothing, did it count by itself.
	asked := 0
	nodes[0].Eventually("the other node tells the guesser to wait", func() bool {
		if !waits(nodes[0]) {
			return false
		}
		if asked++; asked > 5 {
			t.Fatal("the other node goes on taking guesses")
		}
		return waits(nodes[1])
	})
	nodes[1].Eventually("ann signs in on the other node when the wait is over", func() bool {
		return signIn(nodes[1], personPassword).Status == http.StatusOK
	})
	if resp := signIn(nodes[0], personPassword); resp.Status != http.StatusOK {
		t.Errorf("then on the first: %d %s", resp.Status, resp.Body)
	}
}

// TestScheduledRotationUnderTraffic lets the time of the keys come, again and again, while tokens are issued and used on
// two nodes: one of them rotates for both, and no request fails. The days that it takes in life are taken off the
// records of the keys.
func TestScheduledRotationUnderTraffic(t *testing.T) {
	database := pgtest.Start(t).Database()
	var nodes [2]*gateway.Gateway
	for i := range nodes {
		nodes[i] = startNodeWith(t, database, "keys ES256 {\n\t\t\trotate 90d\n\t\t}")
	}
	early := nodes[0].Token("demo", demoSecret, "read")
	var last atomic.Pointer[string]
	last.Store(&early)
	work := func() error {
		resp, err := issueOn(nodes[rand.IntN(2)])
		if err != nil || resp.Status != http.StatusOK {
			return fmt.Errorf("a token: %d %s %w", resp.Status, resp.Body, err)
		}
		token := resp.String("access_token")
		for _, old := range []string{token, *last.Swap(&token), early} {
			for _, g := range nodes {
				if err := callOn(g, old); err != nil {
					return err
				}
			}
		}
		return nil
	}
	tr := startTraffic(work, work, work)
	for range 3 {
		next := keysOf(t, nodes[0])["next"][0]
		for _, g := range nodes {
			g.Eventually("the node publishes the key that comes next", func() bool {
				return strings.Contains(g.Get("/oauth/jwks", "").Body, next)
			})
		}
		passTime(t, database, 100*24*time.Hour)
		nodes[0].Eventually("the next key signs", func() bool {
			return slices.Contains(keysOf(t, nodes[0])["current"], next)
		})
	}
	tr.stop(t)
	rotations := 0
	for _, g := range nodes {
		rotations += strings.Count(g.Log(), `"msg":"keys rotated"`)
	}
	if rotations != 3 {
		t.Errorf("the nodes have rotated %d times, want 3", rotations)
	}
	if n := len(keysOf(t, nodes[1])["retired"]); n != 3 {
		t.Errorf("%d retired keys", n)
	}
}

// passTime makes the keys of a database that old that sign, or are to sign next.
func passTime(t *testing.T, database string, age time.Duration) {
	t.Helper()
	engine, err := pgstore.Open(t.Context(), pgstore.Options{URL: database})
	if err != nil {
		t.Fatal(err)
	}
	defer engine.Close()
	db, err := store.Open(t.Context(), engine, "default", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.Update(t.Context(), func(r *store.Records) error {
		keys, err := r.Keys()
		for _, k := range keys {
			switch k.State {
			case store.KeyCurrent:
				k.ActivatedAt = k.ActivatedAt.Add(-age)
			case store.KeyNext:
				k.CreatedAt = k.CreatedAt.Add(-age)
			default:
				continue
			}
			if err := r.PutKey(&k); err != nil {
				return err
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
