package verify

import (
	"encoding/json"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// Identity is who a good token, or a browser session, stands for. What it may do is for each route to say. It is shared
// by all requests that carry the token: nobody changes it, or copies it.
type Identity struct {
	Issuer   string   // `iss`; of what is opaque: the one that was expected
	Subject  string   // `sub`
	ClientID string   // `client_id`; "personal_access" of a personal access token, empty of a session
	UserID   string   // the person's; empty when the client acts for itself
	Username string   // `preferred_username`; of a person only
	TokenID  string   // `jti`; the ID of a session
	FamilyID string   // `grant_id`: what it was given by, with all its refreshes; empty: it stands alone
	KeyID    string   // of the key that signed the token; empty of what is opaque
	Scope    string   // `scope`, separated by spaces
	Scopes   []string // the same, one by one
	Audience []string // `aud`, at least one

	IssuedAt  time.Time // `iat`
	ExpiresAt time.Time // `exp`

	born       time.Time                      // what revocations compare with
	all        bool                           // it has every scope
	configured bool                           // its client stood in the config
	external   *External                      // where it comes from; nil: our own issuer
	signer     string                         // which key of another issuer signed it
	answer     *entry                         // that it is of, where an introspection endpoint has been asked
	claims     string                         // the payload of the token
	opaque     *opaque                        // what a personal access token or a session has; nil of a JWT
	person     atomic.Pointer[person]         // as last read; nil: a client's, or a JWT of somebody with an own account
	decoded    atomic.Pointer[map[string]any] // of claims; nil until somebody asks
	derived    atomic.Pointer[any]            // see Derived
}

// Own tells whether our own issuer has given out the token. Subjects and clients of others are not ours, whatever their
// names are.
func (id *Identity) Own() bool { return id.external == nil }

// External is the source of a token that is not our own; nil of one that is.
func (id *Identity) External() *External { return id.external }

// Person tells whether the token was given in the name of a person, rather than to a client for itself
// (RFC 9700 §4.15).
func (id *Identity) Person() bool { return id.UserID != "" }

// Session tells whether it is a browser session, rather than a token: see [Verifier.Session].
func (id *Identity) Session() bool { return id.opaque != nil && id.opaque.session }

// Personal tells whether it is a personal access token.
func (id *Identity) Personal() bool { return id.opaque != nil && !id.opaque.session }

// everyScope is the scope that stands for all, as in Laravel Passport.
const everyScope = "*"

// HasScope tells whether the token has the scope, or `*`, which stands for all.
func (id *Identity) HasScope(scope string) bool {
	return id.all || slices.Contains(id.Scopes, scope)
}

// IntendedFor answers nil when one of audience is among the token's, else [ErrAudience] (RFC 7519 §4.1.3); so it does
// when there is none in audience.
func (id *Identity) IntendedFor(audience ...string) error {
	for _, want := range audience {
		if slices.Contains(id.Audience, want) {
			return nil
		}
	}
	return ErrAudience
}

// Claims are the claims of the token as JSON has them, whole numbers that fit as int64. They are decoded when somebody
// asks for the first time, and kept as long as the identity; nobody changes them.
func (id *Identity) Claims() map[string]any {
	if known := id.decoded.Load(); known != nil {
		return *known
	}
	var claims map[string]any
	d := json.NewDecoder(strings.NewReader(id.claims))
	d.UseNumber()
	if err := d.Decode(&claims); err != nil {
		claims = map[string]any{} // not reached: the text has been read already
	}
	for name, value := range claims {
		claims[name] = withNumbers(value)
	}
	id.decoded.Store(&claims)
	return claims
}

// Claim returns one claim of [Identity.Claims], and false when the token does not have it.
func (id *Identity) Claim(name string) (any, bool) {
	value, ok := id.Claims()[name]
	return value, ok
}

// Derived returns what derive makes of the identity: once, when somebody asks for the first time, and kept as long as
// the identity. There is one for each identity: all who ask bring the same derive. What it makes is shared by all
// requests that carry the token; nobody changes it.
func (id *Identity) Derived(derive func(*Identity) any) any {
	if known := id.derived.Load(); known != nil {
		return *known
	}
	made := derive(id)
	id.derived.Store(&made)
	return made
}

// withNumbers turns the texts of numbers in value into numbers.
func withNumbers(value any) any {
	switch value := value.(type) {
	case json.Number:
		if n, err := value.Int64(); err == nil {
			return n
		}
		f, _ := value.Float64() // out of range: an infinity
		return f
	case []any:
		for i := range value {
			value[i] = withNumbers(value[i])
		}
	case map[string]any:
		for name := range value {
			value[name] = withNumbers(value[name])
		}
	}
	return value
}
