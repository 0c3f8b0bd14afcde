package tests

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/oauth2-passport/caddy-passport/tests/internal/gateway"
)

// sessionSite is a gateway before a web app whose pages call the API with the browser's session. {$OTHER} is a second
// site, of another issuer; {$BARE} one of the same issuer that has no sign-in page.
const sessionSite = `{
	default_bind 127.0.0.1
	passport {
		scope read "See your orders"
		scope write "Place and change orders"
		scope manage "Look after orders" {
			includes read write
		}
		scope admin "Everything" {
			restricted
		}
	}
	passport other
}

http://127.0.0.1:{$PORT} {
	passport_server {
		prefix /id
	}
	passport_auth /api/* scopes read
	passport_auth /app/* {
		session
		scopes read
	}
	passport_auth /write/* {
		session
		scopes write
	}
	passport_auth /admin/* {
		session
		scopes admin
	}
	passport_auth /clients/* {
		session
		clients somebody
	}
	passport_auth /bound/* {
		session
		audience https://elsewhere.example
	}
	passport_auth /both/* {
		session
		scopes read
	}
	passport_auth /both/* {
		session
		subject user
	}
	passport_auth /ada/* {
		session
		subject user
		require ` + "`user.username == \"ada\" && user.email.endsWith(\"@example.com\") && user.id != \"\"`" + `
		require ` + "`\"write\" in scopes && !has(client.id)`" + `
		upstream_header X-Who "{passport.username} {passport.client_id} {passport.scope} {http.auth.user.id}"
	}
	passport_auth /maybe/* {
		session
		optional
	}
	handle_path /inside/* {
		passport_auth {
			session
		}
		reverse_proxy {$UPSTREAM}
	}
	reverse_proxy {$UPSTREAM}
}

http://127.0.0.1:{$OTHER} {
	passport_server other
	passport_auth {
		issuer other
		session
	}
	reverse_proxy {$UPSTREAM}
}

http://127.0.0.1:{$BARE} {
	passport_auth {
		session
	}
	reverse_proxy {$UPSTREAM}
}
`

// sessions is a gateway with a person who has signed in.
type sessions struct {
	*testing.T
	g        *gateway.Gateway
	upstream *gateway.Upstream
	other    string // the URL of the other issuer's site
	bare     string // that of the site without sign-in page
	password string
	*gateway.Browser
}

func startSessions(t *testing.T, site, upstream string) *sessions {
	t.Helper()
	ports := gateway.FreePorts(t, 2)
	s := &sessions{T: t, other: "http://127.0.0.1:" + ports[0], bare: "http://127.0.0.1:" + ports[1]}
	if upstream == "" {
		s.upstream = gateway.NewUpstream(t)
		upstream = s.upstream.Addr
	}
	s.g = gateway.Start(t, site, "UPSTREAM="+upstream, "OTHER="+ports[0], "BARE="+ports[1])
	s.password = s.person("ada")
	s.Browser = s.signIn("ada", s.password)
	return s
}

// person makes an account and returns its password.
func (s *sessions) person(name string, flags ...string) string {
	s.Helper()
	made := s.caddy(append([]string{"user", "create", name, "--email", name + "@example.com"}, flags...)...)
	password, _ := made["password"].(string)
	if password == "" {
		s.Fatalf("user create: %v", made)
	}
	s.g.Secret(password)
	return password
}

// personalToken makes a personal access token, and returns it with its ID.
func (s *sessions) personalToken(person, scopes string) (token, id string) {
	s.Helper()
	made := s.caddy("token", "create", "--user", person, "--name", "test", "--scopes", scopes)
	token, _ = made["access_token"].(string)
	if id, _ = made["jti"].(string); token == "" || id == "" {
		s.Fatalf("token create: %v", made)
	}
	s.g.Secret(token)
	return token, id
}

