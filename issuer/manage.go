package issuer

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
)

// What the management methods answer beside [*InvalidError] and the store's errors. Compare with [errors.Is].
var (
	ErrUnknownClient    = errors.New("there is no client with this ID")
	ErrUnknownToken     = errors.New("there is no token with this ID, or it has expired")
	ErrConfiguredClient = errors.New("the client is kept in the configuration and can only be changed there")
	ErrPublicClient     = errors.New("a public client has no secret")
)

// ClientInfo is a client as operators see it: SecretHash is always empty.
type ClientInfo struct {
	store.Client
	Configured bool `json:"configured"` // kept in the configuration
}

func (i *Issuer) info(c store.Client) ClientInfo {
	c.SecretHash = ""
	return ClientInfo{Client: c, Configured: i.ConfigClient(c.ID)}
}

// CreateClient registers a client. Of c it takes what an operator decides: Name, Public, Grants, Scopes, RedirectURIs,
// FirstParty, ResourceServer, AccessTokenLifetime and UserID; without Grants it gets those that suit it. The secret,
// empty for a public client, is told this once.
func (i *Issuer) CreateClient(ctx context.Context, c store.Client) (info ClientInfo, secret string, err error) {
	return i.createClient(ctx, c, func(*store.Records) error { return nil })
}

// createClient registers a client unless there is no room for it, which room tells in the Update that writes it.
func (i *Issuer) createClient(ctx context.Context, c store.Client, room func(*store.Records) error) (
	info ClientInfo, secret string, err error,
) {
	if c.Name == "" {
		return info, "", &InvalidError{"client_name", "it is missing"}
	}
	c = store.Client{
		Name: c.Name, Public: c.Public, Grants: slices.Clone(c.Grants), Scopes: slices.Clone(c.Scopes),
		RedirectURIs: slices.Clone(c.RedirectURIs), FirstParty: c.FirstParty, ResourceServer: c.ResourceServer,
		AccessTokenLifetime: c.AccessTokenLifetime, UserID: c.UserID,
	}
	if err := i.checkClient(&c); err != nil {
		return info, "", err
	}
	if err := usableGrants(&c); err != nil {
		return info, "", err
	}
	if !c.Public {
		secret = store.NewSecret(store.ClientSecret)
		c.SecretHash = store.HashSecret(secret)
	}
	err = i.db.Update(ctx, func(r *store.Records) error {
		if err := room(r); err != nil {
			return err
		}
		c.ID, c.CreatedAt = store.NewID(r.Now()), r.Now()
		return r.PutClient(&c)
	})
	if err != nil {
		return info, "", err
	}
	i.tell(ctx, Event{Type: ClientCreated, ClientID: c.ID, UserID: c.UserID})
	return i.info(c), secret, nil
}

// ClientChange is what to change of a client; what is nil stays as it is.
type ClientChange struct {
	Name                *string
	Grants              *[]string
	Scopes              *[]string
	RedirectURIs        *[]string
	FirstParty          *bool
	ResourceServer      *bool
	AccessTokenLifetime *time.Duration // zero: that of the issuer
	Disabled            *bool          // disabling ends the client's tokens
}

func (change *ClientChange) apply(c *store.Client) {
	set(&c.Name, change.Name)
	set(&c.Grants, change.Grants)
	set(&c.Scopes, change.Scopes)
	set(&c.RedirectURIs, change.RedirectURIs)
	set(&c.FirstParty, change.FirstParty)
	set(&c.ResourceServer, change.ResourceServer)
	set(&c.AccessTokenLifetime, change.AccessTokenLifetime)
	set(&c.Disabled, change.Disabled)
}

func set[T any](field *T, value *T) {
	if value != nil {
		*field = *value
	}
}

