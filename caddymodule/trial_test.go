package caddymodule

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// attack is a request by which somebody could try to get around a door.
type attack struct {
	head   string // request line, and further lines
	status int
}

func attacked(t *testing.T, h *house, attacks ...attack) {
	t.Helper()
	for _, a := range attacks {
		line, fields, _ := strings.Cut(a.head, "\n")
		if !strings.Contains(fields, "Host: ") {
			fields = "Host: " + h.addr + "\n" + fields
		}
		fields = strings.TrimSuffix(fields, "\n") + "\n"
		if !strings.Contains(fields, "Connection: ") {
			fields += "Connection: close\n"
		}
		resp := h.raw(line + " HTTP/1.1\n" + fields + "\n")
		got := h.upstream.last()
		if resp.status != a.status || a.status != http.StatusOK && got != nil {
			t.Errorf("%q: %d, want %d; the upstream got %v", a.head, resp.status, a.status, got)
		}
	}
}

// TestRefusesMethodOverrideInEverySpelling has what Symfony, Rails, Express and their kind take for the method.
func TestRefusesMethodOverrideInEverySpelling(t *testing.T) {
	const site = `http://{$ADDR} {
		passport_server
		@write method PUT DELETE
		passport_auth @write scopes write
		reverse_proxy {$UPSTREAM}
	}`
	h := newHouseOf(t, site)
	attacked(
		t, h,
		attack{"GET /1", 200}, attack{"DELETE /1", 401},
		attack{"GET /1\nX-HTTP-Method-Override: delete , GET", 400},
		attack{"GET /1\nX-HTTP-Method-Override: GET\nX-HTTP-Method-Override: PUT", 400},
		attack{"GET /1?_method=delete", 400}, attack{"GET /1?a=b&_method=PUT", 400}, attack{"GET /1?%5fmethod=PUT", 400},
		attack{"GET /1?.method=PUT", 400}, attack{"GET /1?+_method=%50UT", 400},
		attack{"GET /1?_method=PATCH", 200}, attack{"GET /1?method=PUT", 200}, attack{"GET /1?q=_method", 200},
	)
	odd := newHouseOf(t, site, "expected_underscore_headers x_http_method_override", "expected_dot_headers x.http.method")
	attacked(
		t, odd,
		attack{"GET /1\nX_HTTP_Method_Override: DELETE", 400}, attack{"GET /1\nX.HTTP.Method: DELETE", 400},
	)
}

// TestPassesNoPreflightThatOverridesItsMethod: it would be the request that it asks for.
func TestPassesNoPreflightThatOverridesItsMethod(t *testing.T) {
	h := newHouseOf(t, `http://{$ADDR} {
		passport_server
		passport_auth {
			preflight
		}
		reverse_proxy {$UPSTREAM}
	}`, "expected_underscore_headers x_http_method_override")
	const preflight = "\nOrigin: https://app.example\nAccess-Control-Request-Method: DELETE"
	attacked(t, h, attack{"OPTIONS /1" + preflight, 200}, attack{"OPTIONS /1?_method=DELETE" + preflight, 401})
	h.raw("OPTIONS /1 HTTP/1.1\nHost: " + h.addr + preflight + "\nX_HTTP_Method_Override: DELETE\nConnection: close\n\n")
	got := h.upstream.last()
	if got == nil {
		t.Fatal("the preflight did not pass")
	}
	for name := range got.header {
		if isMethodOverride(name) {
			t.Errorf("the upstream got %s", name)
		}
	}
}

// TestRefusesPathInfoOfFrontController: /index.php/orders is /orders to the program.
func TestRefusesPathInfoOfFrontController(t *testing.T) {
	h := newHouse(t, `
		passport_auth /orders* scopes read
		reverse_proxy {$UPSTREAM}`)
	attacked(
		t, h,
		attack{"GET /index.php/orders", 400}, attack{"GET /INDEX.PHP/orders/1", 400}, attack{"GET /a/app.fcgi/orders", 400},
		attack{"GET /cgi-bin/x.pl/orders", 400}, attack{"GET /x.aspx/orders", 400}, attack{"GET /x.php%2forders", 400},
		attack{"GET /x.php;y/orders", 400}, attack{"GET /x%2ephp/orders", 400},
		attack{"GET /index.php/public", 200}, attack{"GET /index.php", 200}, attack{"GET /x.css/orders", 200},
		attack{"GET /php/orders", 200},
	)
}