// caddy runs a command of the plugin and returns what it prints.
func (s *sessions) caddy(args ...string) map[string]any {
	s.Helper()
	args = append(append([]string{"passport"}, args...), "--json", "--address", s.g.Admin)
	out, faults, code := s.g.Caddy(args...)
	var answer map[string]any
	if code != 0 || json.Unmarshal([]byte(out), &answer) != nil && out != "" {
		s.Fatalf("caddy %s: %d %s%s", strings.Join(args, " "), code, out, faults)
	}
	return answer
}

// signIn opens a browser and signs a person in with it.
func (s *sessions) signIn(name, password string) *gateway.Browser {
	s.Helper()
	b := s.g.Browser()
	page := b.Open("/id/login?return=/open")
	form := page.Form("username", name, "password", password)
	if page = b.Send("/id/login", form); page.Status != http.StatusOK || page.Path != "/open" {
		s.Fatalf("signing in: %d at %s: %s", page.Status, page.Path, page.Body)
	}
	return b
}

// call sends a request of a page's script: method and path, and header fields as name and value in turn.
func (s *sessions) call(b *gateway.Browser, method, path string, fields ...string) gateway.Response {
	s.Helper()
	if !strings.HasPrefix(path, "http") {
		path = s.g.URL + path
	}
	req, err := http.NewRequestWithContext(s.Context(), method, path, nil)
	if err != nil {
		s.Fatal(err)
	}
	for i := 0; i < len(fields); i += 2 {
		req.Header.Add(fields[i], fields[i+1])
	}
	return b.Do(req).Response
}

// want sends a request and compares the status; a request that is refused must not reach the upstream.
func (s *sessions) want(b *gateway.Browser, status int, method, path string, fields ...string) gateway.Response {
	s.Helper()
	before := len(s.upstream.Requests())
	resp := s.call(b, method, path, fields...)
	if came := len(s.upstream.Requests()) > before; resp.Status != status || came != (status == http.StatusOK) {
		s.Errorf("%s %s with %q: %d, want %d; the upstream got it: %v; %s",
			method, path, fields, resp.Status, status, came, resp.Body)
	}
	return resp
}

func TestSessionIsIdentityForTheSitesOwnPages(t *testing.T) {
	s := startSessions(t, sessionSite, "")
	token := s.Cookie("XSRF-TOKEN")
	if token == "" || s.Cookie("passport_session") == "" {
		t.Fatal("signing in has set no cookies")
	}
	for range 2 { // the second time from the cache
		s.want(s.Browser, 200, "GET", "/app/orders")
		got := s.upstream.Last().Header
		if got.Get("X-Passport-Subject") == "" || got.Get("X-Passport-Username") != "ada" ||
			got.Get("X-Passport-Issuer") != s.g.URL || got.Get("X-Passport-Scope") != "read write manage" ||
			got.Values("X-Passport-Client") != nil {
			t.Errorf("the upstream got %v", got)
		}
		if cookie := got.Get("Cookie"); strings.Contains(cookie, "session") {
			t.Errorf("the upstream got the cookie %s", cookie)
		}
		s.want(s.Browser, 200, "POST", "/write/orders", "X-XSRF-TOKEN", token)
		s.want(s.Browser, 200, "DELETE", "/write/orders/1", "X-CSRF-TOKEN", token, "X-XSRF-TOKEN", "the upstream's own")
		s.want(s.Browser, 200, "PUT", "/both/1", "X-XSRF-TOKEN", token, "Origin", s.g.URL)
		s.want(s.Browser, 200, "HEAD", "/app/orders")
		s.want(s.Browser, 403, "GET", "/admin/all")
		s.want(s.Browser, 403, "GET", "/clients/1")
		s.want(s.Browser, 200, "GET", "/bound/1") // an audience is a token's
		s.want(s.Browser, 200, "GET", "/inside/1")
		s.want(s.Browser, 200, "GET", "/maybe/1")
		s.want(s.Browser, 401, "GET", "/api/orders") // tokens only
	}
	s.want(s.Browser, 200, "GET", "/ada/1")
	got := s.upstream.Last().Header
	if want := "ada  read write manage " + got.Get("X-Passport-Subject"); got.Get("X-Who") != want {
		t.Errorf("placeholders: %q, want %q", got.Get("X-Who"), want)
	}
	// Somebody with a list has what it includes, and nothing else.
	limited := s.signIn("bob", s.person("bob", "--scopes", "manage admin"))
	s.want(limited, 200, "GET", "/admin/all")
	if got := s.upstream.Last().Header.Get("X-Passport-Scope"); got != "read write manage admin" {
		t.Errorf("of somebody with a list: %q", got)
	}
	s.want(limited, 403, "GET", "/ada/1")
	nobody := s.g.Browser()
	s.want(nobody, 401, "GET", "/app/orders")
	s.want(nobody, 200, "GET", "/maybe/1")
	if got := s.upstream.Last().Header.Get("X-Passport-Subject"); got != "" {
		t.Errorf("nobody is %s", got)
	}
}

