package issuer

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/oauth2-passport/caddy-passport/store"
)

// secretGuesses are the wrong guesses at clients' secrets: of each client from each address apart, so that no stranger
// locks a client out; what an address guesses at many clients is limited by [secretAddresses]. Those that cost nothing
// are counted in memory alone, by each node for itself. Those from which waits come are in the store, too, for other
// nodes and the time after a restart. While somebody waits nothing is looked at, so that a flood of guesses is none of
// writes.
type secretGuesses struct {
	any atomic.Bool // whether there are any: those who know their secrets pay nothing

	mu       sync.Mutex
	by       map[string]*secretGuess // by the ID that subjects have in the store
	kept     int                     // how many of them are in the store
	keptFrom map[string]int          // and how many of an address
	swept    time.Time

	addresses secretAddresses // have a limit of their own
}

// secretGuess is what is remembered of one client at one address.
type secretGuess struct {
	store.Guesses
	kept bool   // it is in the store, or was to be
	from string // as [addressSubject] has it; empty when the store has told of it
}

// Bounds of what is remembered, and of what of it is written. Which clients there are makes no difference to any of
// them: it would tell.
const (
	maxSecretGuesses  = 1 << 14
	maxKeptGuesses    = 1 << 12
	maxKeptFrom       = 64 // of one address, which may ask for as many clients as it can think of
	keepSecretGuesses = 24 * time.Hour
	sweepSecretsEvery = time.Minute
)

// subject is what a guess counts for. It is bounded: what can be no client's ID counts as one.
func (c *credentials) subject() string {
	id := c.id
	if !isClientID(id) {
		id = unknownID
	}
	return id + "\x00" + addressSubject(c.from)
}

// guessID is the subject as the store has it.
func (c *credentials) guessID() string { return store.GuessesID(c.subject()) }

// loadSecretGuesses remembers what is in the store.
func (i *Issuer) loadSecretGuesses(ctx context.Context) error {
	found := make(map[string]store.Guesses)
	err := i.db.View(ctx, func(r *store.Records) error {
		clear(found)
		return r.GuessesOf(guessClient, func(id string, of store.Guesses) error {
			if len(found) == maxKeptGuesses {
				return store.ErrStop
			}
			found[id] = of
			return nil
		})
	})
	if err != nil {
		return fmt.Errorf("reading the guesses at clients' secrets: %w", err)
	}
	i.secrets.load(found)
	return nil
}

// wrongSecret counts a wrong guess. It does so in memory when the store does not answer; and whoever hangs up before
// the answer has guessed nonetheless.
func (i *Issuer) wrongSecret(ctx context.Context, c *credentials) {
	ctx = context.WithoutCancel(ctx)
	id, subject, from := c.guessID(), c.subject(), addressSubject(c.from)
	failures, late := i.secrets.count(id, i.db.Now())
	if late {
		return
	}
	err := i.countInStore(ctx, id, subject, from, failures)
	if err != nil {
		i.log.Error("keeping the wrong guesses at a client's secret", zap.Error(err))
	}
}

// countInStore adds what other nodes have counted, and writes what makes the guesser wait.
func (i *Issuer) countInStore(ctx context.Context, id, subject, from string, failures int) error {
	free := limits[guessClient].free
	if failures <= free {
		var of store.Guesses
		err := i.db.View(ctx, func(r *store.Records) (err error) {
			of, err = r.Guesses(guessClient, subject)
			return err
		})
		if err != nil || of.Failures == 0 {
			return err
		}
		failures = of.Failures + 1
		i.secrets.learn(id, failures)
	}
	if failures <= free || !i.secrets.keep(id, from, i.db.Now()) {
		return nil
	}
	err := i.db.Update(ctx, func(r *store.Records) error {
		of, err := r.Guesses(guessClient, subject)
		if err != nil {
			return err
		}
		// Those who guessed at the same time are counted in memory.
		failures = max(of.Failures+1, i.secrets.failures(id))
		return r.PutGuesses(guessClient, subject, store.Guesses{Failures: failures, LastAt: r.Now()})
	})
	if err != nil {
		return err
	}
	i.secrets.learn(id, failures)
	return nil
}

