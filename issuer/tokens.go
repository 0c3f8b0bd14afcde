package issuer

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/oauth2-passport/caddy-passport/issuer/verify"
	"github.com/oauth2-passport/caddy-passport/store"
)

// TokenFilter says which tokens to list. The empty one means all.
type TokenFilter struct {
	ClientID string
	UserID   string
	After    string // the ID of the last one of the page before
	Limit    int    // at most so many; 0: no limit
}

// Tokens lists the records of the access tokens that have not expired, oldest first, revoked ones included.
func (i *Issuer) Tokens(ctx context.Context, filter TokenFilter) ([]store.Token, error) {
	var list []store.Token
	err := i.db.View(ctx, func(r *store.Records) error {
		list = nil
		add := func(t store.Token) error {
			if filter.ClientID != "" && t.ClientID != filter.ClientID {
				return nil
			}
			list = append(list, t)
			if len(list) == filter.Limit {
				return store.ErrStop
			}
			return nil
		}
		switch {
		case filter.UserID != "":
			return r.TokensOfUser(filter.UserID, filter.After, add)
		case filter.ClientID != "":
			return r.TokensOfClient(filter.ClientID, filter.After, add)
		}
		return r.Tokens(filter.After, add)
	})
	return list, err
}

// Token returns the record of an access token.
func (i *Issuer) Token(ctx context.Context, id string) (*store.Token, error) {
	var t *store.Token
	err := i.db.View(ctx, func(r *store.Records) (err error) {
		t, err = r.Token(id)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil, ErrUnknownToken
	}
	return t, err
}

// RevokeToken revokes the access token with that ID, from the next request on. Revoking twice is no error.
func (i *Issuer) RevokeToken(ctx context.Context, id string) error {
	var revoked *store.Token
	err := i.db.Update(ctx, func(r *store.Records) (err error) {
		if revoked, err = r.Token(id); err != nil {
			return err
		}
		return r.RevokeToken(id)
	})
	if errors.Is(err, store.ErrNotFound) {
		return ErrUnknownToken
	}
	if err == nil && revoked.RevokedAt.IsZero() {
		i.tell(ctx, Event{
			Type: TokenRevoked, ClientID: revoked.ClientID, UserID: revoked.UserID, TokenID: id,
			FamilyID: revoked.FamilyID, Grant: revoked.Grant,
		})
	}
	return err
}

// Inspection is what can be said of a token that somebody has at hand.
type Inspection struct {
	Active bool           `json:"active"`
	Reason string         `json:"reason,omitempty"` // why it is not active
	Claims map[string]any `json:"claims,omitempty"` // what the token says; true only of an active one
	Record *store.Token   `json:"record,omitempty"` // what is kept of it; only of an active or a revoked one
}

// InspectToken tells whether a token of this issuer, on whichever host, is good, and why not.
func (i *Issuer) InspectToken(ctx context.Context, token string) (*Inspection, error) {
	kind, opaque := store.ParseSecret(token)
	if opaque && kind != store.PersonalAccessToken {
		return &Inspection{Reason: "it is no access token but begins with " + string(kind)}, nil
	}
	inspection := &Inspection{Claims: unverifiedClaims(token)}
	identifier := i.config.Identifier
	if identifier == "" {
		identifier, _ = inspection.Claims["iss"].(string)
	}
	if identifier == "" && opaque {
		identifier = i.config.Name // it belongs to the issuer, not to a host
	}
	_, err := i.verifier.Verify(ctx, token, identifier)
	refused, isRefused := errors.AsType[*verify.Error](err)
	if err != nil && !isRefused {
		return nil, err
	}
	inspection.Active = err == nil
	if isRefused {
		inspection.Reason = refused.Description
	}
	if err == nil || errors.Is(err, verify.ErrRevoked) {
		inspection.Record, err = i.recordOf(ctx, token, opaque, inspection.Claims)
		if err != nil && !errors.Is(err, ErrUnknownToken) {
			return nil, err
		}
	}
	return inspection, nil
}

// recordOf finds the record of a token that somebody has at hand.
func (i *Issuer) recordOf(ctx context.Context, token string, opaque bool, claims map[string]any) (*store.Token, error) {
	if !opaque {
		id, _ := claims["jti"].(string)
		return i.Token(ctx, id)
	}
	var t *store.Token
	err := i.db.View(ctx, func(r *store.Records) (err error) {
		t, err = r.PersonalToken(store.HashSecret(token))
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil, ErrUnknownToken
	}
	return t, err
}

// PurgeFilter says what to purge.
type PurgeFilter struct {
	Revoked bool          // records of tokens that have been revoked
	Age     time.Duration // only what has been so for that long
}

// Purging looks at so many records in one View, and removes so many in one Update, for which others wait. After each
// it rests so many times as long as that took, a second at most: what it has waited for is no work of its own.
const (
	purgePage  = 1000
	purgeBatch = 64
	purgeRests = 9
)

// Purge removes records that are of no more use, and returns how many it has removed. Expired ones vanish by
// themselves, so that there are none to remove; a revoked token stays revoked without its record. It works in small
// steps and rests in between, so that others have the storage for nine tenths of the time.
func (i *Issuer) Purge(ctx context.Context, filter PurgeFilter) (removed int, err error) {
	if !filter.Revoked {
		return 0, ctx.Err()
	}
	defer func() {
		if removed > 0 {
			i.tell(ctx, Event{Type: TokensPurged, Count: removed})
		}
	}()
	var steps purgeSteps
	for after, more := "", true; more; {
		if err := steps.next(ctx); err != nil {
			return removed, err
		}
		var tokens []store.Token
		tokens, after, more, err = i.purgeable(ctx, after, filter.Age)
		if err != nil {
			return removed, err
		}
		for batch := range slices.Chunk(tokens, purgeBatch) {
			if err := steps.next(ctx); err != nil {
				return removed, err
			}
			if err := i.db.Update(ctx, func(r *store.Records) error { return deleteTokens(r, batch) }); err != nil {
				return removed, err
			}
			removed += len(batch)
		}
	}
	return removed, nil
}

// purgeSteps are the steps of a purge, with the rests between them.
type purgeSteps struct{ began time.Time }

// next rests from the step before, if there was one.
func (s *purgeSteps) next(ctx context.Context) error {
	if !s.began.IsZero() {
		select {
		case <-ctx.Done():
		case <-time.After(min(purgeRests*time.Since(s.began), time.Second)):
		}
	}
	s.began = time.Now()
	return ctx.Err()
}

// purgeable finds what is to be purged on the page of records after the one of that ID. more says that there are more
// pages, and last where this one ends.
func (i *Issuer) purgeable(ctx context.Context, after string, age time.Duration) (
	tokens []store.Token, last string, more bool, err error,
) {
	err = i.db.View(ctx, func(r *store.Records) error {
		tokens, last, more = nil, after, false
		seen := 0
		return r.Tokens(after, func(t store.Token) error {
			if seen == purgePage {
				more = true
				return store.ErrStop
			}
			seen++
			last = t.ID
			if !t.RevokedAt.IsZero() && r.Now().Sub(t.RevokedAt) >= age {
				tokens = append(tokens, t)
			}
			return ctx.Err()
		})
	})
	return tokens, last, more, err
}

// deleteTokens deletes what was revoked when it was read, and has stayed so.
func deleteTokens(r *store.Records, tokens []store.Token) error {
	for i := range tokens {
		if err := r.DeleteToken(&tokens[i]); err != nil {
			return err
		}
	}
	return nil
}
