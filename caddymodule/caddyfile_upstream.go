package caddymodule

import (
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// parseUpstreamAuth reads the option upstream_auth of passport_auth. Syntax:
//
//	upstream_auth basic  <user> <password>
//	upstream_auth header <name> <value>
//	upstream_auth jwt {
//	    audience <value...>
//	    header   <name>      # default: Authorization, with Bearer in front
//	    lifetime <duration>  # default: 5m
//	}
func (a *Auth) parseUpstreamAuth(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.ArgErr()
	}
	u := new(UpstreamAuth)
	a.UpstreamAuth = u
	switch kind := d.Val(); kind {
	case "basic":
		u.Basic = new(UpstreamBasic)
		if !d.AllArgs(&u.Basic.Username, &u.Basic.Password) {
			return d.ArgErr()
		}
		if isLiteralCredential(u.Basic.Username) && strings.Contains(u.Basic.Username, ":") {
			return d.Err("upstream_auth basic: the user has a colon")
		}
		return checkCredentials(d, u.Basic.Username, u.Basic.Password,
			"the password of the upstream", "LEGACY_PASSWORD")
	case "header":
		u.Header = new(UpstreamHeader)
		if !d.AllArgs(&u.Header.Name, &u.Header.Value) {
			return d.ArgErr()
		}
		u.Header.Name = http.CanonicalHeaderKey(u.Header.Name)
		if err := checkCredentialField(u.Header.Name); err != nil {
			return d.WrapErr(err)
		}
		return checkCredentials(d, u.Header.Name, u.Header.Value, "the credential of the upstream", "LEGACY_API_KEY")
	case "jwt":
		return u.parseJWT(d)
	default:
		return d.Errf("unknown upstream_auth %q: there is basic, header, jwt", kind)
	}
}

func (u *UpstreamAuth) parseJWT(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	u.JWT = new(UpstreamJWT)
	err := parseBlock(d, "upstream_auth jwt", map[string]option{
		"audience": list(&u.JWT.Audience),
		"header": {parse: func(d *caddyfile.Dispenser) error {
			if err := parseText(d, &u.JWT.Header); err != nil {
				return err
			}
			u.JWT.Header = http.CanonicalHeaderKey(u.JWT.Header)
			if err := checkUpstreamHeader(u.JWT.Header); err != nil {
				return d.WrapErr(err)
			}
			return nil
		}},
		"lifetime": {parse: func(d *caddyfile.Dispenser) error {
			if err := parseDuration(d, &u.JWT.Lifetime); err != nil {
				return err
			}
			if err := checkInternalLifetime(time.Duration(u.JWT.Lifetime)); err != nil {
				return d.WrapErr(err)
			}
			return nil
		}},
	})
	if err != nil {
		return err
	}
	if len(u.JWT.Audience) == 0 {
		return d.Err("upstream_auth jwt: it has no audience")
	}
	return nil
}

// checkCredentialField tells whether a credential may stand in the header field. Authorization may have it here, for
// the token has been taken from there.
func checkCredentialField(name string) error {
	if name == "Authorization" {
		return nil
	}
	return checkUpstreamHeader(name)
}

// checkCredentials checks the two arguments of a credential, and warns when the second, a secret, is written out.
func checkCredentials(d *caddyfile.Dispenser, first, second, what, env string) error {
	for _, value := range []string{first, second} {
		if value == "" {
			return d.Err("the argument is empty")
		}
		if err := checkCredential(value); err != nil {
			return d.Errf("upstream_auth: %w", err)
		}
	}
	if isLiteralCredential(second) {
		warnLiteral(d, what, env)
	}
	return nil
}
