package caddymodule

import (
	"encoding/json"

	"github.com/caddyserver/caddy/v2"

	"github.com/oauth2-passport/caddy-passport/issuer"
	"github.com/oauth2-passport/caddy-passport/issuer/keys"
	"github.com/oauth2-passport/caddy-passport/store"
)

// Issuer is the config of one issuer of the app passport.
type Issuer struct {
	// Identifier is the issuer identifier: `iss` of tokens and metadata, and the default audience. An https URL without
	// query and fragment. Placeholders {env.*} and {file.*} are replaced. Default: each host is an issuer of its own,
	// named by the scheme and the host of the request.
	Identifier string `json:"issuer,omitempty"`

	// StorageRaw is where clients, tokens and keys are kept: a module of the namespace passport.storage. Default: the
	// module badger with the folder passport/<name of the issuer> in Caddy's data directory.
	StorageRaw json.RawMessage `json:"storage,omitempty" caddy:"namespace=passport.storage inline_key=module"`

	// Keys says how tokens are signed. Default: by ES256 with keys that the issuer makes itself.
	Keys *Keys `json:"keys,omitempty"`

	// Scopes describes the scopes. One that only a route, a client or DefaultScopes names exists too, described by its
	// name. Default: none.
	Scopes []Scope `json:"scopes,omitempty"`

	// DefaultScopes are what a token gets whose client asked for no scope, as far as the client may have them.
	// Default: none; such a token has no scope.
	DefaultScopes []string `json:"default_scopes,omitempty"`

	// Grants are the grants that are on. Default: authorization_code, refresh_token, client_credentials, device_code and
	// personal_access. password and implicit are on only when they are named.
	Grants []string `json:"grants,omitempty"`

	// Lifetimes says how long what the issuer gives out is good.
	Lifetimes *Lifetimes `json:"lifetimes,omitempty"`

	// RevocationLag says what a node does that has lost sight of what other nodes revoke. Default: after 30s it refuses.
	RevocationLag *RevocationLag `json:"revocation_lag,omitempty"`

	// Purge says for how long the records of revoked tokens are kept. Default: for 168h after they were revoked.
	Purge *Purge `json:"purge,omitempty"`

	// Clients are kept here in the config; the API can't change them. Default: none.
	Clients []Client `json:"clients,omitempty"`

	// Users are the people who are kept here in the config; the API can't change them. They come first at sign-in, then
	// the accounts in the storage, then UserSources. Default: none.
	Users []User `json:"users,omitempty"`

	// UserSourcesRaw is where people come from who have no account here: modules of the namespace passport.users, in the
	// order in which they are asked. Default: none.
	UserSourcesRaw []json.RawMessage `json:"user_sources,omitempty" caddy:"namespace=passport.users inline_key=module"`

	// RefreshGrace is how long a refresh token that has been used gives its successor again, for the answer may have been
	// lost. At most 10m. Default: 30s.
	RefreshGrace caddy.Duration `json:"refresh_grace,omitempty"`

	// Pages is a folder with templates, CSS and texts that take the place of ours, by the names of the files. Placeholders
	// {env.*} and {file.*} are replaced. Default: none.
	Pages string `json:"pages,omitempty"`

	// Brand is what the pages look like. Default: no name, no logo, blue.
	Brand *Brand `json:"brand,omitempty"`

	// XSRFCookie is the name of the cookie from which the scripts of a page take what they send as X-XSRF-TOKEN: another
	// one where an upstream on the same host has one of this name. Default: XSRF-TOKEN.
	XSRFCookie string `json:"xsrf_cookie,omitempty"`

	storage    Storage
	key        *keys.Key      // from Keys.PrivateKey or Keys.PrivateKeyFile
	keySecrets [][]byte       // from Keys.EncryptionKey and Keys.FormerEncryptionKey
	clients    []store.Client // Clients, with their secrets hashed
	clientIDs  map[string]struct{}
	users      []issuer.Person // Users, with their placeholders replaced
	sources    []issuer.Source // UserSourcesRaw
	people     *issuer.Directory
}

