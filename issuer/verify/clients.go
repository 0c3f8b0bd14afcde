package verify

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"strings"
	"sync/atomic"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
)

// clients tells whether clients may still be acted for. It remembers the good answers of the store, so that a stream of
// new tokens reads each client once.
type clients struct {
	db    *store.DB
	seed  maphash.Seed
	known [1 << 10]atomic.Pointer[standing] // by the hash of the client's ID; the last one keeps the slot
}

// standing is what the store said of an enabled client.
type standing struct {
	id         string
	name       string
	firstParty bool
	notBefore  time.Time // store.Client.TokensNotBefore
	read       time.Time
	generation uint64 // of the revocations, from before the client was read: disabling and deleting change it
}

// newClients makes one on db.
func newClients(db *store.DB) *clients { return &clients{db: db, seed: maphash.MakeSeed()} }

// standing returns the standing of the client with that ID, not older than [store.RecheckAfter] at now, or
// [ErrClientGone] when there is none, or it is disabled; [ErrUnavailable] when the store cannot tell.
func (c *clients) standing(ctx context.Context, id string, now time.Time) (*standing, error) {
	slot := &c.known[maphash.String(c.seed, id)%uint64(len(c.known))]
	generation := c.db.Revocations().Generation()
	last := slot.Load()
	if last != nil && (last.id != id || !fresh(last.read, now)) {
		last = nil
	}
	if last != nil && last.generation == generation {
		return last, nil
	}
	var client *store.Client
	err := c.db.View(ctx, func(r *store.Records) (err error) {
		client, err = r.Client(id)
		return err
	})
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, ErrClientGone
	case err != nil && last != nil && errors.Is(err, store.ErrUnavailable):
		// What has been revoked since then need not have to do with this client. What does is among the revocations,
		// and those the caller asks.
		return last, nil
	case err != nil:
		return nil, fmt.Errorf("%w: reading a client: %w", ErrUnavailable, err)
	case client.Disabled:
		return nil, ErrClientGone
	}
	s := &standing{strings.Clone(id), client.Name, client.FirstParty, client.TokensNotBefore, now, generation}
	slot.Store(s)
	return s, nil
}

// Client tells of a client of the store what the gateway's expressions ask for, as it was not longer ago than
// [store.RecheckAfter]. The error is that of [Verifier.Verify].
func (v *Verifier) Client(ctx context.Context, id string) (name string, firstParty bool, err error) {
	s, err := v.own.clients.standing(ctx, id, v.db.Now())
	if err != nil {
		return "", false, err
	}
	return s.name, s.firstParty, nil
}

// fresh tells whether what was read then may still be relied upon. What was read in the future was not: the clock has
// been set back since.
func fresh(read, now time.Time) bool { return within(store.RecheckAfter, read, now) }

func within(limit time.Duration, read, now time.Time) bool {
	age := now.Sub(read)
	return age >= 0 && age < limit
}
