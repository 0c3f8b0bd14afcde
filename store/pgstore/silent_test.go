package pgstore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/oauth2-passport/caddy-passport/store"
	"github.com/oauth2-passport/caddy-passport/store/pgstore/pgtest"
)

// cutFile has the database fall silent once the first part of a backup is written.
type cutFile struct {
	*os.File
	once  sync.Once
	wire  *pgtest.Wire
	quiet chan struct{} // closed then
	fault error         // of writing
}

func (f *cutFile) Write(p []byte) (int, error) {
	f.once.Do(func() {
		f.wire.Silent(true)
		close(f.quiet)
	})
	if f.fault != nil {
		return 0, f.fault
	}
	return f.File.Write(p)
}

// TestSilentDatabaseHoldsNoBackup: one that gets no answer ends within the time of one round trip, or with its caller,
// or with the node, and keeps none of them for the day that a backup may take.
func TestSilentDatabaseHoldsNoBackup(t *testing.T) {
	const patience = 5 * time.Second
	database := pgtest.Start(t).Database()
	err := records(t, database).Update(t.Context(), func(r *store.Records) error {
		for i := range 3 * scanPage {
			if err := r.PutClient(&store.Client{ID: fmt.Sprintf("c%05d", i)}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		timeout time.Duration // of a round trip
		end     func(cancel context.CancelFunc, db *store.DB)
		fault   error // of the file
		want    error
	}{
		"time is up": {time.Second, func(context.CancelFunc, *store.DB) {}, nil, store.ErrUnavailable},
		"disk full":  {time.Second, func(context.CancelFunc, *store.DB) {}, syscall.ENOSPC, syscall.ENOSPC},
		"caller":     {time.Hour, func(cancel context.CancelFunc, _ *store.DB) { cancel() }, nil, context.Canceled},
		"node":       {time.Hour, func(_ context.CancelFunc, db *store.DB) { db.Close() }, nil, store.ErrClosed},
	} {
		t.Run(name, func(t *testing.T) {
			wire := pgtest.NewWire(t, database)
			e, err := Open(t.Context(), Options{URL: wire.Through(database), Timeout: c.timeout})
			if err != nil {
				t.Fatal(err)
			}
			db, err := store.Open(t.Context(), e, "default", nil)
			if err != nil {
				t.Fatal(err)
			}
			file, err := os.Create(filepath.Join(t.TempDir(), "backup"))
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			quiet, ended := make(chan struct{}), make(chan error, 1)
			go func() {
				_, err := db.Backup(ctx, &cutFile{File: file, wire: wire, quiet: quiet, fault: c.fault})
				ended <- err
			}()
			<-quiet
			c.end(cancel, db)
			select {
			case err := <-ended:
				fault := errors.Is(err, store.ErrUnavailable) // of the database
				if !errors.Is(err, c.want) || fault != (c.want == store.ErrUnavailable) {
					t.Errorf("the backup answers %v, want %v", err, c.want)
				}
			case <-time.After(c.timeout%time.Hour + patience):
				t.Error("the backup goes on")
			}
			db.Close()
			closed, left := make(chan error, 1), make(chan struct{})
			go func() { closed <- e.Close() }()
			go func() { e.inside.Wait(); close(left) }()
			select {
			case <-left:
			case <-time.After(patience):
				t.Error("Close waits for the backup")
			}
			wire.Silent(false) // the pool gives each connection some seconds to take leave
			if err := <-closed; err != nil {
				t.Error(err)
			}
		})
	}
}

// TestReaderLeavesASilentDatabase: it waits for an answer no longer than its caller.
func TestReaderLeavesASilentDatabase(t *testing.T) {
	database := pgtest.Start(t).Database()
	wire := pgtest.NewWire(t, database)
	e, err := Open(t.Context(), Options{URL: wire.Through(database), Timeout: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	began := time.Now()
	err = e.View(ctx, func(tx store.Tx) error {
		wire.Silent(true)
		time.AfterFunc(50*time.Millisecond, cancel)
		_, err := tx.Get([]byte("key"))
		return err
	})
	if !errors.Is(err, context.Canceled) || errors.Is(err, store.ErrUnavailable) || time.Since(began) > 10*time.Second {
		t.Errorf("after %v it answers %v", time.Since(began), err)
	}
	wire.Silent(false)
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}

// TestReadersWhoGoCostNoConnections: who sends requests and leaves at once would have the database open one for each.
func TestReadersWhoGoCostNoConnections(t *testing.T) {
	e := open(t, pgtest.Start(t).Database())
	defer e.Close()
	before := e.pool.Stat().NewConnsCount()
	for range 20 {
		ctx, cancel := context.WithCancel(t.Context())
		err := e.View(ctx, func(txn store.Tx) error {
			time.AfterFunc(time.Millisecond, cancel)
			if err := txn.(*tx).query("SELECT pg_sleep(0.02)", nil, func(pgx.Rows) error { return nil }); err != nil {
				return err
			}
			_, err := txn.Get([]byte("key"))
			return err
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	}
	if opened := e.pool.Stat().NewConnsCount() - before; opened > 1 {
		t.Errorf("%d connections were opened", opened)
	}
}
