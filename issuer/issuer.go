// Package issuer is the OAuth 2.0 authorization server as an [http.Handler]. It knows no web server but net/http.
//
// Begin at [New]: it takes a [Config] and returns an [Issuer], whose [Issuer.Handler] serves the endpoints. What the
// operator does, by API or command, are methods of [Issuer] too; they are in manage.go and tokens.go.
package issuer

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/oauth2-passport/caddy-passport/issuer/keys"
	"github.com/oauth2-passport/caddy-passport/issuer/pages"
	"github.com/oauth2-passport/caddy-passport/issuer/verify"
	"github.com/oauth2-passport/caddy-passport/store"
)

// Config is what an [Issuer] is made of. DB and Ring are required, the rest has working defaults.
type Config struct {
	// Name is the name of the issuer among those of the configuration; it appears in events and log lines. Default:
	// "default".
	Name string

	// Identifier is the issuer identifier (RFC 8414 §2): an http or https URL without query and fragment. Default:
	// each host is an issuer of its own, scheme://host of the request.
	Identifier string

	DB   *store.DB
	Ring *keys.Ring

	// Verifier verifies the tokens that are introspected and revoked. Give the one that the gateway uses, for they
	// share what it remembers. Default: one of the issuer's own.
	Verifier *verify.Verifier

	Scopes        []Scope  // in the order in which people see them
	DefaultScopes []string // given to who asks for none; default: no scope

	// Grants are the names of the grants that are on, see [KnownGrants]. Default: [DefaultGrants].
	Grants []string

	Lifetimes Lifetimes

	// Clients are those of the configuration. They win over stored ones with the same ID, and cannot be changed
	// through the API. Their secrets are hashed by [HashClientSecret].
	Clients []store.Client

	// Users are the people of the configuration. They come first at sign-in, then accounts of the issuer, then Sources.
	Users []Person

	// Sources are where people come from who have no account of the issuer, in the order in which they are asked.
	Sources []Source

	// RefreshGrace is how long a refresh token that has been used gives its successor again: an answer may be lost.
	// Default: 30s.
	RefreshGrace time.Duration

	// Pages say what people see differently from the pages that come with the issuer.
	Pages pages.Config

	// XSRFCookie is the name of the cookie from which a page's scripts take the token for the header X-XSRF-TOKEN.
	// Default: "XSRF-TOKEN".
	XSRFCookie string

	Observer Observer    // default: nobody is told
	Logger   *zap.Logger // default: silence

	checking bool // New looks at the configuration alone: not at the pages, nor into the store
}

// Lifetimes say how long what an issuer gives out is good.
type Lifetimes struct {
	AccessToken  time.Duration // default 1h
	RefreshToken time.Duration // of one that is not used; default 30 days

	// RefreshTokenAbsolute is for what began with a sign-in, however often it is refreshed. Default: a year, or
	// RefreshToken where that is longer.
	RefreshTokenAbsolute time.Duration

	PersonalAccessToken time.Duration // default 180 days
	AuthorizationCode   time.Duration // default 60s
	DeviceCode          time.Duration // default 10m
	Session             time.Duration // default 12h
	SessionIdle         time.Duration // default 2h
}

// Issuer is an authorization server. Its methods may be called from any goroutine.
type Issuer struct {
	config   Config
	db       *store.DB
	ring     *keys.Ring
	verifier *verify.Verifier
	pages    *pages.Pages
	log      *zap.Logger
	observer Observer

	clients   map[string]*store.Client // those of the configuration
	people    *Directory
	decoys    decoys
	turns     turns
	secrets   secretGuesses
	grants    []*grant // those that are on and exist
	lib       library
	scopes    scopeSet
	resources resources
	hosts     hosts

	wellKnownPath string // where the metadata is too when the identifier has a path; empty: nowhere else
}

