package keys

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/oauth2-passport/caddy-passport/store"
)

// ErrGivenKey is answered where a key is to be rotated or retired that the configuration gives.
var ErrGivenKey = errors.New("the signing key is given by the configuration: change it there")

// TooEarlyError is answered to [Ring.Rotate] when the next key has not been published for [PublishedBefore] yet.
type TooEarlyError struct {
	Until time.Time // when it will have been
}

func (e *TooEarlyError) Error() string {
	return fmt.Sprintf("the next key is not published for %v yet: wait until %s, or force the rotation",
		PublishedBefore, e.Until.UTC().Format(time.RFC3339))
}

// unknownKeyError is the answer to who names a key that there is not. It is a [store.ErrNotFound].
type unknownKeyError string

func (e unknownKeyError) Error() string {
	return fmt.Sprintf("there is no key %q: look at the list of keys", string(e))
}

func (unknownKeyError) Is(target error) bool { return target == store.ErrNotFound }

// Change is something that has become of the keys.
type Change struct {
	KeyID   string // of the key that signs now, or that was retired
	Retired bool   // it was retired at once: its tokens are good no more
	Time    time.Time
}

// Rotate lets the next key sign, makes a new next one and retires the one that signed, which verifies until its last
// token is over. It answers a [TooEarlyError] when the next key is too young, so that nobody is made to verify with a
// key that has not been seen yet; force overrides that. It answers [ErrGivenKey] when the configuration gives the key.
func (r *Ring) Rotate(ctx context.Context, force bool) error {
	return r.change(ctx, func(c *change) error {
		if until := c.next.CreatedAt.Add(PublishedBefore); !force && until.After(c.rec.Now()) {
			return &TooEarlyError{until}
		}
		return c.rotate()
	})
}

