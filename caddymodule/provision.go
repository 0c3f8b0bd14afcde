package caddymodule

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2"

	"github.com/oauth2-passport/caddy-passport/issuer/keys"
	"github.com/oauth2-passport/caddy-passport/store"
	"github.com/oauth2-passport/caddy-passport/store/badgerstore"
)

// minSecretLength is how many characters a client's secret has at least. Secrets of clients are guessed at without a
// limit, so they must be beyond guessing.
const minSecretLength = 32

// provision sets the defaults, replaces placeholders and loads the storage module, which opens nothing yet.
func (c *Issuer) provision(ctx caddy.Context) error {
	var err error
	if c.Identifier, err = replace(c.Identifier); err != nil {
		return fmt.Errorf("issuer: %w", err)
	}
	if c.StorageRaw == nil {
		c.storage = new(Badger)
	} else {
		module, err := ctx.LoadModule(c, "StorageRaw")
		if err != nil {
			return fmt.Errorf("storage: %w", err)
		}
		c.storage = module.(Storage)
	}
	if c.Keys == nil {
		c.Keys = new(Keys)
	}
	if c.key, err = c.Keys.load(); err != nil {
		return fmt.Errorf("keys: %w", err)
	}
	if c.keySecrets, err = c.Keys.secrets(); err != nil {
		return fmt.Errorf("keys: %w", err)
	}
	if c.Lifetimes == nil {
		c.Lifetimes = new(Lifetimes)
	}
	c.clients = make([]store.Client, 0, len(c.Clients))
	c.clientIDs = make(map[string]struct{}, len(c.Clients))
	for i := range c.Clients {
		client, err := c.Clients[i].provision()
		if err != nil {
			return fmt.Errorf("client %q: %w", c.Clients[i].ID, err)
		}
		c.clients = append(c.clients, client)
		c.clientIDs[client.ID] = struct{}{}
	}
	return c.provisionPeople(ctx)
}

// load reads the private key that the config gives, nil if it gives none.
func (k *Keys) load() (*keys.Key, error) {
	switch {
	case k.PrivateKey != "":
		data, err := reveal(k.PrivateKey)
		if err != nil {
			return nil, fmt.Errorf("private_key: %w", err)
		}
		key, err := keys.Parse([]byte(data), keys.Algorithm(k.Algorithm))
		if err != nil {
			return nil, fmt.Errorf("private_key: %w", err)
		}
		return key, nil
	case k.PrivateKeyFile != "":
		name, err := replace(k.PrivateKeyFile)
		if err != nil {
			return nil, fmt.Errorf("private_key_file: %w", err)
		}
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("private_key_file: %w", err)
		}
		key, err := keys.Parse(data, keys.Algorithm(k.Algorithm))
		if err != nil {
			return nil, fmt.Errorf("private_key_file %s: %w", name, err)
		}
		return key, nil
	}
	return nil, nil
}

// secrets are what stored keys are encrypted with, the former one last.
func (k *Keys) secrets() (secrets [][]byte, err error) {
	for _, s := range []struct{ name, value string }{
		{"encryption_key", k.EncryptionKey}, {"former_encryption_key", k.FormerEncryptionKey},
	} {
		if s.value == "" {
			continue
		}
		text, err := reveal(s.value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
		secret, err := badgerstore.ParseKey(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
		secrets = append(secrets, secret)
	}
	return secrets, nil
}

// provision replaces placeholders and makes the client's record.
func (c *Client) provision() (store.Client, error) {
	if c.Secret != "" {
		secret, err := reveal(c.Secret)
		if err != nil {
			return store.Client{}, fmt.Errorf("secret: %w", err)
		}
		hash, err := hashClientSecret(secret)
		if err != nil {
			return store.Client{}, fmt.Errorf("secret: %w", err)
		}
		if c.SecretHash != "" {
			return store.Client{}, errors.New("secret and secret_hash are both given: remove one")
		}
		c.SecretHash = hash
	}
	for i, uri := range c.RedirectURIs {
		var err error
		if c.RedirectURIs[i], err = replace(uri); err != nil {
			return store.Client{}, fmt.Errorf("redirect_uris: %w", err)
		}
	}
	return c.record(), nil
}

// record is the client as package issuer has it.
func (c *Client) record() store.Client {
	return store.Client{
		ID:                  c.ID,
		Name:                cmp.Or(c.Name, c.ID),
		SecretHash:          strings.ToLower(c.SecretHash),
		Public:              c.Public,
		Grants:              c.Grants,
		Scopes:              c.Scopes,
		RedirectURIs:        c.RedirectURIs,
		FirstParty:          c.FirstParty,
		ResourceServer:      c.ResourceServer,
		AccessTokenLifetime: time.Duration(c.AccessTokenLifetime),
	}
}

// hashClientSecret returns what is kept of a client's secret.
func hashClientSecret(secret string) (string, error) {
	if n := utf8.RuneCountInString(secret); n < minSecretLength {
		return "", fmt.Errorf("it has %d characters, a client's secret has at least %d: "+
			"make one with `openssl rand -hex 32`", n, minSecretLength)
	}
	return store.HashSecret(secret), nil
}

// replace replaces the placeholders of s. One that is unknown or comes out empty is an error: an option that lost its
// value must not fall back to a default.
func replace(s string) (string, error) {
	return caddy.NewReplacer().ReplaceFunc(s, func(name string, value any) (any, error) {
		if caddy.ToString(value) != "" {
			return value, nil
		}
		if env, ok := strings.CutPrefix(name, "env."); ok {
			return nil, fmt.Errorf("the placeholder {%s} is empty: set the environment variable %s", name, env)
		}
		if file, ok := strings.CutPrefix(name, "file."); ok {
			return nil, fmt.Errorf("the placeholder {%s} is empty: the file %s can't be read, or is empty", name, file)
		}
		return nil, fmt.Errorf("the placeholder {%s} is unknown or empty: there are {env.*} and {file.*}", name)
	})
}

// reveal is replace for a secret: that is either one placeholder, or what it is, braces included.
func reveal(s string) (string, error) {
	literal, err := isLiteral(s)
	if err != nil || literal {
		return s, err
	}
	return replace(s)
}

// placeholder is what a secret may be that is read when the config is loaded.
var placeholder = regexp.MustCompile(`^\{(env|file)\.[^{}]+\}$`)

// isLiteral tells whether a secret is written out, rather than a placeholder.
func isLiteral(secret string) (bool, error) {
	switch {
	case placeholder.MatchString(secret):
		return false, nil
	case hasPlaceholder(secret):
		return false, errors.New("a placeholder {env.*} or {file.*} has to be all of it")
	}
	return true, nil
}

func hasPlaceholder(s string) bool {
	return strings.Contains(s, "{env.") || strings.Contains(s, "{file.")
}
