package keys_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/oauth2-passport/caddy-passport/issuer/keys"
	"github.com/oauth2-passport/caddy-passport/store"
)

// bubble runs fn with a clock that jumps as soon as nobody has anything to do. What start starts is over when it ends.
func bubble(t *testing.T, fn func(t *testing.T, engine *memEngine, db *store.DB, start func(*keys.Ring))) {
	synctest.Test(t, func(t *testing.T) {
		engine := new(memEngine)
		db := openDB(t, engine, nil)
		ctx, stop := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		fn(t, engine, db, func(r *keys.Ring) { wg.Go(func() { r.Run(ctx) }) })
		stop()
		wg.Wait()
	})
}

func TestRunRotatesBySchedule(t *testing.T) {
	bubble(t, func(t *testing.T, _ *memEngine, db *store.DB, start func(*keys.Ring)) {
		const every, lifetime = 24 * time.Hour, time.Hour
		cfg := keys.Config{DB: db, Rotate: every, Retain: func() time.Duration { return lifetime }}
		a, b := openRing(t, cfg), openRing(t, cfg) // two that rotate by the same schedule rotate once
		start(a)
		start(b)
		var tokens []issued
		seen := map[string]time.Time{}
		for range 3 * 48 {
			for _, r := range []*keys.Ring{a, b} {
				tokens = append(tokens, issue(t, r, time.Now().Add(lifetime)))
				if first, ok := seen[r.Current().ID()]; !ok {
					seen[r.Current().ID()] = time.Now()
				} else if time.Since(first) > every+time.Minute {
					t.Fatalf("a key signs for %v", time.Since(first))
				}
			}
			time.Sleep(30*time.Minute + time.Second)
			synctest.Wait()
			for _, token := range tokens {
				live := time.Now().Before(token.expires)
				if live && (!good(t, a, token) || !good(t, b, token)) {
					t.Fatalf("a token is refused that lives until %v", token.expires)
				}
				if !live && time.Since(token.expires) > every+2*lifetime && a.Key(token.kid) != nil {
					t.Fatal("a key verifies for too long")
				}
			}
			if a.Current().ID() != b.Current().ID() || etag(a) != etag(b) {
				t.Fatal("the two differ")
			}
		}
		if len(seen) != 3 {
			t.Errorf("%d keys signed in three days", len(seen))
		}
	})
}

// A rotation that is due more often than a key may be published waits for the publication.
func TestRunRotatesNoFasterThanKeysArePublished(t *testing.T) {
	bubble(t, func(t *testing.T, _ *memEngine, db *store.DB, start func(*keys.Ring)) {
		r := openRing(t, keys.Config{DB: db, Rotate: time.Second})
		start(r)
		var seen []string
		for range 60 {
			if id := r.Current().ID(); !slices.Contains(seen, id) {
				seen = append(seen, id)
			}
			time.Sleep(30 * time.Second)
			synctest.Wait()
		}
		if len(seen) != 6 {
			t.Errorf("%d keys signed in half an hour", len(seen))
		}
	})
}

func TestRunNeverRotatesUnasked(t *testing.T) {
	bubble(t, func(t *testing.T, _ *memEngine, db *store.DB, start func(*keys.Ring)) {
		openRing(t, keys.Config{DB: db})
		given := openRing(t, keys.Config{DB: db, Rotate: time.Hour, Private: generate(t, keys.ES256)})
		start(given)
		own, tag := given.Current(), etag(given)
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		if given.Current() != own {
			t.Error("the given key was rotated")
		}
		if etag(given) == tag {
			t.Error("the stored key is still published")
		}
	})
	bubble(t, func(t *testing.T, _ *memEngine, db *store.DB, start func(*keys.Ring)) {
		r := openRing(t, keys.Config{DB: db})
		start(r)
		tag := etag(r)
		time.Sleep(50 * time.Hour)
		synctest.Wait()
		if etag(r) != tag {
			t.Error("the keys have changed")
		}
	})
}

