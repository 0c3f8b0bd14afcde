package caddymodule

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/intercept"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
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

// sitesOf returns the sites that the handler which is being provisioned belongs to. It is more than one for a handler
// in a named route, which any site may invoke.
func sitesOf(ctx caddy.Context, srv *caddyhttp.Server) ([]*site, error) {
	if s := siteIn(srv.Routes); s != nil {
		return []*site{s}, nil
	}
	if top := beingProvisioned(srv.Routes); top >= 0 {
		if block := siteBlock(ctx, &srv.Routes[top]); block != nil {
			s, err := guard(ctx, &block.Routes)
			return []*site{s}, err
		}
		// The Caddyfile adapter does not wrap the only site of a server, when it has no host.
		s, err := guard(ctx, &srv.Routes)
		return []*site{s}, err
	}
	if srv.Errors != nil && beingProvisioned(srv.Errors.Routes) >= 0 {
		if e := errorsIn(srv.Errors.Routes); e != nil {
			return e.sites, nil
		}
		return nil, errors.New("handle_errors has the only directive of caddy-passport on this server: " +
			"put one among the site's own routes too, so that these are guarded")
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
func guard(ctx caddy.Context, list *caddyhttp.RouteList) (*site, error) {
	if s := siteIn(*list); s != nil {
		return s, nil
	}
	s := &site{routes: *list, logger: ctx.Logger()}
	s.names.add(targetFields...)
	s.chain = sync.OnceValue(func() caddyhttp.Handler { return s.routes.Compile(caddyhttp.HandlerFunc(leave)) })
	s.doors = sync.OnceValue(func() *doors { return findDoors(s.routes) })
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

// invoking guards the sites that invoke a named route: one of those has the handler which is being provisioned.
func invoking(ctx caddy.Context, srv *caddyhttp.Server) ([]*site, error) {
	var sites []*site
	for _, top := range srv.Routes {
		if !invokes(top) {
			continue
		}
		block, ok := top.Handlers[0].(*caddyhttp.Subroute)
		if !ok || !top.Terminal || len(top.Handlers) != 1 {
			return nil, errors.New("a directive of caddy-passport stands in a named route, and the site that invokes it " +
				"cannot be guarded from there: import a snippet in its place, or put a directive into the site too")
		}
		s, err := guard(ctx, &block.Routes) // a subroute compiles its list at each request
		if err != nil {
			return nil, err
		}
		sites = append(sites, s)
	}
	if len(sites) == 0 {
		return nil, errors.New("a directive of caddy-passport stands in a named route that no site invokes among its own " +
			"routes: put one there too, so that these are guarded")
	}
	return sites, nil
}

// invokes tells whether a route, or one within it, invokes a named route.
func invokes(route caddyhttp.Route) bool {
	return slices.ContainsFunc(route.Handlers, func(h caddyhttp.MiddlewareHandler) bool {
		switch h := h.(type) {
		case *caddyhttp.Invoke:
			return true
		case *caddyhttp.Subroute:
			return slices.ContainsFunc(h.Routes, invokes) || h.Errors != nil && slices.ContainsFunc(h.Errors.Routes, invokes)
		case *site:
			return slices.ContainsFunc(h.routes, invokes)
		case *reverseproxy.Handler:
			return slices.ContainsFunc(h.HandleResponse, answersInvoke)
		case *intercept.Intercept:
			return slices.ContainsFunc(h.HandleResponse, answersInvoke)
		}
		return false
	})
}

func answersInvoke(response caddyhttp.ResponseHandler) bool {
	return slices.ContainsFunc(response.Routes, invokes)
}

// ServeHTTP implements [caddyhttp.MiddlewareHandler].
func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	v := begin(r)
	v.stripped = true
	s.names.strip(r)
	if res := s.resources.find(r); res != nil {
		res.serve(w, r, s.logger)
		return nil
	}
	refused, reported := s.doors().mistakable(r)
	if refused {
		return refuseMistakable(w, r, s.logger)
	}
	for _, a := range reported {
		a.report(r, v, nil, refusedMistakable)
	}
	v.exits = append(v.exits, next)
	err := s.chain().ServeHTTP(w, r)
	v.exits = v.exits[:len(v.exits)-1]
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

// errorGuard stands before the error routes of a server. Most requests that get there have come through their site; but
// a request may fail before, and an error route may hand it to an upstream. Which site that would be is not known, so
// nothing passes that any of them keeps to itself.
type errorGuard struct {
	sites []*site
}

// guardErrors guards the error routes of a server, which are provisioned after its own and before the named ones.
func guardErrors(srv *caddyhttp.Server, s *site) error {
	if srv.Errors == nil || len(srv.Errors.Routes) == 0 {
		return nil
	}
	e := errorsIn(srv.Errors.Routes)
	if e == nil {
		own := srv.Routes
		if whole := siteIn(own); whole != nil {
			own = whole.routes
		}
		if beingProvisioned(own) < 0 {
			return errors.New("a directive of caddy-passport stands in a named route, and the handle_errors of this " +
				"server cannot be guarded from there: put a directive into the site too")
		}
		e = new(errorGuard)
		route := caddyhttp.Route{Handlers: []caddyhttp.MiddlewareHandler{e}} // Caddy provisions it with the others
		srv.Errors.Routes = slices.Insert(slices.Clone(srv.Errors.Routes), 0, route)
	}
	if !slices.Contains(e.sites, s) {
		e.sites = append(e.sites, s)
	}
	return nil
}

// errorsIn returns the guard of error routes, or nil.
func errorsIn(list caddyhttp.RouteList) *errorGuard {
	if len(list) == 0 || len(list[0].Handlers) != 1 {
		return nil
	}
	e, _ := list[0].Handlers[0].(*errorGuard)
	return e
}

// ServeHTTP implements [caddyhttp.MiddlewareHandler].
func (e *errorGuard) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if v := begin(r); !v.stripped {
		v.stripped = true
		for _, s := range e.sites {
			s.names.strip(r)
		}
	}
	return next.ServeHTTP(w, r)
}

// Interface guards
var (
	_ caddyhttp.MiddlewareHandler = (*site)(nil)
	_ caddyhttp.MiddlewareHandler = (*errorGuard)(nil)
)
