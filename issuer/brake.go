package issuer

import (
	"context"
	"sync"
	"time"
)

// Whoever is told to come again is told so a second later where many are, as long as not too many wait for it: a loop
// that asks without end takes less of the machine then.
const (
	holdBack    = time.Second
	maxHeldBack = 512
	freeAnswers = 32 // a second
)

// brake holds back answers.
type brake struct {
	length time.Duration
	places chan struct{} // full while as many wait as may

	mu    sync.Mutex
	spent time.Time // until when the free answers are used up
}

var holding = newBrake(holdBack)

func newBrake(length time.Duration) *brake {
	return &brake{length: length, places: make(chan struct{}, maxHeldBack)}
}

// hold holds back an answer, unless there are few.
func (b *brake) hold(ctx context.Context) {
	if b.free(time.Now()) {
		return
	}
	select {
	case b.places <- struct{}{}:
		defer func() { <-b.places }()
	default:
		return
	}
	select {
	case <-time.After(b.length):
	case <-ctx.Done():
	}
}

func (b *brake) free(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if saved := now.Add(-time.Second); b.spent.Before(saved) {
		b.spent = saved
	}
	if b.spent.After(now) {
		return false
	}
	b.spent = b.spent.Add(time.Second / freeAnswers)
	return true
}