// TestBearerTokenWinsOverSession sends both: the token is who calls, good or bad, and needs nothing against forgery.
func TestBearerTokenWinsOverSession(t *testing.T) {
	s := startSessions(t, sessionSite, "")
	s.person("bob")
	token, _ := s.personalToken("bob", "read")
	s.want(s.Browser, 200, "POST", "/app/orders", "Authorization", "Bearer "+token)
	if got := s.upstream.Last().Header; got.Get("X-Passport-Username") != "bob" ||
		got.Get("X-Passport-Client") != "personal_access" || got.Get("X-Passport-Scope") != "read" {
		t.Errorf("the upstream got %v", got)
	}
	s.want(s.Browser, 403, "GET", "/write/orders", "Authorization", "Bearer "+token) // the session's scopes do not help
	s.want(s.Browser, 401, "GET", "/app/orders", "Authorization", "Bearer nonsense")
	s.want(s.Browser, 401, "GET", "/maybe/orders", "Authorization", "Bearer nonsense")
	s.want(s.Browser, 401, "GET", "/bound/1", "Authorization", "Bearer "+token) // meant for another audience
}

// TestCrossSiteRequestWithSession has pages of others make requests, with the browser's cookies.
func TestCrossSiteRequestWithSession(t *testing.T) {
	s := startSessions(t, sessionSite, "")
	token := s.Cookie("XSRF-TOKEN")
	for _, test := range []struct {
		name, method, path string
		fields             []string
		status             int
	}{
		{"no token", "POST", "/write/1", nil, 403},
		{"empty token", "POST", "/write/1", []string{"X-XSRF-TOKEN", ""}, 403},
		{"wrong token", "POST", "/write/1", []string{"X-XSRF-TOKEN", "A" + token[1:]}, 403},
		{"cut token", "PUT", "/write/1", []string{"X-XSRF-TOKEN", token[:20]}, 403},
		{"the session itself", "POST", "/write/1", []string{"X-XSRF-TOKEN", s.Cookie("passport_session")}, 403},
		{"token in the query", "POST", "/write/1?_token=" + token, nil, 403},
		{"token in its cookie only", "DELETE", "/write/1", []string{"Cookie", "X-XSRF-TOKEN=" + token}, 403},
		{"cross-site", "POST", "/write/1", []string{"X-XSRF-TOKEN", token, "Sec-Fetch-Site", "cross-site"}, 403},
		{"same site, other origin", "POST", "/write/1", []string{"X-XSRF-TOKEN", token, "Sec-Fetch-Site", "same-site"}, 403},
		{"other origin", "POST", "/write/1", []string{"X-XSRF-TOKEN", token, "Origin", "https://evil.example"}, 403},
		{"no origin", "PATCH", "/write/1", []string{"X-XSRF-TOKEN", token, "Origin", "null"}, 403},
		{"other port", "POST", "/write/1", []string{"X-XSRF-TOKEN", token, "Origin", s.other}, 403},
		{"TRACE", "TRACE", "/write/1", nil, 403},
		{"method of no standard", "PURGE", "/write/1", nil, 403},
		{"override", "GET", "/write/1", []string{"X-HTTP-Method-Override", "DELETE"}, 403},
		{"override in the query", "GET", "/write/1?_method=delete", nil, 403},
		{"override by a link", "GET", "/write/1?_method=DELETE",
			[]string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}, 403},
		{"optional", "POST", "/maybe/1", nil, 403},
		{"image", "GET", "/app/1", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "image"}, 401},
		{"script of another site", "GET", "/app/1", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "cors"}, 401},
		{"frame", "GET", "/app/1",
			[]string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe"}, 401},
		{"link from elsewhere", "GET", "/app/1",
			[]string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}, 200},
		{"own page", "POST", "/write/1", []string{"X-XSRF-TOKEN", token, "Sec-Fetch-Site", "same-origin", "Origin", s.g.URL}, 200},
		{"no browser", "POST", "/write/1", []string{"X-XSRF-TOKEN", token}, 200},
		{"own page looks", "GET", "/app/1", []string{"Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "cors"}, 200},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := *s
			s.T = t
			resp := s.want(s.Browser, test.status, test.method, test.path, test.fields...)
			if test.status == 403 && resp.String("error") != "access_denied" {
				t.Errorf("error: %s", resp.Body)
			}
			if test.status != 200 && strings.Contains(resp.Body, token) {
				t.Error("the answer tells the token")
			}
		})
	}
	anonymous := s.call(s.Browser, "GET", "/maybe/1", "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors")
	if got := s.upstream.Last().Header.Get("X-Passport-Subject"); anonymous.Status != 200 || got != "" {
		t.Errorf("an image of another site passes as %q: %d", got, anonymous.Status)
	}
}

