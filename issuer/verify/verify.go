// Package verify answers the question of the gateway: is this token good, now, here?
//
// Begin at [Verifier]. Its Verify says who a token is: an [Identity]; its Session says so of a browser's cookie. What
// was found good is remembered, so that the next request with it costs a hash and a few comparisons; whether it has
// expired or been revoked is asked each time. What a route demands is the route's to check, each time, by the
// methods of the identity: it is remembered nowhere. Its Watch ends requests that would outlive their token.
package verify

import (
	"context"
	"crypto/sha256"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
)

// Config is what a [Verifier] works with.
type Config struct {
	// Keys are the keys of our own issuer.
	Keys KeySource

	// DB holds the clients of our own issuer and what has been revoked. Its clock is the verifier's.
	DB *store.DB

	// Client tells whether the config has a client with that ID. It is asked on each request, from many goroutines.
	// nil: the config has none.
	Client func(id string) bool

	// UserKnown tells whether the place where a person comes from still knows the person, where that is another one than
	// the store. It is asked on each request of such a person, from many goroutines: it answers from memory. The record
	// has no password hash. nil: everybody is known.
	UserKnown func(*store.User) bool

	// UserScopes are all scopes that a person may have: those of a browser session. nil: those of the record.
	UserScopes func(*store.User) []string

	// CacheSize is how many tokens are remembered, at least; a token takes less than 1 kB. Default: 65536.
	CacheSize int

	// Lag is how long at most other nodes' revocations may have been out of sight: after that nothing can be found out
	// about any token, and running requests end. Default: 0, tokens are verified by what is known. It has no effect
	// where no other node writes to the DB.
	Lag time.Duration

	// Counts count the verifications. Default: some of the verifier's own.
	Counts *Counts

	// Span is called before a token is verified that is not remembered, and end with what came of it: for traces.
	// nil: nobody traces.
	Span func(context.Context) (ctx context.Context, end func(error))
}

// Verifier tells whether tokens are good. Its methods may be called from any goroutine.
type Verifier struct {
	db      *store.DB
	own     own
	cache   *cache
	header  atomic.Pointer[header] // of the last good token that was new: all that a key has signed have the same
	watches watches
	uses    uses
	lag     time.Duration
	counts  *Counts
	span    func(context.Context) (ctx context.Context, end func(error))
}

// New makes a verifier. Somebody must call [Verifier.Run].
func New(config Config) *Verifier {
	if config.Client == nil {
		config.Client = func(string) bool { return false }
	}
	if config.UserKnown == nil {
		config.UserKnown = func(*store.User) bool { return true }
	}
	if config.UserScopes == nil {
		config.UserScopes = func(u *store.User) []string { return u.Scopes }
	}
	if config.CacheSize <= 0 {
		config.CacheSize = defaultCacheSize
	}
	if config.Counts == nil {
		config.Counts = new(Counts)
	}
	if config.Span == nil {
		config.Span = func(ctx context.Context) (context.Context, func(error)) { return ctx, func(error) {} }
	}
	people := newPeople(config.DB, config.UserKnown)
	return &Verifier{
		db:     config.DB,
		lag:    config.Lag,
		counts: config.Counts,
		span:   config.Span,
		own: own{
			keys:        config.Keys,
			revocations: config.DB.Revocations(),
			configured:  config.Client,
			clients:     newClients(people),
			people:      people,
			scopes:      config.UserScopes,
		},
		cache: newCache(config.CacheSize),
	}
}

// Verify returns who the token is. issuer is the `iss` that is expected here and now.
//
// An [Error] tells why the token is refused. Every other error means that this could not be found out;
// [ErrUnavailable] is in its chain when storage failed.
func (v *Verifier) Verify(ctx context.Context, token, issuer string) (*Identity, error) {
	if len(token) > maxToken {
		return nil, ErrMalformed
	}
	if strings.HasPrefix(token, secretPrefix) {
		return v.personal(ctx, token, issuer)
	}
	key := cacheKey(sha256.Sum256(bytesOf(token)))
	now := v.db.Now()
	if e := v.cache.get(&key); e != nil {
		return v.known(ctx, e, issuer, now)
	}
	ctx, end := v.span(ctx)
	e, err := v.first(ctx, token, issuer, now)
	end(err)
	v.counts.add(Miss, err)
	if err != nil {
		return nil, err
	}
	e.key = key
	v.cache.put(e, now)
	return &e.Identity, nil
}

// known returns who a token is that is remembered, if it is still good.
func (v *Verifier) known(ctx context.Context, e *entry, issuer string, now time.Time) (*Identity, error) {
	if err := v.again(ctx, e, issuer, now); err != nil {
		v.counts.add(Hit, err)
		return nil, err
	}
	v.counts.shard().n[Hit].Add(1)
	return &e.Identity, nil
}

func (v *Verifier) again(ctx context.Context, e *entry, issuer string, now time.Time) error {
	switch {
	case e.Issuer != issuer:
		return ErrIssuer
	case v.outOfSight(now):
		return ErrOutOfSight
	}
	return v.own.again(ctx, e, now)
}

// outOfSight tells whether other nodes' revocations have been so for longer than the config lets them.
func (v *Verifier) outOfSight(now time.Time) bool { return v.lag > 0 && v.db.Behind(now) > v.lag }

// first verifies a token that is not remembered. The issuer is chosen by what the token says, before the signature is
// looked at; then only that issuer's keys and rules count.
func (v *Verifier) first(ctx context.Context, token, issuer string, now time.Time) (*entry, error) {
	t, ok := split(token)
	if !ok {
		return nil, ErrMalformed
	}
	h := v.header.Load()
	known := h != nil && h.encoded == t.header
	if !known {
		if h, ok = parseHeader(t.header); !ok {
			return nil, ErrMalformed
		}
	}
	var c claims
	if !c.parse(t.payload) {
		return nil, ErrMalformed
	}
	switch {
	case c.issuer == "" || c.issuer != issuer:
		return nil, ErrIssuer
	case v.outOfSight(now):
		return nil, ErrOutOfSight
	}
	e, err := v.own.verify(ctx, &t, h, &c, now)
	if err == nil && !known {
		h.encoded = strings.Clone(h.encoded) // the token itself is not kept
		v.header.Store(h)
	}
	return e, err
}

// Remembered is how many tokens are remembered. It looks at each of them.
func (v *Verifier) Remembered() int { return v.cache.len() }

// Run ends the requests of [Verifier.Watch] when their tokens end, lets go the memory of tokens that have expired, and
// writes when personal access tokens and sessions were last used, until ctx is done.
func (v *Verifier) Run(ctx context.Context) {
	var working sync.WaitGroup
	defer working.Wait()
	working.Go(func() { v.uses.run(ctx, v.db) })
	revoked := make(chan struct{}, 1)
	defer v.db.Revocations().Notify(revoked)()
	second := time.NewTicker(time.Second)
	defer second.Stop()
	minute := time.NewTicker(time.Minute)
	defer minute.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-revoked:
			v.cut(false)
			pause(ctx, betweenCuts)
		case <-second.C:
			v.cut(true)
		case <-minute.C:
			v.cache.sweep(v.db.Now())
		}
	}
}
