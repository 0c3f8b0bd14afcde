package caddymodule

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/fileserver"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/headers"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"
)

// warn tells of what is no error in a config and is hardly meant: an issuer from which nobody can get a token, and a
// passport_auth that no request comes to. It is called once for each config.
func (a *App) warn() {
	s := survey{serves: make(map[*instance]bool)}
	if found, err := a.ctx.AppIfConfigured("http"); err == nil {
		s.servers(found.(*caddyhttp.App).Servers)
	}
	logger := a.ctx.Logger()
	for _, i := range a.all() {
		if _, alone := i.config.storage.(*Badger); alone && !s.serves[i] { // other nodes may serve what they share
			directive := "passport_server"
			if i.name != DefaultIssuer {
				directive += " " + i.name
			}
			logger.Warn(fmt.Sprintf("no site has %s: nobody can get a token from this issuer; put %[1]s into a site",
				directive), zap.String("issuer", i.name))
		}
	}
	for _, path := range s.unreached {
		logger.Warn("no request comes to this passport_auth, it guards nothing: something before it answers all requests; "+
			"move it to the front of the route", zap.String("path", path))
	}
}

// survey looks at the routes of a config.
type survey struct {
	serves    map[*instance]bool // issuers that a passport_server serves
	unreached []string           // where passport_auth stands that no request comes to
}

func (s *survey) servers(servers map[string]*caddyhttp.Server) {
	for _, name := range slices.Sorted(maps.Keys(servers)) {
		server, path := servers[name], "apps/http/servers/"+name
		s.list(inConfig(server.Routes), path+"/routes", flow{})
		if server.Errors != nil {
			s.list(inConfig(server.Errors.Routes), path+"/errors/routes", flow{})
		}
		for _, route := range slices.Sorted(maps.Keys(server.NamedRoutes)) {
			s.route(*server.NamedRoutes[route], path+"/named_routes/"+route, &flow{})
		}
	}
}

// flow is what is known of the requests that come to a place.
type flow struct {
	dry  bool     // none do
	gone []string // those that these match do not, see matched
}

// list looks at routes that follow each other, and tells whether no request goes on after them.
func (s *survey) list(routes caddyhttp.RouteList, path string, f flow) (ends bool) {
	f.gone = slices.Clone(f.gone)
	type group struct{ ends, over bool } // all of its routes so far end; one of them takes every request
	groups := make(map[string]*group)
	for i, route := range routes {
		g := groups[route.Group]
		if g == nil {
			g = &group{ends: true}
			groups[route.Group] = g
		}
		of := f
		of.dry = of.dry || route.Group != "" && g.over || f.lacks(route.MatcherSets)
		ends := s.route(route, fmt.Sprintf("%s/%d", path, i), &of)
		f.gone = of.gone
		if route.Group != "" { // only the first one that matches is taken
			g.ends = g.ends && ends
			ends, g.over = g.ends, g.over || len(route.MatcherSets) == 0
		}
		switch {
		case !ends:
		case len(route.MatcherSets) == 0:
			f.dry = true
		default:
			if what, ok := matched(route.MatcherSets); ok {
				f.gone = append(f.gone, what)
			}
		}
	}
	return f.dry
}

// lacks tells whether no request comes that matches.
func (f *flow) lacks(sets caddyhttp.MatcherSets) bool {
	if len(f.gone) == 0 {
		return false
	}
	what, ok := matched(sets)
	return ok && slices.Contains(f.gone, what)
}

// route looks at a route to which come the requests of f, and tells whether none goes on after it.
func (s *survey) route(route caddyhttp.Route, path string, f *flow) (ends bool) {
	for i, h := range route.Handlers {
		ends = s.handler(h, fmt.Sprintf("%s/handle/%d", path, i), flow{f.dry || ends, f.gone}) || ends
		if !leavesMatchers(h) {
			f.gone = nil
		}
	}
	return ends || route.Terminal
}

func (s *survey) handler(h caddyhttp.MiddlewareHandler, path string, f flow) (ends bool) {
	switch h := h.(type) {
	case *Server:
		s.serves[h.instance] = true
	case *Auth:
		if f.dry {
			s.unreached = append(s.unreached, path)
		}
	case *caddyhttp.StaticResponse:
		ends = !isHint(h)
	case *caddyhttp.StaticError:
		ends = true
	case *fileserver.FileServer:
		ends = !h.PassThru
	case *reverseproxy.Handler:
		ends = len(h.HandleResponse) == 0
	}
	for _, b := range branches(h) {
		if over := s.list(b.routes, path+"/"+b.path, f); b.after == "" {
			ends = ends || over
		}
	}
	return ends
}

// matched tells what matchers match, as long as nothing before them changes that: two routes of which it tells the same
// match the same requests. It tells nothing of matchers that are more than what the config says.
func matched(sets caddyhttp.MatcherSets) (what string, ok bool) {
	var text strings.Builder
	for _, set := range sets {
		text.WriteString("or")
		for _, matcher := range set {
			switch matcher.(type) {
			case *caddyhttp.MatchPath, *caddyhttp.MatchMethod, *caddyhttp.MatchHost, *caddyhttp.MatchHeader:
			default:
				return "", false
			}
			says, err := json.Marshal(matcher)
			if err != nil {
				return "", false // not reached: it came from JSON
			}
			fmt.Fprintf(&text, " %T%s", matcher, says)
		}
	}
	return text.String(), len(sets) > 0
}

// leavesMatchers tells whether matchers see after a handler what they saw before it.
func leavesMatchers(h caddyhttp.MiddlewareHandler) bool {
	switch h := h.(type) {
	case *Auth, *Server, *caddyhttp.StaticResponse, *caddyhttp.StaticError, *fileserver.FileServer,
		*caddyhttp.VarsMiddleware:
		return true
	case *reverseproxy.Handler:
		return len(h.HandleResponse) == 0
	case *headers.Handler:
		return h.Request == nil
	case *caddyhttp.Subroute:
		return !slices.ContainsFunc(h.Routes, func(r caddyhttp.Route) bool {
			return slices.ContainsFunc(r.Handlers, func(h caddyhttp.MiddlewareHandler) bool { return !leavesMatchers(h) })
		})
	}
	module, ok := h.(caddy.Module)
	return ok && slices.Contains(goingOn, module.CaddyModule().ID.Name())
}
