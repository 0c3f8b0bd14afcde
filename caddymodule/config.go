package caddymodule

import (
	"encoding/json"

	"github.com/caddyserver/caddy/v2"
)

// Issuer is the config of one issuer of the app passport.
type Issuer struct {
	// Identifier is the issuer identifier: `iss` in tokens and metadata, and the default audience. A URL with https,
	// without query and fragment (http is let through for localhost). Default: each host is its own issuer, by the
	// scheme and host of the request.
	Identifier string `json:"issuer,omitempty"`

	// StorageRaw is where clients, tokens and keys are kept: a module of the namespace passport.storage.
	// Default: badger, in the folder passport/<issuer name> of Caddy's data directory.
	StorageRaw json.RawMessage `json:"storage,omitempty" caddy:"namespace=passport.storage inline_key=module"`
}

func (c *Issuer) provision(ctx caddy.Context, name string) error { return nil }

func (c *Issuer) validate(name string) error { return nil }
