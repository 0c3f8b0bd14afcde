package badgerstore

import (
	"bytes"
	"slices"
	"strings"
	"unsafe"
)

// pending are the writes of the updates that share a transaction, before it is committed. Later updates of the same
// transaction read them; an update that fails takes its own back, by the undo list.
//
// Most updates never scan, so that the order of the keys is made only when somebody asks for it.
type pending struct {
	byKey  map[string]*write
	sorted []*write // ascending by key
	fresh  []*write // not in sorted yet

	undo  []undo
	count int64 // of keys that will be written
	size  int64 // what they cost of Badger's limit for a transaction
}

// write is what the transaction will do to a key.
type write struct {
	key string
	change
}

type change struct {
	kind    changeKind
	expires uint64 // Unix time in seconds; 0: never
	value   []byte
}

type changeKind uint8

const (
	unchanged changeKind = iota // taken back: what is below counts
	put
	deleted
)

type undo struct {
	write *write
	old   change
}

// get returns the pending change of key; of kind unchanged when there is none.
func (p *pending) get(key []byte) change {
	if w, ok := p.byKey[string(key)]; ok {
		return w.change
	}
	return change{}
}

// put keeps copies of key and value. It answers false, and changes nothing, when limit would be passed.
func (p *pending) put(key, value []byte, expires uint64, limit limits) bool {
	return p.change(key, change{kind: put, expires: expires, value: value}, limit)
}

// delete is put for a deletion.
func (p *pending) delete(key []byte, limit limits) bool {
	return p.change(key, change{kind: deleted}, limit)
}

func (p *pending) change(key []byte, c change, limit limits) bool {
	w, known := p.byKey[string(key)]
	var old change
	if known {
		old = w.change
	}
	count, size := p.count, p.size
	if old.kind != unchanged {
		count--
		size -= cost(len(key), len(old.value))
	}
	count++
	size += cost(len(key), len(c.value))
	if count > limit.count || size > limit.size {
		return false
	}
	p.count, p.size = count, size

	if known {
		c.value = bytes.Clone(c.value)
	} else {
		// One allocation holds the key and the value; nobody writes to it again.
		both := make([]byte, len(key)+len(c.value))
		copy(both, key)
		copy(both[len(key):], c.value)
		c.value = both[len(key):]
		w = &write{key: unsafe.String(unsafe.SliceData(both), len(key))}
		if p.byKey == nil {
			p.byKey = make(map[string]*write)
		}
		p.byKey[w.key] = w
		p.fresh = append(p.fresh, w)
	}
	p.undo = append(p.undo, undo{w, old})
	w.change = c
	return true
}

// keep makes what was written since the last keep or takeBack part of the transaction.
func (p *pending) keep() {
	clear(p.undo)
	p.undo = p.undo[:0]
}

// takeBack undoes what was written since the last keep or takeBack.
func (p *pending) takeBack() {
	for _, u := range slices.Backward(p.undo) {
		p.account(u.write, -1)
		u.write.change = u.old
		p.account(u.write, +1)
	}
	p.keep()
}

func (p *pending) account(w *write, sign int64) {
	if w.kind == unchanged {
		return
	}
	p.count += sign
	p.size += sign * cost(len(w.key), len(w.value))
}

// from returns the writes whose key is not less than start, ascending; those of kind unchanged among them.
func (p *pending) from(start string) []*write {
	if len(p.fresh) > 0 {
		slices.SortFunc(p.fresh, compareWrites)
		p.merge()
	}
	i, _ := slices.BinarySearchFunc(p.sorted, start, func(w *write, start string) int {
		return strings.Compare(w.key, start)
	})
	return p.sorted[i:]
}

// merge moves the sorted fresh writes into sorted, from the end, in place.
func (p *pending) merge() {
	i, j := len(p.sorted)-1, len(p.fresh)-1
	p.sorted = append(p.sorted, p.fresh...)
	for k := len(p.sorted) - 1; j >= 0; k-- {
		if i >= 0 && p.sorted[i].key > p.fresh[j].key {
			p.sorted[k] = p.sorted[i]
			i--
		} else {
			p.sorted[k] = p.fresh[j]
			j--
		}
	}
	clear(p.fresh)
	p.fresh = p.fresh[:0]
}

// each calls fn with every write that is to be made, in no order, until it returns an error.
func (p *pending) each(fn func(*write) error) error {
	for _, list := range [...][]*write{p.sorted, p.fresh} {
		for _, w := range list {
			if w.kind == unchanged {
				continue
			}
			if err := fn(w); err != nil {
				return err
			}
		}
	}
	return nil
}

// reset forgets everything; it keeps the memory of an ordinary transaction, and lets that of a huge one go.
func (p *pending) reset() {
	const ordinary = 4096
	if len(p.byKey) > ordinary {
		*p = pending{}
		return
	}
	clear(p.byKey)
	clear(p.sorted)
	clear(p.fresh)
	clear(p.undo)
	p.sorted, p.fresh, p.undo = p.sorted[:0], p.fresh[:0], p.undo[:0]
	p.count, p.size = 0, 0
}

func compareWrites(a, b *write) int { return strings.Compare(a.key, b.key) }

// limits are what fits into one transaction of Badger.
type limits struct {
	count, size int64
}

// cost is what a pair takes of limits.size: Badger counts a key with its version, a value, and a little of its own.
func cost(key, value int) int64 {
	const overhead = 24
	return int64(key+value) + overhead
}
