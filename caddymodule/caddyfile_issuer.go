package caddymodule

import (
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/oauth2-passport/caddy-passport/issuer"
	"github.com/oauth2-passport/caddy-passport/issuer/keys"
	"github.com/oauth2-passport/caddy-passport/store"
)

// unmarshalCaddyfile reads the block of the global option passport; d stands at the last token before it. Syntax:
//
//	{
//	    issuer  <url>
//	    storage <module> {              # badger
//	        ...
//	    }
//	    keys [<algorithm>] {            # ES256, ES384, RS256, PS256 or EdDSA
//	        rotate           <duration>
//	        private_key      <pem|jwk>  # better {env.*} or {file.*}
//	        private_key_file <path>
//	        encryption_key   <key>      # of what is kept in the storage; better {env.*} or {file.*}
//	        former_encryption_key <key>
//	    }
//	    scope <name> [<description>] {
//	        includes <scope...>
//	        restricted
//	    }
//	    default_scopes <scope...>
//	    grants         <grant...>
//	    lifetime       <what> <duration>  # access_token, refresh_token, refresh_token_absolute, personal_access_token,
//	                                      # authorization_code, device_code, session, session_idle
//	    refresh_grace  <duration>
//	    revocation_lag <duration> [refuse|allow]
//	    purge          <duration>|off
//	    client <id> {
//	        name          <name>        # what people read; default: the ID
//	        secret        <secret>      # {env.*}, {file.*}, or itself: then only its hash is kept
//	        grants        <grant...>
//	        scopes        <scope...>
//	        redirect_uris <uri...>
//	        lifetime      access_token <duration>
//	        public
//	        first_party
//	        resource_server
//	    }
//	    user <name> {
//	        ...                         # see parseUser
//	    }
//	    users <module> {                # htpasswd or http
//	        ...
//	    }
//	    pages       <folder>
//	    brand       [<name>] {
//	        ...                         # see parseBrand
//	    }
//	    xsrf_cookie <name>
//	}
//
// scope, lifetime, client, user and users may be repeated.
func (c *Issuer) unmarshalCaddyfile(d *caddyfile.Dispenser) error {
	var lifetimes Lifetimes
	options := map[string]option{
		"issuer":         text(&c.Identifier),
		"storage":        {parse: c.parseStorage},
		"keys":           {parse: c.parseKeys},
		"scope":          {parse: c.parseScope, many: true},
		"default_scopes": list(&c.DefaultScopes),
		"grants":         list(&c.Grants),
		"lifetime": lifetime(map[string]*caddy.Duration{
			"access_token":           &lifetimes.AccessToken,
			"refresh_token":          &lifetimes.RefreshToken,
			"refresh_token_absolute": &lifetimes.RefreshTokenAbsolute,
			"personal_access_token":  &lifetimes.PersonalAccessToken,
			"authorization_code":     &lifetimes.AuthorizationCode,
			"device_code":            &lifetimes.DeviceCode,
			"session":                &lifetimes.Session,
			"session_idle":           &lifetimes.SessionIdle,
		}),
		"refresh_grace":  duration(&c.RefreshGrace),
		"revocation_lag": {parse: c.parseLag},
		"purge":          {parse: c.parsePurge},
		"client":         {parse: c.parseClient, many: true},
		"user":           {parse: c.parseUser, many: true},
		"users":          {parse: c.parseUsers, many: true},
		"pages":          text(&c.Pages),
		"brand":          {parse: c.parseBrand},
		"xsrf_cookie":    {parse: c.parseXSRFCookie},
	}
	for name, opt := range options {
		parse := opt.parse
		opt.parse = func(d *caddyfile.Dispenser) error {
			scopes, clients := len(c.Scopes), len(c.Clients)
			if err := parse(d); err != nil {
				return err
			}
			if lifetimes != (Lifetimes{}) {
				c.Lifetimes = &lifetimes
			}
			return c.check(d, c.Scopes[scopes:], c.Clients[clients:], c.grantsSoFar())
		}
		options[name] = opt
	}
	if err := parseBlock(d, "passport", options); err != nil {
		return err
	}
	return c.check(d, c.Scopes, c.Clients, c.Grants)
}

// grantsSoFar are the grants that a client may name: before the line that says which, any of them.
func (c *Issuer) grantsSoFar() []string {
	if len(c.Grants) == 0 {
		return issuer.KnownGrants()
	}
	return c.Grants
}

