package oidc

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/oauth2-passport/caddy-passport/tests/internal/gateway"
	"github.com/oauth2-passport/caddy-passport/tests/internal/walk"
)

// TestAPIWithAnotherIssuersTokens runs the first Caddyfile of docs/keycloak.md, as it stands there but for hosts, ports
// and the path of the issuer. Beside it is a site whose tokens, the gateway's own, must not be good there.
func TestAPIWithAnotherIssuersTokens(t *testing.T) {
	i := newIssuer(t)
	own, foreign := newKey(t, "1", "ES256"), newKey(t, "1", "ES256")
	i.use(own)
	i.start()
	upstream := gateway.NewUpstream(t)
	const other = "http://127.0.0.1:{$OTHER} {\n\tpassport_server\n\tpassport_auth scopes orders:read\n\trespond ok\n}\n"
	site := walk.Caddyfile(t, "docs/keycloak.md", 1, "api.example.com", "http://127.0.0.1:{$PORT}",
		"https://keycloak.example.com/realms/shop", i.url, "legacy:8080", "{$UPSTREAM}")
	otherPort := gateway.FreePorts(t, 1)[0]
	g := gateway.Start(t, site+"\n"+other, "UPSTREAM="+upstream.Addr, "OTHER="+otherPort)
	g.Secret(secret)
	good := i.token(g, orders, "orders:read")
	var personal string
	for _, args := range [][]string{
		{"user", "create", "ada", "--json"},
		{"token", "create", "--user", "ada", "--name", "a script", "--scopes", "orders:read", "--json"},
	} {
		made, faults, code := g.Caddy(append([]string{"passport"}, args...)...)
		if code != 0 {
			t.Fatalf("caddy passport %q: exit code %d\n%s", args, code, faults)
		}
		personal = gateway.Response{Body: made}.String("access_token")
	}
	g.Secret(personal)
	ask := g.Request(http.MethodGet, "/", "")
	ask.URL.Host, ask.Host = "127.0.0.1:"+otherPort, "127.0.0.1:"+otherPort
	ask.Header.Set("Authorization", "Bearer "+personal)
	if resp := g.Do(ask); resp.Status != http.StatusOK {
		t.Fatalf("a token of the gateway, where it is good: %d %s", resp.Status, resp.Body)
	}
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
		"of the gateway itself":       {personal, 401, "invalid_token"},
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
}

// TestAPIWithRolesOfAnotherIssuer runs the second Caddyfile of docs/keycloak.md by tokens with the claims that Keycloak
// has roles in.
func TestAPIWithRolesOfAnotherIssuer(t *testing.T) {
	i := newIssuer(t)
	own := newKey(t, "1", "ES256")
	i.use(own)
	i.start()
	upstream := gateway.NewUpstream(t)
	g := gateway.Start(t, walk.Caddyfile(t, "docs/keycloak.md", 2, "api.example.com", "http://127.0.0.1:{$PORT}",
		"https://keycloak.example.com/realms/shop", i.url, "legacy:8080", "{$UPSTREAM}"), "UPSTREAM="+upstream.Addr)
	g.Secret(secret)
	good := i.token(g, orders, "read")
	header, claims := decode(t, good, 0), decode(t, good, 1)
	of := func(roles ...string) string {
		t.Helper()
		token := own.sign(t, header, with(claims, map[string]any{"realm_access": map[string]any{"roles": roles}}))
		g.Secret(token)
		return token
	}
	for name, token := range map[string]string{"without roles": good, "with another role": of("offline_access")} {
		if resp := g.Get("/", token); resp.Status != http.StatusForbidden || resp.String("error") != "access_denied" {
			t.Errorf("a token %s: %d %s", name, resp.Status, resp.Body)
		}
	}
	if came := upstream.Requests(); len(came) > 0 {
		t.Errorf("the upstream got %v", came)
	}
	if resp := g.Get("/", of("offline_access", "orders-admin")); resp.Status != http.StatusOK {
		t.Errorf("a token with the role: %d %s", resp.Status, resp.Body)
	}
}

// TestAPIThatAsksAnotherIssuer runs the third Caddyfile of docs/keycloak.md: the issuer is asked about tokens (RFC
// 7662), and one that it has revoked is good no more.
func TestAPIThatAsksAnotherIssuer(t *testing.T) {
	i := newIssuer(t)
	i.use(newKey(t, "1", "ES256"))
	i.start()
	upstream := gateway.NewUpstream(t)
	g := gateway.Start(t, walk.Caddyfile(t, "docs/keycloak.md", 3, "api.example.com", "http://127.0.0.1:{$PORT}",
		"https://keycloak.example.com/realms/shop/protocol/openid-connect/token/introspect", i.url+"/token/introspection",
		"legacy:8080", "{$UPSTREAM}"), "UPSTREAM="+upstream.Addr, "KEYCLOAK_SECRET="+secret)
	g.Secret(secret)
	good, revoked := i.token(g, ordersOpaque, "read"), i.token(g, ordersOpaque, "read")
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, i.url+"/token/revocation",
		strings.NewReader(url.Values{"token": {revoked}}.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth("orders-sync", url.QueryEscape(secret))
	resp, err := noKeptConnections.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if _ = resp.Body.Close(); resp.StatusCode != http.StatusOK {
		t.Fatalf("revoking: %s", resp.Status)
	}
	for name, tc := range map[string]struct{ token, code string }{
		"that is none":      {"", ""},
		"that is revoked":   {revoked, "invalid_token"},
		"that nobody gave":  {good[:len(good)-4] + "AAAA", "invalid_token"},
		"for no API at all": {i.token(g, "", "read"), "invalid_token"},
	} {
		if resp := g.Get("/", tc.token); resp.Status != http.StatusUnauthorized || resp.String("error") != tc.code {
			t.Errorf("a token %s: %d %s", name, resp.Status, resp.Body)
		}
	}
	if came := upstream.Requests(); len(came) > 0 {
		t.Errorf("the upstream got %v", came)
	}
	if resp := g.Get("/", good); resp.Status != http.StatusOK {
		t.Fatalf("a token of the issuer: %d %s", resp.Status, resp.Body)
	}
	got := upstream.Last().Header
	if got.Get("X-Passport-Issuer") != i.url+"/token/introspection" || got.Get("X-Passport-Client") != "orders-sync" ||
		got.Get("X-Passport-Scope") != "read" || got.Get("Authorization") != "" {
		t.Errorf("the upstream got %v", got)
	}
}
