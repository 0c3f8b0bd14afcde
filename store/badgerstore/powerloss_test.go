package badgerstore

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/oauth2-passport/caddy-passport/store"
)

// TestPowerLossKeepsWhatWasAcknowledged cuts the log of a database back to any byte from where the last acknowledged
// update ended: what a disk may hold after the power has failed, when only what was synced is certain. What was
// acknowledged is there, and nothing is there by half.
//
// That answers come after the sync of their writes is for TestAnswersComeAfterTheSync to show.
func TestPowerLossKeepsWhatWasAcknowledged(t *testing.T) {
	for name, key := range map[string][]byte{"plain": nil, "encrypted": []byte("0123456789abcdef0123456789abcdef")} {
		t.Run(name, func(t *testing.T) { losePower(t, key) })
	}
}

func losePower(t *testing.T, key []byte) {
	const updates, partsOf = 6, 3
	dir := t.TempDir()
	e := openEngine(t, Options{Dir: dir, EncryptionKey: key, MinFree: -1})
	log := onlyFile(t, dir, "*.mem")
	ends := []int{logEnd(t, log)}
	for n := range updates {
		err := e.Update(t.Context(), func(tx store.Tx) error {
			var err error
			for part := range partsOf {
				err = errors.Join(err, tx.Put(partKey(n, part), bytes.Repeat([]byte{byte(n + 1)}, 10+n*n*part), 0))
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if ends = append(ends, logEnd(t, log)); ends[n+1] <= ends[n] {
			t.Fatalf("update %d has left nothing in the log: it ends at %d, then at %d", n, ends[n], ends[n+1])
		}
	}
	for n := range updates {
		begin, end := ends[n], ends[n+1]
		for _, cut := range []int{begin, begin + 1, begin + (end-begin)/3, begin + (end-begin)*2/3, end - 1} {
			broken := t.TempDir()
			copyDir(t, dir, broken)
			zeroFrom(t, filepath.Join(broken, filepath.Base(log)), cut)
			again, err := Open(Options{Dir: broken, EncryptionKey: key, MinFree: -1})
			if err != nil {
				t.Fatalf("cut at byte %d: %v", cut, err)
			}
			for written := range updates {
				want := partsOf
				if written >= n { // the update that was cut, and those behind it, were never acknowledged
					want = 0
				}
				if got := partsThere(t, again, written, partsOf); got != want {
					t.Errorf("cut at byte %d of update %d: %d of %d parts of update %d are there, want %d",
						cut, n, got, partsOf, written, want)
				}
			}
			if err := again.Update(t.Context(), func(tx store.Tx) error { return tx.Put([]byte("on"), nil, 0) }); err != nil {
				t.Errorf("cut at byte %d: it can't be written to: %v", cut, err)
			}
			if err := again.Close(); err != nil {
				t.Errorf("cut at byte %d: closing: %v", cut, err)
			}
		}
	}
}

// TestPowerLossInTheMiddleOfAnUpdate: of the pages that an update has changed and that were not synced, in the log and in
// the value log, any may have reached the disk. The update, which was not acknowledged, is there as a whole or not at
// all, can be read, and does not keep what was acknowledged before from being read.
func TestPowerLossInTheMiddleOfAnUpdate(t *testing.T) {
	for name, key := range map[string][]byte{"plain": nil, "encrypted": []byte("0123456789abcdef0123456789abcdef")} {
		t.Run(name, func(t *testing.T) { loseSomePages(t, key) })
	}
}

func loseSomePages(t *testing.T, key []byte) {
	const partsOf, page = 12, 4096
	dir := t.TempDir()
	e := openEngine(t, Options{Dir: dir, EncryptionKey: key, MinFree: -1})
	put := func(n int) {
		t.Helper()
		err := e.Update(t.Context(), func(tx store.Tx) error {
			var err error
			for part := range partsOf {
				size := 900
				if part%3 == 0 {
					size = 5000 // Badger's value log might have it
				}
				err = errors.Join(err, tx.Put(partKey(n, part), bytes.Repeat([]byte{byte(n + 1)}, size), 0))
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	put(0)
	logs := []string{onlyFile(t, dir, "*.mem"), onlyFile(t, dir, "*.vlog")}
	before := make([]int, len(logs))
	for i, log := range logs {
		before[i] = logEnd(t, log)
	}
	put(1)
	for round := range 24 {
		broken := t.TempDir()
		copyDir(t, dir, broken)
		for i, log := range logs {
			for begin, end := before[i], logEnd(t, log); begin < end; begin = (begin/page + 1) * page {
				// First all of one file and nothing of the other, then whatever comes.
				if round == i || round > 1 && rand.IntN(2) == 0 {
					zero(t, filepath.Join(broken, filepath.Base(log)), begin, min((begin/page+1)*page, end))
				}
			}
		}
		again, err := Open(Options{Dir: broken, EncryptionKey: key, MinFree: -1})
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if got := partsThere(t, again, 0, partsOf); got != partsOf {
			t.Errorf("round %d: %d of %d parts of the update that was acknowledged are there", round, got, partsOf)
		}
		if got := partsThere(t, again, 1, partsOf); got != 0 && got != partsOf {
			t.Errorf("round %d: %d of %d parts of the update that was not are there", round, got, partsOf)
		}
		err = again.Update(t.Context(), func(tx store.Tx) error {
			return tx.Scan(nil, nil, func(_, value []byte) error {
				if n := len(value); n != 900 && n != 5000 || len(bytes.Trim(value, string(value[:1]))) > 0 {
					t.Errorf("round %d: a value is torn", round)
				}
				return nil
			})
		})
		if err != nil {
			t.Errorf("round %d: %v", round, err)
		}
		if err := again.Close(); err != nil {
			t.Errorf("round %d: closing: %v", round, err)
		}
	}
}

func zero(t *testing.T, path string, from, to int) {
	t.Helper()
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err == nil {
		_, err = file.WriteAt(make([]byte, to-from), int64(from))
		err = errors.Join(err, file.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

func partKey(n, part int) []byte { return fmt.Appendf(nil, "%02d/%d", n, part) }

func partsThere(t *testing.T, e *Engine, n, parts int) (there int) {
	t.Helper()
	err := e.View(t.Context(), func(tx store.Tx) error {
		for part := range parts {
			switch _, err := tx.Get(partKey(n, part)); {
			case err == nil:
				there++
			case !errors.Is(err, store.ErrNotFound):
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Errorf("reading update %d: %v", n, err)
	}
	return there
}

func onlyFile(t *testing.T, dir, pattern string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(files) != 1 {
		t.Fatalf("%s: %v, %v", pattern, files, err)
	}
	return files[0]
}

// logEnd is where the log ends: behind it the file, which is made larger than needed, has zeros.
func logEnd(t *testing.T, path string) int {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return len(bytes.TrimRight(data, "\x00"))
}

func zeroFrom(t *testing.T, path string, offset int) {
	t.Helper()
	info, err := os.Stat(path)
	if err == nil {
		err = errors.Join(os.Truncate(path, int64(offset)), os.Truncate(path, info.Size()))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// copyDir copies the files of a database that is open, as a crash would leave them; holes stay holes.
func copyDir(t *testing.T, from, to string) {
	t.Helper()
	entries, err := os.ReadDir(from)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if !entry.Type().IsRegular() || entry.Name() == "LOCK" {
			continue
		}
		source, err := os.Open(filepath.Join(from, entry.Name()))
		if err != nil {
			t.Fatal(err)
		}
		defer source.Close()
		data, err := io.ReadAll(source)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(to, entry.Name())
		err = errors.Join(os.WriteFile(path, bytes.TrimRight(data, "\x00"), 0o600), os.Truncate(path, int64(len(data))))
		if err != nil {
			t.Fatal(err)
		}
	}
}
