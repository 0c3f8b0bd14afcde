package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/oauth2-passport/caddy-passport/store"
)

// retryAfter is how long a failure to open an issuer is answered again before the next attempt: requests that come
// meanwhile must not make it worse.
const retryAfter = time.Second

// errClosed is the answer of an instance whose config is over.
var errClosed = errors.New("the configuration has been replaced")

// instance is one issuer of one config. It is made when the config is provisioned and opened when the app starts, or by
// the first request: apps start in no particular order.
type instance struct {
	name   string
	config *Issuer
	logger *zap.Logger

	running atomic.Pointer[running] // nil until it is open
	opening chan struct{}           // holds one token for who opens or closes

	// The fields below belong to who holds the token.
	closed   bool
	failed   error
	failedAt time.Time

	mu     sync.Mutex
	scopes map[string]struct{} // that routes demand
}

// running is what an open issuer consists of.
type running struct {
	db *store.DB
}

func newInstance(name string, config *Issuer, logger *zap.Logger) *instance {
	return &instance{
		name:    name,
		config:  config,
		logger:  logger,
		opening: make(chan struct{}, 1),
		scopes:  make(map[string]struct{}),
	}
}

// demand tells the issuer that a route demands these scopes: a scope that only a route names exists too. Handlers call
// it when they are provisioned; later it has no effect.
func (i *instance) demand(scopes ...string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, s := range scopes {
		i.scopes[s] = struct{}{}
	}
}

// ready tells whether the issuer is open.
func (i *instance) ready() bool { return i.running.Load() != nil }

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
	r, err := i.start(ctx)
	if err != nil {
		i.failed, i.failedAt = fmt.Errorf("issuer %q: %w", i.name, err), time.Now()
		return i.failed
	}
	i.failed = nil
	i.running.Store(r)
	return nil
}

// start opens everything that the issuer consists of.
func (i *instance) start(ctx context.Context) (*running, error) {
	return nil, errors.ErrUnsupported
}

// close lets go what open has acquired. It may be called at any time, more than once.
func (i *instance) close() {
	i.opening <- struct{}{}
	defer func() { <-i.opening }()
	i.closed = true
	i.running.Store(nil)
}

// routeScopes are the scopes that routes demand, sorted.
func (i *instance) routeScopes() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	var names []string
	for name := range i.scopes {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
