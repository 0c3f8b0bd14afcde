package caddymodule

import (
	"errors"
	"net/http"
	"reflect"
	"slices"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
)

// errorGuard stands before error routes, those of a server or of one subroute. Most requests that get there have come
// through their site; but a request may fail before, and an error route may hand it to an upstream. Which site that
// would be is not known, so nothing passes that any of them keeps to itself. And error routes have doors of their own.
type errorGuard struct {
	sites  []*site
	routes caddyhttp.RouteList // the original list, where the guard stands in its place; nil: it stands before the list
	doors  func() *doors       // what guards the paths there, found at the first request
	logger *zap.Logger
}

// errorGuardVar is where the error routes that a request has come to are among its variables.
const errorGuardVar = "passport.errors"

// String keeps the guard out of the placeholder that Caddy has for each variable.
func (*errorGuard) String() string { return "" }

// guardErrors guards the error routes of a server, which are provisioned after its own and before the named ones.
func guardErrors(srv *caddyhttp.Server, s *site) error {
	if srv.Errors == nil || len(srv.Errors.Routes) == 0 {
		return nil
	}
	e := errorsIn(srv.Errors.Routes)
	if e == nil {
		if beingProvisioned(inConfig(srv.Routes)) < 0 {
			return errors.New("a directive of caddy-passport stands in a named route, and the handle_errors of this " +
				"server cannot be guarded from there: put a directive into the site too")
		}
		e = &errorGuard{logger: s.logger}
		e.doors = sync.OnceValue(func() *doors { return findDoors(srv.Errors.Routes[1:], srv.NamedRoutes) })
		route := caddyhttp.Route{Handlers: []caddyhttp.MiddlewareHandler{e}} // Caddy provisions it with the others
		srv.Errors.Routes = slices.Insert(slices.Clone(srv.Errors.Routes), 0, route)
	}
	e.add(s)
	return nil
}

func (e *errorGuard) add(s *site) {
	if !slices.Contains(e.sites, s) {
		e.sites = append(e.sites, s)
	}
}

// guardErrorsAround guards the error routes of subroutes that the handler which is being provisioned is in. The
// Caddyfile makes none.
func guardErrorsAround(ctx caddy.Context, sites []*site) error {
	for _, module := range ctx.Modules() {
		block, ok := module.(*caddyhttp.Subroute)
		if !ok || block.Errors == nil || beingProvisioned(inConfig(block.Routes)) >= 0 {
			continue
		}
		if err := guardErrorsOf(ctx, block, sites); err != nil {
			return err
		}
	}
	return nil
}

// guardErrorsWithin guards the error routes of subroutes within a route that invoke a named route.
func guardErrorsWithin(ctx caddy.Context, route caddyhttp.Route, s *site) error {
	for _, h := range route.Handlers {
		block, _ := h.(*caddyhttp.Subroute)
		for _, b := range branches(h) {
			if block != nil && b.after == afterError && slices.ContainsFunc(b.routes, invokes) {
				if err := guardErrorsOf(ctx, block, []*site{s}); err != nil {
					return err
				}
			}
			for _, inner := range b.routes {
				if err := guardErrorsWithin(ctx, inner, s); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// guardErrorsOf puts a guard in the place of the error routes of a subroute, which compiles them at each request.
func guardErrorsOf(ctx caddy.Context, block *caddyhttp.Subroute, sites []*site) error {
	list := block.Errors.Routes
	e := errorsIn(list)
	if e == nil {
		srv, _ := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
		e = &errorGuard{routes: list, logger: ctx.Logger()}
		e.doors = sync.OnceValue(func() *doors { return findDoors(list, srv.NamedRoutes) })
		route := caddyhttp.Route{Handlers: []caddyhttp.MiddlewareHandler{e}}
		if err := route.ProvisionHandlers(ctx, nil); err != nil {
			return err
		}
		block.Errors.Routes = caddyhttp.RouteList{route}
	}
	for _, s := range sites {
		e.add(s)
	}
	return nil
}

// sitesOfErrors guards the sites to which an error route belongs: those with the same matchers, as the Caddyfile
// adapter makes them, or else all that there are.
func sitesOfErrors(ctx caddy.Context, srv *caddyhttp.Server, of caddyhttp.Route) ([]*site, error) {
	var sites []*site
	for _, exactly := range []bool{true, false} {
		for _, top := range srv.Routes {
			if len(top.Handlers) == 0 || exactly && !reflect.DeepEqual(top.MatcherSets, of.MatcherSets) {
				continue
			}
			s, err := guardLate(ctx, srv, top)
			if err != nil {
				return nil, err
			}
			sites = append(sites, s)
		}
		if len(sites) > 0 {
			break
		}
	}
	return sites, nil
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
	v := begin(r)
	if !v.stripped {
		v.stripped = true
		for _, s := range e.sites {
			s.names.strip(r, v)
		}
	}
	caddyhttp.SetVar(r.Context(), errorGuardVar, e)
	doors := e.doors()
	if doors.present && asksForWebSocket(r) { // the site's change of it is over
		r = asUpgrade(r)
	}
	refused, _, reported := doors.mistakable(r)
	if refused {
		return refuseMistakable(w, r, e.logger)
	}
	for _, a := range reported {
		a.report(r, v, nil, refusedMistakable)
	}
	if e.routes != nil {
		next = e.routes.Compile(next)
	}
	return next.ServeHTTP(w, r)
}

// Interface guards
var _ caddyhttp.MiddlewareHandler = (*errorGuard)(nil)
