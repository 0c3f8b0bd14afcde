package store_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
	"github.com/oauth2-passport/caddy-passport/store/storetest"
)

// link is the connection of a node to the database that it shares with others.
type link struct {
	*storetest.Engine
	cut atomic.Bool
}

func (*link) Shared() bool { return true }

func (l *link) View(ctx context.Context, fn func(store.Tx) error) error {
	if l.cut.Load() {
		return store.ErrUnavailable
	}
	return l.Engine.View(ctx, fn)
}

// twoNodes are two nodes on one database, the second by the link.
func twoNodes(t *testing.T) (a, b *store.DB, l *link) {
	t.Helper()
	l = &link{Engine: new(storetest.Engine)}
	for _, db := range []**store.DB{&a, &b} {
		engine := l
		if db == &a {
			engine = &link{Engine: l.Engine}
		}
		var err error
		if *db, err = store.Open(t.Context(), engine, "default", nil); err != nil {
			t.Fatal(err)
		}
	}
	return a, b, l
}

func revokeOn(t *testing.T, db *store.DB, id string) {
	t.Helper()
	err := db.Update(t.Context(), func(r *store.Records) error {
		token := &store.Token{ID: id, ClientID: "c", IssuedAt: r.Now(), ExpiresAt: r.Now().Add(time.Hour)}
		return errors.Join(r.PutToken(token), r.RevokeToken(id))
	})
	if err != nil {
		t.Fatal(err)
	}
}

func isRevoked(db *store.DB, id string) bool {
	return db.Revocations().Revoked(store.TokenRef{TokenID: id, ClientID: "c"})
}

func TestFollowsOtherNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, _ := twoNodes(t)
		defer a.Close()
		defer b.Close()
		revokeOn(t, a, "one")
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		if !isRevoked(b, "one") {
			t.Error("a revocation of the other node is not known")
		}
		if behind := b.Behind(b.Now()); behind > 100*time.Millisecond {
			t.Errorf("behind by %v", behind)
		}
	})
}

// TestFindsWhatWasRevokedOutOfSight: nothing that others revoked while a node did not see them is forgotten, however
// long that was.
func TestFindsWhatWasRevokedOutOfSight(t *testing.T) {
	for name, outage := range map[string]time.Duration{
		"a moment": 3 * time.Second, "a minute": time.Minute, "long": 20 * time.Minute,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b, l := twoNodes(t)
				defer a.Close()
				defer b.Close()
				time.Sleep(time.Minute)
				l.cut.Store(true)
				time.Sleep(time.Second)
				revokeOn(t, a, "one")
				time.Sleep(outage)
				synctest.Wait()
				if behind := b.Behind(b.Now()); behind < outage {
					t.Errorf("behind by %v after %v", behind, outage)
				}
				if a.Behind(a.Now()) > time.Second {
					t.Error("the other node is behind")
				}
				if isRevoked(b, "one") {
					t.Fatal("it was not out of sight")
				}
				l.cut.Store(false)
				time.Sleep(200 * time.Millisecond)
				synctest.Wait()
				if !isRevoked(b, "one") {
					t.Error("what was revoked meanwhile is not known")
				}
				if behind := b.Behind(b.Now()); behind > time.Second {
					t.Errorf("behind by %v", behind)
				}
			})
		})
	}
}

// TestFindsRevocationOfSlowTransaction: one that is dated back, by a slow commit or another node's clock.
func TestFindsRevocationOfSlowTransaction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &link{Engine: new(storetest.Engine)}
		late, err := store.Open(t.Context(), l, "default", func() time.Time { return time.Now().Add(-time.Minute) })
		if err != nil {
			t.Fatal(err)
		}
		defer late.Close()
		b, err := store.Open(t.Context(), &link{Engine: l.Engine}, "default", nil)
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		time.Sleep(time.Second)
		revokeOn(t, late, "one")
		time.Sleep(6 * time.Second)
		synctest.Wait()
		if !isRevoked(b, "one") {
			t.Error("it is not known")
		}
	})
}

func TestNobodyIsBehindAlone(t *testing.T) {
	h := newHouse(t)
	h.pass(time.Hour)
	if h.db.Shared() || h.db.Behind(h.now) != 0 {
		t.Errorf("shared: %v, behind by %v", h.db.Shared(), h.db.Behind(h.now))
	}
}

func TestTellsOfTransactions(t *testing.T) {
	h := newHouse(t)
	var told []store.Transaction
	h.db.Tell(func(_ context.Context, tx store.Transaction) { told = append(told, tx) })
	fault := errors.New("no")
	h.view(func(*store.Records) error { return nil })
	_ = h.db.Update(t.Context(), func(*store.Records) error { return fault })
	if len(told) != 2 || told[0].Update || !told[1].Update || told[0].Err != nil || !errors.Is(told[1].Err, fault) {
		t.Errorf("told %+v", told)
	}
}
