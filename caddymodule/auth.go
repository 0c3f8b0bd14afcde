package caddymodule

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/oauth2-passport/caddy-passport/issuer/verify"
)

func init() {
	caddy.RegisterModule(Auth{})
}

// Auth is the handler passport_auth: it passes a request on when the request has a token that meets every demand of
// the route, and refuses it otherwise.
//
// Where several are on the way of one request, all of them apply. The token is taken from the request unless each of
// them forwards it.
type Auth struct {
	// Issuer is the name of the issuer in the app passport whose tokens are good here; "off": only tokens of Trust and
	// Introspect are. Default: "default".
	Issuer string `json:"issuer,omitempty"`

	// Scopes are all demanded: a token that lacks one is refused with 403. Default: none.
	Scopes []string `json:"scopes,omitempty"`

	// AnyScope demands at least one of its scopes, beside all of Scopes. Default: none.
	AnyScope []string `json:"any_scope,omitempty"`

	// Subject demands who acts: "user" is a person, "client" a client that acts for itself. Default: either.
	Subject string `json:"subject,omitempty"`

	// Audience are the values of which a token's `aud` must have at least one. They may have global placeholders.
	// Default: the Resource, or the issuer identifier.
	Audience []string `json:"audience,omitempty"`

	// Resource is the identifier of the protected resource that the route is (RFC 9728): an https URL without query, such
	// as that of an MCP server; http for a loopback address. Metadata is served for it, answers name that, and it is one
	// of the values of Audience. Global placeholders are replaced. Default: none.
	Resource string `json:"resource,omitempty"`

	// Clients are the IDs of the issuer's clients whose tokens are good here, and no client of another issuer. They may
	// have global placeholders. Default: every client.
	Clients []string `json:"clients,omitempty"`

	// Trust are other issuers whose JWTs are good here too. Default: none.
	Trust []*Trust `json:"trust,omitempty"`

	// Introspect is another issuer that is asked about tokens that are no JWT of a known issuer. Default: none.
	Introspect *Introspect `json:"introspect,omitempty"`

	// Require are expressions in CEL, all of which have to come out true for a request with a good token; one that cannot
	// be evaluated has not. They know claims, scopes, client, user and request. Default: none.
	Require []string `json:"require,omitempty"`

	// Session takes the session of a person who has signed in to the issuer with a browser for an identity too, where no
	// token is sent: with every scope that the person may have, no client (X-Passport-Client is left out), whatever
	// Audience says. Requests of other sites' pages are none of that person's; one that changes something, by its method
	// or an override of it, has to have the value of the cookie XSRF-TOKEN in the header field X-XSRF-TOKEN or
	// X-CSRF-TOKEN. A browser that asks for a page without a session is sent to the sign-in page of the passport_server
	// of the same site, and back. Default: false.
	Session bool `json:"session,omitempty"`

	// Optional lets a request without a token pass as anonymous: what it sends in the header field Authorization by
	// another scheme, or in the query, reaches the upstream. A bad token is still refused. Default: false.
	Optional bool `json:"optional,omitempty"`

	// ForwardToken lets the bearer token reach the upstream. Default: false, it is removed.
	ForwardToken bool `json:"forward_token,omitempty"`

	// UpstreamHeaders are request headers that are set beside the identity headers, by their names. A value may have
	// placeholders; one that comes out empty sets no header, nor does an anonymous request. Whatever the caller sent
	// under the name is removed, on every route of the site. Default: none.
	UpstreamHeaders map[string]string `json:"upstream_headers,omitempty"`

	// UpstreamAuth is the credential that the upstream knows: by HTTP Basic authentication, in a header field, or a token
	// that is made for it. Only a request that is let through for somebody gets it. Default: none.
	UpstreamAuth *UpstreamAuth `json:"upstream_auth,omitempty"`

	// ReportOnly never refuses: what would have been refused is logged and counted, and passes on as anonymous, without
	// the identity headers. What the caller sent that looks like them is removed all the same. Default: false.
	ReportOnly bool `json:"report_only,omitempty"`

	// Preflight lets CORS preflights pass without a token, and without a body. Default: false, they are refused like
	// any request.
	Preflight bool `json:"preflight,omitempty"`

	// Realm is the realm of the WWW-Authenticate header. Default: "passport".
	Realm string `json:"realm,omitempty"`

	gate     *gate
	resource *resource // nil: it is none
	names    names     // of UpstreamHeaders, for requests that have come through no site
	upstream []upstreamHeader
	wanted   string
	logger   *zap.Logger
}