// TestRefusesControlCharactersAndSpacedDots has what Windows and readers of lines take for less than it is.
func TestRefusesControlCharactersAndSpacedDots(t *testing.T) {
	h := newHouse(t, `
		passport_auth /orders* scopes read
		reverse_proxy {$UPSTREAM}`)
	attacked(
		t, h,
		attack{"GET /public/%09/x", 400}, attack{"GET /or%0ders", 400}, attack{"GET /x%7f", 400},
		attack{"GET /public/%20../orders", 400}, attack{"GET /public/..%20/orders", 400},
		attack{"GET /public/%20..%20/orders", 400},
		attack{"GET //any.example/orders/1", 400}, attack{"GET /%2fany.example/orders/1", 400},
		attack{"GET //any.example/public", 200}, attack{"GET /public/a%20b/%20c", 200},
	)
}

// TestRefusesHostOfManyEndings: dots and ports that Caddy's matcher does not cut, and an upstream may.
func TestRefusesHostOfManyEndings(t *testing.T) {
	h := newHouseOf(t, `:{$PORT} {
		passport_server
		@admin host admin.localhost ::1
		passport_auth @admin scopes read
		reverse_proxy {$UPSTREAM}
	}`)
	attacked(
		t, h,
		attack{"GET /\nHost: admin.localhost", 401}, attack{"GET /\nHost: admin.localhost:1", 401},
		attack{"GET /\nHost: admin.localhost..", 400}, attack{"GET /\nHost: admin.localhost..:1", 400},
		attack{"GET /\nHost: admin.localhost:1:2", 400}, attack{"GET /\nHost: x@admin.localhost", 400},
		attack{"GET /\nHost: [::1]", 401}, attack{"GET /\nHost: [::1]:1", 401}, attack{"GET /\nHost: [::1]:1:2", 400},
		attack{"GET /\nHost: www.localhost:1:2", 200}, attack{"GET /\nHost: www.localhost..", 200},
		attack{"GET /\nHost: [::2]:1", 200},
	)
}

// TestPlainHost has what net/http refuses before it comes to a door, but for other servers in front.
func TestPlainHost(t *testing.T) {
	for host, want := range map[string]struct {
		plain string
		odd   bool
	}{
		"a.example": {"a.example", false}, "a.example:443": {"a.example", false}, "[::1]:443": {"::1", false},
		"[::1]": {"::1", false}, "x@a.example": {"a.example", true}, "x@b@a.example:1": {"a.example", true},
		"[::1]:1:2": {"::1", true}, "[::1]x": {"::1", true}, "a.example.": {"a.example", true},
		"a.example..:1": {"a.example", true}, "a.example:1:2": {"a.example", true},
	} {
		if plain, odd := plainHost(host); plain != want.plain || odd != want.odd {
			t.Errorf("%s: %q, %v", host, plain, odd)
		}
	}
}

// TestRefusesOddPathTooLongToTry: each way to read it costs time.
func TestRefusesOddPathTooLongToTry(t *testing.T) {
	h := newHouse(t, `
		passport_auth /orders* scopes read
		reverse_proxy {$UPSTREAM}`)
	long := "/" + strings.Repeat("a", maxOddPath)
	attacked(t, h, attack{"GET " + long, 200}, attack{"GET " + long + ";", 400}, attack{"GET /a;?" + long, 200})
}

