package caddymodule

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// step is a handler that tells that a request passes it.
type step struct {
	name   string
	passed *[]string
}

func (s step) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	*s.passed = append(*s.passed, s.name)
	return next.ServeHTTP(w, r)
}

// TestRoutesPassAsInCaddy sends requests through routes that we have put together, and that Caddy has.
func TestRoutesPassAsInCaddy(t *testing.T) {
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	defer cancel()
	onlyA := caddyhttp.MatcherSets{{caddyhttp.MatchPath{"/a"}}}
	for _, test := range []struct {
		name   string
		routes caddyhttp.RouteList
		path   string
		want   []string
	}{
		{"all", make(caddyhttp.RouteList, 2), "/a", []string{"0", "0 again", "1", "1 again", "end"}},
		{"none", nil, "/a", []string{"end"}},
		{"matched", caddyhttp.RouteList{{MatcherSets: onlyA}, {}}, "/a", []string{"0", "0 again", "1", "1 again", "end"}},
		{"not matched", caddyhttp.RouteList{{MatcherSets: onlyA}, {}}, "/b", []string{"1", "1 again", "end"}},
		{
			"first of a group", caddyhttp.RouteList{{MatcherSets: onlyA, Group: "g"}, {Group: "g"}}, "/a",
			[]string{"0", "0 again", "end"},
		},
		{
			"last of a group", caddyhttp.RouteList{{MatcherSets: onlyA, Group: "g"}, {Group: "g"}}, "/b",
			[]string{"1", "1 again", "end"},
		},
		{"terminal", caddyhttp.RouteList{{Terminal: true}, {}}, "/a", []string{"0", "0 again"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var passed []string
			for i := range test.routes {
				name := string(rune('0' + i))
				test.routes[i].Handlers = []caddyhttp.MiddlewareHandler{step{name, &passed}, step{name + " again", &passed}}
				if err := test.routes[i].ProvisionHandlers(ctx, nil); err != nil {
					t.Fatal(err)
				}
			}
			end := caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error {
				passed = append(passed, "end")
				return nil
			})
			for _, chain := range []caddyhttp.Handler{
				test.routes.Compile(end), compile(test.routes, end, false), compile(test.routes, end, true),
			} {
				passed = nil
				w := httptest.NewRecorder()
				r := caddyhttp.PrepareRequest(httptest.NewRequest(http.MethodGet, test.path, nil), caddy.NewReplacer(), w, nil)
				if err := chain.ServeHTTP(w, r); err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(passed, test.want) {
					t.Errorf("passed %q, want %q", passed, test.want)
				}
			}
		})
	}
}

// TestCaddySeesHandlers: routes that are put together once do without what Caddy tells of handlers, so that they are not
// where it is asked to.
func TestCaddySeesHandlers(t *testing.T) {
	const site = ":{$PORT} {\npassport_server\npassport_auth\nrespond 204\n}"
	for _, test := range []struct {
		option  string
		traced  bool
		counted bool
	}{{"", false, false}, {"trace", true, false}, {"metrics", false, true}} {
		t.Run(test.option, func(t *testing.T) {
			h := newHouseOf(t, site, test.option)
			if resp := h.get("/", "Authorization", bearer(h.token("read"))); resp.status != http.StatusNoContent {
				t.Fatalf("%d %s", resp.status, resp.body)
			}
			if got := strings.Contains(h.logged(), `"msg":"passport_auth"`); got != test.traced {
				t.Errorf("passport_auth in the trace: %v", got)
			}
			ctx := caddy.ActiveContext()
			families, err := ctx.GetMetricsRegistry().Gather()
			if err != nil {
				t.Fatal(err)
			}
			counted := false
			for _, family := range families {
				for _, metric := range family.GetMetric() {
					for _, label := range metric.GetLabel() {
						counted = counted || label.GetName() == "handler" && label.GetValue() == "passport_server"
					}
				}
			}
			if counted != test.counted {
				t.Errorf("the route among Caddy's metrics: %v", counted)
			}
		})
	}
}
