package caddymodule

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/oauth2-passport/caddy-passport/issuer/verify"
	"github.com/oauth2-passport/caddy-passport/store"
)

// nowhere is a response that goes nowhere.
type nowhere struct{ header http.Header }

func (w nowhere) Header() http.Header         { return w.header }
func (w nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (w nowhere) WriteHeader(int)             {}

// BenchmarkServer sends requests through a whole server of Caddy, but over no network, and to no upstream. What a
// directive costs is the difference to the site without it.
func BenchmarkServer(b *testing.B) {
	other := newIDP(b)
	for _, bench := range []struct{ name, directives, target string }{
		{"bare", "", "/orders/17"},
		{"bare, with the cookies of a session", "", "/orders/17"},
		{"session", "passport_server\npassport_auth scopes read {\n session\n}", "/orders/17"},
		{"personal", "passport_server\npassport_auth scopes read", "/orders/17"},
		{"site alone", "passport_server", "/orders/17"},
		{"scopes", "passport_server\npassport_auth scopes read", "/orders/17"},
		{"placeholder", "passport_server\npassport_auth {\n upstream_header X-User {passport.subject}\n}", "/orders/17"},
		{"require", "passport_server\npassport_auth scopes read {\n require `" + `claims.sub == "demo" && ` +
			`claims.client_id == client.id && claims.scope.contains("read") && request.path.startsWith("/orders/")` +
			"`\n}", "/orders/17"},
		{"report_only", "passport_server\npassport_auth scopes read {\n report_only\n}", "/orders/17"},
		{"trust", "passport_auth scopes read {\n issuer off\n trust " + other.url + " {\n audience api\n}\n}", "/orders/17"},
		{"upstream_auth jwt", "passport_server\npassport_auth scopes read {\n upstream_auth jwt {\n audience internal\n}\n}",
			"/orders/17"},
		{"two", "passport_server\npassport_auth\npassport_auth /orders* scopes read", "/orders/17"},
		{"odd path", "passport_server\npassport_auth /orders* scopes read", "/orders/a%2Fb"},
		{"odd path, in the most ways", "passport_server\npassport_auth /orders* scopes read",
			strings.Repeat("/x.pl", maxReadings-1) + "/a"},
		{"odd path, in too many ways", "passport_server\npassport_auth /orders* scopes read",
			strings.Repeat("/.pl", 500) + "/%61"},
	} {
		b.Run(bench.name, func(b *testing.B) {
			h := newHouse(b, "")
			token := h.token("read write")
			personal, cookie := h.person()
			h.load("http://{$ADDR} {\n" + bench.directives + "\nrespond 204\n}")
			server := serverOf(b)
			header := http.Header{
				"User-Agent": {"bench"}, "Accept": {"*/*"}, "Accept-Encoding": {"gzip"}, "X-Request-Id": {"1"},
				"Authorization": {bearer(token)},
			}
			switch {
			case strings.Contains(bench.name, "session"):
				delete(header, "Authorization")
				header["Cookie"] = []string{
					"theme=dark; passport_session=" + cookie + "; XSRF-TOKEN=" + verify.CSRFToken("http "+cookie),
				}
			case bench.name == "trust":
				header["Authorization"] = []string{bearer(other.token(nil))}
			case bench.name == "personal":
				header["Authorization"] = []string{bearer(personal)}
			}
			first := httptest.NewRequest(http.MethodGet, "http://"+h.addr+bench.target, nil)
			b.ReportAllocs()
			for b.Loop() {
				r := first.WithContext(b.Context())
				r.Header = maps.Clone(header)
				server.ServeHTTP(nowhere{make(http.Header)}, r)
			}
		})
	}
}

// BenchmarkRefused is what a stranger's request costs whose answer tells what all passport_auth on its way want, to that of
// one that passes there.
func BenchmarkRefused(b *testing.B) {
	many := "passport_auth /orders* scopes read\n"
	for i := range 1000 {
		many += fmt.Sprintf("passport_auth /r%d/* scopes s%[1]d\n", i)
	}
	const mcp = "passport_auth {\n resource http://{$ADDR}/mcp\n audience http://{$ADDR}\n}\n"
	for name, directives := range map[string]string{
		"one":      "passport_auth scopes read\n",
		"two":      "passport_auth\npassport_auth /orders* scopes read\n",
		"resource": mcp + "passport_auth /orders* scopes read\n",
		"many":     many,
	} {
		h := newHouse(b, directives+"respond 204")
		server, good := h.server(), h.token("read")
		for who, token := range map[string]string{"good": good, "none": "", "forged": forge(good)} {
			b.Run(name+"/"+who, func(b *testing.B) {
				header := http.Header{"User-Agent": {"bench"}, "Accept": {"*/*"}, "X-Request-Id": {"1"}}
				if token != "" {
					header["Authorization"] = []string{bearer(token)}
				}
				first := httptest.NewRequest(http.MethodGet, "http://"+h.addr+"/orders/17", nil)
				b.ReportAllocs()
				for b.Loop() {
					r := first.WithContext(b.Context())
					r.Header = maps.Clone(header)
					server.ServeHTTP(nowhere{make(http.Header)}, r)
				}
			})
		}
	}
}

// person makes a person who has a personal access token, and a session in a browser.
func (h *house) person() (personal, cookie string) {
	h.t.Helper()
	personal, cookie = store.NewSecret(store.PersonalAccessToken), store.NewSecret(store.SessionSecret)
	h.update(func(r *store.Records) error {
		now := r.Now()
		u := &store.User{ID: store.NewID(now), Name: "ada", Email: "ada@example.com"}
		return errors.Join(r.PutUser(u), r.PutToken(&store.Token{
			ID: store.NewID(now), ClientID: "personal_access", UserID: u.ID, Scopes: []string{"read"}, IssuedAt: now,
			ExpiresAt: now.Add(time.Hour), Personal: true, Name: "test", Hash: store.HashSecret(personal),
		}), r.PutSession(&store.Session{
			ID: store.NewID(now), Hash: store.HashSecret("http " + cookie), UserID: u.ID, CreatedAt: now,
			AuthenticatedAt: now, SeenAt: now, IdleUntil: now.Add(time.Hour), ExpiresAt: now.Add(time.Hour),
		}))
	})
	return personal, cookie
}

// serverOf is the server of the config that is in force.
func serverOf(b *testing.B) *caddyhttp.Server {
	b.Helper()
	app, err := caddy.ActiveContext().App("http")
	if err != nil {
		b.Fatal(err)
	}
	return app.(*caddyhttp.App).Servers["srv0"]
}
