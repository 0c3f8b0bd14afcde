package issuer

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
	"github.com/oauth2-passport/caddy-passport/store/storetest"
)

// slowEngine takes 10 ms for each transaction.
type slowEngine struct{ *storetest.Engine }

func (e slowEngine) View(ctx context.Context, fn func(store.Tx) error) error {
	time.Sleep(10 * time.Millisecond)
	return e.Engine.View(ctx, fn)
}

func (e slowEngine) Update(ctx context.Context, fn func(store.Tx) error) error {
	time.Sleep(10 * time.Millisecond)
	return e.Engine.Update(ctx, fn)
}

// TestPurgeGoesThroughAllPagesAndRests: what was revoked stands behind a page of tokens that are good, and more of it
// than one step removes. Others have the storage for nine tenths of the time.
func TestPurgeGoesThroughAllPagesAndRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const live, revoked = purgePage + 100, 2*purgeBatch + 10
		db, err := store.Open(t.Context(), slowEngine{new(storetest.Engine)}, "default", nil)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		err = db.Update(t.Context(), func(r *store.Records) error {
			for n := range live + revoked {
				id := store.NewID(r.Now().Add(time.Duration(n) * time.Millisecond))
				token := &store.Token{ID: id, ClientID: "all", ExpiresAt: r.Now().Add(time.Hour)}
				if err := r.PutToken(token); err != nil {
					return err
				}
				if n < live {
					continue
				}
				if err := r.RevokeToken(token.ID); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		told := 0
		i := &Issuer{db: db, observer: observerFunc(func(e Event) { told += e.Count })}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := i.Purge(ctx, PurgeFilter{Revoked: true}); !errors.Is(err, context.Canceled) {
			t.Errorf("canceled: %v", err)
		}
		began := time.Now()
		if n, err := i.Purge(t.Context(), PurgeFilter{Revoked: true}); n != revoked || err != nil || told != revoked {
			t.Errorf("%d, %v, told of %d; want %d", n, err, told, revoked)
		}
		// Two pages are read and three times is written, with rests in between.
		if took, want := time.Since(began), (5+4*purgeRests)*10*time.Millisecond; took != want {
			t.Errorf("it took %v, want %v", took, want)
		}
		tokens, err := i.Tokens(t.Context(), TokenFilter{})
		if len(tokens) != live || err != nil {
			t.Errorf("%d are left, %v; want %d", len(tokens), err, live)
		}
	})
}

type observerFunc func(Event)

func (f observerFunc) Observe(_ context.Context, e Event) { f(e) }

// TestPurgeRestsNoLongerThanItHasTo: no more than a second, whatever has kept the step before, and not when nobody
// waits for it any more.
func TestPurgeRestsNoLongerThanItHasTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 1400*time.Millisecond)
		defer cancel()
		began := time.Now()
		var steps purgeSteps
		for _, c := range []struct {
			until time.Duration // the rest ends, since it began
			want  error
		}{
			{0, nil}, {1200 * time.Millisecond, nil}, {1400 * time.Millisecond, context.DeadlineExceeded},
		} {
			if err := steps.next(ctx); !errors.Is(err, c.want) || time.Since(began) != c.until {
				t.Errorf("after %v, want %v: %v", time.Since(began), c.until, err)
			}
			if c.until == 0 {
				time.Sleep(200 * time.Millisecond) // a step that would be worth 1.8 seconds
			} else {
				time.Sleep(50 * time.Millisecond)
			}
		}
	})
}
