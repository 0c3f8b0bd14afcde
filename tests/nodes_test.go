package tests

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/oauth2-passport/caddy-passport/store/pgstore/pgtest"
	"github.com/oauth2-passport/caddy-passport/tests/internal/gateway"
)

// node is one of the gateways on a database. They are one issuer, so that they have its identifier in common.
const node = `{
	default_bind 127.0.0.1
	passport {
		issuer http://127.0.0.1:1
		storage postgres {env.DATABASE_URL}
		client demo {
			secret {env.DEMO_SECRET}
			scopes read write
		}
	}
}

http://127.0.0.1:{$PORT} {
	passport_server
	passport_auth scopes read
	reverse_proxy {$UPSTREAM}
}
`

func startNode(t *testing.T, database string) *gateway.Gateway {
	t.Helper()
	upstream := gateway.NewUpstream(t)
	return gateway.Start(t, node, "UPSTREAM="+upstream.Addr, "DEMO_SECRET="+demoSecret, "DATABASE_URL="+database)
}

func TestNodes(t *testing.T) {
	server := pgtest.Start(t)
	database := server.Database()
	a, b := startNode(t, database), startNode(t, database)

	status := func(g *gateway.Gateway, token string) int {
		t.Helper()
		return g.Get("/orders", token).Status
	}
	token := a.Token("demo", demoSecret, "read")
	for _, g := range []*gateway.Gateway{a, b} {
		if got := status(g, token); got != http.StatusOK {
			t.Fatalf("a token of node a: %d", got)
		}
	}

	t.Run("a revocation reaches the other node", func(t *testing.T) {
		if resp := a.Form("/oauth/revoke", "demo", demoSecret, url.Values{"token": {token}}); resp.Status != http.StatusOK {
			t.Fatalf("revoke: %d %s", resp.Status, resp.Body)
		}
		if got := status(a, token); got != http.StatusUnauthorized {
			t.Errorf("on the node itself, at the next request: %d", got)
		}
		b.Eventually("the other node refuses the token", func() bool { return status(b, token) == http.StatusUnauthorized })
	})

	t.Run("keys are the same after a rotation", func(t *testing.T) {
		before := b.Token("demo", demoSecret, "read")
		if out, errs, code := a.Caddy("passport", "keys", "rotate", "--force", "--address", a.Admin); code != 0 {
			t.Fatalf("rotate: %s%s", out, errs)
		}
		after := a.Token("demo", demoSecret, "read")
		b.Eventually("the other node knows the new key", func() bool { return status(b, after) == http.StatusOK })
		if got := status(a, before); got != http.StatusOK {
			t.Errorf("a token of the old key: %d", got)
		}
	})

	t.Run("a client made on one node is known on the other, and ends on both", func(t *testing.T) {
		out, errs, code := a.Caddy("passport", "client", "create", "--name", "two", "--scopes", "read", "--json",
			"--address", a.Admin)
		if code != 0 {
			t.Fatalf("create: %s", errs)
		}
		client := gateway.Response{Body: out}
		token := b.Token(client.String("client_id"), client.String("client_secret"), "read")
		if got := status(a, token); got != http.StatusOK {
			t.Errorf("its token on the first node: %d", got)
		}
		if _, errs, code := b.Caddy("passport", "client", "delete", client.String("client_id"), "--address", b.Admin); code != 0 {
			t.Fatalf("delete: %s", errs)
		}
		a.Eventually("its token is refused on the first node", func() bool { return status(a, token) == http.StatusUnauthorized })
	})

	t.Run("without the database tokens are verified and none is issued, until it is back", func(t *testing.T) {
		token := a.Token("demo", demoSecret, "read")
		server.Kill()
		resp := a.Form("/oauth/token", "demo", demoSecret, url.Values{"grant_type": {"client_credentials"}})
		if resp.Status != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
			t.Errorf("token: %d %v %s", resp.Status, resp.Header, resp.Body)
		}
		if got := status(a, token); got != http.StatusOK {
			t.Errorf("a token that is out: %d", got)
		}
		_, errs, code := a.Caddy("passport", "client", "list", "--address", a.Admin)
		if code == 0 || strings.Contains(errs, "is Caddy running?") || !strings.Contains(errs, "not available") {
			t.Errorf("the command line says %q", errs)
		}
		server.Run()
		a.Eventually("tokens are issued again", func() bool {
			return a.Form("/oauth/token", "demo", demoSecret, url.Values{"grant_type": {"client_credentials"}}).Status ==
				http.StatusOK
		})
	})
}
