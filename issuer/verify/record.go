package verify

import (
	"context"

	"github.com/oauth2-passport/caddy-passport/store"
)

// ErrKeyRetired is the answer of [Verifier.Recorded] for a token whose key is no longer there. Who sends the token gets
// [ErrSignature].
var ErrKeyRetired = &Error{"the key that signed the access token has been retired"}

// Recorded tells why the token of a record would be refused now: an [Error], nil if it would not, or the errors of
// [Verifier.Verify] where storage cannot tell.
func (v *Verifier) Recorded(ctx context.Context, t *store.Token) error {
	born, ok := store.IDTime(t.ID)
	if !ok {
		born = t.IssuedAt
	}
	e := &entry{Identity: Identity{
		ClientID: t.ClientID, UserID: t.UserID, TokenID: t.ID, FamilyID: t.FamilyID, KeyID: t.KeyID, born: born,
	}}
	if t.Personal {
		e.opaque = new(opaque)
	}
	now := v.db.Now()
	switch {
	case !now.Before(t.ExpiresAt):
		return ErrExpired
	case !t.RevokedAt.IsZero():
		return ErrRevoked
	case t.KeyID != "" && v.own.keys.Key(t.KeyID) == nil:
		return ErrKeyRetired
	}
	if e.configured = v.own.configured(t.ClientID); !e.configured || e.Person() {
		if err := v.own.askStore(ctx, e, now); err != nil {
			return err
		}
	}
	if v.own.revoked(&e.Identity) {
		return ErrRevoked
	}
	return nil
}
