package tests

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// tiers is a gateway whose scopes include each other: root has admin, which has read and write; secret is restricted.
const tiers = `{
	default_bind 127.0.0.1
	passport {
		scope read "See the orders"
		scope write "Place and change orders"
		scope secret "See the books" {
			restricted
		}
		scope admin "Everything with orders" {
			includes read write
		}
		scope root "Everything" {
			includes admin secret
		}
		client reader {
			secret {env.DEMO_SECRET}
			grants client_credentials
			scopes read
		}
		client boss {
			secret {env.DEMO_SECRET}
			grants client_credentials
			scopes admin
		}
		client owner {
			secret {env.DEMO_SECRET}
			grants client_credentials
			scopes root
		}
		client anybody {
			secret {env.DEMO_SECRET}
			grants client_credentials
		}
	}
}

http://127.0.0.1:{$PORT} {
	passport_server
	passport_auth /read scopes read
	passport_auth /write scopes read write
	passport_auth /admin scopes admin
	passport_auth /secret scopes secret
	passport_auth /any {
		any_scope write secret
	}
	passport_auth /cel {
		require ` + "`\"write\" in scopes`" + `
	}
	passport_auth /cel-all {
		require ` + "`scopes.exists(s, s == \"write\")`" + `
	}
	@matched {
		path /matched
		passport scopes write
	}
	respond @matched "matched"
	respond /matched 404
	reverse_proxy {$UPSTREAM}
}
`

// TestScopeWiderThanGrantedByHierarchyIsRefused goes up, sideways and down the scopes, at the token endpoint and at the
// routes.
func TestScopeWiderThanGrantedByHierarchyIsRefused(t *testing.T) {
	g, _ := start(t, tiers)
	for _, test := range []struct {
		client, asked string
		given         bool
	}{
		{"reader", "read", true},
		{"reader", "write", false},
		{"reader", "admin", false}, // it includes what the client has, and more
		{"reader", "read admin", false},
		{"reader", "root", false},
		{"boss", "read", true}, // less than it may have
		{"boss", "read write", true},
		{"boss", "admin", true},
		{"boss", "root", false},
		{"boss", "secret", false},
		{"boss", "read secret", false},
		{"owner", "read secret", true},
		{"owner", "admin", true},
		{"anybody", "admin", true},
		{"anybody", "secret", false},
		{"anybody", "root", false}, // not restricted itself, but it includes what is
	} {
		resp := g.Form("/oauth/token", test.client, demoSecret,
			url.Values{"grant_type": {"client_credentials"}, "scope": {test.asked}})
		switch {
		case test.given && (resp.Status != http.StatusOK || resp.String("scope") != test.asked):
			t.Errorf("%s asks for %s: %d %s", test.client, test.asked, resp.Status, resp.Body)
		case !test.given && (resp.Status != http.StatusBadRequest || resp.String("error") != "invalid_scope"):
			t.Errorf("%s asks for %s: %d %s", test.client, test.asked, resp.Status, resp.Body)
		}
	}
	for _, test := range []struct{ client, scope, open string }{
		{"reader", "read", "/read"},
		{"boss", "read", "/read"}, // what the token has counts, not what the client may have
		{"boss", "write", "/any /cel /cel-all /matched"},
		{"boss", "read write", "/read /write /any /cel /cel-all /matched"},
		{"boss", "admin", "/read /write /admin /any /cel /cel-all /matched"},
		{"owner", "secret", "/secret /any"},
		{"owner", "root", "/read /write /admin /secret /any /cel /cel-all /matched"},
	} {
		token := g.Token(test.client, demoSecret, test.scope)
		for range 2 { // the second time from the cache
			for path := range strings.SplitSeq("/read /write /admin /secret /any /cel /cel-all /matched", " ") {
				want := strings.Contains(test.open+" ", path+" ")
				if resp := g.Get(path, token); (resp.Status == http.StatusOK) != want {
					t.Errorf("%s with %s at %s: %d %s", test.client, test.scope, path, resp.Status, resp.Body)
				}
			}
		}
	}
}

// TestClosingAnOpenAPI is the recipe of docs/closing-an-open-api.md: callers of today go on while the gateway reports,
// and are refused once it is closed; the counter says which they were.
func TestClosingAnOpenAPI(t *testing.T) {
	open := strings.ReplaceAll(site, "passport_auth /orders* scopes read\n", "passport_auth /orders* scopes read {\n\t\treport_only\n\t}\n")
	g, upstream := start(t, open)
	token := g.Token("demo", demoSecret, "read")
	g.Secret(token)
	count := func(labels string) bool {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+g.Admin+"/metrics", nil)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Contains(g.Do(req).Body, "caddy_passport_refused_total{"+labels)
	}
	req := g.Request(http.MethodGet, "/orders", "")
	req.Header.Set("Authorization", "Basic b2xkOmNhbGxlcg==")
	req.Header.Set("X-Passport-Subject", "admin")
	if resp := g.Do(req); resp.Status != http.StatusOK {
		t.Errorf("a caller of today: %d %s", resp.Status, resp.Body)
	}
	got := upstream.Last()
	if got.Header.Get("Authorization") != "Basic b2xkOmNhbGxlcg==" || got.Header.Get("X-Passport-Subject") != "" {
		t.Errorf("the upstream got %v", got.Header)
	}
	if !count(`reason="no_token",report_only="true"} 1`) {
		t.Error("the counter does not tell of it")
	}
	if resp := g.Get("/orders", token); resp.Status != http.StatusOK || upstream.Last().Header.Get("X-Passport-Subject") != "demo" {
		t.Errorf("a caller with a token: %d", resp.Status)
	}
	if err := g.Reload(site); err != nil {
		t.Fatal(err)
	}
	if resp := g.Get("/orders", ""); resp.Status != http.StatusUnauthorized {
		t.Errorf("once it is closed: %d", resp.Status)
	}
	if resp := g.Get("/orders", token); resp.Status != http.StatusOK {
		t.Errorf("once it is closed, with a token: %d", resp.Status)
	}
	if !count(`reason="no_token",report_only="false"} 1`) || !count(`reason="no_token",report_only="true"} 1`) {
		t.Error("the counter did not outlive the reload")
	}
}
