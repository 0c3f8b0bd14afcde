package badgerstore

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/oauth2-passport/caddy-passport/store"
)

// queued makes an update that holds the writer until the n updates that fn makes, each in its own goroutine, wait
// behind it; so they share the next transaction. It returns the answers.
func queued(t *testing.T, e *Engine, n int, fn func(i int) error) []error {
	t.Helper()
	holding, release := make(chan struct{}), make(chan struct{})
	var calls sync.WaitGroup
	calls.Go(func() {
		err := e.Update(t.Context(), func(store.Tx) error {
			close(holding)
			<-release
			return errHold
		})
		if err != errHold && !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("the update that holds the writer: %v", err)
		}
	})
	<-holding
	answers := make([]error, n)
	for i := range n {
		calls.Go(func() { answers[i] = fn(i) })
	}
	for len(e.queue) < n {
		time.Sleep(time.Millisecond)
	}
	close(release)
	calls.Wait()
	return answers
}

var errHold = errors.New("done holding")

// countCommits counts the transactions that the engine commits from now on.
func countCommits(e *Engine) *atomic.Int64 {
	var n atomic.Int64
	commit := e.commit
	e.commit = func(txn *badger.Txn) error {
		n.Add(1)
		return commit(txn)
	}
	return &n
}

func putKey(t *testing.T, e *Engine, key string) error {
	return e.Update(t.Context(), func(tx store.Tx) error { return tx.Put([]byte(key), []byte(key), 0) })
}

func has(t *testing.T, e *Engine, key string) bool {
	t.Helper()
	err := e.View(t.Context(), func(tx store.Tx) error {
		_, err := tx.Get([]byte(key))
		return err
	})
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		t.Errorf("reading %s: %v", key, err)
	}
	return err == nil
}

func TestUpdatesThatWaitShareATransaction(t *testing.T) {
	e := openEngine(t, Options{Dir: t.TempDir()})
	commits := countCommits(e)
	for i, err := range queued(t, e, 200, func(i int) error { return putKey(t, e, fmt.Sprint("key ", i)) }) {
		if err != nil || !has(t, e, fmt.Sprint("key ", i)) {
			t.Errorf("update %d: %v", i, err)
		}
	}
	if n := commits.Load(); n != 1 {
		t.Errorf("%d transactions for 200 updates that waited", n)
	}
}

func TestReadersCommitNothing(t *testing.T) {
	e := openEngine(t, Options{Dir: t.TempDir()})
	commits := countCommits(e)
	for range 3 {
		if err := e.Ping(t.Context()); err != nil {
			t.Error(err)
		}
		if err := e.Update(t.Context(), func(tx store.Tx) error {
			return errors.Join(tx.Put([]byte("a"), nil, 0), errHold)
		}); !errors.Is(err, errHold) {
			t.Error(err)
		}
	}
	if n := commits.Load(); n != 0 {
		t.Errorf("%d transactions for nothing", n)
	}
}

// TestUpdatesThatDoNotFitTogetherAreSplit has each update take much of what a transaction can hold.
func TestUpdatesThatDoNotFitTogetherAreSplit(t *testing.T) {
	e := openEngine(t, Options{Dir: t.TempDir()})
	commits := countCommits(e)
	value := make([]byte, 900<<10)
	answers := queued(t, e, 6, func(i int) error {
		return e.Update(t.Context(), func(tx store.Tx) error {
			for j := range i % 4 { // 0, 0.9, 1.8, 2.7 MB; at most 2.5 fit
				if err := tx.Put(fmt.Appendf(nil, "%d/%d", i, j), value, 0); err != nil {
					return err
				}
			}
			return tx.Put(fmt.Appendf(nil, "%d", i), nil, 0)
		})
	})
	for i, err := range answers {
		tooLarge := i == 3
		if errors.Is(err, store.ErrTooLarge) != tooLarge || (err != nil) != tooLarge {
			t.Errorf("update %d: %v", i, err)
		}
		if has(t, e, fmt.Sprint(i)) == tooLarge || has(t, e, fmt.Sprintf("%d/0", i)) != (i%4 > 0 && !tooLarge) {
			t.Errorf("update %d answered %v; what it wrote says something else", i, err)
		}
	}
	if n := commits.Load(); n < 2 || n > 6 {
		t.Errorf("%d transactions", n)
	}
}

