package caddymodule

import (
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
	attacked(t, h, attack{"GET /public/..;/orders/1", 400}, attack{"GET /public/a%2fb", 103})
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
		forward_auth {$UPSTREAM} {
			uri /check
		}
		passport_auth /orders* scopes read
		reverse_proxy {$UPSTREAM}`)
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

// TestRefusesWebSocketOfHTTP3ThatPassesDoorsForGET: reverse_proxy makes a GET with Upgrade of such a CONNECT.
func TestRefusesWebSocketOfHTTP3ThatPassesDoorsForGET(t *testing.T) {
	for name, matcher := range map[string]string{
		"method": "method GET POST",
		"header": "header Upgrade *",
	} {
		h := newHouse(t, "@some "+matcher+"\npassport_auth @some scopes read\nreverse_proxy {$UPSTREAM}")
		server := h.server()
		for _, version := range []int{2, 3} {
			r := httptest.NewRequest(http.MethodGet, "http://"+h.addr+"/chat", http.NoBody)
			r.Method, r.ProtoMajor, r.Proto = http.MethodConnect, version, "websocket"
			if version == 2 {
				r.Proto = "HTTP/2.0"
				r.Header[":protocol"] = []string{"websocket"}
			}
			w := httptest.NewRecorder()
			server.ServeHTTP(w, r)
			if w.Code != http.StatusBadRequest || h.upstream.last() != nil {
				t.Errorf("HTTP/%d, %s: %d", version, name, w.Code)
			}
		}
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
