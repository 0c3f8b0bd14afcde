package issuer

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
)

// secretAddresses are the wrong guesses at clients' secrets of each address, whichever clients they are at. RFC 6749
// §2.3.1 demands that guessing has a limit, and that of a client at an address is none for who tries one client after
// the other.
//
// To look at the secret first, and let right ones through, would be no limit either: who guesses is told by that which
// guess is right. So while an address waits nothing depends on the secret, and a right one gets the answer of a wrong
// one. But many clients may have one address, and none shall wait because of another: of those that have proven
// themselves from there within a day the secret is looked at. Who guesses at such a client still has the limit of that
// client at that address, and hears of a wrong guess what is heard of any client, so that the answers do not tell which
// clients are at work there. To be let through takes the secret of the very client that is guessed at.
//
// What is left: a client that comes to a node for the first time while somebody at its address guesses there waits for
// up to a minute, and then has to be quicker than the guesser.
//
// All of it is in memory, of each node and config for itself: a restart gives an address a hundred guesses.
type secretAddresses struct {
	any atomic.Bool // whether there are any

	mu    sync.Mutex
	by    map[string]store.Guesses // as [addressSubject] has them
	swept time.Time

	proven provenClients
}

// Bounds of what is remembered.
const (
	maxSecretAddresses = 1 << 14
	maxProvenClients   = 1 << 14
	rememberProven     = 24 * time.Hour // at least
)

// wait is how long the address has to wait before the secret of a client is looked at. Who is at no address that is
// known never waits.
func (s *secretAddresses) wait(from string, now time.Time) time.Duration {
	if !s.any.Load() {
		return 0
	}
	subject := addressSubject(from)
	s.mu.Lock()
	defer s.mu.Unlock()
	return max(0, limits[guessSecrets].wait(s.by[subject], now))
}

// count counts a wrong guess. Where there are more addresses than can be remembered, some are forgotten: who has so
// many is not kept waiting by any of them.
func (s *secretAddresses) count(from string, now time.Time) {
	subject := addressSubject(from)
	if subject == "" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep(now)
	of, found := s.by[subject]
	if !found && len(s.by) >= maxSecretAddresses {
		s.makeRoom(now)
	}
	if s.by == nil {
		s.by = make(map[string]store.Guesses)
	}
	s.by[subject] = store.Guesses{Failures: limits[guessSecrets].counted(of, now) + 1, LastAt: now}
	s.any.Store(true)
}

// sweep forgets what is forgiven, now and then.
func (s *secretAddresses) sweep(now time.Time) {
	if d := now.Sub(s.swept); d >= 0 && d < sweepSecretsEvery {
		return
	}
	s.swept = now
	for from, of := range s.by {
		if limits[guessSecrets].counted(of, now) == 0 {
			delete(s.by, from)
		}
	}
	s.any.Store(len(s.by) > 0)
}

// makeRoom forgets who does not wait, and otherwise what comes first: so many at once that a flood does not go through
// all of them at each guess.
func (s *secretAddresses) makeRoom(now time.Time) {
	for from, of := range s.by {
		if len(s.by) < maxSecretAddresses*3/4 {
			return
		}
		if limits[guessSecrets].wait(of, now) <= 0 {
			delete(s.by, from)
		}
	}
	for from := range s.by {
		if len(s.by) < maxSecretAddresses*15/16 {
			return
		}
		delete(s.by, from)
	}
}

// provenClients are the clients that have proven themselves not long ago, each with the address that they did it from,
// as [credentials.subject] has both. They are remembered for a day, and for as long as the next ones fill half of the
// room.
type provenClients struct {
	mu         sync.Mutex
	young, old map[string]struct{}
	since      time.Time // when the first of the young ones came
}

func (p *provenClients) add(subject string, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.age(now)
	if _, found := p.young[subject]; found {
		return
	}
	if len(p.young) >= maxProvenClients/2 {
		p.old, p.young, p.since = p.young, nil, now
	}
	if p.young == nil {
		p.young = make(map[string]struct{})
	}
	p.young[subject] = struct{}{}
}

func (p *provenClients) has(subject string, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.age(now)
	_, young := p.young[subject]
	_, old := p.old[subject]
	return young || old
}

// age makes the young ones old after a day, and forgets the old ones.
func (p *provenClients) age(now time.Time) {
	switch age := now.Sub(p.since); {
	case age >= 2*rememberProven:
		p.old, p.young, p.since = nil, nil, now
	case age >= rememberProven:
		p.old, p.young, p.since = p.young, nil, now
	}
}
