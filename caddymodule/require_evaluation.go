package caddymodule

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/oauth2-passport/caddy-passport/issuer/verify"
)

// evaluation is what the expressions of a route are asked about: a request and who sends it. It finds what they look
// at, and nothing else.
type evaluation struct {
	request  *http.Request
	open     *running
	id       *verify.Identity
	instance *instance

	path, method string // as they are read now
	pathValue    ref.Val
	query        *textMap
	headers      *textMap
	client       *knownClient
	unavailable  error // the client or the person could not be looked up

	scopes                  heldScopes
	clientObj, userObj, req object
}

// evaluations are those that may be used again.
var evaluations = sync.Pool{New: func() any {
	s := new(evaluation)
	s.scopes.evaluation = s
	s.clientObj = object{clientType, s}
	s.userObj = object{userType, s}
	s.req = object{requestType, s}
	return s
}}

func (s *evaluation) begin(r *http.Request, open *running, id *verify.Identity, i *instance) {
	s.request, s.open, s.id, s.instance = r, open, id, i
	s.readAs(r.Method, r.URL.Path)
}

// readAs has the request's method and path read in another way.
func (s *evaluation) readAs(method, path string) { s.method, s.path, s.pathValue = method, path, nil }

// release gives the evaluation back.
func (s *evaluation) release() {
	s.request, s.open, s.id, s.instance = nil, nil, nil, nil
	s.path, s.method, s.pathValue = "", "", nil
	s.query, s.headers, s.client, s.unavailable = nil, nil, nil, nil
	s.scopes.Lister = nil
	evaluations.Put(s)
}

// ResolveName implements [cel.Activation].
func (s *evaluation) ResolveName(name string) (any, bool) {
	switch name {
	case "claims":
		return s.values().claims(), true
	case "scopes":
		return &s.scopes, true
	case "client":
		return &s.clientObj, true
	case "user":
		if !s.id.Person() {
			return types.NullValue, true
		}
		return &s.userObj, true
	case "request":
		return &s.req, true
	}
	return nil, false
}

// Parent implements [cel.Activation].
func (*evaluation) Parent() cel.Activation { return nil }

// values are those of the token.
func (s *evaluation) values() *tokenValues { return s.id.Derived(valuesOf).(*tokenValues) }

// hasScope tells whether the token may do what a scope allows, by the rules of the routes.
func (s *evaluation) hasScope(name string) bool {
	return s.id.HasScope(name) || s.id.Own() &&
		slices.ContainsFunc(s.id.Scopes, func(has string) bool { return s.open.issuer.ScopeIncludes(has, name) })
}

// The client and the user are those of our own issuer: another's may have the same names. Expressions find what another
// issuer says in claims.

func (s *evaluation) clientID() (ref.Val, error) { return s.own(s.values().clientID) }

func (s *evaluation) clientName() (ref.Val, error) {
	c, err := s.knownClient()
	if err != nil {
		return nil, err
	}
	return c.name, nil
}

func (s *evaluation) clientFirstParty() (ref.Val, error) {
	c, err := s.knownClient()
	if err != nil {
		return nil, err
	}
	return c.firstParty, nil
}

func (s *evaluation) knownClient() (*knownClient, error) {
	if s.client == nil {
		var err error
		if s.client, err = s.lookUpClient(); err != nil {
			if !errors.Is(err, errAbsent) {
				s.unavailable = err
			}
			return nil, err
		}
	}
	return s.client, nil
}

func (s *evaluation) userID() (ref.Val, error)   { return s.own(s.values().userID) }
func (s *evaluation) username() (ref.Val, error) { return s.own(s.values().username) }

// email is that of the person's record: no token has it.
func (s *evaluation) email() (ref.Val, error) {
	if !s.id.Own() {
		return nil, errAbsent
	}
	user, err := s.open.verifier.User(s.request.Context(), s.id)
	switch {
	case errors.Is(err, verify.ErrUserGone):
		return nil, errAbsent
	case err != nil:
		s.unavailable = fmt.Errorf("looking up the person: %w", err)
		return nil, err
	}
	return given(user.Email)
}

