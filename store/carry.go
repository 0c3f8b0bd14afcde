package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"time"
)

// carry brings into the restored records what must not be forgotten of those that are in force.
func (s *restoring) carry(ctx context.Context) error {
	for i := range kinds {
		k := &kinds[i]
		each := s.carryThing
		if k.given {
			each = func(ctx context.Context, page []batched) error {
				return s.update(ctx, func(r *Records) error { return r.putOthers(k, page) })
			}
		}
		if k.name == kindConsent {
			continue
		}
		if err := s.pages(ctx, k, func(page []batched) error { return each(ctx, page) }); err != nil {
			return err
		}
	}
	return s.carryDisconnected(ctx)
}

// carryDisconnected brings over what people have taken back lately, or codes from before would be good again.
func (s *restoring) carryDisconnected(ctx context.Context) error {
	type pair struct{ key, value []byte }
	var from []byte
	for {
		var page []pair
		err := s.db.engine.Update(ctx, func(tx Tx) error { // as in pages
			r := s.db.records(tx)
			page = page[:0]
			return tx.Scan(r.list(kindDisconnected), from, func(key, value []byte) error {
				page = append(page, pair{bytes.Clone(key), bytes.Clone(value)})
				if len(page) == maxRestoreRecords {
					return ErrStop
				}
				return nil
			})
		})
		if err != nil || len(page) == 0 {
			return err
		}
		err = s.update(ctx, func(r *Records) error {
			for _, p := range page {
				_, name, _ := bytes.Cut(p.key, []byte("/")) // without the prefix, which is another epoch's
				if err := r.tx.Put(append(bytes.Clone(r.prefix), name...), p.value, rememberDisconnected); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		from = append(bytes.Clone(page[len(page)-1].key), 0)
	}
}

// putOthers writes the records of a page that are not there as they are: after most backups nearly all are.
func (r *Records) putOthers(k *kind, page []batched) error {
	values := make(map[string][]byte, len(page))
	for _, b := range page {
		values[string(r.key(k.name, b.id))] = b.value
	}
	last := r.key(k.name, page[len(page)-1].id)
	err := r.tx.Scan(r.list(k.name), r.key(k.name, page[0].id), func(key, value []byte) error {
		if bytes.Compare(key, last) > 0 {
			return ErrStop
		}
		old, ok := values[string(key)]
		switch {
		case !ok:
			return nil
		case bytes.Equal(old, value):
			delete(values, string(key))
			return nil
		}
		return k.sameOwner(old, value)
	})
	if err != nil {
		return err
	}
	for _, b := range page {
		if _, differs := values[string(r.key(k.name, b.id))]; !differs {
			continue
		}
		if err := k.put(r, b.id, b.value); err != nil {
			return err
		}
	}
	return nil
}

// errOtherOwner says that a backup is not of this issuer, or has been changed: whose something is, is so for good.
var errOtherOwner = errors.New("the backup has something that is another's here: it is of another issuer of that name")

// sameOwner compares whose two records of the same thing are, by which their indexes go.
func (k *kind) sameOwner(one, other []byte) error {
	type owner struct {
		UserID   string `json:"user_id"`
		ClientID string `json:"client_id"`
		Hash     string `json:"hash"` // of a personal access token
	}
	var owners [2]owner
	for i, value := range [][]byte{one, other} {
		text, err := k.asJSON(value)
		if err != nil {
			return err
		}
		if err := json.Unmarshal(text, &owners[i]); err != nil {
			return err
		}
	}
	if owners[0] != owners[1] {
		return errOtherOwner
	}
	return nil
}

// pages calls fn with the records of a kind that are in force, some at a time.
func (s *restoring) pages(ctx context.Context, k *kind, fn func(page []batched) error) error {
	var last []byte
	for {
		var page []batched
		size, after := 0, last
		err := s.db.engine.Update(ctx, func(tx Tx) error { // serializable: an update that began before has no place after it
			r := s.db.records(tx)
			page, size = page[:0], 0
			return r.raw(k, after, func(key []byte, id string, value []byte) error {
				page = append(page, batched{k, id, bytes.Clone(value)})
				size += len(value)
				last = bytes.Clone(key)
				if len(page) == maxRestoreRecords || size >= maxRestoreBytes {
					return ErrStop
				}
				return nil
			})
		})
		if err != nil || len(page) == 0 {
			return err
		}
		if err := fn(page); err != nil {
			return err
		}
	}
}

// carryThing brings over what the backup may not know of clients, people and keys: that they have ended something, or
// that they are none any more.
func (s *restoring) carryThing(ctx context.Context, page []batched) error {
	return s.update(ctx, func(r *Records) error {
		for _, b := range page {
			var err error
			switch b.kind.name {
			case kindClient:
				err = r.carryClient(b)
			case kindUser:
				err = r.carryUser(b)
			case kindKey:
				err = r.carryKey(b)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// carryClient lets the tokens of a client stay ended that have been, and ends those of one that the backup does not
// have.
func (r *Records) carryClient(b batched) error {
	var old Client
	if err := json.Unmarshal(b.value, &old); err != nil {
		return err
	}
	restored, err := r.Client(b.id)
	switch {
	case errors.Is(err, ErrNotFound):
		return r.revoke(Revocation{Kind: RevokedClient, ID: b.id})
	case err != nil:
		return err
	}
	restored.TokensNotBefore = later(restored.TokensNotBefore, old.TokensNotBefore)
	restored.UpdatedAt = r.now // who has read it before reads it again
	if restored.Disabled {
		restored.TokensNotBefore = r.now
		err = r.revoke(Revocation{Kind: RevokedClient, ID: b.id})
	}
	return errors.Join(err, r.put(r.key(kindClient, b.id), restored, time.Time{}))
}

// carryUser does for a person what carryClient does for a client.
func (r *Records) carryUser(b batched) error {
	var old User
	if err := unmarshal(b.value, &old); err != nil {
		return err
	}
	restored, err := r.User(b.id)
	switch {
	case errors.Is(err, ErrNotFound):
		return r.revoke(Revocation{Kind: RevokedUser, ID: b.id})
	case err != nil:
		return err
	}
	restored.NotBefore = later(restored.NotBefore, old.NotBefore)
	if restored.Disabled {
		restored.NotBefore = r.now
		err = errors.Join(r.endClientsOf(b.id), r.revoke(Revocation{Kind: RevokedUser, ID: b.id}))
	}
	return errors.Join(err, r.put(r.key(kindUser, b.id), restored, time.Time{}))
}

// unknownLifetime is taken for the lifetime of a key's tokens where the key does not tell.
const unknownLifetime = 24 * time.Hour

// carryKey lets a key that the backup does not have verify for as long as its tokens may live.
func (r *Records) carryKey(b batched) error {
	var k Key
	if err := json.Unmarshal(b.value, &k); err != nil {
		return err
	}
	switch _, err := r.tx.Get(r.key(kindKey, b.id)); {
	case err == nil:
		return nil
	case !errors.Is(err, ErrNotFound):
		return err
	}
	if k.State != KeyRetired {
		k.State, k.RetiredAt = KeyRetired, r.now
		k.ExpiresAt = r.now.Add(max(k.LongestToken, unknownLifetime) + time.Minute)
	}
	return r.unlessOver(k.ExpiresAt, func() error { return r.put(r.key(kindKey, k.ID), &k, k.ExpiresAt) })
}
