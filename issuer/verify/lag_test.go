package verify

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
)

// sharedEngine is an engine that other nodes write to, too.
type sharedEngine struct{ *memEngine }

func (sharedEngine) Shared() bool { return true }

// amongOthers makes the house one of several nodes, which may be out of sight for lag, and runs its verifier in a bubble.
func amongOthers(t *testing.T, lag time.Duration, test func(t *testing.T, h *house)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := newHouseAt(t, fixedKey(t), 0)
		db, err := store.Open(t.Context(), sharedEngine{h.engine}, "default", h.now)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		h.db = db
		h.v = New(Config{Keys: h.ring, DB: db, Client: h.hasClient, Lag: lag})
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { h.v.Run(ctx) })
		test(t, h)
		stop()
		running.Wait()
	})
}

// TestRefusesWhileRevocationsAreOutOfSight: a token that another node has revoked must not be good for ever where the
// feed of revocations has broken.
func TestRefusesWhileRevocationsAreOutOfSight(t *testing.T) {
	amongOthers(t, 30*time.Second, func(t *testing.T, h *house) {
		seen, unseen := h.token(), h.token(change{"client_id": configClient, "sub": configClient})
		h.want(seen, nil)
		time.Sleep(time.Second)
		h.engine.setFault(store.ErrUnavailable)
		time.Sleep(29 * time.Second)
		h.want(seen, nil)
		h.want(unseen, nil)
		unseen = h.token(change{"client_id": configClient, "sub": configClient})
		time.Sleep(2 * time.Second)
		for range 2 {
			h.want(seen, ErrOutOfSight)
			h.want(unseen, ErrUnavailable)
		}
		if _, err := h.verify("a.b.c"); !errors.Is(err, ErrMalformed) {
			t.Errorf("what is no token: %v", err)
		}
		h.engine.setFault(nil)
		time.Sleep(100 * time.Millisecond)
		h.want(seen, nil)
		h.want(unseen, nil)
	})
}

func TestVerifiesOnWhereTheConfigSaysSo(t *testing.T) {
	amongOthers(t, 0, func(t *testing.T, h *house) {
		token, of := h.token(), change{"client_id": configClient, "sub": configClient}
		h.want(token, nil)
		h.engine.setFault(store.ErrUnavailable)
		time.Sleep(50 * time.Minute)
		h.want(token, nil)
		h.want(h.token(of), nil)
	})
}

func TestStreamIsCutWhenRevocationsAreOutOfSight(t *testing.T) {
	amongOthers(t, 30*time.Second, func(t *testing.T, h *house) {
		ctx, release := h.open()
		defer release()
		h.engine.setFault(store.ErrUnavailable)
		wantCut(ctx, t, 29*time.Second, nil)
		wantCut(ctx, t, 3*time.Second, ErrCutOutOfSight)
	})
}

// TestNewTokensOfKnownClientsPassWhileStorageFails: what is known of a client is not forgotten because something else
// has been revoked; what is revoked of it counts.
func TestNewTokensOfKnownClientsPassWhileStorageFails(t *testing.T) {
	h := newHouse(t, fixedKey(t))
	h.want(h.token(), nil)
	h.revoke("another")
	h.engine.setFault(store.ErrUnavailable)
	h.want(h.token(), nil)
	err := h.db.Update(t.Context(), func(r *store.Records) error { return r.DeleteClient(storedClient) })
	if !errors.Is(err, store.ErrUnavailable) {
		t.Fatal(err)
	}
	h.want(h.token(), nil) // nothing of it has been written

	h.engine.setFault(nil)
	token := h.token()
	h.pass(time.Millisecond)
	h.update(func(r *store.Records) error { return r.PutClient(&store.Client{ID: storedClient, Disabled: true}) })
	h.engine.setFault(store.ErrUnavailable)
	h.want(token, ErrRevoked)
}

func TestCounts(t *testing.T) {
	h := newHouse(t, fixedKey(t))
	counts := new(Counts)
	h.v = New(Config{Keys: h.ring, DB: h.db, Client: h.hasClient, Counts: counts})
	token := h.token()
	for range 3 {
		h.want(token, nil)
	}
	h.want(h.token(change{"exp": h.now().Add(-time.Second).Unix()}), ErrExpired)
	h.want("nonsense", ErrMalformed)
	h.pass(2 * time.Hour)
	h.want(token, ErrExpired)
	h.engine.setFault(store.ErrUnavailable)
	h.want(h.token(), ErrUnavailable)
	for outcome, want := range map[Outcome]uint64{Hit: 2, Miss: 1, Refused: 3, Unavailable: 1} {
		if got := counts.Of(outcome); got != want {
			t.Errorf("%v: %d, want %d", outcome, got, want)
		}
	}
	if n := h.v.Remembered(); n != 1 {
		t.Errorf("%d tokens are remembered", n)
	}
}
