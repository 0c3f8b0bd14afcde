package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
)

func testTTL(t *testing.T, e store.Engine) {
	const ttl = 2 * time.Second
	begin := time.Now()
	update(t, e, func(tx store.Tx) error {
		err := errors.Join(
			tx.Put([]byte("short"), []byte("1"), ttl),
			tx.Put([]byte("short/2"), nil, ttl),
			tx.Put([]byte("kept"), []byte("1"), 0),
			tx.Put([]byte("long"), []byte("1"), time.Hour),
			tx.Put([]byte("negative"), []byte("1"), -time.Second),
			tx.Put([]byte("centuries"), []byte("1"), math.MaxInt64))
		if got, ok, _ := get(tx, "short"); !ok || got != "1" {
			t.Error("a pair with a lifetime is not there in its own transaction")
		}
		return err
	})
	// It vanishes after its time, not before, and not much later.
	for _, key := range []string{"short", "short/2"} {
		for {
			_, there := read(t, e, key)
			passed := time.Since(begin)
			if !there {
				if passed < ttl {
					t.Errorf("%s vanished after %v", key, passed)
				}
				break
			}
			if passed > ttl+30*time.Second {
				t.Fatalf("%s is there after %v", key, passed)
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
	want := "[centuries kept long negative]"
	check := func(tx store.Tx) error {
		pairs, err := collect(tx, nil, nil)
		var keys []string
		for _, p := range pairs {
			keys = append(keys, p.key)
		}
		if fmt.Sprint(keys) != want {
			t.Errorf("%v, want %v", keys, want)
		}
		return err
	}
	view(t, e, check)
	update(t, e, func(tx store.Tx) error {
		if _, err := tx.Get([]byte("short")); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("in an update: %v", err)
		}
		return check(tx)
	})
	putAll(t, e, pair{"short", "2"})
	wantValue(t, e, "short", "2")
}

func testTTLReplaced(t *testing.T, e store.Engine) {
	begin := time.Now()
	update(t, e, func(tx store.Tx) error {
		return errors.Join(
			tx.Put([]byte("a"), []byte("1"), time.Second), tx.Put([]byte("b"), []byte("1"), time.Second),
			tx.Put([]byte("gone"), []byte("1"), time.Second), tx.Put([]byte("c"), []byte("1"), time.Hour))
	})
	update(t, e, func(tx store.Tx) error {
		return errors.Join(
			tx.Put([]byte("a"), []byte("2"), 0), tx.Put([]byte("b"), []byte("2"), time.Hour),
			tx.Put([]byte("c"), []byte("2"), time.Second))
	})
	for { // until a pair of the same age is gone, and its second lifetime too
		_, first := read(t, e, "gone")
		_, second := read(t, e, "c")
		if !first && !second {
			break
		}
		if time.Since(begin) > 30*time.Second {
			t.Fatal("pairs of a second are there after half a minute")
		}
		time.Sleep(50 * time.Millisecond)
	}
	wantValue(t, e, "a", "2")
	wantValue(t, e, "b", "2")
}

func testLargeValues(t *testing.T, e store.Engine) {
	random := rand.NewChaCha8([32]byte{})
	want := map[string]string{}
	for _, size := range []int{1, 1023, 1024, 1025, 4096, 65_535, 65_536, 300_000, 1_000_000} {
		value := make([]byte, size)
		random.Read(value)
		key := fmt.Sprintf("size/%07d", size)
		want[key] = string(value)
		putAll(t, e, pair{key, string(value)})
	}
	for key, value := range want {
		if got, _ := read(t, e, key); got != value {
			t.Errorf("%s: another value of %d bytes", key, len(got))
		}
	}
	check := func(tx store.Tx) error {
		return tx.Scan([]byte("size/"), nil, func(key, value []byte) error {
			if !bytes.Equal(value, []byte(want[string(key)])) {
				t.Errorf("scan: %s: another value of %d bytes", key, len(value))
			}
			return nil
		})
	}
	view(t, e, check)
	update(t, e, check)
	key := string(bytes.Repeat([]byte("k"), 2000))
	putAll(t, e, pair{key, "long key"})
	wantValue(t, e, key, "long key")
}

// testLargeTransaction writes as much as any engine must take at once: 10,000 pairs, a megabyte.
func testLargeTransaction(t *testing.T, e store.Engine) {
	const pairs = 10_000
	value := make([]byte, 70)
	update(t, e, func(tx store.Tx) error {
		for i := range pairs {
			if err := tx.Put(fmt.Appendf(nil, "many/%05d", i), value, time.Hour); err != nil {
				return err
			}
		}
		return nil
	})
	if got := len(all(t, e)); got != pairs {
		t.Fatalf("%d pairs, want %d", got, pairs)
	}
	update(t, e, func(tx store.Tx) error {
		var keys [][]byte
		err := tx.Scan([]byte("many/"), nil, func(key, _ []byte) error {
			keys = append(keys, bytes.Clone(key))
			return nil
		})
		for _, key := range keys {
			err = errors.Join(err, tx.Delete(key))
		}
		left, scanned := collect(tx, nil, nil)
		if len(left) > 0 {
			t.Errorf("%d pairs are left in the transaction that removed them", len(left))
		}
		return errors.Join(err, scanned)
	})
	if got := len(all(t, e)); got > 0 {
		t.Fatalf("%d pairs are left", got)
	}
}

// testTooLarge writes ever more, until the engine refuses: then nothing of it is kept, whatever the function answers,
// and neighbours of the same batch are not harmed.
func testTooLarge(t *testing.T, e store.Engine) {
	for _, test := range []struct {
		name   string
		values int
		size   int
		answer func(error) error
	}{
		{"few large values", 64, 1_000_000, func(err error) error { return err }},
		{"many small values", 60_000, 50, func(err error) error { return err }},
		{"refusal ignored", 64, 1_000_000, func(error) error { return nil }},
		{"refusal wrapped", 64, 1_000_000, func(err error) error { return fmt.Errorf("writing: %w", err) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			value := make([]byte, test.size)
			var refused bool
			together(t, 8, func(i int) {
				if i > 0 {
					for n := range 10 {
						key := fmt.Appendf(nil, "beside/%s/%d/%d", test.name, i, n)
						if err := e.Update(t.Context(), func(tx store.Tx) error { return tx.Put(key, key, 0) }); err != nil {
							t.Errorf("a neighbour: %v", err)
						}
					}
					return
				}
				err := e.Update(t.Context(), func(tx store.Tx) error {
					for i := range test.values {
						if err := tx.Put(fmt.Appendf(nil, "large/%s/%d", test.name, i), value, 0); err != nil {
							return test.answer(err)
						}
					}
					return nil
				})
				if refused = err != nil; refused && !errors.Is(err, store.ErrTooLarge) {
					t.Errorf("Update: %v", err)
				}
			})
			view(t, e, func(tx store.Tx) error {
				large, err := collect(tx, fmt.Appendf(nil, "large/%s/", test.name), nil)
				if refused && len(large) > 0 {
					t.Errorf("%d pairs of a refused update are there", len(large))
				}
				if !refused && len(large) != test.values {
					t.Errorf("%d pairs are there, want %d", len(large), test.values)
				}
				beside, err2 := collect(tx, fmt.Appendf(nil, "beside/%s/", test.name), nil)
				if len(beside) != 70 {
					t.Errorf("%d pairs of neighbours are there, want 70", len(beside))
				}
				return errors.Join(err, err2)
			})
		})
	}
}
