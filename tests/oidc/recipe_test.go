package oidc

import (
	"net/http"
	"strings"
	"testing"

	"github.com/oauth2-passport/caddy-passport/tests/internal/gateway"
	"github.com/oauth2-passport/caddy-passport/tests/internal/walk"
)

// TestAPIWithAnotherIssuersTokens runs the first Caddyfile of docs/keycloak.md, as it stands there but for hosts, ports
// and the path of the issuer.
func TestAPIWithAnotherIssuersTokens(t *testing.T) {
	i := newIssuer(t)
	own, foreign := newKey(t, "1", "ES256"), newKey(t, "1", "ES256")
	i.use(own)
	i.start()
	upstream := gateway.NewUpstream(t)
	g := gateway.Start(t, walk.Caddyfile(t, "docs/keycloak.md", 1, "api.example.com", "http://127.0.0.1:{$PORT}",
		"https://keycloak.example.com/realms/shop", i.url, "legacy:8080", "{$UPSTREAM}"), "UPSTREAM="+upstream.Addr)
	g.Secret(secret)
	good := i.token(g, orders, "orders:read")
	header, claims := decode(t, good, 0), decode(t, good, 1)

	for name, tc := range map[string]struct {
		token  string
		status int
		code   string
	}{
		"that is none":                {"", 401, ""},
		"for another API":             {i.token(g, stock, "orders:read"), 401, "invalid_token"},
		"with another scope":          {i.token(g, orders, "read"), 403, "insufficient_scope"},
		"of another key of that name": {foreign.sign(t, header, claims), 401, "invalid_token"},
		"of the gateway itself": {own.sign(t, header, with(claims, map[string]any{"iss": g.URL})), 401,
			"invalid_token"},
	} {
		resp := g.Get("/orders", tc.token)
		if resp.Status != tc.status || resp.String("error") != tc.code ||
			!strings.HasPrefix(resp.Header.Get("Www-Authenticate"), "Bearer ") {
			t.Errorf("a token %s: %d %s", name, resp.Status, resp.Body)
		}
	}
	if came := upstream.Requests(); len(came) > 0 {
		t.Errorf("the upstream got %v", came)
	}
	if resp := g.Get("/orders", good); resp.Status != http.StatusOK {
		t.Fatalf("a token of the issuer: %d %s", resp.Status, resp.Body)
	}
	got := upstream.Last().Header
	for name, want := range map[string]string{
		"X-Passport-Issuer": i.url, "X-Passport-Client": "orders-sync", "X-Passport-Scope": "orders:read",
		"Authorization": "",
	} {
		if got.Get(name) != want {
			t.Errorf("%s: %q, want %q", name, got.Get(name), want)
		}
	}
	if resp := g.Form("/oauth/token", "orders-sync", secret, nil); resp.Status != http.StatusUnauthorized {
		t.Errorf("the gateway issues tokens, too: %d %s", resp.Status, resp.Body)
	}
}
