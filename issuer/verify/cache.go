package verify

import (
	"crypto/sha256"
	"encoding/binary"
	"sync/atomic"
	"time"
)

// entry is a token that has been found good: who it is, and what must be asked again before it is taken once more.
// What a route demanded of it is not in here.
type entry struct {
	Identity
	key cacheKey

	generation atomic.Uint64 // of the revocations that it has been compared with
	read       atomic.Int64  // when its client and its person were read from the store, in nanoseconds since 1970
	used       atomic.Bool   // since the cache last looked for room
	revoked    atomic.Bool   // for good; it stays so that the next request with it is cheap
	endless    bool          // its issuer names no `exp`: ExpiresAt is until when it is relied upon
}

// worthless tells whether the entry is the first to make room.
func (e *entry) worthless(now time.Time) bool {
	return e.revoked.Load() || !now.Before(e.ExpiresAt) || e.opaque != nil && e.opaque.idle(now)
}

// cacheKey is the SHA-256 of a token: memory holds no tokens, and nobody can choose where one goes.
type cacheKey [sha256.Size]byte

const (
	ways             = 8 // slots of a set: the pointers of one set are one cache line
	defaultCacheSize = 64 << 10
)

// cache is a set-associative cache without locks: the key chooses a set of slots, and a token is in one of them. Its
// size never changes. Only tokens that were found good come in, so that a flood of others leaves it alone. Whoever
// needs room takes a slot that is free or worthless, or else by second chance (CLOCK) one that has not been used since
// the last who needed room came by.
type cache struct {
	slots []atomic.Pointer[entry]
	mask  uint64 // of the number of sets
}

// newCache makes a cache for at least size tokens.
func newCache(size int) *cache {
	sets := 1
	for sets*ways < size {
		sets *= 2
	}
	return &cache{make([]atomic.Pointer[entry], sets*ways), uint64(sets - 1)}
}

func (c *cache) set(key *cacheKey) []atomic.Pointer[entry] {
	first := binary.LittleEndian.Uint64(key[:8]) & c.mask * ways
	return c.slots[first : first+ways : first+ways]
}

// get returns the entry of the token, or nil.
func (c *cache) get(key *cacheKey) *entry {
	set := c.set(key)
	for i := range set {
		if e := set[i].Load(); e != nil && e.key == *key {
			if !e.used.Load() { // all requests with the token share it: write only when it changes something
				e.used.Store(true)
			}
			return e
		}
	}
	return nil
}

// put adds an entry, in the place of another one for the same token if there is one. When others take the slots at the
// same moment it gives up after a few attempts: the token will come again.
func (c *cache) put(e *entry, now time.Time) {
	set := c.set(&e.key)
	for range 4 {
		slot, old := choose(set, e, now)
		if slot.CompareAndSwap(old, e) {
			return
		}
	}
}

// choose finds the slot that e goes to, and what is in it.
func choose(set []atomic.Pointer[entry], e *entry, now time.Time) (slot *atomic.Pointer[entry], old *entry) {
	for i := range set {
		other := set[i].Load()
		if other != nil && other.key == e.key {
			return &set[i], other
		}
		if slot == nil && (other == nil || other.worthless(now)) {
			slot, old = &set[i], other
		}
	}
	if slot != nil {
		return slot, old
	}
	first := int(e.key[8]) // the hand of the clock: anywhere
	for i := range set {
		at := &set[(first+i)%ways]
		other := at.Load()
		if other == nil || !other.used.Swap(false) {
			return at, other
		}
	}
	slot = &set[first%ways]
	return slot, slot.Load()
}

// sweep lets go what is worthless.
func (c *cache) sweep(now time.Time) {
	for i := range c.slots {
		if e := c.slots[i].Load(); e != nil && e.worthless(now) {
			c.slots[i].CompareAndSwap(e, nil)
		}
	}
}

// len is how many entries there are.
func (c *cache) len() (n int) {
	for i := range c.slots {
		if c.slots[i].Load() != nil {
			n++
		}
	}
	return n
}
