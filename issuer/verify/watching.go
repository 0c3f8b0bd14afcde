package verify

// Watching is how many requests [Verifier.Watch] has in hand: with none, nothing needs [Verifier.Run] any more.
func (v *Verifier) Watching() int {
	n := 0
	for i := range v.watches {
		shard := &v.watches[i]
		shard.mu.Lock()
		for w := shard.first; w != nil; w = w.next {
			n++
		}
		shard.mu.Unlock()
	}
	return n
}