// check holds what has been read of the block against the rules of package issuer, so that an error has the line. What
// stands behind placeholders is checked when they are replaced.
func (c *Issuer) check(d *caddyfile.Dispenser, scopes []Scope, clients []Client, grants []string) error {
	draft := *c
	draft.Scopes, draft.Grants = scopes, grants
	if draft.Lifetimes == nil {
		draft.Lifetimes = new(Lifetimes)
	}
	if hasPlaceholder(draft.Identifier) {
		draft.Identifier = ""
	}
	for _, client := range clients {
		if client.Secret != "" {
			client.SecretHash = store.HashSecret("")
		}
		client.RedirectURIs = slices.DeleteFunc(slices.Clone(client.RedirectURIs), hasPlaceholder)
		draft.clients = append(draft.clients, client.record())
	}
	for i := range c.Users {
		hash := c.Users[i].PasswordHash
		if hasPlaceholder(hash) {
			hash = issuer.SomePasswordHash
		}
		draft.users = append(draft.users, c.Users[i].person(hash))
	}
	draft.Pages, draft.Brand = "", nil // the files are not here where a config is adapted for another machine
	if err := issuer.Check(draft.issuerConfig()); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

func (c *Issuer) parseStorage(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.ArgErr()
	}
	name := d.Val()
	if _, err := caddy.GetModule("passport.storage." + name); err != nil {
		var names []string
		for _, module := range caddy.GetModules("passport.storage") {
			names = append(names, module.ID.Name())
		}
		return d.Errf("unknown storage %q: there is %s", name, known(names))
	}
	storage, err := caddyfile.UnmarshalModule(d, "passport.storage."+name)
	if err != nil {
		return err
	}
	c.StorageRaw = caddyconfig.JSONModuleObject(storage, "module", name, nil)
	return nil
}

func (c *Issuer) parseKeys(d *caddyfile.Dispenser) error {
	c.Keys = new(Keys)
	if d.NextArg() {
		c.Keys.Algorithm = d.Val()
		if err := checkAlgorithm(c.Keys.Algorithm); err != nil {
			return d.WrapErr(err)
		}
	}
	if d.NextArg() {
		return d.ArgErr()
	}
	checkKey := func(key string) error {
		_, err := keys.Parse([]byte(key), keys.Algorithm(c.Keys.Algorithm))
		return err
	}
	err := parseBlock(d, "keys", map[string]option{
		"rotate":           duration(&c.Keys.Rotate),
		"private_key":      secretText(&c.Keys.PrivateKey, "the private key", "PASSPORT_PRIVATE_KEY", checkKey),
		"private_key_file": text(&c.Keys.PrivateKeyFile),
		"encryption_key":   secretText(&c.Keys.EncryptionKey, "the encryption key", encryptionEnv, checkEncryptionKey),
		"former_encryption_key": secretText(
			&c.Keys.FormerEncryptionKey, "the encryption key", encryptionEnv, checkEncryptionKey),
	})
	if err != nil {
		return err
	}
	if err := c.Keys.validate(); err != nil {
		return d.Errf("keys: %w", err)
	}
	return nil
}

func (c *Issuer) parseScope(d *caddyfile.Dispenser) error {
	var s Scope
	args := d.RemainingArgs()
	switch len(args) {
	case 2:
		s.Description = args[1]
		fallthrough
	case 1:
		s.Name = args[0]
	default:
		return d.ArgErr()
	}
	if s.Name == "" {
		return d.Err("the name of the scope is empty")
	}
	for _, other := range c.Scopes {
		if other.Name == s.Name {
			return d.Errf("the scope %q is defined twice", s.Name)
		}
	}
	err := parseBlock(d, "scope", map[string]option{
		"includes":   list(&s.Includes),
		"restricted": flag(&s.Restricted),
	})
	c.Scopes = append(c.Scopes, s)
	return err
}

func (c *Issuer) parseClient(d *caddyfile.Dispenser) error {
	var client Client
	if err := parseText(d, &client.ID); err != nil {
		return err
	}
	for _, other := range c.Clients {
		if other.ID == client.ID {
			return d.Errf("the client %q is defined twice", client.ID)
		}
	}
	err := parseBlock(d, "client", map[string]option{
		"name":            text(&client.Name),
		"secret":          {parse: client.parseSecret},
		"grants":          list(&client.Grants),
		"scopes":          list(&client.Scopes),
		"redirect_uris":   list(&client.RedirectURIs),
		"lifetime":        lifetime(map[string]*caddy.Duration{"access_token": &client.AccessTokenLifetime}),
		"public":          flag(&client.Public),
		"first_party":     flag(&client.FirstParty),
		"resource_server": flag(&client.ResourceServer),
	})
	if err != nil {
		return err
	}
	if err := client.checkSecret(); err != nil {
		return d.Errf("client %q: %w", client.ID, err)
	}
	c.Clients = append(c.Clients, client)
	return nil
}

// parseSecret keeps of a secret that is written out its hash alone.
func (c *Client) parseSecret(d *caddyfile.Dispenser) error {
	var secret string
	literal, err := parseSecret(d, &secret)
	if err != nil {
		return err
	}
	if !literal {
		c.Secret = secret
		return nil
	}
	if c.SecretHash, err = hashClientSecret(secret); err != nil {
		return d.Errf("secret: %w", err)
	}
	return nil
}

// lifetime reads the name of what lives and for how long; each name once.
func lifetime(of map[string]*caddy.Duration) option {
	return option{many: true, parse: func(d *caddyfile.Dispenser) error {
		if !d.NextArg() {
			return d.ArgErr()
		}
		into, ok := of[d.Val()]
		if !ok {
			return d.Errf("unknown lifetime %q: there is %s", d.Val(), knownKeys(of))
		}
		if *into != 0 {
			return d.Errf("the lifetime of %q is repeated", d.Val())
		}
		return parseDuration(d, into)
	}}
}
