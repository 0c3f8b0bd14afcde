package verify

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// errClosed is the answer of a source that nobody uses any more.
var errClosed = errors.New("verify: the source of tokens is closed")

// errAgain says that what is remembered of a token has to be found out anew.
var errAgain = errors.New("verify: ask again")

// External is a source of tokens beside our own issuer: another issuer that is trusted, made by [NewTrust], or an
// introspection endpoint, made by [NewIntrospection]. It remembers good tokens as a [Verifier] does. It may be shared
// by any number of routes: what a route demands is the route's to check, the audience first of all.
//
// Its methods may be called from any goroutine. Nothing is fetched before [External.Start] or the first token.
type External struct {
	name    string // [Identity.Issuer]
	source  source
	cache   *cache
	watches watches
	now     func() time.Time
	counts  *Counts

	ctx     context.Context // done when it is closed
	stop    context.CancelFunc
	mu      sync.Mutex
	started atomic.Bool
	closed  bool
	working sync.WaitGroup
}

// source is what an [External] asks.
type source interface {
	// first verifies a token that is not remembered, and puts it in the cache.
	first(ctx context.Context, token string, key *cacheKey, now time.Time) (*entry, error)

	// again asks what must be asked each time; errAgain when the token is to be verified anew.
	again(e *entry, now time.Time) error

	// gone tells why the token of a running request is good no more, as far as memory tells; nil while it is.
	gone(w *Watch, now time.Time) *Error

	// run works in the background until ctx is done.
	run(ctx context.Context)
}

// Common is what both kinds of [External] are made with.
type Common struct {
	// Transport carries the requests to the issuer. nil: one that is bounded in time and size.
	Transport http.RoundTripper

	// Now is the clock. nil: the system's.
	Now func() time.Time

	// CacheSize is how many tokens are remembered, at least. Default: 16384.
	CacheSize int
}

const defaultExternalCache = 16 << 10

func newExternal(name string, common *Common) *External {
	if common.Now == nil {
		common.Now = time.Now
	}
	if common.CacheSize <= 0 {
		common.CacheSize = defaultExternalCache
	}
	x := &External{name: name, cache: newCache(common.CacheSize), now: common.Now, counts: new(Counts)}
	x.ctx, x.stop = context.WithCancel(context.Background())
	return x
}

// Name is what [Identity.Issuer] says of its tokens.
func (x *External) Name() string { return x.name }

// Count has the verifications counted there, instead of by counts of its own. Call it before anything else.
func (x *External) Count(there *Counts) { x.counts = there }

// Start begins the work in the background, unless it has begun: keys are fetched, running requests watched. Call Close.
func (x *External) Start() {
	if x.started.Load() {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed || x.started.Swap(true) {
		return
	}
	x.working.Go(func() { x.source.run(x.ctx) })
	x.working.Go(x.watch)
}

// Close ends the work in the background and waits for it. Tokens that are not remembered can't be verified any more.
func (x *External) Close() {
	x.mu.Lock()
	x.closed = true
	x.mu.Unlock()
	x.stop()
	x.working.Wait()
}

// spawn runs fn until it returns or the source is closed, for whoever waits; false when it is closed.
func (x *External) spawn(fn func(ctx context.Context)) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed {
		return false
	}
	x.working.Go(func() { fn(x.ctx) })
	return true
}

// Watch is [Verifier.Watch] for who has a token of this source. token is where it stands as it was sent: an
// introspection endpoint is asked about it again and again while the request runs. It stays there until the release.
func (x *External) Watch(one *Watch, id *Identity, token *string, end context.CancelCauseFunc) {
	x.watches.watch(one, id, token, end)
}

// Remembered is how many tokens are remembered. It looks at each of them.
func (x *External) Remembered() int { return x.cache.len() }

// Watching is how many requests [External.Watch] has in hand.
func (x *External) Watching() int { return x.watches.count() }

// watch ends the requests whose tokens end, until the source is closed.
func (x *External) watch() {
	second := time.NewTicker(time.Second)
	defer second.Stop()
	for n := 1; ; n++ {
		select {
		case <-x.ctx.Done():
			return
		case <-second.C:
			x.cut(x.now())
			if n%60 == 0 {
				x.cache.sweep(x.now())
			}
		}
	}
}

// cut is the look of a second at all running requests.
func (x *External) cut(now time.Time) {
	lost := func(w *Watch, _ bool, now time.Time) *Error { return x.source.gone(w, now) }
	x.watches.cut(lost, 0, now, true)
}

// remembered returns what is known of a token: nothing, who it is, or why it is good no more.
func (x *External) remembered(key *cacheKey) (*Identity, error) {
	e := x.cache.get(key)
	if e == nil {
		return nil, nil
	}
	now := x.now()
	err := x.source.again(e, now)
	switch {
	case errors.Is(err, errAgain):
		return nil, nil
	case err == nil && !now.Before(e.ExpiresAt):
		err = ErrExpired
	}
	x.counts.add(Hit, err)
	if err != nil {
		return nil, err
	}
	return &e.Identity, nil
}

// verify finds out who a token is that is not remembered.
func (x *External) verify(ctx context.Context, token string, key cacheKey) (*Identity, error) {
	e, err := x.source.first(ctx, token, &key, x.now())
	x.counts.add(Miss, err)
	if err != nil {
		return nil, err
	}
	return &e.Identity, nil
}
