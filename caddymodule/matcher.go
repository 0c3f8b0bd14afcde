package caddymodule

import (
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/oauth2-passport/caddy-passport/issuer"
)

func init() {
	caddy.RegisterModule(Matcher{})
}

// Matcher is the matcher passport: it matches a request that has a good token, or a session, which meets every demand.
// What it matches has not been let through by that: placeholders and identity headers are passport_auth's.
//
// A request whose token cannot be checked, because storage is not available, is answered with 503.
type Matcher struct {
	// Issuer is the name of the issuer in the app passport whose tokens are good here; "off": only tokens of Trust and
	// Introspect are. Default: "default".
	Issuer string `json:"issuer,omitempty"`

	// Scopes are all demanded. Default: none.
	Scopes []string `json:"scopes,omitempty"`

	// AnyScope demands at least one of its scopes. Default: none.
	AnyScope []string `json:"any_scope,omitempty"`

	// Subject demands who acts: "user" is a person, "client" a client that acts for itself. Default: either.
	Subject string `json:"subject,omitempty"`

	// Audience are the values of which a token's `aud` must have at least one. They may have global placeholders.
	// Default: the issuer identifier.
	Audience []string `json:"audience,omitempty"`

	// Clients are the IDs of the issuer's clients that match. They may have global placeholders. Default: every client.
	Clients []string `json:"clients,omitempty"`

	// Session has a person's browser session match too, as passport_auth lets one pass. Default: false.
	Session bool `json:"session,omitempty"`

	// Trust are other issuers whose JWTs are good here too. Default: none.
	Trust []*Trust `json:"trust,omitempty"`

	// Introspect is another issuer that is asked about tokens that are no JWT of a known issuer. Default: none.
	Introspect *Introspect `json:"introspect,omitempty"`

	gate *gate
}

// CaddyModule returns the Caddy module information.
func (Matcher) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.matchers.passport",
		New: func() caddy.Module { return new(Matcher) },
	}
}

// Provision finds the issuer.
func (m *Matcher) Provision(ctx caddy.Context) error {
	m.gate = &gate{
		scopes: m.Scopes, anyScope: m.AnyScope, subject: m.Subject, audience: m.Audience, clients: m.Clients,
		trust: m.Trust, introspect: m.Introspect, session: m.Session,
	}
	return m.gate.provision(ctx, m.Issuer)
}

// Validate checks what the config demands.
func (m *Matcher) Validate() error { return m.gate.validate() }

// Match implements [caddyhttp.RequestMatcher].
func (m *Matcher) Match(r *http.Request) bool {
	ok, _ := m.MatchWithError(r)
	return ok
}

// MatchWithError implements [caddyhttp.RequestMatcherWithError].
func (m *Matcher) MatchWithError(r *http.Request) (bool, error) {
	v := begin(r)
	if m.Session && !v.stripped { // on a site without a directive of ours
		v.session = issuer.SessionCookie(r)
	}
	open, id, refused := m.gate.identify(r, v)
	switch {
	case refused != nil && refused.status == http.StatusServiceUnavailable:
		return false, caddyhttp.Error(http.StatusServiceUnavailable, refused.cause)
	case refused != nil || id == nil:
		return false, nil
	}
	return m.gate.check(r, open, id) == nil, nil
}

// UnmarshalCaddyfile reads the matcher. Syntax:
//
//	passport [<option> [<value...>]] {
//	    issuer    <issuer name>|off
//	    scopes    <scope...>
//	    any_scope <scope...>
//	    subject   user|client
//	    audience  <value...>
//	    clients   <client_id...>
//	    session
//	    trust     ...
//	    introspect ...
//	}
//
// One option may stand on the first line, the others in the block. Without any, every good token matches.
func (m *Matcher) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the matcher's name
	options := map[string]option{
		"issuer":    issuerName(&m.Issuer),
		"scopes":    scopeList(&m.Scopes),
		"any_scope": scopeList(&m.AnyScope),
		"subject":   subject(&m.Subject),
		"audience":  list(&m.Audience),
		"clients":   list(&m.Clients),
		"session":   flag(&m.Session),
	}
	foreignOptions(options, &m.Trust, &m.Introspect)
	if d.NextArg() {
		name, line := d.Val(), d.Line()
		opt, ok := options[name]
		if !ok {
			return d.Errf("unknown option %q of the matcher passport: it has %s", name, knownKeys(options))
		}
		if err := opt.parse(d); err != nil {
			return err
		}
		options[name] = option{parse: func(d *caddyfile.Dispenser) error {
			return d.Errf("the option %q of the matcher passport is repeated: it stands on line %d", name, line)
		}}
	}
	if err := parseBlock(d, "the matcher passport", options); err != nil {
		return err
	}
	if d.Next() {
		return d.Err("the matcher passport is repeated: put its options into one block")
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner                 = (*Matcher)(nil)
	_ caddy.Validator                   = (*Matcher)(nil)
	_ caddyhttp.RequestMatcherWithError = (*Matcher)(nil)
	_ caddyfile.Unmarshaler             = (*Matcher)(nil)
)
