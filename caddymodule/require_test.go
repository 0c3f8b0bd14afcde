package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/oauth2-passport/caddy-passport/store"
)

func TestRequireCompiles(t *testing.T) {
	for name, test := range map[string]struct {
		expression, fault string // fault "": none
	}{
		"the contract's":          {`client.id == "svc" && request.method == "GET" && "read" in scopes`, ""},
		"a claim":                 {`claims.tenant == "a"`, ""},
		"a claim by its name":     {`claims["https://example.com/tenant"] == "a"`, ""},
		"a claim as it is":        {`claims.admin`, ""},
		"a claim within a claim":  {`"x" in claims.realm_access.roles`, ""},
		"a person":                {`has(user.id) && user.email.endsWith("@example.com")`, ""},
		"nobody":                  {`user == null`, ""},
		"header and query":        {`request.headers["x-a"] == "b" && request.query["q"] == "1"`, ""},
		"a network":               {`cidr("10.0.0.0/8").containsIP(request.remote_ip)`, ""},
		"a pattern":               {`request.path.matches("^/orders/[0-9]+$")`, ""},
		"a list":                  {`claims.groups.exists(g, g.startsWith("admin-"))`, ""},
		"case":                    {`request.path.lowerAscii().startsWith("/orders")`, ""},
		"empty":                   {"", "the expression is empty"},
		"blank":                   {" \t", "the expression is empty"},
		"no expression":           {`client.id ==`, "column 13: Syntax error"},
		"unknown variable":        {`token.id == "a"`, "column 1: undeclared reference to 'token'"},
		"misspelled field":        {`client.nam == "a"`, "column 7: undefined field 'nam'"},
		"misspelled, of request":  {`request.header["a"] == "b"`, "column 8: undefined field 'header'"},
		"misspelled, of user":     {`has(user.mail)`, "column 4: undefined field 'mail'"},
		"wrong type":              {`client.first_party == "yes"`, "no matching overload for '_==_'"},
		"a number in scopes":      {`1 in scopes`, "no matching overload for '@in'"},
		"no truth":                {`client.id`, "the expression comes out as string: it has to be true or false"},
		"unknown function":        {`request.path.replace("a", "b") == ""`, "undeclared reference to 'replace'"},
		"bad pattern":             {`request.path.matches("(")`, "column 22: invalid matches argument"},
		"pattern of a request":    {`request.path.matches(request.headers["x"])`, "a regular expression that is written out"},
		"pattern of a claim":      {`matches(request.path, string(claims.x))`, "a regular expression that is written out"},
		"pattern that is made up": {`request.path.matches("a" + request.query["x"])`, "a regular expression that is written out"},
		"the request as such":     {`dyn(request).path == ""`, `"request" has to be one of its fields`},
		"the request in a list":   {`[.request][0].path == ""`, `"request" has to be one of its fields`},
		"on the second line":      {"true &&\n  foo", "line 2, column 3: undeclared reference to 'foo'"},
		"too long":                {`"` + strings.Repeat("a", 5000) + `" == client.id`, "size"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := compileRequirement(test.expression)
			switch {
			case test.fault == "" && err != nil:
				t.Error(err)
			case test.fault != "" && (err == nil || !strings.Contains(err.Error(), test.fault)):
				t.Errorf("got %v, want %s", err, test.fault)
			case err != nil && strings.Contains(err.Error(), "\n"):
				t.Errorf("the error has more than a line: %q", err)
			}
		})
	}
}

