package issuer

import (
	"context"
	"errors"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
)

// refreshToken is a refresh token for new tokens (RFC 6749 §6). Each use gives a new one in its place; all that come
// from one grant are a family. One that has been replaced gives the same successor again for a while, for an answer may
// be lost and a browser has two tabs; its use after that means that somebody else has it too, and the family dies (RFC
// 9700 §4.14.2).
var refreshToken = &grant{
	name:  "refresh_token",
	wire:  "refresh_token",
	issue: (*Issuer).redeemRefreshToken,
}

// givesRefreshTokens tells whether the client gets refresh tokens from the grants that can give them.
func (i *Issuer) givesRefreshTokens(c *store.Client) bool {
	return i.on(refreshToken.name) && refreshToken.mayUse(c)
}

// rotation is what has come of a refresh token.
type rotation struct {
	gift
	family  *store.Family
	outcome store.RotateOutcome
}

func (i *Issuer) redeemRefreshToken(ctx context.Context, req *tokenRequest) (*issued, error) {
	token := req.form.get("refresh_token")
	if kind, ok := store.ParseSecret(token); !ok || kind != store.RefreshToken {
		return nil, errRefreshToken
	}
	asked, fault := parseScope(req.form.get("scope"))
	if fault != nil {
		return nil, fault
	}
	var done rotation
	err := i.issuing(ctx, func(r *store.Records) (err error) {
		if err := i.unchanged(r, req.client); err != nil {
			return err
		}
		done, err = i.rotate(ctx, r, req, token, asked)
		return err
	})
	if err != nil {
		return nil, err
	}
	event := Event{
		Type: RefreshTokenRefreshed, ClientID: done.family.ClientID, UserID: done.family.UserID,
		FamilyID: done.family.ID, Grant: done.family.Grant,
	}
	if done.outcome == store.Reused {
		event.Type, event.Error = RefreshTokenReused, errRefreshToken.Code
		i.tell(ctx, event)
		return nil, errRefreshToken
	}
	given, err := i.give(ctx, done.mandate, done.token)
	if err != nil {
		return nil, err
	}
	given.refresh = done.refresh
	i.tell(ctx, event)
	return given, nil
}

// rotate uses a refresh token. Whatever else is wrong with the request leaves the token as it was; that it was used
// before is no error here, for what that has revoked is to be kept.
func (i *Issuer) rotate(ctx context.Context, r *store.Records, req *tokenRequest, token string, asked []string) (
	done rotation, err error,
) {
	f, err := r.FamilyOfToken(token)
	if errors.Is(err, store.ErrNotFound) {
		return done, errRefreshToken
	}
	if err != nil {
		return done, err
	}
	// RFC 6749 §6: it is the client's that it was given to, and nobody else can so much as end it.
	// What was given to a client before it was disabled stays ended when it is enabled again.
	if f.ClientID != req.client.ID || f.Issuer != req.issuer || !f.RevokedAt.IsZero() ||
		!f.CreatedAt.After(req.client.TokensNotBefore) || f.ExpiresAt.Sub(r.Now()) < time.Second {
		return done, errRefreshToken
	}
	m := req.mandate()
	m.familyID, m.authenticatedAt = f.ID, f.AuthenticatedAt
	if m.user, err = i.holder(ctx, r, f.UserID, f.CreatedAt); err != nil {
		return done, err
	}
	// What is wrong with the wish is told only to who has a token that is good: one used before ends the family first.
	var fault *Error
	if m.scopes, fault = i.scopes.load().refreshed(m.client, m.user, f.Scopes, asked); fault == nil {
		m.audience, fault = narrowedAudience(f.Audience, m.audience)
	}
	t, err := i.newToken(r, &m)
	if err != nil {
		return done, err
	}
	if t.ExpiresAt.After(f.ExpiresAt) {
		t.ExpiresAt = f.ExpiresAt.Truncate(time.Second)
	}
	f.Gives(t, r.Now())
	done.family = f
	done.refresh, done.outcome, err = r.Rotate(f, token, i.config.Lifetimes.RefreshToken, i.config.RefreshGrace)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return done, errRefreshToken
	case err != nil || done.outcome == store.Reused:
		return done, err
	case fault != nil:
		return done, fault
	}
	done.mandate, done.token = m, t
	return done, r.PutToken(t)
}

// refreshed decides what the next token of a family holds: what is asked for when it is no more than was granted (RFC
// 6749 §6), else all that was granted; in any case only what client and person may have today. What was granted stays
// what it was.
func (s *scopes) refreshed(c *store.Client, u *store.User, granted, asked []string) ([]string, *Error) {
	for _, name := range asked {
		if !s.within(granted, name) || !s.mayHave(c, name) || !s.personMayHave(u, name) {
			return nil, errScopeNotGranted
		}
	}
	if len(asked) > 0 {
		return asked, nil
	}
	given := s.stillAllowed(c, u, granted)
	if len(granted) > 0 && len(given) == 0 {
		return nil, errNothingLeft
	}
	return given, nil
}

// revokeRefreshToken revokes the family of a refresh token that the client has (empty: whoever has it), whichever of
// the family it is (RFC 7009 §2.1). It is no error when there is none.
func (i *Issuer) revokeRefreshToken(ctx context.Context, clientID, token string) error {
	var revoked *store.Family
	err := i.db.Update(ctx, func(r *store.Records) error {
		revoked = nil
		f, err := r.FamilyOfToken(token)
		if err != nil || clientID != "" && f.ClientID != clientID {
			return err
		}
		if f.RevokedAt.IsZero() {
			revoked = f
		}
		return r.RevokeFamily(f)
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err == nil && revoked != nil {
		i.tell(ctx, Event{
			Type: RefreshTokenRevoked, ClientID: revoked.ClientID, UserID: revoked.UserID, FamilyID: revoked.ID,
			Grant: revoked.Grant,
		})
	}
	return err
}

// knownRefresh is a refresh token that is good.
type knownRefresh struct {
	family  *store.Family
	user    *store.User
	expires time.Time
}

// knownRefreshToken answers what a refresh token is that could be used for the first time; nil for any other.
func (i *Issuer) knownRefreshToken(ctx context.Context, token string) (*knownRefresh, error) {
	var known *knownRefresh
	err := i.db.View(ctx, func(r *store.Records) error {
		known = nil
		f, err := r.FamilyOfToken(token)
		if err != nil || !f.RevokedAt.IsZero() {
			return err
		}
		used, expires := f.RefreshTokenUsed(token)
		if used {
			return nil
		}
		u, err := i.holder(ctx, r, f.UserID, f.CreatedAt)
		if err != nil {
			return err
		}
		known = &knownRefresh{f, u, expires}
		return nil
	})
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, errPersonGone) {
		return nil, nil
	}
	return known, err
}
