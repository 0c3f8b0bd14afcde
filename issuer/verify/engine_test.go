package verify

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
)

// memEngine is a store.Engine in memory. It knows no ttl.
type memEngine struct {
	mu    sync.Mutex
	pairs map[string][]byte
	fail  error // answered by every transaction
	views int   // read transactions so far
}

func (e *memEngine) View(ctx context.Context, fn func(store.Tx) error) error {
	e.mu.Lock()
	e.views++
	pairs, err := e.pairs, cmpErr(ctx.Err(), e.fail)
	e.mu.Unlock()
	if err != nil {
		return err
	}
	return fn(&memTx{pairs: pairs})
}

func (e *memEngine) Update(ctx context.Context, fn func(store.Tx) error) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := cmpErr(ctx.Err(), e.fail); err != nil {
		return err
	}
	tx := &memTx{pairs: maps.Clone(e.pairs), write: true}
	if tx.pairs == nil {
		tx.pairs = make(map[string][]byte)
	}
	err := fn(tx)
	if err == nil {
		e.pairs = tx.pairs
	}
	return err
}

func cmpErr(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (e *memEngine) setFault(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.fail = err
}

func (e *memEngine) countViews() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.views
}

func (e *memEngine) Ping(context.Context) error { return nil }
func (e *memEngine) Close() error               { return nil }

type memTx struct {
	pairs map[string][]byte
	write bool
}

func (t *memTx) Get(key []byte) ([]byte, error) {
	value, ok := t.pairs[string(key)]
	if !ok {
		return nil, store.ErrNotFound
	}
	return bytes.Clone(value), nil
}

func (t *memTx) Put(key, value []byte, _ time.Duration) error {
	if !t.write {
		return store.ErrReadOnly
	}
	t.pairs[string(key)] = bytes.Clone(value)
	return nil
}

func (t *memTx) Delete(key []byte) error {
	if !t.write {
		return store.ErrReadOnly
	}
	delete(t.pairs, string(key))
	return nil
}

func (t *memTx) Scan(prefix, from []byte, fn func(key, value []byte) error) error {
	for _, key := range slices.Sorted(maps.Keys(t.pairs)) {
		if !bytes.HasPrefix([]byte(key), prefix) || key < string(from) {
			continue
		}
		if err := fn([]byte(key), t.pairs[key]); err != nil {
			if errors.Is(err, store.ErrStop) {
				return nil
			}
			return err
		}
	}
	return nil
}
