package store

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// ErrRestoring says that another restore is running.
var ErrRestoring = errors.New("another backup is being restored")

// restoreLease is how long a restore that has died keeps others from writing, and by how much clocks may differ longer.
const restoreLease = 30 * time.Second

// Bounds of a transaction that writes records of a backup; a record has up to five keys.
const (
	maxRestoreRecords = 1000
	maxRestoreBytes   = 256 << 10
)

// RestoreOptions say which backup is good, and what becomes of its keys.
type RestoreOptions struct {
	// Issuer is the name of the issuer that the backup has to be of. Default: the one into which it is restored.
	Issuer string

	// Key is called with each signing key of the backup that is not over, at least twice, and may change its private part.
	// Its error says that the key is of no use here. Default: keys stay as they are.
	Key func(k *Key) error
}

// OtherIssuerError says that a backup is of another issuer than the one that is asked for.
type OtherIssuerError struct{ Of, Wanted string } // their names

func (e *OtherIssuerError) Error() string {
	return fmt.Sprintf("it is a backup of the issuer %q, not of %q", e.Of, e.Wanted)
}

// Restore puts the records of a backup in the place of those that are there. The backup is read twice, from a new
// reader each time: it is checked to its end before anything is written. Until Restore returns, updates are answered
// with [ErrUnavailable], and reads see what was there; then all see what was restored, other nodes within a second. A
// backup of another issuer is answered with an [OtherIssuerError], and one that is of no use with a [BackupError].
//
// Clients, people and consents become what they were; keys that are not in the backup verify as long as their tokens
// may live. What has been given out or ended since the backup stays known: no token is good again that was revoked, no
// code or refresh token that was used, and what was given in the name of who is not in the backup ends.
func (db *DB) Restore(
	ctx context.Context, backup func() (io.ReadCloser, error), options RestoreOptions,
) (BackupInfo, error) {
	checked, err := db.readThrough(ctx, backup, func(k *kind, _ string, value []byte) error {
		_, err := options.adopted(k, value, db.now())
		return err
	})
	if err != nil {
		return checked, err
	}
	if wanted := cmp.Or(options.Issuer, unescape(string(db.name))); checked.Issuer != wanted {
		return checked, &OtherIssuerError{checked.Issuer, wanted}
	}
	s, err := db.beginRestore(ctx)
	if err != nil {
		return checked, err
	}
	s.options = options
	if err := s.restore(ctx, checked, backup); err != nil {
		inForce, fault := s.giveUp()
		if inForce { // only the answer was lost
			return checked, fault
		}
		return checked, errors.Join(err, fault)
	}
	return checked, nil
}

// adopted is a record of a backup as it is kept here.
func (o *RestoreOptions) adopted(k *kind, value []byte, now time.Time) ([]byte, error) {
	if k.name != kindKey || o.Key == nil {
		return value, nil
	}
	var key Key
	if err := json.Unmarshal(value, &key); err != nil {
		return nil, badBackup("the key is damaged: %w", err)
	}
	if !key.ExpiresAt.IsZero() && !key.ExpiresAt.After(now) {
		return value, nil // it is left out
	}
	if err := o.Key(&key); err != nil {
		return nil, badBackup("the key %q: %w", key.ID, err)
	}
	return json.Marshal(&key)
}

func (db *DB) readThrough(
	ctx context.Context, backup func() (io.ReadCloser, error), each func(*kind, string, []byte) error,
) (BackupInfo, error) {
	file, err := backup()
	if err != nil {
		return BackupInfo{}, err
	}
	info, err := readBackup(ctx, file, each)
	return info, errors.Join(err, file.Close())
}

// restoring is a restore that runs.
type restoring struct {
	db   *DB
	id   string
	next int // the epoch that it writes

	retired int // of the epoch that was in force; see [Records.KeyRetirements]

	options RestoreOptions

	batch []batched
	size  int
}

