package tests

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oauth2-passport/caddy-passport/store/pgstore/pgtest"
	"github.com/oauth2-passport/caddy-passport/tests/internal/gateway"
)

// traffic is what clients do while something happens to the nodes.
type traffic struct {
	done   chan struct{}
	wg     sync.WaitGroup
	faults chan error
	calls  atomic.Int64
}

// startTraffic runs each work over and over until stop. A work ends with its first fault.
func startTraffic(works ...func() error) *traffic {
	tr := &traffic{done: make(chan struct{}), faults: make(chan error, len(works))}
	for _, work := range works {
		tr.wg.Go(func() {
			for {
				select {
				case <-tr.done:
					return
				default:
				}
				if err := work(); err != nil {
					tr.faults <- err
					return
				}
				tr.calls.Add(1)
			}
		})
	}
	return tr
}

func (tr *traffic) stop(t *testing.T) {
	t.Helper()
	close(tr.done)
	tr.wg.Wait()
	close(tr.faults)
	for err := range tr.faults {
		t.Error(err)
	}
	t.Logf("%d calls", tr.calls.Load())
}

// issueOn asks a node for a token of the client demo.
func issueOn(g *gateway.Gateway) (gateway.Response, error) {
	form := url.Values{"grant_type": {"client_credentials"}, "scope": {"read"}}
	return g.Try(formOfDemo(g, "/oauth/token", form))
}

// issuing is the work of asking any of the nodes for a token, and of calling any with it. That the database is out of
// reach is no fault, if that is what the answer says.
func issuing(nodes []*gateway.Gateway, issued, unavailable *atomic.Int64) func() error {
	return func() error {
		resp, err := issueOn(nodes[rand.IntN(len(nodes))])
		switch {
		case err != nil:
			return err
		case resp.Status == http.StatusServiceUnavailable && resp.Header.Get("Retry-After") != "":
			unavailable.Add(1)
			return nil
		case resp.Status != http.StatusOK:
			return fmt.Errorf("a token: %d %s", resp.Status, resp.Body)
		}
		issued.Add(1)
		return callOn(nodes[rand.IntN(len(nodes))], resp.String("access_token"))
	}
}