// TestRequire evaluates expressions for requests through Caddy.
func TestRequire(t *testing.T) {
	tests := []struct {
		name, expression string
		method, target   string
		fields           []string
		passes           bool
	}{
		{name: "client", expression: `client.id == "demo"`, passes: true},
		{name: "another client", expression: `client.id == "other"`},
		{name: "name of the client", expression: `client.name == "demo" && !client.first_party`, passes: true},
		{name: "scope", expression: `"read" in scopes`, passes: true},
		{name: "scope that is not there", expression: `"admin" in scopes`},
		{name: "all scopes", expression: `size(scopes) == 2 && scopes.all(s, s in ["read", "write"]) && scopes == ["read", "write"]`,
			passes: true},
		{name: "claim", expression: `claims.sub == "demo" && claims["client_id"] == client.id`, passes: true},
		{name: "claim that is not there", expression: `claims.tenant == "a"`},
		{name: "claim that is not there, denied", expression: `claims.tenant != "a"`},
		{name: "asked for the claim", expression: `!has(claims.tenant) || claims.tenant == "a"`, passes: true},
		{name: "number", expression: `claims.exp > claims.iat && claims.exp - claims.iat <= 3600`, passes: true},
		{name: "no truth", expression: `claims.sub`},
		{name: "nobody", expression: `user == null && !has(user.id)`, passes: true},
		{name: "of nobody", expression: `user.id == "demo"`},
		{name: "of nobody, denied", expression: `user.id != "bob"`},
		{name: "method", expression: `request.method == "GET"`, passes: true},
		{name: "other method", expression: `request.method == "GET"`, method: "POST"},
		{name: "method in other case", expression: `request.method != "DELETE"`, method: "delete"},
		{name: "HEAD is itself", expression: `request.method == "HEAD"`, method: "HEAD", passes: true},
		{name: "method that the upstream may take", expression: `request.method != "DELETE"`, method: "POST",
			fields: []string{"X-Http-Method-Override", "DELETE"}},
		{name: "path", expression: `request.path == "/r/1"`, target: "/r/1", passes: true},
		{name: "path, decoded", expression: `request.path == "/r/ä"`, target: "/r/%C3%A4", passes: true},
		{name: "path below", expression: `request.path.startsWith("/r/public/")`, target: "/r/public/../private"},
		{name: "path below, encoded", expression: `request.path.startsWith("/r/public/")`, target: "/r/public/%2e%2e/private"},
		{name: "path below, encoded twice", expression: `request.path.startsWith("/r/public/")`, target: "/r/public/%252e%252e/p"},
		{name: "path below, parameters", expression: `request.path.startsWith("/r/public/")`, target: "/r/public/..;/private"},
		{name: "path below, backslash", expression: `request.path.startsWith("/r/public/")`, target: `/r/public/..%5cprivate`},
		{name: "path that is not", expression: `request.path != "/r/private"`, target: "/r//private"},
		{name: "path with an odd end", expression: `request.path != "/r/private"`, target: "/r/x/../private"},
		{name: "path that cannot be mistaken", expression: `request.path.startsWith("/r/")`, target: "/r/a%20b", passes: true},
		{name: "query", expression: `request.query["a"] == "1"`, target: "/r?a=1&b=2", passes: true},
		{name: "query that is not there", expression: `request.query["a"] != "1"`, target: "/r?b=2"},
		{name: "query twice", expression: `request.query["a"] != "1"`, target: "/r?a=2&a=1"},
		{name: "query asked for", expression: `"a" in request.query`, target: "/r?a=2&a=1", passes: true},
		{name: "query malformed", expression: `request.query["a"] == "1"`, target: "/r?a=1&b=%zz"},
		{name: "header", expression: `request.headers["x-a"] == "1"`, fields: []string{"X-A", "1"}, passes: true},
		{name: "header in other case", expression: `request.headers["X-a"] == "1"`, fields: []string{"X-A", "1"}, passes: true},
		{name: "header that is not there", expression: `request.headers["x-a"] != "1"`},
		{name: "header twice", expression: `request.headers["x-a"] != "1"`, fields: []string{"X-A", "2", "X-A", "1"}},
		{name: "names of headers", expression: `request.headers.exists(h, h == "x-a")`, fields: []string{"X-A", "1"}, passes: true},
		{name: "host", expression: `request.headers["host"].startsWith("127.0.0.1:")`, passes: true},
		{name: "token", expression: `"authorization" in request.headers || request.headers.exists(h, h == "authorization")`},
		{name: "identity from outside", expression: `"x-passport-subject" in request.headers`,
			fields: []string{"X-Passport-Subject", "admin"}},
		{name: "address", expression: `request.remote_ip == "127.0.0.1" && cidr("127.0.0.0/8").containsIP(request.remote_ip)`,
			passes: true},
		{name: "forged address", expression: `request.remote_ip != "127.0.0.1"`, fields: []string{"X-Forwarded-For", "10.0.0.1"}},
		{name: "header that is too long", expression: `request.headers["x-a"] != "1"`,
			fields: []string{"X-A", strings.Repeat("a", maxExpressionText+1)}},
		{name: "path that is too long", expression: `request.path != "/x"`, target: "/r/" + strings.Repeat("a", maxExpressionText)},
		{name: "too much work", expression: strings.Repeat("[0,1,2,3,4,5,6,7,8,9].all(x, ", 6) + "true" + strings.Repeat(")", 6)},
	}
	var site strings.Builder
	for i, test := range tests {
		fmt.Fprintf(&site, "\t@r%[1]d header X-Case %[1]d\n\thandle @r%[1]d {\n\t\tpassport_auth {\n\t\t\trequire `%[2]s`\n\t\t}\n"+
			"\t\treverse_proxy {$UPSTREAM}\n\t}\n", i, test.expression)
	}
	h := newHouse(t, site.String())
	token := h.token("read write")
	for i, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h.t = t
			if test.method == "" {
				test.method = http.MethodGet
			}
			if test.target == "" {
				test.target = "/r"
			}
			fields := append([]string{"X-Case", fmt.Sprint(i), "Authorization", bearer(token)}, test.fields...)
			resp := h.send(test.method, test.target, fields...)
			got := h.upstream.last()
			if test.passes {
				if resp.status != http.StatusOK || got == nil {
					t.Fatalf("%d %s", resp.status, resp.body)
				}
				return
			}
			if got != nil {
				t.Fatal("the upstream was reached")
			}
			if resp.status == http.StatusBadRequest && strings.Contains(resp.body, "more than one way") {
				return // by the doors of the site, before the expression was asked
			}
			const body = `{"error":"access_denied","error_description":"requirement 1 of this route is not met"}` + "\n"
			if resp.status != http.StatusForbidden || test.method != http.MethodHead && resp.body != body {
				t.Errorf("%d %s", resp.status, resp.body)
			}
		})
	}
}

