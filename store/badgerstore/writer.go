package badgerstore

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync/atomic"

	"github.com/dgraph-io/badger/v4"
	"go.uber.org/zap"

	"github.com/oauth2-passport/caddy-passport/store"
)

// maxGathered is how many updates share a transaction at most.
const maxGathered = 512

// update is a call of [Engine.Update] on its way.
type update struct {
	fn    func(store.Tx) error
	state atomic.Int32
	done  chan struct{} // closed when err and panicked are set

	err      error
	panicked bool
	value    any // of the panic
}

const (
	waiting int32 = iota
	running
	abandoned
)

// await waits for the outcome, or gives up when ctx ends before fn began.
func (u *update) await(ctx context.Context) error {
	select {
	case <-u.done:
	case <-ctx.Done():
		if u.state.CompareAndSwap(waiting, abandoned) {
			return ctx.Err()
		}
		<-u.done
	}
	if u.panicked {
		panic(u.value) // where it would have come up had fn run here
	}
	return u.err
}

// writer is the one goroutine that writes. It runs the functions of the updates that wait, one after the other, over
// one transaction, and commits it with one sync to disk; then it answers them all. What they see is serial because it
// is. While the disk syncs the next ones gather.
type writer struct {
	e      *Engine
	limits limits

	txn     *badger.Txn // what the updates read below pending; nil until somebody does
	pending pending
	recent  recent    // what the updates have read lately
	ran     []*update // over pending, not yet committed
}

// loop ends when the queue is closed and empty.
func (w *writer) loop() {
	ended := false
	defer func() {
		if !ended { // an update's function ended the goroutine (runtime.Goexit, as t.FailNow does)
			go w.loop()
		}
	}()
	w.commit()
	for u := range w.e.queue {
		w.gather(u)
		w.commit()
	}
	close(w.e.written)
	ended = true
}

// gather runs u and those that wait behind it.
func (w *writer) gather(u *update) {
	for {
		w.run(u)
		if len(w.ran) >= maxGathered {
			return
		}
		select {
		case next, ok := <-w.e.queue:
			if !ok {
				return
			}
			u = next
		default:
			return
		}
	}
}

func (w *writer) run(u *update) {
	if !u.state.CompareAndSwap(waiting, running) {
		return
	}
	if err := w.ready(); err != nil {
		u.err = err
		close(u.done)
		return
	}
	w.ran = append(w.ran, u)
	if w.attempt(u) {
		return
	}
	// It does not fit. Alone it may: those before it go to disk first.
	w.ran = w.ran[:len(w.ran)-1]
	if w.pending.count > 0 {
		w.commit()
		if err := w.ready(); err != nil {
			u.err = err
			close(u.done)
			return
		}
		w.ran = append(w.ran, u)
		if w.attempt(u) {
			return
		}
		w.ran = w.ran[:len(w.ran)-1]
	}
	u.err, u.panicked, u.value = store.ErrTooLarge, false, nil
	close(u.done)
}

// ready tells whether there is something to write to.
func (w *writer) ready() error {
	if len(w.ran) > 0 {
		return nil // it was when their transaction began
	}
	h := w.e.handle.Load()
	if h == nil {
		return w.e.unavailable()
	}
	w.limits = h.limits
	return w.e.checkSpace(toWrite)
}

// attempt runs u's function. It answers false when what it writes does not fit into the transaction. What a failed
// function has written is taken back.
func (w *writer) attempt(u *update) (fits bool) {
	tx := &updateTx{w: w}
	returned := false
	defer func() {
		tx.ended = true
		fits = !tx.tooLarge
		if !returned {
			u.err = errors.New("badgerstore: the update's function has ended its goroutine")
			if value := recover(); value != nil {
				w.e.log.Error("panic in an update", zap.ByteString("stack", debug.Stack()))
				u.panicked, u.value = true, value
			}
		}
		if u.err != nil || !fits {
			w.pending.takeBack()
		} else {
			w.pending.keep()
		}
	}()
	u.err = u.fn(tx)
	returned = true
	return // as the deferred function says
}

// snapshot is what the updates of this transaction read: the same for all, for nobody else writes.
func (w *writer) snapshot() *badger.Txn {
	if w.txn == nil {
		w.txn = w.e.handle.Load().db.NewTransaction(false)
	}
	return w.txn
}

// commit writes what is pending, and answers those who ran. Also who only read, or failed, has read what his neighbours
// wrote: when that is not kept, his answer is not true either.
func (w *writer) commit() {
	if w.txn != nil {
		w.txn.Discard()
		w.txn = nil
	}
	var err error
	if w.pending.count > 0 {
		if err = w.flush(); err != nil {
			w.recent = recent{} // what is on disk, only Badger knows
		}
	}
	w.pending.reset()
	for _, u := range w.ran {
		if err != nil {
			u.err = err
		}
		close(u.done)
	}
	clear(w.ran)
	w.ran = w.ran[:0]
}

// flush writes what is pending in one transaction and returns when it is on disk.
func (w *writer) flush() error {
	h := w.e.handle.Load()
	txn := h.db.NewTransaction(true)
	defer txn.Discard()
	entries := make([]badger.Entry, 0, w.pending.count)
	err := w.pending.each(func(c *write) error {
		w.recent.forget(c.key)
		if c.kind == deleted {
			return txn.Delete([]byte(c.key))
		}
		entries = append(entries, badger.Entry{Key: []byte(c.key), Value: c.value, ExpiresAt: c.expires})
		return txn.SetEntry(&entries[len(entries)-1])
	})
	if err != nil { // nothing has been written
		return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	if err = w.e.commitSynced(txn); err != nil {
		return w.e.failed(h, err)
	}
	return nil
}
