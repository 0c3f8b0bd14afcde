package keys_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwk"
	"github.com/lestrrat-go/jwx/v2/jws"

	"github.com/oauth2-passport/caddy-passport/issuer/keys"
	"github.com/oauth2-passport/caddy-passport/store"
	"github.com/oauth2-passport/caddy-passport/store/badgerstore"
)

// clock is a clock that only the test moves.
type clock struct{ at atomic.Int64 }

func newClock() *clock {
	c := new(clock)
	c.at.Store(time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC).UnixNano())
	return c
}

func (c *clock) now() time.Time          { return time.Unix(0, c.at.Load()).UTC() }
func (c *clock) advance(d time.Duration) { c.at.Add(int64(d)) }

func openEngine(tb testing.TB) store.Engine {
	tb.Helper()
	engine, err := badgerstore.Open(badgerstore.Options{Dir: tb.TempDir(), MinFree: -1})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := engine.Close(); err != nil {
			tb.Error(err)
		}
	})
	return engine
}

func openDB(tb testing.TB, engine store.Engine, now func() time.Time) *store.DB {
	tb.Helper()
	db, err := store.Open(tb.Context(), engine, "default", now)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(db.Close)
	return db
}

func openRing(tb testing.TB, cfg keys.Config) *keys.Ring {
	tb.Helper()
	r, err := keys.Open(tb.Context(), cfg)
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

func rotate(tb testing.TB, r *keys.Ring) {
	tb.Helper()
	if err := r.Rotate(tb.Context(), false); err != nil {
		tb.Fatal(err)
	}
}

func list(tb testing.TB, r *keys.Ring) []keys.Info {
	tb.Helper()
	l, err := r.List(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

// states are the keys' states and algorithms, in the order of the list.
func states(tb testing.TB, r *keys.Ring) string {
	tb.Helper()
	var s []string
	for _, k := range list(tb, r) {
		state := string(k.State)
		if k.Given {
			state = "given"
		}
		s = append(s, state+" "+string(k.Algorithm))
	}
	return strings.Join(s, ", ")
}

// published are the IDs of the keys that the ring publishes.
func published(tb testing.TB, r *keys.Ring) []string {
	tb.Helper()
	body, _ := r.JWKS()
	set, err := jwk.Parse(body)
	if err != nil {
		tb.Fatalf("%s: %v", body, err)
	}
	var ids []string
	for i := range set.Len() {
		k, _ := set.Key(i)
		ids = append(ids, k.KeyID())
	}
	return ids
}

func ids(l []keys.Info) []string {
	var s []string
	for _, k := range l {
		s = append(s, k.ID)
	}
	return s
}

// issued is a token and what is known of it.
type issued struct {
	token, kid string
	expires    time.Time
}

func issue(tb testing.TB, r *keys.Ring, expires time.Time) issued {
	tb.Helper()
	k := r.Current()
	token, err := k.SignJWT("at+jwt", claims)
	if err != nil {
		tb.Fatal(err)
	}
	return issued{token, k.ID(), expires}
}

// good tells whether the ring has the key that a token names, and the key made the token.
func good(tb testing.TB, r *keys.Ring, i issued) bool {
	tb.Helper()
	k := r.Key(i.kid)
	return k != nil && verifies(tb, k, i.token)
}

// counting counts the updates that wrote.
type counting struct {
	store.Engine
	updates atomic.Int32
}

func (e *counting) Update(ctx context.Context, fn func(store.Tx) error) error {
	err := e.Engine.Update(ctx, fn)
	if err == nil {
		e.updates.Add(1)
	}
	return err
}

func TestFirstStart(t *testing.T) {
	for _, alg := range append(allAlgorithms, "") {
		t.Run(string(alg), func(t *testing.T) {
			engine := &counting{Engine: openEngine(t)}
			db := openDB(t, engine, nil)
			engine.updates.Store(0)
			r := openRing(t, keys.Config{DB: db, Algorithm: alg})
			if n := engine.updates.Load(); n != 1 {
				t.Errorf("%d updates, want 1", n)
			}
			want := alg
			if want == "" {
				want = keys.ES256
			}
			if got := states(t, r); got != fmt.Sprintf("current %s, next %[1]s", want) {
				t.Errorf("got %s", got)
			}
			current, next := list(t, r)[0], list(t, r)[1]
			if r.Current().ID() != current.ID || r.Key(current.ID) != r.Current() || r.Key(next.ID).ID() != next.ID {
				t.Error("the ring does not know its keys")
			}
			if r.Key("") != nil || r.Key("../"+current.ID) != nil {
				t.Error("the ring knows a key that it has not got")
			}

			again := openRing(t, keys.Config{DB: db, Algorithm: alg})
			if n := engine.updates.Load(); n != 1 {
				t.Errorf("%d updates after the second start, want 1", n)
			}
			if again.Current().ID() != current.ID || !again.Current().Verify([]byte("x"), sign(t, r.Current(), []byte("x"))) {
				t.Error("the second start has another key")
			}
			if a, b := etag(r), etag(again); a != b {
				t.Errorf("entity tags %s and %s", a, b)
			}
		})
	}
}

func etag(r *keys.Ring) string {
	_, tag := r.JWKS()
	return tag
}

func TestKeysOutliveARestart(t *testing.T) {
	dir := t.TempDir()
	var before []string
	for i := range 2 {
		engine, err := badgerstore.Open(badgerstore.Options{Dir: dir, MinFree: -1})
		if err != nil {
			t.Fatal(err)
		}
		db, err := store.Open(t.Context(), engine, "default", nil)
		if err != nil {
			t.Fatal(err)
		}
		r := openRing(t, keys.Config{DB: db})
		if i == 0 {
			if err := r.Rotate(t.Context(), true); err != nil {
				t.Fatal(err)
			}
			before = ids(list(t, r))
		} else if after := ids(list(t, r)); !slices.Equal(before, after) || len(after) != 3 {
			t.Errorf("before %v, after %v", before, after)
		}
		db.Close()
		if err := engine.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestManyOpenAtOnceMakeOneRing(t *testing.T) {
	engine := openEngine(t)
	rings := make([]*keys.Ring, 12)
	dbs := []*store.DB{openDB(t, engine, nil), openDB(t, engine, nil), openDB(t, engine, nil)} // three nodes
	var wg sync.WaitGroup
	for i := range rings {
		wg.Go(func() {
			var err error
			if rings[i], err = keys.Open(t.Context(), keys.Config{DB: dbs[i%len(dbs)]}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	if got := states(t, rings[0]); got != "current ES256, next ES256" {
		t.Errorf("got %s", got)
	}
	want := published(t, rings[0])
	for _, r := range rings {
		if got := published(t, r); !slices.Equal(got, want) || r.Current().ID() != want[0] {
			t.Errorf("one has %v, another %v", want, got)
		}
	}
}

// Issuers that share an engine do not share keys.
func TestIssuersHaveTheirOwnKeys(t *testing.T) {
	engine := openEngine(t)
	a := openRing(t, keys.Config{DB: openDB(t, engine, nil)})
	other, err := store.Open(t.Context(), engine, "other", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	b := openRing(t, keys.Config{DB: other})
	if a.Current().ID() == b.Current().ID() || a.Key(b.Current().ID()) != nil {
		t.Error("they share a key")
	}
}

func TestOpenRefuses(t *testing.T) {
	db := openDB(t, openEngine(t), nil)
	given := generate(t, keys.EdDSA)
	for _, tt := range []struct {
		name string
		cfg  keys.Config
		want string
	}{
		{"no database", keys.Config{}, "keys: no database"},
		{
			"algorithm", keys.Config{DB: db, Algorithm: "HS256"},
			`keys: unknown algorithm "HS256": use one of ES256, ES384, RS256, PS256, EdDSA`,
		},
		{"rotation", keys.Config{DB: db, Rotate: -time.Hour}, "keys: rotation every -1h0m0s is not possible"},
		{
			"given key", keys.Config{DB: db, Algorithm: keys.ES256, Private: given},
			"keys: the given key is for EdDSA, but ES256 is asked for",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := keys.Open(t.Context(), tt.cfg); err == nil || err.Error() != tt.want {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestOpenTellsOfDamagedRecords(t *testing.T) {
	for _, tt := range []struct {
		name string
		rec  store.Key
		want string
	}{
		{
			"private part", store.Key{ID: "k1", Algorithm: "ES256", State: store.KeyNext, Private: []byte("hunter2")},
			`keys: the stored key "k1": its PRIVATE KEY block is not a valid PKCS #8 key: asn1: `,
		},
		{
			"algorithm", store.Key{ID: "k2", Algorithm: "ML-DSA-44", State: store.KeyRetired},
			`keys: the stored key "k2": unknown algorithm "ML-DSA-44"`,
		},
		{"state", store.Key{ID: "k3", Algorithm: "ES256", State: "lost"}, `"k3" is "lost", which is unknown or taken`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			db := openDB(t, openEngine(t), nil)
			put(t, db, &tt.rec)
			_, err := keys.Open(t.Context(), keys.Config{DB: db})
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("got %v", err)
			}
		})
	}
}

func put(tb testing.TB, db *store.DB, k *store.Key) {
	tb.Helper()
	err := db.Update(tb.Context(), func(r *store.Records) error {
		k.CreatedAt = r.Now()
		return r.PutKey(k)
	})
	if err != nil {
		tb.Fatal(err)
	}
}

// Tokens are issued all the time, keys are rotated as often as may be: none is refused before it has expired, and a
// retired key verifies no longer than it must.
func TestRotationLosesNoToken(t *testing.T) {
	const lifetime = time.Hour
	clock := newClock()
	db := openDB(t, openEngine(t), clock.now)
	r := openRing(t, keys.Config{DB: db, Retain: func() time.Duration { return lifetime }})
	var tokens []issued
	for step := range 60 {
		tokens = append(tokens, issue(t, r, clock.now().Add(lifetime)))
		if step%3 == 0 {
			next := list(t, r)[1].ID
			clock.advance(keys.PublishedBefore)
			tokens = append(tokens, issue(t, r, clock.now().Add(lifetime)))
			rotate(t, r)
			if r.Current().ID() != next {
				t.Fatal("another key than the next signs")
			}
			tokens = append(tokens, issue(t, r, clock.now().Add(lifetime)))
		}
		clock.advance(7 * time.Minute)
		for _, token := range tokens {
			if clock.now().Before(token.expires) && !good(t, r, token) {
				t.Fatalf("step %d: a token is refused that lives until %v", step, token.expires)
			}
		}
		for _, k := range list(t, r) {
			if k.State == store.KeyRetired && k.ExpiresAt != k.RetiredAt.Add(lifetime+time.Minute) {
				t.Fatalf("retired at %v, verifies until %v", k.RetiredAt, k.ExpiresAt)
			}
		}
	}
	if n := len(list(t, r)); n > 2+5 {
		t.Errorf("%d keys are left", n)
	}
	if good(t, r, tokens[0]) {
		t.Error("the first key still verifies")
	}
}

// The end of a retired key is exact: its minute after the last token, and no more.
func TestRetiredKeyVerifiesUntilItsEnd(t *testing.T) {
	clock := newClock()
	db := openDB(t, openEngine(t), clock.now)
	r := openRing(t, keys.Config{DB: db})
	token := issue(t, r, time.Time{})
	if err := r.Rotate(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	clock.advance(time.Hour + time.Minute - 1)
	if !good(t, r, token) {
		t.Error("refused too early")
	}
	clock.advance(1)
	if good(t, r, token) {
		t.Error("accepted too late")
	}
}

// A lifetime that is shortened, by a new configuration or the end of a client, leaves the tokens of before alive.
func TestShorterLifetimeLosesNoToken(t *testing.T) {
	clock := newClock()
	db := openDB(t, openEngine(t), clock.now)
	long := openRing(t, keys.Config{DB: db, Retain: func() time.Duration { return 24 * time.Hour }})
	token := issue(t, long, clock.now().Add(24*time.Hour))
	clock.advance(keys.PublishedBefore)

	short := openRing(t, keys.Config{DB: db, Retain: func() time.Duration { return time.Minute }})
	rotate(t, short)
	clock.advance(24*time.Hour - keys.PublishedBefore - time.Second)
	if !good(t, short, token) {
		t.Error("a token of the longer lifetime is refused")
	}
	// The key that came after it signed short ones only.
	before := short.Current().ID()
	rotate(t, short)
	clock.advance(2 * time.Minute)
	if short.Key(before) != nil {
		t.Error("the second key verifies for too long")
	}
}

func TestRotateWaitsForPublication(t *testing.T) {
	clock := newClock()
	db := openDB(t, openEngine(t), clock.now)
	r := openRing(t, keys.Config{DB: db})
	for range 2 { // the first rotation is no exception
		want := clock.now().Add(keys.PublishedBefore)
		for range 2 {
			before := ids(list(t, r))
			err := r.Rotate(t.Context(), false)
			early, ok := errors.AsType[*keys.TooEarlyError](err)
			if !ok || !early.Until.Equal(want) {
				t.Fatalf("got %v", err)
			}
			if !slices.Equal(ids(list(t, r)), before) {
				t.Error("a refused rotation changed the keys")
			}
			clock.advance(keys.PublishedBefore/2 - 1)
		}
		clock.advance(2)
		rotate(t, r)
	}
	before := r.Current().ID()
	if err := r.Rotate(t.Context(), true); err != nil || r.Current().ID() == before {
		t.Errorf("forced: %v", err)
	}
	want := "the next key is not published for 5m0s yet: wait until 2026-05-01T12:15:00Z, or force the rotation"
	if err := r.Rotate(t.Context(), false); err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
}

func TestTwoRotationsAtOnceRotateOnce(t *testing.T) {
	clock := newClock()
	engine := openEngine(t)
	rings := make([]*keys.Ring, 6)
	for i := range rings {
		rings[i] = openRing(t, keys.Config{DB: openDB(t, engine, clock.now)})
	}
	clock.advance(keys.PublishedBefore)
	var wg sync.WaitGroup
	var done atomic.Int32
	for _, r := range rings {
		wg.Go(func() {
			err := r.Rotate(t.Context(), false)
			if err == nil {
				done.Add(1)
			} else if _, ok := errors.AsType[*keys.TooEarlyError](err); !ok {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if done.Load() != 1 {
		t.Errorf("%d rotations", done.Load())
	}
	if got := states(t, rings[0]); got != "current ES256, next ES256, retired ES256" {
		t.Errorf("got %s", got)
	}
}

func TestRetire(t *testing.T) {
	setup := func(t *testing.T) (*keys.Ring, []keys.Info, issued) {
		r := openRing(t, keys.Config{DB: openDB(t, openEngine(t), newClock().now)})
		token := issue(t, r, time.Time{})
		if err := r.Rotate(t.Context(), true); err != nil {
			t.Fatal(err)
		}
		return r, list(t, r), token // current, next, retired
	}
	retire := func(t *testing.T, r *keys.Ring, kid string) {
		t.Helper()
		if err := r.Retire(t.Context(), kid); err != nil {
			t.Fatal(err)
		}
		if r.Key(kid) != nil || slices.Contains(published(t, r), kid) || slices.Contains(ids(list(t, r)), kid) {
			t.Error("it is still there")
		}
		if err := r.Retire(t.Context(), kid); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("a second time: %v", err)
		}
	}
	t.Run("the key that signs", func(t *testing.T) {
		r, l, old := setup(t)
		token := issue(t, r, time.Time{})
		retire(t, r, l[0].ID)
		if r.Current().ID() != l[1].ID {
			t.Error("not the next key signs")
		}
		if got := states(t, r); got != "current ES256, next ES256, retired ES256" {
			t.Errorf("got %s", got)
		}
		if good(t, r, token) {
			t.Error("a token of the retired key is accepted")
		}
		if !good(t, r, old) {
			t.Error("a token of another key is refused")
		}
	})
	t.Run("the next key", func(t *testing.T) {
		r, l, old := setup(t)
		retire(t, r, l[1].ID)
		if r.Current().ID() != l[0].ID || !good(t, r, old) {
			t.Error("another key was hit")
		}
		if got := states(t, r); got != "current ES256, next ES256, retired ES256" {
			t.Errorf("got %s", got)
		}
	})
	t.Run("a retired key", func(t *testing.T) {
		r, l, old := setup(t)
		retire(t, r, l[2].ID)
		if good(t, r, old) {
			t.Error("its token is accepted")
		}
		if got := states(t, r); got != "current ES256, next ES256" {
			t.Errorf("got %s", got)
		}
	})
	t.Run("no key", func(t *testing.T) {
		r, l, _ := setup(t)
		for _, kid := range []string{"", "x", "../" + l[0].ID, l[0].ID + "/"} {
			if err := r.Retire(t.Context(), kid); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("%q: %v", kid, err)
			}
		}
		if !slices.Equal(ids(list(t, r)), ids(l)) {
			t.Error("the keys have changed")
		}
	})
}

// TestAnotherKeyThatSignsIsToldOf, however it came to that: by a rotation, since the one that signed was retired, or
// gave way to one of the configuration and is back. Of the first key of an issuer there is nothing to tell.
func TestAnotherKeyThatSignsIsToldOf(t *testing.T) {
	var told []keys.Change
	cfg := keys.Config{DB: openDB(t, openEngine(t), newClock().now)}
	cfg.Changed = func(_ context.Context, c keys.Change) { told = append(told, c) }
	want := func(what string, changes ...keys.Change) {
		t.Helper()
		for i := range told {
			if told[i].Time.IsZero() {
				t.Errorf("%s: it is not told when", what)
			}
			told[i].Time = time.Time{}
		}
		if !slices.Equal(told, changes) {
			t.Errorf("%s: told %v, want %v", what, told, changes)
		}
		told = nil
	}
	r := openRing(t, cfg)
	want("the first start")
	openRing(t, cfg)
	want("another start")
	if err := r.Rotate(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	want("a rotation", keys.Change{KeyID: r.Current().ID()})

	l := list(t, r) // current, next, retired
	for _, kid := range []string{l[2].ID, l[1].ID} {
		if err := r.Retire(t.Context(), kid); err != nil {
			t.Fatal(err)
		}
		want("a key that does not sign", keys.Change{KeyID: kid, Retired: true})
	}
	if err := r.Retire(t.Context(), l[0].ID); err != nil {
		t.Fatal(err)
	}
	want("the key that signs", keys.Change{KeyID: r.Current().ID()}, keys.Change{KeyID: l[0].ID, Retired: true})

	given := cfg
	given.Private = generate(t, keys.ES256)
	openRing(t, given)
	want("a key of the configuration")
	r = openRing(t, cfg)
	want("a stored key signs again", keys.Change{KeyID: r.Current().ID()})
}

// hangUp is an engine whose caller goes away as soon as an update is on disk.
type hangUp struct {
	store.Engine
	after context.CancelFunc
}

func (e *hangUp) Update(ctx context.Context, fn func(store.Tx) error) error {
	err := e.Engine.Update(ctx, fn)
	if err == nil && e.after != nil {
		e.after()
	}
	return err
}

func TestRetireHoldsWhenTheCallerGoesAway(t *testing.T) {
	engine := &hangUp{Engine: openEngine(t)}
	r := openRing(t, keys.Config{DB: openDB(t, engine, nil)})
	kid := r.Current().ID()
	var ctx context.Context
	ctx, engine.after = context.WithCancel(t.Context())
	defer engine.after()
	if err := r.Retire(ctx, kid); err != nil || ctx.Err() == nil {
		t.Error(err)
	}
	if r.Key(kid) != nil {
		t.Error("the key is still there")
	}
}

// A verdict that is kept beside the generation of the revocations is asked for again once a key is retired.
func TestRetireRevokes(t *testing.T) {
	db := openDB(t, openEngine(t), newClock().now)
	r := openRing(t, keys.Config{DB: db})
	kid := r.Current().ID()
	ref := store.TokenRef{TokenID: "t", KeyID: kid, IssuedAt: db.Now()}
	before := db.Revocations().Generation()
	if db.Revocations().Revoked(ref) {
		t.Fatal("revoked before")
	}
	if err := r.Retire(t.Context(), kid); err != nil {
		t.Fatal(err)
	}
	if db.Revocations().Generation() == before || !db.Revocations().Revoked(ref) {
		t.Error("a verdict that is kept is not told")
	}
}

func TestGivenKey(t *testing.T) {
	clock := newClock()
	db := openDB(t, openEngine(t), clock.now)
	own := openRing(t, keys.Config{DB: db})
	token := issue(t, own, time.Time{})
	old := list(t, own)

	given, _ := keyPair(t, keys.RS256)
	r := openRing(t, keys.Config{DB: db, Private: given})
	if r.Current() != given || r.Key(given.ID()) != given {
		t.Error("the given key does not sign")
	}
	if got := states(t, r); got != "given RS256, next ES256, retired ES256" {
		t.Errorf("got %s", got)
	}
	if !good(t, r, token) || !good(t, r, issue(t, r, time.Time{})) {
		t.Error("a token is refused")
	}
	if got := published(t, r); !slices.Equal(got, []string{given.ID(), old[1].ID, old[0].ID}) {
		t.Errorf("published: %v", got)
	}

	if err := r.Rotate(t.Context(), true); !errors.Is(err, keys.ErrGivenKey) {
		t.Errorf("rotate: %v", err)
	}
	if err := r.Retire(t.Context(), given.ID()); !errors.Is(err, keys.ErrGivenKey) {
		t.Errorf("retire: %v", err)
	}
	stored(t, db, given.ID(), false)

	// The second start with it changes nothing.
	openRing(t, keys.Config{DB: db, Private: given})
	if got := states(t, r); got != "given RS256, next ES256, retired ES256" {
		t.Errorf("got %s", got)
	}

	clock.advance(time.Hour + time.Minute)
	if good(t, r, token) {
		t.Error("the stored key verifies for too long")
	}

	// Back to own keys: the next one has been published all the time, and signs at once.
	back := openRing(t, keys.Config{DB: db})
	if back.Current().ID() != old[1].ID || states(t, back) != "current ES256, next ES256" {
		t.Errorf("got %v, %s", back.Current(), states(t, back))
	}
	if back.Key(given.ID()) != nil {
		t.Error("a key that the configuration does not give any more verifies")
	}
}

func TestGivenKeyOnAnEmptyStore(t *testing.T) {
	db := openDB(t, openEngine(t), nil)
	given := generate(t, keys.ES256)
	r := openRing(t, keys.Config{DB: db, Private: given})
	if got := states(t, r); got != "given ES256" {
		t.Errorf("got %s", got)
	}
	if got := published(t, r); !slices.Equal(got, []string{given.ID()}) {
		t.Errorf("published: %v", got)
	}
	stored(t, db, given.ID(), false)
}

// A stored key that leaked can be retired beside a given one too.
func TestGivenKeyRetireStored(t *testing.T) {
	db := openDB(t, openEngine(t), newClock().now)
	own := openRing(t, keys.Config{DB: db})
	token := issue(t, own, time.Time{})
	r := openRing(t, keys.Config{DB: db, Private: generate(t, keys.EdDSA)})
	for _, kid := range ids(list(t, own)) {
		if err := r.Retire(t.Context(), kid); err != nil {
			t.Error(err)
		}
	}
	if good(t, r, token) || states(t, r) != "given EdDSA" {
		t.Errorf("got %s", states(t, r))
	}
}

func stored(tb testing.TB, db *store.DB, kid string, want bool) {
	tb.Helper()
	err := db.View(tb.Context(), func(r *store.Records) error {
		stored, err := r.Keys()
		got := slices.ContainsFunc(stored, func(k store.Key) bool { return k.ID == kid })
		if got != want {
			tb.Errorf("stored: %v", got)
		}
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
}

func TestChangedAlgorithmIsRotatedIn(t *testing.T) {
	clock := newClock()
	db := openDB(t, openEngine(t), clock.now)
	old := openRing(t, keys.Config{DB: db})
	token := issue(t, old, time.Time{})

	r := openRing(t, keys.Config{DB: db, Algorithm: keys.EdDSA})
	if got := states(t, r); got != "current ES256, next EdDSA" {
		t.Errorf("got %s", got)
	}
	if r.Current().Algorithm() != keys.ES256 {
		t.Error("the new algorithm signs before it is published")
	}
	if err := r.Rotate(t.Context(), false); err == nil {
		t.Error("rotated at once")
	}
	clock.advance(keys.PublishedBefore)
	rotate(t, r)
	if got := states(t, r); got != "current EdDSA, next EdDSA, retired ES256" {
		t.Errorf("got %s", got)
	}
	if !good(t, r, token) || !good(t, r, issue(t, r, time.Time{})) {
		t.Error("a token is refused")
	}
}

func TestJWKSHasNoPrivateParts(t *testing.T) {
	public := map[string][]string{
		"EC":  {"alg", "crv", "kid", "kty", "use", "x", "y"},
		"OKP": {"alg", "crv", "kid", "kty", "use", "x"},
		"RSA": {"alg", "e", "kid", "kty", "n", "use"},
	}
	for _, alg := range allAlgorithms {
		t.Run(string(alg), func(t *testing.T) {
			db := openDB(t, openEngine(t), newClock().now)
			r := openRing(t, keys.Config{DB: db, Algorithm: alg})
			tokens := []issued{issue(t, r, time.Time{})}
			if err := r.Rotate(t.Context(), true); err != nil {
				t.Fatal(err)
			}
			tokens = append(tokens, issue(t, r, time.Time{}))
			given, _ := keyPair(t, alg)
			r = openRing(t, keys.Config{DB: db, Private: given})
			tokens = append(tokens, issue(t, r, time.Time{}))

			body, _ := r.JWKS()
			var set struct {
				Keys []map[string]string `json:"keys"`
			}
			if err := json.Unmarshal(body, &set); err != nil {
				t.Fatal(err)
			}
			if len(set.Keys) != 4 {
				t.Errorf("%d keys", len(set.Keys))
			}
			for _, k := range set.Keys {
				if got := slices.Sorted(maps.Keys(k)); !slices.Equal(got, public[k["kty"]]) {
					t.Errorf("members %v", got)
				}
				if k["use"] != "sig" || k["alg"] != string(alg) || r.Key(k["kid"]) == nil {
					t.Errorf("got %v", k)
				}
			}

			// Whoever has the set can verify the tokens.
			parsed, err := jwk.Parse(body)
			if err != nil {
				t.Fatal(err)
			}
			for _, token := range tokens {
				if _, err := jws.Verify([]byte(token.token), jws.WithKeySet(parsed)); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestJWKSEntityTag(t *testing.T) {
	r := openRing(t, keys.Config{DB: openDB(t, openEngine(t), nil)})
	body, tag := r.JWKS()
	if len(tag) != 24 || tag[0] != '"' || tag[23] != '"' {
		t.Errorf("got %s", tag)
	}
	if again, same := r.JWKS(); &again[0] != &body[0] || same != tag {
		t.Error("it is rendered anew")
	}
	if err := r.Rotate(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if after, other := r.JWKS(); other == tag || string(after) == string(body) {
		t.Error("it is the same after a rotation")
	}
}

// Readers see one whole ring at any moment, while it changes.
func TestReadersDuringRotation(t *testing.T) {
	db := openDB(t, openEngine(t), nil)
	r := openRing(t, keys.Config{DB: db})
	other := openRing(t, keys.Config{DB: db})
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() { other.Run(ctx) })
	for _, ring := range []*keys.Ring{r, other} {
		wg.Go(func() {
			for ctx.Err() == nil {
				token := issue(t, ring, time.Time{})
				if !good(t, ring, token) {
					t.Error("a token is refused that was made now")
				}
				if body, tag := ring.JWKS(); len(body) == 0 || tag == "" {
					t.Error("no JWKS")
				}
				if !slices.Contains(published(t, ring), token.kid) {
					t.Error("a key signs that is not published")
				}
			}
		})
	}
	for i := range 20 {
		if err := r.Rotate(ctx, true); err != nil {
			t.Error(err)
		}
		if i%5 == 0 {
			if err := other.Retire(ctx, list(t, r)[1].ID); err != nil {
				t.Error(err)
			}
		}
	}
	stop()
	wg.Wait()
}

// TestRestoreBringsNoRetiredKeyBack: a backup from before a key leaked has it as the one that signs.
func TestRestoreBringsNoRetiredKeyBack(t *testing.T) {
	db := openDB(t, openEngine(t), nil)
	ring := openRing(t, keys.Config{DB: db})
	leaked := ring.Current().ID()
	file, err := os.Create(filepath.Join(t.TempDir(), "backup"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := db.Backup(t.Context(), file); err != nil {
		t.Fatal(err)
	}
	if err := ring.Retire(t.Context(), leaked); err != nil {
		t.Fatal(err)
	}
	signs := ring.Current().ID()
	_, err = db.Restore(t.Context(), func() (io.ReadCloser, error) { return os.Open(file.Name()) },
		store.RestoreOptions{Key: ring.Adopt})
	if err != nil {
		t.Fatal(err)
	}
	again := openRing(t, keys.Config{DB: db})
	if again.Key(leaked) != nil || again.Current().ID() != signs {
		t.Errorf("%s signs, before the restore %s did; the leaked one verifies: %v", again.Current().ID(), signs,
			again.Key(leaked) != nil)
	}
}
