package attacks

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/oauth2-passport/caddy-passport/tests/internal/gateway"
)

// racesSite has routes that demand different things of the same tokens.
const racesSite = `{
	default_bind 127.0.0.1
	passport {
		issuer http://127.0.0.1:{$PORT}
		client demo {
			secret {env.CLIENT_SECRET}
			grants client_credentials
			scopes read write
		}
		client sync {
			secret {env.CLIENT_SECRET}
			grants client_credentials
			scopes read write
		}
	}
}

http://127.0.0.1:{$PORT} {
	passport_server
	passport_auth /read scopes read
	passport_auth /write scopes write
	passport_auth /any {
		any_scope write admin
	}
	passport_auth /demo {
		clients demo
	}
	passport_auth /person {
		subject user
	}
	passport_auth /resource {
		audience https://orders.example
	}
	passport_auth /safe {
		require ` + "`request.method == \"GET\" || \"write\" in scopes`" + `
	}
	passport_auth /region {
		require ` + "`request.headers[\"x-region\"] == \"eu\" && client.id == \"demo\"`" + `
	}
	passport_auth /trusted {
		issuer off
		trust {$ANOTHER} {
			audience orders-api
		}
	}
	passport_auth /stock {
		issuer off
		trust {$ANOTHER} {
			audience stock-api
		}
	}
	passport_auth /both scopes read {
		trust {$ANOTHER} {
			audience orders-api
		}
	}
	reverse_proxy {$UPSTREAM}
}
`

// TestRefusesVerdictOfAnotherRouteInARace has many callers send a few tokens to routes with different demands, all at the
// same time, over the caches that the routes share. What one route says of a token must not count on another.
func TestRefusesVerdictOfAnotherRouteInARace(t *testing.T) {
	foreign := newKey(t)
	issuer := another(t, foreign)
	upstream := gateway.NewUpstream(t)
	g := gateway.Start(t, racesSite, "UPSTREAM="+upstream.Addr, "CLIENT_SECRET="+secret, "ANOTHER="+issuer)
	header := foreign.header()
	tokens := map[string]string{
		"demo read": g.Token("demo", secret, "read"), "demo write": g.Token("demo", secret, "write"),
		"demo all": g.Token("demo", secret, "read write"), "sync read": g.Token("sync", secret, "read"),
		"orders": foreign.sign(t, header, claims(issuer, "demo").with(part{"aud": "orders-api"})),
		"stock":  foreign.sign(t, header, claims(issuer, "demo").with(part{"aud": "stock-api"})),
	}
	// Who passes where; "401" and "403" tell why others do not.
	type want map[string]int
	own := func(demoRead, demoWrite, demoAll, syncRead int) want {
		return want{"demo read": demoRead, "demo write": demoWrite, "demo all": demoAll, "sync read": syncRead,
			"orders": 401, "stock": 401}
	}
	others := func(orders, stock int) want {
		return want{"demo read": 401, "demo write": 401, "demo all": 401, "sync read": 401, "orders": orders, "stock": stock}
	}
	both := own(200, 403, 200, 200)
	both["orders"] = 200
	table := map[string]want{
		"GET /read": own(200, 403, 200, 200), "GET /write": own(403, 200, 200, 403), "GET /any": own(403, 200, 200, 403),
		"GET /demo": own(200, 200, 200, 403), "GET /person": own(403, 403, 403, 403), "GET /resource": own(401, 401, 401, 401),
		"GET /safe": own(200, 200, 200, 200), "POST /safe": own(403, 200, 200, 403),
		"GET /region eu": own(200, 200, 200, 403), "GET /region us": own(403, 403, 403, 403),
		"GET /trusted": others(200, 401), "GET /stock": others(401, 200), "GET /both": both,
	}
	var mu sync.Mutex
	wrong := make(map[string]int)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 12 {
				for what, who := range table { // in another order each time
					fields := strings.Fields(what)
					for name, status := range who {
						req, err := http.NewRequestWithContext(t.Context(), fields[0], g.URL+fields[1], http.NoBody)
						if err != nil {
							t.Error(err)
							return
						}
						req.Header.Set("Authorization", "Bearer "+tokens[name])
						if len(fields) > 2 {
							req.Header.Set("X-Region", fields[2])
						}
						resp, err := g.Try(req)
						if err != nil {
							t.Error(err)
							return
						}
						if resp.Status != status {
							mu.Lock()
							wrong[fmt.Sprintf("%s with %s: %d, want %d", what, name, resp.Status, status)]++
							mu.Unlock()
						}
					}
				}
			}
		})
	}
	all.Wait()
	for what, times := range wrong {
		t.Errorf("%s, %d times", what, times)
	}
}