// own is a name that our own issuer has given.
func (s *evaluation) own(name ref.Val) (ref.Val, error) {
	if !s.id.Own() || name == types.String("") {
		return nil, errAbsent
	}
	return name, nil
}

func given(text string) (ref.Val, error) {
	if text == "" {
		return nil, errAbsent
	}
	return types.String(text), nil
}

// methodValues are the methods that come often.
var methodValues = map[string]ref.Val{
	"GET": types.String("GET"), "HEAD": types.String("HEAD"), "POST": types.String("POST"), "PUT": types.String("PUT"),
	"PATCH": types.String("PATCH"), "DELETE": types.String("DELETE"), "OPTIONS": types.String("OPTIONS"),
}

func (s *evaluation) requestMethod() (ref.Val, error) {
	if value, ok := methodValues[s.method]; ok {
		return value, nil
	}
	return shortText(s.method)
}

func (s *evaluation) requestPath() (ref.Val, error) {
	if s.pathValue == nil {
		value, err := shortText(s.path)
		if err != nil {
			return nil, err
		}
		s.pathValue = value
	}
	return s.pathValue, nil
}

func shortText(text string) (ref.Val, error) {
	if len(text) > maxExpressionText {
		return nil, errTooLong
	}
	return types.String(text), nil
}

func (s *evaluation) requestQuery() (ref.Val, error) {
	if s.query == nil {
		if len(s.request.URL.RawQuery) > maxExpressionText {
			return nil, errTooLong
		}
		query, err := url.ParseQuery(s.request.URL.RawQuery)
		if err != nil {
			return nil, errors.New("the query is malformed")
		}
		s.query = newTextMap(slices.Collect(maps.Keys(query)), func(name string) []string { return query[name] })
	}
	return s.query, nil
}

// ownFields are header fields that no expression sees: the token is the gateway's.
var ownFields = []string{"authorization", "proxy-authorization"}

func (s *evaluation) requestHeaders() (ref.Val, error) {
	if s.headers == nil {
		header, host := s.request.Header, s.request.Host
		names := []string{"host"}
		for name := range header {
			if name = strings.ToLower(name); !slices.Contains(ownFields, name) && name != "host" {
				names = append(names, name)
			}
		}
		s.headers = newTextMap(names, func(name string) []string {
			switch {
			case strings.EqualFold(name, "host"):
				return []string{host}
			case slices.Contains(ownFields, strings.ToLower(name)):
				return nil
			}
			return header[http.CanonicalHeaderKey(name)]
		})
	}
	return s.headers, nil
}

// remoteIP is the address of the client as Caddy sees it: that which a trusted proxy names, or the peer's.
func (s *evaluation) remoteIP() (ref.Val, error) {
	ip, _ := caddyhttp.GetVar(s.request.Context(), caddyhttp.ClientIPVarKey).(string)
	if ip == "" {
		host, _, err := net.SplitHostPort(s.request.RemoteAddr)
		if err != nil {
			return nil, errAbsent
		}
		ip = host
	}
	ip, _, _ = strings.Cut(ip, "%") // the zone of an address of this link
	return types.String(ip), nil
}

// knownClient is what expressions see of a client beside its ID.
type knownClient struct {
	name, firstParty ref.Val
}

// lookUpClient finds the client of the token. [errAbsent] says that nothing is known of it: so it is for the tokens of
// other issuers, whose clients may have the same IDs as ours.
func (s *evaluation) lookUpClient() (*knownClient, error) {
	if !s.id.Own() || s.id.Session() || s.id.Personal() {
		return nil, errAbsent
	}
	for i := range s.instance.config.clients {
		if c := &s.instance.config.clients[i]; c.ID == s.id.ClientID {
			return &knownClient{types.String(c.Name), types.Bool(c.FirstParty)}, nil
		}
	}
	name, firstParty, err := s.open.verifier.Client(s.request.Context(), s.id.ClientID)
	switch {
	case errors.Is(err, verify.ErrClientGone):
		return nil, errAbsent
	case err != nil:
		return nil, fmt.Errorf("looking up the client: %w", err)
	}
	return &knownClient{types.String(name), types.Bool(firstParty)}, nil
}

// Interface guards
var _ cel.Activation = (*evaluation)(nil)