func TestRequireAllOfThem(t *testing.T) {
	h := newHouse(t, `
		passport_auth scopes read {
			require `+"`\"write\" in scopes`"+`
			require client.id == "demo"
			require request.headers["x-a"].size() == int(request.headers["x-b"])
		}
		reverse_proxy {$UPSTREAM}`)
	for name, test := range map[string]struct {
		scope, size string
		status      int
		body        string
	}{
		"all":    {"read write", "1", 200, "upstream"},
		"scopes": {"write", "1", 403, "insufficient_scope"},
		"first":  {"read", "1", 403, "requirement 1 of this route is not met"},
		"third":  {"read write", "2", 403, "requirement 3 of this route is not met"},
		"error":  {"read write", "swordfish", 403, "requirement 3 of this route is not met"},
	} {
		t.Run(name, func(t *testing.T) {
			h.t = t
			resp := h.get("/", "Authorization", bearer(h.token(test.scope)), "X-A", "1", "X-B", test.size)
			if resp.status != test.status || !strings.Contains(resp.body, test.body) {
				t.Errorf("%d %s", resp.status, resp.body)
			}
			if strings.Contains(resp.body, "scopes") && test.status != 200 && test.body != "insufficient_scope" {
				t.Errorf("the answer has the expression: %s", resp.body)
			}
		})
	}
	h.t = t
	log := h.logged()
	if !strings.Contains(log, `requirement 3 of this route is not met`) || !strings.Contains(log, `type conversion error from …`) {
		t.Errorf("the log does not tell why the evaluation failed:\n%s", log)
	}
	if strings.Contains(log, "parsing \\\"swordfish") || strings.Contains(log, `parsing "swordfish`) {
		t.Error("the log quotes what the request has")
	}
}

// TestClientOfTheStoreInExpressions asks for what the store knows of a client.
func TestClientOfTheStoreInExpressions(t *testing.T) {
	h := newHouse(t, `
		passport_auth {
			require client.name == "Orders sync" && client.first_party
		}
		reverse_proxy {$UPSTREAM}`)
	for _, firstParty := range []bool{true, false} {
		c, secret, err := h.instance().issuer.CreateClient(t.Context(), store.Client{
			Name: "Orders sync", Grants: []string{"client_credentials"}, FirstParty: firstParty,
		})
		if err != nil {
			t.Fatal(err)
		}
		req, _ := http.NewRequest(http.MethodPost, "http://"+h.addr+"/oauth/token", strings.NewReader("grant_type=client_credentials"))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.SetBasicAuth(c.ID, secret)
		token, _ := h.do(req).json()["access_token"].(string)
		resp := h.get("/", "Authorization", bearer(token))
		if want := map[bool]int{true: 200, false: 403}[firstParty]; resp.status != want {
			t.Errorf("first party %v: %d %s", firstParty, resp.status, resp.body)
		}
	}
}

