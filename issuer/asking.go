package issuer

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"
)

// A source that is asked over the network takes its time, and it is not asked for names that come first: people of the
// issuer, of the configuration, of another source. So that the time of a refusal does not tell which names those are,
// each refusal takes as long as one of the source has taken not long ago.
const (
	askedBefore = 32              // refusals whose time is remembered
	maxAskWait  = 5 * time.Second // a source that takes longer can be told from the issuer
)

// asking is how long a source took for its last refusals. To wait for one of them, rather than for their mean, is as
// uneven as the source is.
type asking struct {
	mu   sync.Mutex
	took [askedBefore]time.Duration
	n    int // how many there were
}

func (a *asking) add(took time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.took[a.n%askedBefore] = min(took, maxAskWait)
	a.n++
}

// again is how long the source may take now; zero when it has not refused anybody yet.
func (a *asking) again() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.n == 0 {
		return 0
	}
	return a.took[rand.IntN(min(a.n, askedBefore))] //nolint:gosec // nobody gains from knowing which
}

// ask asks the next source.
func (a *attempt) ask(ctx context.Context, s Source) (Profile, error) {
	a.asked++
	begin := time.Now()
	profile, err := s.Check(ctx, a.login, a.password)
	if times := a.people.asking[s.Name()]; times != nil && errors.Is(err, ErrUnknownPerson) {
		times.add(time.Since(begin))
	}
	return profile, err
}

// askNobody takes as long as the sources would that were not asked, where somebody is refused all the same. It comes
// after all that the attempt does: who hangs up meanwhile has guessed nonetheless.
func (a *attempt) askNobody(ctx context.Context) {
	wait := time.Duration(0)
	for _, s := range a.people.sources[a.asked:] {
		if times := a.people.asking[s.Name()]; times != nil {
			wait += times.again()
		}
	}
	if wait == 0 {
		return
	}
	select {
	case <-time.After(min(wait, maxAskWait)):
	case <-ctx.Done():
	}
}
