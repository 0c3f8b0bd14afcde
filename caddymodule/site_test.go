package caddymodule

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/fcgi"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// odd are header fields that Caddy drops unless it is told to expect them; it then drops the usual spelling.
const odd = "expected_underscore_headers x_passport_* x_legacy_* x_passport-subject x-passport_subject\n" +
	"expected_dot_headers x.passport.* x.legacy.* x-passport.subject"

// forgeries are header fields by which a caller could pass for somebody, in the spellings that an upstream could take
// for ours.
var forgeries = []string{
	"X-Passport-Subject", "x-passport-subject", "X-PASSPORT-CLIENT", "x-PassPort-Scope", "X-Passport-Issuer",
	"X-Passport-Username", "X-Passport-Whatever", "x_passport_subject", "X_Passport_Username", "X-Passport_Subject",
	"x_passport-subject", "X_PASSPORT-USERNAME", "x.passport.subject", "X-Passport.Subject", "X!Passport!Subject",
	"X~passport|subject", "X-Legacy-Client", "x_legacy_client", "x.legacy.client", "X-LEGACY_client",
}

// layouts are the ways in which Caddy holds a site. Each has the routes /guarded, /optional, /report (not ours, but a
// directive of ours is in the site), /broken (its error is answered by an error route that goes to the upstream).
var layouts = map[string]string{
	"a site with an address":  "http://{$ADDR} {\n passport_server\n" + siteRoutes + "\n}",
	"the only site, any host": ":{$PORT} {\n passport_server\n" + siteRoutes + "\n}",
	"beside other sites": `http://localhost:{$PORT} {
			reverse_proxy {$UPSTREAM}
		}
		http://{$ADDR} {
			passport_server
			` + siteRoutes + `
		}`,
	"a path of its own": "http://{$ADDR}/* {\n passport_server\n" + siteRoutes + "\n}",
	"a named route": `&(api) {
			passport_auth /guarded {
				upstream_header X-Legacy-Client {passport.client_id}
			}
			reverse_proxy /guarded {$UPSTREAM}
		}
		http://{$ADDR} {
			passport_server
			handle /guarded {
				invoke api
			}
			` + strings.Replace(siteRoutes, "handle /guarded", "handle /unused", 1) + `
		}`,
}

const siteRoutes = `
	handle /guarded {
		passport_auth {
			upstream_header X-Legacy-Client {passport.client_id}
		}
		reverse_proxy {$UPSTREAM}
	}
	handle /optional {
		passport_auth {
			optional
			upstream_header X-Legacy-Client {passport.client_id}
		}
		reverse_proxy {$UPSTREAM}
	}
	handle /open {
		reverse_proxy {$UPSTREAM}
	}
	handle /broken {
		error 500
	}
	handle_errors {
		reverse_proxy {$UPSTREAM}
	}`

// everyLayout runs a test for each layout.
func everyLayout(t *testing.T, test func(t *testing.T, h *house)) {
	for name, layout := range layouts {
		t.Run(name, func(t *testing.T) { test(t, newHouseOf(t, layout)) })
		t.Run(name+", odd headers", func(t *testing.T) { test(t, newHouseOf(t, layout, odd)) })
	}
}

// checkIdentity fails when the upstream was told anything about the caller that is not so.
func checkIdentity(t *testing.T, got *seen, known bool) {
	t.Helper()
	if got == nil {
		t.Error("the upstream got nothing")
		return
	}
	want := map[string]string{}
	if known {
		want["X-Passport-Subject"], want["X-Passport-Client"] = testClient, testClient
		want["X-Passport-Scope"], want["X-Legacy-Client"] = "read", testClient
	}
	for _, fields := range []http.Header{got.header, got.trailer} {
		for name, values := range fields {
			folded := fold(name)
			if !strings.HasPrefix(folded, "x-passport-") && folded != "x-legacy-client" || name == "X-Passport-Issuer" && known {
				continue
			}
			if w, ok := want[name]; !ok || len(values) != 1 || values[0] != w {
				t.Errorf("%s %s: %q", got.uri, name, values)
			}
		}
	}
	for name, w := range want {
		if got.header.Get(name) != w {
			t.Errorf("%s lacks %s", got.uri, name)
		}
	}
}

