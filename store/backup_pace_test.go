package store_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
)

// stillFile is a file whose disk stands still for a while, at the first write.
type stillFile struct{ still time.Duration }

func (f *stillFile) Write(p []byte) (int, error) {
	time.Sleep(f.still)
	f.still = 0
	return len(p), nil
}

func (*stillFile) Seek(int64, int) (int64, error) { return 0, nil }
func (*stillFile) Truncate(int64) error           { return nil }

// backupLength is how long a backup of paceRecords takes on a machine that has nothing else to do.
const (
	paceRecords  = 11_000
	backupLength = 95 * time.Millisecond // the last step needs no rest
)

// paced runs fn in a bubble of time on a database that has so many records.
func paced(t *testing.T, fn func(h *house)) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.update(func(r *store.Records) error {
			for i := range paceRecords {
				if err := r.PutClient(&store.Client{ID: fmt.Sprintf("c%05d", i)}); err != nil {
					return err
				}
			}
			return nil
		})
		fn(h)
	})
}

// TestBackupIsWrittenAtItsPace, which leaves the machine to others: also after it has stood still, when it would have
// all that it is behind to write at once.
func TestBackupIsWrittenAtItsPace(t *testing.T) {
	for _, still := range []time.Duration{0, 20 * time.Millisecond, time.Second} {
		paced(t, func(h *house) {
			began := time.Now()
			if _, err := h.db.Backup(h.Context(), &stillFile{still}); err != nil {
				h.Fatal(err)
			}
			caughtUp := min(still, 50*time.Millisecond) // a little, so that a busy machine keeps the pace
			least := still + backupLength - caughtUp
			if took := time.Since(began); took < least-10*time.Millisecond || took > least+10*time.Millisecond {
				h.Errorf("with a disk that stands still for %v it took %v, want %v", still, took, least)
			}
		})
	}
}

// ending backs up, lets end end it after 20 ms, in the middle of a rest, and answers the error.
func ending(ctx context.Context, h *house, end func()) error {
	h.Helper()
	began := time.Now()
	answered := make(chan error)
	go func() {
		_, err := h.db.Backup(ctx, new(stillFile))
		answered <- err
	}()
	time.Sleep(20 * time.Millisecond)
	end()
	err := <-answered
	if took := time.Since(began); took != 20*time.Millisecond {
		h.Errorf("it ended after %v", took)
	}
	return err
}

func TestBackupEndsWithItsCaller(t *testing.T) {
	paced(t, func(h *house) {
		ctx, cancel := context.WithCancel(h.Context())
		if err := ending(ctx, h, cancel); !errors.Is(err, context.Canceled) {
			h.Errorf("it answers %v", err)
		}
	})
}

// TestCloseEndsABackup: who stops Caddy does not wait for the rest of it.
func TestCloseEndsABackup(t *testing.T) {
	paced(t, func(h *house) {
		err := ending(h.Context(), h, func() {
			h.db.Close()
			if err := h.engine.Close(); err != nil {
				h.Error(err)
			}
		})
		if !errors.Is(err, store.ErrClosed) {
			h.Errorf("it answers %v", err)
		}
	})
}
