package badgerstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/oauth2-passport/caddy-passport/store"
)

const (
	maxKey   = 60_000 // Badger takes 65,000 and its own suffixes
	maxValue = valueThreshold - 1

	reservedPrefix = "!badger!" // keys of Badger's own
)

// errEnded is answered by a transaction that is used after the function which received it has returned.
var errEnded = errors.New("badgerstore: the transaction has ended")

// errScanning is answered to a write in the middle of a scan, which the scan could miss.
var errScanning = errors.New("badgerstore: a scan's function must not write")

// snapshot reads from a Badger transaction. It is the [store.Tx] of View.
type snapshot struct {
	txn *badger.Txn // nil once it has ended
	ctx context.Context
}

func (s *snapshot) Get(key []byte) ([]byte, error) {
	if s.txn == nil {
		return nil, errEnded
	}
	return get(s.txn, key)
}

func (s *snapshot) Put([]byte, []byte, time.Duration) error { return store.ErrReadOnly }
func (s *snapshot) Delete([]byte) error                     { return store.ErrReadOnly }

func (s *snapshot) Scan(prefix, from []byte, fn func(key, value []byte) error) error {
	if s.txn == nil {
		return errEnded
	}
	it := newCursor(s.txn, prefix, from)
	defer it.close()
	var value []byte
	for n := 1; it.valid(); n++ {
		var err error
		if value, err = it.value(value); err != nil {
			return err
		}
		if err := fn(it.key(), value); err != nil {
			return stopped(err)
		}
		if n%256 == 0 && s.ctx.Err() != nil { // who asked may be gone, and the scan be long
			return s.ctx.Err()
		}
		it.next()
	}
	return nil
}

// updateTx is the [store.Tx] of an update: its own and its neighbours' pending writes over a snapshot.
type updateTx struct {
	w        *writer
	scanning int
	tooLarge bool // a write did not fit: whatever the function says, the update does not count
	ended    bool
}

func (t *updateTx) Get(key []byte) ([]byte, error) {
	if t.ended {
		return nil, errEnded
	}
	switch c := t.w.pending.get(key); c.kind {
	case put:
		return bytes.Clone(c.value), nil
	case deleted:
		return nil, store.ErrNotFound
	}
	found, known := t.w.recent.get(key)
	if !known {
		var err error
		if found, err = read(t.w.snapshot(), key); err != nil {
			return nil, err
		}
		t.w.recent.put(key, found)
	}
	if found.over(time.Now()) {
		return nil, store.ErrNotFound
	}
	return bytes.Clone(found.value), nil
}

func (t *updateTx) Put(key, value []byte, ttl time.Duration) error {
	if err := t.check(key, value); err != nil {
		return err
	}
	return t.fits(t.w.pending.put(key, value, expiry(time.Now(), ttl), t.w.limits))
}

func (t *updateTx) Delete(key []byte) error {
	if err := t.check(key, nil); err != nil {
		return err
	}
	return t.fits(t.w.pending.delete(key, t.w.limits))
}

func (t *updateTx) check(key, value []byte) error {
	switch {
	case t.ended:
		return errEnded
	case t.scanning > 0:
		return errScanning
	case len(key) == 0:
		return errors.New("badgerstore: a key must not be empty")
	case bytes.HasPrefix(key, []byte(reservedPrefix)):
		return fmt.Errorf("badgerstore: keys that begin with %q are Badger's own", reservedPrefix)
	case len(key) > maxKey, len(value) > maxValue:
		return t.fits(false)
	}
	return nil
}

func (t *updateTx) fits(ok bool) error {
	if ok {
		return nil
	}
	t.tooLarge = true
	return store.ErrTooLarge
}