func TestStripsForgedIdentityHeaders(t *testing.T) {
	everyLayout(t, func(t *testing.T, h *house) {
		token := h.token("read")
		for _, name := range forgeries {
			for path, status := range map[string]int{"/guarded": 200, "/optional": 200, "/open": 200, "/broken": 200} {
				for _, identified := range []bool{true, false} {
					if path == "/guarded" && !identified {
						continue
					}
					authorization := "X-None: 1"
					if identified {
						authorization = "Authorization: " + bearer(token)
					}
					for _, again := range []string{"", name + ": root\n"} {
						resp := h.raw("GET " + path + " HTTP/1.1\nHost: " + h.addr + "\n" + name + ": admin\n" + authorization +
							"\n" + again + "Connection: close\n\n")
						if resp.status != status {
							t.Fatalf("%s: %d %s", path, resp.status, resp.body)
						}
						got := h.upstream.last()
						checkIdentity(t, got, identified && (path == "/guarded" || path == "/optional"))
					}
				}
			}
		}
	})
}

// TestStripsForgedIdentityHeadersBeforeErrorRoutes fails requests before they come to their site.
func TestStripsForgedIdentityHeadersBeforeErrorRoutes(t *testing.T) {
	h := newHouseOf(t, ":{$PORT} {\n passport_server\n"+siteRoutes+"\n}")
	resp := h.raw("GET /open HTTP/1.1\nHost: ...\nX-Passport-Subject: admin\nX-Legacy-Client: admin\n" +
		"Connection: close\n\n")
	if resp.status != http.StatusOK {
		t.Fatalf("%d %s", resp.status, resp.body)
	}
	checkIdentity(t, h.upstream.last(), false)
}

func TestKeepsIdentityHeadersFromConnectionOptions(t *testing.T) {
	everyLayout(t, func(t *testing.T, h *house) {
		token := h.token("read")
		for _, connection := range []string{
			"X-Passport-Subject", "close, x-passport-subject,X-Passport-Client ,\tX-Passport-Scope",
			"X-Legacy-Client", "x-legacy-client, close", "X-Passport-Subject\nConnection: x-passport-scope, X-PASSPORT-CLIENT",
			"keep-alive,X-Passport-Issuer,X-Passport-Subject,,",
		} {
			resp := h.raw("GET /guarded HTTP/1.1\nHost: " + h.addr + "\nAuthorization: " + bearer(token) +
				"\nX-Hop: 1\nConnection: X-Hop\nConnection: " + connection + "\n\n")
			if resp.status != http.StatusOK {
				t.Fatalf("%d %s", resp.status, resp.body)
			}
			got := h.upstream.last()
			checkIdentity(t, got, true)
			if got.header["X-Hop"] != nil {
				t.Error("another option of the connection lost its meaning")
			}
		}
	})
}

func TestStripsForgedTrailers(t *testing.T) {
	everyLayout(t, func(t *testing.T, h *house) {
		token := h.token("read")
		for _, announced := range []string{
			"X-Passport-Subject", "X-Checksum", "X-Checksum, x_passport_subject, X-Legacy-Client", "",
		} {
			for _, path := range []string{"/guarded", "/open", "/broken"} {
				trailer := ""
				if announced != "" {
					trailer = "Trailer: " + announced + "\n"
				}
				resp := h.raw("POST " + path + " HTTP/1.1\nHost: " + h.addr + "\nAuthorization: " + bearer(token) + "\n" + trailer +
					"Transfer-Encoding: chunked\nConnection: close\n\n5\nhello\n0\nX-Passport-Subject: admin\n" +
					"x_passport_username: admin\nX-Legacy-Client: admin\nX-Checksum: 17\n\n")
				if resp.status != http.StatusOK {
					t.Fatalf("%d %s", resp.status, resp.body)
				}
				got := h.upstream.last()
				checkIdentity(t, got, path == "/guarded")
				if path != "/broken" && got.body != "hello" {
					t.Errorf("body: %q", got.body)
				}
				if path != "/broken" && strings.Contains(announced, "X-Checksum") && got.trailer.Get("X-Checksum") != "17" {
					t.Errorf("an honest trailer was lost: %v", got.trailer)
				}
			}
		}
	})
}

