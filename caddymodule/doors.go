package caddymodule

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/intercept"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
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
	conditional bool // some stand behind matchers; all requests pass the others
	enforced    bool // some refuse
	methods     bool // some matcher looks at the method
	cased       bool // some matcher may tell upper case from lower
}

func findDoors(routes caddyhttp.RouteList) *doors {
	d := &doors{routes: routes}
	matched := false // whether something before this place in the site, or around it, has a matcher
	var walk func(caddyhttp.RouteList)
	walkResponses := func(responses []caddyhttp.ResponseHandler) {
		for _, response := range responses {
			matched = true // it takes an answer to get there
			walk(response.Routes)
		}
	}
	walk = func(list caddyhttp.RouteList) {
		for _, route := range list {
			matched = matched || len(route.MatcherSets) > 0 || route.Group != ""
			d.note(route.MatcherSets)
			for _, h := range route.Handlers {
				switch h := h.(type) {
				case *Auth:
					d.conditional = d.conditional || matched
					d.enforced = d.enforced || !h.ReportOnly
				case *caddyhttp.Subroute:
					walk(h.Routes)
				case *site:
					walk(h.routes)
				case *caddyhttp.Invoke: // what it invokes is known to the server, which a request brings
					d.conditional, d.enforced, d.methods, d.cased = true, true, true, true
				case *reverseproxy.Handler:
					walkResponses(h.HandleResponse)
				case *intercept.Intercept:
					walkResponses(h.HandleResponse)
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

// maxOddPath is how long a path may be that is to be read in several ways, in bytes as it was sent. Nobody needs a
// longer one, and each reading costs time.
const maxOddPath = 2 << 10

// reading is a request as an upstream may take it.
type reading struct {
	method, host string
	url          url.URL
	webSocket    bool // it asks for one
}

// mistakable tells whether an upstream could take the request for one that has to pass a door which this one does not.
// Doors that only report refuse nothing: those are answered.
func (d *doors) mistakable(r *http.Request) (refused bool, reported []*Auth) {
	if !d.conditional || !d.odd(r) {
		return false, nil
	}
	if len(r.URL.EscapedPath()) > maxOddPath || strings.ContainsFunc(r.URL.Path, isControl) {
		return d.enforced, nil
	}
	plain := reading{method: r.Method, host: r.Host, url: *r.URL}
	passed := d.pass(r, plain)
	other := func(as reading) bool {
		for _, p := range d.pass(r, as) {
			switch {
			case slices.ContainsFunc(passed, p.by), slices.Contains(reported, p.door):
			case !p.door.ReportOnly:
				return true
			default:
				reported = append(reported, p.door)
			}
		}
		return false
	}
	if r.Method == http.MethodConnect { // reverse_proxy makes a WebSocket of HTTP/1.1 of it (RFC 8441, RFC 9220)
		as := plain
		as.method, as.webSocket = http.MethodGet, true
		if other(as) {
			return true, nil
		}
	}
	for _, method := range otherMethods(r) {
		as := plain
		as.method = method
		if other(as) {
			return true, nil
		}
	}
	if host, odd := plainHost(r.Host); odd {
		as := plain
		if as.host = host; other(as) {
			return true, nil
		}
	}
	for _, path := range readings(r.URL, d.cased) {
		as := plain
		as.url.Path, as.url.RawPath = path, ""
		if other(as) {
			return true, nil
		}
	}
	return false, reported
}

// pass finds the doors that a request passes, or may pass, when it is read in one way.
func (d *doors) pass(r *http.Request, as reading) []passing {
	server, _ := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	trial := r.Clone(r.Context())
	trial.Body = http.NoBody // matchers may read it
	trial.Method, trial.Host, trial.URL = as.method, as.host, &as.url
	if as.webSocket {
		delete(trial.Header, ":protocol")
		trial.Header["Connection"], trial.Header["Upgrade"] = []string{"Upgrade"}, []string{"websocket"}
	}
	repl := caddy.NewReplacer()
	trial = caddyhttp.PrepareRequest(trial, repl, nil, server)
	before, _ := r.Context().Value(caddyhttp.VarsCtxKey).(map[string]any)
	vars, _ := trial.Context().Value(caddyhttp.VarsCtxKey).(map[string]any)
	own := maps.Clone(vars)
	maps.Copy(vars, before) // among these is who calls, so that it is found out once
	maps.Copy(vars, own)
	t := trialRun{server: server, request: trial, repl: repl, groups: make(map[string]bool)}
	t.through(d.routes)
	return t.passed
}

// odd tells, quickly, whether there is more than one way to read the request.
func (d *doors) odd(r *http.Request) bool {
	if oddPath(r.URL, d.cased) || r.Method == http.MethodConnect || d.methods && len(otherMethods(r)) > 0 {
		return true
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
