package caddymodule

import (
	"github.com/caddyserver/caddy/v2"
)

func init() {
	caddy.RegisterModule(Matcher{})
}

// Matcher is the matcher passport: it matches a request that has a good token which meets every demand.
type Matcher struct {
	// Issuer is the name of the issuer in the app passport whose tokens are good here. Default: "default".
	Issuer string `json:"issuer,omitempty"`

	// Scopes are all demanded. Default: none.
	Scopes []string `json:"scopes,omitempty"`

	// AnyScope demands at least one of its scopes. Default: none.
	AnyScope []string `json:"any_scope,omitempty"`

	// Subject demands who acts: "user" is a person, "client" a client that acts for itself. Default: either.
	Subject string `json:"subject,omitempty"`

	// Audience are the values of which a token's `aud` must have at least one. Default: the issuer identifier.
	Audience []string `json:"audience,omitempty"`

	// Clients are the IDs of the issuer's clients that match. Default: every client.
	Clients []string `json:"clients,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (Matcher) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.matchers.passport",
		New: func() caddy.Module { return new(Matcher) },
	}
}
