package pgstore

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/oauth2-passport/caddy-passport/store"
)

// room is whether the database takes writes. One whose disk is full, or that can only be read, answers a ping as ever.
type room struct {
	mu     sync.Mutex
	fault  error     // why a commit has failed; nil while they come through
	failed time.Time // when the last one has
	tried  time.Time // when writing was tried last
}

const (
	// Small writes may find room in pages that are there already while others find none, so that one that comes through
	// does not say that all is well yet.
	roomLasts   = 2 * time.Second
	tryRoom     = time.Second // between two tries
	roomRecords = 8           // of a try, which have no place in a single page
	roomSize    = 1500        // bytes of each, which stays in the table itself
	roomLife    = time.Minute
)

// takesNoWrite tells whether a commit failed for what other commits fail for, too: the database is short of something
// (class 53), can only be read (25), or something is wrong with its disk (58).
func takesNoWrite(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || len(pg.Code) != 5 {
		return false
	}
	switch pg.Code[:2] {
	case "25", "53", "58":
		return true
	}
	return false
}

// note takes note of what came of a commit that had something to write.
func (r *room) note(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case takesNoWrite(err):
		r.fault, r.failed = err, time.Now()
	case err == nil && r.fault != nil && time.Since(r.failed) >= roomLasts:
		r.fault = nil
	}
}

// ask tells whether it is time to try, and why the database takes no write.
func (r *room) ask() (try bool, fault error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fault != nil && time.Since(r.tried) >= tryRoom {
		r.tried, try = time.Now(), true
	}
	return try, r.fault
}

// takesWrites tells why the database takes no write, nil where it does. In that state alone it writes something, now
// and then: or nobody would know that there is room again before somebody wants it.
func (e *Engine) takesWrites(ctx context.Context) error {
	try, fault := e.room.ask()
	if !try {
		return fault
	}
	// The records of the last try are over when those of the next are made, or are written anew. What it comes to is
	// noted where it is committed.
	err := e.Update(ctx, func(tx store.Tx) error {
		value := make([]byte, roomSize)
		for n := range roomRecords {
			_, _ = rand.Read(value) // it does not fail; and is nothing that could be made shorter
			if err := tx.Put(append([]byte("\x00room/"), byte(n)), value, roomLife); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	_, fault = e.room.ask()
	return fault
}
