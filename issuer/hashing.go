package issuer

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// Hashing a password takes about 20 ms of a core and 19 MB of memory, and anybody may ask for it. So all hashing of the
// process goes through one queue: at most one hash a core at a time and never more than maxHashers, which bounds the
// memory; maxHashQueue that wait, so that who comes later is told to come again; and in the long run a sixteenth of the
// cores, so that a flood of sign-ins leaves them to the requests beside it. What was not used is saved up, so that
// people who come now and then do not wait.
const (
	maxHashers   = 4
	maxHashQueue = 64
	hashShare    = 16                     // one part in so many of the cores
	hashSavings  = 500 * time.Millisecond // of each core
)

var hashing = newHashQueue(runtime.GOMAXPROCS(0))

// hashQueue is where hashes wait for a core.
type hashQueue struct {
	cores   int
	savings time.Duration // of the share, at most
	places  chan struct{} // full while as many hash or wait as may
	slots   chan struct{} // full while as many hash as may
	hashes  atomic.Int64  // that were done, for tests to count

	mu    sync.Mutex
	paid  time.Time                // until when the share of the cores has been used up
	least map[string]time.Duration // that a hash of a kind has taken: what it costs when nothing is in its way
}

func newHashQueue(cores int) *hashQueue {
	slots := min(cores, maxHashers)
	return &hashQueue{
		cores:   cores,
		savings: hashSavings * hashShare,
		places:  make(chan struct{}, slots+maxHashQueue),
		slots:   make(chan struct{}, slots),
		least:   make(map[string]time.Duration),
	}
}

// do runs one hash when its turn comes. kind says which hashes cost the same. It answers [*tooManyError] when too many wait already, or the error of ctx.
func (q *hashQueue) do(ctx context.Context, kind string, hash func()) error {
	select {
	case q.places <- struct{}{}:
		defer func() { <-q.places }()
	default:
		return &tooManyError{RetryAfter: busyRetry}
	}
	select {
	case q.slots <- struct{}{}:
		defer func() { <-q.slots }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := q.rest(ctx); err != nil {
		return err
	}
	begin := time.Now()
	hash()
	q.hashes.Add(1)
	q.pay(kind, time.Since(begin))
	return nil
}

// rest waits until the hashes that were done are paid.
func (q *hashQueue) rest(ctx context.Context) error {
	for {
		q.mu.Lock()
		wait := time.Until(q.paid)
		q.mu.Unlock()
		if wait <= 0 {
			return ctx.Err()
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// maxHashKinds bounds what is remembered: there are as many kinds as operators choose.
const maxHashKinds = 256

// pay takes what a hash has cost from the share. That it took longer than others of its kind is the doing of who uses
// the cores beside it.
func (q *hashQueue) pay(kind string, took time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if least, ok := q.least[kind]; ok && least <= took {
		took = least
	} else if ok || len(q.least) < maxHashKinds {
		q.least[kind] = took
	}
	if saved := time.Now().Add(-q.savings); q.paid.Before(saved) {
		q.paid = saved
	}
	q.paid = q.paid.Add(took * hashShare / time.Duration(q.cores))
}
