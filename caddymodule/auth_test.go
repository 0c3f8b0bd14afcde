package caddymodule

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/oauth2-passport/caddy-passport/store"
)

func TestPassesGoodTokens(t *testing.T) {
	h := newHouse(t, `
		passport_auth scopes read
		reverse_proxy {$UPSTREAM}`)
	token := h.token("read write")
	for _, scheme := range []string{"Bearer ", "bearer ", "BEARER   "} {
		resp := h.get("/orders/1?x=y", "Authorization", scheme+token, "Accept", "text/plain")
		if resp.status != http.StatusOK || resp.body != "upstream" {
			t.Fatalf("%d %s", resp.status, resp.body)
		}
		got := h.upstream.last()
		if got.uri != "/orders/1?x=y" || got.header.Get("Accept") != "text/plain" {
			t.Errorf("the upstream got %s %v", got.uri, got.header)
		}
		if got.header["Authorization"] != nil {
			t.Error("the upstream got the token")
		}
		for name, want := range map[string]string{
			"X-Passport-Subject": testClient,
			"X-Passport-Client":  testClient,
			"X-Passport-Scope":   "read write",
			"X-Passport-Issuer":  "http://" + h.addr,
		} {
			if v := got.header[name]; len(v) != 1 || v[0] != want {
				t.Errorf("%s: %q, want %q", name, v, want)
			}
		}
		if got.header["X-Passport-Username"] != nil {
			t.Error("a client has a user name")
		}
	}
}

