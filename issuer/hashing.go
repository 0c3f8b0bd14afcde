package issuer

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// Hashing a password takes about 20 ms of a core and 19 MB of memory, and anybody may ask for it. So all hashing of the
// process goes through one queue: at most one hash a core at a time, on half of the cores and never more than
// maxHashers, which bounds the memory; and in the long run a part of the cores: one in idleShare while nobody else
// wants them, which shows in how long a hash takes, and one in busyShare when others do, so that a flood of sign-ins,
// whose pages and garbage cost about as much again, leaves the cores to the requests beside it. What was not used is
// saved up, so that a class or an office who come at once do not wait. Who would wait for longer than maxHashWait is
// told to come again.
const (
	maxHashers  = 4
	maxHashWait = 4 * time.Second
	maxHashing  = 256             // that hash or wait, all in all
	idleShare   = 4               // one part in so many of the cores
	busyShare   = 32              // the same
	hashSavings = 8 * time.Second // in which nobody has hashed, at most

	// How much longer than its least a hash takes on the average while the cores are idle, at most, and while they are
	// busy, at least.
	idleStrain = 1.02
	busyStrain = 1.1
)

// hashLine is a line of the queue. Each has the whole share, so that none makes another longer.
type hashLine int

// Lines of the queue.
const (
	strangers hashLine = iota // anybody
	knownOnes                 // browsers in which the person has signed in, people who are signed in, and the operator
	clientsOf                 // confidential clients, which send what their people type
	hashLines
)

type hashLineKey struct{}

// hashingAs has what is hashed within the context stand in that line.
func hashingAs(ctx context.Context, line hashLine) context.Context {
	return context.WithValue(ctx, hashLineKey{}, line)
}

var hashing = newHashQueue(runtime.GOMAXPROCS(0))

// hashQueue is where hashes wait for a core.
type hashQueue struct {
	cores   int
	savings time.Duration
	places  chan struct{} // full while as many hash or wait as may
	slots   chan struct{} // full while as many hash as may
	hashes  atomic.Int64  // that were done, for tests to count

	mu     sync.Mutex
	paid   [hashLines]time.Time     // until when the share of the cores is used up, by those who wait, too
	least  map[string]time.Duration // that a hash of a kind has taken: what it costs when nothing is in its way
	strain float64                  // how many times its least a hash has taken of late
}

func newHashQueue(cores int) *hashQueue {
	return &hashQueue{
		cores:   cores,
		savings: hashSavings,
		places:  make(chan struct{}, maxHashing),
		slots:   make(chan struct{}, min(max(cores/2, 1), maxHashers)),
		least:   make(map[string]time.Duration),
		strain:  1,
	}
}

// hashTurn is a place in a line.
type hashTurn struct {
	line hashLine
	kind string
	at   time.Time     // when it comes
	paid time.Duration // that the share is used up for by it
}

// do runs one hash when its turn comes. kind says which hashes cost the same. It answers [*tooManyError] when the turn
// is further off than wait, or the error of ctx.
func (q *hashQueue) do(ctx context.Context, kind string, wait time.Duration, hash func()) error {
	select {
	case q.places <- struct{}{}:
		defer func() { <-q.places }()
	default:
		return &tooManyError{RetryAfter: busyRetry}
	}
	line, _ := ctx.Value(hashLineKey{}).(hashLine)
	turn, err := q.reserve(line, kind, wait)
	if err != nil {
		return err
	}
	took := time.Duration(0)
	defer func() { q.settle(turn, took) }()
	if ahead := time.Until(turn.at); ahead > 0 {
		select {
		case <-time.After(ahead):
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
func (q *hashQueue) reserve(line hashLine, kind string, wait time.Duration) (hashTurn, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	cost, known := q.least[kind]
	if !known {
		cost = likelyCost(kind)
	}
	now := time.Now()
	paid := &q.paid[line]
	if ahead := paid.Sub(now); ahead > max(wait, 0) {
		return hashTurn{}, &tooManyError{RetryAfter: max(ahead-wait, busyRetry)}
	}
	turn := hashTurn{line: line, kind: kind, at: *paid, paid: q.share(cost)}
	if saved := now.Add(-q.savings); paid.Before(saved) {
		*paid = saved
	}
	*paid = paid.Add(turn.paid)
	return turn, nil
}

// share is for how long the share of the cores is used up by what takes a core for that long.
func (q *hashQueue) share(cost time.Duration) time.Duration {
	busy := min(max((q.strain-idleStrain)/(busyStrain-idleStrain), 0), 1)
	parts := idleShare + busy*(busyShare-idleShare)
	return time.Duration(float64(cost) * parts / float64(q.cores))
}

// maxHashKinds bounds what is remembered: there are as many kinds as operators choose.
const maxHashKinds = 256

// settle corrects what was taken from the share by what the hash has cost; took is zero when it was not done. That it
// took longer than others of its kind is the doing of who uses the cores beside it: so much less of them is left to
// hashing from now on.
func (q *hashQueue) settle(turn hashTurn, took time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	cost := took
	if least, known := q.least[turn.kind]; known && least <= took {
		cost = least
		q.strain += (min(float64(took)/float64(least), 4) - q.strain) / 8
	} else if took > 0 && (known || len(q.least) < maxHashKinds) {
		q.least[turn.kind] = took
	}
	due := q.share(cost)
	paid := &q.paid[turn.line]
	*paid = paid.Add(due - turn.paid)
	// Those who came before anybody knew what their hashes cost make nobody wait for longer than others do.
	if most := time.Now().Add(maxHashWait + due); paid.After(most) {
		*paid = most
	}
}

// Costs of hashes of which none has been done yet, on a machine of these years.
const (
	hashCost   = 20 * time.Millisecond // of a kind that says nothing
	bcryptCost = 60 * time.Microsecond // of one of its 2^cost rounds
	argon2Cost = 500 * time.Nanosecond // of a KiB, each time that it is gone over
)

// likelyCost is what a hash of a kind costs that has not been seen yet, see [hashKind].
func likelyCost(kind string) time.Duration {
	var rounds, memory, times int
	if n, _ := fmt.Sscanf(kind[min(len(kind), 2):], "$%d", &rounds); n == 1 && rounds <= maxBcryptCost {
		return bcryptCost << rounds
	}
	if n, _ := fmt.Sscanf(kind, "argon2id$v=19$m=%d,t=%d", &memory, &times); n == 2 {
		return argon2Cost * time.Duration(memory) * time.Duration(times)
	}
	return hashCost
}

// isTooMany tells whether err says that there were too many attempts.
func isTooMany(err error) bool {
	_, ok := errors.AsType[*tooManyError](err)
	return ok
}
