package caddymodule

import (
	"net/http"
	"strings"
	"time"

	"github.com/oauth2-passport/caddy-passport/issuer"
	"github.com/oauth2-passport/caddy-passport/store"
)

// clientView is what the admin API answers of a client. The names are those of RFC 7591 where it has one.
type clientView struct {
	ID                  string   `json:"client_id"`
	Name                string   `json:"client_name"`
	IssuedAt            int64    `json:"client_id_issued_at,omitempty"` // seconds since 1970
	GrantTypes          []string `json:"grant_types"`
	Scope               string   `json:"scope"` // what it may have, separated by spaces; empty: all but restricted ones
	RedirectURIs        []string `json:"redirect_uris"`
	AccessTokenLifetime int64    `json:"access_token_lifetime,omitempty"` // seconds; absent: the issuer's
	Public              bool     `json:"public"`
	FirstParty          bool     `json:"first_party"`
	ResourceServer      bool     `json:"resource_server"`
	Disabled            bool     `json:"disabled"`
	User                string   `json:"user,omitempty"` // whom it belongs to; absent: the operator
	Source              string   `json:"source"`         // where it is kept: "config" or "storage"
}

// clientWithSecret is what is answered once, when the secret is made.
type clientWithSecret struct {
	clientView
	Secret string `json:"client_secret,omitempty"`
}

type clientList struct {
	Clients []clientView `json:"clients"`
}

// clientChange is what the admin API takes: of a new client, or to change one. What is absent is left as it is.
type clientChange struct {
	Name                *string   `json:"client_name,omitempty"`
	GrantTypes          *[]string `json:"grant_types,omitempty"`
	Scope               *string   `json:"scope,omitempty"`
	RedirectURIs        *[]string `json:"redirect_uris,omitempty"`
	AccessTokenLifetime *int64    `json:"access_token_lifetime,omitempty"` // seconds; 0: the issuer's
	FirstParty          *bool     `json:"first_party,omitempty"`
	ResourceServer      *bool     `json:"resource_server,omitempty"`
	Disabled            *bool     `json:"disabled,omitempty"` // not of a new client
	Public              *bool     `json:"public,omitempty"`   // of a new client only
	User                *string   `json:"user,omitempty"`     // of a new client only
}

func viewOf(c issuer.ClientInfo) clientView {
	v := clientView{
		ID: c.ID, Name: c.Name, GrantTypes: c.Grants, Scope: strings.Join(c.Scopes, " "), RedirectURIs: c.RedirectURIs,
		AccessTokenLifetime: int64(c.AccessTokenLifetime / time.Second),
		Public:              c.Public, FirstParty: c.FirstParty, ResourceServer: c.ResourceServer, Disabled: c.Disabled,
		User: c.UserID, Source: "storage",
	}
	if c.Configured {
		v.Source = "config"
	}
	if !c.CreatedAt.IsZero() {
		v.IssuedAt = c.CreatedAt.Unix()
	}
	if v.GrantTypes == nil {
		v.GrantTypes = []string{}
	}
	if v.RedirectURIs == nil {
		v.RedirectURIs = []string{}
	}
	return v
}

func listClients(r *http.Request, i *running) (any, error) {
	clients, err := i.issuer.Clients(r.Context())
	if err != nil {
		return nil, err
	}
	answer := clientList{Clients: make([]clientView, 0, len(clients))}
	for _, c := range clients {
		answer.Clients = append(answer.Clients, viewOf(c))
	}
	return answer, nil
}

func createClient(r *http.Request, i *running) (any, error) {
	var change clientChange
	if err := readBody(r, &change); err != nil {
		return nil, err
	}
	if change.Disabled != nil {
		return nil, badRequest("disabled: a new client is not; update it later")
	}
	c := change.client()
	if c.UserID != "" {
		owner, err := i.issuer.User(r.Context(), c.UserID)
		if err != nil {
			return nil, err
		}
		c.UserID = owner.ID
	}
	info, secret, err := i.issuer.CreateClient(r.Context(), c)
	if err != nil {
		return nil, err
	}
	return created{clientWithSecret{clientView: viewOf(info), Secret: secret}}, nil
}

func showClient(r *http.Request, i *running) (any, error) {
	info, err := i.issuer.Client(r.Context(), r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	return viewOf(info), nil
}

func updateClient(r *http.Request, i *running) (any, error) {
	var change clientChange
	if err := readBody(r, &change); err != nil {
		return nil, err
	}
	if change.Public != nil || change.User != nil {
		return nil, badRequest("public and user are said once, when a client is made: make a new one")
	}
	info, err := i.issuer.UpdateClient(r.Context(), r.PathValue("id"), change.update())
	if err != nil {
		return nil, err
	}
	return viewOf(info), nil
}

func deleteClient(r *http.Request, i *running) (any, error) {
	return nil, i.issuer.DeleteClient(r.Context(), r.PathValue("id"))
}

func rotateClientSecret(r *http.Request, i *running) (any, error) {
	info, secret, err := i.issuer.RotateSecret(r.Context(), r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	return clientWithSecret{clientView: viewOf(info), Secret: secret}, nil
}

// client is the new client that c asks for.
func (c *clientChange) client() store.Client {
	u := c.update()
	return store.Client{
		Name: value(u.Name), Grants: value(u.Grants), Scopes: value(u.Scopes), RedirectURIs: value(u.RedirectURIs),
		AccessTokenLifetime: value(u.AccessTokenLifetime), FirstParty: value(u.FirstParty),
		ResourceServer: value(u.ResourceServer), Public: value(c.Public), UserID: value(c.User),
	}
}

func (c *clientChange) update() issuer.ClientChange {
	change := issuer.ClientChange{
		Name: c.Name, Grants: c.GrantTypes, RedirectURIs: c.RedirectURIs,
		FirstParty: c.FirstParty, ResourceServer: c.ResourceServer, Disabled: c.Disabled,
	}
	if c.Scope != nil {
		scopes := strings.Fields(*c.Scope)
		change.Scopes = &scopes
	}
	if c.AccessTokenLifetime != nil {
		// Beyond what any lifetime may be the product would overflow; the issuer refuses the bound as well.
		lifetime := time.Duration(min(max(*c.AccessTokenLifetime, -1), 1<<33)) * time.Second
		change.AccessTokenLifetime = &lifetime
	}
	return change
}

// value is what p points to, or the zero value.
func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}
