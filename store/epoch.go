package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// epoch is which generation of an issuer's records is in force. A restored backup is written beside it, as the next
// one, and put in force by one transaction: whoever reads sees all of the one or all of the other.
//
// Who shares the engine with other nodes reads it in each update. A node that has an engine for itself knows it.
type epoch struct {
	Number int `json:"epoch"`

	// While a backup is restored nothing else is written. A restore that says nothing until then is over.
	Restore string    `json:"restore,omitempty"`
	Until   time.Time `json:"until,omitzero"`

	By string `json:"by,omitempty"` // the restore that has put it in force

	Retired int `json:"retired,omitempty"` // see [Records.KeyRetirements]
}

const kindEpoch = "epoch"

// errRestoring is the answer to an update while a backup is restored.
var errRestoring = fmt.Errorf("%w: a backup is being restored", ErrUnavailable)

// prefix is that of the records of an epoch. The first is the issuer's name and a slash. A name has no exclamation
// mark, see appendEscaped.
func (db *DB) prefix(number int) []byte {
	p := append([]byte(nil), db.name...)
	if number > 0 {
		p = strconv.AppendInt(append(p, '!'), int64(number), 10)
	}
	return append(p, '/')
}

// epochKey is the key of the epoch's record.
func (db *DB) epochKey() []byte { return append(db.prefix(0), kindEpoch...) }

// maxSkew is by how much the clocks of nodes may differ.
const maxSkew = time.Minute

// readEpoch reads which epoch is in force.
func (db *DB) readEpoch(tx Tx) (epoch, error) {
	var e epoch
	value, err := tx.Get(db.epochKey())
	if errors.Is(err, ErrNotFound) {
		return e, nil
	}
	if err != nil {
		return e, err
	}
	return e, decode(db.epochKey(), value, &e)
}

// inForce makes the records those of the epoch that is in force in the transaction.
func (db *DB) inForce(r *Records) error {
	if !db.shared {
		if db.restoring.Load() {
			return errRestoring
		}
		r.prefix = db.current.Load().prefix // what a restore that has just ended has put in force
		return nil
	}
	e, err := db.readEpoch(r.tx)
	switch {
	case err != nil:
		return err
	case e.Restore != "" && e.Until.Add(maxSkew).After(r.now):
		return errRestoring
	}
	r.prefix = db.prefix(e.Number) // what this node knows of it may change meanwhile
	r.retired = &e.Retired
	if e.Restore == "" {
		return nil
	}
	// A restore that stands still before its last commit must not come after this.
	return (&Records{tx: r.tx}).put(db.epochKey(), epoch{Number: e.Number, Retired: e.Retired}, time.Time{})
}

// KeyRetirements is how many keys have been removed at once by [Records.DeleteKey]. Who remembers it beside a key
// knows, within any transaction, whether the key may have been removed meanwhile. It costs no more than a read of the
// epoch, which updates on a shared engine have done already.
func (r *Records) KeyRetirements() (int, error) {
	if r.retired == nil {
		e, err := r.db.readEpoch(r.tx)
		if err != nil {
			return 0, err
		}
		r.retired = &e.Retired
	}
	return *r.retired, nil
}

// keyRetired counts one more.
func (r *Records) keyRetired() error {
	e, err := r.db.readEpoch(r.tx)
	if err != nil {
		return err
	}
	e.Retired++
	r.retired = &e.Retired
	return (&Records{tx: r.tx}).put(r.db.epochKey(), e, time.Time{})
}

// records in memory of the epoch that is in force.
type current struct {
	number int
	prefix []byte
}

// enter takes note of the epoch that is in force, once it has learned what is revoked in it. What was revoked before
// stays so.
func (db *DB) enter(ctx context.Context, number int) error {
	in := &current{number, db.prefix(number)}
	var revoked []Revocation
	err := db.engine.View(ctx, func(tx Tx) error {
		revoked = revoked[:0]
		r := &Records{db: db, tx: tx, prefix: in.prefix, now: db.now().UTC()}
		return r.Revocations(func(v Revocation) error {
			revoked = append(revoked, v)
			return nil
		})
	})
	if err != nil {
		return fmt.Errorf("loading revocations: %w", err)
	}
	db.revocations.apply(revoked)
	db.current.Store(in)
	return nil
}
