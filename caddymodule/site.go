package caddymodule

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
)

// site is a site block that has a directive of ours. It stands before all routes of the block and takes from each
// request what a caller could deceive the upstream with, so that this holds on routes without a directive of ours too.
//
// Caddy has no such place for a plugin. The first handler of ours in the block makes it: while a handler is
// provisioned, the list of routes that it is in has not been compiled, and becomes a list of one route, the site, which
// runs the original list.
type site struct {
	names     names
	resources resources // whose metadata it serves
	servers   []*Server // that serve an issuer there
	logger    *zap.Logger

	routes caddyhttp.RouteList      // the original list
	chain  func() caddyhttp.Handler // it, compiled at the first request
	doors  func() *doors            // what guards its paths, found at the first request
}

// guardSite sees to it that the site that is being provisioned is guarded, and that nobody but the gateway sends the
// header fields to its upstreams. Each handler of ours calls it from its Provision.
func guardSite(ctx caddy.Context, fields ...string) error {
	srv, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !ok {
		return nil // not a route of a server: there is nothing around the handler
	}
	sites, err := sitesOf(ctx, srv)
	if err != nil {
		return err
	}
	if err := guardErrorsAround(ctx, sites); err != nil {
		return err
	}
	for _, s := range sites {
		s.names.add(fields...)
		if err := guardErrors(srv, s); err != nil {
			return err
		}
	}
	return nil
}

// publishResource has the site that is being provisioned serve the metadata of a resource.
func publishResource(ctx caddy.Context, res *resource) error {
	srv, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !ok {
		return nil
	}
	sites, err := sitesOf(ctx, srv)
	for _, s := range sites {
		s.resources.add(res)
	}
	return err
}

// publishServer has the site that is being provisioned know that an issuer is served there.
func publishServer(ctx caddy.Context, server *Server) error {
	srv, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !ok {
		return nil
	}
	sites, err := sitesOf(ctx, srv)
	for _, s := range sites {
		s.servers = append(s.servers, server)
	}
	return err
}

// sitesOf returns the sites that the handler which is being provisioned belongs to. It is more than one for a handler
// in a named route, which any site may invoke.
func sitesOf(ctx caddy.Context, srv *caddyhttp.Server) ([]*site, error) {
	if s := siteIn(srv.Routes); s != nil {
		return []*site{s}, nil
	}
	if top := beingProvisioned(srv.Routes); top >= 0 {
		if block := siteBlock(ctx, &srv.Routes[top]); block != nil {
			s, err := guard(ctx, srv, &block.Routes)
			return []*site{s}, err
		}
		// The Caddyfile adapter does not wrap the only site of a server, when it has no host.
		s, err := guard(ctx, srv, &srv.Routes)
		return []*site{s}, err
	}
	if srv.Errors != nil {
		if i := beingProvisioned(srv.Errors.Routes); i >= 0 {
			if errorsIn(srv.Errors.Routes) == nil {
				return nil, errors.New("handle_errors has the only directive of caddy-passport on this server: " +
					"put one among the site's own routes too, so that these are guarded")
			}
			return sitesOfErrors(ctx, srv, srv.Errors.Routes[i])
		}
	}
	return invoking(ctx, srv)
}

// siteBlock returns the site block that the handler which is being provisioned is in: the only handler of a terminal
// route of the server, which is what the Caddyfile adapter makes of it. It is nil when there is none.
func siteBlock(ctx caddy.Context, top *caddyhttp.Route) *caddyhttp.Subroute {
	if !top.Terminal || len(top.HandlersRaw) != 1 {
		return nil
	}
	modules := ctx.Modules()
	at := slices.IndexFunc(modules, func(m caddy.Module) bool { _, ok := m.(*caddyhttp.App); return ok })
	if at+1 >= len(modules) {
		return nil
	}
	block, _ := modules[at+1].(*caddyhttp.Subroute)
	return block
}

// beingProvisioned returns the index of the first route whose handlers have not been loaded, or -1. Caddy loads them in
// order and forgets their JSON when it is done with a route.
func beingProvisioned(routes caddyhttp.RouteList) int {
	for i := range routes {
		if routes[i].HandlersRaw != nil {
			return i
		}
	}
	return -1
}

