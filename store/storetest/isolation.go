package storetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/oauth2-passport/caddy-passport/store"
)

func testCounter(t *testing.T, e store.Engine) {
	const goroutines, each = 64, 25
	together(t, goroutines, func(int) {
		for range each {
			if err := e.Update(t.Context(), func(tx store.Tx) error { return add(tx, "counter", 1) }); err != nil {
				t.Errorf("Update: %v", err)
				return
			}
		}
	})
	wantValue(t, e, "counter", fmt.Sprint(goroutines*each))
}

// testLostUpdate has each goroutine append its mark to one list: none may vanish.
func testLostUpdate(t *testing.T, e store.Engine) {
	const goroutines = 50
	for round := range 5 {
		key := fmt.Appendf(nil, "list/%d", round)
		together(t, goroutines, func(i int) {
			err := e.Update(t.Context(), func(tx store.Tx) error {
				list, _, err := get(tx, string(key))
				if err != nil {
					return err
				}
				return tx.Put(key, fmt.Appendf(nil, "%s[%d]", list, i), 0)
			})
			if err != nil {
				t.Errorf("Update: %v", err)
			}
		})
		list, _ := read(t, e, string(key))
		for i := range goroutines {
			if mark := fmt.Sprintf("[%d]", i); !strings.Contains(list, mark) {
				t.Errorf("round %d: %s is lost", round, mark)
			}
		}
	}
}

// testWriteSkew has pairs of updates each of which reads what the other writes: at most one may find nothing.
func testWriteSkew(t *testing.T, e store.Engine) {
	const rounds = 100
	var both atomic.Int64
	for round := range rounds {
		keys := [2]string{fmt.Sprintf("skew/%d/a", round), fmt.Sprintf("skew/%d/b", round)}
		var wrote atomic.Int64
		together(t, 2, func(i int) {
			var done bool
			err := e.Update(t.Context(), func(tx store.Tx) error {
				_, taken, err := get(tx, keys[1-i])
				if done = err == nil && !taken; !done {
					return err
				}
				return tx.Put([]byte(keys[i]), []byte("on duty"), 0)
			})
			if err != nil {
				t.Errorf("Update: %v", err)
			} else if done {
				wrote.Add(1)
			}
		})
		switch wrote.Load() {
		case 0:
			t.Fatalf("round %d: neither of the two wrote", round)
		case 2:
			both.Add(1)
		}
	}
	if n := both.Load(); n > 0 {
		t.Errorf("in %d of %d rounds both wrote after having read that the other had not", n, rounds)
	}
}

// testPhantom limits how many keys there are by counting them before each is added.
func testPhantom(t *testing.T, e store.Engine) {
	const limit = 3
	for round := range 10 {
		prefix := fmt.Appendf(nil, "session/%d/", round)
		together(t, 20, func(i int) {
			err := e.Update(t.Context(), func(tx store.Tx) error {
				there, err := collect(tx, prefix, nil)
				if err != nil || len(there) >= limit {
					return err
				}
				return tx.Put(fmt.Appendf(slices.Clip(prefix), "%02d", i), nil, 0)
			})
			if err != nil {
				t.Errorf("Update: %v", err)
			}
		})
		view(t, e, func(tx store.Tx) error {
			there, err := collect(tx, prefix, nil)
			if len(there) != limit {
				t.Errorf("round %d: %d keys, want %d", round, len(there), limit)
			}
			return err
		})
	}
}

// testTakenOnce redeems codes in a race of many.
func testTakenOnce(t *testing.T, e store.Engine) {
	for round := range 20 {
		code := fmt.Sprintf("code/%d", round)
		putAll(t, e, pair{code, "fresh"})
		var won, lost atomic.Int64
		together(t, 16, func(i int) {
			err := e.Update(t.Context(), func(tx store.Tx) error {
				if _, err := tx.Get([]byte(code)); err != nil {
					return err
				}
				if err := tx.Delete([]byte(code)); err != nil {
					return err
				}
				return tx.Put(fmt.Appendf(nil, "token/%d/%d", round, i), nil, 0)
			})
			switch {
			case err == nil:
				won.Add(1)
			case errors.Is(err, store.ErrNotFound):
				lost.Add(1)
			default:
				t.Errorf("Update: %v", err)
			}
		})
		if won.Load() != 1 || lost.Load() != 15 {
			t.Errorf("round %d: redeemed %d times, refused %d times", round, won.Load(), lost.Load())
		}
	}
	if got := len(all(t, e)); got != 20 {
		t.Errorf("%d tokens, want 20", got)
	}
}

