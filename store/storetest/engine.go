package storetest

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
)

// Engine is a [store.Engine] in memory, for the tests of what stands on one. The zero value is empty and ready.
type Engine struct {
	mu     sync.Mutex // of the fields
	pairs  map[string]item
	fault  error
	closed bool

	writing sync.Mutex     // held by an update
	running sync.WaitGroup // transactions
}

// item is a value and when it vanishes; zero: never.
type item struct {
	value string
	until time.Time
}

var _ store.Engine = (*Engine)(nil)

// Fail lets transactions answer err from now on: the commit of an update after its function has run, a view at once.
// nil lets them work again.
func (e *Engine) Fail(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.fault = err
}

// begin returns the pairs of now and the error that has been set by Fail. The caller calls e.running.Done.
func (e *Engine) begin(ctx context.Context) (pairs map[string]item, fault, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, nil, store.ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	e.running.Add(1)
	return e.pairs, e.fault, nil
}

// View runs fn on the pairs of now.
func (e *Engine) View(ctx context.Context, fn func(store.Tx) error) error {
	pairs, fault, err := e.begin(ctx)
	if err != nil {
		return err
	}
	defer e.running.Done()
	if fault != nil {
		return fault
	}
	return fn(&tx{pairs: pairs})
}

// Update runs one fn after the other, each on a copy of the pairs.
func (e *Engine) Update(ctx context.Context, fn func(store.Tx) error) error {
	if _, _, err := e.begin(ctx); err != nil {
		return err
	}
	defer e.running.Done()
	e.writing.Lock()
	defer e.writing.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	e.mu.Lock()
	t := &tx{pairs: e.pairs, write: true}
	e.mu.Unlock()
	if err := fn(t); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.fault != nil {
		return e.fault
	}
	e.pairs = t.pairs
	return nil
}

// Ping answers what has been set by Fail.
func (e *Engine) Ping(ctx context.Context) error {
	return e.View(ctx, func(store.Tx) error { return nil })
}

// Close waits for running transactions. The pairs are gone then.
func (e *Engine) Close() error {
	e.mu.Lock()
	closed := e.closed
	e.closed = true
	e.mu.Unlock()
	if closed {
		return store.ErrClosed
	}
	e.running.Wait()
	return nil
}

type tx struct {
	pairs map[string]item // not to be changed while owned is false
	write bool
	owned bool
}

func (t *tx) Get(key []byte) ([]byte, error) {
	i, ok := t.pairs[string(key)]
	if !ok || i.over() {
		return nil, store.ErrNotFound
	}
	return []byte(i.value), nil
}

func (i item) over() bool { return !i.until.IsZero() && !time.Now().Before(i.until) }

func (t *tx) Put(key, value []byte, ttl time.Duration) error {
	if err := t.own(); err != nil {
		return err
	}
	if len(key) == 0 {
		return errors.New("storetest: a key must not be empty")
	}
	i := item{value: string(value)}
	if ttl > 0 {
		i.until = time.Now().Add(ttl)
	}
	t.pairs[string(key)] = i
	return nil
}

func (t *tx) Delete(key []byte) error {
	if err := t.own(); err != nil {
		return err
	}
	delete(t.pairs, string(key))
	return nil
}

// own copies the pairs before the first write.
func (t *tx) own() error {
	if !t.write {
		return store.ErrReadOnly
	}
	if !t.owned {
		t.pairs, t.owned = maps.Clone(t.pairs), true
		if t.pairs == nil {
			t.pairs = make(map[string]item)
		}
	}
	return nil
}

func (t *tx) Scan(prefix, from []byte, fn func(key, value []byte) error) error {
	var keys []string
	for key, i := range t.pairs {
		if strings.HasPrefix(key, string(prefix)) && key >= string(from) && !i.over() {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	for _, key := range keys {
		if err := fn([]byte(key), []byte(t.pairs[key].value)); err != nil {
			if errors.Is(err, store.ErrStop) {
				return nil
			}
			return err
		}
	}
	return nil
}
