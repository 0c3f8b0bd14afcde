package badgerstore

import (
	"errors"
	"fmt"
	"time"

	"github.com/dgraph-io/badger/v4"
	"go.uber.org/zap"

	"github.com/oauth2-passport/caddy-passport/store"
)

// commitSynced commits txn and returns when the disk has it, and the names of the files that it is in.
func (e *Engine) commitSynced(txn *badger.Txn) error {
	faults := e.syncs.count()
	if err := e.commit(txn); err != nil {
		return err
	}
	if e.syncs.count() != faults {
		return errors.New("syncing the value log")
	}
	return e.dir.settle()
}

// failed takes Badger out of use after a commit that failed, and opens it anew in the background. Nobody knows then
// what is on disk: a sync that failed once may succeed the next time without having written anything; and Badger ends
// the process at the next write after it could not make a new file. Closing writes what is in memory to new files.
func (e *Engine) failed(h *handle, cause error) error {
	err := fmt.Errorf("%w: writing to %s: %w", store.ErrUnavailable, e.dir.path, cause)
	e.log.Error("a commit failed; the storage is opened anew", zap.String("dir", e.dir.path), zap.Error(cause))
	e.failure.Store(&err)
	e.handle.Store(nil)
	e.tasks.Go(func() { e.reopen(h) })
	return err
}

// reopen closes a Badger that failed and opens it again, until that succeeds or the engine is closed.
func (e *Engine) reopen(h *handle) {
	h.views.close()
	wait := time.Second
	for closed := false; ; {
		if !closed && e.checkSpace(toClose) == nil {
			closed = true
			if err := e.closeBadger(h.db); err != nil {
				// Either it still holds the directory, and opening fails until it lets go, or all is well.
				e.log.Error("closing the failed storage", zap.Error(err))
			}
		}
		if closed {
			fresh, err := e.open()
			if err == nil {
				e.handle.Store(fresh)
				e.log.Info("the storage is open again", zap.String("dir", e.dir.path))
				return
			}
			e.log.Error("opening the storage again", zap.Error(err))
		}
		select {
		case <-e.background.Done():
			return
		case <-time.After(wait):
		}
		wait = min(2*wait, 30*time.Second) // each Badger that cannot be opened leaves something behind
	}
}

// The parts of [Options.MinFree] that must be left. To open and to close, Badger writes what is in its logs to tables.
const (
	toWrite = 1
	toOpen  = 2
	toClose = 2
)

// checkSpace refuses to write to a disk that is nearly full. Badger would end the process with SIGBUS once it is full.
func (e *Engine) checkSpace(part int64) error {
	if e.minFree < 0 {
		return nil
	}
	want := e.minFree / part
	if free, ok := e.free(e.dir.path); ok && free < uint64(want) {
		return fmt.Errorf("%w: the disk of %s has %d MB left, less than %d MB", store.ErrUnavailable, e.dir.path,
			free>>20, want>>20)
	}
	return nil
}