// TestKeepsTargetOfHeadersFromUpstream: some take X-Original-URL for the target.
func TestKeepsTargetOfHeadersFromUpstream(t *testing.T) {
	h := newHouseOf(t, `http://{$ADDR} {
		passport_server
		passport_auth /orders* scopes read
		reverse_proxy {$UPSTREAM}
	}`, "expected_underscore_headers x_original_url")
	for _, name := range []string{"X-Original-URL", "X-Rewrite-URL", "X_Original_Url"} {
		h.plain("GET", "/public", name+": /orders/1")
		got := h.upstream.last()
		if got == nil {
			t.Fatal("the request did not pass")
		}
		for field := range got.header {
			if f := fold(field); f == "x-original-url" || f == "x-rewrite-url" {
				t.Errorf("the upstream got %s", field)
			}
		}
	}
}

// TestTunnelsNothingButWebSockets: after Upgrade: h2c the upstream would get requests that nobody has looked at.
func TestTunnelsNothingButWebSockets(t *testing.T) {
	h := newHouse(t, `
		passport_auth /orders* scopes read
		reverse_proxy {$UPSTREAM}`)
	for fields, want := range map[string]string{
		"Connection: Upgrade, HTTP2-Settings\nUpgrade: h2c\nHTTP2-Settings: AAMAAABk": "",
		"Connection: Upgrade\nUpgrade: websocket, h2c":                                "",
		"Connection: Upgrade\nUpgrade: websocket\nUpgrade: h2c":                       "",
		"Connection: Upgrade\nUpgrade: any":                                           "",
		"Connection: Upgrade\nUpgrade: WebSocket":                                     "websocket",
		"HTTP2-Settings: AAMAAABk":                                                    "",
	} {
		h.raw("GET /public HTTP/1.1\nHost: " + h.addr + "\n" + fields + "\n\n")
		got := h.upstream.last()
		if got == nil {
			t.Fatalf("%q did not pass", fields)
		}
		upgrade := strings.ToLower(strings.Join(got.header["Upgrade"], ","))
		if upgrade != want || got.header["Http2-Settings"] != nil {
			t.Errorf("%q: the upstream got %v", fields, got.header)
		}
	}
}

// TestRefusesOddPathPastMappedDoors: what a matcher looks at may come from a handler before it.
func TestRefusesOddPathPastMappedDoors(t *testing.T) {
	for name, directives := range map[string]string{
		"map": "map {path} {guard} {\n~^/orders yes\ndefault no\n}\n@g expression `{guard} == \"yes\"`",
		"vars": `
			vars /orders* guard yes
			@g vars guard yes`,
		"header": `
			@g header X-Guard yes
			route {
				request_header /orders* X-Guard yes
				passport_auth @g scopes read
			}`,
	} {
		t.Run(name, func(t *testing.T) {
			if name != "header" {
				directives += "\npassport_auth @g scopes read"
			}
			h := newHouse(t, directives+"\nreverse_proxy {$UPSTREAM}")
			attacked(
				t, h,
				attack{"GET /orders/1", 401}, attack{"GET /public/..;/orders/1", 400}, attack{"GET /public/..%5corders/1", 400},
				attack{"GET /public/a%2fb", 200},
			)
		})
	}
}

// TestRefusesOddPathPastHandlerThatMayAnswer: a request that may be answered before a door has not passed it.
func TestRefusesOddPathPastHandlerThatMayAnswer(t *testing.T) {
	h := newHouse(t, `
		route {
			reverse_proxy /public/* {$UPSTREAM} {
				@gone status 404
				handle_response @gone {
					header X-Gone yes
				}
			}
			passport_auth scopes read
			reverse_proxy {$UPSTREAM}
		}`)
	attacked(
		t, h,
		attack{"GET /orders/1", 401}, attack{"GET /public/..;/orders/1", 400}, attack{"GET /public/a%2fb", 200},
	)
}

// TestRefusesOddPathPastEarlyHints: they are no answer, and the door behind them is one.
func TestRefusesOddPathPastEarlyHints(t *testing.T) {
	h := newHouse(t, `
		route {
			respond 103
			passport_auth /orders* scopes read
			reverse_proxy {$UPSTREAM}
		}`)
	attacked(t, h, attack{"GET /public/..;/orders/1", 400})
}