// TestCrossSiteWebSocketWithSession opens WebSockets from pages of others: no token against forgery could be asked of
// the site's own.
func TestCrossSiteWebSocketWithSession(t *testing.T) {
	s := startSessions(t, sessionSite, "")
	upgrade := []string{"Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13",
		"Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="}
	s.want(s.Browser, 200, "GET", "/app/socket", append(upgrade, "Origin", s.g.URL)...)
	s.want(s.Browser, 403, "GET", "/app/socket", append(upgrade, "Origin", "https://evil.example")...)
	s.want(s.Browser, 403, "GET", "/app/socket", append(upgrade, "Origin", s.other)...)
	s.want(s.Browser, 403, "GET", "/app/socket", append(upgrade, "Origin", s.g.URL, "Sec-Fetch-Site", "same-site")...)
}

func TestSessionCookieOfAnotherSite(t *testing.T) {
	s := startSessions(t, sessionSite, "")
	cookie := s.Cookie("passport_session")
	nobody := s.g.Browser()
	with := func(status int, url string, cookies ...string) {
		t.Helper()
		s.want(nobody, status, "GET", url, "Cookie", strings.Join(cookies, "; "))
	}
	with(200, "/app/1", "passport_session="+cookie)
	with(401, s.other+"/1", "passport_session="+cookie) // another issuer's
	with(200, s.bare+"/1", "passport_session="+cookie)  // the same issuer's
	with(401, "/app/1", "passport_session="+cookie[:len(cookie)-1])
	with(401, "/app/1", "passport_session="+cookie+"x")
	with(401, "/app/1", "passport_session=")
	with(401, "/app/1", "Passport_session="+cookie)
	with(401, "/app/1", "__Host-passport_session="+cookie) // a cookie of HTTP says nothing as one of HTTPS
	eve := s.signIn("eve", s.person("eve")).Cookie("passport_session")
	with(401, "/app/1", "passport_session="+cookie, "passport_session="+eve) // one of them somebody has planted
	with(401, "/app/1", "passport_session="+eve, "passport_session="+cookie)
	for _, path := range []string{"/open", "/maybe/1", "/api/1"} {
		s.call(nobody, "GET", path, "Cookie", "a=b; passport_session="+cookie+"; __Host-passport_session="+cookie)
		if got := s.upstream.Last().Header.Get("Cookie"); strings.Contains(got, "passport_session") {
			t.Errorf("at %s the upstream got %s", path, got)
		}
	}
	s.want(nobody, 401, "GET", "/app/1", "Authorization", "Bearer "+cookie) // it is no token
}

