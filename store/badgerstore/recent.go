package badgerstore

import "time"

// recentSize is how many bytes of keys and values each of the two generations of recent has at most.
const recentSize = 8 << 20

// recent remembers what updates have read, also that there was nothing. Badger looks into every table for a key, which
// costs more than most updates do otherwise, and people and clients are read in one after the other. Nobody but the
// writer writes, and it forgets what it writes: what is remembered is what Badger would answer.
//
// There are two generations. What is read goes into the young one; when that is full, it becomes the old one, and what
// was the old one is forgotten.
type recent struct {
	young, old map[string]remembered
	size       int // of young
}

// remembered is what is kept at a key.
type remembered struct {
	value   []byte // nobody writes to it
	expires uint64 // Unix time in seconds; 0: never
	absent  bool
}

// size is what an entry takes, more or less.
func (m *remembered) size(key int) int { return key + len(m.value) + 128 }

// get answers what is remembered of key.
func (r *recent) get(key []byte) (remembered, bool) {
	if found, ok := r.young[string(key)]; ok {
		return found, true
	}
	found, ok := r.old[string(key)]
	if ok {
		r.put(key, found)
	}
	return found, ok
}

func (r *recent) put(key []byte, found remembered) {
	size := found.size(len(key))
	if size > recentSize/64 {
		return
	}
	if r.size += size; r.young == nil || r.size > recentSize {
		r.old, r.young, r.size = r.young, make(map[string]remembered), size
	}
	r.young[string(key)] = found
}

// forget forgets a key that is written.
func (r *recent) forget(key string) {
	if found, ok := r.young[key]; ok {
		r.size -= found.size(len(key))
		delete(r.young, key)
	}
	delete(r.old, key)
}

// over tells whether the pair has vanished. Badger takes a second as over when it begins.
func (m *remembered) over(now time.Time) bool {
	return m.absent || m.expires != 0 && m.expires <= uint64(now.Unix())
}