// TestAnswers is the table of section 4 of the contract.
func TestAnswers(t *testing.T) {
	h := newHouse(t, `
		handle /open {
			passport_auth
			reverse_proxy {$UPSTREAM}
		}
		handle /read {
			passport_auth scopes read
			reverse_proxy {$UPSTREAM}
		}
		handle /both {
			passport_auth scopes read admin {
				realm "The \"Orders\" \ API"
			}
			reverse_proxy {$UPSTREAM}
		}
		handle /any {
			passport_auth {
				any_scope write admin
				scopes read
			}
			reverse_proxy {$UPSTREAM}
		}
		handle /person {
			passport_auth {
				subject user
			}
			reverse_proxy {$UPSTREAM}
		}
		handle /machine {
			passport_auth {
				subject client
			}
			reverse_proxy {$UPSTREAM}
		}
		handle /elsewhere {
			passport_auth {
				audience https://other.example
			}
			reverse_proxy {$UPSTREAM}
		}
		handle /here {
			passport_auth {
				audience https://other.example http://{$ADDR}
			}
			reverse_proxy {$UPSTREAM}
		}
		handle /others {
			passport_auth {
				clients brief
			}
			reverse_proxy {$UPSTREAM}
		}
		handle /ours {
			passport_auth {
				clients brief demo
			}
			reverse_proxy {$UPSTREAM}
		}`)
	none, read, write, all := h.token(""), h.token("read"), h.token("read write"), h.token("*")
	revoked := h.token("read")
	h.revoke(revoked)
	key := h.instance().ring.Current()
	sign := func(claims string) string {
		token, err := key.SignJWT("at+jwt", []byte(claims))
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	claims := func(iss, exp string) string {
		return fmt.Sprintf(`{"iss":%q,"sub":"demo","aud":%[1]q,"client_id":"demo","jti":"j1","iat":1,"exp":%s}`, iss, exp)
	}
	expired, foreign := sign(claims("http://"+h.addr, "2")), sign(claims("https://other.example", "4000000000"))
	const id, anonymous = `Bearer realm="passport"`, "an access token is needed, in the header field Authorization: Bearer"
	invalid := func(description string) string {
		return id + `, error="invalid_token", error_description="the access token ` + description + `"`
	}
	tests := map[string]struct {
		path, token string
		status      int
		challenge   string
		body        map[string]any // error, error_description, scope
	}{
		"no token": {"/open", "", 401, id, map[string]any{"error_description": anonymous}},
		"no token, scope needed": {"/read", "", 401, id + `, scope="read"`,
			map[string]any{"error_description": anonymous, "scope": "read"}},
		"no token, realm to be quoted": {"/both", "", 401, `Bearer realm="The \"Orders\" \\ API", scope="read admin"`,
			map[string]any{"error_description": anonymous, "scope": "read admin"}},
		"malformed": {"/read", "nonsense", 401, invalid("is malformed"),
			map[string]any{"error": "invalid_token", "error_description": "the access token is malformed"}},
		"expired": {"/read", expired, 401, invalid("has expired"),
			map[string]any{"error": "invalid_token", "error_description": "the access token has expired"}},
		"revoked": {"/read", revoked, 401, invalid("has been revoked"),
			map[string]any{"error": "invalid_token", "error_description": "the access token has been revoked"}},
		"another issuer": {"/read", foreign, 401, invalid("comes from another issuer"),
			map[string]any{"error": "invalid_token", "error_description": "the access token comes from another issuer"}},
		"another audience": {"/elsewhere", read, 401, invalid("is meant for another audience"),
			map[string]any{"error": "invalid_token", "error_description": "the access token is meant for another audience"}},
		"no scope at all": {"/read", none, 403,
			id + `, error="insufficient_scope", error_description="the access token lacks a scope that is needed here", ` +
				`scope="read"`,
			map[string]any{"error": "insufficient_scope", "scope": "read",
				"error_description": "the access token lacks a scope that is needed here"}},
		"a scope missing": {"/both", read, 403,
			`Bearer realm="The \"Orders\" \\ API", error="insufficient_scope", ` +
				`error_description="the access token lacks a scope that is needed here", scope="read admin"`,
			map[string]any{"error": "insufficient_scope", "scope": "read admin",
				"error_description": "the access token lacks a scope that is needed here"}},
		"none of any_scope": {"/any", read, 403,
			id + `, error="insufficient_scope", error_description="the access token lacks a scope that is needed here", ` +
				`scope="read write admin"`,
			map[string]any{"error": "insufficient_scope", "scope": "read write admin",
				"error_description": "the access token lacks a scope that is needed here"}},
		"no person": {"/person", read, 403, "", map[string]any{"error": "access_denied",
			"error_description": "only a person may do this, not a client that acts for itself"}},
		"another client": {"/others", read, 403, "", map[string]any{"error": "access_denied",
			"error_description": "the client may not do this"}},
		"good":                    {"/open", none, 200, "", nil},
		"good, with the scope":    {"/read", read, 200, "", nil},
		"good, with one of any":   {"/any", write, 200, "", nil},
		"good, every scope":       {"/both", all, 200, "", nil},
		"good, any of all":        {"/any", all, 200, "", nil},
		"good, client":            {"/machine", none, 200, "", nil},
		"good, among audiences":   {"/here", none, 200, "", nil},
		"good, among the clients": {"/ours", none, 200, "", nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			h.t = t
			var fields []string
			if test.token != "" {
				fields = []string{"Authorization", bearer(test.token)}
			}
			resp := h.get(test.path, fields...)
			if resp.status != test.status {
				t.Fatalf("%d %s", resp.status, resp.body)
			}
			if got := strings.Join(resp.header["Www-Authenticate"], "|"); got != test.challenge {
				t.Errorf("WWW-Authenticate:\n got %s\nwant %s", got, test.challenge)
			}
			if got := h.upstream.last() != nil; got != (test.status == 200) {
				t.Errorf("the upstream was reached: %v", got)
			}
			if test.status == 200 {
				return
			}
			if got := fmt.Sprint(resp.json()); got != fmt.Sprint(test.body) {
				t.Errorf("body:\n got %s\nwant %s", got, fmt.Sprint(test.body))
			}
			if resp.header.Get("Content-Type") != "application/json" || resp.header.Get("Cache-Control") != "no-store" {
				t.Errorf("header: %v", resp.header)
			}
		})
	}
	h.t = t
	log := h.logged()
	for name, token := range map[string]string{
		"none": none, "read": read, "write": write, "all": all, "revoked": revoked, "expired": expired, "foreign": foreign,
	} {
		if strings.Contains(log, token) {
			t.Errorf("the token %s is in the log", name)
		}
	}
	for _, line := range []string{
		`"reason":"the access token has expired","jti":"j1","client_id":"demo"`,
		`"reason":"the access token lacks a scope that is needed here","token":{"jti":`,
		`"reason":"the access token comes from another issuer","method":"GET",`, // whose jti nobody vouches for
	} {
		if !strings.Contains(log, line) {
			t.Errorf("the log lacks %s", line)
		}
	}
}

