package badgerstore

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/oauth2-passport/caddy-passport/store"
)

// TestGarbageOfTheValueLogIsCollected writes values over and over as databases from before have them, until files of the
// value log hold little but garbage.
func TestGarbageOfTheValueLogIsCollected(t *testing.T) {
	o := Options{Dir: t.TempDir()}
	size := func() (total int64) {
		files, err := filepath.Glob(filepath.Join(o.Dir, "*.vlog"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if info, err := os.Stat(file); err == nil {
				total += info.Size()
			}
		}
		return total
	}
	value := func(round, i int) []byte { return bytes.Repeat(fmt.Appendf(nil, "%d,%d;", round, i), 5000) }
	const rounds, keys = 30, 40
	for round := range rounds {
		before := badgerOptions(o.Dir, nil, nil)
		before.ValueThreshold = 1 << 10
		db, err := badger.Open(before)
		if err != nil {
			t.Fatal(err)
		}
		batch := db.NewWriteBatch()
		for i := range keys {
			if err := batch.Set(fmt.Appendf(nil, "key %d", i), value(round, i)); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(batch.Flush(), db.Close()); err != nil {
			t.Fatal(err)
		}
	}
	before := size()
	e := openEngine(t, o)
	if err := e.handle.Load().db.Flatten(1); err != nil { // what is garbage comes out when tables are merged
		t.Fatal(err)
	}
	e.collect()
	if err := e.View(t.Context(), func(tx store.Tx) error {
		for i := range keys {
			got, err := tx.Get(fmt.Appendf(nil, "key %d", i))
			if err != nil || !bytes.Equal(got, value(rounds-1, i)) {
				t.Errorf("key %d: %d bytes, %v", i, len(got), err)
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if after := size(); after > before/4 {
		t.Errorf("the value log had %d kB and has %d kB", before>>10, after>>10)
	}
	e.collect() // on a closed engine: nothing
}

// TestEveryGoroutineEndsWithClose opens and closes engines, some of which cannot be opened.
func TestEveryGoroutineEndsWithClose(t *testing.T) {
	dir, key := t.TempDir(), bytes.Repeat([]byte("k"), 32)
	before := runtime.NumGoroutine()
	for i := range 5 {
		e, err := Open(Options{Dir: dir, EncryptionKey: key})
		if err != nil {
			t.Fatal(err)
		}
		if err := putKey(t, e, fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
		for _, o := range []Options{{Dir: dir}, {Dir: dir, EncryptionKey: key[:16]}, {Dir: dir, EncryptionKey: key}} {
			_, err := Open(o)
			if err == nil {
				t.Fatal("opened twice")
			}
			want := "storage directory " + dir + ": it is in use by this process already"
			if len(o.EncryptionKey) == len(key) && err.Error() != want {
				t.Errorf("opened twice: %v, want %s", err, want)
			}
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "all goroutines end", func() bool { return runtime.NumGoroutine() <= before })
}

// TestFootprint holds what 100,000 tokens take: 150 MB of files, whether there is something in them or not, and of
// memory, when nothing is going on, 60 MB.
func TestFootprint(t *testing.T) {
	const tokens, together = 100_000, 1000
	dir := t.TempDir()
	e := openEngine(t, Options{Dir: dir})
	db, err := store.Open(t.Context(), e, "default", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for n := 0; n < tokens; n += together {
		err := db.Update(t.Context(), func(r *store.Records) error {
			for i := range together {
				id := store.NewID(r.Now())
				err := r.PutToken(&store.Token{
					ID: id, ClientID: fmt.Sprintf("0199c2b8-51b6-7c3e-a7d4-%012d", i%100), UserID: id,
					Issuer: "https://api.example.com", Audience: []string{"https://api.example.com/orders"},
					Scopes: []string{"orders:read", "orders:write"}, IssuedAt: r.Now(), ExpiresAt: r.Now().Add(time.Hour),
				})
				if err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	var memory runtime.MemStats
	eventually(t, "memory below 60 MB", func() bool {
		runtime.GC()
		runtime.ReadMemStats(&memory)
		return memory.HeapAlloc < 60<<20
	})
	var size int64
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if info, err := entry.Info(); err == nil && entry.Type().IsRegular() {
			size += info.Size()
		}
		return nil
	})
	if err != nil || size > 150<<20 {
		t.Errorf("the files have %d MB (%v), want 150 at most", size>>20, err)
	}
	t.Logf("files %d MB, memory %d MB", size>>20, memory.HeapAlloc>>20)
}