// batched is a record that waits to be written.
type batched struct {
	kind  *kind
	id    string
	value []byte
}

// beginRestore keeps everybody else from writing.
func (db *DB) beginRestore(ctx context.Context) (*restoring, error) {
	if !db.restoring.CompareAndSwap(false, true) {
		return nil, ErrRestoring
	}
	s := &restoring{db: db, id: NewID(db.now())}
	err := db.engine.Update(ctx, func(tx Tx) error { // it comes after every update that has begun
		e, err := db.readEpoch(tx)
		if err != nil {
			return err
		}
		if db.shared && e.Restore != "" && e.Until.Add(maxSkew).After(db.now()) {
			return ErrRestoring
		}
		s.next, s.retired = e.Number+1, e.Retired
		return s.lease(tx)
	})
	if err != nil {
		db.restoring.Store(false)
		return nil, err
	}
	return s, nil
}

// lease keeps everybody else from writing for a while longer.
func (s *restoring) lease(tx Tx) error {
	return s.putEpoch(tx, epoch{
		Number: s.next - 1, Retired: s.retired, Restore: s.id, Until: s.db.now().Add(restoreLease),
	})
}

func (s *restoring) putEpoch(tx Tx, e epoch) error {
	r := &Records{db: s.db, tx: tx}
	return r.put(s.db.epochKey(), e, time.Time{})
}

// update runs fn on the records of the next epoch, as long as the restore may go on.
func (s *restoring) update(ctx context.Context, fn func(r *Records) error) error {
	return s.db.engine.Update(ctx, func(tx Tx) error {
		e, err := s.db.readEpoch(tx)
		if err != nil {
			return err
		}
		if e.Restore != s.id || s.db.shared && !e.Until.After(s.db.now()) {
			return ErrRestoring // it took too long, and others have written, or another one has begun
		}
		if err := s.lease(tx); err != nil {
			return err
		}
		return fn(&Records{db: s.db, tx: tx, prefix: s.db.prefix(s.next), now: s.db.now().UTC()})
	})
}

func (s *restoring) restore(ctx context.Context, info BackupInfo, backup func() (io.ReadCloser, error)) error {
	// What a restore that died has left, and what was there before the last one.
	for _, number := range []int{s.next, s.next - 2} {
		if number < 0 {
			continue
		}
		if err := s.db.drop(ctx, s.db.prefix(number), s.update); err != nil {
			return err
		}
	}
	read, err := s.db.readThrough(ctx, backup, func(k *kind, id string, value []byte) error {
		return s.add(ctx, k, id, value)
	})
	if err == nil && read != info {
		err = badBackup("the backup was replaced while it was read")
	}
	if err != nil {
		return err
	}
	if err := s.flush(ctx); err != nil {
		return err
	}
	if err := s.update(ctx, func(r *Records) error {
		return errors.Join(r.put(r.key(kindSchema), schema{info.Schema}, time.Time{}), r.migrate())
	}); err != nil {
		return err
	}
	if err := s.carry(ctx); err != nil {
		return err
	}
	return s.putInForce(ctx)
}

// add writes a record of the backup with others.
func (s *restoring) add(ctx context.Context, k *kind, id string, value []byte) error {
	value, err := s.options.adopted(k, value, s.db.now())
	if err != nil {
		return err
	}
	s.batch = append(s.batch, batched{k, id, value})
	s.size += len(value)
	if len(s.batch) < maxRestoreRecords && s.size < maxRestoreBytes {
		return nil
	}
	return s.flush(ctx)
}

func (s *restoring) flush(ctx context.Context) error {
	err := s.update(ctx, func(r *Records) error {
		for _, b := range s.batch {
			if err := b.kind.put(r, b.id, b.value); err != nil {
				return badBackup("the %s %q: %w", b.kind.name, b.id, err)
			}
		}
		return nil
	})
	s.batch, s.size = s.batch[:0], 0
	return err
}

