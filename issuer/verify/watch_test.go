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

// inBubble runs test on a house whose verifier runs, in the time of a bubble.
func inBubble(t *testing.T, test func(t *testing.T, h *house)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := newHouseAt(t, fixedKey(t), 0)
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { h.v.Run(ctx) })
		test(t, h)
		stop()
		running.Wait()
		if n := h.v.Watching(); n != 0 {
			t.Errorf("%d requests are still watched", n)
		}
	})
}

// open lets a request through that stays.
func (h *house) open(changes ...change) (ctx context.Context, release func()) {
	h.t.Helper()
	id, err := h.verify(h.token(changes...))
	if err != nil {
		h.t.Fatal(err)
	}
	return watched(h.t.Context(), h.v, id)
}

// watched is the context of a request that v watches.
func watched(ctx context.Context, v interface {
	Watch(one *Watch, id *Identity, end context.CancelCauseFunc)
}, id *Identity,
) (request context.Context, release func()) {
	request, cancel := context.WithCancelCause(ctx)
	one := new(Watch)
	v.Watch(one, id, cancel)
	return request, func() {
		cause := one.Release()
		cancel(nil)
		if cause != nil && !errors.Is(context.Cause(request), cause) {
			panic("released before it was ended")
		}
	}
}

// wantCut waits that long and compares why the request was cut, nil if it must not have been.
func wantCut(ctx context.Context, t testing.TB, after time.Duration, want error) {
	t.Helper()
	time.Sleep(after)
	synctest.Wait()
	if got := context.Cause(ctx); !errors.Is(got, want) {
		t.Errorf("after %v: %v, want %v", after, got, want)
	}
}

func TestStreamIsCutWhenItsTokenExpires(t *testing.T) {
	inBubble(t, func(t *testing.T, h *house) {
		ctx, release := h.open(change{"exp": h.now().Add(time.Minute).Unix()})
		defer release()
		other, releaseOther := h.open()
		defer releaseOther()
		wantCut(ctx, t, 59*time.Second, nil)
		wantCut(ctx, t, 2*time.Second, ErrExpired)
		wantCut(other, t, 0, nil)
	})
}

func TestStreamIsCutWhenItsTokenIsRevoked(t *testing.T) {
	tests := map[string]struct {
		open change
		end  func(h *house)
		want error
	}{
		"token": {change{"jti": "j1"}, func(h *house) { h.revoke("j1") }, ErrRevoked},
		"client deleted": {nil, func(h *house) {
			h.update(func(r *store.Records) error { return r.DeleteClient(storedClient) })
		}, ErrRevoked},
		"client disabled": {nil, func(h *house) {
			h.update(func(r *store.Records) error {
				return r.PutClient(&store.Client{ID: storedClient, Disabled: true})
			})
		}, ErrRevoked},
		"client taken from the config": {change{"client_id": configClient, "sub": configClient}, func(h *house) {
			h.setClient(configClient, false)
		}, ErrClientGone},
		"key retired": {nil, func(h *house) { h.ring.set() }, ErrSignature},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, h *house) {
				ctx, release := h.open(test.open)
				defer release()
				wantCut(ctx, t, 10*time.Second, nil)
				test.end(h)
				wantCut(ctx, t, time.Second, test.want)
			})
		})
	}
	t.Run("at once", func(t *testing.T) {
		inBubble(t, func(t *testing.T, h *house) {
			ctx, release := h.open(change{"jti": "j1"})
			defer release()
			later, releaseLater := h.open(change{"jti": "j2"})
			defer releaseLater()
			wantCut(ctx, t, 1500*time.Millisecond, nil)
			h.revoke("j1")
			h.revoke("j2")
			wantCut(ctx, t, 0, ErrRevoked)
			wantCut(later, t, betweenCuts, ErrRevoked)
		})
	})
	t.Run("while it is opened", func(t *testing.T) {
		inBubble(t, func(t *testing.T, h *house) {
			id, err := h.verify(h.token(change{"jti": "j1"}))
			if err != nil {
				t.Fatal(err)
			}
			h.revoke("j1")
			ctx, release := watched(t.Context(), h.v, id)
			defer release()
			wantCut(ctx, t, 2*time.Second, ErrRevoked)
		})
	})
}

func TestShortRequestsAreNotTorn(t *testing.T) {
	inBubble(t, func(t *testing.T, h *house) {
		time.Sleep(500 * time.Millisecond)
		ctx, release := h.open(change{"jti": "j1"})
		defer release()
		h.revoke("j1")
		wantCut(ctx, t, 900*time.Millisecond, nil)
		wantCut(ctx, t, time.Second, ErrRevoked)
	})
}

func TestWatchReleaseLeaksNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, h *house) {
		id, err := h.verify(h.token())
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range 500 {
					parent, gone := context.WithCancel(t.Context())
					ctx, release := watched(parent, h.v, id)
					other, releaseOther := watched(parent, h.v, id)
					release()
					if !errors.Is(context.Cause(ctx), context.Canceled) || other.Err() != nil {
						t.Error("release ends its own request")
					}
					gone()
					<-other.Done()
					releaseOther()
					releaseOther() // once more does no harm
				}
			})
		}
		wg.Wait()
		if n := h.v.Watching(); n != 0 {
			t.Errorf("%d requests are still watched", n)
		}
	})
}

func TestReleaseRacesWithTheCut(t *testing.T) {
	inBubble(t, func(_ *testing.T, h *house) {
		var wg sync.WaitGroup
		for n := range 200 {
			ctx, release := h.open(change{"jti": "j1"})
			wg.Go(func() {
				if n%2 == 0 {
					<-ctx.Done()
				} else {
					time.Sleep(3 * time.Second)
				}
				release()
			})
		}
		time.Sleep(3*time.Second - 1)
		go h.revoke("j1")
		wg.Wait()
	})
}

// TestReleaseWaitsForTheEnd: what ends a request of a connection must not end the next one there.
func TestReleaseWaitsForTheEnd(t *testing.T) {
	inBubble(t, func(t *testing.T, h *house) {
		id, err := h.verify(h.token(change{"jti": "j1"}))
		if err != nil {
			t.Fatal(err)
		}
		ending, ended, released := make(chan struct{}), false, false
		one := new(Watch)
		h.v.Watch(one, id, func(error) {
			<-ending
			ended = true
		})
		time.Sleep(2 * time.Second)
		h.revoke("j1")
		synctest.Wait()
		go func() {
			if err := one.Release(); !ended || !errors.Is(err, ErrRevoked) {
				t.Errorf("released with %v; ended: %v", err, ended)
			}
			released = true
		}()
		synctest.Wait()
		if released || !errors.Is(one.Cut(), ErrRevoked) {
			t.Error("released before the end")
		}
		close(ending)
		synctest.Wait()
		if !released {
			t.Error("not released after the end")
		}
	})
}

func TestRunLetsGoOfExpiredTokens(t *testing.T) {
	inBubble(t, func(t *testing.T, h *house) {
		for range 10 {
			h.want(h.token(change{"exp": h.now().Add(time.Second).Unix()}), nil)
			h.want(h.token(), nil)
		}
		time.Sleep(time.Minute + time.Second)
		synctest.Wait()
		if n := h.remembered(); n != 10 {
			t.Errorf("%d tokens are remembered, want 10", n)
		}
	})
}
