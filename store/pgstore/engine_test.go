package pgstore

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
	"github.com/oauth2-passport/caddy-passport/store/pgstore/pgtest"
	"github.com/oauth2-passport/caddy-passport/store/storetest"
)

// engine can be opened again by the suite.
type engine struct {
	*Engine
	url string
}

func (e engine) Reopen(t *testing.T) store.Engine { return open(t, e.url) }

func open(t testing.TB, url string) engine {
	t.Helper()
	e, err := Open(t.Context(), Options{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	return engine{e, url}
}

// node opens the records of the usual issuer on a node of its own.
func node(t *testing.T, url string) (engine, *store.DB) {
	t.Helper()
	e := open(t, url)
	db, err := store.Open(t.Context(), e, "default", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		db.Close()
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e, db
}

// records is [node] for who does not need the engine.
func records(t *testing.T, url string) *store.DB {
	t.Helper()
	_, db := node(t, url)
	return db
}

func TestEngine(t *testing.T) {
	server := pgtest.Start(t)
	storetest.Run(t, func(t *testing.T) store.Engine { return open(t, server.Database()) })
}

func TestManyNodesMakeTheTablesAtOnce(t *testing.T) {
	url := pgtest.Start(t).Database()
	var nodes sync.WaitGroup
	for range 16 {
		nodes.Go(func() {
			e, err := Open(t.Context(), Options{URL: url})
			if err != nil {
				t.Error(err)
				return
			}
			if err := e.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	nodes.Wait()
}

// TestTablesOfANewerProgramAreRefused, and stay as they are.
func TestTablesOfANewerProgramAreRefused(t *testing.T) {
	url := pgtest.Start(t).Database()
	e := open(t, url)
	defer e.Close()
	if _, err := e.pool.Exec(t.Context(), "INSERT INTO passport_schema (version) VALUES (2)"); err != nil {
		t.Fatal(err)
	}
	newer, err := Open(t.Context(), Options{URL: url})
	if err == nil || !strings.Contains(err.Error(), "run a newer one") {
		t.Errorf("got %v", err)
	}
	if err == nil {
		newer.Close()
	}
}

// TestLongViewIsNotCutShort reads for longer than an update may take: a caller who has the time is given it.
func TestLongViewIsNotCutShort(t *testing.T) {
	e, err := Open(t.Context(), Options{URL: pgtest.Start(t).Database(), Timeout: 300 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	slow := func(tx store.Tx) error {
		time.Sleep(500 * time.Millisecond)
		_, err := tx.Get([]byte("key"))
		return err
	}
	if err := e.View(t.Context(), slow); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("without a deadline: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := e.View(ctx, slow); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("with one: %v", err)
	}
}

// TestConflictOfAViewMayPass: databases that speak PostgreSQL's protocol answer a read so that meets a write.
func TestConflictOfAViewMayPass(t *testing.T) {
	e := open(t, pgtest.Start(t).Database())
	defer e.Close()
	err := e.View(t.Context(), func(txn store.Tx) error {
		return txn.(*tx).query("DO $$ BEGIN RAISE SQLSTATE '40001'; END $$", nil, nil)
	})
	if !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	if err := e.Ping(t.Context()); err != nil {
		t.Errorf("then: %v", err)
	}
}

// slowFile takes longer than an update may.
type slowFile struct{ *os.File }

func (f slowFile) Write(p []byte) (int, error) {
	time.Sleep(500 * time.Millisecond)
	return f.File.Write(p)
}

func TestBackupTakesItsTime(t *testing.T) {
	e, db := node(t, pgtest.Start(t).Database())
	e.timeout = 300 * time.Millisecond
	file, err := os.Create(filepath.Join(t.TempDir(), "backup"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := db.Backup(t.Context(), slowFile{file}); err != nil {
		t.Error(err)
	}
}