// guard puts a site in the place of a list of routes, unless there is one.
func guard(ctx caddy.Context, srv *caddyhttp.Server, list *caddyhttp.RouteList) (*site, error) {
	if s := siteIn(*list); s != nil {
		return s, nil
	}
	watchConnections(srv)
	s := &site{routes: *list, logger: ctx.Logger()}
	s.names.add(targetFields...)
	direct := !observed(ctx, srv)
	s.chain = sync.OnceValue(func() caddyhttp.Handler {
		return compile(s.routes, caddyhttp.HandlerFunc(leave), direct)
	})
	s.doors = sync.OnceValue(func() *doors { return findDoors(s.routes, srv.NamedRoutes) })
	route := caddyhttp.Route{Handlers: []caddyhttp.MiddlewareHandler{s}}
	if err := route.ProvisionHandlers(ctx, nil); err != nil {
		return nil, fmt.Errorf("guarding the site: %w", err)
	}
	*list = caddyhttp.RouteList{route}
	return s, nil
}

// targetFields are header fields that some upstreams take for the target of the request, in its place.
var targetFields = []string{"X-Original-URL", "X-Rewrite-URL"}

// siteIn returns the site that stands in the place of a list of routes, or nil.
func siteIn(list caddyhttp.RouteList) *site {
	if len(list) != 1 || len(list[0].Handlers) != 1 {
		return nil
	}
	s, _ := list[0].Handlers[0].(*site)
	return s
}

// invoking guards the sites that invoke a named route, among their own routes or among their error routes: one of those
// routes has the handler which is being provisioned.
func invoking(ctx caddy.Context, srv *caddyhttp.Server) ([]*site, error) {
	var sites []*site
	for i := range srv.Routes {
		if !invokes(srv.Routes[i]) {
			continue
		}
		s, err := guardLate(ctx, srv, srv.Routes[i])
		if err != nil {
			return nil, err
		}
		if err := guardErrorsWithin(ctx, srv.Routes[i], s); err != nil {
			return nil, err
		}
		sites = append(sites, s)
	}
	var ofErrors caddyhttp.RouteList
	if srv.Errors != nil {
		ofErrors = srv.Errors.Routes
	}
	for _, route := range ofErrors {
		if !invokes(route) {
			continue
		}
		more, err := sitesOfErrors(ctx, srv, route)
		if err != nil {
			return nil, err
		}
		for _, s := range more {
			if !slices.Contains(sites, s) {
				sites = append(sites, s)
			}
		}
	}
	if len(sites) == 0 {
		return nil, errors.New("a directive of caddy-passport stands in a named route that no site invokes: " +
			"put one into the sites too, so that these are guarded")
	}
	return sites, nil
}

// guardLate guards the site of a route whose handlers have been provisioned.
func guardLate(ctx caddy.Context, srv *caddyhttp.Server, top caddyhttp.Route) (*site, error) {
	if len(top.Handlers) == 1 && top.Terminal {
		if block, ok := top.Handlers[0].(*caddyhttp.Subroute); ok {
			return guard(ctx, srv, &block.Routes) // a subroute compiles its list at each request
		}
	}
	return nil, errors.New("a directive of caddy-passport stands in a named route or in handle_errors, and the site " +
		"that it belongs to cannot be guarded from there: import a snippet in its place, or put a directive into the site " +
		"too")
}

// invokes tells whether a route, or one within it, invokes a named route.
func invokes(route caddyhttp.Route) bool {
	return slices.ContainsFunc(route.Handlers, func(h caddyhttp.MiddlewareHandler) bool {
		switch h := h.(type) {
		case *caddyhttp.Invoke:
			return true
		case *site:
			return slices.ContainsFunc(h.routes, invokes)
		}
		return slices.ContainsFunc(branches(h), func(b branch) bool { return slices.ContainsFunc(b.routes, invokes) })
	})
}

// ServeHTTP implements [caddyhttp.MiddlewareHandler].
func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	v := begin(r)
	v.site = s
	s.names.strip(r, v)
	if res := s.resources.find(r); res != nil {
		res.serve(w, r, s.logger)
		return nil
	}
	doors := s.doors()
	if doors.present && asksForWebSocket(r) {
		r = asUpgrade(r)
	}
	refused, _, reported := doors.mistakable(r)
	if refused {
		return refuseMistakable(w, r, s.logger)
	}
	for _, a := range reported {
		a.report(r, v, nil, refusedMistakable)
	}
	v.exits = append(v.exits, next)
	err := s.chain().ServeHTTP(w, r)
	v.exits = v.exits[:len(v.exits)-1]
	if v.answered {
		hideAnswer(w)
	}
	return err
}

// leave goes on with what comes after a site whose routes have all been passed through. The chain of a site is compiled
// once, but what comes after it is known only when a request comes.
func leave(w http.ResponseWriter, r *http.Request) error {
	v := visitOf(r)
	last := len(v.exits) - 1
	next := v.exits[last]
	v.exits = v.exits[:last]
	err := next.ServeHTTP(w, r)
	v.exits = append(v.exits, next)
	return err
}

// Interface guards
var _ caddyhttp.MiddlewareHandler = (*site)(nil)