func TestRefusesTokenSentInTwoWays(t *testing.T) {
	h := newHouse(t, `
		handle /optional* {
			passport_auth {
				optional
				preflight
			}
			reverse_proxy {$UPSTREAM}
		}
		handle {
			passport_auth
			reverse_proxy {$UPSTREAM}
		}`)
	token := h.token("read")
	tests := map[string]struct {
		path   string
		fields []string
	}{
		"two fields":              {"/", []string{bearer(token), bearer(token)}},
		"two tokens":              {"/", []string{bearer(token), bearer(h.token("read"))}},
		"two schemes":             {"/", []string{bearer(token), "Basic ZGVtbzpkZW1v"}},
		"two others":              {"/", []string{"Basic ZGVtbzpkZW1v", "Basic ZGVtbzpkZW1v"}},
		"an empty one":            {"/", []string{"", bearer(token)}},
		"optional":                {"/optional", []string{bearer(token), bearer(token)}},
		"and in the query":        {"/?access_token=" + token, []string{bearer(token)}},
		"and in the query, empty": {"/?a=b&access_token", []string{bearer(token)}},
		"and encoded":             {"/?a=b&access%5ftoken=" + token, []string{bearer(token)}},
		"and after a semicolon":   {"/?a=b;access_token=" + token, []string{bearer(token)}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			h.t = t
			var fields []string
			for _, f := range test.fields {
				fields = append(fields, "Authorization", f)
			}
			resp := h.get(test.path, fields...)
			if resp.status != http.StatusBadRequest || resp.json()["error"] != "invalid_request" {
				t.Errorf("%d %s", resp.status, resp.body)
			}
			if got := resp.header.Get("WWW-Authenticate"); !strings.Contains(got, `error="invalid_request"`) {
				t.Errorf("WWW-Authenticate: %s", got)
			}
			if h.upstream.last() != nil {
				t.Error("the upstream was reached")
			}
		})
	}
}

func TestRefusesTokenInQueryAlone(t *testing.T) {
	h := newHouse(t, `
		passport_auth
		reverse_proxy {$UPSTREAM}`)
	resp := h.get("/?access_token=" + h.token("read"))
	if resp.status != http.StatusUnauthorized || strings.Contains(resp.header.Get("WWW-Authenticate"), "error=") {
		t.Errorf("%d %v", resp.status, resp.header)
	}
}

func TestOptional(t *testing.T) {
	h := newHouse(t, `
		passport_auth {
			optional
			upstream_header X-Api-Key internal
			upstream_header X-Legacy-Client {passport.client_id}
		}
		reverse_proxy {$UPSTREAM} {
			header_up X-Seen "<{passport.subject}{passport.claims.jti}{passport.scope}{passport.username}>"
		}`)
	t.Run("anonymous", func(t *testing.T) {
		h.t = t
		resp := h.get("/", "Authorization", "Basic ZGVtbzpkZW1v", "X-Legacy-Client", "forged")
		got := h.upstream.last()
		if resp.status != http.StatusOK || got == nil {
			t.Fatalf("%d %s", resp.status, resp.body)
		}
		if got.header.Get("Authorization") != "Basic ZGVtbzpkZW1v" {
			t.Error("what is not ours did not reach the upstream")
		}
		for name := range got.header {
			if strings.HasPrefix(name, "X-Passport") || name == "X-Api-Key" || name == "X-Legacy-Client" {
				t.Errorf("anonymous, but %s: %s", name, got.header.Get(name))
			}
		}
		if got.header.Get("X-Seen") != "<>" {
			t.Errorf("placeholders: %s", got.header.Get("X-Seen"))
		}
	})
	t.Run("with a token", func(t *testing.T) {
		h.t = t
		resp := h.get("/", "Authorization", bearer(h.token("read")), "X-Legacy-Client", "forged")
		got := h.upstream.last()
		if resp.status != http.StatusOK || got.header.Get("X-Api-Key") != "internal" ||
			fmt.Sprint(got.header["X-Legacy-Client"]) != "[demo]" {
			t.Errorf("%d %v", resp.status, got)
		}
	})
	for name, field := range map[string]string{
		"a bad token": bearer("nonsense"), "no token after the scheme": "Bearer", "a tab": "Bearer\tabc",
	} {
		t.Run(name, func(t *testing.T) {
			h.t = t
			if resp := h.get("/", "Authorization", field); resp.status != http.StatusUnauthorized {
				t.Errorf("%d %s", resp.status, resp.body)
			}
			if h.upstream.last() != nil {
				t.Error("the upstream was reached")
			}
		})
	}
}

