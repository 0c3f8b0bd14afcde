package store_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
)

func TestDutyIsTakenOnce(t *testing.T) {
	h := newHouse(t)
	var taken atomic.Int32
	var nodes sync.WaitGroup
	take := func(duty string) {
		err := h.db.Update(t.Context(), func(r *store.Records) error {
			ok, err := r.Take(duty, h.now.Add(time.Hour))
			if ok {
				taken.Add(1)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
	for range 8 {
		nodes.Go(func() { take("purge") })
	}
	nodes.Wait()
	if n := taken.Swap(0); n != 1 {
		t.Errorf("%d have taken it", n)
	}
	take("another")
	h.pass(59 * time.Minute)
	take("purge")
	if n := taken.Swap(0); n != 1 {
		t.Errorf("%d have been taken", n)
	}
	h.pass(time.Minute)
	take("purge")
	if n := taken.Load(); n != 1 {
		t.Error("it is not taken when its time is over")
	}
}