// upstreamHeader is one of [Auth.UpstreamHeaders].
type upstreamHeader struct{ name, template string }

const defaultRealm = "passport"

// CaddyModule returns the Caddy module information.
func (Auth) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.passport_auth",
		New: func() caddy.Module { return new(Auth) },
	}
}

// Provision finds the issuer and guards the site.
func (a *Auth) Provision(ctx caddy.Context) error {
	a.logger = ctx.Logger()
	if a.Realm == "" {
		a.Realm = defaultRealm
	}
	audience, err := a.provisionResource()
	if err != nil {
		return err
	}
	a.gate = &gate{
		scopes: a.Scopes, anyScope: a.AnyScope, subject: a.Subject, audience: audience, clients: a.Clients,
		expressions: a.Require, trust: a.Trust, introspect: a.Introspect, session: a.Session,
	}
	if err := a.gate.provision(ctx, a.Issuer); err != nil {
		return err
	}
	a.wanted = a.gate.wanted()
	for _, name := range slices.Sorted(maps.Keys(a.UpstreamHeaders)) {
		a.upstream = append(a.upstream, upstreamHeader{http.CanonicalHeaderKey(name), a.UpstreamHeaders[name]})
		a.names.add(name)
	}
	if a.UpstreamAuth != nil {
		if err := a.UpstreamAuth.provision(a.gate.instance); err != nil {
			return err
		}
		a.names.add(a.UpstreamAuth.own()...)
	}
	err = guardSite(ctx, slices.Concat(slices.Collect(maps.Keys(a.UpstreamHeaders)), a.UpstreamAuth.own())...)
	if err != nil {
		return err
	}
	return a.publish(ctx)
}

// Validate checks what the config demands.
func (a *Auth) Validate() error {
	if err := a.gate.validate(); err != nil {
		return err
	}
	if i := strings.IndexFunc(a.Realm, func(c rune) bool { return c < ' ' || c == 0x7f }); i >= 0 {
		return errors.New("realm: it has a control character")
	}
	for _, h := range a.upstream {
		if err := checkUpstreamHeader(h.name); err != nil {
			return fmt.Errorf("upstream_header: %w", err)
		}
	}
	return a.UpstreamAuth.validate(a)
}

// checkUpstreamHeader tells whether a header field may be set beside the identity's.
func checkUpstreamHeader(name string) error {
	if !isToken(name) {
		return fmt.Errorf("%q is no name for a header", name)
	}
	switch name {
	case "Host", "Connection", "Proxy-Connection", "Keep-Alive", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
		"Content-Length":
		return fmt.Errorf("%s belongs to the connection", name)
	case "Authorization":
		return errors.New("callers send their tokens in Authorization: " +
			"set it where the request leaves, with header_up of reverse_proxy")
	case headerSubject, headerClient, headerScope, headerIssuer, headerUsername:
		return fmt.Errorf("%s is set to the identity", name)
	}
	return nil
}

// ServeHTTP implements [caddyhttp.MiddlewareHandler].
func (a *Auth) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	v := begin(r)
	if !v.stripped {
		a.names.strip(r, v)
	}
	open, id, refused := a.gate.identify(r, v)
	if !a.ReportOnly { // or callers that know the upstream's credential would be shut out
		a.UpstreamAuth.withhold(r)
	}
	if refused == nil && id != nil {
		refused = a.gate.check(r, open, id)
	}
	switch {
	case refused != nil && a.ReportOnly:
		return a.passReported(w, r, next, v, id, refused)
	case refused != nil:
		a.log(r, v, id, refused)
		return a.refuse(w, r, refused)
	case id != nil:
		return a.pass(w, r, next, v, open, id)
	case a.Preflight && isPreflight(r):
		r.Body, r.ContentLength = http.NoBody, 0 // it has none (Fetch §4.8)
		maps.DeleteFunc(r.Header, func(name string, _ []string) bool { return isMethodOverride(name) })
		return next.ServeHTTP(w, r)
	case a.Optional:
		return next.ServeHTTP(w, r)
	case a.ReportOnly:
		return a.passReported(w, r, next, v, nil, refusedAnonymous)
	}
	if to := a.signIn(r, v); to != "" {
		return sendToSignIn(w, to)
	}
	a.log(r, v, nil, refusedAnonymous)
	return a.refuse(w, r, refusedAnonymous)
}

