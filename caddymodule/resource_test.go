package caddymodule

import (
	"fmt"
	"net/http"
	"net/http/httptest"
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
		{"a client", "/mcp/tools", h.tokenFor("write admin", mcp), 403,
			[]string{`scope="admin write read"`}},
		{"no token, at a resource in a resource", "/mcp/tools", "", 401, []string{`scope="admin write read"`}},
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

// TestChallengeNamesWhatAllDoorsNeed: a client that asks for what a refusal names is refused no second time, whichever
// of several passport_auth on the way of its request refuses it. It does not go from one scope to the other for ever.
func TestChallengeNamesWhatAllDoorsNeed(t *testing.T) {
	const mcp = "resource http://{$ADDR}/mcp\n"
	const tools = "passport_auth /mcp* {\n" + mcp + "scopes read\n}\n@post method POST\npassport_auth @post {\n" + mcp +
		"scopes write\n}\n@delete method DELETE\npassport_auth @delete {\nscopes write\naudience http://{$ADDR}/mcp\n}"
	for name, test := range map[string]struct {
		site, method, path string
		scope              string // that each challenge names
		resource           bool   // each names the metadata of /mcp, too
	}{
		"two of a resource":  {tools, "POST", "/mcp", "read write", true},
		"one of a resource":  {tools, "DELETE", "/mcp", "read write", true},
		"what does not meet": {tools, "GET", "/mcp", "read", true},
		"elsewhere":          {strings.Replace(tools, "@post {\n"+mcp, "@post {\n", 1), "POST", "/", "write", false},
		"the resource comes last": {"@delete method DELETE\npassport_auth @delete {\nscopes write\n" +
			"audience http://{$ADDR}/mcp\n}\npassport_auth {\n" + mcp + "scopes read\n}", "DELETE", "/", "write read", true},
		"one scope, and a resource": {"@delete method DELETE\npassport_auth @delete {\nscopes read\n" +
			"audience http://{$ADDR}/mcp\n}\npassport_auth {\n" + mcp + "scopes read\n}", "DELETE", "/", "read", true},
		"no resource": {"@post method POST\npassport_auth scopes read\npassport_auth @post scopes write",
			"POST", "/", "write read", false},
		"one demands no scope": {"route {\npassport_auth\npassport_auth /a* scopes write\n}", "GET", "/a", "write", false},
		"one only reports": {"route {\npassport_auth {\n" + mcp + "scopes admin\nreport_only\n}\n" +
			"passport_auth scopes read\npassport_auth /a scopes write\n}", "GET", "/a", "read write", false},
		"rewritten on the way": {"handle_path /api/* {\nroute {\npassport_auth /a* scopes read\nuri replace a b\n" +
			"request_header X-Kind b\n@b {\npath /b\nheader X-Kind b\n}\npassport_auth @b scopes write\n}\n}",
			"GET", "/api/a", "read write", false},
		"behind an answer": {"route {\npassport_auth scopes read\nreverse_proxy {$UPSTREAM} {\nhandle_response {\n" +
			"passport_auth scopes write\nrespond ok\n}\n}\n}", "GET", "/", "read write", false},
		"named route": {"route {\npassport_auth scopes read\ninvoke more\n}", "GET", "/", "read write", false},
		"error routes": {"error /broken 500\npassport_auth /a scopes admin\nhandle_errors {\n" +
			"passport_auth /broken scopes read\npassport_auth scopes write\nrespond 200\n}",
			"GET", "/broken", "read write", false},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouseOf(t, "&(more) {\npassport_auth scopes write\n}\nhttp://{$ADDR} {\npassport_server\n"+test.site+
				"\nreverse_proxy {$UPSTREAM}\n}")
			own, resource := "http://"+h.addr, "http://"+h.addr+"/mcp"
			want := `scope="` + test.scope + `"`
			tokens := map[string]string{"no token": ""}
			if test.resource {
				want += `, resource_metadata="` + own + `/.well-known/oauth-protected-resource/mcp"`
				tokens["for another"], tokens["bad"] = h.tokenFor("read write", own), "x"
			} else {
				resource = own
			}
			for _, scope := range []string{"read", "write"} {
				if scope != test.scope {
					tokens[scope] = h.tokenFor(scope, resource)
				}
			}
			for who, token := range tokens {
				var fields []string
				if token != "" {
					fields = []string{"Authorization", bearer(token)}
				}
				answer := h.send(test.method, test.path, fields...)
				if c := answer.header.Get("WWW-Authenticate"); !strings.HasSuffix(c, want) {
					t.Errorf("%s: %d %s, want %s", who, answer.status, c, want)
				}
			}
			good := h.send(test.method, test.path, "Authorization", bearer(h.tokenFor(test.scope, resource)))
			if good.status != http.StatusOK {
				t.Errorf("with all that was named: %v", good)
			}
		})
	}
}

// TestChallengeOfWebSocketOverHTTP2: the doors are those of the GET that the upstream gets of such a CONNECT.
func TestChallengeOfWebSocketOverHTTP2(t *testing.T) {
	h := newHouse(t, "@get method GET\npassport_auth /chat scopes read\npassport_auth @get scopes write\nrespond 200")
	r := httptest.NewRequest(http.MethodGet, "http://"+h.addr+"/chat", http.NoBody)
	r.Method, r.ProtoMajor, r.Proto = http.MethodConnect, 2, "HTTP/2.0"
	r.Header[":protocol"] = []string{"websocket"}
	w := httptest.NewRecorder()
	h.server().ServeHTTP(w, r)
	if c := w.Header().Get("WWW-Authenticate"); !strings.HasSuffix(c, `scope="read write"`) {
		t.Errorf("%d %s", w.Code, c)
	}
}

// TestChallengeWhereTheCallerDecides: a door that only some callers meet is not named before it is known who calls; its
// own refusal names the others, too.
func TestChallengeWhereTheCallerDecides(t *testing.T) {
	h := newHouse(t, "route {\npassport_auth scopes read\n@demo vars {passport.client_id} demo\n"+
		"passport_auth @demo scopes write\npassport_auth @demo scopes admin\nrespond 200\n}")
	for authorization, want := range map[string]string{
		"Basic eDp5": `scope="read"`, bearer(h.token("read")): `scope="read write admin"`,
	} {
		answer := h.get("/", "Authorization", authorization)
		if c := answer.header.Get("WWW-Authenticate"); !strings.HasSuffix(c, want) {
			t.Errorf("%d %s, want %s", answer.status, c, want)
		}
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
