package issuer

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
)

// connection is a client that may act in a person's name.
type connection struct {
	client store.Client
	owner  string // the name of who has registered it; empty: the operator
	scopes []string
	since  time.Time
}

// grantOfClient is one thing that a client has got in a person's name and that is in force: a family, or an access
// token that belongs to none.
type grantOfClient struct {
	family *store.Family
	token  *store.Token // the newest access token; nil: it has expired
}

func (g *grantOfClient) clientID() string {
	if g.family != nil {
		return g.family.ClientID
	}
	return g.token.ClientID
}

// grantsOf lists what clients have got in a person's name, oldest first. Personal access tokens are no client's.
func grantsOf(r *store.Records, u *store.User) ([]grantOfClient, error) {
	var list []grantOfClient
	at := make(map[string]int) // by the family's ID
	err := r.FamiliesOfUser(u.ID, func(f store.Family) error {
		if f.RevokedAt.IsZero() && f.ExpiresAt.After(r.Now()) && u.Stands(f.CreatedAt) {
			at[f.ID] = len(list)
			list = append(list, grantOfClient{family: &f})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = r.TokensOfUser(u.ID, "", func(t store.Token) error {
		if t.Personal || !t.RevokedAt.IsZero() || !u.Stands(madeAt(&t)) {
			return nil
		}
		if t.FamilyID == "" {
			list = append(list, grantOfClient{token: &t})
		} else if n, ok := at[t.FamilyID]; ok {
			list[n].token = &t
		}
		return nil
	})
	return list, err
}

// madeAt is when a token was made, to the millisecond.
func madeAt(t *store.Token) time.Time {
	if made, ok := store.IDTime(t.ID); ok {
		return made
	}
	return t.IssuedAt
}

// connectionsOf lists the clients that may act in a person's name, or were allowed to, the newest first.
func (i *Issuer) connectionsOf(r *store.Records, u *store.User) ([]connection, error) {
	byClient := make(map[string]*connection)
	add := func(clientID string, scopes []string, since time.Time) {
		c := byClient[clientID]
		if c == nil {
			c = &connection{since: since}
			byClient[clientID] = c
		}
		if since.Before(c.since) {
			c.since = since
		}
		for _, name := range scopes {
			if !slices.Contains(c.scopes, name) {
				c.scopes = append(c.scopes, name)
			}
		}
	}
	err := r.ConsentsOfUser(u.ID, func(c store.Consent) error {
		add(c.ClientID, c.Scopes, c.GrantedAt)
		return nil
	})
	if err != nil {
		return nil, err
	}
	grants, err := grantsOf(r, u)
	if err != nil {
		return nil, err
	}
	for _, g := range grants {
		if g.family != nil {
			add(g.family.ClientID, g.family.Scopes, g.family.CreatedAt)
		} else {
			add(g.token.ClientID, g.token.Scopes, g.token.IssuedAt)
		}
	}
	var list []connection
	for id, c := range byClient {
		client, owner, err := i.clientAndOwner(r, id)
		if errors.Is(err, store.ErrNotFound) {
			continue // it is gone, and all that it had
		}
		if err != nil {
			return nil, err
		}
		c.client, c.owner = *client, owner
		list = append(list, *c)
	}
	slices.SortFunc(list, func(a, b connection) int { return b.since.Compare(a.since) })
	return list, nil
}

// clientAndOwner returns a client, disabled ones included, and the name of who has registered it.
func (i *Issuer) clientAndOwner(r *store.Records, id string) (c *store.Client, owner string, err error) {
	if c = i.clients[id]; c == nil {
		if c, err = r.Client(id); err != nil {
			return nil, "", err
		}
	}
	if c.UserID == "" {
		return c, "", nil
	}
	u, err := r.User(c.UserID)
	switch {
	case err == nil:
		owner = u.Name
	case !errors.Is(err, store.ErrNotFound):
		return nil, "", err
	}
	return c, owner, nil
}

// disconnect takes back all that a client has in a person's name. It answers [ErrUnknownClient] when that is nothing.
func (i *Issuer) disconnect(ctx context.Context, u *store.User, clientID string) error {
	if !isClientID(clientID) {
		return ErrUnknownClient
	}
	err := i.db.Update(ctx, func(r *store.Records) error {
		_, err := r.Consent(u.ID, clientID)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		found := err == nil
		grants, err := grantsOf(r, u)
		if err != nil {
			return err
		}
		for _, g := range grants {
			if g.clientID() != clientID {
				continue
			}
			found = true
			if g.family == nil {
				if err := r.RevokeToken(g.token.ID); err != nil {
					return err
				}
			}
		}
		if !found {
			return ErrUnknownClient
		}
		return r.Disconnect(u.ID, clientID)
	})
	if err == nil {
		i.tell(ctx, Event{Type: AuthorizationRevoked, ClientID: clientID, UserID: u.ID})
	}
	return err
}

// revokeGrant takes back one thing that a client has in a person's name, named by the ID of its access token or of its
// family. With the last one the consent goes, so that the client has to ask again. It answers [ErrUnknownToken] when
// there is none of that ID.
func (i *Issuer) revokeGrant(ctx context.Context, u *store.User, id string) error {
	var event Event
	err := i.db.Update(ctx, func(r *store.Records) error {
		grants, err := grantsOf(r, u)
		if err != nil {
			return err
		}
		n := slices.IndexFunc(grants, func(g grantOfClient) bool {
			return g.family != nil && g.family.ID == id || g.token != nil && g.token.ID == id
		})
		if n < 0 {
			return ErrUnknownToken
		}
		revoked := grants[n]
		event = Event{Type: TokenRevoked, ClientID: revoked.clientID(), UserID: u.ID}
		if revoked.token != nil {
			event.TokenID = revoked.token.ID
			if err := r.RevokeToken(revoked.token.ID); err != nil {
				return err
			}
		}
		if revoked.family != nil {
			event.Type, event.FamilyID = RefreshTokenRevoked, revoked.family.ID
			if err := r.RevokeFamily(revoked.family); err != nil {
				return err
			}
		}
		for other, g := range grants {
			if other != n && g.clientID() == revoked.clientID() {
				return nil
			}
		}
		return r.Disconnect(u.ID, revoked.clientID())
	})
	if err == nil {
		i.tell(ctx, event)
	}
	return err
}

// errNoSession says that a person has no session of that ID.
var errNoSession = errors.New("there is no such session")

// endOneSession ends one of a person's sessions. The browser is known no more.
func (i *Issuer) endOneSession(ctx context.Context, userID, id string) error {
	err := i.db.Update(ctx, func(r *store.Records) error {
		var found *store.Session
		err := r.SessionsOfUser(userID, func(s store.Session) error {
			if s.ID != id {
				return nil
			}
			found = &s
			return store.ErrStop
		})
		if err != nil {
			return err
		}
		if found == nil {
			return errNoSession
		}
		return errors.Join(r.EndSession(found), r.ForgetBrowser(userID, found.BrowserID))
	})
	if err == nil {
		i.tell(ctx, Event{Type: SignedOut, UserID: userID})
	}
	return err
}

// endOtherSessions ends a person's sessions but this one. No other browser is known any more.
func (i *Issuer) endOtherSessions(ctx context.Context, this *store.Session) error {
	err := i.db.Update(ctx, func(r *store.Records) error {
		return errors.Join(r.EndSessions(this.UserID, this.ID), r.ForgetBrowsers(this.UserID, this.BrowserID))
	})
	if err == nil {
		i.tell(ctx, Event{Type: SignedOut, UserID: this.UserID})
	}
	return err
}
