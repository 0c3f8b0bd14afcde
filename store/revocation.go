package store

import (
	"sync"
	"sync/atomic"
	"time"
)

// Revocation says that tokens are good no more. It is kept as a record, so that it outlives a restart and reaches other
// nodes, and in the [Revocations] in memory, which the gateway asks on each request.
type Revocation struct {
	Kind   RevocationKind `json:"kind"`
	ID     string         `json:"id"`
	Before time.Time      `json:"before,omitzero"` // tokens issued until then; zero: all
	Until  time.Time      `json:"until"`           // forget it then
}

// RevocationKind says what a [Revocation] is about.
type RevocationKind string

// What can be revoked. A revocation of a token lasts until the token has expired. Of a client, a user or a key the
// record itself tells (it is gone, or disabled): their revocations only reach those who have seen it before, who look
// again within [RecheckAfter].
const (
	RevokedToken  RevocationKind = "token"
	RevokedClient RevocationKind = "client"
	RevokedUser   RevocationKind = "user"
	RevokedKey    RevocationKind = "key"
	KeysChanged   RevocationKind = "keys" // nothing is revoked, but there are other keys now
)

// RecheckAfter is the longest that anybody may rely on what it has read of a client, a user or a key without reading it
// again. Revocations of those are kept for longer than it.
const RecheckAfter = time.Hour

const keepRevocation = 2 * RecheckAfter

// revoke writes a revocation and remembers to tell the set in memory after the commit.
func (r *Records) revoke(v Revocation) error {
	if v.Until.IsZero() {
		v.Before = r.now
		v.Until = r.now.Add(keepRevocation)
	}
	r.revoked = append(r.revoked, v)
	return r.put(r.key(kindRevocation, NewID(r.now)), v, v.Until)
}

// Revocations calls fn with each revocation that is in force, in the order in which they were made.
func (r *Records) Revocations(fn func(Revocation) error) error {
	return scan(r, r.list(kindRevocation), "", func(v Revocation) error {
		if !v.Until.After(r.now) {
			return nil
		}
		return fn(v)
	})
}

// TokenRef is what a revocation may hit: who a token is.
type TokenRef struct {
	TokenID, ClientID, UserID, KeyID string
	IssuedAt                         time.Time
}

// Revocations is the set of revocations in memory. The commits of a [DB] feed it; any goroutine may read it.
//
// Whoever keeps a verdict keeps the [Revocations.Generation] beside it, read before the verdict was made: as long as
// the generation is the same, nothing has been revoked since, and there is nothing to look up.
type Revocations struct {
	generation    atomic.Uint64
	keyGeneration atomic.Uint64

	mu   sync.RWMutex
	set  map[revocationKey]Revocation
	wait []chan<- struct{}
}

type revocationKey struct {
	kind RevocationKind
	id   string
}

// Generation changes whenever something is revoked.
func (s *Revocations) Generation() uint64 { return s.generation.Load() }

// KeyGeneration changes whenever the issuer's keys do.
func (s *Revocations) KeyGeneration() uint64 { return s.keyGeneration.Load() }

// Revoked tells whether t, or what it stands on, has been revoked.
func (s *Revocations) Revoked(t TokenRef) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.hit(RevokedToken, t.TokenID, t) || s.hit(RevokedClient, t.ClientID, t) ||
		s.hit(RevokedUser, t.UserID, t) || s.hit(RevokedKey, t.KeyID, t)
}

func (s *Revocations) hit(kind RevocationKind, id string, t TokenRef) bool {
	if id == "" {
		return false
	}
	v, ok := s.set[revocationKey{kind, id}]
	return ok && (v.Before.IsZero() || !t.IssuedAt.After(v.Before))
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
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.set)
}

// apply adds revocations to the set. The generation changes after the set has, so that a reader who saw the new
// generation sees the new set.
func (s *Revocations) apply(revoked []Revocation) {
	if len(revoked) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.set == nil {
		s.set = make(map[revocationKey]Revocation)
	}
	for _, v := range revoked {
		key := revocationKey{v.Kind, v.ID}
		if old, ok := s.set[key]; ok && old.Before.After(v.Before) && !v.Before.IsZero() {
			continue
		}
		s.set[key] = v
		if v.Kind == KeysChanged || v.Kind == RevokedKey {
			s.keyGeneration.Add(1)
		}
	}
	s.generation.Add(1)
	for _, c := range s.wait {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// sweep forgets what is over: no token that it hits can be alive.
func (s *Revocations) sweep(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, v := range s.set {
		if !v.Until.After(now) {
			delete(s.set, key)
		}
	}
}