// TestRefusesOddPathPastDoorAfterAnswer has doors that it takes an answer to come to.
func TestRefusesOddPathPastDoorAfterAnswer(t *testing.T) {
	for name, directives := range map[string]string{
		"handle_response": `
			reverse_proxy {$UPSTREAM} {
				handle_response {
					passport_auth /orders* scopes read
					reverse_proxy {$UPSTREAM}
				}
			}`,
		"intercept": `
			intercept {
				handle_response {
					passport_auth /orders* scopes read
					reverse_proxy {$UPSTREAM}
				}
			}
			respond ok`,
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, directives)
			attacked(t, h, attack{"GET /public/..;/orders/1", 400}, attack{"GET /public/a%2fb", 200})
			if resp := h.get("/orders/1"); resp.status != http.StatusUnauthorized {
				t.Errorf("%d", resp.status)
			}
		})
	}
}

// TestPassesOddPathsBehindForwardAuth: what may answer does so in whatever way the path is read.
func TestPassesOddPathsBehindForwardAuth(t *testing.T) {
	h := newHouse(t, `
		route {
			forward_auth {$UPSTREAM} {
				uri /check
			}
			passport_auth /orders* scopes read
			reverse_proxy {$UPSTREAM}
		}`)
	token := "\nAuthorization: " + bearer(h.token("read"))
	attacked(
		t, h,
		attack{"GET /orders/a%2fb" + token, 200}, attack{"GET /public/a%2fb", 200},
		attack{"GET /public/..;/orders/1" + token, 400},
	)
}

// TestRefusesMethodPastDoorInNamedRoute: nothing is known of the matchers there until a request comes.
func TestRefusesMethodPastDoorInNamedRoute(t *testing.T) {
	h := newHouseOf(t, `&(api) {
		@change method POST DELETE
		passport_auth @change scopes write
		@orders path_regexp ^/orders
		passport_auth @orders scopes read
		reverse_proxy {$UPSTREAM}
	}
	http://{$ADDR} {
		passport_server
		invoke api
	}`)
	attacked(
		t, h,
		attack{"GET /1", 200}, attack{"DELETE /1", 401}, attack{"GET /1\nX-HTTP-Method-Override: DELETE", 400},
		attack{"post /1", 400}, attack{"GET /ORDERS/1", 400},
	)
}

// TestRefusesNamedRouteThatLeavesSiteUnguarded: error routes and answers may invoke it alone.
func TestRefusesNamedRouteThatLeavesSiteUnguarded(t *testing.T) {
	h := newHouse(t, "passport_auth")
	named := "&(api) {\n passport_auth /x scopes read\n reverse_proxy {$UPSTREAM}\n}\n"
	err := caddy.Load(h.adapt(named+`http://{$ADDR} {
		reverse_proxy {$UPSTREAM}
		handle_errors {
			invoke api
		}
	}`), true)
	if err == nil || !strings.Contains(err.Error(), "caddy-passport") {
		t.Errorf("invoked by error routes alone: %v", err)
	}
	for name, directives := range map[string]string{
		"handle_response": "reverse_proxy {$UPSTREAM} {\n @gone status 404\n handle_response @gone {\n invoke api\n }\n}",
		"intercept": "intercept {\n @gone status 404\n handle_response @gone {\n invoke api\n }\n}\n" +
			"reverse_proxy {$UPSTREAM}",
	} {
		h.load(named + "http://{$ADDR} {\n" + directives + "\n}")
		if resp := h.get("/", "X-Passport-Subject", "admin"); resp.status != http.StatusOK {
			t.Fatalf("%s: %d %s", name, resp.status, resp.body)
		}
		checkIdentity(t, h.upstream.last(), false)
	}
}

