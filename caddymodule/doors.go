package caddymodule

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/rewrite"
	"go.uber.org/zap"
)

// doors are the passport_auth of a site and the matchers that they stand behind.
//
// Caddy's matchers look at the path decoded once, with slashes merged and dot segments resolved, and the upstream gets
// it as it was sent. What the upstream makes of it may be another path, and so another door: a servlet container takes
// /public/..;/orders for /orders. A request that could be read so that it would have to pass a door which it has not
// passed as Caddy reads it is refused.
type doors struct {
	routes      caddyhttp.RouteList
	conditional bool // some stand behind matchers; all requests pass the others
	methods     bool // some matcher looks at the method
	cased       bool // some matcher may tell upper case from lower
}

func findDoors(routes caddyhttp.RouteList) *doors {
	d := &doors{routes: routes}
	matched := false // whether something before this place in the site, or around it, has a matcher
	var walk func(caddyhttp.RouteList)
	walk = func(list caddyhttp.RouteList) {
		for _, route := range list {
			matched = matched || len(route.MatcherSets) > 0 || route.Group != ""
			d.note(route.MatcherSets)
			for _, h := range route.Handlers {
				switch h := h.(type) {
				case *Auth:
					d.conditional = d.conditional || matched
				case *caddyhttp.Subroute:
					walk(h.Routes)
				case *site:
					walk(h.routes)
				case *caddyhttp.Invoke:
					d.conditional = true // what it invokes is known to the server, which a request brings
				}
			}
		}
	}
	walk(routes)
	return d
}

// note remembers what matchers look at.
func (d *doors) note(sets caddyhttp.MatcherSets) {
	for _, set := range sets {
		for _, matcher := range set {
			switch m := matcher.(type) {
			case *caddyhttp.MatchPath, *caddyhttp.MatchHost, *caddyhttp.MatchHeader, *caddyhttp.MatchProtocol, *Matcher:
			case *caddyhttp.MatchMethod:
				d.methods = true
			case *caddyhttp.MatchNot:
				d.note(m.MatcherSets)
			default:
				d.methods, d.cased = true, true
			}
		}
	}
}

// mistakable tells whether an upstream could take the request for one that has to pass a door which this one does not.
// Doors that only report refuse nothing: those are answered.
func (d *doors) mistakable(r *http.Request) (refused bool, reported []*Auth) {
	if !d.conditional || !d.odd(r) {
		return false, nil
	}
	server, _ := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	trial := r.Clone(r.Context())
	trial.Body = http.NoBody // matchers may read it
	repl := caddy.NewReplacer()
	trial = caddyhttp.PrepareRequest(trial, repl, nil, server)

	passes := func(method, host string, u url.URL) []*Auth {
		trial.Method, trial.Host, trial.URL = method, host, &u
		t := trialRun{server: server, request: trial, repl: repl, groups: make(map[string]bool)}
		t.through(d.routes)
		return t.passed
	}
	passed := passes(r.Method, r.Host, *r.URL)
	other := func(method, host string, u url.URL) bool {
		for _, a := range passes(method, host, u) {
			switch {
			case slices.Contains(passed, a), slices.Contains(reported, a):
			case !a.ReportOnly:
				return true
			default:
				reported = append(reported, a)
			}
		}
		return false
	}
	for _, method := range otherMethods(r) {
		if other(method, r.Host, *r.URL) {
			return true, nil
		}
	}
	if host := strings.TrimSuffix(hostname(r.Host), "."); other(r.Method, host, *r.URL) {
		return true, nil
	}
	for _, path := range readings(r.URL, d.cased) {
		u := *r.URL
		u.Path, u.RawPath = path, ""
		if other(r.Method, r.Host, u) {
			return true, nil
		}
	}
	return false, reported
}

// odd tells, quickly, whether there is more than one way to read the request.
func (d *doors) odd(r *http.Request) bool {
	return oddPath(r.URL, d.cased) || strings.HasSuffix(hostname(r.Host), ".") || d.methods && len(otherMethods(r)) > 0
}

// otherMethods are what an upstream may take the method for.
func otherMethods(r *http.Request) []string {
	var methods []string
	if upper := strings.ToUpper(r.Method); upper != r.Method {
		methods = append(methods, upper)
	}
	if r.Method == http.MethodHead {
		methods = append(methods, http.MethodGet) // RFC 9110 §9.3.2
	}
	for _, name := range methodOverrides {
		for _, method := range r.Header[name] {
			methods = append(methods, strings.ToUpper(method))
		}
	}
	return methods
}

// methodOverrides are header fields that some upstreams take for the method.
var methodOverrides = []string{"X-Http-Method-Override", "X-Http-Method", "X-Method-Override"}

func hostname(host string) string {
	if colon := strings.LastIndexByte(host, ':'); colon >= 0 && !strings.HasSuffix(host, "]") {
		return host[:colon]
	}
	return host
}

// trialRun finds out which doors a request comes to, as far as matchers and rewrites decide it.
type trialRun struct {
	server  *caddyhttp.Server
	request *http.Request
	repl    *caddy.Replacer
	groups  map[string]bool
	passed  []*Auth

	// meet, where it is given, looks at each handler first, and tells whether the request goes on from it.
	meet func(caddyhttp.MiddlewareHandler) (goesOn bool)
}

// through sends the request through the routes, and tells whether it goes on after them.
func (t *trialRun) through(routes caddyhttp.RouteList) (goesOn bool) {
	for _, route := range routes {
		if route.Group != "" && t.groups[route.Group] {
			continue
		}
		if ok, err := route.MatcherSets.AnyMatchWithError(t.request); !ok && err == nil {
			continue
		}
		if route.Group != "" {
			t.groups[route.Group] = true
		}
		for _, h := range route.Handlers {
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
		t.passed = append(t.passed, h)
	case *rewrite.Rewrite:
		h.Rewrite(t.request, t.repl)
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
		return len(h.HandleResponse) > 0 // forward_auth goes on, by such a route
	case *caddyhttp.StaticResponse, *caddyhttp.StaticError:
		return false
	}
	return true
}

// refuseMistakable answers a request that can be read in more than one way.
func refuseMistakable(w http.ResponseWriter, r *http.Request, logger *zap.Logger) error {
	logger.Info("request refused: its target can be read in more than one way, one of which has to pass a passport_auth "+
		"that this one does not", zap.String("method", r.Method), zap.String("path", r.URL.EscapedPath()))
	refusedMistakable.count(false)
	return refusedMistakable.write(w, "", "")
}
