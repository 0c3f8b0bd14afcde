package caddymodule

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// resourceSite is a site with two protected resources, one of them behind two routes, and a plain route.
const resourceSite = `passport_auth /orders* scopes read
@tools path /mcp/tools*
passport_auth /mcp* {
	resource http://{$ADDR}/mcp
	scopes write
	any_scope read write
	realm "Orders for machines"
}
passport_auth @tools {
	resource http://{$ADDR}/mcp
	scopes admin
	subject user
}
passport_auth /mail* {
	resource http://{$ADDR}/mail
	scopes mail
}
reverse_proxy {$UPSTREAM}`

// tokenFor asks for a token for resources.
func (h *house) tokenFor(scope string, resources ...string) string {
	h.t.Helper()
	form := url.Values{"grant_type": {"client_credentials"}, "scope": {scope}, "resource": resources}
	req, _ := http.NewRequest(http.MethodPost, "http://"+h.addr+"/oauth/token", strings.NewReader(form.Encode()))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(testClient, url.QueryEscape(testSecret))
	answer := h.do(req)
	token, _ := answer.json()["access_token"].(string)
	if token == "" {
		h.t.Fatal(answer)
	}
	return token
}

func TestResourceMetadata(t *testing.T) {
	for name, site := range map[string]string{
		"behind matchers": resourceSite,
		"all guarded": "passport_auth {\nresource http://{$ADDR}/mcp\nscopes admin write read\n" +
			"realm \"Orders for machines\"\n}\nreverse_proxy {$UPSTREAM}",
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, site)
			const path = "/.well-known/oauth-protected-resource/mcp"
			answer := h.get(path, "Origin", "https://a.example")
			want := fmt.Sprintf(`{"resource":"http://%s/mcp","authorization_servers":["http://%[1]s"],`+
				`"scopes_supported":["admin","write","read"],"bearer_methods_supported":["header"],`+
				`"resource_name":"Orders for machines"}`+"\n", h.addr)
			if answer.status != http.StatusOK || answer.body != want ||
				answer.header.Get("Content-Type") != "application/json" ||
				answer.header.Get("Access-Control-Allow-Origin") != "*" {
				t.Errorf("%d %v\n%s\nwant\n%s", answer.status, answer.header, answer.body, want)
			}
			if head := h.send(http.MethodHead, path); head.status != http.StatusOK || head.body != "" {
				t.Errorf("HEAD: %v", head)
			}
			preflight := h.send(http.MethodOptions, path, "Origin", "https://a.example",
				"Access-Control-Request-Method", "GET", "Access-Control-Request-Headers", "mcp-protocol-version")
			if preflight.status != http.StatusNoContent || preflight.header.Get("Access-Control-Allow-Headers") != "*" {
				t.Errorf("preflight: %v", preflight)
			}
			if post := h.send(http.MethodPost, path); post.status != http.StatusMethodNotAllowed ||
				post.header.Get("Allow") == "" {
				t.Errorf("POST: %v", post)
			}
			if h.upstream.last() != nil {
				t.Error("the upstream got a request for the metadata")
			}
		})
	}
}

func TestResourceChallenges(t *testing.T) {
	h := newHouse(t, resourceSite)
	mcp := "http://" + h.addr + "/mcp"
	const scopes = `scope="write read"`
	for _, test := range []struct {
		name, path, token string
		status            int
		want              []string
	}{
		{"no token", "/mcp", "", 401, []string{scopes}},
		{"bad token", "/mcp", "x", 401, []string{scopes, `error="invalid_token"`}},
		{"token for another", "/mcp", h.tokenFor("write", "http://"+h.addr), 401, []string{scopes, `error="invalid_token"`}},
		{"scope missing", "/mcp", h.tokenFor("read", mcp), 403, []string{scopes, `error="insufficient_scope"`}},
		{"a client", "/mcp/tools", h.tokenFor("write admin", mcp), 403, []string{`scope="admin"`}},
	} {
		var fields []string
		if test.token != "" {
			fields = []string{"Authorization", bearer(test.token)}
		}
		answer := h.get(test.path, fields...)
		challenge := answer.header.Get("WWW-Authenticate")
		want := append(slices.Clip(test.want), `resource_metadata="http://`+h.addr+`/.well-known/oauth-protected-resource/mcp"`,
			"Bearer realm=")
		for _, part := range want {
			if !strings.Contains(challenge, part) {
				t.Errorf("%s: %s lacks %s", test.name, challenge, part)
			}
		}
		if answer.status != test.status || strings.Contains(challenge, "access_denied") {
			t.Errorf("%s: %d %s", test.name, answer.status, challenge)
		}
	}
	if c := h.get("/orders").header.Get("WWW-Authenticate"); strings.Contains(c, "resource_metadata") {
		t.Errorf("a route that is no resource: %s", c)
	}
	if answer := h.get("/mcp", "Authorization", bearer(h.tokenFor("write", mcp))); answer.status != http.StatusOK {
		t.Errorf("%v", answer)
	}
}