func TestErrorsOfExpressionsQuoteNothing(t *testing.T) {
	for text, want := range map[string]string{
		"no such key: tenant":                                      "no such key: tenant",
		`strconv.ParseInt: parsing "secret": invalid`:              "strconv.ParseInt: parsing …: invalid",
		"error parsing regexp: `secret":                            "error parsing regexp: …",
		`a "b" c 'd' e`:                                            "a … c … e",
		strings.Repeat("x", 1000):                                  strings.Repeat("x", 201),
		`parsing time "secret" as "2006": cannot parse "s" as "2"`: "parsing time … as …: cannot parse … as …",
	} {
		if got := withoutTexts(errors.New(text)).Error(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// BenchmarkRequire evaluates what a route requires, once the token has been found good.
func BenchmarkRequire(b *testing.B) {
	for name, expression := range map[string]string{
		"three claims and the path": `claims.sub == "demo" && claims.client_id == "demo" && claims.scope == "read write" && ` +
			`request.path.startsWith("/orders/")`,
		"the contract's": `client.id == "demo" && request.method == "GET" && "read" in scopes`,
		"header":         `request.headers["accept"] == "*/*"`,
		"network":        `cidr("192.0.2.0/24").containsIP(request.remote_ip)`,
	} {
		b.Run(name, func(b *testing.B) {
			h := newHouse(b, "")
			open := h.instance()
			r := httptest.NewRequest(http.MethodGet, "http://"+h.addr+"/orders/17", nil)
			r.Header.Set("Accept", "*/*")
			r = r.WithContext(context.WithValue(b.Context(), caddyhttp.VarsCtxKey,
				map[string]any{caddyhttp.ClientIPVarKey: "192.0.2.1"}))
			id, err := open.verifier.Verify(b.Context(), h.token("read write"), open.issuer.IdentifierFor(r))
			if err != nil {
				b.Fatal(err)
			}
			required, err := compileRequirements([]string{expression})
			if err != nil {
				b.Fatal(err)
			}
			app, _ := activeApp()
			g := &gate{require: required, instance: app.find("default")}
			b.ReportAllocs()
			for b.Loop() {
				if refused := g.meets(r, open, id); refused != nil {
					b.Fatal(refused.description, refused.cause)
				}
			}
		})
	}
}

// TestRequireSeesAnotherPathByAnotherMethod: upstreams read both in other ways than they were sent.
func TestRequireSeesAnotherPathByAnotherMethod(t *testing.T) {
	h := newHouse(t, `
		passport_auth {
			require `+"`"+`request.method != "DELETE" || !request.path.startsWith("/r/admin/")`+"`"+`
		}
		reverse_proxy {$UPSTREAM}`)
	token := h.token("read")
	many := make([]string, 0, 130) // with room for the token
	for i := range 60 {
		many = append(many, "X-Http-Method-Override", "M"+strconv.Itoa(i))
	}
	for _, test := range []struct {
		target string
		header []string
		want   int
	}{
		{"/r/admin/1", nil, http.StatusOK},
		{"/r//admin/1", nil, http.StatusOK},
		{"/r/orders/1", []string{"X-Http-Method-Override", "DELETE"}, http.StatusOK},
		{"/r/admin/1", []string{"X-Http-Method-Override", "DELETE"}, http.StatusForbidden},
		{"/r//admin/1", []string{"X-Http-Method-Override", "DELETE"}, http.StatusForbidden},
		{"/r/x/..;/admin/1", []string{"X-Http-Method-Override", "DELETE"}, http.StatusForbidden},
		{"/r//admin/1?_method=DELETE", nil, http.StatusForbidden},
		{"/r//orders/1", many, http.StatusForbidden},
	} {
		if resp := h.get(test.target, append(test.header, "Authorization", bearer(token))...); resp.status != test.want {
			t.Errorf("%s %q: %d, want %d", test.target, test.header, resp.status, test.want)
		}
	}
}

// TestRefusesRequireOfRequestWithAnyNumberOfReadings: who has a token may not have readings made, and an expression
// evaluated for each, as often as the request likes.
func TestRefusesRequireOfRequestWithAnyNumberOfReadings(t *testing.T) {
	h := newHouse(t, "")
	token := h.token("read")
	var methods strings.Builder
	for i := range maxMethods + 1 {
		fmt.Fprintf(&methods, "&_method=M%d", i)
	}
	paths := map[string]string{
		"longer than any honest one": strings.Repeat("/.pl", 3500) + "/%61",
		"much text":                  "/" + strings.Repeat("a", maxOddPath) + "%2f",
	}
	maps.Copy(paths, manyReadings)
	for name, expression := range map[string]string{
		"path": `request.path.startsWith("/")`, "method": `request.method != "DELETE"`, "neither": `client.id == "demo"`,
	} {
		h.load("http://{$ADDR} {\npassport_server\npassport_auth {\nrequire `" + expression + "`\n}\n" +
			"reverse_proxy {$UPSTREAM}\n}")
		wants := map[string]int{"/1?" + methods.String(): map[bool]int{true: 403, false: 200}[name == "method"]}
		for _, path := range paths {
			wants[path] = map[bool]int{true: 403, false: 200}[name == "path"]
		}
		for target, want := range wants {
			since := len(h.logged())
			resp := h.plain("GET", target, "Authorization: "+bearer(token))
			if got := h.upstream.last(); resp.status != want || (got != nil) != (want == 200) {
				t.Errorf("%s, %.40s: %d, want %d", name, target, resp.status, want)
			}
			if told := strings.Contains(h.logged()[since:], errTooManyReadings.Error()); told != (want == 403) {
				t.Errorf("%s, %.40s: told of in the log: %v", name, target, told)
			}
		}
	}
	for name, path := range paths {
		u, err := url.ParseRequestURI(path)
		if err != nil {
			t.Fatal(err)
		}
		if n := testing.AllocsPerRun(10, func() { _, _ = otherPaths(u) }); n > 100 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
