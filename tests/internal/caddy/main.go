// Command caddy is Caddy with its standard modules and this plugin, as the tests run it. What users run is built by
// xcaddy, which can't build with the race detector.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard" // what every Caddy has
	_ "github.com/mholt/caddy-ratelimit"                 // what docs/rate-limits.md is about

	_ "github.com/oauth2-passport/caddy-passport" // what is tested
)

func main() { caddycmd.Main() }
