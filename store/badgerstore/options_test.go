package badgerstore

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"

	"github.com/oauth2-passport/caddy-passport/store"
)

// TestReadsCompressedTables, as databases without a key have had them, and those that are opened with other options.
func TestReadsCompressedTables(t *testing.T) {
	const records = 5000
	dir := t.TempDir()
	o := badgerOptions(dir, nil, nil)
	o.Compression, o.BlockCacheSize = options.Snappy, 1<<20
	db, err := badger.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	batch := db.NewWriteBatch()
	for n := range records {
		if err := batch.Set(fmt.Appendf(nil, "key/%05d", n), fmt.Appendf(nil, "value %d", n)); err != nil {
			t.Fatal(err)
		}
	}
	if err := batch.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil { // writes a table of what is in memory
		t.Fatal(err)
	}
	if tables, err := filepath.Glob(filepath.Join(dir, "*.sst")); err != nil || len(tables) == 0 {
		t.Fatalf("tables %v, %v", tables, err)
	}
	e := openEngine(t, Options{Dir: dir})
	n := 0
	err = e.View(t.Context(), func(tx store.Tx) error {
		value, err := tx.Get([]byte("key/04711"))
		if string(value) != "value 4711" {
			t.Errorf("%q, %v", value, err)
		}
		return tx.Scan([]byte("key/"), nil, func(key, value []byte) error {
			if want := fmt.Sprintf("value %d", n); string(value) != want {
				t.Errorf("%s: %q", key, value)
			}
			n++
			return nil
		})
	})
	if err != nil || n != records {
		t.Errorf("%d records, %v", n, err)
	}
}
