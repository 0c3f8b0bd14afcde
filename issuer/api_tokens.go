package issuer

import (
	"errors"
	"net/http"

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
	out := &apiToken{
		ID: t.ID, UserID: t.UserID, ClientID: t.ClientID, Scopes: apiScopes(t.Scopes), CreatedAt: apiTime(t.IssuedAt),
		UpdatedAt: apiTime(t.IssuedAt), ExpiresAt: apiTime(t.ExpiresAt),
	}
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

// apiGrantOf tells of an authorization by its newest access token (nil: it has none that is good).
func apiGrantOf(f *store.Family, newest *store.Token, c *store.Client) *apiToken {
	if newest == nil {
		newest = &store.Token{
			ID: f.ID, UserID: f.UserID, ClientID: f.ClientID, Scopes: f.Scopes, IssuedAt: f.CreatedAt, ExpiresAt: f.ExpiresAt,
		}
	}
	out := apiTokenOf(newest)
	out.Client = apiClientOf(c)
	return out
}

// apiScopes is never null: Laravel's front ends iterate over it.
func apiScopes(scopes []string) []string {
	if scopes == nil {
		return []string{}
	}
	return scopes
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
		for _, f := range grants {
			if client == nil || client.ID != f.ClientID {
				client, _, err = e.clientAndOwner(records, f.ClientID)
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
			newest, err := newestToken(records, c.user, &f)
			if err != nil {
				return err
			}
			list = append(list, apiGrantOf(&f, newest, client))
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
