package verify

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"sync/atomic"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
)

// people tells whether people may still be acted for, as [clients] does of clients.
type people struct {
	db     *store.DB
	seed   maphash.Seed
	source func(*store.User) bool          // Config.UserKnown
	read   [1 << 12]atomic.Pointer[person] // by the hash of the person's ID; the last one keeps the slot
}

// person is what the store said of a person who is enabled.
type person struct {
	user       store.User // without what only the issuer needs
	read       time.Time
	generation uint64 // of the revocations, from before the person was read: disabling and deleting change it
}

func newPeople(db *store.DB, source func(*store.User) bool) *people {
	return &people{db: db, seed: maphash.MakeSeed(), source: source}
}

// known tells whether the person's source still knows the person.
func (p *people) known(who *person) bool { return who.user.Source == "" || p.source(&who.user) }

// standing returns the standing of the person with that ID, not older than [store.RecheckAfter] at now, or
// [ErrUserGone] when there is none, or the person is disabled, or gone from where it came from; [ErrUnavailable] when
// the store cannot tell.
func (p *people) standing(ctx context.Context, id string, now time.Time) (*person, error) {
	slot := &p.read[maphash.String(p.seed, id)%uint64(len(p.read))]
	generation := p.db.Revocations().Generation()
	last := slot.Load()
	if last != nil && (last.user.ID != id || !fresh(last.read, now)) {
		last = nil
	}
	if last != nil && last.generation == generation {
		return p.stillKnown(last)
	}
	var user *store.User
	err := p.db.View(ctx, func(r *store.Records) (err error) {
		user, err = r.User(id)
		return err
	})
	if last != nil && errors.Is(err, store.ErrUnavailable) {
		return p.stillKnown(last) // as for clients: what has to do with this person is among the revocations
	}
	who, err := p.judge(user, err, now, generation)
	if err != nil {
		return nil, err
	}
	slot.Store(who)
	return who, nil
}

func (p *people) stillKnown(who *person) (*person, error) {
	if !p.known(who) {
		return nil, ErrUserGone
	}
	return who, nil
}

// judge makes a standing of what the store has answered.
func (p *people) judge(user *store.User, err error, now time.Time, generation uint64) (*person, error) {
	switch {
	case errors.Is(err, store.ErrNotFound), err == nil && user == nil:
		return nil, ErrUserGone
	case err != nil:
		return nil, fmt.Errorf("%w: reading a person: %w", ErrUnavailable, err)
	case user.Disabled:
		return nil, ErrUserGone
	}
	who := &person{user: *user, read: now, generation: generation}
	who.user.PasswordHash = ""
	if !p.known(who) {
		return nil, ErrUserGone
	}
	return who, nil
}

// User tells of the person whom a token or a session of ours stands for, as the store had the person not longer ago
// than [store.RecheckAfter], without the password. Nobody changes the record. The error is that of [Verifier.Verify].
func (v *Verifier) User(ctx context.Context, id *Identity) (*store.User, error) {
	if !id.Own() || !id.Person() {
		return nil, ErrUserGone
	}
	if who := id.person.Load(); who != nil {
		return &who.user, nil
	}
	who, err := v.own.people.standing(ctx, id.UserID, v.db.Now())
	if err != nil {
		return nil, err
	}
	return &who.user, nil
}
