package tests

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/oauth2-passport/caddy-passport/store/pgstore/pgtest"
	"github.com/oauth2-passport/caddy-passport/tests/internal/gateway"
)

// TestReloadWithAnotherURLOfTheDatabase: another password or parameter is refused by an error that says what to do, and
// not what the password is. Another user is taken at once, and knows what is revoked; then the first one is out of use,
// and may have another password.
func TestReloadWithAnotherURLOfTheDatabase(t *testing.T) {
	const password = "the-password-of-the-database"
	server := pgtest.Start(t)
	database := server.Database()
	if err := statement(t, database, "CREATE ROLE second LOGIN IN ROLE passport"); err != nil {
		t.Fatal(err)
	}
	at := func(url string) string { return strings.Replace(node, "{env.DATABASE_URL}", `"`+url+`"`, 1) }
	upstream := gateway.NewUpstream(t)
	g := gateway.Start(t, at(database), "UPSTREAM="+upstream.Addr, "DEMO_SECRET="+demoSecret)
	good, revoked := g.Token("demo", demoSecret, "read"), g.Token("demo", demoSecret, "read")
	if resp := g.Form("/oauth/revoke", "demo", demoSecret, url.Values{"token": {revoked}}); resp.Status != http.StatusOK {
		t.Fatalf("revoke: %d %s", resp.Status, resp.Body)
	}
	well := func(when string) {
		t.Helper()
		if resp := g.Get("/orders", good); resp.Status != http.StatusOK {
			t.Errorf("%s: a good token: %d", when, resp.Status)
		}
		if resp := g.Get("/orders", revoked); resp.Status != http.StatusUnauthorized {
			t.Errorf("%s: a revoked token: %d", when, resp.Status)
		}
		g.Token("demo", demoSecret, "read")
	}
	withPassword := strings.Replace(database, "passport@", "passport:"+password+"@", 1)
	for what, url := range map[string]string{"a password": withPassword, "a parameter": database + "&pool_max_conns=3"} {
		err := g.Reload(at(url))
		if err == nil || !strings.Contains(err.Error(), "pool_max_conns differs: restart Caddy") {
			t.Errorf("%s: %v", what, err)
		}
		if err != nil && strings.Contains(err.Error(), password) {
			t.Errorf("%s: the error has the password: %v", what, err)
		}
		well(what)
	}
	if err := g.Reload(at(strings.Replace(database, "passport@", "second@", 1))); err != nil {
		t.Fatalf("another user: %v", err)
	}
	well("another user")
	g.Eventually("the first user is out of use, and can be taken with a password", func() bool {
		return g.Reload(at(withPassword)) == nil
	})
	well("the first user with a password")
}