func TestForwardToken(t *testing.T) {
	h := newHouse(t, `
		passport_auth /both/* {
			forward_token
		}
		passport_auth /one/* {
			forward_token
		}
		passport_auth /one/two/*
		reverse_proxy {$UPSTREAM}`)
	token := h.token("read")
	for path, want := range map[string]string{"/both/1": bearer(token), "/one/two/3": ""} {
		if resp := h.get(path, "Authorization", bearer(token)); resp.status != http.StatusOK {
			t.Fatalf("%d %s", resp.status, resp.body)
		}
		if got := h.upstream.last().header.Get("Authorization"); got != want {
			t.Errorf("%s: Authorization: %q", path, got)
		}
	}
}

// TestLeavesTheOperatorsAuthorizationAlone has a directive between two passport_auth that puts the upstream's own
// credential where the token was.
func TestLeavesTheOperatorsAuthorizationAlone(t *testing.T) {
	h := newHouse(t, `
		route {
			passport_auth
			request_header Authorization "Basic b3du"
			passport_auth scopes read
			reverse_proxy {$UPSTREAM}
		}`)
	resp := h.get("/", "Authorization", bearer(h.token("read")), "Connection", "Authorization")
	if got := h.upstream.last(); resp.status != http.StatusOK || got.header.Get("Authorization") != "Basic b3du" {
		t.Errorf("%d %v", resp.status, got)
	}
}

func TestSeveralOnOneRequestAllApply(t *testing.T) {
	h := newHouse(t, `
		passport_auth scopes read
		passport_auth /admin/* scopes admin
		handle /admin/keys {
			passport_auth scopes write
			reverse_proxy {$UPSTREAM}
		}
		handle {
			reverse_proxy {$UPSTREAM}
		}`)
	read, admin, all := h.token("read"), h.token("read admin"), h.token("read write admin")
	for _, test := range []struct {
		path, token string
		status      int
	}{
		{"/", read, 200}, {"/admin/x", read, 403}, {"/admin/keys", read, 403},
		{"/", admin, 200}, {"/admin/x", admin, 200}, {"/admin/keys", admin, 403},
		{"/", all, 200}, {"/admin/x", all, 200}, {"/admin/keys", all, 200},
		{"/admin/x", h.token("admin"), 403}, {"/admin/keys", h.token("write admin"), 403},
	} {
		if resp := h.get(test.path, "Authorization", bearer(test.token)); resp.status != test.status {
			t.Errorf("%s: %d, want %d", test.path, resp.status, test.status)
		}
	}
}

func TestPreflight(t *testing.T) {
	h := newHouse(t, `
		handle /with/* {
			passport_auth {
				preflight
			}
			reverse_proxy {$UPSTREAM}
		}
		handle {
			passport_auth
			reverse_proxy {$UPSTREAM}
		}`)
	origin := []string{"Origin", "https://app.example", "Access-Control-Request-Method", "PUT"}
	tests := map[string]struct {
		method, path string
		fields       []string
		status       int
	}{
		"let through":      {"OPTIONS", "/with/1", origin, 200},
		"not asked for":    {"OPTIONS", "/1", origin, 401},
		"another method":   {"GET", "/with/1", origin, 401},
		"no preflight":     {"OPTIONS", "/with/1", nil, 401},
		"no origin":        {"OPTIONS", "/with/1", origin[2:], 401},
		"no method":        {"OPTIONS", "/with/1", origin[:2], 401},
		"with a bad token": {"OPTIONS", "/with/1", append([]string{"Authorization", "Bearer x"}, origin...), 401},
		"method to be overridden": {"OPTIONS", "/with/1",
			append([]string{"X-Http-Method-Override", "DELETE"}, origin...), 200},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			h.t = t
			resp := h.send(test.method, test.path, test.fields...)
			if resp.status != test.status {
				t.Errorf("%d %s", resp.status, resp.body)
			}
			if got := h.upstream.last(); got != nil && got.header["X-Http-Method-Override"] != nil {
				t.Error("the upstream got another method")
			}
		})
	}
	t.Run("its body", func(t *testing.T) {
		h.t = t
		resp := h.raw("OPTIONS /with/1 HTTP/1.1\nHost: " + h.addr + "\nOrigin: https://app.example\n" +
			"Access-Control-Request-Method: PUT\nTransfer-Encoding: chunked\n\n5\nhello\n0\n\n")
		if got := h.upstream.last(); resp.status != 200 || got.body != "" {
			t.Errorf("%d, and the upstream got %v", resp.status, got)
		}
	})
}