// TestAFailedCommitFailsTheBatch lets a commit fail once: whoever shared it learns so, readers of it too; afterwards
// the engine works again.
func TestAFailedCommitFailsTheBatch(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	e := openEngine(t, Options{Dir: t.TempDir(), Logger: zap.New(core)})
	if err := putKey(t, e, "before"); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("the disk is on fire")
	commit := e.commit
	e.commit = func(*badger.Txn) error {
		e.commit = commit
		return broken
	}
	answers := queued(t, e, 30, func(i int) error {
		return e.Update(t.Context(), func(tx store.Tx) error {
			switch i % 3 {
			case 0:
				return tx.Put(fmt.Appendf(nil, "key %d", i), nil, 0)
			case 1:
				_, err := tx.Get([]byte("key 0"))
				return err
			default:
				return errHold
			}
		})
	})
	for i, err := range answers {
		if !errors.Is(err, store.ErrUnavailable) || !errors.Is(err, broken) {
			t.Errorf("update %d: %v", i, err)
		}
	}
	eventually(t, "the engine works again", func() bool { return putKey(t, e, "after") == nil })
	if !has(t, e, "before") || !has(t, e, "after") || has(t, e, "key 0") {
		t.Error("after the failure something else is there")
	}
	if logs.FilterMessageSnippet("opened anew").Len() != 1 || logs.FilterMessageSnippet("open again").Len() != 1 {
		t.Errorf("it logs %v", logs.All())
	}
}

// TestBadgerWithoutALogIsReplaced takes away the name of the next log: Badger cannot switch to it, and would end the
// process at the write after that.
func TestBadgerWithoutALogIsReplaced(t *testing.T) {
	dir := t.TempDir()
	e := openEngine(t, Options{Dir: dir})
	obstacle := filepath.Join(dir, "00002.mem")
	if err := os.Mkdir(obstacle, 0o700); err != nil {
		t.Fatal(err)
	}
	value := make([]byte, 1000)
	var kept []string
	var failed error
	for i := 0; failed == nil; i++ {
		if i > 100 {
			t.Fatal("100 MB fit into a log")
		}
		failed = e.Update(t.Context(), func(tx store.Tx) error {
			for j := range 1000 {
				if err := tx.Put(fmt.Appendf(nil, "%d/%d", i, j), value, 0); err != nil {
					return err
				}
			}
			return nil
		})
		if failed == nil {
			kept = append(kept, fmt.Sprintf("%d/999", i))
		}
	}
	if !errors.Is(failed, store.ErrUnavailable) || !strings.Contains(failed.Error(), dir) {
		t.Errorf("the update that needs another log: %v", failed)
	}
	for _, call := range []func() error{
		func() error { return putKey(t, e, "a") },
		func() error { return e.View(t.Context(), func(store.Tx) error { return nil }) },
		func() error { return e.Ping(t.Context()) },
	} {
		if err := call(); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("meanwhile: %v", err)
		}
	}
	if err := os.Remove(obstacle); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the engine works again", func() bool { return putKey(t, e, "a") == nil })
	for _, key := range kept {
		if !has(t, e, key) {
			t.Errorf("%s was acknowledged and is gone", key)
		}
	}
}

func TestCloseWhileBroken(t *testing.T) {
	dir := t.TempDir()
	e := openEngine(t, Options{Dir: dir})
	if err := putKey(t, e, "before"); err != nil {
		t.Fatal(err)
	}
	e.commit = func(*badger.Txn) error {
		os.Mkdir(filepath.Join(dir, "00099.mem"), 0o700) // it cannot be opened again
		return errHold
	}
	if err := putKey(t, e, "a"); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("Update: %v", err)
	}
	if err := e.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if err := putKey(t, e, "b"); !errors.Is(err, store.ErrClosed) {
		t.Errorf("Update after Close: %v", err)
	}
	os.Remove(filepath.Join(dir, "00099.mem"))
	if e = openEngine(t, Options{Dir: dir}); !has(t, e, "before") || has(t, e, "a") {
		t.Error("after opening again something else is there")
	}
}