// TestRefusesTokenForAnotherResource: what one resource is given is no key to another, nor to the issuer's own routes.
func TestRefusesTokenForAnotherResource(t *testing.T) {
	h := newHouse(t, strings.ReplaceAll(resourceSite, "scopes mail", "scopes write"))
	own, mcp, mail := "http://"+h.addr, "http://"+h.addr+"/mcp", "http://"+h.addr+"/mail"
	for _, test := range []struct {
		asked             []string
		orders, mcp, mail int
	}{
		{[]string{mcp}, 401, 200, 401},
		{[]string{mail}, 401, 401, 200},
		{[]string{own}, 200, 401, 401},
		{[]string{mcp, mail}, 401, 200, 200},
		{nil, 200, 200, 200}, // who leaves it out gets what the scopes are enough for
	} {
		token := h.tokenFor("read write", test.asked...)
		for path, want := range map[string]int{"/orders": test.orders, "/mcp": test.mcp, "/mail": test.mail} {
			if answer := h.get(path, "Authorization", bearer(token)); answer.status != want {
				t.Errorf("asked for %v, %s: %d, want %d", test.asked, path, answer.status, want)
			}
		}
	}
}

// TestClientsThatLeaveResourceOut get a token that is good where its scopes are enough, and nowhere else.
func TestClientsThatLeaveResourceOut(t *testing.T) {
	h := newHouse(t, resourceSite)
	for scope, want := range map[string][3]int{ // /orders, /mcp, /mail
		"read":       {200, 401, 401}, // of no use to /mcp, so not for it
		"write":      {401, 200, 401},
		"read write": {200, 200, 401},
		"admin":      {401, 403, 401}, // for /mcp, because of /mcp/tools
	} {
		token := h.tokenFor(scope)
		for i, path := range []string{"/orders", "/mcp", "/mail"} {
			if answer := h.get(path, "Authorization", bearer(token)); answer.status != want[i] {
				t.Errorf("%s, %s: %d, want %d", scope, path, answer.status, want[i])
			}
		}
	}
}

func TestResourceIdentifiers(t *testing.T) {
	for id, want := range map[string]string{
		"https://api.example.com/mcp":                           "https://api.example.com/…/mcp",
		"https://api.example.com/a/b/":                          "https://api.example.com/…/a/b/",
		"https://api.example.com":                               "https://api.example.com/…",
		"https://api.example.com/":                              "https://api.example.com/…",
		"https://api.example.com:8443":                          "https://api.example.com:8443/…",
		"http://localhost:8080/mcp":                             "http://localhost:8080/…/mcp",
		"http://[::1]:80/mcp":                                   "http://[::1]:80/…/mcp",
		"http://api.example.com/mcp":                            "",
		"http://127.0.0.1.example.com":                          "",
		"https://api.example.com/mcp?a":                         "",
		"https://api.example.com/mcp#":                          "",
		"https://u@api.example.com/mcp":                         "",
		"https:///mcp":                                          "",
		"https://api.example.com/a%2Fb":                         "",
		"https://api.example.com/a b":                           "",
		"urn:mcp":                                               "",
		"/mcp":                                                  "",
		"https://api.example.com/\"x":                           "",
		"https://a.example/" + strings.Repeat("x", maxResource): "",
	} {
		res, err := newResource(id)
		if want == "" {
			if err == nil {
				t.Errorf("%q is accepted", id)
			}
			continue
		}
		if err != nil || res.metadata != strings.Replace(want, "/…", wellKnownResource, 1) {
			t.Errorf("%q: %v %v", id, res, err)
		}
	}
}

// TestResourceNamesTrustedIssuers: a client may ask any of the issuers whose tokens are good.
func TestResourceNamesTrustedIssuers(t *testing.T) {
	const trust = "resource http://{$ADDR}/mcp\n" +
		"trust https://idp.example {\njwks_uri https://idp.example/keys\naudience x\n}\n}"
	for issuer, want := range map[string]string{"": `["http://{$ADDR}","https://idp.example"]`,
		"issuer off\n": `["https://idp.example"]`} {
		h := newHouse(t, "passport_auth {\n"+issuer+trust+"\nrespond ok")
		answer := h.get("/.well-known/oauth-protected-resource/mcp")
		want = `"authorization_servers":` + strings.ReplaceAll(want, "{$ADDR}", h.addr)
		if !strings.Contains(answer.body, want) {
			t.Errorf("%s lacks %s", answer.body, want)
		}
	}
}
