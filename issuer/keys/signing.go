package keys

import (
	"context"
	"fmt"

	"github.com/oauth2-passport/caddy-passport/store"
)

// StaleError says that a key was retired at once and that the ring, or the transaction, does not know it yet: another
// node has done it, or it is being done. After [Ring.Renew] the transaction is to be run again.
type StaleError struct{ retirements int }

func (e *StaleError) Error() string {
	return "a signing key was retired a moment ago: " + fmt.Sprint(e.retirements)
}

// Signing is the key that signs what the transaction of rec writes down. It is no key that was retired at once before
// that transaction: what such a key signs is refused everywhere. Instead it answers a [StaleError].
func (r *Ring) Signing(rec *store.Records) (*Key, error) {
	s := r.now.Load()
	switch n, err := rec.KeyRetirements(); {
	case err != nil:
		return nil, err
	case n != s.shelf.retirements:
		return nil, &StaleError{n}
	}
	return s.current, nil
}

// Renew loads the keys anew for who has met a [StaleError], unless somebody else has.
func (r *Ring) Renew(ctx context.Context, stale *StaleError) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.now.Load().shelf.retirements == stale.retirements {
		return nil
	}
	return r.reload(ctx, false)
}