// rightSecret makes an end of the waiting, and remembers that the client is at work at that address.
func (i *Issuer) rightSecret(ctx context.Context, c *credentials) {
	i.secrets.addresses.proven.add(c.subject(), i.db.Now())
	if !i.secrets.any.Load() || !i.secrets.forget(c.guessID()) {
		return
	}
	subject := c.subject()
	err := i.db.Update(context.WithoutCancel(ctx), func(r *store.Records) error {
		return r.ForgetGuesses(guessClient, subject)
	})
	if err != nil {
		i.log.Error("forgetting the wrong guesses at a client's secret", zap.Error(err))
	}
}

func (g *secretGuesses) load(found map[string]store.Guesses) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.by = make(map[string]*secretGuess, len(found))
	g.keptFrom = make(map[string]int)
	for id, of := range found {
		g.by[id] = &secretGuess{Guesses: of, kept: true}
	}
	g.kept = len(found)
	g.any.Store(len(found) > 0)
}

// wait is how long the client has to wait before its secret is looked at.
func (g *secretGuesses) wait(c *credentials, now time.Time) time.Duration {
	if !g.any.Load() {
		return 0
	}
	id := c.guessID()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.sweep(now)
	if of := g.by[id]; of != nil {
		return limits[guessClient].wait(of.Guesses, now)
	}
	return 0
}

// count counts a wrong guess, and tells how many there are now. It is late when somebody waits already who guessed at
// the same time. Where there are more than can be remembered, some are forgotten: who has so many addresses is not
// kept waiting by any of them.
func (g *secretGuesses) count(id string, now time.Time) (failures int, late bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	of := g.by[id]
	if of == nil {
		if len(g.by) >= maxSecretGuesses {
			g.makeRoom(now)
		}
		of = new(secretGuess)
		g.by[id] = of
		g.any.Store(true)
	}
	late = limits[guessClient].wait(of.Guesses, now) > 0
	of.Failures++
	of.LastAt = now
	return of.Failures, late
}

// failures is how many wrong guesses are remembered.
func (g *secretGuesses) failures(id string) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	if of := g.by[id]; of != nil {
		return of.Failures
	}
	return 0
}

// learn takes note of guesses that others have counted, too, unless all of them are forgotten meanwhile.
func (g *secretGuesses) learn(id string, failures int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if of := g.by[id]; of != nil {
		of.Failures = max(of.Failures, failures)
	}
}

// keep tells whether guesses may be written.
func (g *secretGuesses) keep(id, from string, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	of := g.by[id]
	switch {
	case of == nil:
		return false
	case of.kept:
		return true
	}
	g.sweep(now)
	if g.kept >= maxKeptGuesses || g.keptFrom[from] >= maxKeptFrom {
		return false
	}
	of.kept, of.from = true, from
	g.kept++
	g.keptFrom[from]++
	return true
}

// forget tells whether what it forgets is in the store, too.
func (g *secretGuesses) forget(id string) (kept bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.remove(id)
}

func (g *secretGuesses) remove(id string) (kept bool) {
	of := g.by[id]
	if of == nil {
		return false
	}
	delete(g.by, id)
	g.any.Store(len(g.by) > 0)
	if !of.kept {
		return false
	}
	g.kept--
	if n := g.keptFrom[of.from]; n > 1 {
		g.keptFrom[of.from] = n - 1
	} else {
		delete(g.keptFrom, of.from)
	}
	return true
}

// sweep forgets what is old, now and then. The store forgets it, too.
func (g *secretGuesses) sweep(now time.Time) {
	if d := now.Sub(g.swept); d >= 0 && d < sweepSecretsEvery {
		return
	}
	g.swept = now
	for id, of := range g.by {
		if now.Sub(of.LastAt) > keepSecretGuesses {
			g.remove(id)
		}
	}
}

// makeRoom forgets who does not wait, and otherwise what comes first: so many at once that a flood does not go through
// all of them at each guess. What is in the store stays until it is old: otherwise there was no bound to that.
func (g *secretGuesses) makeRoom(now time.Time) {
	g.sweep(now)
	for id, of := range g.by {
		if len(g.by) < maxSecretGuesses*3/4 {
			return
		}
		if !of.kept && limits[guessClient].wait(of.Guesses, now) <= 0 {
			g.remove(id)
		}
	}
	for id, of := range g.by {
		if len(g.by) < maxSecretGuesses*15/16 {
			return
		}
		if !of.kept {
			g.remove(id)
		}
	}
}