// isPreflight tells whether the request is a CORS preflight (Fetch §4.8): the question whether another may be sent.
func isPreflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && r.Header.Get("Origin") != "" &&
		r.Header.Get("Access-Control-Request-Method") != "" &&
		len(methodsInQuery(r.URL.RawQuery)) == 0 // or an upstream may take it for the other
}

// pass hands the request on, for who has been found to call.
func (a *Auth) pass(
	w http.ResponseWriter, r *http.Request, next caddyhttp.Handler,
	v *visit, open *running, id *verify.Identity,
) error {
	introduced := v.identity == id // by a passport_auth before this one
	a.keepToken(r, v)
	v.introduce(r.Header, id)
	if !introduced && id.Session() {
		kept := private(w)
		defer kept.begin() // for whoever answers an error
		w = kept
		open.giveToken(w, r, v, id)
	}
	if len(a.upstream) > 0 {
		a.setUpstream(r)
	}
	if err := a.UpstreamAuth.set(r, v, id); err != nil {
		refused := refusedUnavailable(err)
		if a.ReportOnly {
			a.report(r, v, id, refused)
			return next.ServeHTTP(w, r)
		}
		a.log(r, v, id, refused)
		return a.refuse(w, r, refused)
	}
	switch {
	case v.watching == id:
		return next.ServeHTTP(w, r)
	case a.ReportOnly:
		return a.passToReport(w, r, next, v, open, id)
	}
	return a.passWatched(w, r, next, v, open, id)
}

// keepToken keeps the token from the upstream, unless the config says otherwise.
func (a *Auth) keepToken(r *http.Request, v *visit) {
	if a.ForwardToken {
		return
	}
	// What stands there now may be another's: a directive between two passport_auth may have put it there.
	if fields := r.Header["Authorization"]; len(fields) == 1 && fields[0] == v.authorization {
		delete(r.Header, "Authorization")
	}
}

// setUpstream sets the header fields that the config adds to those of the identity.
func (a *Auth) setUpstream(r *http.Request) {
	repl := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	for _, h := range a.upstream {
		value := strings.TrimSpace(repl.ReplaceAll(h.template, ""))
		if value == "" || strings.ContainsFunc(value, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }) {
			delete(r.Header, h.name)
			continue
		}
		r.Header[h.name] = []string{value}
	}
}

// log tells which request was refused, and why.
func (a *Auth) log(r *http.Request, v *visit, id *verify.Identity, refused *refusal) {
	refused.count(false)
	entry := a.logger.Check(refused.level(), "request refused")
	if entry == nil {
		return
	}
	entry.Write(append(refused.fields(v, id), a.about(r, refused)...)...)
}

// fields are what log lines tell of a refusal.
func (n *refusal) fields(v *visit, id *verify.Identity) []zap.Field {
	fields := []zap.Field{zap.Int("status", n.status), zap.String("reason", n.description)}
	switch {
	case n.cause == nil, n.status == http.StatusUnauthorized: // the reason is all there is to tell
	default:
		fields = append(fields, zap.Error(n.cause))
	}
	if id != nil {
		return append(fields, zap.Object("token", logged{id}))
	}
	if jti, client, ok := claimed(v.token, n.cause); ok {
		fields = append(fields, zap.String("jti", jti), zap.String("client_id", client))
	}
	return fields
}

// logged is what log lines tell of an identity.
type logged struct{ *verify.Identity }

// MarshalLogObject implements [zapcore.ObjectMarshaler].
func (l logged) MarshalLogObject(enc zapcore.ObjectEncoder) error {
	enc.AddString("jti", l.TokenID)
	enc.AddString("client_id", l.ClientID)
	return nil
}

// claimed reads what log lines tell of a token that was refused for why. It does so only for reasons that are given
// once the signature has been found good: what others claim is not told.
func claimed(token string, why error) (jti, clientID string, ok bool) {
	authentic := []error{verify.ErrExpired, verify.ErrNotYetValid, verify.ErrRevoked, verify.ErrClientGone}
	if !slices.ContainsFunc(authentic, func(err error) bool { return errors.Is(why, err) }) {
		return "", "", false
	}
	_, rest, _ := strings.Cut(token, ".")
	payload, _, _ := strings.Cut(rest, ".")
	text, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil {
		return "", "", false
	}
	var claims struct {
		TokenID  string `json:"jti"`
		ClientID string `json:"client_id"`
	}
	err = json.Unmarshal(text, &claims)
	return claims.TokenID, claims.ClientID, err == nil
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Auth)(nil)
	_ caddy.Validator             = (*Auth)(nil)
	_ caddyhttp.MiddlewareHandler = (*Auth)(nil)
)