// Retire removes a key at once, for when it has leaked: tokens that it signed are good no more. When it is the one that
// signs, the next takes over first. It answers [store.ErrNotFound] when there is no such key, and [ErrGivenKey] when
// the configuration gives it.
func (r *Ring) Retire(ctx context.Context, kid string) error {
	if r.cfg.Private != nil && r.cfg.Private.id == kid {
		return ErrGivenKey
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	err := r.update(ctx, func(c *change) error {
		found := false
		for k := range c.all() {
			found = found || k.ID == kid
		}
		if !found {
			return unknownKeyError(kid)
		}
		if err := c.rec.DeleteKey(kid); err != nil {
			return err
		}
		switch {
		case c.current != nil && c.current.ID == kid:
			c.current = nil
		case c.next != nil && c.next.ID == kid:
			c.next = nil
		}
		return r.settle(c, false)
	})
	if err != nil {
		return err
	}
	r.log.Warn("key retired: its tokens are good no more", zap.String("kid", kid))
	r.cfg.Changed(ctx, Change{KeyID: kid, Retired: true, Time: r.db.Now()})
	return r.reload(context.WithoutCancel(ctx), false) // it is done; whoever asked may be gone
}

// change runs fn in an Update on an own ring that is in order, then loads the keys anew.
func (r *Ring) change(ctx context.Context, fn func(*change) error) error {
	if r.cfg.Private != nil {
		return ErrGivenKey
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	err := r.update(ctx, func(c *change) error {
		if err := r.settle(c, false); err != nil {
			return err
		}
		return fn(c)
	})
	if err != nil {
		return err
	}
	return r.reload(context.WithoutCancel(ctx), false)
}

// change is the keys within one Update, and the keys that were made for it before: making one takes too long (RSA: half
// a second) for a transaction that others wait for.
type change struct {
	shelf
	rec    *store.Records
	alg    Algorithm
	retain time.Duration
	made   []*Key
	seals  seals
}

// errKeyNeeded ends an Update that needs another key.
var errKeyNeeded = errors.New("another key is needed")

// update runs fn in an Update, again with one key more each time it has too few. It tells of it when another key signs
// afterwards.
func (r *Ring) update(ctx context.Context, fn func(*change) error) error {
	var made []*Key
	retain := r.cfg.Retain() // it may read the store itself, which it must not do within an Update
	for {
		var before, after shelf
		err := r.db.Update(ctx, func(rec *store.Records) (err error) {
			if before, err = readShelf(rec); err != nil {
				return err
			}
			c := &change{shelf: before, rec: rec, alg: r.cfg.Algorithm, retain: retain, made: made, seals: r.seals}
			if err := fn(c); err != nil {
				return err
			}
			after = c.shelf
			return nil
		})
		if err == nil {
			r.tell(ctx, &before, &after)
		}
		if !errors.Is(err, errKeyNeeded) {
			return err
		}
		k, err := Generate(r.cfg.Algorithm)
		if err != nil {
			return err
		}
		made = append(made, k)
	}
}

// tell tells of it when another key signs: not of the very first one, and of none that the configuration gives.
func (r *Ring) tell(ctx context.Context, before, after *shelf) {
	first := true
	for range before.all() {
		first = false
	}
	if first || after.current == nil || before.current != nil && before.current.ID == after.current.ID {
		return
	}
	to, from := after.current.ID, ""
	if before.current != nil {
		from = before.current.ID
	}
	r.log.Info("keys rotated", zap.String("from", from), zap.String("to", to))
	r.cfg.Changed(ctx, Change{KeyID: to, Time: r.db.Now()})
}

// unsettled tells whether settle has something to do now, when tokens live for retain.
func (r *Ring) unsettled(s *shelf, now time.Time, retain time.Duration, opening bool) bool {
	if r.cfg.Private != nil {
		return s.current != nil && (opening || now.Sub(s.current.ActivatedAt) >= takeBackAfter)
	}
	return s.current == nil || s.next == nil ||
		opening && s.next.Algorithm != string(r.cfg.Algorithm) ||
		s.current.LongestToken < retain
}

// takeBackAfter is how long a stored key may sign beside a given one. Nodes that have not got the given key yet, and an
// old configuration that is about to go, take a stored one; it is retired again, but not in a quarrel over each.
const takeBackAfter = time.Hour

// settle puts the stored keys in order: one signs, one is next, of the right algorithm; none signs beside a given one.
func (r *Ring) settle(c *change, opening bool) error {
	if !r.unsettled(&c.shelf, c.rec.Now(), c.retain, opening) {
		return nil
	}
	if r.cfg.Private != nil {
		return c.retireCurrent() // next stays: it has been published when the stored keys sign again
	}
	if c.current == nil {
		if err := c.promote(); err != nil {
			return err
		}
	}
	// Only who opens the ring replaces a next key of another algorithm: two nodes whose configurations differ would
	// not come to an end.
	if opening && c.next != nil && c.next.Algorithm != string(c.alg) {
		if err := c.rec.DeleteKey(c.next.ID); err != nil {
			return err
		}
		c.next = nil
	}
	if c.next == nil {
		k, err := c.take(store.KeyNext)
		if err != nil {
			return err
		}
		if err := c.rec.PutKey(k); err != nil {
			return err
		}
		c.next = k
	}
	if c.current.LongestToken < c.retain {
		c.current.LongestToken = c.retain
		return c.rec.PutKey(c.current)
	}
	return nil
}

// take is the record of a new key.
func (c *change) take(state store.KeyState) (*store.Key, error) {
	if len(c.made) == 0 {
		return nil, errKeyNeeded
	}
	k := c.made[0]
	c.made = c.made[1:]
	return c.seals.newRecord(k, state, c.rec.Now())
}

// rotate is one step of the ring, which is in order.
func (c *change) rotate() error {
	if err := c.retireCurrent(); err != nil {
		return err
	}
	if err := c.promote(); err != nil {
		return err
	}
	k, err := c.take(store.KeyNext)
	if err != nil {
		return err
	}
	c.next = k
	return c.rec.PutKey(k)
}

// retireCurrent takes the key that signs out of use. It verifies until the longest-lived token is over that it may have
// signed in its time; lifetimes may have been longer then.
func (c *change) retireCurrent() error {
	k := c.current
	k.State = store.KeyRetired
	k.RetiredAt = c.rec.Now()
	k.ExpiresAt = k.RetiredAt.Add(max(k.LongestToken, c.retain) + retainMargin)
	c.retired = append(c.retired, k)
	c.current = nil
	return c.rec.PutKey(k)
}

// promote makes the next key, or a new one where there is none, the one that signs.
func (c *change) promote() error {
	k := c.next
	if k == nil {
		var err error
		if k, err = c.take(store.KeyCurrent); err != nil {
			return err
		}
	}
	k.State = store.KeyCurrent
	k.ActivatedAt = c.rec.Now()
	k.LongestToken = c.retain
	c.current, c.next = k, nil
	return c.rec.PutKey(k)
}