// Keys says how an issuer signs its tokens.
type Keys struct {
	// Algorithm is ES256, ES384, RS256, PS256 or EdDSA. Default: ES256, or what PrivateKey is made for.
	Algorithm string `json:"algorithm,omitempty"`

	// Rotate is how long a key signs until the next one takes its place. Tokens of the old one stay good until they
	// expire. Not with a private key from outside. Default: 0, keys are rotated on command only.
	Rotate caddy.Duration `json:"rotate,omitempty"`

	// PrivateKey is the signing key itself, as PEM or JWK, instead of keys that the issuer makes; it is never written to
	// the storage. Placeholders {env.*} and {file.*} are replaced: better one of them than the key itself.
	// Default: none.
	PrivateKey string `json:"private_key,omitempty"`

	// EncryptionKey encrypts the private parts of the keys that are kept in the storage: 16, 24 or 32 bytes, in base64 or
	// hexadecimal. Keys that are there already are encrypted when the issuer opens. Without it, or with another one, the
	// issuer does not open then. Placeholders {env.*} and {file.*} are replaced: better one of them than the key itself.
	// Default: none, they are kept as they are.
	EncryptionKey string `json:"encryption_key,omitempty"`

	// FormerEncryptionKey is the EncryptionKey of before, while it is changed: what is encrypted with it is encrypted
	// with EncryptionKey when the issuer opens. Default: none.
	FormerEncryptionKey string `json:"former_encryption_key,omitempty"`

	// PrivateKeyFile is a file with what PrivateKey would have. Placeholders {env.*} are replaced. Default: none.
	PrivateKeyFile string `json:"private_key_file,omitempty"`
}

// Scope describes a scope.
type Scope struct {
	// Name is the scope. Required.
	Name string `json:"name"`

	// Description says to people what the scope lets a client do. Default: the name.
	Description string `json:"description,omitempty"`

	// Includes are the scopes that who has this one has too. Default: none.
	Includes []string `json:"includes,omitempty"`

	// Restricted keeps the scope for clients and users that name it. Default: false, whoever has no list may have it.
	Restricted bool `json:"restricted,omitempty"`
}

// Lifetimes says how long what an issuer gives out is good.
type Lifetimes struct {
	// AccessToken is for access tokens, unless their client has its own. Default: 1h.
	AccessToken caddy.Duration `json:"access_token,omitempty"`

	// RefreshToken is for refresh tokens that are not used. Default: 30d.
	RefreshToken caddy.Duration `json:"refresh_token,omitempty"`

	// RefreshTokenAbsolute is for all that began with one sign-in, however often it is refreshed. Default: 365d, or
	// RefreshToken where that is longer.
	RefreshTokenAbsolute caddy.Duration `json:"refresh_token_absolute,omitempty"`

	// PersonalAccessToken is for personal access tokens. Default: 180d.
	PersonalAccessToken caddy.Duration `json:"personal_access_token,omitempty"`

	// AuthorizationCode is for authorization codes. Default: 60s.
	AuthorizationCode caddy.Duration `json:"authorization_code,omitempty"`

	// DeviceCode is for device codes and their user codes. Default: 10m.
	DeviceCode caddy.Duration `json:"device_code,omitempty"`

	// Session is for a person's browser session, whatever happens in it. Default: 12h.
	Session caddy.Duration `json:"session,omitempty"`

	// SessionIdle is for a browser session in which nothing happens. Default: 2h.
	SessionIdle caddy.Duration `json:"session_idle,omitempty"`
}

// Client is an OAuth client that is kept in the config.
type Client struct {
	// ID is the `client_id`. Required.
	ID string `json:"id"`

	// Name is what people read. Default: the ID.
	Name string `json:"name,omitempty"`

	// Secret is the client's secret, at least 32 characters. Placeholders {env.*} and {file.*} are replaced: better one
	// of them, or SecretHash, than the secret itself. A client that is not public has either of the two.
	Secret string `json:"secret,omitempty"`

	// SecretHash is the SHA-256 of the secret in hexadecimal.
	SecretHash string `json:"secret_hash,omitempty"`

	// Grants are the grants that the client may use. Default: authorization_code and refresh_token with RedirectURIs,
	// else client_credentials, or device_code and refresh_token for a public client.
	Grants []string `json:"grants,omitempty"`

	// Scopes are all that the client may have. Default: every scope that is not restricted.
	Scopes []string `json:"scopes,omitempty"`

	// RedirectURIs are the URIs to which people may be sent back, compared exactly. Placeholders {env.*} and {file.*} are
	// replaced. Default: none.
	RedirectURIs []string `json:"redirect_uris,omitempty"`

	// AccessTokenLifetime is how long the client's access tokens are good. Default: what the issuer's Lifetimes say.
	AccessTokenLifetime caddy.Duration `json:"access_token_lifetime,omitempty"`

	// Public says that the client can't keep a secret, and has none. Default: false.
	Public bool `json:"public,omitempty"`

	// FirstParty says that the client is the operator's own: people are not asked for their consent. Default: false.
	FirstParty bool `json:"first_party,omitempty"`

	// ResourceServer lets the client introspect every token, not only its own. Default: false.
	ResourceServer bool `json:"resource_server,omitempty"`
}