// TestAsksWebSocketOfHTTP3ForTokenAtDoorsForGET: reverse_proxy makes a GET with Upgrade of such a CONNECT, which would
// have passed them.
func TestAsksWebSocketOfHTTP3ForTokenAtDoorsForGET(t *testing.T) {
	for name, matcher := range map[string]string{
		"method": "method GET POST",
		"header": "header Upgrade *",
		"path":   "path /chat",
	} {
		h := newHouse(t, "@some "+matcher+"\npassport_auth @some scopes read\nreverse_proxy {$UPSTREAM}")
		server, token := h.server(), h.token("read")
		for _, version := range []int{2, 3} {
			for _, authorization := range []string{"", bearer(token)} {
				r := httptest.NewRequest(http.MethodGet, "http://"+h.addr+"/chat", http.NoBody)
				r.Method, r.ProtoMajor, r.Proto = http.MethodConnect, version, "websocket"
				r.Header["X-Passport-Subject"] = []string{"forged"}
				if version == 2 {
					r.Proto = "HTTP/2.0"
					r.Header[":protocol"] = []string{"websocket"}
				}
				if authorization != "" {
					r.Header.Set("Authorization", authorization)
				}
				w := httptest.NewRecorder()
				server.ServeHTTP(w, r)
				got := h.upstream.last()
				if authorization == "" {
					if w.Code != http.StatusUnauthorized || got != nil {
						t.Errorf("HTTP/%d, %s, no token: %d", version, name, w.Code)
					}
					continue
				}
				if w.Code != http.StatusOK || got == nil || got.method != http.MethodGet ||
					got.header.Get("Upgrade") != "websocket" || got.header.Get("X-Passport-Subject") != testClient {
					t.Errorf("HTTP/%d, %s: %d, the upstream got %v", version, name, w.Code, got)
				}
			}
		}
	}
}

// TestRefusesOddPathPastDoorInErrorRoutes: a request that fails comes to doors of its own.
func TestRefusesOddPathPastDoorInErrorRoutes(t *testing.T) {
	const fallback = `
		@gone expression {err.status_code} == 410
		handle @gone {
			passport_auth /orders* scopes read
			passport_auth %s scopes read
			reverse_proxy {$UPSTREAM}
		}
		handle {
			reverse_proxy {$UPSTREAM}
		}`
	for name, sites := range map[string]string{
		"handle_errors": `http://{$ADDR} {
			passport_server
			error /gone/* 404
			error 410
			handle_errors {` + fmt.Sprintf(fallback, "/other/*") + `
			}
		}`,
		"a named route": "&(api) {" + fmt.Sprintf(fallback, "/other/*") + `
		}
		http://{$ADDR} {
			passport_server
			error /gone/* 404
			error 410
			handle_errors {
				invoke api
			}
		}`,
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouseOf(t, sites)
			attacked(
				t, h,
				attack{"GET /orders/1", 401}, attack{"GET /public/..;/orders/1", 400}, attack{"GET /public/..%5corders/1", 400},
				attack{"GET /public/a%2fb", 200}, attack{"GET /gone/..;/orders/1", 200},
			)
		})
	}
}

