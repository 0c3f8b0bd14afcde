package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/oauth2-passport/caddy-passport/issuer/keys"
	"github.com/oauth2-passport/caddy-passport/issuer/verify"
	"github.com/oauth2-passport/caddy-passport/store"
)

// UpstreamJWT is a short-lived token for the upstream, signed by the issuer's current key, with the identity inside.
// The upstream verifies it by the issuer's key set. Its type is JWT, so that no gateway takes it for an access token
// (RFC 9068 §2.1).
//
// Its claims are iss, sub, aud, exp, iat, jti, client_id, scope and, for a person, username. Where the identity is
// another issuer's, `sub` has that issuer in front, `sub_id` has both (RFC 9493 §3.2.4), and there is no client_id: the
// names of other issuers are never ours.
type UpstreamJWT struct {
	// Audience is the token's `aud`: what the upstream calls itself. It may have global placeholders, and is none of
	// the audiences that routes of the gateway demand. Required.
	Audience []string `json:"audience"`

	// Header is the header field that the token is sent in, without "Bearer". Default: Authorization, with it.
	Header string `json:"header,omitempty"`

	// Lifetime is how long the token is good, unless the access token ends before. Default: 5m.
	Lifetime caddy.Duration `json:"lifetime,omitempty"`

	instance *instance
	made     atomic.Pointer[internalTokens]
}

// The lifetimes that a token for the upstream may have.
const (
	defaultInternalLifetime = 5 * time.Minute
	minInternalLifetime     = 10 * time.Second
	maxInternalLifetime     = 24 * time.Hour
)

func (u *UpstreamJWT) provision(i *instance) (field string, err error) {
	if i == nil {
		return "", errors.New("there is no issuer whose key could sign it")
	}
	u.instance = i
	u.Audience = slices.Clone(u.Audience)
	for n, value := range u.Audience {
		if u.Audience[n], err = replace(value); err != nil {
			return "", err
		}
	}
	if u.Lifetime == 0 {
		u.Lifetime = caddy.Duration(defaultInternalLifetime)
	}
	if u.Header == "" {
		return "Authorization", nil
	}
	return http.CanonicalHeaderKey(u.Header), nil
}

func (u *UpstreamJWT) validate(g *gate) error {
	if len(u.Audience) == 0 || slices.Contains(u.Audience, "") {
		return errors.New("upstream_auth jwt: it has no audience")
	}
	for i, value := range u.Audience {
		if value == u.instance.config.Identifier || slices.Contains(g.audience, value) {
			return fmt.Errorf("upstream_auth jwt: the audience %q is the gateway's own", value)
		}
		if slices.Contains(u.Audience[:i], value) {
			return fmt.Errorf("upstream_auth jwt: the audience %q is repeated", value)
		}
	}
	return checkInternalLifetime(time.Duration(u.Lifetime))
}

func checkInternalLifetime(d time.Duration) error {
	if d < minInternalLifetime || d > maxInternalLifetime {
		return fmt.Errorf("upstream_auth jwt: a lifetime is between %s and %s", minInternalLifetime, maxInternalLifetime)
	}
	return nil
}

// token returns the value of the header field for an identity. It makes a token once, and keeps it until a quarter of
// its life is left, the identity is verified anew, or another key signs.
func (u *UpstreamJWT) token(r *http.Request, id *verify.Identity) (string, error) {
	open, err := u.instance.use(r.Context())
	if err != nil {
		return "", err
	}
	issuer := open.issuer.IdentifierFor(r)
	key := open.ring.Current()
	now := open.db.Now()
	made := u.made.Load()
	if made == nil {
		u.made.CompareAndSwap(nil, newInternalTokens())
		made = u.made.Load()
	}
	if t := made.get(id); t != nil && t.key == key && t.issuer == issuer && now.Before(t.renew) {
		return t.value, nil
	}
	if key == nil {
		return "", errors.New("there is no key to sign with")
	}
	t, err := u.make(id, key, issuer, now)
	if err != nil {
		return "", err
	}
	made.put(t, now)
	return t.value, nil
}

