package storetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
)

func testContextEnded(t *testing.T, e store.Engine) {
	ran := false
	fn := func(store.Tx) error {
		ran = true
		return nil
	}
	if err := e.Update(ended(t), fn); !errors.Is(err, context.Canceled) {
		t.Errorf("Update: %v", err)
	}
	if err := e.View(ended(t), fn); !errors.Is(err, context.Canceled) {
		t.Errorf("View: %v", err)
	}
	if ran {
		t.Error("a function has run although its context was over before")
	}
}

// testContextEndsMeanwhile ends the context while the function runs: the answer is what happened.
func testContextEndsMeanwhile(t *testing.T, e store.Engine) {
	for _, fails := range []bool{false, true} {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		key := fmt.Sprint("key/", fails)
		err := e.Update(ctx, func(tx store.Tx) error {
			if err := tx.Put([]byte(key), nil, 0); err != nil {
				return err
			}
			cancel()
			if fails {
				return errTest
			}
			return nil
		})
		if _, there := read(t, e, key); there != (err == nil) {
			t.Errorf("Update answers %v, and the write is there: %v", err, there)
		}
		if fails && err != errTest {
			t.Errorf("Update answers %v, not the function's error", err)
		}
	}
}

// testContextRace ends contexts at any time: an update that answers an error has written nothing, any other has.
func testContextRace(t *testing.T, e store.Engine) {
	const goroutines, rounds = 32, 20
	var mu sync.Mutex
	outcome := map[string]error{}
	together(t, goroutines, func(i int) {
		for round := range rounds {
			key := fmt.Sprintf("race/%02d/%02d", i, round)
			ctx, cancel := context.WithTimeout(t.Context(), rand.N(3*time.Millisecond))
			err := e.Update(ctx, func(tx store.Tx) error { return tx.Put([]byte(key), nil, 0) })
			cancel()
			mu.Lock()
			outcome[key] = err
			mu.Unlock()
		}
	})
	for key, err := range outcome {
		if _, there := read(t, e, key); there != (err == nil) {
			t.Errorf("%s: Update answered %v, and the write is there: %v", key, err, there)
		}
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", key, err)
		}
	}
}

func testClosed(t *testing.T, e store.Engine) {
	putAll(t, e, pair{"a", "1"})
	if err := e.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	wantClosed(t, e)
	if err := e.Close(); !errors.Is(err, store.ErrClosed) {
		t.Errorf("Close a second time: %v", err)
	}
}

func wantClosed(t *testing.T, e store.Engine) {
	t.Helper()
	fn := func(store.Tx) error {
		t.Error("a function has run on a closed engine")
		return nil
	}
	if err := e.Update(t.Context(), fn); !errors.Is(err, store.ErrClosed) {
		t.Errorf("Update: %v", err)
	}
	if err := e.View(t.Context(), fn); !errors.Is(err, store.ErrClosed) {
		t.Errorf("View: %v", err)
	}
	if err := e.Ping(t.Context()); !errors.Is(err, store.ErrClosed) {
		t.Errorf("Ping: %v", err)
	}
}

