package verify

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
)

const (
	maxSession = 512 // bytes of what proves a session, at most

	// rereadSession is how long a session is taken for what the store said of it: other nodes and the issuer's pages
	// write there that it is used. What ends it or its person, or changes what the person may have, is known at once.
	rereadSession = time.Minute
)

// Session returns who a browser's session is, by the secret that proves it (the value of its cookie). issuer is the
// `iss` that is expected here and now. Its identity has every scope that the person may have, what these include among
// them, and neither client nor audience: it is no token, and only for who asks for sessions.
//
// A session that is used goes on: see [store.Session.IdleUntil]. The error is an [Error] when there is no such session,
// or it is over, or its person is gone; every other error means that this could not be found out, as for
// [Verifier.Verify].
func (v *Verifier) Session(ctx context.Context, secret, issuer string) (*Identity, error) {
	if secret == "" || len(secret) > maxSession || issuer == "" {
		return nil, ErrSession
	}
	now := v.db.Now()
	if v.outOfSight(now) {
		return nil, ErrOutOfSight
	}
	key := opaqueKey(ofSession, secret, issuer)
	e := v.cache.get(&key)
	changed := false
	if e != nil {
		err := v.own.again(ctx, e, now)
		if changed = errors.Is(err, errAgain); err != nil && !changed {
			return nil, err
		}
	}
	if e == nil || changed || e.opaque.idle(now) || !within(rereadSession, time.Unix(0, e.read.Load()), now) {
		var err error
		if e, err = v.reread(ctx, e, changed, key, secret, issuer, now); err != nil {
			return nil, err
		}
	}
	v.uses.note(e, now)
	return &e.Identity, nil
}

// reread asks the store about a session, of which old is remembered unless it is nil. changed says that the person's
// record has changed since.
func (v *Verifier) reread(
	ctx context.Context, old *entry, changed bool, key cacheKey, secret, issuer string, now time.Time,
) (*entry, error) {
	e, err := v.own.session(ctx, secret, issuer, now)
	switch {
	case err == nil:
	case old != nil && !changed && errors.Is(err, ErrUnavailable) && !old.opaque.idle(now):
		return old, nil // it is still good as far as memory tells, for as long as tokens are
	default:
		return nil, err
	}
	if old != nil && old.TokenID == e.TokenID {
		if old.Scope == e.Scope && old.Username == e.Username && old.ExpiresAt.Equal(e.ExpiresAt) {
			old.person.Store(e.person.Load())
			old.generation.Store(e.generation.Load())
			old.read.Store(e.read.Load())
			return old, nil
		}
		e.opaque = old.opaque // requests that are still running look at it
	}
	e.key = key
	v.cache.put(e, now)
	return e, nil
}

// session asks the store who a session is.
func (o *own) session(ctx context.Context, secret, issuer string, now time.Time) (*entry, error) {
	generation := o.revocations.Generation() // from before the first look, as in verify
	hash := store.HashSecret(secret)
	var (
		s *store.Session
		u *store.User
	)
	err := o.people.db.View(ctx, func(r *store.Records) (err error) {
		if s, err = r.Session(hash); err != nil {
			return err
		}
		u, err = userIn(r, s.UserID)
		return err
	})
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, ErrSession
	case err != nil:
		return nil, fmt.Errorf("%w: reading a session: %w", ErrUnavailable, err)
	case !now.Before(s.Ends()):
		return nil, ErrSession
	}
	who, err := o.people.judge(u, err, now, generation)
	if err != nil {
		return nil, err
	}
	scopes := o.scopes(&who.user)
	length := max(s.IdleUntil.Sub(s.SeenAt), time.Second)
	e := &entry{Identity: Identity{
		Issuer:    issuer,
		Subject:   s.UserID,
		UserID:    s.UserID,
		Username:  headerText(who.user.Name),
		TokenID:   s.ID,
		Scope:     strings.Join(scopes, " "),
		Scopes:    scopes,
		IssuedAt:  cmp.Or(s.AuthenticatedAt, s.CreatedAt),
		ExpiresAt: s.ExpiresAt,
		all:       slices.Contains(scopes, everyScope),
		opaque: &opaque{
			session: true, name: s.Hash, csrf: CSRFToken(secret), length: length, every: min(recordUse, length/4),
		},
	}}
	e.opaque.used.Store(s.SeenAt.UnixNano())
	e.opaque.until.Store(s.IdleUntil.UnixNano())
	return e, o.settle(e, who, generation)
}

// CSRFToken is what a page has to show, beside the cookie with the secret, that asks for more than a look: a page of
// another site can have the browser send the cookie, but cannot know this. It tells nothing of the secret.
func CSRFToken(secret string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte("csrf"))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// CSRFToken is [CSRFToken] of a session; empty of a token.
func (id *Identity) CSRFToken() string {
	if id.opaque == nil {
		return ""
	}
	return id.opaque.csrf
}
