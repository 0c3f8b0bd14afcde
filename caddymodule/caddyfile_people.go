package caddymodule

import (
	"errors"
	"os"
	"regexp"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/oauth2-passport/caddy-passport/issuer/pages"
)

// errPassword is the fault of a password in the config.
var errPassword = errors.New("a password does not belong into the config, password_hash does: " + howToHash)

// parseUser reads a person of the config. Syntax:
//
//	user <name> {
//	    password_hash <hash>    # argon2id or bcrypt; or {env.*}, {file.*}
//	    email         <address>
//	    scopes        <scope...>
//	}
func (c *Issuer) parseUser(d *caddyfile.Dispenser) error {
	var user User
	if err := parseText(d, &user.Name); err != nil {
		return err
	}
	err := parseBlock(d, "user", map[string]option{
		"password_hash": {parse: user.parseHash},
		"email":         text(&user.Email),
		"scopes":        list(&user.Scopes),
		"password":      {parse: func(d *caddyfile.Dispenser) error { return d.WrapErr(errPassword) }},
	})
	if err != nil {
		return err
	}
	if user.PasswordHash == "" {
		return d.Errf("user %q has no password_hash: %s", user.Name, howToHash)
	}
	c.Users = append(c.Users, user)
	return nil
}

func (u *User) parseHash(d *caddyfile.Dispenser) error {
	literal, err := parseSecret(d, &u.PasswordHash)
	if err != nil {
		return err
	}
	if literal {
		if err := checkPasswordHash(u.PasswordHash); err != nil {
			return d.Errf("password_hash: %w", err)
		}
	}
	return nil
}

// parseUsers reads a source of people: a module of the namespace passport.users, with what that takes.
func (c *Issuer) parseUsers(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.ArgErr()
	}
	name := d.Val()
	if _, err := caddy.GetModule("passport.users." + name); err != nil {
		var names []string
		for _, module := range caddy.GetModules("passport.users") {
			names = append(names, module.ID.Name())
		}
		return d.Errf("unknown source of people %q: there is %s", name, known(names))
	}
	source, err := caddyfile.UnmarshalModule(d, "passport.users."+name)
	if err != nil {
		return err
	}
	c.UserSourcesRaw = append(c.UserSourcesRaw, caddyconfig.JSONModuleObject(source, "module", name, nil))
	return nil
}

// parseBrand reads what the pages look like. Syntax:
//
//	brand [<name>] {
//	    logo  <path>
//	    color <#rgb|#rrggbb>
//	}
func (c *Issuer) parseBrand(d *caddyfile.Dispenser) error {
	c.Brand = new(Brand)
	if d.NextArg() {
		if c.Brand.Name = d.Val(); c.Brand.Name == "" {
			return d.Err("the name of the brand is empty")
		}
	}
	if d.NextArg() {
		return d.ArgErr()
	}
	err := parseBlock(d, "brand", map[string]option{"logo": text(&c.Brand.Logo), "color": {parse: c.Brand.parseColor}})
	if err != nil {
		return err
	}
	// The logo is not here where a config is adapted for another machine.
	if err := pages.Brand(*c.Brand).Check(); err != nil {
		return d.Errf("brand: %w", err)
	}
	return nil
}

// commentedColor is a colour that the Caddyfile takes for a comment.
var commentedColor = regexp.MustCompile(`^\s*color\s+(#[0-9A-Fa-f]{3,6})\s*$`)

// parseColor reads a colour. Without quotation marks it is a comment to Caddy, for it begins with #. Everybody writes
// it so; then it is read from the line itself, where the file is at hand.
func (b *Brand) parseColor(d *caddyfile.Dispenser) error {
	if d.CountRemainingArgs() > 0 {
		return parseText(d, &b.Color)
	}
	if found := commentedColor.FindStringSubmatch(lineOf(d.File(), d.Line())); found != nil {
		b.Color = found[1]
		return nil
	}
	return d.Err(`there is no color: put it into quotation marks, as in color "#0a5", for # begins a comment`)
}

// lineOf is a line of a file; empty when it cannot be read.
func lineOf(file string, number int) string {
	content, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	n := 0
	for line := range strings.Lines(string(content)) {
		if n++; n == number {
			return line
		}
	}
	return ""
}

// sourceName reads the name by which the people of a source are kept.
func sourceName(into *string) option {
	return option{parse: func(d *caddyfile.Dispenser) error {
		if err := parseText(d, into); err != nil {
			return err
		}
		if err := checkSourceName(*into); err != nil {
			return d.WrapErr(err)
		}
		return nil
	}}
}

// UnmarshalCaddyfile reads the module. Syntax:
//
//	http <url> {
//	    format  form|json
//	    timeout <duration>
//	    header  <name> <value>    # better {env.*} or {file.*}; may be repeated
//	    ca      <file>
//	    name    <name>            # default: http
//	    plain_http
//	}
func (h *HTTPUsers) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the module's name
	if err := parseText(d, &h.URL); err != nil {
		return err
	}
	err := parseBlock(d, "users http", map[string]option{
		"format": {parse: func(d *caddyfile.Dispenser) error {
			if err := parseText(d, &h.Format); err != nil {
				return err
			}
			return wrap(d, checkFormat(h.Format))
		}},
		"timeout": {parse: func(d *caddyfile.Dispenser) error {
			if err := parseDuration(d, &h.Timeout); err != nil {
				return err
			}
			return wrap(d, checkUsersTimeout(h.Timeout))
		}},
		"header":     {parse: h.parseHeader, many: true},
		"ca":         text(&h.CA),
		"name":       sourceName(&h.SourceName),
		"plain_http": flag(&h.PlainHTTP),
	})
	if err != nil || hasPlaceholder(h.URL) {
		return err
	}
	return wrap(d, h.checkURL())
}

// parseHeader reads a header field. Its value may be a secret, and is treated like one.
func (h *HTTPUsers) parseHeader(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.ArgErr()
	}
	name := d.Val()
	if _, ok := h.Headers[name]; ok {
		return d.Errf("the header %s is repeated", name)
	}
	var value string
	check := func(value string) error { return checkUsersHeader(name, value) }
	err := secretText(&value, "the header of a source of people", "LEGACY_KEY", check).parse(d)
	if err != nil {
		return err
	}
	if err := checkUsersHeader(name, ""); err != nil {
		return d.Errf("header %s: %w", name, err)
	}
	if h.Headers == nil {
		h.Headers = make(map[string]string)
	}
	h.Headers[name] = value
	return nil
}

// wrap gives an error the line; nil stays nil.
func wrap(d *caddyfile.Dispenser, err error) error {
	if err == nil {
		return nil
	}
	return d.WrapErr(err)
}

// Interface guards
var _ caddyfile.Unmarshaler = (*HTTPUsers)(nil)

func (c *Issuer) parseXSRFCookie(d *caddyfile.Dispenser) error {
	if err := parseText(d, &c.XSRFCookie); err != nil {
		return err
	}
	if err := checkXSRFCookie(c.XSRFCookie); err != nil {
		return d.Errf("xsrf_cookie: %w", err)
	}
	return nil
}
