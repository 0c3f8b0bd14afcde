package storetest

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/oauth2-passport/caddy-passport/store"
)

var errTest = errors.New("an error of the test")

func testGetPutDelete(t *testing.T, e store.Engine) {
	wantMissing(t, e, "a")
	putAll(t, e, pair{"a", "1"}, pair{"b", ""})
	wantValue(t, e, "a", "1")
	wantValue(t, e, "b", "")
	putAll(t, e, pair{"a", "2"}, pair{"a", "3"})
	wantValue(t, e, "a", "3")
	for range 2 { // removing what is not there is no error
		update(t, e, func(tx store.Tx) error { return tx.Delete([]byte("a")) })
		wantMissing(t, e, "a")
	}
	wantValue(t, e, "b", "")
	putAll(t, e, pair{"a", "4"})
	wantValue(t, e, "a", "4")
	wantMissing(t, e, "a\x00")
	wantMissing(t, e, "")
	update(t, e, func(store.Tx) error { return nil })
}

func testSlicesAreCopied(t *testing.T, e store.Engine) {
	buffer := []byte("key-value")
	update(t, e, func(tx store.Tx) error {
		for _, text := range []string{"key-other", "key-value"} { // the key is new, then known
			copy(buffer, text)
			if err := tx.Put(buffer[:3], buffer[4:], 0); err != nil {
				return err
			}
		}
		copy(buffer, "yek-eulav")
		got, err := tx.Get([]byte("key"))
		if err != nil {
			return err
		}
		if string(got) != "value" {
			t.Errorf("in the transaction: %q", got)
		}
		clear(got)
		if err := tx.Put([]byte("gone"), nil, 0); err != nil {
			return err
		}
		gone := []byte("gone")
		if err := tx.Delete(gone); err != nil {
			return err
		}
		clear(gone)
		return nil
	})
	wantValue(t, e, "key", "value")
	wantMissing(t, e, "yek")
	wantMissing(t, e, "gone")

	var kept []byte
	view(t, e, func(tx store.Tx) (err error) {
		kept, err = tx.Get([]byte("key"))
		return err
	})
	putAll(t, e, pair{"key", "other"})
	if string(kept) != "value" {
		t.Errorf("the value was kept as %q", kept)
	}
	clear(kept)
	wantValue(t, e, "key", "other")
}

func testBinaryKeys(t *testing.T, e store.Engine) {
	keys := []string{"\x00", "\x00\x00", "\xff", "\xff\xff\xff", "a\x00b", "ä/%2F", "a b\n", string(make([]byte, 1000))}
	for i, key := range keys {
		putAll(t, e, pair{key, fmt.Sprint(i)})
	}
	for i, key := range keys {
		wantValue(t, e, key, fmt.Sprint(i))
	}
	if got := len(all(t, e)); got != len(keys) {
		t.Errorf("%d keys, want %d", got, len(keys))
	}
}

func testReadYourWrites(t *testing.T, e store.Engine) {
	putAll(t, e, pair{"a", "old"}, pair{"b", "old"}, pair{"c", "old"})
	update(t, e, func(tx store.Tx) error {
		err := errors.Join(
			tx.Put([]byte("a"), []byte("new"), 0),
			tx.Delete([]byte("b")),
			tx.Put([]byte("d"), []byte("new"), 0),
			tx.Put([]byte("e"), []byte("new"), 0),
			tx.Delete([]byte("e")),
			tx.Delete([]byte("c")),
			tx.Put([]byte("c"), []byte("newer"), 0))
		if err != nil {
			return err
		}
		for key, want := range map[string]string{"a": "new", "c": "newer", "d": "new"} {
			if got, ok, err := get(tx, key); got != want || !ok {
				t.Errorf("%q is %q, %v, %v; want %q", key, got, ok, err, want)
			}
		}
		for _, key := range []string{"b", "e"} {
			if _, err := tx.Get([]byte(key)); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("%q: %v", key, err)
			}
		}
		got, err := collect(tx, nil, nil)
		if want := "[{a new} {c newer} {d new}]"; fmt.Sprint(got) != want {
			t.Errorf("scan: %v, want %v", got, want)
		}
		return err
	})
	if got, want := fmt.Sprint(all(t, e)), "[{a new} {c newer} {d new}]"; got != want {
		t.Errorf("after the commit: %v, want %v", got, want)
	}
}

