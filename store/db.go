package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// SchemaVersion is the version of the records that this package writes.
const SchemaVersion = 1

// DB is an [Engine] with the records of one issuer on it, and the set in memory of what has been revoked.
type DB struct {
	engine      Engine
	prefix      []byte
	now         func() time.Time
	revocations Revocations

	shared bool         // other nodes write to the engine
	heard  atomic.Int64 // when their revocations were last looked for, in nanoseconds since 1970

	stop context.CancelFunc
	done sync.WaitGroup
}

// Open opens the records of the issuer of that name. It checks their version and loads what has been revoked. now is
// the clock, [time.Now] when nil. The engine stays the caller's to close, after [DB.Close].
func Open(ctx context.Context, engine Engine, issuer string, now func() time.Time) (*DB, error) {
	if now == nil {
		now = time.Now
	}
	db := &DB{engine: engine, prefix: append(appendEscaped(nil, issuer), '/'), now: now}
	if err := db.checkSchema(ctx); err != nil {
		return nil, err
	}
	if engine, ok := engine.(Shared); ok {
		db.shared = engine.Shared()
	}
	db.heard.Store(db.now().UnixNano())
	var revoked []Revocation
	err := db.View(ctx, func(r *Records) error {
		revoked = revoked[:0]
		return r.Revocations(func(v Revocation) error {
			revoked = append(revoked, v)
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("loading revocations: %w", err)
	}
	db.revocations.apply(revoked)

	background, stop := context.WithCancel(context.Background())
	db.stop = stop
	db.done.Go(func() { db.sweep(background) })
	if db.shared {
		db.done.Go(func() { db.follow(background) })
	}
	return db, nil
}

// Close stops what runs beside the transactions.
func (db *DB) Close() {
	db.stop()
	db.done.Wait()
}

// View runs fn on a consistent snapshot of the records.
func (db *DB) View(ctx context.Context, fn func(*Records) error) error {
	return db.engine.View(ctx, func(tx Tx) error {
		return fn(db.records(tx))
	})
}

// Update runs fn in a serializable transaction. When it returns nil, what fn wrote is on disk and what fn revoked is
// revoked for every request that comes from now on. fn may run more than once; see [Engine]. After [ErrUnavailable] it
// may be unknown what is on disk: then what fn revoked counts as revoked in memory.
func (db *DB) Update(ctx context.Context, fn func(*Records) error) error {
	var revoked []Revocation
	err := db.engine.Update(ctx, func(tx Tx) error {
		r := db.records(tx)
		err := fn(r)
		revoked = r.revoked
		return err
	})
	if err == nil || errors.Is(err, ErrUnavailable) {
		db.revocations.apply(revoked)
	}
	return err
}

func (db *DB) records(tx Tx) *Records {
	return &Records{tx: tx, prefix: db.prefix, now: db.now().UTC()}
}

// Ping tells whether the records can be read and written now.
func (db *DB) Ping(ctx context.Context) error { return db.engine.Ping(ctx) }

// Now is the clock of the records.
func (db *DB) Now() time.Time { return db.now() }

// Revocations is the set of what has been revoked.
func (db *DB) Revocations() *Revocations { return &db.revocations }

type schema struct {
	Version int `json:"version"`
}

func (db *DB) checkSchema(ctx context.Context) error {
	var found schema
	err := db.View(ctx, func(r *Records) error { return r.get(r.key(kindSchema), &found) })
	switch {
	case errors.Is(err, ErrNotFound):
		return db.Update(ctx, func(r *Records) error {
			return r.put(r.key(kindSchema), schema{SchemaVersion}, time.Time{})
		})
	case err != nil:
		return err
	case found.Version > SchemaVersion:
		return fmt.Errorf("the database has version %d, this program knows up to version %d: run a newer one",
			found.Version, SchemaVersion)
	}
	return nil
}

func (db *DB) sweep(ctx context.Context) {
	ticker := time.NewTicker(time.Minute)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			db.revocations.sweep(db.now())
		}
	}
}
