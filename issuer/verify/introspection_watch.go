package verify

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A token that was introspected may be revoked while a request with it runs (RFC 7662 §2: the answer is that of the
// moment). So the endpoint is asked again about the tokens of running requests: about each once, however many requests
// have it, when the last answer has been taken for true for as long as the cache takes it. While the endpoint cannot be
// asked, the last answer stands, as those about other issuers' keys do.

const (
	// maxAskingAgain is how many questions about running requests there are at a time. New requests wait for theirs.
	maxAskingAgain = 16
	// forgetRunning is how long a token is kept with which no request was running at the look of a second.
	forgetRunning = 10 * time.Second
)

// runningToken is a token with which requests run.
type runningToken struct {
	token   string
	until   time.Time // when it is asked about again
	expires time.Time // by the last answer
	endless bool      // which had no `exp`
	failed  bool      // the last question had no answer
	refused *Error    // what the last answer was, if the token is good no more
	seen    time.Time // when a request with it was running
}

// gone tells what is known of the token of a running request, and has it asked about when that gets old.
func (i *introspection) gone(w *Watch, now time.Time) *Error {
	e := w.id.answer
	i.mu.Lock()
	defer i.mu.Unlock()
	r := i.running[e.key]
	if r == nil { // it is the first look that finds one: most requests are over before that
		r = &runningToken{token: strings.Clone(*w.token)}
		r.take(e)
		i.running[e.key] = r
	}
	r.seen = now
	switch {
	case r.refused != nil:
		return r.refused
	case now.Before(r.expires), r.endless && !r.failed: // in the latter case the question is on its way
		return nil
	case r.endless:
		return ErrCutUnasked
	}
	return ErrExpired
}

// take takes an answer for true that says that the token is good.
func (r *runningToken) take(e *entry) {
	r.until, r.expires, r.endless = time.Unix(0, e.read.Load()), e.ExpiresAt, e.endless
	r.failed, r.refused = false, nil
}

// hear notes what came of a question, whoever asked, if requests run with the token. The lock is held.
func (i *introspection) hear(key *cacheKey, e *entry, err error) {
	r := i.running[*key]
	if r == nil {
		return
	}
	if err == nil {
		r.take(e)
	} else if refused, ok := errors.AsType[*Error](err); ok {
		r.refused = refused
	}
}

// run asks about the tokens of running requests, until ctx is done.
func (i *introspection) run(ctx context.Context) {
	second := time.NewTicker(time.Second)
	defer second.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-second.C:
			i.askAgain(ctx)
		}
	}
}

// question is one about a token with which requests run.
type question struct {
	key   cacheKey
	token string
}

// askAgain asks about those tokens of running requests of which the last answer is too old.
func (i *introspection) askAgain(ctx context.Context) {
	due := i.due(i.x.now())
	var (
		next   atomic.Int64
		asking sync.WaitGroup
	)
	for range min(len(due), maxAskingAgain) {
		asking.Go(func() {
			for n := next.Add(1); n <= int64(len(due)) && ctx.Err() == nil; n = next.Add(1) {
				i.askOne(ctx, &due[n-1])
			}
		})
	}
	asking.Wait()
}

// due returns what is to be asked, and lets go the tokens with which no request runs any more.
func (i *introspection) due(now time.Time) (due []question) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for key, r := range i.running {
		switch {
		case now.Sub(r.seen) >= forgetRunning:
			delete(i.running, key)
		case r.refused != nil, now.Before(r.until), !r.endless && !now.Before(r.expires):
		default:
			due = append(due, question{key, r.token})
		}
	}
	return due
}

// askOne asks about one of them, unless another request with it has its answer by now. Callers who keep the endpoint
// busy with tokens that they have made up do not keep it from being asked.
func (i *introspection) askOne(ctx context.Context, q *question) {
	e, err := i.find(ctx, q.token, &q.key, i.x.now(), maxFlying+maxAskingAgain)
	i.mu.Lock()
	defer i.mu.Unlock()
	i.hear(&q.key, e, err)
	r := i.running[q.key]
	if _, refused := errors.AsType[*Error](err); r == nil || err == nil || refused {
		return
	}
	r.failed, r.until = true, i.x.now().Add(min(i.config.Keep, retryFetch))
}