// callOn calls the API of a node with a token.
func callOn(g *gateway.Gateway, token string) error {
	req, err := http.NewRequest(http.MethodGet, g.URL+"/orders", nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := g.Try(req)
	if err == nil && resp.Status != http.StatusOK {
		err = fmt.Errorf("a call: %d %s", resp.Status, resp.Body)
	}
	return err
}

// keysOf lists the keys as the command does, by their states.
func keysOf(t *testing.T, g *gateway.Gateway) map[string][]string {
	t.Helper()
	out, errs, code := g.Caddy("passport", "keys", "list", "--json", "--address", g.Admin)
	var list struct {
		Keys []struct{ KID, State string }
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil || code != 0 {
		t.Fatalf("keys list: %v %s%s", err, out, errs)
	}
	states := make(map[string][]string)
	for _, k := range list.Keys {
		states[k.State] = append(states[k.State], k.KID)
	}
	return states
}

// TestKeyRotationUnderTraffic rotates the keys on one of two nodes, again and again, while tokens of each are used on
// both: none is lost. The key that is to sign is known to every node before it does.
func TestKeyRotationUnderTraffic(t *testing.T) {
	database := pgtest.Start(t).Database()
	a, b := startNode(t, database), startNode(t, database)
	nodes := []*gateway.Gateway{a, b}
	early := a.Token("demo", demoSecret, "read")
	work := func() error {
		resp, err := issueOn(nodes[rand.IntN(2)])
		if err != nil || resp.Status != http.StatusOK {
			return fmt.Errorf("a token: %d %s %w", resp.Status, resp.Body, err)
		}
		for _, g := range nodes {
			if err := callOn(g, resp.String("access_token")); err != nil {
				return err
			}
		}
		return callOn(nodes[rand.IntN(2)], early)
	}
	tr := startTraffic(work, work, work)
	for range 4 {
		next := keysOf(t, a)["next"][0]
		b.Eventually("the other node has the next key", func() bool {
			return strings.Contains(b.Get("/oauth/jwks", "").Body, next)
		})
		if out, errs, code := a.Caddy("passport", "keys", "rotate", "--force", "--address", a.Admin); code != 0 {
			t.Fatalf("rotate: %s%s", out, errs)
		}
		if now := keysOf(t, b)["current"][0]; now != next {
			t.Errorf("the key %s signs, the next was %s", now, next)
		}
	}
	tr.stop(t)
	if n := len(keysOf(t, b)["retired"]); n != 4 {
		t.Errorf("%d retired keys", n)
	}
}

// TestLeakedKeyIsRetiredEverywhere: tokens of a key that has leaked are refused, on the node where it is retired from
// the next request on and on the other soon; new tokens are good on both at once.
func TestLeakedKeyIsRetiredEverywhere(t *testing.T) {
	database := pgtest.Start(t).Database()
	a, b := startNode(t, database), startNode(t, database)
	token := a.Token("demo", demoSecret, "read")
	for _, g := range []*gateway.Gateway{a, b} {
		if err := callOn(g, token); err != nil {
			t.Fatal(err)
		}
	}
	leaked := keysOf(t, a)["current"][0]
	if out, errs, code := a.Caddy("passport", "keys", "retire", leaked, "--address", a.Admin); code != 0 {
		t.Fatalf("retire: %s%s", out, errs)
	}
	if got := a.Get("/orders", token).Status; got != http.StatusUnauthorized {
		t.Errorf("on the node itself: %d", got)
	}
	fresh := a.Token("demo", demoSecret, "read")
	for _, g := range []*gateway.Gateway{a, b} {
		if err := callOn(g, fresh); err != nil {
			t.Errorf("a new token: %v", err)
		}
	}
	b.Eventually("the other node refuses it", func() bool {
		return b.Get("/orders", token).Status == http.StatusUnauthorized
	})
	b.Eventually("the other node does not publish it", func() bool {
		return !strings.Contains(b.Get("/oauth/jwks", "").Body, leaked)
	})
	if err := callOn(a, b.Token("demo", demoSecret, "read")); err != nil {
		t.Errorf("a new token of the other node: %v", err)
	}
}

// TestNoNodeSignsWithALeakedKey: once a node has answered that the key is retired, no other gives a token by it, though
// it has not heard of it: a client would keep a token for an hour that is good nowhere.
func TestNoNodeSignsWithALeakedKey(t *testing.T) {
	database := pgtest.Start(t).Database()
	a, b := startNode(t, database), startNode(t, database)
	for range 3 {
		leaked := keysOf(t, a)["current"][0]
		var retired atomic.Int64 // when it was answered, in nanoseconds
		var after atomic.Int64
		issue := func() error {
			began := time.Now().UnixNano()
			resp, err := issueOn(b)
			if err == nil && resp.Status != http.StatusOK {
				err = fmt.Errorf("a token: %d %s", resp.Status, resp.Body)
			}
			if at := retired.Load(); err != nil || at == 0 || began < at {
				return err
			}
			after.Add(1)
			return callOn(a, resp.String("access_token")) // which refuses it if that key has signed it
		}
		tr := startTraffic(issue, issue, issue, issue)
		request, err := http.NewRequest(http.MethodDelete, "http://"+a.Admin+"/passport/default/keys/"+leaked, nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp := a.Do(request); resp.Status/100 != 2 {
			t.Fatalf("retire: %d %s", resp.Status, resp.Body)
		}
		retired.Store(time.Now().UnixNano())
		b.Eventually("tokens are given", func() bool { return after.Load() > 100 })
		tr.stop(t)
	}
}

// TestDatabaseIsKilledUnderTraffic kills the server of two nodes, twice, while tokens are issued and used: those that
// are out stay good on both, nobody is told anything but 503 with Retry-After where a token can't be issued, and all
// is well again by itself.
func TestDatabaseIsKilledUnderTraffic(t *testing.T) {
	server := pgtest.Start(t)
	database := server.Database()
	a, b := startNode(t, database), startNode(t, database)
	nodes := []*gateway.Gateway{a, b}
	token := a.Token("demo", demoSecret, "read")
	id, secret := createClient(t, a, "--scopes", "read", "--address", a.Admin)
	stored := a.Token(id, secret, "read")
	for _, g := range nodes {
		if err := errors.Join(callOn(g, token), callOn(g, stored)); err != nil {
			t.Fatal(err)
		}
	}
	var issued, unavailable atomic.Int64
	issue := issuing(nodes, &issued, &unavailable)
	use := func() error {
		g := nodes[rand.IntN(2)]
		return errors.Join(callOn(g, token), callOn(g, stored))
	}
	tr := startTraffic(issue, issue, use, use)
	for range 2 {
		server.Kill()
		before := unavailable.Load()
		a.Eventually("issuing is refused", func() bool { return unavailable.Load() > before+3 })
		if resp := adminGet(t, a, "/passport/health"); resp.Status != http.StatusServiceUnavailable {
			t.Errorf("health: %d %s", resp.Status, resp.Body)
		}
		server.Run()
		for _, g := range nodes {
			g.Eventually("tokens are issued again", func() bool {
				resp, err := issueOn(g)
				return err == nil && resp.Status == http.StatusOK
			})
		}
	}
	tr.stop(t)
	for _, g := range nodes {
		g.Eventually("the node is healthy", func() bool {
			return adminGet(t, g, "/passport/health").Status == http.StatusOK
		})
	}
	revoke := a.Form("/oauth/revoke", "demo", demoSecret, url.Values{"token": {token}})
	if revoke.Status != http.StatusOK {
		t.Errorf("revoke: %d %s", revoke.Status, revoke.Body)
	}
	b.Eventually("the feed of revocations works again", func() bool {
		return b.Get("/orders", token).Status == http.StatusUnauthorized
	})
}

// TestRevocationLag: a node that has not heard of revocations for too long refuses or goes on, as its config says, and
// tells of it once.
func TestRevocationLag(t *testing.T) {
	server := pgtest.Start(t)
	database := server.Database()
	nodeWith := func(then string) *gateway.Gateway {
		t.Helper()
		caddyfile := strings.Replace(node, "storage postgres", "revocation_lag 2s "+then+"\n\t\tstorage postgres", 1)
		upstream := gateway.NewUpstream(t)
		return gateway.Start(t, caddyfile, "UPSTREAM="+upstream.Addr, "DEMO_SECRET="+demoSecret, "DATABASE_URL="+database)
	}
	refusing, allowing := nodeWith("refuse"), nodeWith("allow")
	token := refusing.Token("demo", demoSecret, "read")
	for _, g := range []*gateway.Gateway{refusing, allowing} {
		if err := callOn(g, token); err != nil {
			t.Fatal(err)
		}
	}
	server.Kill()
	refusing.Eventually("it refuses", func() bool {
		return refusing.Get("/orders", token).Status == http.StatusServiceUnavailable
	})
	if resp := refusing.Get("/orders", token); resp.Header.Get("Retry-After") == "" {
		t.Errorf("no Retry-After: %v", resp.Header)
	}
	for _, g := range []*gateway.Gateway{refusing, allowing} {
		g.Eventually("it tells of it", func() bool { return strings.Contains(g.Log(), "revoke is out of sight") })
		if got := metric(t, g, `caddy_passport_revocations_out_of_sight{issuer="default"}`); got != 1 {
			t.Errorf("the metric says %v", got)
		}
		if resp := adminGet(t, g, "/passport/health"); resp.Status != http.StatusServiceUnavailable {
			t.Errorf("health: %d %s", resp.Status, resp.Body)
		}
	}
	for range 20 {
		refusing.Get("/orders", token)
		if err := callOn(allowing, token); err != nil {
			t.Fatal(err)
		}
	}
	server.Run()
	for _, g := range []*gateway.Gateway{refusing, allowing} {
		g.Eventually("it lets the token through again", func() bool { return callOn(g, token) == nil })
		g.Eventually("it tells of it", func() bool { return strings.Contains(g.Log(), "in sight again") })
		if n := strings.Count(g.Log(), "revoke is out of sight: tokens"); n != 1 {
			t.Errorf("it told of it %d times", n)
		}
		if n := strings.Count(g.Log(), "request refused"); n > 0 {
			t.Errorf("%d lines for requests that were refused", n)
		}
	}
}

// TestStoredKeysAreEncrypted starts a node with the secret, without it and with another one: it does not start then,
// and the others go on.
func TestStoredKeysAreEncrypted(t *testing.T) {
	database := pgtest.Start(t).Database()
	caddyfile := strings.Replace(node, "storage postgres",
		"keys {\n\t\t\tencryption_key {env.KEYS_SECRET}\n\t\t}\n\t\tstorage postgres", 1)
	upstream := gateway.NewUpstream(t)
	env := []string{"UPSTREAM=" + upstream.Addr, "DEMO_SECRET=" + demoSecret, "DATABASE_URL=" + database}
	const secret, another = "000102030405060708090a0b0c0d0e0f", "ff0102030405060708090a0b0c0d0e0f"
	g := gateway.Start(t, caddyfile, append(env, "KEYS_SECRET="+secret)...)
	g.Secret(secret)
	token := g.Token("demo", demoSecret, "read")
	for _, test := range []struct{ name, caddyfile, secret, want string }{
		{"without the secret", node, secret, "it is encrypted, and no encryption_key"},
		{"with another one", caddyfile, another, "another encryption_key"},
	} {
		t.Run(test.name, func(t *testing.T) {
			other := gateway.New(t, test.caddyfile, append(env, "KEYS_SECRET="+test.secret)...)
			other.Secret(test.secret)
			if err := other.Run(); err == nil || !strings.Contains(err.Error(), "exit status 1") {
				t.Errorf("caddy run: %v", err)
			}
			if !strings.Contains(other.Log(), test.want) {
				t.Errorf("the log does not say why")
			}
		})
	}
	if err := g.Reload(node); err == nil || !strings.Contains(err.Error(), "encryption_key") {
		t.Errorf("a reload without the secret: %v", err)
	}
	g.Restart()
	if err := callOn(g, token); err != nil {
		t.Error(err)
	}
}
