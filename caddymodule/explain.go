package caddymodule

import (
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/oauth2-passport/caddy-passport/issuer/verify"
)

// explainRequest is a request that the admin API is asked about.
type explainRequest struct {
	Method   string            `json:"method"`
	URL      string            `json:"url"`                 // with scheme and host
	Token    string            `json:"token,omitempty"`     // an access token; empty: none is sent
	Header   map[string]string `json:"header,omitempty"`    // further header fields
	RemoteIP string            `json:"remote_ip,omitempty"` // the address that it comes from; empty: 127.0.0.1
}

// explanation says what would become of a request.
type explanation struct {
	Server  string          `json:"server"`           // its name in the config
	Listen  []string        `json:"listen"`           // where it listens
	Doors   []explainedDoor `json:"doors"`            // the passport_auth that the request comes to, in order
	Verdict string          `json:"verdict"`          // "refused", "passes" or "answered", by the issuer's own endpoints
	Status  int             `json:"status,omitempty"` // what the client gets, where that is known
	Reason  string          `json:"reason,omitempty"` // why it is refused
	By      string          `json:"by,omitempty"`     // the handler that answers
	Unasked []string        `json:"unasked,omitempty"`
}

// explainedDoor is one passport_auth.
type explainedDoor struct {
	Path       string            `json:"path"` // in the config, below /config/ of the admin endpoint
	Issuer     string            `json:"issuer"`
	Session    bool              `json:"session,omitempty"` // which it could be asked for: none is ever brought here
	Optional   bool              `json:"optional,omitempty"`
	ReportOnly bool              `json:"report_only,omitempty"`
	Preflight  bool              `json:"preflight,omitempty"`
	After      string            `json:"after,omitempty"` // the handler on whose answer it depends whether it is come to
	Demands    []explainedDemand `json:"demands"`
	Result     string            `json:"result"`           // "passes", "anonymous", "refused" or "reported"
	Status     int               `json:"status,omitempty"` // of the refusal
	Reason     string            `json:"reason,omitempty"` // of the refusal
	ClientID   string            `json:"client_id,omitempty"`
	Subject    string            `json:"sub,omitempty"`
	Username   string            `json:"username,omitempty"`
	Scope      string            `json:"scope,omitempty"`
}

// explainedDemand is one demand of a route.
type explainedDemand struct {
	Demand string `json:"demand"`          // as the Caddyfile has it
	Met    *bool  `json:"met,omitempty"`   // absent: there is no good token that could meet it
	Error  string `json:"error,omitempty"` // why it cannot be evaluated
}

func adminExplain(r *http.Request) (any, error) {
	var asked explainRequest
	if err := readBody(r, &asked); err != nil {
		return nil, err
	}
	found, err := caddy.ActiveContext().AppIfConfigured("http")
	if err != nil {
		return nil, statusError{http.StatusNotFound, errors.New("the config that runs has no site")}
	}
	return explain(r, found.(*caddyhttp.App), &asked)
}

// explain follows a request through the routes of the server that it comes to. Nothing is sent anywhere, but another
// issuer may be asked for its keys or about the token.
func explain(r *http.Request, app *caddyhttp.App, asked *explainRequest) (*explanation, error) {
	target, err := url.Parse(asked.URL)
	if err != nil || target.Host == "" || target.Scheme != "http" && target.Scheme != "https" {
		return nil, fmt.Errorf("%q is no URL of a site: it begins with http:// or https:// and has a host", asked.URL)
	}
	name, server, err := serverFor(app, target)
	if err != nil {
		return nil, err
	}
	trial, err := http.NewRequestWithContext(r.Context(), asked.Method, asked.URL, http.NoBody)
	if err != nil {
		return nil, err
	}
	remote := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	if asked.RemoteIP != "" {
		if remote, err = netip.ParseAddr(asked.RemoteIP); err != nil {
			return nil, fmt.Errorf("%q is no IP address", asked.RemoteIP)
		}
	}
	trial.RequestURI, trial.RemoteAddr = target.RequestURI(), netip.AddrPortFrom(remote, 1).String()
	if trial.URL.Path == "" {
		trial.URL.Path = "/"
	}
	trial.URL.Scheme, trial.URL.Host = "", "" // as a server has it
	if target.Scheme == "https" {
		trial.TLS = &tls.ConnectionState{ServerName: target.Hostname(), HandshakeComplete: true}
	}
	for name, value := range asked.Header {
		trial.Header.Set(name, value)
	}
	if asked.Token != "" {
		trial.Header.Set("Authorization", "Bearer "+asked.Token)
	}
	repl := caddy.NewReplacer()
	trial = caddyhttp.PrepareRequest(trial, repl, nil, server)
	e := &explainer{
		answer: &explanation{Server: name, Listen: server.Listen, Doors: []explainedDoor{}, Verdict: "passes"},
		paths:  make(map[*Auth]string),
	}
	path := "apps/http/servers/" + name
	e.locate(server.Routes, path+"/routes")
	for route, named := range server.NamedRoutes {
		e.locateIn(*named, path+"/named_routes/"+route)
	}
	t := &trialRun{server: server, request: trial, repl: repl, groups: make(map[string]bool)}
	t.meet = func(h caddyhttp.MiddlewareHandler) bool { return e.meet(t.request, h, t.after) }
	t.through(server.Routes)
	return e.answer, nil
}

