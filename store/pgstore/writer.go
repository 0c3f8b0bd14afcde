package pgstore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/oauth2-passport/caddy-passport/store"
)

// Updates that come at the same time share a transaction, and with it its round trips and its sync to the disk: while
// some are on their way others gather. What they see is serial, for their functions run one after the other.
const (
	maxWriters  = 2        // transactions at a time that write: while one is synced another is made
	maxGathered = 64       // updates of one
	enough      = 64 << 10 // bytes of writes after which no other update joins
)

// update is a call of [Engine.Update].
type update struct {
	fn    func(store.Tx) error
	state atomic.Int32
	done  chan struct{} // closed when it has been answered

	err      error // the answer
	panicked bool  // fn has, with value
	value    any
}

// States of an update.
const (
	waiting int32 = iota
	running
	abandoned // the caller has gone before fn began
)

// Update runs fn in a serializable transaction, again when it met another's. Its writes are sent with the commit, in
// one round trip.
func (e *Engine) Update(ctx context.Context, fn func(store.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := e.enter(); err != nil {
		return err
	}
	defer e.inside.Done()
	u := &update{fn: fn, done: make(chan struct{})}
	e.line(u)
	late := time.NewTimer(e.timeout)
	defer late.Stop()
	// Once begun, the outcome is waited for, whatever becomes of the caller: the answer is always the truth.
	select {
	case <-u.done:
	case <-ctx.Done():
		if u.state.CompareAndSwap(waiting, abandoned) {
			return ctx.Err()
		}
		<-u.done
	case <-late.C:
		if u.state.CompareAndSwap(waiting, abandoned) {
			return fmt.Errorf("%w: no connection within %v", store.ErrUnavailable, e.timeout)
		}
		<-u.done
	}
	if u.panicked {
		panic(u.value) // where it would have come up had fn run here
	}
	return u.err
}

// line puts u in line. A writer comes for it.
func (e *Engine) line(u *update) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.queue = append(e.queue, u)
	if e.writers < maxWriters {
		e.writers++
		go e.write()
	}
}

// gather takes those that are first in line. When there are none the writer is no more.
func (e *Engine) gather() []*update {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := min(len(e.queue), maxGathered)
	batch := make([]*update, 0, n)
	for _, u := range e.queue[:n] {
		if u.state.CompareAndSwap(waiting, running) {
			batch = append(batch, u)
		}
	}
	if e.queue = e.queue[n:]; n == 0 {
		e.queue = nil
		e.writers--
		return nil
	}
	return batch
}

// write answers the updates that are in line.
func (e *Engine) write() {
	var batch []*update
	over := false
	defer func() {
		if !over { // an update's function ended the goroutine (runtime.Goexit, as t.FailNow does)
			answer(batch, fmt.Errorf("%w: the function of an update has not returned", store.ErrUnavailable))
			go e.write()
		}
	}()
	for {
		if batch = e.gather(); batch == nil {
			break
		}
		for len(batch) > 0 {
			batch = e.writeBatch(batch)
		}
	}
	over = true
}

// answer ends updates; with err where that is not nil, otherwise with what their functions have answered.
func answer(batch []*update, err error) {
	for _, u := range batch {
		if err != nil {
			u.err, u.panicked, u.value = err, false, nil
		}
		close(u.done)
	}
}

// writeBatch runs the updates in one transaction, or some of them, and answers these. It returns the others.
func (e *Engine) writeBatch(batch []*update) (rest []*update) {
	ctx, cancel := context.WithTimeout(context.Background(), e.timeout)
	defer cancel()
	n, err := e.attemptBatch(ctx, batch)
	if conflict(err) {
		n, err = e.retry(ctx, batch[:n])
	}
	if n > 1 && isOfOne(err) {
		n, err = e.attemptBatch(ctx, batch[:1])
		if conflict(err) {
			n, err = e.retry(ctx, batch[:1])
		}
	}
	answer(batch[:n], err)
	return batch[n:]
}

// retry runs a batch again that met another transaction. Those of this process that did wait for each other from now
// on, or they would go on meeting.
func (e *Engine) retry(ctx context.Context, batch []*update) (n int, err error) {
	select {
	case e.retrying <- struct{}{}:
		defer func() { <-e.retrying }()
	case <-ctx.Done():
		return len(batch), fmt.Errorf("%w: %w", store.ErrUnavailable, ctx.Err())
	}
	for attempt := 0; ; attempt++ {
		if n, err = e.attemptBatch(ctx, batch); !conflict(err) {
			return n, err
		}
		pause := time.Duration(rand.Int64N(int64(time.Millisecond) << min(attempt, 6))) //nolint:gosec // any will do
		select {
		case <-ctx.Done():
			return n, fmt.Errorf("%w: %w", store.ErrUnavailable, err)
		case <-time.After(pause):
		}
	}
}

// isOfOne tells whether an error may be about one update of many, whose transaction the database has rolled back: not
// one that says that it is short of something, is shut down or broken, that nothing can be written there, or that the
// commit may have come through (CockroachDB's 40003).
func isOfOne(err error) bool {
	if errors.Is(err, store.ErrTooLarge) {
		return true
	}
	pg, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || len(pg.Code) != 5 {
		return false
	}
	switch pg.Code[:2] {
	case "08", "0A", "25", "40", "53", "57", "58", "XX":
		return false
	}
	return true
}

// attemptBatch runs updates in one transaction, and tells how many of them: the first ones. The error is about all of
// them.
func (e *Engine) attemptBatch(ctx context.Context, batch []*update) (n int, err error) {
	conn, err := e.pool.Acquire(ctx)
	if err != nil {
		return len(batch), unavailable(err)
	}
	defer conn.Release() // a connection that is left within a transaction is closed by the pool
	t := &tx{ctx: ctx, conn: conn.Conn(), begin: "BEGIN ISOLATION LEVEL SERIALIZABLE"}
	defer t.abandon()
	kept := false
	for _, u := range batch {
		if n++; u.run(t) {
			kept = true
		}
		if t.fault != nil {
			return n, t.fault // what went wrong, not what fn made of it
		}
		if t.size >= enough {
			break
		}
	}
	if !kept {
		return n, nil
	}
	err = t.commit()
	if len(t.writes) > 0 {
		e.room.note(err)
	}
	return n, err
}

// run runs the function, and tells whether what it wrote is to be kept.
func (u *update) run(t *tx) (kept bool) {
	t.undo = t.undo[:0]
	u.err, u.panicked, u.value = nil, false, nil
	returned := false
	defer func() {
		if !returned {
			u.value = recover()
			u.panicked = u.value != nil // else it is runtime.Goexit
		}
		if !kept {
			t.takeBack()
		}
	}()
	u.err = u.fn(t)
	returned = true
	return u.err == nil
}
