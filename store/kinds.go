package store

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// kind is a kind of record that a backup has.
type kind struct {
	name string

	// given says that the record tells what was given out, or ended. Those that are in force stay so when a backup is
	// restored: nothing that was spent comes alive, and nothing that is out becomes unknown.
	given bool

	// put checks a record of a backup, and writes it with its indexes. id is the last part of its key. A record that is
	// over is left out.
	put func(r *Records, id string, value []byte) error
}

// kinds are those that a backup has. Sessions, known browsers, authorization requests, devices and guesses are not in
// it: people begin them anew.
var kinds = []kind{
	{name: kindClient, put: putKind(func(r *Records, id string, c *Client) error {
		if err := r.indexClient(c); err != nil {
			return err
		}
		return r.putAs(kindClient, id, c.ID, c, time.Time{})
	})},
	{name: kindUser, put: putKind(func(r *Records, id string, u *User) error {
		if err := r.putLogins(u, new(User)); err != nil {
			return err
		}
		if u.Source != "" {
			if err := r.tx.Put(r.key(kindUserBySource, u.Source, u.External), []byte(u.ID), 0); err != nil {
				return err
			}
		}
		return r.putAs(kindUser, id, u.ID, u, time.Time{})
	})},
	{name: kindConsent, put: putKind(func(r *Records, _ string, c *Consent) error {
		if !usable(c.UserID) || !usable(c.ClientID) {
			return errBadID
		}
		return r.put(r.key(kindConsent, c.UserID, c.ClientID), c, time.Time{})
	})},
	{name: kindKey, put: putKind(func(r *Records, id string, k *Key) error {
		return r.unlessOver(k.ExpiresAt, func() error { return r.putAs(kindKey, id, k.ID, k, k.ExpiresAt) })
	})},
	{name: kindToken, given: true, put: putKind(func(r *Records, id string, t *Token) error {
		if id != t.ID {
			return errBadID
		}
		return r.unlessOver(t.ExpiresAt, func() error { return r.PutToken(t) })
	})},
	{name: kindFamily, given: true, put: putKind((*Records).restoreFamily)},
	{name: kindRefresh, given: true, put: putKind(func(r *Records, id string, t *refreshToken) error {
		until := timeAt(t.ExpiresAt)
		return r.unlessOver(until, func() error { return r.put(r.key(kindRefresh, id), t, until) })
	})},
	{name: kindCode, given: true, put: putKind(func(r *Records, id string, c *Code) error {
		return r.unlessOver(c.ExpiresAt.Add(rememberCode), func() error { return r.PutCode(id, c) })
	})},
	{name: kindGone, given: true, put: putKind((*Records).restoreGone)},
	{name: kindRevocation, given: true, put: putKind(func(r *Records, id string, v *Revocation) error {
		return r.unlessOver(v.Until, func() error { return r.put(r.key(kindRevocation, id), v, v.Until) })
	})},
}

// kindOf finds a kind by its name.
func kindOf(name string) *kind {
	for i := range kinds {
		if kinds[i].name == name {
			return &kinds[i]
		}
	}
	return nil
}

// asJSON is a record as a backup has it.
func (k *kind) asJSON(value []byte) ([]byte, error) {
	if !isPacked(value) {
		return value, nil
	}
	var record packable
	switch k.name {
	case kindUser:
		record = new(User)
	case kindToken:
		record = new(Token)
	case kindFamily:
		record = new(keptFamily)
	case kindCode:
		record = new(Code)
	default:
		return nil, errPacked
	}
	if err := unpack(string(value), record); err != nil {
		return nil, err
	}
	return json.Marshal(record)
}

func putKind[T any](put func(r *Records, id string, record *T) error) func(*Records, string, []byte) error {
	return func(r *Records, id string, value []byte) error {
		var record T
		if err := unmarshal(value, &record); err != nil {
			return fmt.Errorf("it is damaged: %w", err)
		}
		if !usable(id) {
			return errBadID
		}
		return put(r, id, &record)
	}
}

// putAs writes a record whose key has its ID.
func (r *Records) putAs(kind, key, id string, record any, expires time.Time) error {
	if key != id {
		return errBadID
	}
	return r.put(r.key(kind, id), record, expires)
}

// unlessOver calls put unless the record is over then; the zero time is never.
func (r *Records) unlessOver(expires time.Time, put func() error) error {
	if !expires.IsZero() && !expires.After(r.now) {
		return nil
	}
	return put()
}

func (r *Records) restoreFamily(id string, kept *keptFamily) error {
	f := kept.family()
	if !usable(f.UserID) || !usable(f.ClientID) {
		return errBadID
	}
	until := later(f.ExpiresAt, f.AccessUntil)
	return r.unlessOver(until, func() error {
		if f.RevokedAt.IsZero() {
			ttl, err := r.ttl(until)
			if err != nil {
				return err
			}
			if err := r.tx.Put(r.key(kindFamilyByUser, f.UserID, f.ClientID, f.ID), nil, ttl); err != nil {
				return err
			}
		} else if err := r.indexAccess(f); err != nil {
			return err
		}
		return r.putAs(kindFamily, id, f.ID, kept, until)
	})
}

// raw calls fn with each record of a kind as it is kept, after the key named (nil: from the first).
func (r *Records) raw(k *kind, after []byte, fn func(key []byte, id string, value []byte) error) error {
	prefix := r.list(k.name)
	if after != nil {
		after = append(slices.Clip(after), 0)
	}
	return r.tx.Scan(prefix, after, func(key, value []byte) error {
		id := string(key[len(prefix):])
		if at := strings.LastIndexByte(id, '/'); at >= 0 {
			id = id[at+1:]
		}
		return fn(key, unescape(id), value)
	})
}
