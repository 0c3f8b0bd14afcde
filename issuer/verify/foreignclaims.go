package verify

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// foreignClaims are what another issuer says of a token, in its JWT or when it is asked.
type foreignClaims struct {
	text string // the whole object

	issuer, subject, tokenID, username string
	client, azp                        string
	scope, scp, audience               string // JSON
	expires, issued, notBefore         time.Time
	inactive                           bool // what introspection says of a token that is not good
	active                             bool
	machine                            bool // it says itself that no person is behind it
	other                              bool // it is no access token
	access                             bool // it says, in one of several ways, that it is one
	login                              bool // it tells how a person has signed in, as ID tokens do
	bound                              bool // it is good only together with a key that can't be asked for here
	introspected                       bool // they are the answer of an introspection endpoint
}

// foreignNames are the claims that a source reads.
type foreignNames struct{ scope, username, client string }

// parse reads the claims. It looks at the form alone.
func (c *foreignClaims) parse(text string, names *foreignNames) bool {
	c.text = text
	return object(text, func(name, value string) (ok bool) {
		ok = true
		switch name {
		case "iss":
			c.issuer, ok = plain(value)
		case "sub":
			c.subject, ok = plain(value)
		case "jti":
			c.tokenID, ok = plain(value)
		case "azp":
			c.azp, ok = plain(value)
		case "aud":
			c.audience = value
		case "exp":
			c.expires, ok = numericDate(value)
		case "iat":
			c.issued, ok = numericDate(value)
		case "nbf":
			c.notBefore, ok = numericDate(value)
		case "active":
			c.active, c.inactive = value == "true", value == "false"
		case "cnf": // RFC 7800, RFC 8705 §3.1, RFC 9449 §6
			c.bound = value != "null"
		case "at_hash", "c_hash", "s_hash", "events", "sub_jwk":
			// An ID token (OpenID Connect Core 1.0 §3.3.2.11, §7.4; FAPI 1.0 part 2 §5.1), a logout token.
			c.other = true
		case "typ", "token_use", "tokenName", "purpose": // Keycloak's, Cognito's, ForgeRock's, Curity's
			kind, _ := unquote(value)
			c.other = c.other || slices.Contains(otherKinds, kind)
			c.access = c.access || slices.Contains(accessKinds, kind)
		case "token_type":
			if c.introspected && value != "null" {
				c.ofType(value)
			}
		case "idtyp", "gty": // Microsoft's, Auth0's
			kind, _ := unquote(value)
			c.machine = c.machine || kind == "app" || kind == "client-credentials"
			c.access = true
		case "scope", "scp", "client_id", "cid", "appid": // a client is `azp` in an ID token
			c.access = c.access || value != "null"
		case "nonce", "auth_time", "sid":
			// OpenID Connect Core 1.0 §2, Front-Channel Logout 1.0 §3.
			c.login = c.login || value != "null"
		}
		if !ok {
			return false
		}
		// Another issuer may have any of them in any claim.
		if name == cmp.Or(names.scope, "scope") {
			c.scope = value
		} else if name == "scp" && names.scope == "" {
			c.scp = value
		}
		if name == names.username {
			if c.username, ok = plain(value); !ok && value != "null" {
				return false
			}
		}
		if name == cmp.Or(names.client, "client_id") {
			if c.client, ok = oneText(value); !ok {
				return false
			}
		}
		return true
	})
}

// What issuers say of the kind of a token in its claims.
var (
	otherKinds  = []string{"ID", "Refresh", "Offline", "Logout", "id", "refresh", "id_token", "refresh_token"}
	accessKinds = []string{"Bearer", "access", "access_token"}
)

// ofType reads what an introspection endpoint says of the type of a token (RFC 7662 §2.2): how an access token is sent
// (RFC 6749 §7.1), or with Salesforce and others that it is one. What is another thing, such as a refresh token, is no
// access token; of what is unknown nobody can tell (RFC 8693 §2.2.1 has "N_A" for what is none).
func (c *foreignClaims) ofType(value string) {
	kind, _ := unquote(value)
	switch strings.ToLower(kind) {
	case "bearer", "access_token":
	case "dpop", "pop": // RFC 9449 §5, RFC 9200 §5.8.2
		c.bound = true
	default:
		c.other = true
	}
}