func TestSessionAfterSignOut(t *testing.T) {
	s := startSessions(t, sessionSite, "")
	stolen, token := s.Cookie("passport_session"), s.Cookie("XSRF-TOKEN")
	thief := s.g.Browser()
	s.want(thief, 200, "GET", "/app/1", "Cookie", "passport_session="+stolen)
	page := s.Open("/id/logout")
	if page = s.Send("/id/logout", page.Form()); page.Status != http.StatusOK {
		t.Fatalf("signing out: %d %s", page.Status, page.Body)
	}
	s.want(s.Browser, 401, "GET", "/app/1")
	s.want(thief, 401, "GET", "/app/1", "Cookie", "passport_session="+stolen)
	s.want(thief, 401, "POST", "/write/1", "Cookie", "passport_session="+stolen, "X-XSRF-TOKEN", token)
	s.g.Restart()
	s.want(thief, 401, "GET", "/app/1", "Cookie", "passport_session="+stolen)
}

func TestSessionOfDisabledUser(t *testing.T) {
	s := startSessions(t, sessionSite, "")
	s.want(s.Browser, 200, "GET", "/app/1")
	s.caddy("user", "disable", "ada")
	s.want(s.Browser, 401, "GET", "/app/1")
	s.caddy("user", "enable", "ada")
	s.want(s.Browser, 401, "GET", "/app/1") // it has ended
	again := s.signIn("ada", s.password)
	s.want(again, 200, "GET", "/app/1")
	s.caddy("user", "delete", "ada")
	s.want(again, 401, "GET", "/app/1")
}

// TestPageWithoutSessionGoesToSignInAndBack opens a page as a browser does, and signs in on the way.
func TestPageWithoutSessionGoesToSignInAndBack(t *testing.T) {
	s := startSessions(t, sessionSite, "")
	const html = "text/html,application/xhtml+xml,*/*;q=0.8"
	for _, target := range []string{"/app/orders?page=2&q=a%20b", "/inside/deep?x=%2F", "/app/%C3%A4%2Fb"} {
		b := s.g.Browser()
		req := s.g.Request("GET", target, "")
		req.Header.Set("Accept", html)
		page := b.Do(req)
		if page.Status != http.StatusOK || !strings.HasPrefix(page.Path, "/id/login?return=") {
			t.Fatalf("%s leads to %d %s", target, page.Status, page.Path)
		}
		page = b.Send("/id/login", page.Form("username", "ada", "password", s.password))
		if page.Status != http.StatusOK || page.Path != target {
			t.Errorf("%s: after signing in %d at %s: %s", target, page.Status, page.Path, page.Body)
		}
	}
	nobody := s.g.HTTP
	for name, test := range map[string]struct {
		method, path string
		fields       []string
		status       int
	}{
		"page":                 {"GET", "/app/1", []string{"Accept", html}, 303},
		"page of today":        {"GET", "/app/1", []string{"Accept", html, "Sec-Fetch-Mode", "navigate"}, 303},
		"link from elsewhere":  {"GET", "/app/1", []string{"Accept", html, "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate"}, 303},
		"dead session":         {"GET", "/app/1", []string{"Accept", html, "Cookie", "passport_session=gone"}, 303},
		"script":               {"GET", "/app/1", []string{"Accept", "application/json"}, 401},
		"script that takes it": {"GET", "/app/1", []string{"Accept", html, "Sec-Fetch-Mode", "cors"}, 401},
		"script of old":        {"GET", "/app/1", []string{"Accept", html, "X-Requested-With", "XMLHttpRequest"}, 401},
		"form":                 {"POST", "/app/1", []string{"Accept", html}, 401},
		"bad token":            {"GET", "/app/1", []string{"Accept", html, "Authorization", "Bearer x"}, 401},
		"tokens only":          {"GET", "/api/1", []string{"Accept", html}, 401},
		"optional":             {"GET", "/maybe/1", []string{"Accept", html}, 200},
		"no sign-in page here": {"GET", s.bare + "/1", []string{"Accept", html}, 401},
	} {
		if !strings.HasPrefix(test.path, "http") {
			test.path = s.g.URL + test.path
		}
		req, _ := http.NewRequestWithContext(t.Context(), test.method, test.path, nil)
		for i := 0; i < len(test.fields); i += 2 {
			req.Header.Set(test.fields[i], test.fields[i+1])
		}
		resp, err := nobody.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != test.status {
			t.Errorf("%s: %d, want %d", name, resp.StatusCode, test.status)
		}
		if to := resp.Header.Get("Location"); test.status == 303 && (to != "/id/login?return=%2Fapp%2F1" ||
			resp.Header.Get("Cache-Control") != "no-store") {
			t.Errorf("%s: %v", name, resp.Header)
		}
	}
}

