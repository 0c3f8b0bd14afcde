package caddymodule

import (
	"net/http"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

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