func TestRunRotatesAChangedAlgorithmIn(t *testing.T) {
	bubble(t, func(t *testing.T, _ *memEngine, db *store.DB, start func(*keys.Ring)) {
		old := openRing(t, keys.Config{DB: db}) // of the configuration before, still at work for a while
		start(old)
		r := openRing(t, keys.Config{DB: db, Algorithm: keys.EdDSA})
		start(r)
		token := issue(t, r, time.Time{})
		synctest.Wait()
		for r.Current().Algorithm() != keys.EdDSA {
			if d := db.Now().Sub(list(t, r)[0].ActivatedAt); d > keys.PublishedBefore {
				t.Fatalf("not yet rotated after %v", d)
			}
			if !slices.Contains(published(t, old), list(t, r)[1].ID) {
				t.Fatal("the other ring does not publish the next key")
			}
			time.Sleep(time.Second)
			synctest.Wait()
		}
		if !good(t, r, token) || !good(t, old, issue(t, r, time.Time{})) {
			t.Error("a token is refused")
		}
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if got := states(t, r); got != "current EdDSA, next EdDSA" {
			t.Errorf("got %s", got)
		}
	})
}

// Two nodes that want different algorithms, and two of which one has a given key, do not make keys without end.
func TestRunOfDifferentConfigurationsComesToRest(t *testing.T) {
	bubble(t, func(t *testing.T, _ *memEngine, db *store.DB, start func(*keys.Ring)) {
		var r *keys.Ring
		for _, cfg := range []keys.Config{
			{DB: db},
			{DB: db, Algorithm: keys.EdDSA},
			{DB: db, Private: generate(t, keys.EdDSA)},
		} {
			r = openRing(t, cfg)
			start(r)
		}
		var seen []string
		for range 6 * 60 {
			for _, info := range list(t, r) {
				if !slices.Contains(seen, info.ID) {
					seen = append(seen, info.ID)
				}
			}
			time.Sleep(time.Minute)
			synctest.Wait()
		}
		if len(seen) > 2*6+4 {
			t.Errorf("%d keys in six hours", len(seen))
		}
	})
}

func TestRunSeesWhatOthersChange(t *testing.T) {
	bubble(t, func(t *testing.T, _ *memEngine, db *store.DB, start func(*keys.Ring)) {
		a, b := openRing(t, keys.Config{DB: db}), openRing(t, keys.Config{DB: db})
		start(b)
		synctest.Wait()
		if err := a.Rotate(t.Context(), true); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // no time passes
		if b.Current().ID() != a.Current().ID() || etag(a) != etag(b) {
			t.Error("a rotation is not seen")
		}
		kid := a.Current().ID()
		if err := a.Retire(t.Context(), kid); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if b.Key(kid) != nil || b.Current().ID() != a.Current().ID() {
			t.Error("a retirement is not seen")
		}
	})
}