// testCloseUnderLoad closes the engine among calls of every sort: each has a true answer, and none hangs.
func testCloseUnderLoad(t *testing.T, e store.Engine) {
	const goroutines = 32
	var mu sync.Mutex
	outcome := map[string]error{}
	var load, begun sync.WaitGroup
	for i := range goroutines {
		begun.Add(1)
		load.Go(func() {
			for n := 0; ; n++ {
				var err error
				key := fmt.Sprintf("load/%02d/%05d", i, n)
				switch {
				case i < goroutines/2:
					err = e.Update(t.Context(), func(tx store.Tx) error { return tx.Put([]byte(key), nil, 0) })
					mu.Lock()
					outcome[key] = err
					mu.Unlock()
				case i%2 == 0:
					err = e.View(t.Context(), func(tx store.Tx) error {
						_, err := collect(tx, []byte("load/00/"), nil)
						return err
					})
				default:
					err = e.Ping(t.Context())
				}
				if n == 5 {
					begun.Done()
				}
				if errors.Is(err, store.ErrClosed) && n > 5 {
					return
				}
				if err != nil {
					t.Errorf("a call beside Close: %v", err)
				}
			}
		})
	}
	inTime(t, "the load", begun.Wait)
	inTime(t, "Close", func() {
		if err := e.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	inTime(t, "calls beside Close", load.Wait)
	wantClosed(t, e)

	again, ok := e.(Reopener)
	if !ok {
		return
	}
	e = again.Reopen(t)
	defer e.Close()
	for key, err := range outcome {
		if _, there := read(t, e, key); there != (err == nil) {
			t.Errorf("%s: Update answered %v, and the write is there: %v", key, err, there)
		}
	}
}

func testCloseWaitsForViews(t *testing.T, e store.Engine) {
	putAll(t, e, pair{"a", "1"})
	closeDuring(t, e, func(pause func()) error {
		return e.View(t.Context(), func(tx store.Tx) error {
			pause()
			_, err := tx.Get([]byte("a"))
			return err
		})
	})
}

func testCloseWaitsForUpdates(t *testing.T, e store.Engine) {
	closeDuring(t, e, func(pause func()) error {
		return e.Update(t.Context(), func(tx store.Tx) error {
			pause()
			return tx.Put([]byte("a"), []byte("1"), 0)
		})
	})
	if again, ok := e.(Reopener); ok {
		e = again.Reopen(t)
		defer e.Close()
		wantValue(t, e, "a", "1")
	}
}

// closeDuring closes the engine while call pauses in its transaction: call ends in peace, and Close after it.
func closeDuring(t *testing.T, e store.Engine, call func(pause func()) error) {
	t.Helper()
	running, goOn := make(chan struct{}), make(chan struct{})
	called, closed := make(chan error, 1), make(chan error, 1)
	var once sync.Once
	go func() {
		called <- call(func() {
			once.Do(func() { close(running) })
			<-goOn
		})
	}()
	<-running
	go func() { closed <- e.Close() }()
	inTime(t, "the beginning of Close", func() {
		for !errors.Is(e.View(t.Context(), nothing), store.ErrClosed) {
			time.Sleep(time.Millisecond)
		}
	})
	time.Sleep(50 * time.Millisecond) // a Close that does not wait gets the time to do harm
	select {
	case err := <-closed:
		t.Errorf("Close answers %v beside a running transaction", err)
		closed <- err
	default:
	}
	close(goOn)
	inTime(t, "the transaction", func() {
		if err := <-called; err != nil {
			t.Errorf("the transaction: %v", err)
		}
	})
	inTime(t, "Close", func() {
		if err := <-closed; err != nil {
			t.Errorf("Close: %v", err)
		}
	})
}

func nothing(store.Tx) error { return nil }

func testReopen(t *testing.T, e store.Engine) {
	again, ok := e.(Reopener)
	if !ok {
		t.Log("the engine keeps nothing that could be opened again")
		return
	}
	large := string(make([]byte, 100_000))
	for round := range 4 {
		key := fmt.Sprint("round/", round)
		update(t, e, func(tx store.Tx) error {
			return errors.Join(
				tx.Put([]byte(key), []byte(key), 0),
				tx.Put([]byte("hour/"+key), nil, time.Hour),
				tx.Put([]byte("large/"+key), []byte(large), 0),
				tx.Put([]byte("last"), []byte(key), 0),
				tx.Delete(fmt.Appendf(nil, "round/%d", round-2)))
		})
		if err := e.Close(); err != nil {
			t.Fatalf("Close: %v", err)
		}
		e = again.Reopen(t)
		defer e.Close()
		wantValue(t, e, key, key)
		wantValue(t, e, "hour/"+key, "")
		wantValue(t, e, "large/"+key, large)
		wantValue(t, e, "last", key)
		wantMissing(t, e, fmt.Sprint("round/", round-2))
		if got, want := len(all(t, e)), 2*(round+1)+1+min(round+1, 2); got != want {
			t.Errorf("round %d: %d pairs, want %d", round, got, want)
		}
	}
}
