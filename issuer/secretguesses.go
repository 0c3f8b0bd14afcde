package issuer

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
)

// secretGuesses are the wrong guesses at clients' secrets: of each client from each address apart, so that no stranger
// locks a client out. They are kept in memory: secrets are beyond guessing, and no person is the target.
type secretGuesses struct {
	any atomic.Bool // whether there are any: those who know their secrets pay nothing

	mu sync.Mutex
	by map[string]store.Guesses
}

// Bounds of what is remembered.
const (
	maxSecretGuesses  = 1 << 14
	keepSecretGuesses = 24 * time.Hour
)

// subject is what a guess counts for. It is bounded: what can be no client's ID counts as one.
func (c *credentials) subject() string {
	id := c.id
	if !isClientID(id) {
		id = unknownID
	}
	return id + "\x00" + addressSubject(c.from)
}

// wait is how long the client has to wait before its secret is looked at.
func (g *secretGuesses) wait(c *credentials, now time.Time) time.Duration {
	if !g.any.Load() {
		return 0
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return limits[guessClient].wait(g.by[c.subject()], now)
}

// wrong counts a wrong guess. Where there are more than can be remembered, some are forgotten: who has so many
// addresses is not kept waiting by any of them.
func (g *secretGuesses) wrong(c *credentials, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.by == nil {
		g.by = make(map[string]store.Guesses)
	}
	subject := c.subject()
	of, known := g.by[subject]
	if !known && len(g.by) >= maxSecretGuesses {
		g.makeRoom(now)
	}
	g.by[subject] = store.Guesses{Failures: of.Failures + 1, LastAt: now}
	g.any.Store(true)
}

// makeRoom forgets what is old, and otherwise what comes first.
func (g *secretGuesses) makeRoom(now time.Time) {
	for subject, of := range g.by {
		if len(g.by) < maxSecretGuesses*3/4 {
			return
		}
		if now.Sub(of.LastAt) > keepSecretGuesses || limits[guessClient].wait(of, now) <= 0 {
			delete(g.by, subject)
		}
	}
	for subject := range g.by {
		if len(g.by) < maxSecretGuesses {
			return
		}
		delete(g.by, subject)
	}
}

// right makes an end of the waiting.
func (g *secretGuesses) right(c *credentials) {
	if !g.any.Load() {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.by, c.subject())
	g.any.Store(len(g.by) > 0)
}