// Revocations of tokens come by the thousand; the keys are not read for each.
func TestRunDoesNotReadKeysForOtherRevocations(t *testing.T) {
	bubble(t, func(t *testing.T, engine *memEngine, db *store.DB, start func(*keys.Ring)) {
		start(openRing(t, keys.Config{DB: db}))
		synctest.Wait()
		before := engine.views.Load()
		for range 50 {
			err := db.Update(t.Context(), func(r *store.Records) error {
				return r.PutClient(&store.Client{ID: "c", Disabled: true})
			})
			if err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		if n := engine.views.Load() - before; n != 0 {
			t.Errorf("%d reads", n)
		}
	})
}

// A longer lifetime is noted with the key that signs, before it is forgotten by a shorter one.
func TestRunNotesALongerLifetime(t *testing.T) {
	bubble(t, func(t *testing.T, _ *memEngine, db *store.DB, start func(*keys.Ring)) {
		var lifetime atomic.Int64
		lifetime.Store(int64(time.Hour))
		r := openRing(t, keys.Config{DB: db, Retain: func() time.Duration { return time.Duration(lifetime.Load()) }})
		start(r)
		lifetime.Store(int64(10 * time.Hour)) // a client with longer tokens
		time.Sleep(2 * time.Minute)
		token := issue(t, r, time.Time{})
		lifetime.Store(int64(time.Hour)) // it is deleted
		time.Sleep(10 * time.Minute)
		rotate(t, r)
		time.Sleep(9 * time.Hour)
		synctest.Wait()
		if !good(t, r, token) {
			t.Error("its token is refused")
		}
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if good(t, r, token) {
			t.Error("its token is accepted for too long")
		}
	})
}

// The lifetimes may be read from the store itself: not within a transaction of the ring, which would wait for itself.
func TestRetainMayReadTheStore(t *testing.T) {
	bubble(t, func(t *testing.T, _ *memEngine, db *store.DB, start func(*keys.Ring)) {
		r := openRing(t, keys.Config{DB: db, Rotate: time.Hour, Retain: func() time.Duration {
			if err := db.View(context.Background(), func(*store.Records) error { return nil }); err != nil {
				t.Error(err)
			}
			return time.Hour
		}})
		start(r)
		time.Sleep(3 * time.Hour)
		if err := r.Rotate(t.Context(), true); err != nil {
			t.Error(err)
		}
		if err := r.Retire(t.Context(), r.Current().ID()); err != nil {
			t.Error(err)
		}
	})
}

func TestRunOutlivesAFaultOfTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := new(memEngine)
		db := openDB(t, engine, nil)
		core, logs := observer.New(zap.InfoLevel)
		r := openRing(t, keys.Config{DB: db, Rotate: time.Hour, Logger: zap.New(core)})
		ctx, stop := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { r.Run(ctx) })
		first := r.Current()
		token := issue(t, r, time.Time{})

		engine.setFault(store.ErrUnavailable)
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if r.Current() != first || !good(t, r, token) {
			t.Error("the keys in memory are not used on")
		}
		if !errors.Is(r.Fault(), store.ErrUnavailable) {
			t.Errorf("the fault is %v", r.Fault())
		}
		if err := r.Rotate(ctx, true); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("rotate: %v", err)
		}
		if _, err := r.List(ctx); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("list: %v", err)
		}
		if _, err := keys.Open(ctx, keys.Config{DB: db}); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("open: %v", err)
		}
		if n := logs.FilterLevelExact(zap.ErrorLevel).Len(); n == 0 || n > 130 {
			t.Errorf("%d errors in the log", n)
		}
		engine.setFault(nil)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if r.Current() == first {
			t.Error("the rotation was not made up for")
		}
		if r.Fault() != nil {
			t.Errorf("after it is over: %v", r.Fault())
		}
		stop()
		wg.Wait()
	})
}

// A disk that is full keeps nobody from taking a leaked key out.
func TestRunDropsARetiredKeyWhereNothingCanBeWritten(t *testing.T) {
	bubble(t, func(t *testing.T, engine *memEngine, db *store.DB, start func(*keys.Ring)) {
		node := openDB(t, &readOnly{engine}, nil) // of another node, which rotates by a schedule and cannot
		a := openRing(t, keys.Config{DB: db})
		b := openRing(t, keys.Config{DB: node, Rotate: time.Minute})
		start(b)
		time.Sleep(10 * time.Minute)
		leaked := issue(t, a, time.Time{})
		if !good(t, b, leaked) {
			t.Fatal("refused before")
		}
		if err := a.Retire(t.Context(), leaked.kid); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if good(t, b, leaked) || b.Current().ID() != a.Current().ID() {
			t.Error("the retired key is still there")
		}
	})
}

// readOnly is an engine on a disk that is full.
type readOnly struct{ store.Engine }

func (e *readOnly) Update(context.Context, func(store.Tx) error) error { return store.ErrUnavailable }