// New makes an issuer. It answers an error that names what is wrong with the configuration, or the store's when that
// cannot be read.
func New(c Config) (*Issuer, error) {
	if c.DB == nil || c.Ring == nil {
		return nil, errors.New("an issuer needs a database and keys")
	}
	if c.Name == "" {
		c.Name = "default"
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	if c.Observer == nil {
		c.Observer = nobody{}
	}
	if c.XSRFCookie == "" {
		c.XSRFCookie = "XSRF-TOKEN"
	}
	cookie := http.Cookie{Name: c.XSRFCookie, Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode}
	if cookie.Valid() != nil {
		return nil, fmt.Errorf("xsrf_cookie: %q is no name of a cookie", c.XSRFCookie)
	}
	if err := c.Lifetimes.setDefaults(); err != nil {
		return nil, err
	}
	if err := c.setRefreshGrace(); err != nil {
		return nil, err
	}
	i := &Issuer{config: c, db: c.DB, ring: c.Ring, verifier: c.Verifier, log: c.Logger, observer: c.Observer}
	if err := i.setIdentifier(c.Identifier); err != nil {
		return nil, err
	}
	if err := i.setGrants(c.Grants); err != nil {
		return nil, err
	}
	if err := i.scopes.define(c.Scopes, c.DefaultScopes); err != nil {
		return nil, err
	}
	if err := i.setClients(c.Clients); err != nil {
		return nil, err
	}
	if !c.checking {
		var err error
		if i.pages, err = pages.New(c.Pages); err != nil {
			return nil, err
		}
		if err := i.loadSecretGuesses(context.Background()); err != nil {
			return nil, err
		}
	}
	if err := i.setPeople(c.Users, c.Sources); err != nil {
		return nil, err
	}
	i.lib = newLibrary(i)
	if i.verifier == nil {
		i.verifier = verify.New(verify.Config{
			Keys: c.Ring, DB: c.DB, Client: i.ConfigClient, UserKnown: i.UserKnown, UserScopes: i.ScopesOfUser,
		})
	}
	return i, nil
}

func (l *Lifetimes) setDefaults() error {
	for _, d := range []struct {
		name  string
		value *time.Duration
		def   time.Duration
	}{
		{"access_token", &l.AccessToken, time.Hour},
		{"refresh_token", &l.RefreshToken, 30 * 24 * time.Hour},
		{"refresh_token_absolute", &l.RefreshTokenAbsolute, max(365*24*time.Hour, l.RefreshToken)},
		{"personal_access_token", &l.PersonalAccessToken, 180 * 24 * time.Hour},
		{"authorization_code", &l.AuthorizationCode, time.Minute},
		{"device_code", &l.DeviceCode, 10 * time.Minute},
		{"session", &l.Session, 12 * time.Hour},
		{"session_idle", &l.SessionIdle, 2 * time.Hour},
	} {
		if *d.value == 0 {
			*d.value = d.def
		}
		if err := checkLifetime(*d.value); err != nil {
			return fmt.Errorf("lifetime %s: %w", d.name, err)
		}
	}
	return nil
}

// maxRefreshGrace bounds for how long a stolen refresh token that has been used is still worth something.
const maxRefreshGrace = 10 * time.Minute

func (c *Config) setRefreshGrace() error {
	switch {
	case c.RefreshGrace == 0:
		c.RefreshGrace = 30 * time.Second
	case c.RefreshGrace < 0 || c.RefreshGrace > maxRefreshGrace:
		return fmt.Errorf("refresh_grace: %s is below zero, or more than %s", c.RefreshGrace, maxRefreshGrace)
	}
	return nil
}

func checkLifetime(d time.Duration) error {
	const century = 100 * 365 * 24 * time.Hour
	switch {
	case d < time.Second:
		return fmt.Errorf("%s is less than a second", d)
	case d > century:
		return fmt.Errorf("%s is more than a hundred years", d)
	}
	return nil
}

func (i *Issuer) setClients(clients []store.Client) error {
	i.clients = make(map[string]*store.Client, len(clients))
	for _, c := range clients {
		if _, ok := i.clients[c.ID]; ok {
			return fmt.Errorf("client %s is defined twice", c.ID)
		}
		if c.ID == PersonalAccessClient {
			return fmt.Errorf("client %s: the ID is that of personal access tokens", c.ID)
		}
		if !isClientID(c.ID) {
			return fmt.Errorf(`client %q: an ID takes up to %d visible ASCII characters without space, " and \`, c.ID,
				maxClientID)
		}
		if c.Name == "" {
			c.Name = c.ID
		}
		if err := i.checkClient(&c); err != nil {
			return fmt.Errorf("client %s: %w", c.ID, err)
		}
		if c.Public == (c.SecretHash != "") {
			return fmt.Errorf("client %s needs either a secret or to be public", c.ID)
		}
		i.scopes.add(c.Scopes)
		i.clients[c.ID] = &c
	}
	return nil
}

// Name is the issuer's name in the configuration.
func (i *Issuer) Name() string { return i.config.Name }

// ConfigClient tells whether the configuration has a client with that ID.
func (i *Issuer) ConfigClient(id string) bool {
	_, ok := i.clients[id]
	return ok
}

// LongestAccessToken is the longest lifetime that an access token given out now may have, whichever client asks: for
// that long a key that stops signing has to be kept. When the store cannot be read it answers what the configuration
// alone demands.
func (i *Issuer) LongestAccessToken(ctx context.Context) time.Duration {
	longest := i.config.Lifetimes.AccessToken
	for _, c := range i.clients {
		longest = max(longest, c.AccessTokenLifetime)
	}
	err := i.db.View(ctx, func(r *store.Records) error {
		return r.Clients("", func(c store.Client) error {
			longest = max(longest, c.AccessTokenLifetime)
			return nil
		})
	})
	if err != nil && ctx.Err() == nil {
		i.log.Error("reading the lifetimes of the clients' tokens", zap.Error(err))
	}
	return longest
}

// handler answers a request to an endpoint.
type handler = func(*endpoints, http.ResponseWriter, *http.Request)

// route is an endpoint: what it answers to which method.
type route struct {
	path  string // below the prefix; as its last segment {id} and {name} stand for any, see [http.Request.PathValue]
	get   handler
	post  handler
	put   handler
	del   handler
	cross bool // scripts of any origin may call it, see cors.go
}

var metadataRoute = &route{get: (*endpoints).metadata, cross: true}

// routes is the one table of the endpoints below the prefix.
var routes = []*route{
	{path: "/token", post: (*endpoints).token, cross: true},
	{
		path: "/authorize", get: (*endpoints).authorize, post: (*endpoints).authorizePost,
		del: (*endpoints).authorizeDelete,
	},
	{path: "/login", get: (*endpoints).loginPage, post: (*endpoints).login},
	{path: "/logout", get: (*endpoints).logoutPage, post: (*endpoints).logout},
	{path: "/device/code", post: (*endpoints).deviceCode, cross: true},
	{path: "/device", get: (*endpoints).devicePage, post: (*endpoints).device},
	{path: "/revoke", post: (*endpoints).revoke, cross: true},
	{path: "/introspect", post: (*endpoints).introspect},
	{path: "/jwks", get: (*endpoints).jwks, cross: true},
	{path: "/account", get: (*endpoints).accountPage, post: (*endpoints).changeAccount},
	{path: "/assets/{name}", get: (*endpoints).asset},
	{path: "/scopes", get: (*endpoints).listScopes},
	{path: "/clients", get: api((*endpoints).listOwnClients), post: api((*endpoints).storeOwnClient)},
	{path: "/clients/{id}", put: api((*endpoints).changeOwnClient), del: api((*endpoints).destroyOwnClient)},
	{path: "/tokens", get: api((*endpoints).listTokens)},
	{path: "/tokens/{id}", del: api((*endpoints).destroyToken)},
	{
		path: "/personal-access-tokens",
		get:  api((*endpoints).listPersonalTokens), post: api((*endpoints).storePersonalToken),
	},
	{path: "/personal-access-tokens/{id}", del: api((*endpoints).destroyPersonalToken)},
}

// wellKnown is where clients look for the metadata, RFC 8414 §3.
const wellKnown = "/.well-known/oauth-authorization-server"

// endpoints are the issuer's endpoints below one prefix.
type endpoints struct {
	*Issuer
	prefix    string
	routes    map[string]*route
	parents   map[string]*route // those that end with a parameter, by the path before it
	documents documents
}

// Handler serves the endpoints below prefix, and the metadata at its well-known place. The prefix is "/oauth" when
// empty; "/" puts the endpoints at the root. Every other path is answered with 404: ask [Issuer.Serves] first.
func (i *Issuer) Handler(prefix string) http.Handler {
	e := &endpoints{
		Issuer: i, prefix: cleanPrefix(prefix), routes: make(map[string]*route), parents: make(map[string]*route),
	}
	e.add(routes...)
	e.routes[wellKnown] = metadataRoute
	if i.wellKnownPath != "" {
		e.routes[i.wellKnownPath] = metadataRoute
	}
	return e
}

// Serves tells whether a request for path (as in [net/url.URL.Path]) belongs to the handler of that prefix: all below
// the prefix does, known or not, so that nobody else answers for a future endpoint.
func (i *Issuer) Serves(prefix, path string) bool {
	prefix = cleanPrefix(prefix)
	if rest, ok := strings.CutPrefix(path, prefix); ok {
		if prefix != "" && (rest == "" || rest[0] == '/') {
			return true
		}
		if prefix == "" && slices.ContainsFunc(routes, func(r *route) bool { return r.matches(path) }) {
			return true
		}
	}
	return path == wellKnown || i.wellKnownPath != "" && path == i.wellKnownPath
}

func cleanPrefix(prefix string) string {
	if prefix == "" {
		return "/oauth"
	}
	prefix = strings.TrimRight(prefix, "/")
	if prefix != "" && prefix[0] != '/' {
		return "/" + prefix
	}
	return prefix
}

func (e *endpoints) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	route := e.find(r)
	if route == nil {
		e.nothingHere(w, r)
		return
	}
	if route.cross {
		allowAnyOrigin(w.Header())
	}
	answer := route.handler(r.Method)
	switch {
	case answer != nil:
		answer(e, w, r)
	case r.Method == http.MethodOptions:
		route.options(w, r)
	default:
		w.Header().Set("Allow", route.methods())
		writeError(w, r, errMethod)
	}
}

// nothingHere answers a request for what there is not: a person with a page, everybody else as OAuth's endpoints do.
func (e *endpoints) nothingHere(w http.ResponseWriter, r *http.Request) {
	html := func(accept string) bool { return strings.Contains(accept, "text/html") }
	if r.Method == http.MethodGet && slices.ContainsFunc(r.Header["Accept"], html) {
		w.Header().Add("Vary", "Accept")
		e.refusePage(w, r, &pageError{kind: pages.FaultNotFound, status: http.StatusNotFound})
		return
	}
	writeError(w, r, errNoSuchEndpoint)
}

func (e *endpoints) add(routes ...*route) {
	for _, r := range routes {
		if parent, name := r.parameter(); name != "" {
			e.parents[e.prefix+parent] = r
			continue
		}
		e.routes[e.prefix+r.path] = r
	}
}

// find returns the route of the request's path, or nil. A parameter of the path becomes the request's.
func (e *endpoints) find(r *http.Request) *route {
	if found := e.routes[r.URL.Path]; found != nil {
		return found
	}
	slash := strings.LastIndexByte(r.URL.Path, '/') + 1
	found := e.parents[r.URL.Path[:slash]]
	if found == nil || slash == len(r.URL.Path) {
		return nil
	}
	_, name := found.parameter()
	r.SetPathValue(name, r.URL.Path[slash:])
	return found
}

// parameter splits the route's path before the parameter that ends it. Without one it is the path and nothing.
func (r *route) parameter() (parent, name string) {
	if slash := strings.LastIndexByte(r.path, '/') + 1; strings.HasPrefix(r.path[slash:], "{") {
		return r.path[:slash], strings.Trim(r.path[slash:], "{}")
	}
	return r.path, ""
}

func (r *route) matches(path string) bool {
	parent, name := r.parameter()
	value, ok := strings.CutPrefix(path, parent)
	if name == "" {
		return ok && value == ""
	}
	return ok && value != "" && !strings.Contains(value, "/")
}

// handler returns who answers to the method, or nil.
func (r *route) handler(method string) handler {
	switch method {
	case http.MethodGet, http.MethodHead:
		return r.get
	case http.MethodPost:
		return r.post
	case http.MethodPut:
		return r.put
	case http.MethodDelete:
		return r.del
	}
	return nil
}

// methods lists what the endpoint answers to, as the header Allow has it.
func (r *route) methods() string {
	var list []string
	for _, method := range []string{
		http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete,
	} {
		if r.handler(method) != nil {
			list = append(list, method)
		}
	}
	return strings.Join(append(list, http.MethodOptions), ", ")
}
