package caddymodule

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/oauth2-passport/caddy-passport/issuer"
	"github.com/oauth2-passport/caddy-passport/issuer/keys"
	"github.com/oauth2-passport/caddy-passport/issuer/pages"
	"github.com/oauth2-passport/caddy-passport/store"
)

// issuerConfig is the config as package issuer has it, without what has to be open.
func (c *Issuer) issuerConfig() issuer.Config {
	scopes := make([]issuer.Scope, 0, len(c.Scopes))
	for _, s := range c.Scopes {
		scopes = append(scopes, issuer.Scope(s))
	}
	return issuer.Config{
		Identifier:    c.Identifier,
		Scopes:        scopes,
		DefaultScopes: c.DefaultScopes,
		Grants:        c.Grants,
		Lifetimes: issuer.Lifetimes{
			AccessToken:          time.Duration(c.Lifetimes.AccessToken),
			RefreshToken:         time.Duration(c.Lifetimes.RefreshToken),
			RefreshTokenAbsolute: time.Duration(c.Lifetimes.RefreshTokenAbsolute),
			PersonalAccessToken:  time.Duration(c.Lifetimes.PersonalAccessToken),
			AuthorizationCode:    time.Duration(c.Lifetimes.AuthorizationCode),
			DeviceCode:           time.Duration(c.Lifetimes.DeviceCode),
			Session:              time.Duration(c.Lifetimes.Session),
			SessionIdle:          time.Duration(c.Lifetimes.SessionIdle),
		},
		Clients:      c.clients,
		Users:        c.users,
		Sources:      c.sources,
		RefreshGrace: time.Duration(c.RefreshGrace),
		Pages:        c.pagesConfig(),
		XSRFCookie:   c.XSRFCookie,
	}
}

// validate checks the config of the issuer of that name. It changes nothing.
func (c *Issuer) validate(name string) error {
	if err := checkIssuerName(name); err != nil {
		return err
	}
	if err := c.Keys.validate(); err != nil {
		return fmt.Errorf("keys: %w", err)
	}
	if err := c.RevocationLag.validate(); err != nil {
		return fmt.Errorf("revocation_lag: %w", err)
	}
	if err := c.Purge.validate(); err != nil {
		return fmt.Errorf("purge: %w", err)
	}
	if err := checkXSRFCookie(c.XSRFCookie); err != nil {
		return fmt.Errorf("xsrf_cookie: %w", err)
	}
	for i := range c.Clients {
		if err := c.Clients[i].checkSecret(); err != nil {
			return fmt.Errorf("client %q: %w", c.Clients[i].ID, err)
		}
	}
	if err := issuer.Check(c.issuerConfig()); err != nil {
		return err
	}
	if c.Pages == "" && c.Brand == nil {
		return nil
	}
	_, err := pages.New(c.pagesConfig())
	return err
}

func (k *Keys) validate() error {
	if err := checkAlgorithm(k.Algorithm); err != nil {
		return err
	}
	switch {
	case k.FormerEncryptionKey != "" && k.EncryptionKey == "":
		return errors.New("former_encryption_key is given without encryption_key: give both, or neither")
	case k.Rotate < 0:
		return errors.New("rotate is below zero")
	case k.PrivateKey != "" && k.PrivateKeyFile != "":
		return errors.New("private_key and private_key_file are both given: remove one")
	case k.Rotate > 0 && (k.PrivateKey != "" || k.PrivateKeyFile != ""):
		return errors.New("a private key from outside does not rotate: remove rotate, or the private key")
	}
	return nil
}

// checkSecret checks that the client has a secret, or is public. The rest of what a client has to be is the issuer's to
// say.
func (c *Client) checkSecret() error {
	has := c.Secret != "" || c.SecretHash != ""
	switch {
	case c.Public && has:
		return errors.New("it is public and has a secret: remove one of the two")
	case !c.Public && !has:
		return errors.New("it has no secret: give it one, or make it public")
	case c.SecretHash != "" && !isHash(c.SecretHash):
		return errors.New("its secret_hash is no SHA-256 in hexadecimal")
	}
	return nil
}

// checkIssuerName checks the name of an issuer. It is a folder's name, too.
func checkIssuerName(name string) error {
	other := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
	}
	switch {
	case name == "off":
		return errors.New(`no issuer can have the name "off"`)
	case name == "" || len(name) > 64 || strings.ContainsFunc(name, other):
		return fmt.Errorf("%q can't be an issuer's name: that has letters, digits, - and _, 64 at most", name)
	}
	return nil
}

func checkAlgorithm(name string) error {
	_, err := keys.ParseAlgorithm(name)
	return err
}

// checkPrefix checks the path that an issuer's endpoints have in front. It is compared with paths from which the
// percent-encoding has been taken.
func checkPrefix(prefix string) error {
	if !strings.HasPrefix(prefix, "/") || path.Clean(prefix) != prefix ||
		strings.ContainsAny(prefix, "*{}?#%\\ \"") || strings.HasPrefix(prefix+"/", "/.well-known/") {
		return fmt.Errorf("the prefix %q is no plain path like /oauth", prefix)
	}
	return nil
}

func isHash(s string) bool {
	notHex := func(r rune) bool { return !strings.ContainsRune("0123456789abcdefABCDEF", r) }
	return len(s) == len(store.HashSecret("")) && !strings.ContainsFunc(s, notHex)
}
