package verify

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oauth2-passport/caddy-passport/issuer/keys"
	"github.com/oauth2-passport/caddy-passport/store"
)

// entryIn is an entry that falls into that set of a cache.
func entryIn(set byte, n int, expires time.Time) *entry {
	e := &entry{Identity: Identity{TokenID: strconv.Itoa(n), ExpiresAt: expires}}
	e.key = sha256.Sum256([]byte(e.TokenID))
	clear(e.key[:8])
	e.key[0] = set
	return e
}

func TestCacheHasTheSizeItWasGiven(t *testing.T) {
	for size, want := range map[int]int{0: ways, 1: ways, ways: ways, ways + 1: 2 * ways, 65536: 65536, 100_000: 131072} {
		if got := len(newCache(size).slots); got != want {
			t.Errorf("size %d: %d slots, want %d", size, got, want)
		}
	}
}

func TestCacheMakesRoomWhereItIsMissedLeast(t *testing.T) {
	later := start.Add(time.Hour)
	fill := func(c *cache) (entries []*entry) {
		for n := range ways {
			e := entryIn(1, n, later)
			c.put(e, start)
			entries = append(entries, e)
		}
		for _, e := range entries {
			if c.get(&e.key) != e {
				t.Fatal("an entry is not found")
			}
		}
		return entries
	}
	there := func(c *cache, entries []*entry) (gone []int) {
		for n, e := range entries {
			if c.get(&e.key) == nil {
				gone = append(gone, n)
			}
		}
		return gone
	}

	t.Run("expired first", func(t *testing.T) {
		c := newCache(4 * ways)
		entries := fill(c)
		entries[5].ExpiresAt = start
		c.put(entryIn(1, 100, later), start)
		if gone := there(c, entries); fmt.Sprint(gone) != "[5]" {
			t.Errorf("gone: %v", gone)
		}
	})
	t.Run("revoked first", func(t *testing.T) {
		c := newCache(4 * ways)
		entries := fill(c)
		entries[3].revoked.Store(true)
		c.put(entryIn(1, 100, later), start)
		if gone := there(c, entries); fmt.Sprint(gone) != "[3]" {
			t.Errorf("gone: %v", gone)
		}
	})
	t.Run("unused next", func(t *testing.T) {
		c := newCache(4 * ways)
		entries := fill(c)
		entries[6].used.Store(false)
		c.put(entryIn(1, 100, later), start)
		if c.get(&entries[6].key) != nil {
			t.Error("the unused one is still there")
		}
	})
	t.Run("one of them at last", func(t *testing.T) {
		c := newCache(4 * ways)
		entries := fill(c)
		c.put(entryIn(1, 100, later), start)
		if gone := there(c, entries); len(gone) != 1 {
			t.Errorf("gone: %v", gone)
		}
	})
	t.Run("the same token in its own place", func(t *testing.T) {
		c := newCache(4 * ways)
		entries := fill(c)
		again := entryIn(1, 4, later)
		c.put(again, start)
		if gone := there(c, entries); gone != nil || c.get(&again.key) != again {
			t.Errorf("gone: %v", gone)
		}
	})
	t.Run("other sets are left alone", func(t *testing.T) {
		c := newCache(4 * ways)
		entries := fill(c)
		for n := range 1000 {
			c.put(entryIn(2, 1000+n, later), start)
		}
		if gone := there(c, entries); gone != nil {
			t.Errorf("gone: %v", gone)
		}
	})
}

func TestCacheLetsGoWhatIsWorthless(t *testing.T) {
	c := newCache(1 << 10)
	for n := range 200 {
		e := entryIn(byte(n), n, start.Add(time.Duration(n%2)*time.Hour))
		e.revoked.Store(n%4 == 1)
		c.put(e, start.Add(-time.Hour))
	}
	c.sweep(start)
	left := 0
	for i := range c.slots {
		if c.slots[i].Load() != nil {
			left++
		}
	}
	if left != 50 {
		t.Errorf("%d are left, want 50", left)
	}
}

func TestCacheUnderManyHands(t *testing.T) {
	c := newCache(2 * ways)
	var wg sync.WaitGroup
	for hand := range 8 {
		wg.Go(func() {
			for n := range 5000 {
				e := entryIn(byte(n), n*(1+hand%2), start.Add(time.Hour))
				c.put(e, start)
				if found := c.get(&e.key); found != nil && found.TokenID != e.TokenID {
					t.Error("another token's entry")
				}
				if n%100 == 0 {
					c.sweep(start)
				}
			}
		})
	}
	wg.Wait()
}

func TestFloodOfForgedTokensLeavesTheCacheAlone(t *testing.T) {
	h := newHouse(t, fixedKey(t))
	var good []string
	for range 200 {
		good = append(good, h.token())
		h.want(good[len(good)-1], nil)
	}
	entries := make(map[string]*Identity)
	for _, token := range good {
		entries[token], _ = h.verify(token)
	}
	header, payload := good[0][:strings.IndexByte(good[0], '.')], mustJSON(t, h.claims())
	var wg sync.WaitGroup
	for hand := range 4 {
		wg.Go(func() {
			for n := range 5000 {
				flood := []string{
					fmt.Sprintf("%d.%d.%d", hand, n, n),
					header + "." + b64(payload) + "." + b64(fmt.Sprintf("%064d", n*4+hand)),
					store.NewSecret(store.RefreshToken),
				}
				for _, token := range flood[:1+n%3] {
					if _, err := h.verify(token); err == nil {
						t.Error("a forged token is taken")
					}
				}
			}
		})
	}
	wg.Wait()
	if n := h.remembered(); n != len(good) {
		t.Errorf("%d tokens are remembered, want %d", n, len(good))
	}
	for _, token := range good {
		if id, err := h.verify(token); err != nil || id != entries[token] {
			t.Errorf("a good token was forgotten: %v", err)
		}
	}
}

