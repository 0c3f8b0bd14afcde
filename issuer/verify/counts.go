package verify

import (
	"errors"
	"sync/atomic"
	"unsafe"
)

// Outcome is what came of a verification.
type Outcome int

// What can come of one.
const (
	Hit         Outcome = iota // the token is good, and was remembered
	Miss                       // the token is good, and was verified
	Refused                    // the answer is an [Error]
	Unavailable                // nothing could be found out
	outcomes
)

// String is the outcome in one word.
func (o Outcome) String() string {
	return [outcomes]string{"hit", "miss", "refused", "unavailable"}[o]
}

// Outcomes are all there are.
func Outcomes() []Outcome { return []Outcome{Hit, Miss, Refused, Unavailable} }

// Counts are how many verifications came out how. The zero value is ready; verifiers may share one.
type Counts struct {
	shards [64]countShard
}

// countShard is one cache line: requests that are verified at the same time seldom write to the same one.
type countShard struct {
	n [outcomes]atomic.Uint64
	_ [64 - 8*outcomes]byte
}

// shard is one that other goroutines seldom use: each has a stack of its own, of some kilobytes, and where that is
// costs nothing to find out.
func (c *Counts) shard() *countShard {
	var here byte
	at := uintptr(unsafe.Pointer(&here)) //nolint:gosec // a number, no pointer
	return &c.shards[(at>>11^at>>17)%uintptr(len(c.shards))]
}

// add counts one. A good token came out as good says.
func (c *Counts) add(good Outcome, err error) {
	if err != nil {
		good = Unavailable
		if _, ok := errors.AsType[*Error](err); ok {
			good = Refused
		}
	}
	c.shard().n[good].Add(1)
}

// Of is how many came out so.
func (c *Counts) Of(o Outcome) (n uint64) {
	for i := range c.shards {
		n += c.shards[i].n[o].Load()
	}
	return n
}
