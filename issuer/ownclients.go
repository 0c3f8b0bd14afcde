package issuer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/oauth2-passport/caddy-passport/store"
)

// How many clients a person may register, and how many of them may have been deleted of late, which everybody keeps in
// mind for a while.
const (
	maxOwnClients     = 50
	maxClientsDeleted = 200
)

// errOwnClientsOff says that people cannot register clients.
var errOwnClientsOff = errors.New(
	"the issuer's grants do without authorization_code, and people's clients use no other")

// errNoScopeToGive says that nothing could be asked for by a client of this person, or by this token.
var errNoScopeToGive = errors.New("there is no scope that the client could have")

// ownClientGrants are those of clients that people register: ones by which a client gets nothing but what a person
// allows it. With client_credentials it would act for itself, and nobody would be asked.
func (i *Issuer) ownClientGrants() []string {
	return slices.DeleteFunc([]string{"authorization_code", "refresh_token"}, func(name string) bool {
		return !slices.Contains(i.config.Grants, name)
	})
}

// ownClientsOn tells whether people may register clients.
func (i *Issuer) ownClientsOn() bool { return i.on(authorizationCode.name) }

// ownClient is what a person decides of a client.
type ownClient struct {
	name         string
	redirectURIs []string
	public       bool // said once, when the client is made
}

// ownClients lists the clients that a person has registered, oldest first.
func (i *Issuer) ownClients(ctx context.Context, userID string) ([]store.Client, error) {
	var list []store.Client
	err := i.db.View(ctx, func(r *store.Records) (err error) {
		list, err = ownClientsIn(r, userID)
		return err
	})
	return list, err
}

func ownClientsIn(r *store.Records, userID string) ([]store.Client, error) {
	var list []store.Client
	err := r.ClientsOfUser(userID, func(c store.Client) error {
		list = append(list, c)
		return nil
	})
	return list, err
}

// ownClient returns the client of that ID if it is the person's, or [ErrUnknownClient].
func (i *Issuer) ownClient(ctx context.Context, userID, id string) (*store.Client, error) {
	if i.ConfigClient(id) || !isClientID(id) {
		return nil, ErrUnknownClient
	}
	var c *store.Client
	err := i.db.View(ctx, func(r *store.Records) (err error) {
		c, err = r.Client(id)
		return err
	})
	if errors.Is(err, store.ErrNotFound) || err == nil && c.UserID != userID {
		return nil, ErrUnknownClient
	}
	return c, err
}

// createOwnClient registers a client of a person. It may ask for what the person may have, and, where somebody acts for
// the person by a token, for no more than that has (within; nil: no token).
func (i *Issuer) createOwnClient(ctx context.Context, u *store.User, n ownClient, within []string) (
	c ClientInfo, secret string, err error,
) {
	if !i.ownClientsOn() {
		return c, "", errOwnClientsOff
	}
	if len(n.redirectURIs) == 0 {
		return c, "", &InvalidError{"redirect_uris", "there is none"}
	}
	scopes, err := i.scopesOfOwnClient(u, within)
	if err != nil {
		return c, "", err
	}
	room := func(r *store.Records) error {
		own, err := ownClientsIn(r, u.ID)
		if err == nil && len(own) >= maxOwnClients {
			return &tooManyThingsError{maxOwnClients}
		}
		if err != nil {
			return err
		}
		deleted, err := r.ClientsDeleted(u.ID)
		if err == nil && deleted >= maxClientsDeleted {
			return &tooManyThingsError{maxClientsDeleted}
		}
		return err
	}
	return i.createClient(ctx, store.Client{
		Name: n.name, RedirectURIs: n.redirectURIs, Public: n.public, Grants: i.ownClientGrants(), Scopes: scopes,
		UserID: u.ID,
	}, room)
}

// tooManyThingsError says that somebody has as many of something as one may have.
type tooManyThingsError struct{ limit int }

func (e *tooManyThingsError) Error() string { return fmt.Sprintf("there are %d already", e.limit) }

// scopesOfOwnClient are those that a new client of a person may ask for; none stands for all that are not restricted.
// The scope of this API is not among them where somebody acts by a token: with a client that has it the token would
// make itself everlasting.
func (i *Issuer) scopesOfOwnClient(u *store.User, within []string) ([]string, error) {
	if !u.Limited && within == nil {
		return nil, nil
	}
	known := i.scopes.load()
	var scopes []string
	for _, scope := range known.list {
		name := scope.Name
		if !known.personMayHave(u, name) || len(scopes) == maxClientScopes {
			continue
		}
		if within != nil && (!known.within(within, name) || known.within([]string{name}, ManageScope)) {
			continue
		}
		scopes = append(scopes, name)
	}
	if len(scopes) == 0 {
		return nil, errNoScopeToGive
	}
	return scopes, nil
}

// updateOwnClient changes a client of a person.
func (i *Issuer) updateOwnClient(ctx context.Context, userID, id string, n ownClient) (ClientInfo, error) {
	if _, err := i.ownClient(ctx, userID, id); err != nil {
		return ClientInfo{}, err
	}
	if len(n.redirectURIs) == 0 {
		return ClientInfo{}, &InvalidError{"redirect_uris", "there is none"}
	}
	return i.UpdateClient(ctx, id, ClientChange{Name: &n.name, RedirectURIs: &n.redirectURIs})
}

// rotateOwnSecret gives a client of a person a new secret.
func (i *Issuer) rotateOwnSecret(ctx context.Context, userID, id string) (ClientInfo, string, error) {
	if _, err := i.ownClient(ctx, userID, id); err != nil {
		return ClientInfo{}, "", err
	}
	return i.RotateSecret(ctx, id)
}

// deleteOwnClient removes a client of a person, which ends the tokens that it has of anybody.
func (i *Issuer) deleteOwnClient(ctx context.Context, userID, id string) error {
	if _, err := i.ownClient(ctx, userID, id); err != nil {
		return err
	}
	return i.DeleteClient(ctx, id)
}

// fieldsOf splits what separates things in a list that people type: line ends, spaces and commas.
func fieldsOf(list string) []string {
	return strings.FieldsFunc(list, func(c rune) bool { return strings.ContainsRune(", \t\r\n", c) })
}
