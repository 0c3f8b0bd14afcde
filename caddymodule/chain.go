package caddymodule

import (
	"net/http"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// compile makes a handler of the routes of a site, like [caddyhttp.RouteList.Compile]. That puts each route together
// anew for each request; direct spares this to routes that hold for every request, as those of our directives often do.
func compile(routes caddyhttp.RouteList, next caddyhttp.Handler, direct bool) caddyhttp.Handler {
	for i, route := range slices.Backward(routes) {
		if !direct || len(route.MatcherSets) > 0 || route.Group != "" || route.Terminal {
			next = routes[i : i+1].Compile(next)
			continue
		}
		for _, h := range slices.Backward(route.Handlers) {
			after := next
			next = caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
				return h.ServeHTTP(w, r, after)
			})
		}
	}
	return next
}

// observed tells whether Caddy counts or logs the handlers that a request passes: it does so where it puts a route
// together.
func observed(ctx caddy.Context, srv *caddyhttp.Server) bool {
	if srv.Metrics != nil || srv.Logs != nil && srv.Logs.Trace {
		return true
	}
	return slices.ContainsFunc(ctx.Modules(), func(m caddy.Module) bool {
		app, ok := m.(*caddyhttp.App)
		return ok && app.Metrics != nil
	})
}