func testViewIsReadOnly(t *testing.T, e store.Engine) {
	putAll(t, e, pair{"a", "1"})
	view(t, e, func(tx store.Tx) error {
		if err := tx.Put([]byte("b"), nil, 0); !errors.Is(err, store.ErrReadOnly) {
			t.Errorf("Put: %v", err)
		}
		if err := tx.Delete([]byte("a")); !errors.Is(err, store.ErrReadOnly) {
			t.Errorf("Delete: %v", err)
		}
		return nil
	})
	if err := e.View(t.Context(), func(store.Tx) error { return errTest }); err != errTest {
		t.Errorf("View answers %v", err)
	}
	wantValue(t, e, "a", "1")
	wantMissing(t, e, "b")
}

func testFailedUpdate(t *testing.T, e store.Engine) {
	putAll(t, e, pair{"a", "1"}, pair{"b", "1"})
	err := e.Update(t.Context(), func(tx store.Tx) error {
		err := errors.Join(
			tx.Put([]byte("a"), []byte("2"), 0),
			tx.Put([]byte("a"), []byte("3"), 0),
			tx.Delete([]byte("b")),
			tx.Put([]byte("c"), []byte("2"), 0))
		if err != nil {
			return err
		}
		return errTest
	})
	if err != errTest {
		t.Errorf("Update answers %v, not the function's own error", err)
	}
	if got, want := fmt.Sprint(all(t, e)), "[{a 1} {b 1}]"; got != want {
		t.Errorf("%v, want %v", got, want)
	}
}

// testFailedNeighbours lets updates fail in every way beside others that succeed, most of them in one batch.
func testFailedNeighbours(t *testing.T, e store.Engine) {
	const goroutines, rounds = 32, 20
	putAll(t, e, pair{"shared", "0"})
	var kept atomic.Int64
	together(t, goroutines, func(i int) {
		for round := range rounds {
			key := fmt.Appendf(nil, "own/%02d/%02d", i, round)
			fail := (i+round)%3 == 0
			err := recovered(func() error {
				return e.Update(t.Context(), func(tx store.Tx) error {
					if err := tx.Put(key, []byte("x"), 0); err != nil {
						return err
					}
					if err := add(tx, "shared", 1); err != nil {
						return err
					}
					switch {
					case fail && i%2 == 0:
						return errTest
					case fail:
						panic(errTest)
					}
					return nil
				})
			})
			if err == nil {
				kept.Add(1)
			}
			if fail != (err != nil) {
				t.Errorf("update %s: %v", key, err)
			}
		}
	})
	wantValue(t, e, "shared", fmt.Sprint(kept.Load()))
	var found int
	view(t, e, func(tx store.Tx) error {
		own, err := collect(tx, []byte("own/"), nil)
		found = len(own)
		return err
	})
	if int64(found) != kept.Load() {
		t.Errorf("%d updates succeeded, %d left something", kept.Load(), found)
	}
}

func testPanic(t *testing.T, e store.Engine) {
	for _, value := range []any{errTest, "text", 1} {
		err := recovered(func() error {
			return e.Update(t.Context(), func(tx store.Tx) error {
				if err := tx.Put([]byte("a"), []byte("1"), 0); err != nil {
					return err
				}
				panic(value)
			})
		})
		if err == nil {
			t.Errorf("panic(%v) in an update: no panic and no error", value)
		}
		err = recovered(func() error { return e.View(t.Context(), func(store.Tx) error { panic(value) }) })
		if err == nil {
			t.Errorf("panic(%v) in a view: no panic and no error", value)
		}
	}
	wantMissing(t, e, "a")
	putAll(t, e, pair{"a", "2"})
	wantValue(t, e, "a", "2")
}

// recovered returns fn's error, or its panic as one.
func recovered(fn func() error) (err error) {
	defer func() {
		if value := recover(); value != nil {
			err = fmt.Errorf("panic: %v", value)
		}
	}()
	return fn()
}

func testPing(t *testing.T, e store.Engine) {
	if err := e.Ping(t.Context()); err != nil {
		t.Errorf("Ping: %v", err)
	}
	if err := e.Ping(ended(t)); err == nil {
		t.Error("Ping with a context that is over: no error")
	}
	if got := all(t, e); len(got) > 0 {
		t.Errorf("Ping has left %v", got)
	}
}