// oneText decodes a string, or an array of one: some issuers have their `aud` so.
func oneText(value string) (string, bool) {
	if s, ok := plain(value); ok {
		return s, true
	}
	list, ok := parseAudience(value)
	if !ok || len(list) != 1 {
		return "", false
	}
	return plain(`"` + list[0] + `"`)
}

// foreignScopes decodes scopes: a string with spaces between them, or an array.
func foreignScopes(value string) (scope string, list []string, ok bool) {
	switch value {
	case "", "null", "[]":
		return "", nil, true
	}
	if scope, ok = unquote(value); ok {
		scope = strings.Join(strings.Fields(scope), " ")
		list, ok = parseScope(scope)
		return scope, list, ok
	}
	if list, ok = parseAudience(value); !ok {
		return "", nil, false
	}
	for _, one := range list {
		if parts, ok := parseScope(one); !ok || len(parts) != 1 {
			return "", nil, false
		}
	}
	return strings.Join(list, " "), list, true
}

// identity makes an entry of the claims. What has to be there is for who calls to have checked.
func (c *foreignClaims) identity(x *External, now time.Time, names *foreignNames) (*entry, error) {
	if c.other || c.login && !c.access {
		return nil, ErrType
	}
	if c.bound {
		return nil, ErrBound
	}
	if !now.Before(c.expires) {
		return nil, ErrExpired
	}
	if now.Add(maxSkew).Before(c.notBefore) || now.Add(maxSkew).Before(c.issued) {
		return nil, ErrNotYetValid
	}
	raw := c.scope
	if raw == "" {
		raw = c.scp
	}
	scope, scopes, ok := foreignScopes(raw)
	if !ok {
		return nil, ErrMalformed
	}
	var audience []string
	if c.audience != "" && c.audience != "[]" && c.audience != "null" {
		if audience, ok = parseAudience(c.audience); !ok {
			return nil, ErrMalformed
		}
	}
	client := c.client
	if client == "" && names.client == "" {
		client = c.azp
	}
	e := &entry{Identity: Identity{
		Issuer:    x.name,
		Subject:   cmp.Or(c.subject, client),
		ClientID:  client,
		TokenID:   c.tokenID,
		Scope:     scope,
		Scopes:    scopes,
		Audience:  audience,
		IssuedAt:  c.issued,
		ExpiresAt: c.expires,
		external:  x,
		claims:    c.text,
	}}
	if !c.ofMachine(client) {
		e.UserID, e.Username = c.subject, c.username
	}
	return e, nil
}

// ofMachine tells whether the token stands for a client acting for itself. RFC 9068 §2.2 says that by a `sub` that is
// the client's; issuers from before it have their own ways. A client must not pass as a person (RFC 9700 §4.15).
func (c *foreignClaims) ofMachine(client string) bool {
	return c.machine || c.subject == "" || c.subject == client ||
		client != "" && (c.subject == client+"@clients" || // Auth0
			strings.EqualFold(c.username, "service-account-"+client)) // Keycloak
}

// read makes an entry of the claims of a JWT, once the signature is known to be good.
func (t *trust) read(token *compact, h *header, now time.Time) (*entry, error) {
	text, ok := decodeString(token.payload)
	if !ok {
		return nil, ErrMalformed
	}
	names := foreignNames{t.scopeClaim, t.usernameClaim, t.clientClaim}
	c := foreignClaims{access: h.accessToken()}
	if !c.parse(text, &names) {
		return nil, ErrMalformed
	}
	if c.issuer != t.issuer {
		return nil, ErrIssuer
	}
	if c.expires.IsZero() || c.subject == "" && (!t.laravel || c.client == "") {
		return nil, ErrMalformed
	}
	e, err := c.identity(t.x, now, &names)
	if err != nil {
		return nil, err
	}
	e.all = t.laravel && slices.Contains(e.Scopes, everyScope)
	return e, nil
}
