package pgstore

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
	"github.com/oauth2-passport/caddy-passport/store/pgstore/pgtest"
)

// TestOneOfManyNodesTakesADuty lets many nodes look at once whether it is time to purge.
func TestOneOfManyNodesTakesADuty(t *testing.T) {
	url := pgtest.Start(t).Database()
	var nodes []*store.DB
	for range 8 {
		nodes = append(nodes, records(t, url))
	}
	for _, duty := range []string{"purge", "another"} {
		var taken atomic.Int64
		var looks sync.WaitGroup
		for _, db := range nodes {
			for range 3 {
				looks.Go(func() {
					var mine bool
					err := db.Update(t.Context(), func(r *store.Records) (err error) {
						mine, err = r.Take(duty, r.Now().Add(time.Hour))
						return err
					})
					if err != nil {
						t.Error(err)
					}
					if mine {
						taken.Add(1)
					}
				})
			}
		}
		looks.Wait()
		if n := taken.Load(); n != 1 {
			t.Errorf("%d nodes have taken the duty %s", n, duty)
		}
	}
}
