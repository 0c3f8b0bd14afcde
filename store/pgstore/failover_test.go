package pgstore

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
	"github.com/oauth2-passport/caddy-passport/store/pgstore/pgtest"
)

// TestFailoverForgetsNothing kills the primary under load and promotes its replica: what was acknowledged is there,
// what was not was answered with [store.ErrUnavailable], and writing goes on by itself.
func TestFailoverForgetsNothing(t *testing.T) {
	primary := pgtest.Start(t)
	address, err := url.Parse(primary.Database())
	if err != nil {
		t.Fatal(err)
	}
	replica := primary.Standby()
	both := pgtest.URL(strings.TrimPrefix(address.Path, "/"), primary, replica)
	e, err := Open(t.Context(), Options{URL: both, Timeout: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()

	var mu sync.Mutex
	var acknowledged []string
	count := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(acknowledged)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var writers sync.WaitGroup
	for w := range 8 {
		writers.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				key := fmt.Sprintf("%d/%06d", w, n)
				err := e.Update(ctx, func(tx store.Tx) error { return tx.Put([]byte(key), nil, 0) })
				switch {
				case err == nil:
					mu.Lock()
					acknowledged = append(acknowledged, key)
					mu.Unlock()
				case ctx.Err() == nil && !errors.Is(err, store.ErrUnavailable):
					t.Errorf("%s: %v", key, err)
				}
			}
		})
	}
	until(t, "updates are acknowledged", func() bool { return count() > 200 })
	primary.Kill()
	before := count()
	replica.Promote()
	until(t, "updates are acknowledged by the replica", func() bool { return count() > before+200 })
	stop()
	writers.Wait()

	missing := 0
	err = e.View(t.Context(), func(tx store.Tx) error {
		for _, key := range acknowledged {
			if _, err := tx.Get([]byte(key)); errors.Is(err, store.ErrNotFound) {
				missing++
			} else if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil || missing > 0 {
		t.Errorf("%d of %d acknowledged updates are missing: %v", missing, len(acknowledged), err)
	}
}

// until waits for something that takes a while on a busy machine.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waiting in vain until %s", what)
		}
	}
}
