package store

import (
	"hash/maphash"
	"maps"
	"sync"
	"sync/atomic"
	"time"
)

// Revocations is the set of revocations in memory. The commits of a [DB] feed it; any goroutine may read it.
//
// Whoever keeps a verdict keeps the [Revocations.Generation] beside it, read before the verdict was made: as long as
// the generation is the same, nothing has been revoked since, and there is nothing to look up.
type Revocations struct {
	generation    atomic.Uint64
	keyGeneration atomic.Uint64

	tokens [64]revokedTokens // by the hash of the token's ID, so that requests seldom meet at a lock
	things atomic.Pointer[revokedThings]

	mu   sync.Mutex // who writes
	wait []chan<- struct{}
}

// revokedTokens are token IDs, each with the Unix time in seconds at which its token is over.
type revokedTokens struct {
	mu    sync.RWMutex
	until map[string]int64
	_     [32]byte // the rest of a cache line: the next one's lock is somebody else's
}

var tokenSeed = maphash.MakeSeed()

func (s *Revocations) shard(tokenID string) *revokedTokens {
	return &s.tokens[maphash.String(tokenSeed, tokenID)%uint64(len(s.tokens))]
}

// Generation changes whenever something is revoked.
func (s *Revocations) Generation() uint64 { return s.generation.Load() }

// KeyGeneration changes whenever the issuer's keys do.
func (s *Revocations) KeyGeneration() uint64 { return s.keyGeneration.Load() }

// Revoked tells whether t, or what it stands on, has been revoked.
func (s *Revocations) Revoked(t TokenRef) bool {
	if things := s.things.Load(); things != nil && len(*things) > 0 {
		m := *things
		if m.hit(RevokedClient, t.ClientID, t) || m.hit(RevokedUser, t.UserID, t) || m.hit(RevokedKey, t.KeyID, t) {
			return true
		}
	}
	return s.revoked(t.TokenID) || s.revoked(t.FamilyID)
}

func (s *Revocations) revoked(id string) bool {
	if id == "" {
		return false
	}
	shard := s.shard(id)
	shard.mu.RLock()
	_, revoked := shard.until[id]
	shard.mu.RUnlock()
	return revoked
}

// UserChanged tells whether what is kept of a person has changed since it was read then.
func (s *Revocations) UserChanged(userID string, read time.Time) bool {
	things := s.things.Load()
	return things != nil && things.hit(UserChanged, userID, TokenRef{IssuedAt: read})
}

// Notify sends to c, without waiting, after each change of the set, until the returned function is called.
func (s *Revocations) Notify(c chan<- struct{}) (stop func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wait = append(s.wait, c)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for i, other := range s.wait {
			if other == c {
				s.wait = append(s.wait[:i:i], s.wait[i+1:]...)
				return
			}
		}
	}
}

// Len is the number of revocations in memory.
func (s *Revocations) Len() int {
	n := 0
	if things := s.things.Load(); things != nil {
		n = len(*things)
	}
	for i := range s.tokens {
		shard := &s.tokens[i]
		shard.mu.RLock()
		n += len(shard.until)
		shard.mu.RUnlock()
	}
	return n
}

// apply adds revocations to the set. The generation changes after the set has, so that a reader who saw the new
// generation sees the new set.
func (s *Revocations) apply(revoked []Revocation) {
	if len(revoked) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var things revokedThings // a copy, once there is something to add
	changed, keysChanged := false, false
	for _, v := range revoked {
		if v.Kind == RevokedToken {
			changed = s.shard(v.ID).add(v) || changed
			continue
		}
		if things == nil {
			things = s.copyThings()
		}
		things.add(v)
		keysChanged = keysChanged || v.Kind == KeysChanged || v.Kind == RevokedKey
	}
	if things != nil {
		s.things.Store(&things)
	} else if !changed {
		return // to revoke a token again is nothing new
	}
	if keysChanged {
		s.keyGeneration.Add(1)
	}
	s.generation.Add(1)
	for _, c := range s.wait {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

func (s *Revocations) copyThings() revokedThings {
	things := make(revokedThings)
	if old := s.things.Load(); old != nil {
		maps.Copy(things, *old)
	}
	return things
}

// add tells whether the token was not in the set before.
func (t *revokedTokens) add(v Revocation) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.until == nil {
		t.until = make(map[string]int64)
	}
	old, known := t.until[v.ID]
	t.until[v.ID] = max(old, v.Until.Unix()+1) // the second in which it ends is not over
	return !known
}

// sweep forgets what is over: no token that it hits can be alive.
func (s *Revocations) sweep(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	things := s.copyThings()
	maps.DeleteFunc(things, func(_ revocationKey, v Revocation) bool { return !v.Until.After(now) })
	s.things.Store(&things)
	for i := range s.tokens {
		s.tokens[i].sweep(now.Unix())
	}
}

func (t *revokedTokens) sweep(now int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id, until := range t.until {
		if until <= now {
			delete(t.until, id)
		}
	}
}