func TestScriptsReadRefusalsWhereTheyMayCall(t *testing.T) {
	h := newHouse(t, `
		handle /with/* {
			passport_auth scopes admin {
				preflight
			}
			reverse_proxy {$UPSTREAM}
		}
		handle /own/* {
			header Access-Control-Allow-Origin https://app.example
			passport_auth scopes admin {
				preflight
			}
			reverse_proxy {$UPSTREAM}
		}
		handle {
			passport_auth scopes admin
			reverse_proxy {$UPSTREAM}
		}`)
	token := bearer(h.token("read"))
	for path, want := range map[string]struct{ origin, exposed string }{
		"/with/1": {"*", "WWW-Authenticate, Retry-After"},
		"/own/1":  {"https://app.example", "WWW-Authenticate, Retry-After"},
		"/1":      {"", ""},
	} {
		for _, fields := range [][]string{{}, {"Authorization", token}} {
			resp := h.get(path, append(fields, "Origin", "https://app.example")...)
			if resp.status != http.StatusUnauthorized && resp.status != http.StatusForbidden {
				t.Errorf("%s: %d", path, resp.status)
			}
			if got := strings.Join(resp.header["Access-Control-Allow-Origin"], ", "); got != want.origin {
				t.Errorf("%s: Access-Control-Allow-Origin: %q", path, got)
			}
			if got := strings.Join(resp.header["Access-Control-Expose-Headers"], ", "); got != want.exposed {
				t.Errorf("%s: Access-Control-Expose-Headers: %q", path, got)
			}
		}
	}
	if resp := h.get("/with/1", "Authorization", bearer(h.token("admin"))); resp.header["Access-Control-Allow-Origin"] != nil {
		t.Error("it stands in the upstream's answer too")
	}
}

func TestPlaceholders(t *testing.T) {
	h := newHouse(t, `
		log
		passport_auth scopes read
		header >X-Seen "{passport.subject} {passport.client_id} {passport.scope} {passport.issuer} {passport.username}"
		header >X-Claims "{passport.claims.aud}|{passport.claims.exp}|{passport.claims.none}|{http.auth.user.id}"
		header >X-None "{passport.nothing}"
		header >X-Token {passport.token_id}
		header X-Visit <{http.vars.passport.visit}>
		reverse_proxy {$UPSTREAM}`)
	token := h.token("read write")
	resp := h.get("/", "Authorization", bearer(token))
	issuer := "http://" + h.addr
	if got := resp.header.Get("X-Seen"); got != "demo demo read write "+issuer {
		t.Errorf("placeholders: %s", got)
	}
	got := resp.header.Get("X-Claims")
	if !strings.HasPrefix(got, issuer+"|") || !strings.HasSuffix(got, "||demo") || len(got) < len(issuer)+16 {
		t.Errorf("claims: %s", got)
	}
	if got := resp.header.Get("X-None"); got != "{passport.nothing}" {
		t.Errorf("a placeholder that does not exist: %s", got)
	}
	if len(resp.header.Get("X-Token")) != 36 {
		t.Errorf("token_id: %s", resp.header.Get("X-Token"))
	}
	if resp.header.Get("X-Visit") != "<>" {
		t.Errorf("a variable shows what it should not: %s", resp.header.Get("X-Visit"))
	}
	if log := h.logged(); !strings.Contains(log, `"user_id":"demo"`) || strings.Contains(log, token) {
		t.Error("the access log lacks the user, or has the token")
	}
}

// TestRefusesVerdictOfAnotherRoute races routes with different demands over one cache.
func TestRefusesVerdictOfAnotherRoute(t *testing.T) {
	h := newHouse(t, `
		passport_auth /read scopes read
		passport_auth /write scopes write
		passport_auth /admin scopes admin
		passport_auth /any {
			any_scope write admin
		}
		passport_auth /person {
			subject user
		}
		passport_auth /brief {
			clients brief
		}
		@post {
			method POST
			path /read
		}
		passport_auth @post scopes write
		reverse_proxy {$UPSTREAM}`)
	tokens := map[string]string{"read": h.token("read"), "read write": h.token("read write"), "admin": h.token("admin")}
	may := map[string]string{
		"GET /read": "read, read write", "POST /read": "read write", "GET /write": "read write", "GET /admin": "admin",
		"GET /any": "read write, admin", "GET /person": "", "GET /brief": "",
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 15 {
				for what, who := range may {
					method, path, _ := strings.Cut(what, " ")
					for scope, token := range tokens {
						req, _ := http.NewRequest(method, "http://"+h.addr+path, nil)
						req.Header.Set("Authorization", bearer(token))
						resp, err := h.http.Do(req)
						if err != nil {
							t.Error(err)
							return
						}
						resp.Body.Close()
						want := http.StatusForbidden
						for one := range strings.SplitSeq(who, ", ") {
							if one == scope {
								want = http.StatusOK
							}
						}
						if resp.StatusCode != want {
							t.Errorf("%s with %s: %d, want %d", what, scope, resp.StatusCode, want)
						}
					}
				}
			}
		})
	}
	wg.Wait()
}

