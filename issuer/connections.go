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

// maxGrants is how many authorizations of a person are looked at for a list, those that are over counted. It is far
// more than people have; who has made more sees what came first, and disconnects clients all the same.
const maxGrants = 2000

// standing tells whether an authorization is in force.
func standing(r *store.Records, u *store.User, f *store.Family) bool {
	return f.RevokedAt.IsZero() && f.ExpiresAt.After(r.Now()) && u.Stands(f.CreatedAt)
}

// grantsOf lists the authorizations of clients in a person's name that are in force. All that a client gets so belongs
// to a family: personal access tokens are no client's.
func grantsOf(r *store.Records, u *store.User) ([]store.Family, error) {
	var list []store.Family
	seen := 0
	err := r.FamiliesOfUser(u.ID, func(f store.Family) error {
		if seen++; seen > maxGrants {
			return store.ErrStop
		}
		if standing(r, u, &f) {
			list = append(list, f)
		}
		return nil
	})
	return list, err
}

// newestToken is the newest access token of an authorization that is good, nil when there is none.
func newestToken(r *store.Records, u *store.User, f *store.Family) (newest *store.Token, err error) {
	err = r.AccessTokens(f, func(t store.Token) error {
		if !t.RevokedAt.IsZero() || !u.Stands(madeAt(&t)) {
			return nil
		}
		newest = &t
		return store.ErrStop
	})
	return newest, err
}

// grantOf finds an authorization that is in force by the ID of one of its access tokens, or by its own. t is that token
// or the newest, nil when none is good. It answers [ErrUnknownToken] when there is none.
func grantOf(r *store.Records, u *store.User, id string) (f *store.Family, t *store.Token, err error) {
	t, err = r.Token(id)
	switch {
	case errors.Is(err, store.ErrNotFound):
		t = nil
	case err != nil:
		return nil, nil, err
	case t.UserID != u.ID || t.FamilyID == "" || !t.RevokedAt.IsZero() || !u.Stands(madeAt(t)):
		return nil, nil, ErrUnknownToken
	default:
		id = t.FamilyID
	}
	f, err = r.Family(id)
	if errors.Is(err, store.ErrNotFound) || err == nil && (f.UserID != u.ID || !standing(r, u, f)) {
		return nil, nil, ErrUnknownToken
	}
	if err != nil {
		return nil, nil, err
	}
	if t == nil {
		t, err = newestToken(r, u, f)
	}
	return f, t, err
}

// hasGrant tells whether a client has an authorization in force in a person's name.
func hasGrant(r *store.Records, u *store.User, clientID string) (found bool, err error) {
	err = r.FamiliesOfClient(u.ID, clientID, func(f store.Family) error {
		if !standing(r, u, &f) {
			return nil
		}
		found = true
		return store.ErrStop
	})
	return found, err
}

// What a person takes turns with. A client that lists over and over keeps nobody from the account page, nor from taking
// back what it has.
const (
	turnToSee        = "account "
	turnToList       = "connections "
	turnToDisconnect = "disconnect "
)

// turnOf waits for the person's turn with what clients have in its name: to list that, or to take it back, costs more
// than most requests do, and one person is not to keep the storage busy. Who has the turn calls done.
func (i *Issuer) turnOf(ctx context.Context, what, userID string) (done func(), err error) {
	return i.turns.take(ctx, what+userID, 1)
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
	for _, f := range grants {
		add(f.ClientID, f.Scopes, f.CreatedAt)
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
	done, err := i.turnOf(ctx, turnToDisconnect, u.ID)
	if err != nil {
		return err
	}
	defer done()
	var more bool
	err = i.db.Update(ctx, func(r *store.Records) error {
		_, err := r.Consent(u.ID, clientID)
		if errors.Is(err, store.ErrNotFound) {
			var found bool
			if found, err = hasGrant(r, u, clientID); err == nil && !found {
				return ErrUnknownClient
			}
		}
		if err != nil {
			return err
		}
		more, err = r.Disconnect(u.ID, clientID)
		return err
	})
	if err != nil {
		return err
	}
	i.tell(ctx, Event{Type: AuthorizationRevoked, ClientID: clientID, UserID: u.ID})
	if more {
		return i.disconnectRest(ctx, u.ID, clientID)
	}
	return nil
}

// disconnectRest goes on where [store.Records.Disconnect] said that there is more, whatever becomes of the caller.
func (i *Issuer) disconnectRest(ctx context.Context, userID, clientID string) error {
	ctx = context.WithoutCancel(ctx)
	for more := true; more; {
		err := i.db.Update(ctx, func(r *store.Records) (err error) {
			more, err = r.Disconnect(userID, clientID)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// revokeGrant takes back one thing that a client has in a person's name, named by the ID of its access token or of its
// family. With the last one the consent goes, so that the client has to ask again. It answers [ErrUnknownToken] when
// there is none of that ID.
func (i *Issuer) revokeGrant(ctx context.Context, u *store.User, id string) error {
	done, err := i.turnOf(ctx, turnToDisconnect, u.ID)
	if err != nil {
		return err
	}
	defer done()
	var event Event
	var more bool
	err = i.db.Update(ctx, func(r *store.Records) error {
		more = false
		f, t, err := grantOf(r, u, id)
		if err != nil {
			return err
		}
		event = Event{Type: RefreshTokenRevoked, ClientID: f.ClientID, UserID: u.ID, FamilyID: f.ID, Grant: f.Grant}
		if t != nil {
			event.TokenID = t.ID
			if err := r.RevokeToken(t.ID); err != nil {
				return err
			}
		}
		if err := r.RevokeFamily(f); err != nil {
			return err
		}
		if others, err := hasGrant(r, u, f.ClientID); err != nil || others {
			return err
		}
		more, err = r.Disconnect(u.ID, f.ClientID)
		return err
	})
	if err != nil {
		return err
	}
	i.tell(ctx, event)
	if more {
		return i.disconnectRest(ctx, u.ID, event.ClientID)
	}
	return nil
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
