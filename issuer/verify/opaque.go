package verify

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
)

// opaque is what an identity has that comes from a personal access token or a session: these say nothing themselves,
// so that the store is asked who they are.
//
// They belong to the issuer and not to one of its hosts. Where each host is an issuer of its own, there is an identity
// for each, for it names the one that is expected there.
type opaque struct {
	session bool
	name    string        // of the record: a token's ID, the hash of a session
	csrf    string        // of a session, see [Identity.CSRFToken]
	every   time.Duration // how exactly the last use is recorded
	length  time.Duration // of a session in which nothing happens

	used  atomic.Int64 // when the last use was recorded, in nanoseconds since 1970
	until atomic.Int64 // when a session is over unless it is used before, likewise
}

// idle tells whether it is a session that was not used for too long, as far as memory tells.
func (o *opaque) idle(now time.Time) bool { return o.session && now.UnixNano() >= o.until.Load() }

// because is why an identity is good no more: of a session it is told in words that fit one.
func (id *Identity) because(reason *Error) *Error {
	if id.Session() {
		return ErrSession
	}
	return reason
}

// What a hash is of, so that nobody can pass off one thing as another.
const (
	ofPersonalToken = 'p'
	ofSession       = 's'
)

// opaqueKey is where an opaque secret is remembered that was shown where that issuer is expected.
func opaqueKey(of byte, secret, issuer string) cacheKey {
	var buf [256]byte // on the stack, for all but strange lengths
	b := append(buf[:0], of)
	b = append(b, secret...)
	b = append(b, 0)
	b = append(b, issuer...)
	return sha256.Sum256(b)
}

// personal returns who a token is that begins as our opaque secrets do. Of these only a personal access token is an
// access token.
func (v *Verifier) personal(ctx context.Context, token, issuer string) (_ *Identity, err error) {
	good := Miss
	defer func() { v.counts.add(good, err) }()
	if !strings.HasPrefix(token, string(store.PersonalAccessToken)) {
		if _, ok := store.ParseSecret(token); ok {
			return nil, ErrType // a refresh token, a code, a client's secret
		}
		return nil, ErrMalformed
	}
	if issuer == "" {
		return nil, ErrIssuer
	}
	now := v.db.Now()
	key := opaqueKey(ofPersonalToken, token, issuer)
	if v.outOfSight(now) {
		return nil, ErrOutOfSight
	}
	e := v.cache.get(&key)
	if e != nil {
		good = Hit
		switch err := v.own.again(ctx, e, now); {
		case errors.Is(err, errAgain):
			e, good = nil, Miss
		case err != nil:
			return nil, err
		}
	}
	if e == nil {
		if _, ok := store.ParseSecret(token); !ok {
			return nil, ErrMistyped // nothing is looked up for it
		}
		if e, err = v.own.personal(ctx, token, issuer, now); err != nil {
			return nil, err
		}
		e.key = key
		v.cache.put(e, now)
	}
	v.uses.note(e, now)
	return &e.Identity, nil
}

// personal asks the store who a personal access token is.
func (o *own) personal(ctx context.Context, token, issuer string, now time.Time) (*entry, error) {
	generation := o.revocations.Generation() // from before the first look, as in verify
	hash := store.HashSecret(token)
	var (
		t *store.Token
		u *store.User
	)
	err := o.people.db.View(ctx, func(r *store.Records) (err error) {
		if t, err = r.PersonalToken(hash); err != nil {
			return err
		}
		u, err = userIn(r, t.UserID)
		return err
	})
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, ErrInactive
	case err != nil:
		return nil, fmt.Errorf("%w: reading a personal access token: %w", ErrUnavailable, err)
	case !t.RevokedAt.IsZero():
		return nil, ErrRevoked
	case !now.Before(t.ExpiresAt):
		return nil, ErrExpired
	}
	who, err := o.people.judge(u, err, now, generation)
	if err != nil {
		return nil, err
	}
	audience := t.Audience
	if len(audience) == 0 {
		audience = []string{issuer} // it is good wherever its issuer is
	}
	scopes := o.still(&who.user, t.Scopes)
	e := &entry{Identity: Identity{
		Issuer:    issuer,
		Subject:   t.UserID,
		ClientID:  t.ClientID,
		UserID:    t.UserID,
		Username:  headerText(who.user.Name),
		TokenID:   t.ID,
		FamilyID:  t.FamilyID,
		Scope:     strings.Join(scopes, " "),
		Scopes:    scopes,
		Audience:  audience,
		IssuedAt:  t.IssuedAt,
		ExpiresAt: t.ExpiresAt,
		all:       slices.Contains(scopes, everyScope),
		opaque:    &opaque{name: t.ID, every: recordUse},
	}}
	if !t.LastUsedAt.IsZero() {
		e.opaque.used.Store(t.LastUsedAt.UnixNano())
	}
	return e, o.settle(e, who, generation)
}

// still is what of the scopes that a personal access token was made with its person may have today. Where `*` is not
// the person's any more, all that is stands in its place.
func (o *own) still(u *store.User, granted []string) []string {
	may := o.scopes(u)
	var left []string
	for _, name := range granted {
		switch {
		case name == everyScope && u.Limited && slices.Contains(u.Scopes, everyScope):
			left = append(left, name)
		case name == everyScope:
			left = append(left, may...)
		case slices.Contains(may, name):
			left = append(left, name)
		}
	}
	return left
}

// settle finishes an entry that was made of records, and tells whether they are still good.
func (o *own) settle(e *entry, who *person, generation uint64) error {
	e.born = e.IssuedAt
	if t, ok := store.IDTime(e.TokenID); ok {
		e.born = t
	}
	e.claims = e.told()
	e.person.Store(who)
	e.read.Store(who.read.UnixNano())
	e.generation.Store(generation)
	if !who.user.Stands(e.born) || o.revoked(&e.Identity) {
		return e.because(ErrRevoked)
	}
	return nil
}

// told is what an opaque identity has for claims: those that a JWT would have.
func (id *Identity) told() string {
	text, err := json.Marshal(struct {
		Issuer    string   `json:"iss"`
		Subject   string   `json:"sub"`
		Audience  []string `json:"aud,omitempty"`
		ClientID  string   `json:"client_id,omitempty"`
		TokenID   string   `json:"jti"`
		Scope     string   `json:"scope,omitempty"`
		Username  string   `json:"preferred_username,omitempty"`
		IssuedAt  int64    `json:"iat"`
		ExpiresAt int64    `json:"exp"`
	}{
		id.Issuer, id.Subject, id.Audience, id.ClientID, id.TokenID, id.Scope, id.Username, id.IssuedAt.Unix(),
		id.ExpiresAt.Unix(),
	})
	if err != nil {
		return "{}" // not reached: strings and numbers can be encoded
	}
	return string(text)
}

// userIn reads a person in a transaction that reads more. nil: there is none.
func userIn(r *store.Records, id string) (*store.User, error) {
	u, err := r.User(id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	return u, err
}

// headerText is s unless it has control characters: it becomes a header field of the request to the upstream.
func headerText(s string) string {
	for i := range len(s) {
		if s[i] < ' ' || s[i] == 0x7f {
			return ""
		}
	}
	return s
}
