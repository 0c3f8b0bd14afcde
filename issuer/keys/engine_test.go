package keys_test

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
)

// memEngine is a store.Engine in memory that lives within a bubble of testing/synctest, which an engine on disk does
// not. It knows no ttl.
type memEngine struct {
	mu    sync.Mutex
	pairs map[string][]byte
	fail  error // answered by every transaction
	views atomic.Int32
}

func (e *memEngine) View(ctx context.Context, fn func(store.Tx) error) error {
	e.views.Add(1)
	return e.run(ctx, fn, false)
}

func (e *memEngine) Update(ctx context.Context, fn func(store.Tx) error) error {
	return e.run(ctx, fn, true)
}

func (e *memEngine) run(ctx context.Context, fn func(store.Tx) error, write bool) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if e.fail != nil {
		return e.fail
	}
	tx := &memTx{pairs: maps.Clone(e.pairs), write: write}
	if tx.pairs == nil {
		tx.pairs = make(map[string][]byte)
	}
	err := fn(tx)
	if err == nil && write {
		e.pairs = tx.pairs
	}
	return err
}

func (e *memEngine) setFault(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.fail = err
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
