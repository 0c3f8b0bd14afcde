// Package storetest is one suite of tests that every [store.Engine] passes. An engine's own test calls [Run].
package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
)

// Reopener is what the engine that open returns may be too: then the suite also checks what is there after it was
// closed. Reopen opens the same data again; the engine has been closed before.
type Reopener interface {
	Reopen(t *testing.T) store.Engine
}

// Run tests the engine. open returns a new and empty one; the suite closes it.
func Run(t *testing.T, open func(t *testing.T) store.Engine) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, e store.Engine)
	}{
		{"GetPutDelete", testGetPutDelete},
		{"SlicesAreCopied", testSlicesAreCopied},
		{"BinaryKeys", testBinaryKeys},
		{"ReadYourWrites", testReadYourWrites},
		{"ViewIsReadOnly", testViewIsReadOnly},
		{"FailedUpdateLeavesNoTrace", testFailedUpdate},
		{"FailedUpdateHarmsNoNeighbour", testFailedNeighbours},
		{"PanicReachesTheCaller", testPanic},
		{"Ping", testPing},

		{"ScanBounds", testScanBounds},
		{"ScanRandom", testScanRandom},
		{"ScanStops", testScanStops},
		{"ScanNested", testScanNested},

		{"Counter", testCounter},
		{"LostUpdate", testLostUpdate},
		{"WriteSkew", testWriteSkew},
		{"Phantom", testPhantom},
		{"TakenOnce", testTakenOnce},
		{"ViewIsASnapshot", testViewIsASnapshot},
		{"Transfers", testTransfers},
		{"Backup", testBackup},
		{"SeenAfterCommit", testSeenAfterCommit},

		{"TTL", testTTL},
		{"TTLReplaced", testTTLReplaced},

		{"LargeValues", testLargeValues},
		{"LargeTransaction", testLargeTransaction},
		{"TooLarge", testTooLarge},

		{"ContextEnded", testContextEnded},
		{"ContextEndsMeanwhile", testContextEndsMeanwhile},
		{"ContextRace", testContextRace},
		{"Closed", testClosed},
		{"CloseUnderLoad", testCloseUnderLoad},
		{"CloseWaitsForViews", testCloseWaitsForViews},
		{"CloseWaitsForUpdates", testCloseWaitsForUpdates},
		{"Reopen", testReopen},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := open(t)
			t.Cleanup(func() {
				if err := e.Close(); err != nil && !errors.Is(err, store.ErrClosed) {
					t.Errorf("Close: %v", err)
				}
			})
			test.run(t, e)
		})
	}
}

// pair is a key with its value.
type pair struct{ key, value string }

func update(t *testing.T, e store.Engine, fn func(tx store.Tx) error) {
	t.Helper()
	if err := e.Update(t.Context(), fn); err != nil {
		t.Fatalf("Update: %v", err)
	}
}

func view(t *testing.T, e store.Engine, fn func(tx store.Tx) error) {
	t.Helper()
	if err := e.View(t.Context(), fn); err != nil {
		t.Fatalf("View: %v", err)
	}
}

// putAll writes pairs for good, in one transaction.
func putAll(t *testing.T, e store.Engine, pairs ...pair) {
	t.Helper()
	update(t, e, func(tx store.Tx) error {
		for _, p := range pairs {
			if err := tx.Put([]byte(p.key), []byte(p.value), 0); err != nil {
				return err
			}
		}
		return nil
	})
}

// read returns the value of key in a transaction of its own, and whether it is there.
func read(t *testing.T, e store.Engine, key string) (string, bool) {
	t.Helper()
	var value []byte
	err := e.View(t.Context(), func(tx store.Tx) (err error) {
		value, err = tx.Get([]byte(key))
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return "", false
	}
	if err != nil {
		t.Fatalf("Get %q: %v", key, err)
	}
	return string(value), true
}

func wantValue(t *testing.T, e store.Engine, key, want string) {
	t.Helper()
	if got, ok := read(t, e, key); !ok || got != want {
		t.Errorf("%q is %q, %v; want %q", key, got, ok, want)
	}
}

func wantMissing(t *testing.T, e store.Engine, key string) {
	t.Helper()
	if got, ok := read(t, e, key); ok {
		t.Errorf("%q is there: %q", key, got)
	}
}

// get is tx.Get with "missing" as a value, for transactions that decide on it.
func get(tx store.Tx, key string) (value string, ok bool, err error) {
	v, err := tx.Get([]byte(key))
	if errors.Is(err, store.ErrNotFound) {
		return "", false, nil
	}
	return string(v), err == nil, err
}

// collect returns what a scan passes to its function.
func collect(tx store.Tx, prefix, from []byte) ([]pair, error) {
	var pairs []pair
	err := tx.Scan(prefix, from, func(key, value []byte) error {
		pairs = append(pairs, pair{string(key), string(value)})
		return nil
	})
	return pairs, err
}

// all returns every pair of the engine.
func all(t *testing.T, e store.Engine) (pairs []pair) {
	t.Helper()
	view(t, e, func(tx store.Tx) (err error) {
		pairs, err = collect(tx, nil, nil)
		return err
	})
	return pairs
}

// expected is what a scan of model must give.
func expected(model map[string]string, prefix, from []byte) []pair {
	var pairs []pair
	for key, value := range model {
		if strings.HasPrefix(key, string(prefix)) && bytes.Compare([]byte(key), from) >= 0 {
			pairs = append(pairs, pair{key, value})
		}
	}
	slices.SortFunc(pairs, func(a, b pair) int { return strings.Compare(a.key, b.key) })
	return pairs
}

// together runs fn in n goroutines, which begin at the same time, and waits for them.
func together(t *testing.T, n int, fn func(i int)) {
	t.Helper()
	var group sync.WaitGroup
	begin := make(chan struct{})
	for i := range n {
		group.Go(func() {
			<-begin
			fn(i)
		})
	}
	close(begin)
	inTime(t, "the goroutines", group.Wait)
}

// inTime fails the test with the stacks of all goroutines when fn does not return at all.
func inTime(t *testing.T, what string, fn func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		fn()
	}()
	select {
	case <-done:
	case <-time.After(2 * time.Minute):
		stacks := make([]byte, 1<<20)
		t.Fatalf("%s: hangs\n%s", what, stacks[:runtime.Stack(stacks, true)])
	}
}

// number and its inverse keep counters as text.
func number(s string) (n int, err error) {
	if s == "" {
		return 0, nil
	}
	_, err = fmt.Sscanf(s, "%d", &n)
	return n, err
}

// add adds delta to the counter of that key.
func add(tx store.Tx, key string, delta int) error {
	value, _, err := get(tx, key)
	if err != nil {
		return err
	}
	n, err := number(value)
	if err != nil {
		return err
	}
	return tx.Put([]byte(key), fmt.Appendf(nil, "%d", n+delta), 0)
}

// ended is a context that is over.
func ended(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}
