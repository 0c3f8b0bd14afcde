// Package passport is a Caddy plugin that turns Caddy into an API gateway which issues OAuth 2.0 access tokens and
// enforces them, in front of HTTP APIs that need no change.
//
// Build it into Caddy with
//
//	xcaddy build --with github.com/oauth2-passport/caddy-passport
//
// and begin reading at package caddymodule, the only room that knows Caddy: it wires package issuer (the
// authorization server), package issuer/verify (is this token good, now, here?) and package store (what is kept).
package passport

import _ "github.com/oauth2-passport/caddy-passport/caddymodule" // registers the Caddy modules