// putInForce ends the epoch that was in force, and begins the next.
func (s *restoring) putInForce(ctx context.Context) error {
	err := s.update(ctx, func(r *Records) error {
		if err := r.revoke(Revocation{Kind: KeysChanged}); err != nil { // other nodes load the keys anew
			return err
		}
		return s.putEpoch(r.tx, epoch{Number: s.next, Retired: s.retired, By: s.id})
	})
	if err != nil {
		return err
	}
	return s.begin(context.WithoutCancel(ctx)) // it is done; whoever asked may be gone
}

// begin is what comes once the next epoch is in force.
func (s *restoring) begin(ctx context.Context) error {
	if err := s.db.enter(ctx, s.next); err != nil {
		return err
	}
	s.db.restoring.Store(false)
	if s.db.shared {
		pause(ctx, settleTime)
	}
	// Nobody reads what was there before. Where this fails the next restore does it.
	_ = s.db.drop(ctx, s.db.prefix(s.next-1), func(ctx context.Context, fn func(r *Records) error) error {
		return s.db.engine.Update(ctx, func(tx Tx) error { return fn(&Records{tx: tx}) })
	})
	return nil
}

// settleTime is how long other nodes may read what was there before.
const settleTime = 2 * time.Second

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// giveUp lets others write again, and tells whether what was restored is in force after all, its answer lost. Where
// nobody knows, a node that is alone writes nothing until it does.
func (s *restoring) giveUp() (inForce bool, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), restoreLease)
	defer cancel()
	inForce, err = s.clear(ctx)
	if !errors.Is(err, ErrUnavailable) || s.db.shared {
		s.db.restoring.Store(false)
		return inForce, err
	}
	s.db.done.Go(func() {
		for ctx := s.db.background; ctx.Err() == nil; pause(ctx, time.Second) {
			if _, err := s.clear(ctx); !errors.Is(err, ErrUnavailable) {
				s.db.restoring.Store(false)
				return
			}
		}
	})
	return inForce, err
}

// clear removes what has been written for nothing, and then gives the lease back. What is in force after all is left
// alone, and where the lease is another's, so is what that one writes.
func (s *restoring) clear(ctx context.Context) (inForce bool, err error) {
	var in epoch
	err = s.db.engine.Update(ctx, func(tx Tx) (err error) {
		in, err = s.db.readEpoch(tx)
		return err
	})
	switch {
	case err != nil:
		return false, err
	case in.By == s.id:
		return true, s.begin(ctx)
	case in.Restore != s.id:
		return false, nil
	}
	if err = s.db.drop(ctx, s.db.prefix(s.next), s.update); err == nil {
		err = s.update(ctx, func(r *Records) error { return s.putEpoch(r.tx, epoch{Number: s.next - 1, Retired: s.retired}) })
	}
	if errors.Is(err, ErrRestoring) {
		err = nil // the lease is over; the next restore removes it
	}
	return false, err
}

// drop deletes all records under prefix by that kind of update, but for the one that says which epoch is in force.
func (db *DB) drop(
	ctx context.Context, prefix []byte, update func(ctx context.Context, fn func(r *Records) error) error,
) error {
	spare := string(db.epochKey())
	var from []byte // an engine steps slowly over what was deleted a moment ago: once is enough
	for {
		var keys [][]byte
		err := db.engine.View(ctx, func(tx Tx) error {
			keys = keys[:0]
			return tx.Scan(prefix, from, func(key, _ []byte) error {
				if string(key) != spare {
					keys = append(keys, append([]byte(nil), key...))
				}
				if len(keys) == 4*maxRestoreRecords {
					return ErrStop
				}
				return nil
			})
		})
		if err != nil || len(keys) == 0 {
			return err
		}
		from = keys[len(keys)-1]
		if err := update(ctx, func(r *Records) error { return r.deleteAll(keys) }); err != nil {
			return err
		}
	}
}