// Scan merges two ascending lists: what is pending, and what is stored. Where both know a key, what is pending counts.
func (t *updateTx) Scan(prefix, from []byte, fn func(key, value []byte) error) error {
	if t.ended {
		return errEnded
	}
	t.scanning++
	defer func() { t.scanning-- }()

	stored := newCursor(t.w.snapshot(), prefix, from)
	defer stored.close()
	writes := t.w.pending.from(string(start(prefix, from)))
	var key, value []byte
	for {
		var w *write
		for len(writes) > 0 && writes[0].kind == unchanged {
			writes = writes[1:]
		}
		if len(writes) > 0 && strings.HasPrefix(writes[0].key, string(prefix)) {
			w = writes[0]
		}
		if w == nil && !stored.valid() {
			return nil
		}
		order := -1 // which comes first: below zero the pending one
		if w == nil {
			order = 1
		} else if stored.valid() {
			order = strings.Compare(w.key, string(stored.key()))
		}

		if order > 0 {
			var err error
			if value, err = stored.value(value); err != nil {
				return err
			}
			if err := fn(stored.key(), value); err != nil {
				return stopped(err)
			}
			stored.next()
			continue
		}
		writes = writes[1:]
		if order == 0 {
			stored.next()
		}
		if w.kind == deleted {
			continue
		}
		// Copies: what fn does to its arguments must not reach what will be written.
		key, value = append(key[:0], w.key...), append(value[:0], w.change.value...)
		if err := fn(key, value); err != nil {
			return stopped(err)
		}
	}
}

func get(txn *badger.Txn, key []byte) ([]byte, error) {
	found, err := read(txn, key)
	if err == nil && found.absent {
		err = store.ErrNotFound
	}
	return found.value, err
}

func read(txn *badger.Txn, key []byte) (remembered, error) {
	if len(key) == 0 || len(key) > maxKey {
		return remembered{absent: true}, nil
	}
	item, err := txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return remembered{absent: true}, nil
	}
	if err != nil {
		return remembered{}, unreadable(err)
	}
	value, err := valueOf(item, nil)
	if err != nil {
		return remembered{}, err
	}
	return remembered{value: value, expires: item.ExpiresAt()}, nil
}

// cursor walks over the stored pairs under a prefix.
type cursor struct {
	it *badger.Iterator
}

func newCursor(txn *badger.Txn, prefix, from []byte) cursor {
	// Values lie beside the keys, all but large ones; fetching ahead costs a goroutine for each.
	it := txn.NewIterator(badger.IteratorOptions{Prefix: prefix, PrefetchValues: false})
	it.Seek(start(prefix, from))
	return cursor{it}
}

func (c cursor) valid() bool { return c.it.Valid() }
func (c cursor) next()       { c.it.Next() }
func (c cursor) close()      { c.it.Close() }
func (c cursor) key() []byte { return c.it.Item().Key() }

// value copies the value into buf: while Badger lends one of the value log it holds a lock, and a scan's function may
// read on.
func (c cursor) value(buf []byte) ([]byte, error) {
	return valueOf(c.it.Item(), buf[:0])
}

// valueOf copies the value of an item into buf. Where Badger can't read one in its value log, which databases from
// before have, it says so to its logger only.
func valueOf(item *badger.Item, buf []byte) ([]byte, error) {
	value, err := item.ValueCopy(buf)
	if err == nil && len(value) == 0 && item.ValueSize() > 0 {
		err = errors.New("it is not in the value log")
	}
	if err != nil {
		return nil, unreadable(err)
	}
	return value, nil
}

// start is where a scan begins.
func start(prefix, from []byte) []byte {
	if bytes.Compare(from, prefix) > 0 {
		return from
	}
	return prefix
}

func stopped(err error) error {
	if errors.Is(err, store.ErrStop) {
		return nil
	}
	return err
}

func unreadable(err error) error {
	return fmt.Errorf("%w: reading: %w", store.ErrUnavailable, err)
}

// expiry is when a pair of that lifetime vanishes, as Badger has it: the whole second that is not before it. Badger
// takes a second as over when it begins.
func expiry(now time.Time, ttl time.Duration) uint64 {
	if ttl <= 0 {
		return 0
	}
	at := now.Add(ttl)
	if at.Before(now) || at.Unix() == math.MaxInt64 { // centuries
		return 0
	}
	if at.Nanosecond() > 0 {
		return uint64(at.Unix()) + 1
	}
	return uint64(at.Unix())
}