// serverFor finds the server that listens for a URL.
func serverFor(app *caddyhttp.App, target *url.URL) (string, *caddyhttp.Server, error) {
	port := target.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[target.Scheme]
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return "", nil, fmt.Errorf("%q is no port", port)
	}
	var listens []string
	for _, name := range slices.Sorted(maps.Keys(app.Servers)) {
		for _, listen := range app.Servers[name].Listen {
			address, err := caddy.ParseNetworkAddress(listen)
			if err != nil {
				continue
			}
			if uint(number) >= address.StartPort && uint(number) <= address.EndPort {
				return name, app.Servers[name], nil
			}
			listens = append(listens, listen)
		}
	}
	return "", nil, statusError{http.StatusNotFound,
		fmt.Errorf("no server listens on port %s: they listen on %s", port, strings.Join(listens, ", "))}
}

// explainer looks at what a request comes to.
type explainer struct {
	answer *explanation
	paths  map[*Auth]string
}

// locate remembers where in the config each passport_auth stands.
func (e *explainer) locate(routes caddyhttp.RouteList, path string) {
	for i, route := range inConfig(routes) {
		e.locateIn(route, fmt.Sprintf("%s/%d", path, i))
	}
}

func (e *explainer) locateIn(route caddyhttp.Route, path string) {
	for i, h := range route.Handlers {
		path := fmt.Sprintf("%s/handle/%d", path, i)
		if door, ok := h.(*Auth); ok {
			e.paths[door] = path
		}
		for _, b := range branches(h) {
			e.locate(b.routes, path+"/"+b.path)
		}
	}
}

// meet tells whether the request goes on from a handler, as far as it is for this package to say. after is the handler
// on whose answer it depends whether the request comes there; empty: none.
func (e *explainer) meet(r *http.Request, h caddyhttp.MiddlewareHandler, after string) (goesOn bool) {
	if after != "" {
		if door, ok := h.(*Auth); ok {
			explained := door.explain(r, e.paths[door])
			explained.After = after
			e.answer.Doors = append(e.answer.Doors, explained)
			return explained.Result != "refused"
		}
		return true // what is answered there is not the answer to the request as it is
	}
	switch h := h.(type) {
	case *site:
		v := begin(r)
		v.site = h
		h.names.strip(r, v)
		v.session = "" // a cookie is its browser's alone: nobody brings it here
		if refused, door, _ := h.doors().mistakable(r); refused {
			e.refuse(refusedMistakable)
			if door != nil {
				e.answer.Reason += ", one of which has to pass " + e.paths[door]
			}
			return false
		}
		return true
	case *Auth:
		door := h.explain(r, e.paths[h])
		e.answer.Doors = append(e.answer.Doors, door)
		if door.Result == "refused" {
			e.answer.Verdict, e.answer.Status, e.answer.Reason = "refused", door.Status, door.Reason
			e.answer.By = "passport_auth"
			return false
		}
		return true
	case *Server:
		if open, err := h.instance.use(r.Context()); err == nil && !open.issuer.Serves(h.Prefix, r.URL.Path) ||
			err != nil && !h.mayServe(r.URL.Path) {
			return true
		}
		e.answer.Verdict, e.answer.By = "answered", "passport_server"
		return false
	case *caddyhttp.Subroute, *caddyhttp.Invoke:
		return true
	}
	return e.others(h)
}

