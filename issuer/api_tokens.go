package issuer

import (
	"errors"
	"net/http"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
)

// apiToken is an access token as Laravel Passport has it.
type apiToken struct {
	ID         string     `json:"id"`
	UserID     string     `json:"user_id"`
	ClientID   string     `json:"client_id"`
	Name       *string    `json:"name"` // of a personal access token only
	Scopes     []string   `json:"scopes"`
	Revoked    bool       `json:"revoked"`
	CreatedAt  string     `json:"created_at"`
	UpdatedAt  string     `json:"updated_at"`
	ExpiresAt  string     `json:"expires_at"`
	LastUsedAt *string    `json:"last_used_at,omitempty"` // of a personal access token that has been used
	Client     *apiClient `json:"client,omitempty"`
}

func apiTokenOf(t *store.Token) *apiToken {
	out := newAPIToken(t.ID, t.UserID, t.ClientID, t.Scopes, t.IssuedAt, t.ExpiresAt)
	if t.Personal {
		out.Name = &t.Name
		out.Client = &apiClient{
			ID: PersonalAccessClient, Name: "Personal access tokens", RedirectURIs: []string{},
			GrantTypes: []string{personalAccess}, PersonalAccess: true,
		}
		if !t.LastUsedAt.IsZero() {
			used := apiTime(t.LastUsedAt)
			out.LastUsedAt = &used
		}
	}
	return out
}

func newAPIToken(id, userID, clientID string, scopes []string, made, expires time.Time) *apiToken {
	if scopes == nil {
		scopes = []string{}
	}
	return &apiToken{
		ID: id, UserID: userID, ClientID: clientID, Scopes: scopes, CreatedAt: apiTime(made), UpdatedAt: apiTime(made),
		ExpiresAt: apiTime(expires),
	}
}

// listTokens answers GET /tokens: what other people's apps have in the person's name. Each authorization is there once,
// by its newest access token or, where that has expired and it can be refreshed, by its own ID.
func (e *endpoints) listTokens(r *http.Request, c *apiCaller, _ apiFields) (int, any, error) {
	done, err := e.turnOf(r.Context(), turnToList, c.user.ID)
	if err != nil {
		return 0, nil, err
	}
	defer done()
	var list []*apiToken
	err = e.db.View(r.Context(), func(records *store.Records) error {
		grants, err := grantsOf(records, c.user)
		if err != nil {
			return err
		}
		list = make([]*apiToken, 0, len(grants))
		var client *store.Client // of the last one: they are listed by client
		for _, g := range grants {
			if client == nil || client.ID != g.family.ClientID {
				client, _, err = e.clientAndOwner(records, g.family.ClientID)
			}
			if errors.Is(err, store.ErrNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			if client.FirstParty {
				continue
			}
			newest, err := newestToken(records, c.user, &g.family)
			if err != nil {
				return err
			}
			f := g.family
			t := newAPIToken(f.ID, f.UserID, f.ClientID, f.Scopes, f.CreatedAt, f.ExpiresAt)
			if newest != nil {
				t = apiTokenOf(newest)
			}
			t.Client = apiClientOf(client)
			list = append(list, t)
		}
		return nil
	})
	return http.StatusOK, list, err
}

// destroyToken answers DELETE /tokens/{id}: the access token, and what it can be refreshed by.
func (e *endpoints) destroyToken(r *http.Request, c *apiCaller, _ apiFields) (int, any, error) {
	return http.StatusNoContent, nil, e.revokeGrant(r.Context(), c.user, r.PathValue("id"))
}

// listPersonalTokens answers GET /personal-access-tokens.
func (e *endpoints) listPersonalTokens(r *http.Request, c *apiCaller, _ apiFields) (int, any, error) {
	tokens, err := e.PersonalTokens(r.Context(), c.user.ID)
	list := make([]*apiToken, 0, len(tokens))
	for i := range tokens {
		if c.user.Stands(madeAt(&tokens[i])) {
			list = append(list, apiTokenOf(&tokens[i]))
		}
	}
	return http.StatusOK, list, err
}

// storePersonalToken answers POST /personal-access-tokens. Beside Laravel's members it takes expires_in, in seconds.
func (e *endpoints) storePersonalToken(r *http.Request, c *apiCaller, fields apiFields) (int, any, error) {
	problems := make(map[string]string)
	name, scopes := fields.text("name", problems), fields.list("scopes", problems)
	lifetime := fields.seconds("expires_in", problems)
	known := e.scopes.load()
	for _, scope := range scopes {
		if !c.mayGive(known, scope) {
			problems["scopes"] = "The selected scopes is invalid: the token of this request cannot give it."
		}
	}
	if len(problems) > 0 {
		return 0, nil, invalidFields(problems)
	}
	secret, t, err := e.CreatePersonalToken(r.Context(), c.user.ID, name, scopes, lifetime)
	if err != nil {
		return 0, nil, err
	}
	made := apiTokenOf(t)
	made.Client = nil
	return http.StatusOK, map[string]any{"accessToken": secret, "token": made}, nil
}

// destroyPersonalToken answers DELETE /personal-access-tokens/{id}.
func (e *endpoints) destroyPersonalToken(r *http.Request, c *apiCaller, _ apiFields) (int, any, error) {
	return http.StatusNoContent, nil, e.RevokePersonalToken(r.Context(), c.user.ID, r.PathValue("id"))
}
