package store

import (
	"errors"
	"time"
)

// gone tells that a client or a person was deleted, for when a backup brings it back: what it had been given until then
// stays ended.
type gone struct {
	Kind string    `json:"kind"`
	ID   string    `json:"id"`
	At   time.Time `json:"at"`
}

// rememberGone is longer than anything that is given out is good, by default.
const rememberGone = 400 * 24 * time.Hour

func (r *Records) putGone(kind, id string) error {
	return r.put(r.key(kindGone, kind+":"+id), gone{kind, id, r.now}, r.now.Add(rememberGone))
}

// restoreGone keeps the record, and ends what the client or the person had that the backup has brought back.
func (r *Records) restoreGone(key string, g *gone) error {
	if key != g.Kind+":"+g.ID {
		return errBadID
	}
	until := g.At.Add(rememberGone)
	return r.unlessOver(until, func() error {
		if err := r.put(r.key(kindGone, key), g, until); err != nil {
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