// make signs a token. It ends no later than the access token that it stands for.
func (u *UpstreamJWT) make(id *verify.Identity, key *keys.Key, issuer string, now time.Time) (*internalToken, error) {
	lifetime := time.Duration(u.Lifetime).Truncate(time.Second)
	issuedAt := now.Truncate(time.Second)
	expires, renew := issuedAt.Add(lifetime), issuedAt.Add(lifetime*3/4)
	if !id.ExpiresAt.IsZero() && expires.After(id.ExpiresAt) {
		expires = id.ExpiresAt
	}
	if renew.After(expires) {
		renew = expires
	}
	claims := internalClaims{
		Issuer: issuer, Subject: id.Subject, Audience: u.Audience, ExpiresAt: expires.Unix(), IssuedAt: issuedAt.Unix(),
		TokenID: store.NewID(now), ClientID: id.ClientID, Scope: id.Scope,
	}
	if len(u.Audience) == 1 {
		claims.Audience = u.Audience[0]
	}
	if id.Person() {
		claims.Username = id.Username
	}
	if id.Issuer != issuer {
		claims.Subject, claims.ClientID = id.Issuer+"#"+id.Subject, ""
		claims.SubjectID = &subjectID{"iss_sub", id.Issuer, id.Subject}
	}
	text, err := json.Marshal(claims)
	if err != nil {
		return nil, err // not reached: strings and numbers can be encoded
	}
	value, err := key.SignJWT("JWT", text)
	if err != nil {
		return nil, err
	}
	if u.Header == "" {
		value = "Bearer " + value
	}
	return &internalToken{id: id, key: key, issuer: issuer, renew: renew, value: value}, nil
}

type internalClaims struct {
	Issuer    string     `json:"iss"`
	Subject   string     `json:"sub"`
	Audience  any        `json:"aud"` // a string when there is one, a list when there are more
	ExpiresAt int64      `json:"exp"`
	IssuedAt  int64      `json:"iat"`
	TokenID   string     `json:"jti"`
	ClientID  string     `json:"client_id,omitempty"`
	Scope     string     `json:"scope,omitempty"`
	Username  string     `json:"username,omitempty"`
	SubjectID *subjectID `json:"sub_id,omitempty"`
}

// subjectID names a subject by its issuer, RFC 9493 §3.2.4.
type subjectID struct {
	Format  string `json:"format"`
	Issuer  string `json:"iss"`
	Subject string `json:"sub"`
}

// internalToken is a token for the upstream, as its header field has it.
type internalToken struct {
	id     *verify.Identity
	key    *keys.Key
	issuer string
	renew  time.Time
	value  string
}

// internalTokens remembers tokens by the identities that they were made for: up to 4096, four to a set. Two requests
// that come at once may both make one; either is good.
type internalTokens struct {
	seed  maphash.Seed
	slots [internalSets * internalWays]atomic.Pointer[internalToken]
	hand  atomic.Uint32 // which of a full set goes next
}

const (
	internalSets = 1024
	internalWays = 4
)

func newInternalTokens() *internalTokens { return &internalTokens{seed: maphash.MakeSeed()} }

func (m *internalTokens) set(id *verify.Identity) []atomic.Pointer[internalToken] {
	first := maphash.Comparable(m.seed, id) % internalSets * internalWays
	return m.slots[first : first+internalWays]
}

// get returns the token of an identity, or nil.
func (m *internalTokens) get(id *verify.Identity) *internalToken {
	set := m.set(id)
	for i := range set {
		if t := set[i].Load(); t != nil && t.id == id {
			return t
		}
	}
	return nil
}

// put adds a token, in the place of the one for the same identity, or of one that has to be renewed anyway.
func (m *internalTokens) put(t *internalToken, now time.Time) {
	set := m.set(t.id)
	into := &set[m.hand.Add(1)%internalWays]
	for i := range set {
		other := set[i].Load()
		if other != nil && other.id == t.id {
			into = &set[i]
			break
		}
		if other == nil || !now.Before(other.renew) {
			into = &set[i]
		}
	}
	into.Store(t)
}