func TestFloodOfGoodTokensStaysInBounds(t *testing.T) {
	h := newHouse(t, newKey(t, keys.ES256))
	for range 3 * len(h.v.cache.slots) {
		h.want(h.token(), nil)
	}
	if n := h.remembered(); n > 1<<10 {
		t.Errorf("%d tokens are remembered", n)
	}
}

// A token is remembered as who it is. Routes with other demands, hosts with another issuer and tokens with other scopes
// share one cache, at the same time.
func TestOneVerdictPerRouteIsNeverRemembered(t *testing.T) {
	h := newHouse(t, fixedKey(t))
	const otherIssuer = "https://other.example.com"
	type holder struct {
		token, issuer, scope, audience string
	}
	var holders []holder
	for _, issuer := range []string{testIssuer, otherIssuer} {
		for _, scope := range []string{"read", "write"} {
			for _, audience := range []string{"a", "b"} {
				token := h.token(change{"iss": issuer, "scope": scope, "aud": audience})
				holders = append(holders, holder{token, issuer, scope, audience})
			}
		}
	}
	var wg sync.WaitGroup
	for _, route := range holders { // what one holder has, a route demands
		for range 2 {
			wg.Go(func() {
				for range 300 {
					for _, caller := range holders {
						id, err := h.v.Verify(t.Context(), caller.token, route.issuer)
						allowed := err == nil && id.HasScope(route.scope) && id.IntendedFor(route.audience) == nil
						if want := caller == route; allowed != want {
							t.Errorf("%+v at %+v: %v", caller, route, allowed)
							return
						}
					}
				}
			})
		}
	}
	wg.Wait()
}

func TestRevocationHoldsFromTheNextVerify(t *testing.T) {
	for round := range 10 {
		h := newHouse(t, fixedKey(t))
		revoked, gone, other := h.token(change{"jti": "j1"}), h.token(), h.token(change{
			"jti": "j2", "client_id": configClient, "sub": configClient,
		})
		var (
			wg           sync.WaitGroup
			begin        = make(chan struct{})
			over, closed = make(chan struct{}), make(chan struct{}) // once the revocation, and the deletion, has returned
			done         = make(chan struct{})
		)
		isClosed := func(c chan struct{}) bool {
			select {
			case <-c:
				return true
			default:
				return false
			}
		}
		for range 4 {
			wg.Go(func() {
				<-begin
				for !isClosed(done) {
					wasOver, wasClosed := isClosed(over), isClosed(closed)
					if _, err := h.verify(revoked); wasOver && err == nil {
						t.Error("a revoked token is taken")
						return
					}
					if _, err := h.verify(gone); wasClosed && err == nil {
						t.Error("the token of a deleted client is taken")
						return
					}
					if _, err := h.verify(other); err != nil {
						t.Errorf("another token is refused: %v", err)
						return
					}
				}
			})
		}
		wg.Go(func() {
			defer close(done)
			close(begin)
			time.Sleep(time.Duration(round) * 100 * time.Microsecond) // among the first verifications, or after them
			h.revoke("j1")
			close(over)
			h.update(func(r *store.Records) error { return r.DeleteClient(storedClient) })
			close(closed)
			for range 20 {
				h.want(revoked, ErrRevoked)
				h.want(gone, ErrRevoked)
				runtime.Gosched()
			}
		})
		wg.Wait()
		if t.Failed() {
			return
		}
	}
}

func TestHitAllocatesNothing(t *testing.T) {
	h := newHouse(t, fixedKey(t))
	good, revoked := h.token(), h.token(change{"jti": "j1"})
	h.want(good, nil)
	h.want(revoked, nil)
	h.revoke("j1")
	personal, _ := h.personalToken(somebody)
	cookie, _ := h.session(somebody)
	h.want(personal, nil)
	h.wantSession(cookie, nil)
	audience := []string{"x", testIssuer}
	n := testing.AllocsPerRun(1000, func() {
		if _, err := h.v.Verify(t.Context(), personal, testIssuer); err != nil {
			t.Error("refused")
		}
		if _, err := h.v.Session(t.Context(), cookie, testIssuer); err != nil {
			t.Error("refused")
		}
		id, err := h.v.Verify(t.Context(), good, testIssuer)
		if err != nil || !id.HasScope("write") || id.IntendedFor(audience...) != nil {
			t.Error("refused")
		}
		if _, err := h.v.Verify(t.Context(), revoked, testIssuer); !errors.Is(err, ErrRevoked) {
			t.Error("taken")
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestCachedTokenTakesLessThanAKilobyte(t *testing.T) {
	const tokens = 20_000
	h := newHouse(t, newKey(t, keys.ES256)) // the fastest under the race detector
	list := make([]string, tokens)
	h.update(func(r *store.Records) error {
		for i := range list {
			person := &store.User{ID: store.NewID(start), Name: fmt.Sprintf("person-%d", i)}
			if err := r.PutUser(person); err != nil {
				return err
			}
			list[i] = h.token(change{"sub": person.ID, "preferred_username": person.Name})
		}
		return nil
	})
	before := heap()
	h.v = New(Config{Keys: h.ring, DB: h.db, Client: h.hasClient, CacheSize: tokens})
	for _, token := range list {
		h.want(token, nil)
	}
	each := (heap() - before) / tokens
	t.Logf("%d bytes a token of %d, %d of %d are remembered", each, len(list[0]), h.remembered(), tokens)
	if each >= 1000 {
		t.Errorf("%d bytes a token", each)
	}
	runtime.KeepAlive(list)
}

// heap is how many bytes are in use.
func heap() uint64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}
