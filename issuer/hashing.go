package issuer

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// Hashing a password takes about 20 ms of a core and 19 MB of memory, and anybody may ask for it. So all hashing of the
// process goes through one queue: at most one hash a core at a time, on half of the cores and never more than
// maxHashers, which bounds the memory; and in the long run one part in hashShare of the cores, so that a flood of
// sign-ins, whose pages and garbage cost about as much again, leaves them to the requests beside it. What was not used
// is saved up, so that people who come now and then do not wait, nor do a class or an office who come at once. Who
// would wait for longer than maxHashWait is told to come again.
const (
	maxHashers  = 4
	maxHashWait = 4 * time.Second
	maxHashing  = 256                    // that hash or wait, all in all
	hashShare   = 32                     // one part in so many of the cores
	hashSavings = 500 * time.Millisecond // of each core
	hashCost    = 20 * time.Millisecond  // of a kind that is not known yet
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
	paid  time.Time                // until when the share of the cores is used up, by those who wait, too
	least map[string]time.Duration // that a hash of a kind has taken: what it costs when nothing is in its way
}

func newHashQueue(cores int) *hashQueue {
	return &hashQueue{
		cores:   cores,
		savings: hashSavings * hashShare,
		places:  make(chan struct{}, maxHashing),
		slots:   make(chan struct{}, min(max(cores/2, 1), maxHashers)),
		least:   make(map[string]time.Duration),
	}
}

// do runs one hash when its turn comes. kind says which hashes cost the same. It answers [*tooManyError] when the turn
// is too far off, or the error of ctx.
func (q *hashQueue) do(ctx context.Context, kind string, hash func()) error {
	select {
	case q.places <- struct{}{}:
		defer func() { <-q.places }()
	default:
		return &tooManyError{RetryAfter: busyRetry}
	}
	turn, cost, err := q.reserve(kind)
	if err != nil {
		return err
	}
	took := time.Duration(0)
	defer func() { q.settle(kind, cost, took) }()
	if wait := time.Until(turn); wait > 0 {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	select {
	case q.slots <- struct{}{}:
		defer func() { <-q.slots }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	begin := time.Now()
	hash()
	took = max(time.Since(begin), 1)
	q.hashes.Add(1)
	return nil
}

// reserve takes what a hash of that kind costs from the share, and tells when its turn is.
func (q *hashQueue) reserve(kind string) (turn time.Time, cost time.Duration, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	cost, known := q.least[kind]
	if !known {
		cost = hashCost
	}
	now := time.Now()
	if wait := q.paid.Sub(now); wait > maxHashWait {
		return turn, 0, &tooManyError{RetryAfter: max(wait-maxHashWait, busyRetry)}
	}
	turn = q.paid
	if saved := now.Add(-q.savings); q.paid.Before(saved) {
		q.paid = saved
	}
	q.paid = q.paid.Add(q.share(cost))
	return turn, cost, nil
}

// share is for how long the share of the cores is used up by what takes a core for that long.
func (q *hashQueue) share(cost time.Duration) time.Duration {
	return cost * hashShare / time.Duration(q.cores)
}

// maxHashKinds bounds what is remembered: there are as many kinds as operators choose.
const maxHashKinds = 256

// settle corrects what was taken from the share by what the hash has cost; zero: it was not done. That it took longer
// than others of its kind is the doing of who uses the cores beside it.
func (q *hashQueue) settle(kind string, reserved, took time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	least, known := q.least[kind]
	if known && least <= took {
		took = least
	} else if took > 0 && (known || len(q.least) < maxHashKinds) {
		q.least[kind] = took
	}
	q.paid = q.paid.Add(q.share(took - reserved))
}
