package caddymodule

import (
	"encoding/json"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/oauth2-passport/caddy-passport/issuer/verify"
)

// foreignOptions are the options of a route that takes tokens of other issuers. Syntax:
//
//	trust <issuer>|laravel {
//	    jwks_uri        <url>
//	    public_key_file <file...>
//	    audience        <value...>
//	    algorithms      <algorithm...>
//	    scope_claim     <claim>
//	    username_claim  <claim>
//	    client_claim    <claim>
//	}
//	introspect <url> {
//	    client_id     <id>
//	    client_secret <secret>
//	    audience      <value...>
//	    cache         <duration>
//	}
//
// trust may be repeated with other issuers.
func foreignOptions(options map[string]option, trust *[]*Trust, introspect **Introspect) {
	options["trust"] = option{many: true, parse: func(d *caddyfile.Dispenser) error { return parseTrust(d, trust) }}
	options["introspect"] = option{parse: func(d *caddyfile.Dispenser) error { return parseIntrospect(d, introspect) }}
}

func parseTrust(d *caddyfile.Dispenser, into *[]*Trust) error {
	t := new(Trust)
	if err := parseText(d, &t.Issuer); err != nil {
		return err
	}
	for _, other := range *into {
		if other.Issuer == t.Issuer {
			return d.Errf("trust %s is repeated", t.Issuer)
		}
	}
	at := *d // for errors about the whole
	if err := parseBlock(d, "trust", map[string]option{
		"jwks_uri":        text(&t.JWKSURI),
		"public_key_file": list(&t.PublicKeyFiles),
		"audience":        list(&t.Audience),
		"algorithms":      algorithmList(&t.Algorithms),
		"scope_claim":     text(&t.ScopeClaim),
		"username_claim":  text(&t.UsernameClaim),
		"client_claim":    text(&t.ClientClaim),
	}); err != nil {
		return err
	}
	if err := t.check(); err != nil {
		return at.WrapErr(err)
	}
	*into = append(*into, t)
	return nil
}

func parseIntrospect(d *caddyfile.Dispenser, into **Introspect) error {
	i := new(Introspect)
	if err := parseText(d, &i.URL); err != nil {
		return err
	}
	at := *d
	if err := parseBlock(d, "introspect", map[string]option{
		"client_id": text(&i.ClientID),
		"client_secret": secretText(&i.ClientSecret, "the client_secret of introspect", "IDP_SECRET",
			func(string) error { return nil }),
		"audience": list(&i.Audience),
		"cache":    duration(&i.Cache),
	}); err != nil {
		return err
	}
	if err := i.check(); err != nil {
		return at.WrapErr(err)
	}
	*into = i
	return nil
}

// algorithmList is list for algorithms of other issuers.
func algorithmList(into *[]string) option {
	return option{parse: func(d *caddyfile.Dispenser) error {
		if err := parseList(d, into); err != nil {
			return err
		}
		for _, name := range *into {
			if err := verify.CheckAlgorithm(name); err != nil {
				return d.WrapErr(err)
			}
		}
		return nil
	}}
}

// checkForeign checks that a route can take tokens at all, and has an audience for those of others.
func checkForeign(h httpcaddyfile.Helper, a *Auth) error {
	if a.Issuer == issuerOff && len(a.Trust) == 0 && a.Introspect == nil {
		return h.WrapErr(errNoIssuer)
	}
	if len(a.Audience) > 0 || a.Resource != "" {
		return nil
	}
	identified := false
	if option, ok := h.Option("passport").(httpcaddyfile.App); ok && a.Issuer != issuerOff {
		var app App
		if err := json.Unmarshal(option.Value, &app); err != nil {
			return h.WrapErr(err)
		}
		name := a.Issuer
		if name == "" {
			name = DefaultIssuer
		}
		identified = app.Issuers[name] != nil && app.Issuers[name].Identifier != ""
	}
	for _, t := range a.Trust {
		if t.Issuer != laravel && len(t.Audience) == 0 && !identified {
			return h.Errf("trust %s: %w", t.Issuer, errNoAudience)
		}
	}
	return nil
}
