package keys

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/oauth2-passport/caddy-passport/store"
)

// Info is what may be told of a key.
type Info struct {
	ID          string         `json:"kid"`
	Algorithm   Algorithm      `json:"alg"`
	State       store.KeyState `json:"state"`
	Given       bool           `json:"given,omitempty"` // by the configuration
	CreatedAt   time.Time      `json:"created_at,omitzero"`
	ActivatedAt time.Time      `json:"activated_at,omitzero"`
	RetiredAt   time.Time      `json:"retired_at,omitzero"`
	ExpiresAt   time.Time      `json:"expires_at,omitzero"` // it verifies until then
}

// List tells of the keys, as they are stored now: the one that signs, the next, the retired ones.
func (r *Ring) List(ctx context.Context) ([]Info, error) {
	found, err := r.read(ctx)
	if err != nil {
		return nil, err
	}
	var list []Info
	given := r.cfg.Private
	if given != nil {
		list = append(list, Info{ID: given.id, Algorithm: given.alg, State: store.KeyCurrent, Given: true})
	}
	for k := range found.all() {
		if given != nil && given.id == k.ID {
			continue
		}
		list = append(list, Info{
			ID: k.ID, Algorithm: Algorithm(k.Algorithm), State: k.State, CreatedAt: k.CreatedAt,
			ActivatedAt: k.ActivatedAt, RetiredAt: k.RetiredAt, ExpiresAt: k.ExpiresAt,
		})
	}
	return list, nil
}

const (
	lookEvery  = time.Minute // at most so long between two looks at the clock and at what is stored
	retryAfter = time.Second // when the store does not answer; twice as long each time
)

// Run keeps the ring up to date until ctx ends: it loads what other nodes and other rings on the store have changed,
// rotates by the schedule, and drops keys that verify no more.
func (r *Ring) Run(ctx context.Context) {
	changed := make(chan struct{}, 1)
	defer r.db.Revocations().Notify(changed)()
	timer := time.NewTimer(0)
	defer timer.Stop()
	retry := retryAfter
	for {
		select {
		case <-ctx.Done():
			return
		case <-changed:
			if r.db.Revocations().KeyGeneration() == r.now.Load().generation {
				continue // a token was revoked, or a client
			}
		case <-timer.C:
		}
		wait := lookEvery
		err := r.maintain(ctx)
		if ctx.Err() != nil {
			return
		}
		r.fault.Store(&err)
		if err != nil {
			r.log.Error("the signing keys could not be brought up to date; those in memory are used on", zap.Error(err))
			wait, retry = retry, min(2*retry, lookEvery)
		} else {
			retry = retryAfter
			if at := r.upcoming(); !at.IsZero() {
				wait = min(wait, max(at.Sub(r.db.Now()), retryAfter))
			}
		}
		timer.Reset(wait)
	}
}

// maintain does what is due, and loads the keys anew in any case: nothing that was missed lasts for long, and a key
// that was retired goes even where nothing can be written.
func (r *Ring) maintain(ctx context.Context) error {
	var fault error
	if r.due(&r.now.Load().shelf, r.db.Now()) {
		fault = r.change(ctx, func(c *change) error {
			if !r.due(&c.shelf, c.rec.Now()) {
				return nil // another node was faster
			}
			return c.rotate()
		})
		if fault == nil {
			return nil
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return errors.Join(fault, r.reload(ctx, false))
}

// due tells whether the next key is to take over at now: because the one that signs has done so for long enough, or is
// of an algorithm that is not wanted any more.
func (r *Ring) due(s *shelf, now time.Time) bool {
	at := r.rotation(s)
	return !at.IsZero() && !at.After(now)
}

// rotation is when the next key is to take over, zero when that is not known.
func (r *Ring) rotation(s *shelf) time.Time {
	if r.cfg.Private != nil || s.current == nil || s.next == nil {
		return time.Time{}
	}
	published := s.next.CreatedAt.Add(PublishedBefore)
	if alg := string(r.cfg.Algorithm); s.current.Algorithm != alg && s.next.Algorithm == alg {
		return published
	}
	if r.cfg.Rotate == 0 {
		return time.Time{}
	}
	at := s.current.ActivatedAt.Add(r.cfg.Rotate)
	if at.Before(published) {
		return published
	}
	return at
}

// upcoming is when something is due next, zero when nothing is.
func (r *Ring) upcoming() time.Time {
	s := r.now.Load()
	next := r.rotation(&s.shelf)
	for _, e := range s.keys {
		if !e.expires.IsZero() && (next.IsZero() || e.expires.Before(next)) {
			next = e.expires
		}
	}
	return next
}