// TestRefusesOddPathPastDoorInErrorsOfSubroute: JSON has error routes within a site, too.
func TestRefusesOddPathPastDoorInErrorsOfSubroute(t *testing.T) {
	for name, door := range map[string]string{
		"in place": `{"match": [{"path": ["/orders*"]}], "handle": [{"handler": "passport_auth", "scopes": ["read"]}]}`,
		"invoked":  `{"handle": [{"handler": "invoke", "name": "door"}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, "respond ok")
			proxy := `{"handle": [{"handler": "reverse_proxy", "upstreams": [{"dial": "` + h.upstream.addr + `"}]}]}`
			config := h.adapt("http://{$ADDR} {\npassport_server\nrespond /fails ok\n}")
			routes := `"errors": {"routes": [` + door + "," + proxy + `]},` +
				`"routes": [{"handle": [{"handler": "passport_server"}]}, {"handle": [{"handler": "error", "status_code": 500}]}]`
			site := `"routes": [{"match": [{"host": ["` + strings.Split(h.addr, ":")[0] + `"]}], "terminal": true,` +
				`"handle": [{"handler": "subroute", "routes": [{"handle": [{"handler": "subroute", ` + routes + `}]}]}]}]`
			named := `"named_routes": {"door": {"handle": [{"handler": "subroute", "routes": [` +
				`{"match": [{"path": ["/orders*"]}], "handle": [{"handler": "passport_auth", "scopes": ["read"]}]}]}]}}`
			var whole map[string]any
			if err := json.Unmarshal(config, &whole); err != nil {
				t.Fatal(err)
			}
			var server map[string]any
			if err := json.Unmarshal([]byte(`{"listen": ["`+h.addr+`"], "automatic_https": {"disable": true},`+
				site+","+named+"}"), &server); err != nil {
				t.Fatal(err)
			}
			if name == "in place" {
				delete(server, "named_routes") // one that nobody invokes is refused
			}
			whole["apps"].(map[string]any)["http"].(map[string]any)["servers"] = map[string]any{"srv0": server}
			config, err := json.Marshal(whole)
			if err != nil {
				t.Fatal(err)
			}
			h.loadJSON(config)
			attacked(
				t, h,
				attack{"GET /orders/1", 401}, attack{"GET /public/..;/orders/1", 400}, attack{"GET /public/a%2fb", 200},
			)
			h.get("/public", "X-Passport-Subject", "admin")
			checkIdentity(t, h.upstream.last(), false)
		})
	}
}

// TestGuardsSiteWhoseErrorRoutesAloneHaveDoor: another site of the server has its own, and this one's routes are none
// the less those of a site with a directive.
func TestGuardsSiteWhoseErrorRoutesAloneHaveDoor(t *testing.T) {
	for name, door := range map[string]string{
		"a directive":   "passport_auth /orders* scopes read\nreverse_proxy {$UPSTREAM}",
		"a named route": "invoke api",
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouseOf(t, `&(api) {
				passport_auth /orders* scopes read
				reverse_proxy {$UPSTREAM}
			}
			http://localhost:{$PORT} {
				passport_server
				invoke api
				handle_errors {
					respond no
				}
			}
			http://{$ADDR} {
				error /fails* 500
				reverse_proxy {$UPSTREAM}
				handle_errors {
					`+door+`
				}
			}
			http://other.localhost:{$PORT} {
				reverse_proxy {$UPSTREAM}
				handle_errors {
					respond no
				}
			}`)
			for _, path := range []string{"/", "/fails"} {
				if resp := h.get(path, "X-Passport-Subject", "admin"); resp.status != http.StatusOK {
					t.Fatalf("%s: %d %s", path, resp.status, resp.body)
				}
				checkIdentity(t, h.upstream.last(), false)
			}
			h.raw("GET / HTTP/1.1\nHost: other.localhost\nX-Passport-Subject: admin\nConnection: close\n\n")
			if got := h.upstream.last(); got == nil || got.header.Get("X-Passport-Subject") != "admin" {
				t.Errorf("a site that has no directive was changed: %v", got)
			}
		})
	}
}

// TestReportsOddTargetsAndRefusesNone: a site whose doors only report refuses nothing, in a named route neither.
func TestReportsOddTargetsAndRefusesNone(t *testing.T) {
	for name, directives := range map[string]string{
		"in place":      "@some path /orders*\npassport_auth @some {\nreport_only\n}\nreverse_proxy {$UPSTREAM}",
		"a named route": "invoke door\nreverse_proxy {$UPSTREAM}",
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouseOf(t, "&(door) {\n@some path /orders*\npassport_auth @some {\nreport_only\n}\n}\n"+
				"http://{$ADDR} {\npassport_server\n"+directives+"\n}")
			for _, target := range []string{
				"/public/..;/orders/1", "/x%7f", "/public/%09/x", "/" + strings.Repeat("a", maxOddPath) + ";",
			} {
				since := len(h.logged())
				attacked(t, h, attack{"GET " + target + "\nX-Passport-Subject: admin", 200})
				if lines := strings.Count(h.logged()[since:], `"request would be refused"`); lines != 1 {
					t.Errorf("%.40s: %d reports", target, lines)
				}
			}
		})
	}
}

// server is the only server of the house.
func (h *house) server() *caddyhttp.Server {
	h.t.Helper()
	app, err := caddy.ActiveContext().AppIfConfigured("http")
	if err != nil {
		h.t.Fatal(err)
	}
	for _, server := range app.(*caddyhttp.App).Servers {
		return server
	}
	h.t.Fatal("there is no server")
	return nil
}
