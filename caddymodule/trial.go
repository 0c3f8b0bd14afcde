package caddymodule

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/headers"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/intercept"
	maphandler "github.com/caddyserver/caddy/v2/modules/caddyhttp/map"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/rewrite"
)

// passing is that a request comes to a door, after handlers from which it may not have gone on.
type passing struct {
	door  *Auth
	after []caddyhttp.MiddlewareHandler
}

// by tells whether a request that passes p when it is read in another way comes to the same door as it is, by passing
// q: all that may keep it from there may keep it from there in the other way, too.
func (p passing) by(q passing) bool {
	return p.door == q.door && !slices.ContainsFunc(q.after, func(h caddyhttp.MiddlewareHandler) bool {
		return !slices.Contains(p.after, h)
	})
}

// trialRun finds out which doors a request comes to, as far as matchers, and the handlers that change what they look
// at, decide it.
type trialRun struct {
	server  *caddyhttp.Server
	request *http.Request
	repl    *caddy.Replacer
	groups  map[string]bool
	passed  []passing
	unsure  []caddyhttp.MiddlewareHandler // that have been met and may have answered

	last   map[*caddyhttp.Route]int // see [doors]
	more   bool                     // there may be doors behind the list of routes, or the handler, that is run now
	shared bool                     // others have the header fields of the request, too

	// meet, where it is given, looks at each handler first, and tells whether the request goes on from it. after is then
	// the handler on whose answer it depends whether the request comes there; empty: none.
	meet  func(caddyhttp.MiddlewareHandler) (goesOn bool)
	after string
}

// through sends the request through the routes, and tells whether it goes on after them.
func (t *trialRun) through(routes caddyhttp.RouteList) (goesOn bool) {
	if len(routes) == 0 {
		return true
	}
	last, known := t.last[&routes[0]]
	if !known {
		last = len(routes)
	}
	more := t.more
	defer func() { t.more = more }()
	for i, route := range routes {
		if i > last && !more {
			return false // matchers cost time, and nothing is there to be found
		}
		if route.Group != "" && t.groups[route.Group] {
			continue
		}
		if ok, err := route.MatcherSets.AnyMatchWithError(t.request); !ok && err == nil {
			continue
		}
		if route.Group != "" {
			t.groups[route.Group] = true
		}
		for at, h := range route.Handlers {
			t.more = more || i < last || at+1 < len(route.Handlers)
			if !t.handle(h) {
				return false
			}
		}
		if route.Terminal {
			return false
		}
	}
	return true
}

func (t *trialRun) handle(h caddyhttp.MiddlewareHandler) (goesOn bool) {
	if t.meet != nil && !t.meet(h) {
		return false
	}
	switch h := h.(type) {
	case *Auth:
		t.passed = append(t.passed, passing{h, slices.Clone(t.unsure)})
	case *rewrite.Rewrite:
		h.Rewrite(t.request, t.repl)
	case *headers.Handler:
		if h.Request != nil {
			if t.shared {
				t.request.Header, t.shared = t.request.Header.Clone(), false
			}
			h.Request.ApplyToRequest(t.request)
		}
	case *caddyhttp.VarsMiddleware, *maphandler.Handler:
		_ = h.ServeHTTP(nil, t.request, caddyhttp.HandlerFunc(goOn))
	case *caddyhttp.Subroute:
		return t.through(h.Routes)
	case *site:
		return t.through(h.routes)
	case *caddyhttp.Invoke:
		if t.server != nil {
			if route, ok := t.server.NamedRoutes[h.Name]; ok {
				return t.through(caddyhttp.RouteList{*route})
			}
		}
	case *reverseproxy.Handler:
		if len(h.HandleResponse) == 0 {
			return false
		}
		return t.responses(h, h.HandleResponse) // forward_auth goes on, by such a route
	case *intercept.Intercept:
		sure := t.unsure
		t.responses(h, h.HandleResponse)
		t.unsure = sure // it goes on itself, before it looks at the answer
	case *caddyhttp.StaticResponse:
		return isHint(h)
	case *caddyhttp.StaticError:
		return false
	default:
		if module, ok := h.(caddy.Module); !ok || !slices.Contains(goingOn, module.CaddyModule().ID.Name()) {
			t.unsure = append(slices.Clip(t.unsure), h)
		}
	}
	return true
}

// isHint tells whether requests go on after the handler, or may do so: after the status 103 of early hints.
func isHint(h *caddyhttp.StaticResponse) bool {
	code := string(h.StatusCode)
	return code == strconv.Itoa(http.StatusEarlyHints) || strings.Contains(code, "{")
}

func goOn(http.ResponseWriter, *http.Request) error { return nil }

// goingOn are handlers that hand on a request, or refuse it, but do not answer in the place of an upstream.
var goingOn = []string{
	"authentication", "encode", "log_append", "passport_server", "push", "request_body", "templates", "tracing",
}

// responses sends the request through routes of which it depends on an answer whether they are run, and tells whether
// it goes on after one of them.
func (t *trialRun) responses(h caddyhttp.MiddlewareHandler, all []caddyhttp.ResponseHandler) (goesOn bool) {
	if t.meet != nil {
		return t.meetAfter(h, all)
	}
	t.unsure = append(slices.Clip(t.unsure), h)
	method, host, target, after := t.request.Method, t.request.Host, *t.request.URL, t.unsure
	for i := range all {
		if i > 0 {
			u := target
			t.request.Method, t.request.Host, t.request.URL, t.unsure = method, host, &u, after
		}
		if t.through(all[i].Routes) {
			goesOn = true
		}
	}
	t.unsure = after
	return goesOn
}

// meetAfter shows the routes that depend on an answer to meet. Where a request may go on after one of them, it is as if
// it did.
func (t *trialRun) meetAfter(h caddyhttp.MiddlewareHandler, all []caddyhttp.ResponseHandler) (goesOn bool) {
	outer, request := t.after, t.request
	if module, ok := h.(caddy.Module); ok {
		t.after = module.CaddyModule().ID.Name()
	}
	for _, response := range all {
		t.request = request.Clone(request.Context()) // what is done to it there is not done otherwise
		goesOn = t.through(response.Routes) || goesOn
	}
	t.after, t.request = outer, request
	return goesOn
}