// TestStripsForgedIdentityOverHTTP2 speaks HTTP/2 on both sides.
func TestStripsForgedIdentityOverHTTP2(t *testing.T) {
	h := newHouseOf(t, "http://{$ADDR} {\n passport_server\n"+
		strings.ReplaceAll(siteRoutes, "reverse_proxy {$UPSTREAM}", "reverse_proxy h2c://{$UPSTREAM}")+"\n}")
	client := h2c(t)
	token := h.token("read")
	for _, path := range []string{"/guarded", "/optional", "/open"} {
		for _, name := range forgeries {
			body := io.NopCloser(strings.NewReader("hello"))
			req, _ := http.NewRequest(http.MethodPost, "http://"+h.addr+path, body)
			req.Header[name] = []string{"admin", "root"}
			req.Header.Set("Authorization", bearer(token))
			req.Trailer = http.Header{http.CanonicalHeaderKey(name): {"admin"}, "X-Checksum": {"17"}}
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			got := h.upstream.last()
			if resp.StatusCode != http.StatusOK || resp.ProtoMajor != 2 || got == nil {
				t.Fatalf("%d %s", resp.StatusCode, resp.Proto)
			}
			checkIdentity(t, got, path != "/open")
			if got.trailer.Get("X-Checksum") != "17" {
				t.Errorf("an honest trailer was lost: %v", got.trailer)
			}
		}
	}
}

func h2c(t *testing.T) *http.Client {
	t.Helper()
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: patience}
}

// TestStripsForgedIdentityBeforeFastCGI has an upstream for which X-Passport-Subject and x_passport_subject are one.
func TestStripsForgedIdentityBeforeFastCGI(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	u := new(upstream)
	go func() { _ = fcgi.Serve(ln, u) }()
	proxy := "reverse_proxy " + ln.Addr().String() + " {\n transport fastcgi {\n root /srv\n }\n}"
	h := newHouseOf(t, "http://{$ADDR} {\n passport_server\n"+
		strings.ReplaceAll(siteRoutes, "reverse_proxy {$UPSTREAM}", proxy)+"\n}", odd)
	token := h.token("read")
	for _, name := range forgeries {
		for _, path := range []string{"/guarded", "/optional", "/open"} {
			resp := h.raw("POST " + path + " HTTP/1.1\nHost: " + h.addr + "\n" + name + ": admin\n" +
				"Authorization: " + bearer(token) + "\nConnection: X-Passport-Subject, close\nContent-Length: 2\n\nhi")
			if resp.status != http.StatusOK {
				t.Fatalf("%d %s", resp.status, resp.body)
			}
			got := u.last()
			checkIdentity(t, got, path != "/open")
			if got.header["Authorization"] != nil && path != "/open" {
				t.Error("the upstream got the token")
			}
		}
	}
}

// TestKeepsOwnCookiesFromUpstream: an upstream gets neither a session nor what could be put into another browser. The
// cookie that the site's scripts read is theirs.
func TestKeepsOwnCookiesFromUpstream(t *testing.T) {
	everyLayout(t, func(t *testing.T, h *house) {
		for cookie, want := range map[string][]string{
			"passport_session=s3cret":                                        nil,
			"__Host-passport_session=s3cret":                                 nil,
			"a=1; passport_session=s3cret; b=2":                              {"a=1; b=2"},
			"a=1;passport_session=s3cret":                                    {"a=1"},
			" passport_session = s3cret ;b=2":                                {"b=2"},
			"passport_session=s3cret; __Host-passport_session=s3cret; c=d=e": {"c=d=e"},
			"a=1\nCookie: passport_session=s3cret\nCookie: b=2":              {"a=1", "b=2"},
			"__Host-passport_form=f; XSRF-TOKEN=t; passport_form=f":          {"XSRF-TOKEN=t"},
			"__Host-passport_browser=b.c; passport_browser=b; a=1":           {"a=1"},
			"my_passport_x=1; passport_session=s3cret; passport_other=2":     {"my_passport_x=1; passport_other=2"},
			"not_passport_session=1; a=passport_session":                     {"not_passport_session=1; a=passport_session"},
		} {
			for _, path := range []string{"/optional", "/open", "/broken"} {
				resp := h.raw("GET " + path + " HTTP/1.1\nHost: " + h.addr + "\nCookie: " + cookie + "\nConnection: close\n\n")
				got := h.upstream.last()
				if resp.status != http.StatusOK || !slices.Equal(got.header["Cookie"], want) {
					t.Errorf("%s %q: %q, want %q", path, cookie, got.header["Cookie"], want)
				}
			}
		}
	})
}

// TestLeavesOtherSitesAlone: who has no directive of ours may get its identity from another gateway.
func TestLeavesOtherSitesAlone(t *testing.T) {
	h := newHouseOf(t, layouts["beside other sites"])
	req, _ := http.NewRequest(http.MethodGet, "http://"+h.addr+"/", nil)
	req.Host = "localhost:" + strings.Split(h.addr, ":")[1]
	req.Header.Set("X-Passport-Subject", "from another gateway")
	req.Header.Set("X-Legacy-Client", "the same")
	if resp := h.do(req); resp.status != http.StatusOK {
		t.Fatalf("%d %s", resp.status, resp.body)
	}
	got := h.upstream.last().header
	if got.Get("X-Passport-Subject") != "from another gateway" || got.Get("X-Legacy-Client") != "the same" {
		t.Errorf("the upstream got %v", got)
	}
}

