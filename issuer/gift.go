package issuer

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
)

// gift is what a grant gives in a person's name: an access token, and a refresh token where the client may have one.
type gift struct {
	mandate mandate
	token   *store.Token
	refresh string
}

// newGift begins a family with what a person has granted, in the transaction that uses the grant up. m says who and to
// whom; what client or person may not have any more is left out. Of the audience that has been granted, m.audience may
// choose some (RFC 8707 §2.2). Call giveAll once it is on disk.
func (i *Issuer) newGift(r *store.Records, m mandate, granted, audience []string) (gift, error) {
	m.scopes = i.scopes.load().stillAllowed(m.client, m.user, granted)
	if len(granted) > 0 && len(m.scopes) == 0 {
		return gift{}, errNothingLeft
	}
	var fault *Error
	if m.audience, fault = narrowedAudience(audience, m.audience); fault != nil {
		return gift{}, fault
	}
	m.familyID = store.NewID(r.Now())
	t, err := i.newToken(r, &m)
	if err != nil {
		return gift{}, err
	}
	g := gift{mandate: m, token: t}
	f := &store.Family{
		ID: m.familyID, ClientID: m.client.ID, UserID: m.user.ID, Issuer: m.issuer, Grant: m.grant.name,
		Scopes: granted, Audience: audience, AuthenticatedAt: m.authenticatedAt,
		ExpiresAt: g.token.ExpiresAt,
	}
	f.Gives(g.token, r.Now())
	if m.grant.refreshable && i.givesRefreshTokens(m.client) {
		g.refresh = f.NewRefreshToken()
		if end := r.Now().Add(i.config.Lifetimes.RefreshTokenAbsolute); end.After(f.ExpiresAt) {
			f.ExpiresAt = end
		}
	}
	if err := r.PutFamily(f, g.refresh, i.config.Lifetimes.RefreshToken); err != nil {
		return gift{}, err
	}
	return g, r.PutToken(g.token)
}

// narrowedAudience is what a token is for of that which has been granted (RFC 8707 §2.2). Where no resource was named
// when the person was asked, any that exists can be: the person said yes to all for which the scopes are enough.
func narrowedAudience(granted, asked []string) ([]string, *Error) {
	if len(granted) == 0 {
		return asked, nil
	}
	if len(asked) == 0 {
		return granted, nil
	}
	for _, one := range asked {
		if !slices.Contains(granted, one) {
			return nil, errTarget
		}
	}
	return asked, nil
}

// giveAll signs what has been made, and tells of it.
func (i *Issuer) giveAll(ctx context.Context, g gift) (*issued, error) {
	given, err := i.give(ctx, g.mandate, g.token)
	if err != nil {
		return nil, err
	}
	if given.refresh = g.refresh; g.refresh != "" {
		i.tell(ctx, Event{
			Type: RefreshTokenCreated, ClientID: g.token.ClientID, UserID: g.token.UserID, FamilyID: g.token.FamilyID,
			Grant: g.token.Grant,
		})
	}
	return given, nil
}

// connected answers [errPersonGone] where the person has taken back, since that time, all that the client has.
func connected(r *store.Records, userID, clientID string, given time.Time) error {
	at, err := r.Disconnected(userID, clientID)
	if err == nil && !given.After(at) {
		return errPersonGone
	}
	return err
}

// holder is the person in whose name something was given at that time, or [errPersonGone] when it does not stand any
// more: the person is disabled, gone, or has ended it.
func (i *Issuer) holder(ctx context.Context, r *store.Records, id string, given time.Time) (*store.User, error) {
	u, err := i.personOf(ctx, r, id)
	switch {
	case errors.Is(err, errNobody):
		return nil, errPersonGone
	case err != nil:
		return nil, err
	case !u.Stands(given):
		return nil, errPersonGone
	}
	return u, nil
}
