package caddymodule

import (
	"github.com/caddyserver/caddy/v2"
)

func init() {
	caddy.RegisterModule(Auth{})
}

// Auth is the handler passport_auth: it passes a request on when the request has a token that meets every demand of
// the route, and refuses it otherwise.
type Auth struct {
	// Issuer is the name of the issuer in the app passport whose tokens are good here. Default: "default".
	Issuer string `json:"issuer,omitempty"`

	// Scopes are all demanded: a token that lacks one is refused with 403. Default: none.
	Scopes []string `json:"scopes,omitempty"`

	// AnyScope demands at least one of its scopes, beside all of Scopes. Default: none.
	AnyScope []string `json:"any_scope,omitempty"`

	// Subject demands who acts: "user" is a person, "client" a client that acts for itself. Default: either.
	Subject string `json:"subject,omitempty"`

	// Audience are the values of which a token's `aud` must have at least one. Default: the issuer identifier.
	Audience []string `json:"audience,omitempty"`

	// Clients are the IDs of the issuer's clients whose tokens are good here. Default: every client.
	Clients []string `json:"clients,omitempty"`

	// Optional lets a request without a token pass as anonymous. A bad token is still refused. Default: false.
	Optional bool `json:"optional,omitempty"`

	// ForwardToken lets the bearer token reach the upstream. Default: false, it is removed.
	ForwardToken bool `json:"forward_token,omitempty"`

	// UpstreamHeaders are request headers that are set beside the identity headers, by their names. A value may have
	// placeholders; one that comes out empty sets no header. Whatever the caller sent under the name is removed, on
	// every route of the site. Default: none.
	UpstreamHeaders map[string]string `json:"upstream_headers,omitempty"`

	// Preflight lets CORS preflights pass without a token. Default: false, they are refused like any request.
	Preflight bool `json:"preflight,omitempty"`

	// Realm is the realm of the WWW-Authenticate header. Default: the name of the issuer's app, "passport".
	Realm string `json:"realm,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (Auth) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.passport_auth",
		New: func() caddy.Module { return new(Auth) },
	}
}
