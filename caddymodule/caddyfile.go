package caddymodule

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"go.uber.org/zap"
)

// The directives stand after what rewrites a request and before whatever may answer it or hand it to an upstream. The
// issuer's own paths come first, so that a passport_auth without a matcher guards all but them.
func init() {
	httpcaddyfile.RegisterGlobalOption("passport", parseGlobalOption)
	httpcaddyfile.RegisterHandlerDirective("passport_server", parseServer)
	httpcaddyfile.RegisterHandlerDirective("passport_auth", parseAuth)
	httpcaddyfile.RegisterDirectiveOrder("passport_server", httpcaddyfile.Before, "basic_auth")
	httpcaddyfile.RegisterDirectiveOrder("passport_auth", httpcaddyfile.Before, "basic_auth")
}

// parseGlobalOption reads the global option, which may be repeated with other names. Syntax:
//
//	passport [<issuer name>] {
//	    issuer         <url>
//	    storage        <module> ...
//	    keys           ...
//	    scope          ...
//	    default_scopes <scope...>
//	    grants         <grant...>
//	    lifetime       <what> <duration>
//	    revocation_lag <duration> [refuse|allow]
//	    client         ...
//	}
//
// The name is "default" when there is none. [Issuer.unmarshalCaddyfile] has the whole syntax.
func parseGlobalOption(d *caddyfile.Dispenser, existing any) (any, error) {
	var app App
	if earlier, ok := existing.(httpcaddyfile.App); ok {
		if err := json.Unmarshal(earlier.Value, &app); err != nil {
			return nil, d.WrapErr(err)
		}
	}
	d.Next() // the option's name
	name := DefaultIssuer
	if d.NextArg() {
		name = d.Val()
	}
	if d.NextArg() {
		return nil, d.ArgErr()
	}
	if err := checkIssuerName(name); err != nil {
		return nil, d.WrapErr(err)
	}
	if _, ok := app.Issuers[name]; ok {
		return nil, d.Errf("the issuer %q is defined twice", name)
	}
	config := new(Issuer)
	if err := config.unmarshalCaddyfile(d); err != nil {
		return nil, err
	}
	if app.Issuers == nil {
		app.Issuers = make(map[string]*Issuer)
	}
	app.Issuers[name] = config
	return httpcaddyfile.App{Name: "passport", Value: caddyconfig.JSON(&app, nil)}, nil
}

// checkIssuer checks that the global options define the issuer that a directive names.
func checkIssuer(h httpcaddyfile.Helper, name string) error {
	var app App
	if option, ok := h.Option("passport").(httpcaddyfile.App); ok {
		if err := json.Unmarshal(option.Value, &app); err != nil {
			return h.WrapErr(err)
		}
	}
	if err := app.lacks(name); err != nil {
		return h.WrapErr(err)
	}
	return nil
}

// option reads one option of a block; d stands at its name.
type option struct {
	parse func(d *caddyfile.Dispenser) error
	many  bool // it may be given more than once
}

// parseBlock reads the block that opens on d's line, if one does. what is its name in errors.
func parseBlock(d *caddyfile.Dispenser, what string, options map[string]option) error {
	first := make(map[string]int)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name := d.Val()
		opt, ok := options[name]
		switch {
		case name == "{":
			return d.Errf("there is no block here, in %s", what)
		case !ok:
			return d.Errf("unknown option %q of %s: it has %s", name, what, knownKeys(options))
		case first[name] != 0 && !opt.many:
			return d.Errf("the option %q of %s is repeated: it stands on line %d", name, what, first[name])
		}
		first[name] = d.Line()
		if err := opt.parse(d); err != nil {
			return err
		}
	}
	return nil
}

// knownKeys lists the keys of a map for an error.
func knownKeys[V any](of map[string]V) string { return known(slices.Collect(maps.Keys(of))) }

// known lists names for an error.
func known(names []string) string { return strings.Join(slices.Sorted(slices.Values(names)), ", ") }

// text reads exactly one argument.
func text(into *string) option {
	return option{parse: func(d *caddyfile.Dispenser) error { return parseText(d, into) }}
}

func parseText(d *caddyfile.Dispenser, into *string) error {
	if !d.AllArgs(into) {
		return d.ArgErr()
	}
	if *into == "" {
		return d.Err("the argument is empty")
	}
	return nil
}

// list reads one argument or more, none of them twice.
func list(into *[]string) option {
	return option{parse: func(d *caddyfile.Dispenser) error { return parseList(d, into) }}
}

func parseList(d *caddyfile.Dispenser, into *[]string) error {
	for d.NextArg() {
		switch {
		case d.Val() == "":
			return d.Err("the argument is empty")
		case slices.Contains(*into, d.Val()):
			return d.Errf("%q is repeated", d.Val())
		}
		*into = append(*into, d.Val())
	}
	if len(*into) == 0 {
		return d.ArgErr()
	}
	return nil
}

// flag reads no argument.
func flag(into *bool) option {
	return option{parse: func(d *caddyfile.Dispenser) error {
		if d.NextArg() {
			return d.ArgErr()
		}
		*into = true
		return nil
	}}
}

// duration reads one duration above zero.
func duration(into *caddy.Duration) option {
	return option{parse: func(d *caddyfile.Dispenser) error { return parseDuration(d, into) }}
}

func parseDuration(d *caddyfile.Dispenser, into *caddy.Duration) error {
	var value string
	if err := parseText(d, &value); err != nil {
		return err
	}
	dur, err := caddy.ParseDuration(value)
	if err != nil {
		return d.Errf("%q is no duration: it looks like 90d, 12h, 30m or 60s", value)
	}
	if dur <= 0 {
		return d.Errf("the duration %q is not above zero", value)
	}
	*into = caddy.Duration(dur)
	return nil
}

// parseSecret reads exactly one argument, which errors do not repeat. It tells whether it is written out, rather than a
// placeholder.
func parseSecret(d *caddyfile.Dispenser, into *string) (literal bool, err error) {
	name := d.Val()
	if !d.AllArgs(into) {
		return false, d.Errf("%s takes one argument", name)
	}
	if *into == "" {
		return false, d.Errf("%s is empty", name)
	}
	if literal, err = isLiteral(*into); err != nil {
		return false, d.Errf("%s: %w", name, err)
	}
	return literal, nil
}

// secretText reads a secret that can't be kept as a hash. One that is written out is checked, and is a warning: the
// adapted config has it, so that the admin API and the autosaved config do too.
func secretText(into *string, what, env string, check func(string) error) option {
	return option{parse: func(d *caddyfile.Dispenser) error {
		name := d.Val()
		literal, err := parseSecret(d, into)
		if err != nil {
			return err
		}
		if literal {
			if err := check(*into); err != nil {
				return d.Errf("%s: %w", name, err)
			}
			warnLiteral(d, what, env)
		}
		return nil
	}}
}

// warnLiteral warns of a secret that is written out, and names a placeholder to use instead.
func warnLiteral(d *caddyfile.Dispenser, what, env string) {
	// The parsers of global options can't reach the adapter's list of warnings, nor can those of blocks.
	caddy.Log().Named("config.adapter.caddyfile").Warn(
		fmt.Sprintf("%s is written out: caddy adapt and the admin API show it; use a placeholder, "+
			"for example {env.%s} or {file./run/secrets/%[2]s}", what, env),
		zap.String("file", d.File()), zap.Int("line", d.Line()))
}