// TestOpenRedirectThroughSignIn asks for targets that lead elsewhere when a browser is sent back to them.
func TestOpenRedirectThroughSignIn(t *testing.T) {
	s := startSessions(t, strings.Replace(sessionSite, "passport_auth /app/* {", "@any path_regexp .*\n\tpassport_auth @any {", 1), "")
	for _, target := range []string{"//evil.example/app/", "//evil.example/%2f..", "/%09/evil.example", "/\\evil.example"} {
		req := s.g.Request("GET", "/", "")
		req.URL.Opaque = target
		if strings.HasPrefix(target, "//") {
			req.URL.Opaque = "//127.0.0.1:" + s.g.Port + target // net/http takes the host away
		}
		req.Header.Set("Accept", "text/html")
		page := s.g.Browser().Do(req)
		if page.Status != http.StatusOK || !strings.HasPrefix(page.Path, "/id/login") {
			continue // refused
		}
		b := s.g.Browser()
		page = b.Open(page.Path)
		page = b.Send("/id/login", page.Form("username", "ada", "password", s.password))
		if page.Left != nil || strings.Contains(page.Path, "evil") {
			t.Errorf("%s leads to %v %s", target, page.Left, page.Path)
		}
	}
}

// TestCookieAgainstForgeryIsSetWhenItIsMissing loses the cookie, or has an old one, under a name of the site's own.
func TestCookieAgainstForgeryIsSetWhenItIsMissing(t *testing.T) {
	s := startSessions(t, strings.Replace(sessionSite, "passport {", "passport {\n\t\txsrf_cookie ORDERS-XSRF", 1), "")
	cookie, token := s.Cookie("passport_session"), s.Cookie("ORDERS-XSRF")
	if token == "" || s.Cookie("XSRF-TOKEN") != "" {
		t.Fatal("the cookie has another name")
	}
	nobody := s.g.Browser()
	for _, test := range []struct {
		cookies string
		set     bool
	}{
		{"passport_session=" + cookie, true},
		{"passport_session=" + cookie + "; ORDERS-XSRF=stale", true},
		{"ORDERS-XSRF=" + token + "; ORDERS-XSRF=planted; passport_session=" + cookie, true},
		{"ORDERS-XSRF=" + token + "; passport_session=" + cookie, false},
		{"ORDERS-XSRF=stale", false},
	} {
		resp := s.call(nobody, "GET", "/maybe/1", "Cookie", test.cookies)
		var set *http.Cookie
		for _, c := range (&http.Response{Header: resp.Header}).Cookies() {
			if c.Name == "ORDERS-XSRF" {
				set = c
			}
		}
		switch {
		case (set != nil) != test.set:
			t.Errorf("with %s: %v", test.cookies, resp.Header)
		case set != nil && (set.Value != token || set.HttpOnly || set.Path != "/" || set.SameSite != http.SameSiteLaxMode):
			t.Errorf("with %s: %v", test.cookies, set)
		}
		nobody = s.g.Browser()
	}
	s.want(s.Browser, 200, "POST", "/write/1", "X-XSRF-TOKEN", token)
}

