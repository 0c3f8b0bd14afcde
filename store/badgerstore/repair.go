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

// failed takes Badger out of use after a commit that failed, and opens it anew in the background. Nobody knows then what
// is on disk: a sync that failed once may succeed the next time without having written anything; and Badger ends the
// process at the next write after it could not make a new file. Closing writes what is in memory to new files.
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
	if err := e.closeBadger(h.db); err != nil {
		// Either it still holds the directory, and opening fails until it lets go, or all is well.
		e.log.Error("closing the failed storage", zap.Error(err))
	}
	for {
		fresh, err := e.open()
		if err == nil {
			e.handle.Store(fresh)
			e.log.Info("the storage is open again", zap.String("dir", e.dir.path))
			return
		}
		e.log.Error("opening the storage again", zap.Error(err))
		select {
		case <-e.background.Done():
			return
		case <-time.After(time.Second):
		}
	}
}

// checkSpace refuses to write to a disk that is nearly full.
func (e *Engine) checkSpace() error {
	if e.minFree < 0 {
		return nil
	}
	free, ok := freeSpace(e.dir.path)
	if ok && free < uint64(e.minFree) {
		return fmt.Errorf("%w: the disk of %s has %d MB left, less than %d MB", store.ErrUnavailable, e.dir.path,
			free>>20, e.minFree>>20)
	}
	return nil
}