// TestGoesOnAfterTheSite has routes of a server after those of a site, which only JSON can have.
func TestGoesOnAfterTheSite(t *testing.T) {
	h := newHouse(t, "passport_auth /never")
	config := fmt.Sprintf(`{"admin":{"disabled":true,"config":{"persist":false}},
		"apps":{"passport":{"issuers":{"default":{"storage":{"module":"badger","path":%q}}}},
		"http":{"servers":{"srv":{"listen":[%q],"automatic_https":{"disable":true},"routes":[
			{"handle":[{"handler":"subroute","routes":[
				{"handle":[{"handler":"passport_auth","optional":true}]},
				{"handle":[{"handler":"headers","response":{"add":{"X-Way":["1"]}}}]}]}]},
			{"handle":[{"handler":"headers","response":{"add":{"X-Way":["2"]}}}]},
			{"terminal":true,"match":[{"path":["/sub"]}],"handle":[{"handler":"subroute","routes":[
				{"handle":[{"handler":"passport_auth","optional":true}]},
				{"handle":[{"handler":"headers","response":{"add":{"X-Way":["sub"]}}}]}]}]},
			{"handle":[{"handler":"headers","response":{"add":{"X-Way":["3"]}}},
				{"handler":"reverse_proxy","upstreams":[{"dial":%q}]}]}]}}}}}`, t.TempDir(), h.addr, h.upstream.addr)
	h.loadJSON([]byte(config))
	resp := h.get("/", "X-Passport-Subject", "admin")
	if way := resp.header["X-Way"]; resp.status != http.StatusOK || !slices.Equal(way, []string{"1", "2", "3"}) {
		t.Errorf("%d, by way of %q", resp.status, way)
	}
	checkIdentity(t, h.upstream.last(), false)
	if way := h.get("/sub").header["X-Way"]; !slices.Equal(way, []string{"1", "2", "sub"}) {
		t.Errorf("by way of %q", way)
	}
	if h.upstream.last() != nil {
		t.Error("a terminal route went on")
	}
}

// TestRefusesDirectiveWhereNoSiteCanBeGuarded: rather no config than a site that is open.
func TestRefusesDirectiveWhereNoSiteCanBeGuarded(t *testing.T) {
	h := newHouse(t, "passport_auth")
	for name, sites := range map[string]string{
		"error routes alone": "http://{$ADDR} {\n reverse_proxy {$UPSTREAM}\n handle_errors {\n passport_auth\n }\n}",
		"named route": "&(api) {\n passport_auth\n }\n:" + strings.Split(h.addr, ":")[1] +
			" {\n invoke api\n reverse_proxy {$UPSTREAM}\n}",
		"named route and errors": "&(api) {\n passport_auth\n }\n" +
			"http://{$ADDR} {\n invoke api\n reverse_proxy {$UPSTREAM}\n" +
			" handle_errors {\n reverse_proxy {$UPSTREAM}\n }\n}",
	} {
		if err := caddy.Load(h.adapt(sites), true); err == nil || !strings.Contains(err.Error(), "caddy-passport") {
			t.Errorf("%s: %v", name, err)
		}
	}
	h.load("&(api) {\n passport_auth\n }\n" +
		"http://{$ADDR} {\n handle /api {\n invoke api\n }\n reverse_proxy {$UPSTREAM}\n}")
	if resp := h.get("/", "X-Passport-Subject", "admin"); resp.status != http.StatusOK {
		t.Fatalf("%d %s", resp.status, resp.body)
	}
	checkIdentity(t, h.upstream.last(), false)
}

func TestNames(t *testing.T) {
	var n names
	n.add("X-Legacy-Client", "Remote-User", "x")
	for name, want := range map[string]bool{
		"X-Passport-Subject": true, "x_passport_": true, "X-Passport": false, "X-Passports-Subject": false, "": false,
		"X-Pass": false, "REMOTE_USER": true, "Remote-User-Id": false, "Remote.User": true, "X": true, "y": false,
		"XX-Passport-Subject": false, "X-Forwarded-For": false, "X-Legacy-Client": true, "X-Legacy-Clients": false,
	} {
		if n.has(name) != want {
			t.Errorf("%s: %v", name, !want)
		}
	}
}
