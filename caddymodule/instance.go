package caddymodule

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/oauth2-passport/caddy-passport/issuer"
	"github.com/oauth2-passport/caddy-passport/issuer/keys"
	"github.com/oauth2-passport/caddy-passport/issuer/verify"
	"github.com/oauth2-passport/caddy-passport/store"
)

// retryAfter is how long a failure to open an issuer is answered again before the next attempt: requests that come
// meanwhile must not make it worse.
const retryAfter = time.Second

// errClosed is the answer of an instance whose config is over.
var errClosed = errors.New("its configuration has been replaced")

// instance is one issuer of one config. It is made when the config is provisioned, and opened when the app starts or by
// the first request: apps start in no particular order.
type instance struct {
	name   string
	config *Issuer
	logger *zap.Logger

	auditLog *zap.Logger
	events   *events

	running   atomic.Pointer[running]  // nil unless it is open
	successor atomic.Pointer[instance] // the one of the config that has taken this one's place

	pinging  chan struct{} // full while somebody asks whether the storage answers
	opening  chan struct{} // full while somebody opens or closes, who alone uses what follows
	closed   bool
	failed   error // the last attempt to open it
	failedAt time.Time

	mu       sync.Mutex
	scopes   []string // that routes demand
	audience []string // that routes demand
	routes   []issuer.Route
}

// running is what an open issuer consists of.
type running struct {
	db       *store.DB
	ring     *keys.Ring
	verifier *verify.Verifier
	issuer   *issuer.Issuer
	told     *observer

	xsrfCookie string // the name of the cookie with the token against forged requests

	release func() error // gives the database back
	stop    context.CancelFunc
	done    sync.WaitGroup
}

func newInstance(name string, config *Issuer, logger *zap.Logger, events *events) *instance {
	return &instance{
		name: name, config: config, logger: logger, auditLog: logger.Named(auditLogger), events: events,
		opening: make(chan struct{}, 1), pinging: make(chan struct{}, 1),
	}
}

// demand tells the issuer which scopes and audiences a route demands: those that only a route names exist too. Handlers
// call it when they are provisioned; once the issuer is open it has no effect.
func (i *instance) demand(scopes, audience []string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.scopes = append(i.scopes, scopes...)
	i.audience = append(i.audience, audience...)
}

// guards tells the issuer of a route that demands its identifier or a resource. Handlers call it when they are
// provisioned; once the issuer is open it has no effect.
func (i *instance) guards(route issuer.Route) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.routes = append(i.routes, route)
}

// configured tells whether the config has a client with that ID: the config that is in force, also for requests that
// came under an older one and are still running.
func (i *instance) configured(client string) bool {
	for next := i.successor.Load(); next != nil; next = i.successor.Load() {
		i = next
	}
	_, ok := i.config.clientIDs[client]
	return ok
}

// xsrfCookie is the name of the cookie with the token against forged requests.
func (i *instance) xsrfCookie() string { return cmp.Or(i.config.XSRFCookie, defaultXSRFCookie) }

// ready tells whether the issuer is open.
func (i *instance) ready() bool { return i.running.Load() != nil }

// use returns the open issuer, which it opens if need be.
func (i *instance) use(ctx context.Context) (*running, error) {
	if r := i.running.Load(); r != nil {
		return r, nil
	}
	if err := i.open(ctx); err != nil {
		return nil, err
	}
	if r := i.running.Load(); r != nil {
		return r, nil
	}
	return nil, errClosed
}

// open opens the issuer unless it is open. Callers that come while another one opens wait for it. After a failure,
// callers within retryAfter get the same error; then the next one tries again.
func (i *instance) open(ctx context.Context) error {
	if i.ready() {
		return nil
	}
	select {
	case i.opening <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-i.opening }()

	switch {
	case i.ready():
		return nil
	case i.closed:
		return fmt.Errorf("issuer %q: %w", i.name, errClosed)
	case i.failed != nil && time.Since(i.failedAt) < retryAfter:
		return i.failed
	}
	// Others wait for the outcome, so it does not end with the one request that happened to come first.
	r, err := i.start(context.WithoutCancel(ctx))
	if err != nil {
		i.failed, i.failedAt = fmt.Errorf("issuer %q: %w", i.name, err), time.Now()
		return i.failed
	}
	i.failed = nil
	i.running.Store(r)
	return nil
}

// start opens everything that the issuer consists of.
func (i *instance) start(ctx context.Context) (_ *running, err error) {
	r := new(running)
	r.db, r.release, err = acquire(ctx, i.config.storage, i.name)
	if err != nil {
		return nil, err
	}
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	r.stop = stop
	defer func() {
		if err != nil {
			err = errors.Join(err, r.close())
		}
	}()
	told := &observer{i}
	countFromZero(i.name)
	r.told = told
	r.ring, err = keys.Open(ctx, keys.Config{
		Algorithm: keys.Algorithm(i.config.Keys.Algorithm),
		Rotate:    time.Duration(i.config.Keys.Rotate),
		Private:   i.config.key,
		Retain:    func() time.Duration { return r.longestToken(background) },
		Changed:   told.keysChanged,
		Secrets:   i.config.keySecrets,
		DB:        r.db,
		Logger:    i.logger,
	})
	if err != nil {
		return nil, err
	}
	r.verifier = verify.New(verify.Config{
		Keys: r.ring, DB: r.db, Client: i.configured, UserKnown: i.userKnown, Lag: i.config.RevocationLag.bound(),
		UserScopes: func(u *store.User) []string { return r.issuer.ScopesOfUser(u) },
		Counts:     verifications.ofIssuer(i.name), Span: verificationSpan,
	})
	config := i.config.issuerConfig()
	r.xsrfCookie = i.xsrfCookie()
	config.XSRFCookie = r.xsrfCookie
	config.Name, config.Logger, config.Observer = i.name, i.logger, told
	config.DB, config.Ring, config.Verifier = r.db, r.ring, r.verifier
	if r.issuer, err = issuer.New(config); err != nil {
		return nil, err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if err = r.issuer.NameScopes(i.scopes...); err != nil {
		return nil, err
	}
	r.issuer.NameResources(i.audience...)
	r.issuer.NameRoutes(i.routes...)
	r.done.Go(func() { r.ring.Run(background) })
	r.done.Go(func() { r.verifier.Run(background) })
	r.done.Go(func() { i.watchLag(background, r.db) })
	r.done.Go(func() { i.purgeBySchedule(background, r) })
	return r, nil
}

// longestToken is how long an access token may live that is given out now. The ring asks already while it opens, when
// there is no issuer yet: zero adds nothing to what it knows of its keys, and it asks again once it runs.
func (r *running) longestToken(ctx context.Context) time.Duration {
	if r.issuer == nil {
		return 0
	}
	return r.issuer.LongestAccessToken(ctx)
}

// close lets go what start has acquired.
func (r *running) close() error {
	r.stop()
	r.done.Wait()
	return r.release()
}