// UpdateClient changes a client. What the client is allowed from now on holds for tokens that it asks for from now on.
func (i *Issuer) UpdateClient(ctx context.Context, id string, change ClientChange) (ClientInfo, error) {
	was := false
	c, err := i.changeClient(ctx, id, func(c *store.Client) error {
		was = c.Disabled
		change.apply(c)
		return i.checkChange(c, change)
	})
	if err != nil {
		return ClientInfo{}, err
	}
	event := Event{Type: ClientUpdated, ClientID: id, UserID: c.UserID}
	if c.Disabled == was || change != (ClientChange{Disabled: change.Disabled}) {
		i.tell(ctx, event)
	}
	if event.Type = ClientEnabled; c.Disabled {
		event.Type = ClientDisabled
	}
	if c.Disabled != was {
		i.tell(ctx, event)
	}
	return i.info(*c), nil
}

// checkChange holds a changed client against the rules. The configuration may have become stricter since the client was
// registered: the grants that nobody touches stay as they are, and disabling works always.
func (i *Issuer) checkChange(c *store.Client, change ClientChange) error {
	if change == (ClientChange{Disabled: change.Disabled}) {
		return nil
	}
	if c.Name == "" {
		return &InvalidError{"client_name", "it is missing"}
	}
	if err := checkFields(c); err != nil || change.Grants == nil {
		return err
	}
	return i.checkClientGrants(c)
}

// RotateSecret gives a client a new secret; the old one is good no more. Tokens stay good.
func (i *Issuer) RotateSecret(ctx context.Context, id string) (info ClientInfo, secret string, err error) {
	secret = store.NewSecret(store.ClientSecret)
	c, err := i.changeClient(ctx, id, func(c *store.Client) error {
		if c.Public {
			return ErrPublicClient
		}
		c.SecretHash = store.HashSecret(secret)
		return nil
	})
	if err != nil {
		return info, "", err
	}
	i.tell(ctx, Event{Type: SecretRotated, ClientID: id, UserID: c.UserID})
	return i.info(*c), secret, nil
}

// changeClient reads, changes and writes a stored client in one Update.
func (i *Issuer) changeClient(ctx context.Context, id string, change func(*store.Client) error) (
	changed *store.Client, err error,
) {
	if i.ConfigClient(id) {
		return nil, ErrConfiguredClient
	}
	err = i.db.Update(ctx, func(r *store.Records) error {
		c, err := r.Client(id)
		if err != nil {
			return err
		}
		if err := change(c); err != nil {
			return err
		}
		changed = c
		return r.PutClient(c)
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil, ErrUnknownClient
	}
	return changed, err
}

// DeleteClient removes a client, which ends its tokens.
func (i *Issuer) DeleteClient(ctx context.Context, id string) error {
	if i.ConfigClient(id) {
		return ErrConfiguredClient
	}
	var owner string
	err := i.db.Update(ctx, func(r *store.Records) error {
		c, err := r.Client(id)
		if err != nil {
			return err
		}
		owner = c.UserID
		return r.DeleteClient(id)
	})
	if errors.Is(err, store.ErrNotFound) {
		return ErrUnknownClient
	}
	if err != nil {
		return err
	}
	i.tell(ctx, Event{Type: ClientDeleted, ClientID: id, UserID: owner})
	return nil
}

// Client returns the client with that ID.
func (i *Issuer) Client(ctx context.Context, id string) (ClientInfo, error) {
	if c := i.clients[id]; c != nil {
		return i.info(*c), nil
	}
	var c *store.Client
	err := i.db.View(ctx, func(r *store.Records) (err error) {
		c, err = r.Client(id)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return ClientInfo{}, ErrUnknownClient
	}
	if err != nil {
		return ClientInfo{}, err
	}
	return i.info(*c), nil
}

// Clients lists the clients: those of the configuration in its order, then the stored ones by age.
func (i *Issuer) Clients(ctx context.Context) ([]ClientInfo, error) {
	var list []ClientInfo
	for _, c := range i.config.Clients {
		list = append(list, i.info(*i.clients[c.ID]))
	}
	configured := len(list)
	err := i.db.View(ctx, func(r *store.Records) error {
		list = list[:configured] // an engine may run this more than once
		return r.Clients("", func(c store.Client) error {
			if !i.ConfigClient(c.ID) {
				list = append(list, i.info(c))
			}
			return nil
		})
	})
	return list, err
}