// streams is an upstream that answers with an endless stream of events.
func streams(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "/stream") {
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		for n := 0; r.Context().Err() == nil; n++ {
			fmt.Fprintf(w, "data: %d\n\n", n)
			_ = http.NewResponseController(w).Flush()
			time.Sleep(20 * time.Millisecond)
		}
	}))
	t.Cleanup(server.Close)
	u, _ := url.Parse(server.URL)
	return u.Host
}

// TestStreamOutlivesItsSession holds streams open while the session ends and a personal access token is revoked.
func TestStreamOutlivesItsSession(t *testing.T) {
	s := startSessions(t, sessionSite, streams(t))
	token, id := s.personalToken("ada", "read")
	open := func(name, value string) (*http.Response, *bufio.Reader) {
		t.Helper()
		req := s.g.Request("GET", "/app/stream", "")
		req.Header.Set(name, value)
		resp, err := s.g.HTTP.Do(req)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("no stream: %v %v", resp, err)
		}
		t.Cleanup(func() { _ = resp.Body.Close() })
		return resp, bufio.NewReader(resp.Body)
	}
	ends := func(r *bufio.Reader) {
		t.Helper()
		for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); {
			if _, err := r.ReadString('\n'); err != nil {
				return
			}
		}
		t.Error("the stream goes on")
	}
	_, session := open("Cookie", "passport_session="+s.Cookie("passport_session"))
	_, personal := open("Authorization", "Bearer "+token)
	time.Sleep(2 * time.Second) // a request is cut once it has been seen running
	for _, r := range []*bufio.Reader{session, personal} {
		if _, err := r.ReadString('\n'); err != nil {
			t.Fatalf("cut while all is well: %v", err)
		}
	}
	page := s.Open("/id/logout")
	s.Send("/id/logout", page.Form())
	ends(session)
	s.caddy("token", "revoke", id)
	ends(personal)
}

// TestExplainTellsOfSessionsAndTakesNone asks what would become of requests.
func TestExplainTellsOfSessionsAndTakesNone(t *testing.T) {
	s := startSessions(t, sessionSite, "")
	token, _ := s.personalToken("ada", "read")
	explain := func(header map[string]string, token, path string) map[string]any {
		t.Helper()
		body, _ := json.Marshal(map[string]any{"method": "GET", "url": s.g.URL + path, "header": header, "token": token})
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+s.g.Admin+"/passport/explain",
			strings.NewReader(string(body)))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		resp := s.g.Do(req)
		if resp.Status != http.StatusOK {
			t.Fatalf("explain: %d %s", resp.Status, resp.Body)
		}
		return resp.JSON()
	}
	answer := explain(map[string]string{"Cookie": "passport_session=" + s.Cookie("passport_session")}, "", "/app/1")
	door := answer["doors"].([]any)[0].(map[string]any)
	if answer["verdict"] != "refused" || answer["status"] != 401.0 || door["session"] != true || door["sub"] != nil {
		t.Errorf("with a cookie: %v", answer)
	}
	answer = explain(map[string]string{"Accept": "text/html"}, "", "/app/1")
	if answer["status"] != 303.0 || !strings.Contains(fmt.Sprint(answer["reason"]), "/id/login?return=%2Fapp%2F1") {
		t.Errorf("for a page: %v", answer)
	}
	answer = explain(nil, token, "/app/1")
	door = answer["doors"].([]any)[0].(map[string]any)
	if answer["verdict"] != "passes" || door["client_id"] != "personal_access" || door["username"] != "ada" ||
		door["scope"] != "read" {
		t.Errorf("with a personal access token: %v", answer)
	}
	if answer = explain(nil, token, "/write/1"); answer["status"] != 403.0 {
		t.Errorf("with one that lacks a scope: %v", answer)
	}
}
