package tests

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/oauth2-passport/caddy-passport/tests/internal/gateway"
	"github.com/oauth2-passport/caddy-passport/tests/internal/walk"
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

// TestClosingAnOpenAPI runs the Caddyfile of docs/closing-an-open-api.md: callers of today go on while the gateway
// reports, each with what the passport_auth give it whose demands it meets, and are refused once it is closed; the
// counter says which they were, the command why.
func TestClosingAnOpenAPI(t *testing.T) {
	const page = "docs/closing-an-open-api.md"
	open := walk.Caddyfile(t, page, 1, "api.example.com", here, "legacy:8080", "{$UPSTREAM}")
	g, upstream := start(t, open)
	id, secret := createClient(t, g, "--scopes", "read write admin")
	read, write := g.Token(id, secret, "read"), g.Token(id, secret, "write")
	both, admin := g.Token(id, secret, "read write"), g.Token(id, secret, "admin")
	counts := func(reportOnly string) map[string]int {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+g.Admin+"/metrics", nil)
		if err != nil {
			t.Fatal(err)
		}
		counted, metrics := make(map[string]int), g.Do(req).Body
		for _, reason := range []string{"no_token", "invalid_token", "insufficient_scope", "require"} {
			name := fmt.Sprintf("caddy_passport_refused_total{reason=%q,report_only=%q} ", reason, reportOnly)
			if _, rest, ok := strings.Cut(metrics, name); ok {
				n := 0
				_, _ = fmt.Sscan(rest, &n)
				counted[reason] = n
			}
		}
		return counted
	}
	const basic = "Basic b2xkOmNhbGxlcg=="
	tests := []struct {
		method, path, authorization string
		scope                       string // that the API is told of; empty: it is told of nobody
		kept                        bool   // it gets the field Authorization
		reported                    map[string]int
		closed                      int // the answer once the API is closed
	}{
		{"GET", "/orders/17", basic, "", true, map[string]int{"no_token": 1}, 401},
		{"POST", "/orders", basic, "", true, map[string]int{"no_token": 2}, 401},
		{"GET", "/orders/17", "Bearer their-own", "", true, map[string]int{"invalid_token": 1}, 401},
		{"GET", "/orders/17", "Bearer " + read, "read", false, nil, 200},
		{"DELETE", "/orders/17", "Bearer " + read, "read", false, map[string]int{"insufficient_scope": 1}, 403},
		{"GET", "/orders/17", "Bearer " + write, "", false, map[string]int{"insufficient_scope": 1}, 403},
		{"POST", "/orders", "Bearer " + write, "write", false, map[string]int{"insufficient_scope": 1}, 403},
		{"POST", "/orders", "Bearer " + both, "read write", false, nil, 200},
		{"POST", "/orders/archive/1", "Bearer " + both, "read write", false, map[string]int{"require": 1}, 403},
		{"POST", "/orders/archive/1", "Bearer " + admin, "admin", false, nil, 200},
		{"GET", "/health", basic, "", true, nil, 200},
	}
	send := func(method, path, authorization string) gateway.Response {
		req := g.Request(method, path, "")
		req.Header.Set("Authorization", authorization)
		req.Header.Set("X-Passport-Subject", "admin")
		return g.Do(req)
	}
	for _, test := range tests {
		name := test.method + " " + test.path + " " + test.authorization[:12] + " " + test.scope
		want := counts("true")
		for reason, n := range test.reported {
			want[reason] += n
		}
		if resp := send(test.method, test.path, test.authorization); resp.Status != http.StatusOK {
			t.Errorf("%s: %d %s", name, resp.Status, resp.Body)
		}
		got := upstream.Last().Header
		subject, authorization := "", ""
		if test.scope != "" {
			subject = id
		}
		if test.kept {
			authorization = test.authorization
		}
		if got.Get("X-Passport-Subject") != subject || got.Get("X-Passport-Scope") != test.scope ||
			got.Get("Authorization") != authorization {
			t.Errorf("%s: the API got %v", name, got)
		}
		if reported := counts("true"); !maps.Equal(reported, want) {
			t.Errorf("%s: %v are reported, want %v", name, reported, want)
		}
	}
	explains(t, g, page, id, read)

	if err := g.Reload(strings.ReplaceAll(open, "\t\treport_only\n", "")); err != nil {
		t.Fatal(err)
	}
	for _, test := range tests {
		if resp := send(test.method, test.path, test.authorization); resp.Status != test.closed {
			t.Errorf("closed, %s %s %s: %d, want %d", test.method, test.path, test.scope, resp.Status, test.closed)
		}
	}
	refused, reported := counts("false"), counts("true")
	if refused["no_token"] != 2 || reported["no_token"] != 3 { // those of before the reload are still there
		t.Errorf("once it is closed, %v are refused, %v reported", refused, reported)
	}
}

// explains runs the command that a page shows, for a client and its token, and compares what it prints with the page.
func explains(t *testing.T, g *gateway.Gateway, page, client, token string) {
	t.Helper()
	shown := ""
	for _, b := range walk.Blocks(t, page) {
		if command, output, _ := strings.Cut(b.Text, "\n"); strings.HasPrefix(command, "$ caddy passport explain DELETE ") {
			shown = output
		}
	}
	if shown == "" {
		t.Fatalf("%s shows no command", page)
	}
	cmd := g.Command("passport", "explain", http.MethodDelete, g.URL+"/orders/17", "--token", "-")
	cmd.Stdin = strings.NewReader(token)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	printed := strings.NewReplacer(client, "orders-sync", "127.0.0.1:"+g.Port, ":443").Replace(string(out))
	lines, want := strings.Split(strings.TrimSpace(printed), "\n"), strings.Split(strings.TrimSpace(shown), "\n")
	if len(lines) != len(want) {
		t.Fatalf("it prints\n%s\nthe page shows\n%s", printed, shown)
	}
	for i, line := range want {
		pattern := regexp.QuoteMeta(strings.Join(strings.Fields(line), " "))
		pattern = "^" + strings.ReplaceAll(pattern, "…", ".*") + "$"
		if got := strings.Join(strings.Fields(lines[i]), " "); !regexp.MustCompile(pattern).MatchString(got) {
			t.Errorf("it prints\n%s\nthe page shows\n%s", lines[i], line)
		}
	}
}
