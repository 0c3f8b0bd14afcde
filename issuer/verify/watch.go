package verify

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// betweenCuts is the shortest time between two looks at all running requests because of revocations.
const betweenCuts = 50 * time.Millisecond

// Watch returns a context for a request that was let through with id. It is canceled, its cause an [Error], when the
// token expires or is revoked, so that an upgraded connection or an event stream does not outlive it; and when release
// is called, which the request does at its end. [Verifier.Run] looks each second, and at once when something is
// revoked.
//
// A request is left alone until one look of a second has found it running: most calls are answered by then, and are not
// torn, for their token was good when they came. So a request outlives its token by less than two seconds, and by less
// than one when it has been running for that long.
func (v *Verifier) Watch(ctx context.Context, id *Identity) (watched context.Context, release func()) {
	return v.watches.watch(ctx, id)
}

// Watching is how many requests [Verifier.Watch] has in hand: with none, nothing needs [Verifier.Run] any more.
func (v *Verifier) Watching() int { return v.watches.count() }

// watches are the running requests, spread over lists so that requests seldom wait for each other.
type watches [64]watchShard

// watch adds a request.
func (w *watches) watch(ctx context.Context, id *Identity) (watched context.Context, release func()) {
	watched, cancel := context.WithCancelCause(ctx)
	one := &watch{id: id, cancel: cancel, shard: w.shard()}
	one.shard.add(one)
	return watched, one.release
}

// count is how many there are.
func (w *watches) count() (n int) {
	for i := range w {
		shard := &w[i]
		shard.mu.Lock()
		for one := shard.first; one != nil; one = one.next {
			n++
		}
		shard.mu.Unlock()
	}
	return n
}

func (w *watches) shard() *watchShard {
	return &w[rand.Uint64()%uint64(len(w))] //nolint:gosec // it spreads, and guards nothing
}

type watchShard struct {
	mu    sync.Mutex
	first *watch
	_     [48]byte // the rest of a cache line: its neighbors are other processors'
}

// watch is one running request. Its shard's lock guards all but id and cancel.
type watch struct {
	id     *Identity
	cancel context.CancelCauseFunc
	shard  *watchShard

	previous, next *watch
	listed         bool
	seen           bool   // by the look of a second
	generation     uint64 // of the revocations that it has been compared with; zero: none
	cause          error  // why it is to be cut
}

func (s *watchShard) add(w *watch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w.listed = true
	w.next = s.first
	if s.first != nil {
		s.first.previous = w
	}
	s.first = w
}

// remove takes w from the list, if it is still there. The lock is held.
func (s *watchShard) remove(w *watch) {
	if !w.listed {
		return
	}
	w.listed = false
	if w.previous == nil {
		s.first = w.next
	} else {
		w.previous.next = w.next
	}
	if w.next != nil {
		w.next.previous = w.previous
	}
	w.previous, w.next = nil, nil
}

func (w *watch) release() {
	w.shard.mu.Lock()
	w.shard.remove(w)
	w.shard.mu.Unlock()
	w.cancel(nil)
}

// cut looks at all running requests and ends those whose token is good no more. second says that this is the look of a
// second, which counts for those that have just begun.
func (v *Verifier) cut(second bool) {
	generation := v.own.revocations.Generation() // before the looks: what is revoked meanwhile is for the next one
	now := v.db.Now()
	lost := v.own.lost
	if v.outOfSight(now) {
		lost = func(*Identity, bool, time.Time) error { return ErrCutOutOfSight }
	}
	v.watches.cut(lost, generation, now, second)
}

// cut ends those requests of which lost tells that their token is good no more.
func (w *watches) cut(
	lost func(id *Identity, compare bool, now time.Time) error, generation uint64, now time.Time, second bool,
) {
	for i := range w {
		for one := w[i].take(lost, generation, now, second); one != nil; one = one.next {
			one.cancel(one.cause)
		}
	}
}

// take takes those requests from the list that are to be cut, and returns them as a list. They are canceled outside the
// lock: it runs what others have hung on the context.
func (s *watchShard) take(
	lost func(id *Identity, compare bool, now time.Time) error, generation uint64, now time.Time, second bool,
) (taken *watch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for w := s.first; w != nil; {
		next := w.next
		switch {
		case w.seen:
			if w.cause = lost(w.id, w.generation != generation, now); w.cause != nil {
				s.remove(w)
				w.next, taken = taken, w
			} else {
				w.generation = generation
			}
		case second:
			w.seen = true
		}
		w = next
	}
	return taken
}

// pause waits that long, or until ctx is done.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
