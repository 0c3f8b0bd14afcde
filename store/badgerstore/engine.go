// Package badgerstore is a [store.Engine] on Badger: a directory on a local disk, for one process.
//
// Badger syncs to disk once a transaction, however many wait for it. So one goroutine takes the updates that wait into
// one transaction with one sync (group commit); begin at writer. Badger is opened with buffers and files that suit a
// gateway: see badgerOptions.
package badgerstore

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/badger/v4"
	"go.uber.org/zap"

	"github.com/oauth2-passport/caddy-passport/store"
)

// Options say where and how to store.
type Options struct {
	// Dir is the directory. It is made with mode 0700 where it is missing; one that exists is empty or Badger's.
	Dir string

	// EncryptionKey of 16, 24 or 32 bytes encrypts what is written (AES); see [ParseKey]. None: not encrypted. A
	// directory stays as it began.
	EncryptionKey []byte

	// MinFree is the free space in bytes below which updates are refused with [store.ErrUnavailable]; below half of it
	// the directory is not opened. Badger does not survive a disk that is full: it writes to mapped memory. Default
	// 128 MB; below zero: it is not checked.
	MinFree int64

	// Logger gets what Badger and the engine have to say. Default: nobody.
	Logger *zap.Logger
}

// Engine is an open directory.
type Engine struct {
	dir     *directory
	opts    badger.Options
	minFree int64
	log     *zap.Logger

	handle  atomic.Pointer[handle] // nil while a failed Badger is opened anew, and once closed
	failure atomic.Pointer[error]  // why it is nil

	queue   chan *update
	updates gate          // the callers of Update
	written chan struct{} // closed when the writer has ended
	syncs   syncFaults

	closed     atomic.Bool
	closing    sync.Once
	background context.Context // ends with Close
	stop       context.CancelFunc
	tasks      sync.WaitGroup // what runs in the background

	// Tests let these fail.
	commit func(*badger.Txn) error
	free   func(path string) (bytes uint64, known bool)
}

// handle is an open Badger and those who read from it.
type handle struct {
	db     *badger.DB
	views  gate
	limits limits
}

var _ store.Engine = (*Engine)(nil)

// Open opens the directory, or makes it. An error names the directory; nothing in it has been changed then.
func Open(o Options) (*Engine, error) {
	log := o.Logger
	if log == nil {
		log = zap.NewNop()
	}
	path, err := filepath.Abs(o.Dir)
	if err != nil || o.Dir == "" {
		return nil, fmt.Errorf("storage directory %q: no usable path", o.Dir)
	}
	minFree := o.MinFree
	if minFree == 0 {
		minFree = 128 << 20
	}
	e := &Engine{
		dir:     &directory{path: path, log: log},
		minFree: minFree,
		log:     log,
		queue:   make(chan *update, maxGathered),
		written: make(chan struct{}),
	}
	e.opts = badgerOptions(path, o.EncryptionKey, newLogger(log, &e.syncs))
	e.commit, e.free = (*badger.Txn).Commit, freeSpace
	if err := e.dir.prepare(o.EncryptionKey); err != nil {
		return nil, fmt.Errorf("storage directory %s: %w", path, err)
	}
	h, err := e.open()
	if err != nil {
		return nil, err
	}
	e.handle.Store(h)
	e.background, e.stop = context.WithCancel(context.Background())
	e.tasks.Go(e.maintain)
	w := &writer{e: e}
	go w.loop()
	return e, nil
}

// open opens Badger on the directory.
func (e *Engine) open() (*handle, error) {
	if err := e.checkSpace(toOpen); err != nil {
		return nil, err
	}
	db, err := badger.Open(e.opts)
	if err != nil {
		return nil, fmt.Errorf("storage directory %s: %w", e.dir.path, e.dir.explain(err))
	}
	if err := e.dir.settle(); err != nil {
		_ = db.Close() // nothing has been written to it
		return nil, fmt.Errorf("storage directory %s: %w", e.dir.path, err)
	}
	return &handle{db: db, limits: limits{
		count: db.MaxBatchCount() - 2, // one is the mark that ends a transaction
		size:  db.MaxBatchSize() - 1024,
	}}, nil
}

// View runs fn on a consistent snapshot; see [store.Engine].
func (e *Engine) View(ctx context.Context, fn func(store.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	h, err := e.enter()
	if err != nil {
		return err
	}
	defer h.views.leave()
	txn := h.db.NewTransaction(false)
	defer txn.Discard()
	s := &snapshot{txn: txn, ctx: ctx}
	defer func() { s.txn = nil }()
	return fn(s)
}

// Update runs fn in a serializable transaction; see [store.Engine]. A panic of fn comes up in the caller's goroutine.
func (e *Engine) Update(ctx context.Context, fn func(store.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if !e.updates.enter() {
		return store.ErrClosed
	}
	defer e.updates.leave()
	u := &update{fn: fn, done: make(chan struct{})}
	select {
	case e.queue <- u:
		return u.await(ctx)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Ping tells whether the store can be read, whether the writer answers, and whether there is space to write to.
func (e *Engine) Ping(ctx context.Context) error {
	probe := func(tx store.Tx) error {
		if _, err := tx.Get([]byte{0}); err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		return nil
	}
	return e.Update(ctx, probe)
}

// Close waits for running transactions and writes what is pending. What was answered with nil is on disk before.
func (e *Engine) Close() error {
	err := store.ErrClosed
	e.closing.Do(func() {
		e.closed.Store(true)
		e.updates.close()
		close(e.queue)
		<-e.written
		e.stop()
		e.tasks.Wait()
		err = nil
		if h := e.handle.Swap(nil); h != nil {
			h.views.close()
			err = e.closeBadger(h.db)
		}
	})
	return err
}

// closeTimeout is how long Badger gets to write its tables. It tries for ever on a disk that is full, and what it has
// not written is in its log.
const closeTimeout = 30 * time.Second

func (e *Engine) closeBadger(db *badger.DB) error {
	if err := e.checkSpace(toClose); err != nil {
		return fmt.Errorf("%w: not closed; what was written is in the log and will be there when it is opened again", err)
	}
	done := make(chan error, 1)
	go func() { done <- db.Close() }()
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("storage directory %s: closing: %w", e.dir.path, err)
		}
		return nil
	case <-time.After(closeTimeout):
		return fmt.Errorf("storage directory %s: not closed within %v; what was written is in its log and will be "+
			"there when it is opened again", e.dir.path, closeTimeout)
	}
}

// enter returns the open Badger; the caller leaves its gate.
func (e *Engine) enter() (*handle, error) {
	if h := e.handle.Load(); h != nil && !e.closed.Load() && h.views.enter() {
		return h, nil
	}
	return nil, e.unavailable()
}

// unavailable is why there is no open Badger.
func (e *Engine) unavailable() error {
	if e.closed.Load() {
		return store.ErrClosed
	}
	if why := e.failure.Load(); why != nil {
		return *why
	}
	return store.ErrUnavailable
}