// TestAFullDiskIsRefusedBeforeItIsFull asks for more free space than there can be.
func TestAFullDiskIsRefusedBeforeItIsFull(t *testing.T) {
	dir := t.TempDir()
	if _, known := freeSpace(dir); !known {
		t.Log("the free space is not known here")
		return
	}
	want := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v", what, err)
		}
	}
	_, err := Open(Options{Dir: dir, MinFree: math.MaxInt64})
	want("Open", err)

	e := openEngine(t, Options{Dir: dir})
	free := setFree(e)
	free.Store(127 << 20)
	want("Update", e.Update(t.Context(), func(store.Tx) error {
		t.Error("the function has run")
		return nil
	}))
	want("Ping", e.Ping(t.Context()))
	if err := e.View(t.Context(), func(store.Tx) error { return nil }); err != nil {
		t.Errorf("View: %v", err)
	}
	free.Store(128 << 20)
	if err := putKey(t, e, "a"); err != nil {
		t.Errorf("Update, when there is space again: %v", err)
	}
	free.Store(1 << 20)
	want("Close", e.Close())
}

// setFree sets what the engine takes for the free space.
func setFree(e *Engine) *atomic.Uint64 {
	var free atomic.Uint64
	free.Store(math.MaxUint64)
	e.free = func(string) (uint64, bool) { return free.Load(), true }
	return &free
}

// TestABrokenStoreWaitsForSpace lets a commit fail on a disk that is full: it is opened anew when there is space.
func TestABrokenStoreWaitsForSpace(t *testing.T) {
	e := openEngine(t, Options{Dir: t.TempDir()})
	free := setFree(e)
	commit := e.commit
	e.commit = func(*badger.Txn) error {
		free.Store(0)
		e.commit = commit
		return errHold
	}
	if err := putKey(t, e, "a"); !errors.Is(err, errHold) {
		t.Errorf("Update: %v", err)
	}
	if err := putKey(t, e, "a"); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("Update, when there is no space: %v", err)
	}
	free.Store(math.MaxUint64)
	eventually(t, "the engine works again", func() bool { return putKey(t, e, "a") == nil })
}

