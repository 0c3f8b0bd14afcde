package store

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// DB is an [Engine] with the records of one issuer on it, and the set in memory of what has been revoked.
type DB struct {
	engine      Engine
	name        []byte // the issuer's, as keys have it
	now         func() time.Time
	current     atomic.Pointer[current]
	restoring   atomic.Bool // where the engine is not shared
	revocations Revocations

	shared bool         // other nodes write to the engine
	opened time.Time    // what heard counts from: clocks that are set back or forth do not matter to it
	heard  atomic.Int64 // when their revocations were last looked for, in nanoseconds since opened

	told atomic.Pointer[func(context.Context, Transaction)]

	background context.Context // of what runs beside the transactions
	stop       context.CancelFunc
	done       sync.WaitGroup
}

// Open opens the records of the issuer of that name. It checks their version and loads what has been revoked. now is
// the clock, [time.Now] when nil. The engine stays the caller's to close, after [DB.Close].
func Open(ctx context.Context, engine Engine, issuer string, now func() time.Time) (*DB, error) {
	if now == nil {
		now = time.Now
	}
	db := &DB{engine: engine, name: appendEscaped(nil, issuer), now: now}
	if engine, ok := engine.(Shared); ok {
		db.shared = engine.Shared()
	}
	db.opened = db.now()
	var in epoch
	err := engine.View(ctx, func(tx Tx) (err error) {
		in, err = db.readEpoch(tx)
		return err
	})
	if err != nil {
		return nil, err
	}
	db.current.Store(&current{in.Number, db.prefix(in.Number)})
	if err := db.checkSchema(ctx); err != nil {
		return nil, err
	}
	if err := db.enter(ctx, in.Number); err != nil {
		return nil, err
	}

	db.background, db.stop = context.WithCancel(context.Background())
	db.done.Go(func() { db.sweep(db.background) })
	if db.shared {
		db.done.Go(func() { db.follow(db.background) })
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
	began := time.Now()
	err := db.view(ctx, fn)
	db.tell(ctx, Transaction{Began: began, Err: err})
	return err
}

func (db *DB) view(ctx context.Context, fn func(*Records) error) error {
	return db.engine.View(ctx, func(tx Tx) error {
		return fn(db.records(tx))
	})
}

// Update runs fn in a serializable transaction. When it returns nil, what fn wrote is on disk and what fn revoked is
// revoked for every request that comes from now on. fn may run more than once; see [Engine]. After [ErrUnavailable] it
// may be unknown what is on disk: then what fn revoked counts as revoked in memory.
func (db *DB) Update(ctx context.Context, fn func(*Records) error) error {
	var revoked []Revocation
	began := time.Now()
	err := db.engine.Update(ctx, func(tx Tx) error {
		r := db.records(tx)
		if err := db.inForce(r); err != nil {
			return err
		}
		err := fn(r)
		revoked = r.revoked
		return err
	})
	db.tell(ctx, Transaction{Update: true, Began: began, Err: err})
	if err == nil || errors.Is(err, ErrUnavailable) {
		db.revocations.apply(revoked)
	}
	return err
}

func (db *DB) records(tx Tx) *Records {
	return &Records{db: db, tx: tx, prefix: db.current.Load().prefix, now: db.now().UTC()}
}

// Transaction is what can be told of a transaction that is over.
type Transaction struct {
	Update bool      // it was one that may write
	Began  time.Time // by the clock of the machine
	Err    error     // what [DB.View] or [DB.Update] answers
}

// Tell calls fn after each transaction of [DB.View] and [DB.Update], on the caller's goroutine. There is one fn: the
// last one.
func (db *DB) Tell(fn func(context.Context, Transaction)) { db.told.Store(&fn) }

func (db *DB) tell(ctx context.Context, t Transaction) {
	if fn := db.told.Load(); fn != nil {
		(*fn)(ctx, t)
	}
}

// Ping tells whether the records can be read and written now.
func (db *DB) Ping(ctx context.Context) error { return db.engine.Ping(ctx) }

// Now is the clock of the records.
func (db *DB) Now() time.Time { return db.now() }

// Revocations is the set of what has been revoked.
func (db *DB) Revocations() *Revocations { return &db.revocations }

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
