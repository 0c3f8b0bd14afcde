package caddymodule

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
)

// doors are the passport_auth of a site and the matchers that they stand behind.
//
// Caddy's matchers look at the path decoded once, with slashes merged and dot segments resolved, and the upstream gets
// it as it was sent. What the upstream makes of it may be another path, and so another door: a servlet container takes
// /public/..;/orders for /orders. A request that could be read so that it would have to pass a door which it has not
// passed as Caddy reads it is refused.
//
// Bodies are not read: where an upstream takes the method from a form (the field _method), a matcher for methods is no
// guard.
type doors struct {
	routes      caddyhttp.RouteList
	present     bool    // there are some
	conditional bool    // some stand behind matchers; all requests pass the others
	enforced    bool    // some of those refuse
	reporting   []*Auth // the others of those
	methods     bool    // some matcher looks at the method
	cased       bool    // some matcher may tell upper case from lower

	// last is, of each list of routes, the place of the last route in which there may be a door, or -1. The list is known
	// by its first route.
	last map[*caddyhttp.Route]int

	// What those that refuse say to whom they refuse, see [Auth.challenge].
	first     *Auth
	various   bool // they do not all say the same
	resources bool // some of them guard a protected resource
}

// findDoors finds the doors in routes, and in the named routes that they invoke. Error routes within have guards of
// their own.
func findDoors(routes caddyhttp.RouteList, named map[string]*caddyhttp.Route) *doors {
	d := &doors{routes: routes, last: make(map[*caddyhttp.Route]int)}
	matched := false // whether something before this place in the site, or around it, has a matcher
	invoked := make(map[string]bool)
	var walk func(caddyhttp.RouteList)
	walk = func(list caddyhttp.RouteList) {
		for _, route := range list {
			matched = matched || len(route.MatcherSets) > 0 || route.Group != ""
			d.note(route.MatcherSets)
			for _, h := range route.Handlers {
				switch h := h.(type) {
				case *Auth:
					d.add(h, matched)
				case *caddyhttp.Invoke:
					if route := named[h.Name]; route != nil && !invoked[h.Name] {
						invoked[h.Name] = true
						walk(caddyhttp.RouteList{*route})
					}
				}
				for _, b := range branches(h) {
					if b.after != afterError {
						matched = matched || b.after != "" // it takes an answer to get there
						walk(b.routes)
					}
				}
			}
		}
	}
	walk(inConfig(routes))
	d.findLast(inConfig(routes))
	for _, route := range named {
		d.findLast(caddyhttp.RouteList{*route})
	}
	return d
}

// findLast finds the last route of each list within one, and tells whether there is a door anywhere.
func (d *doors) findLast(list caddyhttp.RouteList) bool {
	last := -1
	for i, route := range list {
		for _, h := range route.Handlers {
			_, door := h.(*Auth)
			_, invoke := h.(*caddyhttp.Invoke) // who knows
			for _, b := range branches(h) {
				door = d.findLast(b.routes) || door
			}
			if door || invoke {
				last = i
			}
		}
	}
	if len(list) > 0 {
		d.last[&list[0]] = last
	}
	return last >= 0
}

func (d *doors) add(door *Auth, matched bool) {
	d.present = true
	if !door.ReportOnly {
		if d.first == nil {
			d.first = door
		}
		d.various = d.various || door.wanted != d.first.wanted || door.metadata() != d.first.metadata()
		d.resources = d.resources || door.resource != nil
	}
	if !matched {
		return
	}
	d.conditional = true
	if door.ReportOnly {
		d.reporting = append(d.reporting, door)
	} else {
		d.enforced = true
	}
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

// reading is a request as an upstream may take it.
type reading struct {
	method, host string
	url          url.URL
}

// mistakable tells whether an upstream could take the request for one that has to pass a door which this one does not,
// and names that, unless it could be any. Doors that only report refuse nothing: those are answered.
func (d *doors) mistakable(r *http.Request) (refused bool, door *Auth, reported []*Auth) {
	if !d.conditional || !d.odd(r) {
		return false, nil, nil
	}
	paths, allPaths := readings(r.URL, d.cased)
	methods, allMethods := otherMethods(r)
	if !allPaths || !allMethods || strings.ContainsFunc(r.URL.Path, isControl) {
		return d.enforced, nil, d.reporting
	}
	r = r.WithContext(r.Context())
	r.Header = r.Header.Clone() // what somebody's matchers do to it in a trial stays there
	plain := reading{method: r.Method, host: r.Host, url: *r.URL}
	passed := d.pass(r, plain)
	other := func(as reading) bool {
		for _, p := range d.pass(r, as) {
			switch {
			case slices.ContainsFunc(passed, p.by), slices.Contains(reported, p.door):
			case !p.door.ReportOnly:
				door = p.door
				return true
			default:
				reported = append(reported, p.door)
			}
		}
		return false
	}
	for _, method := range methods {
		as := plain
		as.method = method
		if other(as) {
			return true, door, nil
		}
	}
	if host, odd := plainHost(r.Host); odd {
		as := plain
		if as.host = host; other(as) {
			return true, door, nil
		}
	}
	for _, path := range paths {
		as := plain
		as.url.Path, as.url.RawPath = path, ""
		if other(as) {
			return true, door, nil
		}
	}
	return false, nil, reported
}

// pass finds the doors that a request passes, or may pass, when it is read in one way.
func (d *doors) pass(r *http.Request, as reading) []passing {
	server, _ := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	trial := r.WithContext(r.Context()) // its header too is r's, until a handler changes it
	trial.Body = http.NoBody            // matchers may read it
	trial.Method, trial.Host, trial.URL = as.method, as.host, &as.url
	repl := caddy.NewReplacer()
	if v := visitOf(r); v != nil {
		repl.Map(v.placeholder)
	}
	if around, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		repl.Map(func(key string) (any, bool) { // the error, for the matchers of error routes
			if key != "http.error" && !strings.HasPrefix(key, "http.error.") {
				return nil, false
			}
			return around.Get(key)
		})
	}
	trial = caddyhttp.PrepareRequest(trial, repl, nil, server)
	before, _ := r.Context().Value(caddyhttp.VarsCtxKey).(map[string]any)
	vars, _ := trial.Context().Value(caddyhttp.VarsCtxKey).(map[string]any)
	for name, value := range before { // among these is who calls, so that it is found out once
		if _, own := vars[name]; !own {
			vars[name] = value
		}
	}
	t := trialRun{server: server, request: trial, repl: repl, groups: make(map[string]bool), last: d.last, shared: true}
	t.through(d.routes)
	return t.passed
}

// odd tells, quickly, whether there is more than one way to read the request.
func (d *doors) odd(r *http.Request) bool {
	if oddPath(r.URL, d.cased) {
		return true
	}
	if d.methods {
		if methods, _ := otherMethods(r); len(methods) > 0 {
			return true
		}
	}
	_, odd := plainHost(r.Host)
	return odd
}

// refuseMistakable answers a request that can be read in more than one way.
func refuseMistakable(w http.ResponseWriter, r *http.Request, logger *zap.Logger) error {
	logger.Info("request refused: its target can be read in more than one way, one of which has to pass a passport_auth "+
		"that this one does not", zap.String("method", r.Method), zap.String("path", r.URL.EscapedPath()))
	refusedMistakable.count(false)
	return refusedMistakable.write(w, "", "")
}
