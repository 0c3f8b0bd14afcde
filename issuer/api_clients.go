package issuer

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
)

// apiTime is how Laravel writes times.
func apiTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000Z") }

// apiClient is a client as Laravel Passport has it. Older versions of it have redirect, newer ones redirect_uris.
type apiClient struct {
	ID             string   `json:"id"`
	UserID         *string  `json:"user_id"` // null: the operator's
	Name           string   `json:"name"`
	Provider       *string  `json:"provider"` // always null: an issuer has its own people
	Redirect       string   `json:"redirect"` // separated by commas
	RedirectURIs   []string `json:"redirect_uris"`
	GrantTypes     []string `json:"grant_types"`
	PersonalAccess bool     `json:"personal_access_client"`
	Password       bool     `json:"password_client"`
	Confidential   bool     `json:"confidential"`
	Revoked        bool     `json:"revoked"`
	CreatedAt      string   `json:"created_at,omitempty"`
	UpdatedAt      string   `json:"updated_at,omitempty"`

	// Told this once, when the client is made.
	Secret      string `json:"secret,omitempty"`
	PlainSecret string `json:"plainSecret,omitempty"`
}

func apiClientOf(c *store.Client) *apiClient {
	out := &apiClient{
		ID: c.ID, Name: c.Name, Redirect: strings.Join(c.RedirectURIs, ","), RedirectURIs: c.RedirectURIs,
		GrantTypes: c.Grants, Confidential: !c.Public, Revoked: c.Disabled,
	}
	if out.RedirectURIs == nil {
		out.RedirectURIs = []string{}
	}
	if out.GrantTypes == nil {
		out.GrantTypes = []string{}
	}
	for _, grant := range c.Grants {
		out.Password = out.Password || grant == passwordGrant.name
	}
	if c.UserID != "" {
		out.UserID = &c.UserID
	}
	if !c.CreatedAt.IsZero() {
		out.CreatedAt, out.UpdatedAt = apiTime(c.CreatedAt), apiTime(c.UpdatedAt)
	}
	return out
}

// listOwnClients answers GET /clients.
func (e *endpoints) listOwnClients(r *http.Request, c *apiCaller, _ apiFields) (int, any, error) {
	own, err := e.ownClients(r.Context(), c.user.ID)
	list := make([]*apiClient, 0, len(own))
	for i := range own {
		if !own[i].Disabled {
			list = append(list, apiClientOf(&own[i]))
		}
	}
	return http.StatusOK, list, err
}

// ownClientOf reads what a call says of a client.
func ownClientOf(fields apiFields) (ownClient, error) {
	problems := make(map[string]string)
	n := ownClient{name: fields.text("name", problems)}
	if fields["redirect_uris"] != nil {
		n.redirectURIs = fields.list("redirect_uris", problems)
	} else if redirect, ok := fields["redirect"].(string); ok {
		n.redirectURIs = fieldsOf(redirect)
	}
	n.public = !fields.flag("confidential", true, problems)
	if len(n.redirectURIs) == 0 && problems["redirect_uris"] == "" {
		problems["redirect"] = "The redirect field is required."
	}
	if len(problems) > 0 {
		return n, invalidFields(problems)
	}
	return n, nil
}

// storeOwnClient answers POST /clients.
func (e *endpoints) storeOwnClient(r *http.Request, c *apiCaller, fields apiFields) (int, any, error) {
	n, err := ownClientOf(fields)
	if err != nil {
		return 0, nil, err
	}
	made, secret, err := e.createOwnClient(r.Context(), c.user, n, c.within)
	if err != nil {
		return 0, nil, err
	}
	answer := apiClientOf(&made.Client)
	answer.Secret, answer.PlainSecret = secret, secret
	return http.StatusCreated, answer, nil
}

// changeOwnClient answers PUT /clients/{id}.
func (e *endpoints) changeOwnClient(r *http.Request, c *apiCaller, fields apiFields) (int, any, error) {
	id := r.PathValue("id")
	own, err := e.ownClient(r.Context(), c.user.ID, id)
	if err != nil {
		return 0, nil, err
	}
	// Who may say where a client's answers go may have all that people give to the client.
	known := e.scopes.load()
	refused := func(name string) bool { return !c.mayGive(known, name) }
	if c.within != nil && (len(own.Scopes) == 0 || slices.ContainsFunc(own.Scopes, refused)) {
		return 0, nil, errAPIScope
	}
	n, err := ownClientOf(fields)
	if err != nil {
		return 0, nil, err
	}
	changed, err := e.updateOwnClient(r.Context(), c.user.ID, id, n)
	return http.StatusOK, apiClientOf(&changed.Client), err
}

// destroyOwnClient answers DELETE /clients/{id}.
func (e *endpoints) destroyOwnClient(r *http.Request, c *apiCaller, _ apiFields) (int, any, error) {
	return http.StatusNoContent, nil, e.deleteOwnClient(r.Context(), c.user.ID, r.PathValue("id"))
}
