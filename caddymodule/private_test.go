package caddymodule

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
)

// TestPersonsPageInASharedCache: what a session gets is its browser's alone to keep, unless the upstream says
// otherwise; a cache in front may not heed Vary.
func TestPersonsPageInASharedCache(t *testing.T) {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/up/public":
			w.Header().Set("Cache-Control", "public, max-age=60")
		case "/up/brief":
			w.Header().Set("Cache-Control", "max-age=60")
		case "/up/no":
			w.Header().Set("Cache-Control", "max-age=60, No-Store")
		case "/up/hints":
			w.WriteHeader(http.StatusEarlyHints)
		case "/up/empty":
			w.WriteHeader(http.StatusNoContent)
			return
		case "/up/flush":
			_ = http.NewResponseController(w).Flush()
		}
		_, _ = w.Write([]byte("ok"))
	}))
	t.Cleanup(upstream.Close)
	h := newHouse(t, "")
	_, cookie := h.person()
	h.load(`http://{$ADDR} {
		passport_server
		passport_auth {
			session
			optional
		}
		passport_auth /up/two {
			session
		}
		passport_auth /up/trial {
			session
			report_only
		}
		passport_auth /up/client {
			session
			subject client
		}
		reverse_proxy /up/* ` + upstream.Listener.Addr().String() + `
		respond /page ok
		error /fault 404
		handle_errors {
			respond "no page for {passport.username}"
		}
	}`)
	session := []string{"Cookie", "passport_session=" + cookie}
	token := []string{"Authorization", bearer(h.token("read"))}
	for _, test := range []struct {
		name, path string
		fields     []string
		want       []string
	}{
		{"proxied", "/up/page", session, []string{"private"}},
		{"written here", "/page", session, []string{"private"}},
		{"without a body", "/up/empty", session, []string{"private"}},
		{"after early hints", "/up/hints", session, []string{"private"}},
		{"streamed", "/up/flush", session, []string{"private"}},
		{"two directives", "/up/two", session, []string{"private"}},
		{"report only", "/up/trial", session, []string{"private"}},
		{"the upstream says", "/up/public", session, []string{"public, max-age=60"}},
		{"how long, not who", "/up/brief", session, []string{"max-age=60", "private"}},
		{"nobody may", "/up/no", session, []string{"max-age=60, No-Store"}},
		{"a fault", "/fault", session, []string{"private"}},
		{"refused", "/up/client", session, []string{"no-store"}},
		{"by token", "/up/page", token, nil},
		{"nobody", "/up/page", nil, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			resp := h.get(test.path, test.fields...)
			if got := resp.header["Cache-Control"]; !slices.Equal(got, test.want) {
				t.Errorf("%d with Cache-Control %q, want %q", resp.status, got, test.want)
			}
			passed := resp.status != http.StatusForbidden && len(test.fields) > 0 && test.fields[0] == "Cookie"
			if vary := slices.Contains(resp.header["Vary"], "Cookie, Authorization"); vary != passed {
				t.Errorf("Vary: %q", resp.header["Vary"])
			}
		})
	}
}