// TestCloseAnswersThoseInLine closes the engine while more updates wait than the queue holds.
func TestCloseAnswersThoseInLine(t *testing.T) {
	e := openEngine(t, Options{Dir: t.TempDir()})
	holding, release := make(chan struct{}), make(chan struct{})
	var calls sync.WaitGroup
	calls.Go(func() {
		e.Update(t.Context(), func(store.Tx) error {
			close(holding)
			<-release
			return nil
		})
	})
	<-holding
	const updates = maxGathered + 50
	for i := range updates {
		calls.Go(func() {
			if err := putKey(t, e, fmt.Sprint(i)); err != nil {
				t.Errorf("update %d: %v", i, err)
			}
		})
	}
	inside := func() int {
		e.updates.mu.Lock()
		defer e.updates.mu.Unlock()
		return e.updates.inside
	}
	eventually(t, "all stand in line", func() bool { return len(e.queue) == maxGathered && inside() == updates+1 })
	calls.Go(func() {
		if err := e.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	eventually(t, "Close has begun", e.closed.Load)
	close(release)
	calls.Wait()
}

func TestContextEndsWhileAnUpdateWaits(t *testing.T) {
	e := openEngine(t, Options{Dir: t.TempDir()})
	ctx, cancel := context.WithCancel(t.Context())
	holding, release := make(chan struct{}), make(chan struct{})
	var calls sync.WaitGroup
	calls.Go(func() {
		e.Update(t.Context(), func(store.Tx) error {
			close(holding)
			<-release
			return nil
		})
	})
	<-holding
	answer := make(chan error)
	go func() {
		answer <- e.Update(ctx, func(store.Tx) error {
			t.Error("the function has run")
			return nil
		})
	}()
	for len(e.queue) < 1 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-answer; err != context.Canceled { // while the writer is held
		t.Errorf("Update: %v", err)
	}
	close(release)
	calls.Wait()
	if err := putKey(t, e, "a"); err != nil {
		t.Error(err)
	}
}

// TestGoexitDoesNotEndTheWriter ends the goroutine of an update's function, as t.FailNow in one does.
func TestGoexitDoesNotEndTheWriter(t *testing.T) {
	e := openEngine(t, Options{Dir: t.TempDir()})
	answers := queued(t, e, 9, func(i int) error {
		return e.Update(t.Context(), func(tx store.Tx) error {
			if err := tx.Put(fmt.Appendf(nil, "%d", i), nil, 0); err != nil {
				return err
			}
			if i%3 == 0 {
				runtime.Goexit()
			}
			return nil
		})
	})
	for i, err := range answers {
		if (err != nil) != (i%3 == 0) || has(t, e, fmt.Sprint(i)) != (err == nil) {
			t.Errorf("update %d: %v", i, err)
		}
	}
}

func TestPanicsKeepTheirValue(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	e := openEngine(t, Options{Dir: t.TempDir(), Logger: zap.New(core)})
	defer func() {
		if value := recover(); value != errHold {
			t.Errorf("recovered %v", value)
		}
		entries := logs.FilterMessage("panic in an update").All()
		if len(entries) != 1 || !strings.Contains(fmt.Sprint(entries[0].ContextMap()["stack"]), "TestPanicsKeep") {
			t.Errorf("it logs %v", logs.All())
		}
	}()
	e.Update(t.Context(), func(store.Tx) error { panic(errHold) })
}

func TestMisuse(t *testing.T) {
	e := openEngine(t, Options{Dir: t.TempDir()})
	var kept store.Tx
	err := e.Update(t.Context(), func(tx store.Tx) error {
		kept = tx
		for _, key := range []string{"", reservedPrefix + "x"} {
			if err := tx.Put([]byte(key), nil, 0); err == nil {
				t.Errorf("the key %q is taken", key)
			}
		}
		if err := tx.Put([]byte("a"), nil, 0); err != nil {
			return err
		}
		return tx.Scan(nil, nil, func(key, value []byte) error {
			if err := tx.Delete(key); err != errScanning {
				t.Errorf("Delete in a scan: %v", err)
			}
			return nil
		})
	})
	if err != nil {
		t.Error(err)
	}
	check := func(tx store.Tx) {
		_, err := tx.Get([]byte("a"))
		err2 := tx.Scan(nil, nil, func([]byte, []byte) error { return nil })
		if err != errEnded || err2 != errEnded {
			t.Errorf("a transaction that has ended: %v, %v", err, err2)
		}
	}
	check(kept)
	if err := kept.Put([]byte("b"), nil, 0); err != errEnded {
		t.Errorf("Put to a transaction that has ended: %v", err)
	}
	if err := e.View(t.Context(), func(tx store.Tx) error {
		kept = tx
		return nil
	}); err != nil {
		t.Error(err)
	}
	check(kept)
	for name, err := range map[string]error{
		"key":   putKey(t, e, strings.Repeat("k", maxKey+1)),
		"value": e.Update(t.Context(), func(tx store.Tx) error { return tx.Put([]byte("v"), make([]byte, maxValue+1), 0) }),
	} {
		if !errors.Is(err, store.ErrTooLarge) {
			t.Errorf("a %s that is too large: %v", name, err)
		}
	}
	if err := e.View(t.Context(), func(tx store.Tx) error {
		_, err := tx.Get([]byte(strings.Repeat("k", 1<<20)))
		return err
	}); err != store.ErrNotFound {
		t.Errorf("a key that cannot be: %v", err)
	}
}

func TestALongScanEndsWithItsContext(t *testing.T) {
	e := openEngine(t, Options{Dir: t.TempDir()})
	if err := e.Update(t.Context(), func(tx store.Tx) error {
		for i := range 2000 {
			if err := tx.Put(fmt.Appendf(nil, "%04d", i), nil, 0); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	seen := 0
	err := e.View(ctx, func(tx store.Tx) error {
		return tx.Scan(nil, nil, func([]byte, []byte) error {
			seen++
			cancel()
			return nil
		})
	})
	if err != context.Canceled || seen == 2000 {
		t.Errorf("%v after %d pairs", err, seen)
	}
}

// eventually waits until done answers true, for things that happen in the background.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within a minute", what)
		}
	}
}