func testViewIsASnapshot(t *testing.T, e store.Engine) {
	putAll(t, e, pair{"a", "1"}, pair{"b", "1"})
	view(t, e, func(tx store.Tx) error {
		if got, err := tx.Get([]byte("a")); string(got) != "1" {
			t.Errorf("before: %q, %v", got, err)
		}
		update(t, e, func(tx store.Tx) error {
			return errors.Join(tx.Put([]byte("a"), []byte("2"), 0), tx.Delete([]byte("b")),
				tx.Put([]byte("c"), []byte("2"), 0))
		})
		for key, want := range map[string]string{"a": "1", "b": "1"} {
			if got, err := tx.Get([]byte(key)); string(got) != want {
				t.Errorf("%s is %q (%v) in a snapshot from before, want %q", key, got, err, want)
			}
		}
		if _, err := tx.Get([]byte("c")); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("c, from after the snapshot: %v", err)
		}
		got, err := collect(tx, nil, nil)
		if want := "[{a 1} {b 1}]"; fmt.Sprint(got) != want {
			t.Errorf("scan in a snapshot from before: %v, want %v", got, want)
		}
		return err
	})
	if got, want := fmt.Sprint(all(t, e)), "[{a 2} {c 2}]"; got != want {
		t.Errorf("afterwards: %v, want %v", got, want)
	}
}

// testTransfers moves amounts between accounts, beside readers who must always find the same sum.
func testTransfers(t *testing.T, e store.Engine) {
	const accounts, opening = 8, 100
	for i := range accounts {
		putAll(t, e, pair{fmt.Sprint("account/", i), fmt.Sprint(opening)})
	}
	sum := func(tx store.Tx) error {
		pairs, err := collect(tx, []byte("account/"), nil)
		if err != nil {
			return err
		}
		total := 0
		for _, p := range pairs {
			n, err := number(p.value)
			if err != nil {
				return err
			}
			total += n
		}
		if total != accounts*opening {
			return fmt.Errorf("the sum is %d, want %d", total, accounts*opening)
		}
		return nil
	}
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if err := e.View(t.Context(), sum); err != nil {
					t.Errorf("view: %v", err)
					return
				}
			}
		})
	}
	together(t, 16, func(int) {
		for range 20 {
			from, to, amount := rand.IntN(accounts), rand.IntN(accounts), rand.IntN(50)
			err := e.Update(t.Context(), func(tx store.Tx) error {
				return errors.Join(
					add(tx, fmt.Sprint("account/", from), -amount),
					add(tx, fmt.Sprint("account/", to), amount),
					sum(tx))
			})
			if err != nil {
				t.Errorf("update: %v", err)
				return
			}
		}
	})
	close(done)
	inTime(t, "readers", readers.Wait)
	view(t, e, sum)
}

// testSeenAfterCommit checks that whoever has the answer of an update finds what it wrote.
func testSeenAfterCommit(t *testing.T, e store.Engine) {
	together(t, 16, func(i int) {
		for round := range 20 {
			key := fmt.Appendf(nil, "seen/%d/%d", i, round)
			if err := e.Update(t.Context(), func(tx store.Tx) error { return tx.Put(key, key, 0) }); err != nil {
				t.Errorf("Update: %v", err)
				return
			}
			err := e.View(t.Context(), func(tx store.Tx) error {
				_, err := tx.Get(key)
				return err
			})
			if err != nil {
				t.Errorf("%s after its commit: %v", key, err)
			}
		}
	})
}
