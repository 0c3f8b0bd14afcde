package caddymodule

import (
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/oauth2-passport/caddy-passport/issuer"
)

func parseAuth(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	var a Auth
	if err := a.UnmarshalCaddyfile(h.Dispenser); err != nil {
		return nil, err
	}
	if a.Issuer != issuerOff {
		if err := checkIssuer(h, a.Issuer); err != nil {
			return nil, err
		}
	}
	if a.Issuer == issuerOff && a.Session {
		return nil, h.WrapErr(errSessionOff)
	}
	return &a, checkForeign(h, &a)
}

// UnmarshalCaddyfile reads the directive passport_auth. Syntax:
//
//	passport_auth [<matcher>] [scopes <scope...>] {
//	    issuer          <issuer name>|off
//	    scopes          <scope...>
//	    any_scope       <scope...>
//	    subject         user|client
//	    audience        <value...>
//	    resource        <url>
//	    clients         <client_id...>
//	    require         <expression>
//	    trust           ...
//	    introspect      ...
//	    session
//	    optional
//	    report_only
//	    forward_token
//	    upstream_header <name> <value>
//	    upstream_auth   ...
//	    preflight
//	    realm           <realm>
//	}
//
// upstream_header may be repeated with other names, and require with other expressions, which all have to come out
// true. An expression is one argument, in backquotes, or the rest of the line. The scopes stand either on the first
// line or in the block. [foreignOptions] has the syntax of trust and introspect.
func (a *Auth) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the directive's name
	options := map[string]option{
		"issuer":          issuerName(&a.Issuer),
		"scopes":          scopeList(&a.Scopes),
		"any_scope":       scopeList(&a.AnyScope),
		"subject":         subject(&a.Subject),
		"audience":        list(&a.Audience),
		"resource":        {parse: a.parseResource},
		"clients":         list(&a.Clients),
		"require":         {parse: a.parseRequire, many: true},
		"session":         flag(&a.Session),
		"optional":        flag(&a.Optional),
		"report_only":     flag(&a.ReportOnly),
		"forward_token":   flag(&a.ForwardToken),
		"upstream_header": {parse: a.parseUpstreamHeader, many: true},
		"upstream_auth":   {parse: a.parseUpstreamAuth},
		"preflight":       flag(&a.Preflight),
		"realm":           text(&a.Realm),
	}
	foreignOptions(options, &a.Trust, &a.Introspect)
	if d.NextArg() {
		if d.Val() != "scopes" {
			return d.Errf("unknown argument %q of passport_auth: it has scopes, the rest stands in its block", d.Val())
		}
		if err := scopeList(&a.Scopes).parse(d); err != nil {
			return err
		}
		options["scopes"] = option{parse: func(d *caddyfile.Dispenser) error {
			return d.Err(`the option "scopes" of passport_auth is repeated: it stands on the first line`)
		}}
	}
	return parseBlock(d, "passport_auth", options)
}

// parseRequire reads an expression as the matcher expression of Caddy does: of several arguments the quotation marks
// are the expression's own.
func (a *Auth) parseRequire(d *caddyfile.Dispenser) error {
	var expression string
	switch d.CountRemainingArgs() {
	case 0:
		return d.ArgErr()
	case 1:
		d.NextArg()
		expression = d.Val()
	default:
		expression = strings.Join(d.RemainingArgsRaw(), " ")
	}
	if slices.Contains(a.Require, expression) {
		return d.Err("the expression is repeated")
	}
	if _, err := compileRequirement(expression); err != nil {
		return d.WrapErr(err)
	}
	a.Require = append(a.Require, expression)
	return nil
}

// parseResource reads the identifier of a protected resource. What stands behind placeholders is checked when they are
// replaced.
func (a *Auth) parseResource(d *caddyfile.Dispenser) error {
	if err := parseText(d, &a.Resource); err != nil || hasPlaceholder(a.Resource) {
		return err
	}
	if _, err := newResource(a.Resource); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

func (a *Auth) parseUpstreamHeader(d *caddyfile.Dispenser) error {
	var name, value string
	if !d.AllArgs(&name, &value) {
		return d.ArgErr()
	}
	name = http.CanonicalHeaderKey(name)
	if err := checkUpstreamHeader(name); err != nil {
		return d.WrapErr(err)
	}
	if _, ok := a.UpstreamHeaders[name]; ok {
		return d.Errf("the header %q is repeated", name)
	}
	if a.UpstreamHeaders == nil {
		a.UpstreamHeaders = make(map[string]string)
	}
	a.UpstreamHeaders[name] = value
	return nil
}

// issuerName reads the name of an issuer.
func issuerName(into *string) option {
	return option{parse: func(d *caddyfile.Dispenser) error {
		if err := parseText(d, into); err != nil || *into == issuerOff {
			return err
		}
		if err := checkIssuerName(*into); err != nil {
			return d.WrapErr(err)
		}
		return nil
	}}
}

// subject reads who is to act.
func subject(into *string) option {
	return option{parse: func(d *caddyfile.Dispenser) error {
		if err := parseText(d, into); err != nil {
			return err
		}
		if *into != "user" && *into != "client" {
			return d.Errf("unknown subject %q: there is client, user", *into)
		}
		return nil
	}}
}

// scopeList is list for scopes.
func scopeList(into *[]string) option {
	return option{parse: func(d *caddyfile.Dispenser) error {
		if err := parseList(d, into); err != nil {
			return err
		}
		for _, scope := range *into {
			if err := issuer.CheckScope(scope); err != nil {
				return d.WrapErr(err)
			}
		}
		return nil
	}}
}

// Interface guards
var _ caddyfile.Unmarshaler = (*Auth)(nil)