// TestFailsClosedWithoutStorage ends the client of a token that is not remembered, while storage is away.
func TestFailsClosedWithoutStorage(t *testing.T) {
	h := newHouse(t, `
		@admin passport scopes admin
		handle /matched {
			respond @admin "admin"
			reverse_proxy {$UPSTREAM}
		}
		handle /optional {
			passport_auth {
				optional
			}
			reverse_proxy {$UPSTREAM}
		}
		handle {
			passport_auth
			reverse_proxy {$UPSTREAM}
		}`)
	h.update(func(r *store.Records) error { return r.PutClient(&store.Client{ID: "stored", Name: "stored"}) })
	issuer := "http://" + h.addr
	token, err := h.instance().ring.Current().SignJWT("at+jwt", fmt.Appendf(nil,
		`{"iss":%q,"sub":"stored","aud":%[1]q,"client_id":"stored","jti":"j1","iat":%d,"exp":4000000000}`,
		issuer, h.instance().db.Now().Unix()))
	if err != nil {
		t.Fatal(err)
	}
	if err := closeEngines(); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/", "/optional", "/matched"} {
		resp := h.get(path, "Authorization", bearer(token))
		if resp.status != http.StatusServiceUnavailable {
			t.Errorf("%s: %d %s", path, resp.status, resp.body)
		}
		if path != "/matched" && (resp.header.Get("Retry-After") == "" || resp.json()["error"] != "temporarily_unavailable") {
			t.Errorf("%s: %v %s", path, resp.header, resp.body)
		}
		if h.upstream.last() != nil {
			t.Errorf("%s: the upstream was reached", path)
		}
	}
	if log := h.logged(); !strings.Contains(log, `"level":"error"`) || strings.Contains(log, token) {
		t.Errorf("the log: %s", log)
	}
	if resp := h.get("/optional"); resp.status != http.StatusOK {
		t.Errorf("anonymous: %d %s", resp.status, resp.body)
	}
	if resp := h.get("/"); resp.status != http.StatusUnauthorized {
		t.Errorf("no token: %d %s", resp.status, resp.body)
	}
}

// closeEngines takes storage away.
func closeEngines() (err error) {
	engines.Range(func(_, engine any) bool {
		err = errors.Join(err, engine.(*pooledEngine).Engine.Close())
		return true
	})
	return err
}

func TestRefusesBadConfig(t *testing.T) {
	tests := map[string]struct {
		auth Auth
		want string
	}{
		"scope with space":     {Auth{Scopes: []string{"a b"}}, "no name for a scope"},
		"scope *":              {Auth{AnyScope: []string{"*"}}, "scope *"},
		"scope twice":          {Auth{Scopes: []string{"a", "a"}}, "repeated"},
		"empty scope":          {Auth{Scopes: []string{""}}, "empty"},
		"subject":              {Auth{Subject: "robot"}, "unknown subject"},
		"empty audience":       {Auth{Audience: []string{""}}, "empty"},
		"client twice":         {Auth{Clients: []string{"c", "c"}}, "repeated"},
		"realm":                {Auth{Realm: "a\r\nX-Forged: 1"}, "control character"},
		"header's name":        {Auth{UpstreamHeaders: map[string]string{"X Y": "1"}}, "no name for a header"},
		"header authorization": {Auth{UpstreamHeaders: map[string]string{"authorization": "1"}}, "header_up"},
		"header connection":    {Auth{UpstreamHeaders: map[string]string{"Connection": "1"}}, "connection"},
		"identity header":      {Auth{UpstreamHeaders: map[string]string{"x-passport-subject": "1"}}, "identity"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			a := test.auth
			a.gate = &gate{
				scopes: a.Scopes, anyScope: a.AnyScope, subject: a.Subject, audience: a.Audience, clients: a.Clients,
			}
			for name := range a.UpstreamHeaders {
				a.upstream = append(a.upstream, upstreamHeader{http.CanonicalHeaderKey(name), ""})
			}
			if err := a.Validate(); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v", err)
			}
		})
	}
}
