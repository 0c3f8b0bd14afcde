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
	db     *store.DB
	people *people // who owns them
	seed   maphash.Seed
	known  [1 << 10]atomic.Pointer[standing] // by the hash of the client's ID; the last one keeps the slot
}

// standing is what the store said of an enabled client.
type standing struct {
	id         string
	name       string
	firstParty bool
	notBefore  time.Time // store.Client.TokensNotBefore
	owner      *person   // who has registered it; nil: the operator
	read       time.Time
	generation uint64 // of the revocations, from before the client was read: disabling and deleting change it
}

// newClients makes one on the store of people.
func newClients(people *people) *clients {
	return &clients{db: people.db, people: people, seed: maphash.MakeSeed()}
}

// owned is the standing of a client whose owner may still be acted for: with a person goes what the person has
// registered.
func (c *clients) owned(s *standing) (*standing, error) {
	if s.owner != nil && !c.people.known(s.owner) {
		return nil, ErrClientGone
	}
	return s, nil
}

// standing returns the standing of the client with that ID, not older than [store.RecheckAfter] at now, or
// [ErrClientGone] when there is none, or it is disabled, or the person is who has registered it; [ErrUnavailable] when
// the store cannot tell.
func (c *clients) standing(ctx context.Context, id string, now time.Time) (*standing, error) {
	slot := &c.known[maphash.String(c.seed, id)%uint64(len(c.known))]
	generation := c.db.Revocations().Generation()
	last := slot.Load()
	if last != nil && (last.id != id || !fresh(last.read, now)) {
		last = nil
	}
	if last != nil && last.generation == generation {
		return c.owned(last)
	}
	var (
		client *store.Client
		owner  *store.User
	)
	err := c.db.View(ctx, func(r *store.Records) (err error) {
		if client, err = r.Client(id); err == nil && client.UserID != "" {
			owner, err = r.User(client.UserID)
		}
		return err
	})
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, ErrClientGone
	case err != nil && last != nil && errors.Is(err, store.ErrUnavailable):
		// What has been revoked since then need not have to do with this client. What does is among the revocations,
		// and those the caller asks.
		return c.owned(last)
	case err != nil:
		return nil, fmt.Errorf("%w: reading a client: %w", ErrUnavailable, err)
	case client.Disabled:
		return nil, ErrClientGone
	}
	s := &standing{
		id: strings.Clone(id), name: client.Name, firstParty: client.FirstParty, notBefore: client.TokensNotBefore,
		read: now, generation: generation,
	}
	if owner != nil {
		if s.owner, err = c.people.judge(owner, nil, now, generation); err != nil {
			return nil, ErrClientGone
		}
	}
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
