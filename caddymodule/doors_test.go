package caddymodule

import (
	"fmt"
	"net/http"
	"net/url"
	"path"
	"strings"
	"testing"
)

// upstreams are what servers are known to make of the target of a request.
var upstreams = map[string]func(target string) string{
	"Go, nginx":     func(target string) string { return path.Clean(unescape(target)) },
	"decodes twice": func(target string) string { return path.Clean(unescape(unescape(target))) },
	"servlet container": func(target string) string {
		return path.Clean(unescape(withoutParameters(target)))
	},
	"servlet container, parameters after decoding": func(target string) string {
		return path.Clean(withoutParameters(unescape(target)))
	},
	"Windows": func(target string) string {
		return path.Clean(trimmedSegments(strings.ReplaceAll(unescape(target), `\`, "/")))
	},
	"prefix, dot segments kept": unescape,
	"nothing decoded":           func(target string) string { return target },
	"nothing decoded, cleaned":  path.Clean,
	"cut at NUL": func(target string) string {
		decoded, _, _ := strings.Cut(unescape(target), "\x00")
		return path.Clean(decoded)
	},
	"query after decoding": func(target string) string {
		decoded, _, _ := strings.Cut(unescape(unescape(target)), "?")
		return path.Clean(decoded)
	},
	"old UTF-8": func(target string) string { return path.Clean(lookalikes.Replace(unescape(target))) },
}

func unescape(s string) string {
	if decoded, err := url.PathUnescape(s); err == nil {
		return decoded
	}
	return s
}

// spellings are targets by which somebody could try to come to /orders/1 past a passport_auth that stands before
// /orders/* alone, or before all but /public/*.
var spellings = []string{
	"/orders/1", "//orders/1", "///orders//1", "/./orders/1", "/orders/./1", "/x/../orders/1",
	"/public/../orders/1", "/public/./../orders/1", "/public//../../orders/1", "/public/x/../../orders/1",
	"/../orders/1", "/../../orders/1", "/orders/", "/ORDERS/1", "/Orders/1", "/oRDERS/1", "/%6frders/1",
	"/%6Frders/1", "/orders%2f1", "/orders%2F1", "/%2forders/1", "/orders/%31", "/%6f%72%64%65%72%73/1",
	"/%2e/orders/1", "/public/%2e%2e/orders/1", "/public/.%2e/orders/1", "/public/%2E./orders/1",
	"/public%2f..%2forders%2f1", "/public/..%2forders/1", "/public/..%2Forders/1", "/public%2f%2e%2e%2forders/1",
	"/%256frders/1", "/public/%252e%252e/orders/1", "/public/..%252forders/1", "/public%252f..%252forders%252f1",
	"/orders%252f1", "/%25256frders/1", "/orders;x=1/1", "/orders;/1", "/;x/orders/1", "/public/..;/orders/1",
	"/public/..;x=y/orders/1", "/public/.;/../orders/1", "/public;/..;/orders/1", "/public/%2e%2e;/orders/1",
	"/public/..%3b/orders/1", "/orders%3bx/1", `/public/..\orders/1`, `\orders\1`, `/orders\1`,
	"/public/..%5corders/1", "/public/..%5Corders%5C1", "/%5corders/1", "/public/%2e%2e%5corders/1",
	"/public/..%255corders/1", "/orders./1", "/orders../1", "/orders%20/1", "/orders%2e/1", "/orders.%20/1",
	"/orders%00/1", "/orders%00", "/orders/1%00.css", "/public/..%00/orders/1", "/orders%3f/../public/x",
	"/orders/1%3f.css", "/orders/..%2fpublic/x", "/orders/%2e%2e/public/x", "/orders/..;/public/x",
	"/orders/../public/x", "/orders/1/../../public/x", "/orders%2f..%2fpublic/x", `/orders\..\public/x`,
	"/orders/.%2e/public/x", "/public/..%c0%aforders/1", "/public/%c0%ae%c0%ae/orders/1",
	"/public/..%ef%bc%8forders/1", "/public/%ef%bc%8e%ef%bc%8e/orders/1", "/%c0%aforders/1",
	"/public/..%e0%80%aforders/1", "/public/..%c1%9corders/1", "/orders/1;.css", "/orders/1.css",
	"/orders/1%23.css", "/orders%23/1", "http://other.example/orders/1", "http://other.example//orders/1",
}

// honest are targets that nobody should take for another.
var honest = []string{
	"/public/a", "/public/a%20b", "/public/a%2Fb", "/public/a;v=1", "/public/caf%C3%A9", "/public/.well-known/x",
	"/public/a.b", "/public/A/B", "/public/a%25b", "/public/a//b", "/public/x/../y", "/public/?q=../../orders",
	"/public/a%5Cb",
}

// TestRefusesPathThatUpstreamSeesOtherwise sends each spelling without a token. Whatever reaches the upstream must not
// be /orders to any server.
func TestRefusesPathThatUpstreamSeesOtherwise(t *testing.T) {
	for name, directives := range map[string]string{
		"path": `
			passport_auth /orders* scopes read
			reverse_proxy {$UPSTREAM}`,
		"all but a path": `
			@rest not path /public/*
			passport_auth @rest scopes read
			reverse_proxy {$UPSTREAM}`,
		"handle": `
			handle /orders* {
				passport_auth scopes read
				reverse_proxy {$UPSTREAM}
			}
			handle {
				reverse_proxy {$UPSTREAM}
			}`,
		"handle, in a route": `
			route {
				reverse_proxy /public/* {$UPSTREAM}
				passport_auth scopes read
				reverse_proxy {$UPSTREAM}
			}`,
		"regular expression": `
			@orders path_regexp ^/orders
			passport_auth @orders scopes read
			reverse_proxy {$UPSTREAM}`,
		"expression": `
			@orders expression path('/orders*')
			passport_auth @orders scopes read
			reverse_proxy {$UPSTREAM}`,
		"rewritten": `
			rewrite * /api{uri}
			passport_auth /api/orders* scopes read
			reverse_proxy {$UPSTREAM} {
				rewrite {http.request.orig_uri}
			}`,
		"all but an ending": `
			@rest not path *.css /public/*
			passport_auth @rest scopes read
			reverse_proxy {$UPSTREAM}`,
		"named route": `
			handle /orders* {
				invoke orders
			}
			reverse_proxy {$UPSTREAM}`,
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouseOf(t, "&(orders) {\n passport_auth scopes read\n reverse_proxy {$UPSTREAM}\n}\n"+
				"http://{$ADDR}, http://other.example:{$PORT} {\npassport_server\n"+directives+"\n}")
			for _, target := range spellings {
				resp := h.plain("GET", target)
				got := h.upstream.last()
				if got == nil {
					if resp.status != http.StatusUnauthorized && resp.status != http.StatusBadRequest {
						t.Errorf("%s: %d", target, resp.status)
					}
					continue
				}
				uri := strings.TrimPrefix(got.uri, "/api")
				if name == "all but an ending" && strings.HasSuffix(target, "/1.css") {
					continue // what the operator asked for
				}
				for server, reads := range upstreams {
					if seen := reads(uri); strings.HasPrefix(strings.ToLower(seen), "/orders/") || strings.EqualFold(seen, "/orders") {
						t.Errorf("%s passes without a token, and %s takes it for %q", target, server, seen)
					}
				}
			}
			for _, target := range honest {
				resp := h.plain("GET", target)
				if got := h.upstream.last(); resp.status != http.StatusOK || got == nil {
					t.Errorf("%s: %d %s", target, resp.status, resp.body)
				}
			}
		})
	}
}

// TestRefusesPathWithLesserDemands has two doors, of which one asks for more.
func TestRefusesPathWithLesserDemands(t *testing.T) {
	h := newHouse(t, `
		passport_auth scopes read
		passport_auth /admin/* scopes admin
		reverse_proxy {$UPSTREAM}`)
	token := h.token("read")
	for _, target := range []string{
		"/orders/..;/admin/1", "/orders/..%5cadmin/1", "/orders/%252e%252e/admin/1", "/admin;x/1", "/admin./1",
		"/admin/1", "//admin/1", "/orders/../admin/1",
	} {
		resp := h.plain("GET", target, "Authorization: "+bearer(token))
		if h.upstream.last() != nil || resp.status != http.StatusForbidden && resp.status != http.StatusBadRequest {
			t.Errorf("%s: %d", target, resp.status)
		}
	}
	for _, target := range []string{"/orders/a%2Fb", "/orders/a;b", "/orders/%25", "/orders/x/../y"} {
		resp := h.plain("GET", target, "Authorization: "+bearer(token))
		if got := h.upstream.last(); resp.status != http.StatusOK || got == nil || got.uri != target {
			t.Errorf("%s: %d", target, resp.status)
		}
	}
}

// TestPassesOddPathsWhereAllAreGuarded: without matchers there is nothing to get around, and the upstream may have
// whatever paths it likes.
func TestPassesOddPathsWhereAllAreGuarded(t *testing.T) {
	h := newHouse(t, `
		passport_auth scopes read
		reverse_proxy {$UPSTREAM}`)
	token := h.token("read")
	for _, target := range spellings {
		if !strings.HasPrefix(target, "/") {
			continue
		}
		resp := h.plain("GET", target, "Authorization: "+bearer(token))
		if got := h.upstream.last(); resp.status != http.StatusOK || got == nil {
			t.Errorf("%s: %d", target, resp.status)
		}
		resp = h.plain("GET", target)
		if got := h.upstream.last(); resp.status != http.StatusUnauthorized || got != nil {
			t.Errorf("%s without a token: %d", target, resp.status)
		}
	}
}

func TestRefusesMethodThatUpstreamSeesOtherwise(t *testing.T) {
	h := newHouse(t, `
		@write method POST PUT DELETE
		@read method GET
		passport_auth @write scopes write
		passport_auth /secret* {
			optional
		}
		@secret {
			path /secret*
			method GET
		}
		passport_auth @secret scopes read
		reverse_proxy {$UPSTREAM}`)
	for _, test := range []struct {
		method, path, override string
		status                 int
	}{
		{"GET", "/1", "", 200}, {"HEAD", "/1", "", 200}, {"POST", "/1", "", 401}, {"post", "/1", "", 400},
		{"Put", "/1", "", 400},
		{"GET", "/1", "X-HTTP-Method-Override: DELETE", 400}, {"GET", "/1", "X-Http-Method: put", 400},
		{"GET", "/1", "X-Method-Override: PATCH", 200}, {"get", "/1", "", 200}, {"HEAD", "/secret", "", 400},
		{"OPTIONS", "/1", "X-Method-Override: POST", 400}, {"PATCH", "/1", "", 200},
	} {
		request := test.method + " " + test.path + " HTTP/1.1\nHost: " + h.addr + "\n"
		if test.override != "" {
			request += test.override + "\n"
		}
		if resp := h.raw(request + "Content-Length: 0\nConnection: close\n\n"); resp.status != test.status {
			t.Errorf("%s %s %s: %d, want %d", test.method, test.path, test.override, resp.status, test.status)
		}
	}
}

func TestRefusesHostThatUpstreamSeesOtherwise(t *testing.T) {
	h := newHouseOf(t, `http://*.example:{$PORT}, http://*.example.:{$PORT}, http://{$ADDR} {
		passport_server
		@api host api.example
		passport_auth @api scopes read
		reverse_proxy {$UPSTREAM}
	}`)
	port := strings.Split(h.addr, ":")[1]
	for host, status := range map[string]int{
		"www.example:" + port: 200, "api.example:" + port: 401, "API.Example:" + port: 401, "api.example.:" + port: 400,
		"www.example.:" + port: 200,
	} {
		if resp := h.raw("GET / HTTP/1.1\nHost: " + host + "\nConnection: close\n\n"); resp.status != status {
			t.Errorf("%s: %d, want %d", host, resp.status, status)
		}
	}
}

func TestReadings(t *testing.T) {
	for target, want := range map[string]string{
		"/public/..;/orders":    "/orders",
		"/a/%252e%252e/b":       "/b",
		"/a//../b":              "/a/b",
		"/a/../b":               "/a/_/b",
		"/a%2f..%2fb":           "/a%2f..%2fb",
		"/a%5c..%5cb":           "/b",
		"/a./b%20/c":            "/a/b/c",
		"/a%00b":                "/a",
		"/%EF%BC%8E%EF%BC%8E/b": "/b",
		"/a/b/..":               "/a/",
	} {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			t.Fatal(err)
		}
		all, _ := readings(u, false)
		if !oddPath(u, false) || !strings.Contains(fmt.Sprintf("%q", all), fmt.Sprintf("%q", want)) {
			t.Errorf("%s: %q lacks %q", target, all, want)
		}
	}
	for _, target := range []string{"/", "/a", "/a/b-c_d~e", "/a%20b/c", "/A/B", "/a.b/c", "*"} {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			t.Fatal(err)
		}
		if oddPath(u, false) {
			t.Errorf("%s is odd", target)
		}
	}
}
