package badgerstore

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/oauth2-passport/caddy-passport/store"
)

// in runs do in an update.
func in(t *testing.T, e *Engine, do func(tx store.Tx) error) {
	t.Helper()
	if err := e.Update(t.Context(), do); err != nil {
		t.Fatal(err)
	}
}

// wantIn reads a key in an update; want is empty where nothing is to be there.
func wantIn(t *testing.T, e *Engine, key, want string) {
	t.Helper()
	in(t, e, func(tx store.Tx) error {
		value, err := tx.Get([]byte(key))
		if errors.Is(err, store.ErrNotFound) {
			err = nil
		}
		if string(value) != want {
			t.Errorf("%s is %q, want %q", key, value, want)
		}
		clear(value) // it is the caller's
		return err
	})
}

// TestUpdatesReadWhatIsWritten reads each key before and after it is written: what is remembered of it is forgotten.
func TestUpdatesReadWhatIsWritten(t *testing.T) {
	e := openEngine(t, Options{Dir: t.TempDir(), MinFree: -1})
	key := []byte("key")
	for range 3 {
		wantIn(t, e, "key", "")
		wantIn(t, e, "key", "")
		in(t, e, func(tx store.Tx) error { return tx.Put(key, []byte("one"), 0) })
		wantIn(t, e, "key", "one")
		wantIn(t, e, "key", "one")
		err := e.Update(t.Context(), func(tx store.Tx) error {
			return errors.Join(tx.Put(key, []byte("failed"), 0), errors.New("no"))
		})
		if err == nil {
			t.Fatal("there is no error")
		}
		wantIn(t, e, "key", "one")
		in(t, e, func(tx store.Tx) error { return tx.Put(key, []byte("two"), 2*time.Second) })
		wantIn(t, e, "key", "two")
		wantIn(t, e, "key", "two")
		in(t, e, func(tx store.Tx) error { return tx.Delete(key) })
	}
	in(t, e, func(tx store.Tx) error { return tx.Put(key, []byte("short"), time.Second) })
	wantIn(t, e, "key", "short")
	time.Sleep(2100 * time.Millisecond) // a pair vanishes to the second
	wantIn(t, e, "key", "")
}

// TestNothingIsRememberedOfAFailedCommit lets a commit write and fail: what updates have read before may be wrong.
func TestNothingIsRememberedOfAFailedCommit(t *testing.T) {
	e := openEngine(t, Options{Dir: t.TempDir(), MinFree: -1})
	wantIn(t, e, "other", "")
	commit := e.commit
	e.commit = func(txn *badger.Txn) error {
		if err := txn.SetEntry(badger.NewEntry([]byte("other"), []byte("there"))); err != nil {
			return err
		}
		return errors.Join(commit(txn), errors.New("the disk says no"))
	}
	put := func(tx store.Tx) error { return tx.Put([]byte("key"), []byte("value"), 0) }
	if err := e.Update(t.Context(), put); !errors.Is(err, store.ErrUnavailable) {
		t.Fatal(err)
	}
	e.commit = commit
	for deadline := time.Now().Add(time.Minute); e.Ping(t.Context()) != nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the storage is not open again")
		}
	}
	wantIn(t, e, "other", "there")
}

// TestRecentIsBounded remembers far more than there is room for.
func TestRecentIsBounded(t *testing.T) {
	var r recent
	value := make([]byte, 4096)
	for i := range 20_000 {
		r.put(fmt.Appendf(nil, "key %d", i), remembered{value: value})
		if found, ok := r.get([]byte("key 0")); !ok || found.absent {
			t.Fatalf("what is read all the time is forgotten after %d", i)
		}
		if n := len(r.young) + len(r.old); n > 2*recentSize/4096 {
			t.Fatalf("%d values of 4 kB are remembered", n)
		}
	}
	if _, ok := r.get([]byte("key 1")); ok {
		t.Error("what nobody reads is remembered")
	}
	r.put([]byte("huge"), remembered{value: make([]byte, recentSize/32)})
	if _, ok := r.get([]byte("huge")); ok {
		t.Error("a huge value is remembered")
	}
	r.forget("key 0")
	if _, ok := r.get([]byte("key 0")); ok {
		t.Error("what is written is remembered")
	}
}
