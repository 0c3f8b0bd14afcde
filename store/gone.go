package store

import (
	"errors"
	"time"
)

// gone tells that a client or a person was deleted, for when a backup brings it back: what it had been given until then
// stays ended. A key that was retired at once is not brought back at all.
type gone struct {
	Kind string    `json:"kind"`
	ID   string    `json:"id"`
	At   time.Time `json:"at"`
}

// rememberGone is longer than anything that is given out is good, by default.
const rememberGone = 400 * 24 * time.Hour

// until is how long it is remembered; zero: for good. Whoever has a key that leaked makes tokens with it at any time.
func (g *gone) until() time.Time {
	if g.Kind == kindKey {
		return time.Time{}
	}
	return g.At.Add(rememberGone)
}

func (r *Records) putGone(kind, id string) error {
	g := &gone{kind, id, r.now}
	return r.put(r.key(kindGone, kind+":"+id), g, g.until())
}

// restoreGone keeps the record, and ends what the client or the person had, or removes the key, that the backup has
// brought back.
func (r *Records) restoreGone(key string, g *gone) error {
	if key != g.Kind+":"+g.ID {
		return errBadID
	}
	return r.unlessOver(g.until(), func() error {
		if err := r.put(r.key(kindGone, key), g, g.until()); err != nil {
			return err
		}
		switch g.Kind {
		case kindClient:
			return r.endClient(g)
		case kindUser:
			return r.endUser(g)
		case kindKey:
			return r.tx.Delete(r.key(kindKey, g.ID))
		}
		return nil
	})
}

func (r *Records) endClient(g *gone) error {
	c, err := r.Client(g.ID)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil || !g.At.After(c.TokensNotBefore) {
		return err
	}
	c.TokensNotBefore = g.At
	return r.put(r.key(kindClient, c.ID), c, time.Time{})
}

func (r *Records) endUser(g *gone) error {
	u, err := r.User(g.ID)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil || !g.At.After(u.NotBefore) {
		return err
	}
	u.NotBefore = g.At
	return r.put(r.key(kindUser, u.ID), u, time.Time{})
}
