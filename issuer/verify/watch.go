package verify

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// betweenCuts is the shortest time between two looks at all running requests because of revocations.
const betweenCuts = 50 * time.Millisecond

// Watch has end called, with an [Error], when the token of a request that was let through with id expires or is
// revoked, so that an upgraded connection or an event stream does not outlive it. one has not been used before; its
// [Watch.Release] ends the watch. [Verifier.Run] looks each second, and at once when something is revoked.
//
// A request is left alone until one look of a second has found it running: most calls are answered by then, and are not
// torn, for their token was good when they came. So a request outlives its token by less than two seconds, and by less
// than one when it has been running for that long.
func (v *Verifier) Watch(one *Watch, id *Identity, end context.CancelCauseFunc) {
	v.watches.watch(one, id, nil, end)
}

// Watching is how many requests [Verifier.Watch] has in hand: with none, nothing needs [Verifier.Run] any more.
func (v *Verifier) Watching() int { return v.watches.count() }

// watches are the running requests, spread over lists so that requests seldom wait for each other.
type watches [64]watchShard

// watch adds a request.
func (w *watches) watch(one *Watch, id *Identity, token *string, end context.CancelCauseFunc) {
	one.id, one.token, one.end, one.shard = id, token, end, w.shard()
	one.shard.add(one)
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
	first *Watch
	_     [48]byte // the rest of a cache line: its neighbors are other processors'
}

// Watch is one running request. Who handles the request keeps it, so that nothing is allocated for it. Its shard's lock
// guards all but id, token and end.
type Watch struct {
	id    *Identity
	token *string // as it was sent, where its issuer is asked about it again; nil of our own
	end   context.CancelCauseFunc
	shard *watchShard

	previous, next *Watch
	listed         bool
	seen           bool          // by the look of a second
	cut            atomic.Bool   // the request is, and cause stays
	generation     uint64        // of the revocations that it has been compared with; zero: none
	cause          *Error        // why it is cut
	ended          chan struct{} // closed when end has been called, made when it is to be
}

func (s *watchShard) add(w *Watch) {
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
func (s *watchShard) remove(w *Watch) {
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

// Release ends the watch, and tells why the request was cut, nil if it was not: end has been called by then, or never
// will be. Once more does no harm.
func (w *Watch) Release() error {
	w.shard.mu.Lock()
	w.shard.remove(w)
	ended := w.ended
	w.shard.mu.Unlock()
	if ended == nil {
		return nil
	}
	<-ended
	return w.cause
}

// Cut tells why the request is cut, nil while it is not.
func (w *Watch) Cut() error {
	if !w.cut.Load() {
		return nil
	}
	return w.cause
}

// cut looks at all running requests and ends those whose token is good no more. second says that this is the look of a
// second, which counts for those that have just begun.
func (v *Verifier) cut(second bool) {
	generation := v.own.revocations.Generation() // before the looks: what is revoked meanwhile is for the next one
	now := v.db.Now()
	lost := func(w *Watch, compare bool, now time.Time) *Error { return v.own.lost(w.id, compare, now) }
	if v.outOfSight(now) {
		lost = func(*Watch, bool, time.Time) *Error { return ErrCutOutOfSight }
	}
	v.watches.cut(lost, generation, now, second)
}

// cut ends those requests of which lost tells that their token is good no more.
func (w *watches) cut(
	lost func(w *Watch, compare bool, now time.Time) *Error, generation uint64, now time.Time, second bool,
) {
	for i := range w {
		for one := w[i].take(lost, generation, now, second); one != nil; {
			next := one.next
			one.next = nil // or who keeps one would keep all that were cut with it
			one.end(one.cause)
			close(one.ended)
			one = next
		}
	}
}

// take takes those requests from the list that are to be cut, and returns them as a list. They are ended outside the
// lock: that runs what others have hung on a context.
func (s *watchShard) take(
	lost func(w *Watch, compare bool, now time.Time) *Error, generation uint64, now time.Time, second bool,
) (taken *Watch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for w := s.first; w != nil; {
		next := w.next
		switch {
		case w.seen:
			if cause := lost(w, w.generation != generation, now); cause != nil {
				s.remove(w)
				w.cause, w.ended = cause, make(chan struct{})
				w.cut.Store(true)
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
