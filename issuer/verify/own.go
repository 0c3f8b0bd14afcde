package verify

import (
	"context"
	"slices"
	"time"

	"github.com/oauth2-passport/caddy-passport/issuer/keys"
	"github.com/oauth2-passport/caddy-passport/store"
)

// KeySource is what is needed of a key ring: the key with that `kid` while it may verify, else nil. It is asked on each
// request.
type KeySource interface {
	Key(kid string) *keys.Key
}

// maxAhead is how far in the future an own token may have been issued: the clocks of an issuer's nodes differ. A token
// from further on would outrun the revocations of those that were issued until now.
const maxAhead = time.Minute

// own verifies what our own issuer has given out: access tokens (RFC 9068 §4), personal ones and sessions.
type own struct {
	keys        KeySource
	revocations *store.Revocations
	configured  func(clientID string) bool
	clients     *clients
	people      *people
	scopes      func(*store.User) []string // all that a person may have
}

// verify finds out who a token is that has not been seen before. generation is that of the revocations from before the
// first look at anything that can be revoked: what is revoked meanwhile is found at the next request.
func (o *own) verify(ctx context.Context, t *compact, h *header, c *claims, now time.Time) (*entry, error) {
	generation := o.revocations.Generation()

	if !h.accessToken() {
		return nil, ErrType
	}
	key := o.keys.Key(h.kid)
	if key == nil || h.alg != string(key.Algorithm()) { // the key says which algorithm (RFC 8725 §3.1)
		return nil, ErrSignature
	}
	signature, ok := decode(t.signature)
	if !ok {
		return nil, ErrMalformed
	}
	if !key.Verify(bytesOf(t.input), signature) {
		return nil, ErrSignature
	}

	e, err := o.read(c, key.ID(), now)
	if err != nil {
		return nil, err
	}
	e.generation.Store(generation)
	if o.revoked(&e.Identity) {
		return nil, ErrRevoked
	}
	if e.configured = o.configured(e.ClientID); e.configured && !e.Person() {
		return e, nil
	}
	if err := o.askStore(ctx, e, now); err != nil {
		return nil, err
	}
	return e, nil
}

// read makes an entry of the claims, once the signature is known to be good.
func (o *own) read(c *claims, keyID string, now time.Time) (*entry, error) {
	if c.subject == "" || c.clientID == "" || c.tokenID == "" || c.expires.IsZero() || c.issued.IsZero() {
		return nil, ErrMalformed
	}
	audience, ok := parseAudience(c.audience)
	if !ok {
		return nil, ErrMalformed
	}
	scopes, ok := parseScope(c.scope)
	if !ok {
		return nil, ErrMalformed
	}
	if !now.Before(c.expires) {
		return nil, ErrExpired
	}
	if now.Before(c.notBefore) || now.Add(maxAhead).Before(c.issued) {
		return nil, ErrNotYetValid
	}
	e := &entry{Identity: Identity{
		Issuer:    c.issuer,
		Subject:   c.subject,
		ClientID:  c.clientID,
		TokenID:   c.tokenID,
		FamilyID:  c.grantID,
		KeyID:     keyID,
		Scope:     c.scope,
		Scopes:    scopes,
		Audience:  audience,
		IssuedAt:  c.issued,
		ExpiresAt: c.expires,
		born:      born(c),
		all:       slices.Contains(scopes, everyScope),
		claims:    c.text,
	}}
	if c.subject != c.clientID {
		e.UserID, e.Username = c.subject, c.username
	}
	return e, nil
}

// born is when an own token was made, to the millisecond: its `jti` says so. `iat` has whole seconds only, and what is
// revoked within a second must neither spare the tokens from before nor hit those from after.
func born(c *claims) time.Time {
	if t, ok := store.IDTime(c.tokenID); ok {
		return t
	}
	return c.issued
}

// again asks what must be asked each time of what has been found good before. [errAgain] says that what is opaque
// is to be read anew.
func (o *own) again(ctx context.Context, e *entry, now time.Time) error {
	switch {
	case !now.Before(e.ExpiresAt):
		return e.because(ErrExpired)
	case e.revoked.Load():
		return e.because(ErrRevoked)
	case e.opaque == nil && o.keys.Key(e.KeyID) == nil: // retired at once, for it leaked
		return ErrSignature
	}
	if generation := o.revocations.Generation(); generation != e.generation.Load() {
		if o.revoked(&e.Identity) {
			e.revoked.Store(true)
			return e.because(ErrRevoked)
		}
		// A change is dated by the beginning of its transaction, by the clock of its node: look again rather than miss it.
		read := time.Unix(0, e.read.Load()).Add(-maxAhead)
		if e.opaque != nil && o.revocations.UserChanged(e.UserID, read) {
			return errAgain
		}
		e.generation.Store(generation)
	}
	if p := e.person.Load(); p != nil && !o.people.known(p) {
		return ErrUserGone
	}
	if e.configured {
		if o.configured(e.ClientID) && (!e.Person() || fresh(time.Unix(0, e.read.Load()), now)) {
			return nil
		}
	} else if fresh(time.Unix(0, e.read.Load()), now) {
		return nil
	}
	return o.askStore(ctx, e, now)
}

// askStore asks the store for the client of a token, unless it stands in the config, and for the person.
func (o *own) askStore(ctx context.Context, e *entry, now time.Time) error {
	read := now
	if e.opaque == nil && !(e.configured && o.configured(e.ClientID)) {
		s, err := o.clients.standing(ctx, e.ClientID, now)
		if err != nil {
			return err
		}
		if !e.born.After(s.notBefore) {
			return ErrRevoked
		}
		read = s.read
	}
	if e.Person() {
		p, err := o.people.standing(ctx, e.UserID, now)
		if err != nil {
			return err
		}
		if !p.user.Stands(e.born) {
			return ErrRevoked
		}
		if p.user.Source != "" || e.opaque != nil {
			e.person.Store(p)
		}
		if p.read.Before(read) {
			read = p.read
		}
	}
	e.read.Store(read.UnixNano())
	return nil
}

// lost tells why a token that was good when a request began is good no more, as far as memory tells. The answer is nil
// while it is. compare says whether anything has been revoked since the last time.
func (o *own) lost(id *Identity, compare bool, now time.Time) *Error {
	switch {
	case !now.Before(id.ExpiresAt):
		return id.because(ErrExpired)
	case compare && o.revoked(id):
		return id.because(ErrRevoked)
	case id.opaque == nil && o.keys.Key(id.KeyID) == nil:
		return ErrSignature
	case id.configured && !o.configured(id.ClientID):
		return ErrClientGone
	case id.opaque != nil && id.opaque.idle(now):
		return ErrSession
	}
	if p := id.person.Load(); p != nil && !o.people.known(p) {
		return ErrUserGone
	}
	return nil
}

func (o *own) revoked(id *Identity) bool {
	return o.revocations.Revoked(store.TokenRef{
		TokenID:  id.TokenID,
		FamilyID: id.FamilyID,
		ClientID: id.ClientID,
		UserID:   id.UserID,
		KeyID:    id.KeyID,
		IssuedAt: id.born,
	})
}
