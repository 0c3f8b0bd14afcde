// Package tests drives the main flows over HTTP against a running Caddy, and holds the documentation to what it says.
package tests

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/oauth2-passport/caddy-passport/tests/internal/gateway"
)

// site is the gateway of these tests: /orders wants read, /orders/archive write too, /status is open.
const site = `{
	default_bind 127.0.0.1
	passport {
		scope read "See the orders"
		scope write "Place and change orders"
		client demo {
			secret {env.DEMO_SECRET}
			grants client_credentials
			scopes read write
		}
	}
}

http://127.0.0.1:{$PORT} {
	passport_server
	passport_auth /orders* scopes read
	passport_auth /orders/archive* scopes write
	reverse_proxy {$UPSTREAM}
}
`

const demoSecret = "the-secret-of-the-demo-client-of-these-tests"

func start(t *testing.T, caddyfile string) (*gateway.Gateway, *gateway.Upstream) {
	t.Helper()
	upstream := gateway.NewUpstream(t)
	return gateway.Start(t, caddyfile, "UPSTREAM="+upstream.Addr, "DEMO_SECRET="+demoSecret), upstream
}

// refused checks a refusal of passport_auth by section 3 of RFC 6750: status, challenge and the same as JSON.
func refused(t *testing.T, resp gateway.Response, status int, code string, challenge ...string) {
	t.Helper()
	if resp.Status != status {
		t.Errorf("got %d, want %d: %s", resp.Status, status, resp.Body)
	}
	if got := resp.String("error"); got != code {
		t.Errorf("the body's error is %q, want %q: %s", got, code, resp.Body)
	}
	header := resp.Header.Get("Www-Authenticate")
	for _, want := range append(challenge, "Bearer realm=") {
		if !strings.Contains(header, want) {
			t.Errorf("the challenge lacks %s: %s", want, header)
		}
	}
}

func TestClientCredentials(t *testing.T) {
	g, upstream := start(t, site)

	resp := g.Form("/oauth/token", "demo", demoSecret,
		url.Values{"grant_type": {"client_credentials"}, "scope": {"read"}})
	if resp.Status != http.StatusOK {
		t.Fatalf("token: %d %s", resp.Status, resp.Body)
	}
	if got := resp.Header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control: %q", got)
	}
	if got := resp.JSON(); got["token_type"] != "Bearer" || got["expires_in"] != 3600.0 || got["scope"] != "read" ||
		got["refresh_token"] != nil {
		t.Errorf("answer: %s", resp.Body)
	}
	token := resp.String("access_token")
	g.Secret(token)

	resp = g.Get("/orders/17?full=1", token)
	if resp.Status != http.StatusOK {
		t.Fatalf("with the scope: %d %s", resp.Status, resp.Body)
	}
	got := upstream.Last()
	if got.URI != "/orders/17?full=1" || got.Host != "127.0.0.1:"+g.Port {
		t.Errorf("the upstream received %s %s", got.Host, got.URI)
	}
	for name, want := range map[string]string{
		"X-Passport-Subject":  "demo",
		"X-Passport-Client":   "demo",
		"X-Passport-Scope":    "read",
		"X-Passport-Issuer":   g.URL,
		"X-Passport-Username": "", // nobody: the client acts for itself
		"Authorization":       "", // the token stays here
	} {
		if value := got.Header.Get(name); value != want {
			t.Errorf("the upstream received %s: %q, want %q", name, value, want)
		}
	}

	before := len(upstream.Requests())
	resp = g.Get("/orders/archive/1", token)
	refused(t, resp, http.StatusForbidden, "insufficient_scope", `error="insufficient_scope"`, `scope="write read"`)
	if resp.String("scope") != "write read" {
		t.Errorf("the body's scope: %s", resp.Body)
	}

	resp = g.Get("/orders", "")
	if resp.Status != http.StatusUnauthorized || resp.Header.Get("Www-Authenticate") == "" {
		t.Errorf("without a token: %d %q", resp.Status, resp.Header.Get("Www-Authenticate"))
	}
	if challenge := resp.Header.Get("Www-Authenticate"); strings.Contains(challenge, "error=") ||
		!strings.Contains(challenge, `scope="read"`) {
		t.Errorf("without a token the challenge is %s", challenge)
	}
	refused(t, g.Get("/orders", token+"x"), http.StatusUnauthorized, "invalid_token", `error="invalid_token"`)
	if n := len(upstream.Requests()); n != before {
		t.Errorf("%d refused requests reached the upstream", n-before)
	}

	if resp = g.Get("/status", ""); resp.Status != http.StatusOK {
		t.Errorf("an open path: %d %s", resp.Status, resp.Body)
	}
}