// silent are handlers of Caddy that neither answer a request nor change what matchers and demands look at.
var silent = []string{
	"encode", "headers", "vars", "tracing", "request_body", "log_append", "push", "intercept", "rewrite",
}

// others notes handlers that are not ours.
func (e *explainer) others(h caddyhttp.MiddlewareHandler) (goesOn bool) {
	module, ok := h.(caddy.Module)
	if !ok {
		return true
	}
	switch name := module.CaddyModule().ID.Name(); {
	case name == "reverse_proxy", name == "static_response", name == "error", name == "file_server":
		e.answer.By = name
		return name == "reverse_proxy" || name == "static_response" || name == "error" // the trial run knows these
	case !slices.Contains(silent, name) && !slices.Contains(e.answer.Unasked, name):
		e.answer.Unasked = append(e.answer.Unasked, name)
	}
	return true
}

func (e *explainer) refuse(n *refusal) {
	e.answer.Verdict, e.answer.Status, e.answer.Reason = "refused", n.status, n.description
}

// explain says what the handler makes of a request.
func (a *Auth) explain(r *http.Request, path string) explainedDoor {
	door := explainedDoor{
		Path: path, Issuer: a.Issuer, Session: a.Session, Optional: a.Optional, ReportOnly: a.ReportOnly,
		Preflight: a.Preflight,
		Demands:   []explainedDemand{},
	}
	if door.Issuer == "" {
		door.Issuer = DefaultIssuer
	}
	v := begin(r)
	if !v.stripped {
		a.names.strip(r, v)
		v.session = ""
	}
	open, id, refused := a.gate.identify(r, v)
	good := id
	if refused != nil {
		good = nil
	}
	door.Demands = a.gate.explain(r, open, good, refused)
	if good != nil {
		door.ClientID, door.Subject, door.Username, door.Scope = good.ClientID, good.Subject, good.Username, good.Scope
		refused = a.gate.check(r, open, good)
	}
	switch {
	case refused == nil && good != nil:
		door.Result = "passes"
		v.introduce(r.Header, good)
		a.keepToken(r, v)
		return door
	case refused == nil && (a.Preflight && isPreflight(r) || a.Optional):
		door.Result = "anonymous"
		return door
	case refused == nil:
		refused = refusedAnonymous
	}
	door.Result, door.Status, door.Reason = "refused", refused.status, refused.description
	if to := a.signIn(r, v); refused == refusedAnonymous && to != "" && !a.ReportOnly {
		door.Status, door.Reason = http.StatusSeeOther, "without a session the browser is sent to "+to
	}
	if refused.cause != nil && refused.status != http.StatusUnauthorized {
		door.Reason += ": " + refused.cause.Error()
	}
	if a.ReportOnly {
		door.Result = "reported"
		if id != nil {
			a.keepToken(r, v)
		}
	}
	return door
}

// explain lists the demands, and tells of each whether the identity meets it; nil meets none and fails none, but for
// the audience, where the token was refused for that.
func (g *gate) explain(r *http.Request, open *running, id *verify.Identity, refused *refusal) []explainedDemand {
	demands := []explainedDemand{}
	add := func(text string, alone *gate) {
		d := explainedDemand{Demand: text}
		if id != nil {
			alone.instance = g.instance
			refused := alone.check(r, open, id)
			met := refused == nil
			d.Met = &met
			if refused != nil && refused.cause != nil {
				d.Error = refused.cause.Error()
			}
		}
		demands = append(demands, d)
	}
	for _, scope := range g.scopes {
		add("scope "+scope, &gate{scopes: []string{scope}})
	}
	if len(g.anyScope) > 0 {
		add("any_scope "+strings.Join(g.anyScope, " "), &gate{anyScope: g.anyScope})
	}
	if g.subject != "" {
		add("subject "+g.subject, &gate{subject: g.subject})
	}
	if len(g.audience) > 0 {
		add("audience "+strings.Join(g.audience, " "), &gate{}) // whose token is good meets it
		if refused != nil && errors.Is(refused.cause, verify.ErrAudience) {
			demands[len(demands)-1].Met = new(bool)
		}
	}
	if len(g.clients) > 0 {
		add("clients "+strings.Join(g.clients, " "), &gate{clients: g.clients})
	}
	for i, expression := range g.expressions {
		add("require "+strings.Join(strings.Fields(expression), " "), &gate{require: g.require[i : i+1]})
	}
	return demands
}