func TestRevokedTokenIsRefusedAtOnce(t *testing.T) {
	g, _ := start(t, site)
	first, second := g.Token("demo", demoSecret, "read"), g.Token("demo", demoSecret, "read")
	for range 2 { // the second time from the cache
		if resp := g.Get("/orders", first); resp.Status != http.StatusOK {
			t.Fatalf("before: %d %s", resp.Status, resp.Body)
		}
	}
	introspected := func(token string) any {
		t.Helper()
		resp := g.Form("/oauth/introspect", "demo", demoSecret, url.Values{"token": {token}})
		if resp.Status != http.StatusOK {
			t.Fatalf("introspection: %d %s", resp.Status, resp.Body)
		}
		return resp.JSON()["active"]
	}
	if introspected(first) != true {
		t.Error("a live token is not active")
	}
	if resp := g.Form("/oauth/revoke", "demo", demoSecret, url.Values{"token": {first}}); resp.Status != http.StatusOK {
		t.Fatalf("revoking: %d %s", resp.Status, resp.Body)
	}
	refused(t, g.Get("/orders", first), http.StatusUnauthorized, "invalid_token", `error="invalid_token"`, "revoked")
	if introspected(first) != false {
		t.Error("a revoked token is active")
	}
	if resp := g.Get("/orders", second); resp.Status != http.StatusOK || introspected(second) != true {
		t.Errorf("another token of the client: %d %s", resp.Status, resp.Body)
	}
}

func TestTokenEndpointRefusals(t *testing.T) {
	g, _ := start(t, site)
	grant := url.Values{"grant_type": {"client_credentials"}}
	for _, tc := range []struct {
		name, id, secret string
		form             url.Values
		status           int
		code             string
	}{
		{"wrong secret", "demo", "not-the-secret-of-the-demo-client", grant, 401, "invalid_client"},
		{"unknown client", "nobody", demoSecret, grant, 401, "invalid_client"},
		{"no client", "", "", grant, 401, "invalid_client"},
		{"unknown scope", "demo", demoSecret,
			url.Values{"grant_type": {"client_credentials"}, "scope": {"read delete"}}, 400, "invalid_scope"},
		{"unknown grant", "demo", demoSecret, url.Values{"grant_type": {"magic"}}, 400, "unsupported_grant_type"},
		{"no grant", "demo", demoSecret, url.Values{"scope": {"read"}}, 400, "invalid_request"},
		{"twice", "demo", demoSecret, url.Values{"grant_type": {"client_credentials", "client_credentials"}},
			400, "invalid_request"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			resp := g.Form("/oauth/token", tc.id, tc.secret, tc.form)
			if resp.Status != tc.status || resp.String("error") != tc.code {
				t.Errorf("got %d %s, want %d %s", resp.Status, resp.Body, tc.status, tc.code)
			}
			if challenge := resp.Header.Get("Www-Authenticate"); (tc.status == 401 && tc.id != "") !=
				strings.HasPrefix(challenge, "Basic") && tc.id != "" {
				t.Errorf("WWW-Authenticate: %q", challenge)
			}
			if got := resp.Header.Get("Cache-Control"); got != "no-store" {
				t.Errorf("Cache-Control: %q", got)
			}
		})
	}
}
