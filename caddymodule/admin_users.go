package caddymodule

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/oauth2-passport/caddy-passport/issuer"
	"github.com/oauth2-passport/caddy-passport/store"
)

// userView is what the admin API answers of a person; times are seconds since 1970. The names are those of OpenID
// Connect where it has one.
type userView struct {
	ID         string  `json:"sub,omitempty"` // absent: a person of the config who has never been here
	Username   string  `json:"username"`
	Email      string  `json:"email,omitempty"`
	Name       string  `json:"name,omitempty"`
	Scope      *string `json:"scope,omitempty"` // all that the person may have; absent: every scope that is not restricted
	Disabled   bool    `json:"disabled"`
	Source     string  `json:"source"`         // where it is kept: "config", "storage", or the name of a source of people
	Gone       bool    `json:"gone,omitempty"` // there is no such person any more where it is kept
	CreatedAt  int64   `json:"created_at,omitempty"`
	SignedInAt int64   `json:"signed_in_at,omitempty"`
}

// userWithPassword is what is answered once, when a password is made.
type userWithPassword struct {
	userView
	Password string `json:"password,omitempty"`
}

type userList struct {
	Users []userView `json:"users"`
	More  bool       `json:"more"` // there are more than the limit
}

// userChange is what the admin API takes: of a new account, or to change a person. What is absent is left as it is.
type userChange struct {
	Email     *string `json:"email,omitempty"`
	Name      *string `json:"name,omitempty"`
	Scope     *string `json:"scope,omitempty"`      // empty: none
	AllScopes bool    `json:"all_scopes,omitempty"` // every scope that is not restricted
	Disabled  *bool   `json:"disabled,omitempty"`   // not of a new account

	// Of a new account only. Without a password and a hash a password is made.
	Username     string `json:"username,omitempty"`
	Password     string `json:"password,omitempty"`
	PasswordHash string `json:"password_hash,omitempty"`
}

type passwordRequest struct {
	Password string `json:"password,omitempty"` // absent: one is made
}

func userViewOf(u issuer.UserInfo) userView {
	v := userView{
		ID: u.ID, Username: u.Name, Email: u.Email, Name: u.DisplayName, Disabled: u.Disabled, Source: u.Source,
		Gone: !u.Known,
	}
	if u.Limited {
		scope := strings.Join(u.Scopes, " ")
		v.Scope = &scope
	}
	if v.Source == "" {
		v.Source = "storage"
	}
	if !u.CreatedAt.IsZero() {
		v.CreatedAt = u.CreatedAt.Unix()
	}
	if !u.SignedInAt.IsZero() {
		v.SignedInAt = u.SignedInAt.Unix()
	}
	return v
}

func listUsers(r *http.Request, i *running) (any, error) {
	limit, err := limitOf(r)
	if err != nil {
		return nil, err
	}
	filter := issuer.UserFilter{After: r.URL.Query().Get("after"), Limit: limit + 1}
	users, err := i.issuer.Users(r.Context(), filter)
	if err != nil {
		return nil, err
	}
	answer := userList{Users: make([]userView, 0, len(users)), More: len(users) > limit}
	for _, u := range users[:min(limit, len(users))] {
		answer.Users = append(answer.Users, userViewOf(u))
	}
	return answer, nil
}

// limitOf reads how many records of a list are asked for.
func limitOf(r *http.Request) (int, error) {
	text := r.URL.Query().Get("limit")
	if text == "" {
		return defaultTokens, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > maxTokens {
		return 0, badRequest("limit %q is no number from 1 to %d", text, maxTokens)
	}
	return n, nil
}

func createUser(r *http.Request, i *running) (any, error) {
	var change userChange
	if err := readBody(r, &change); err != nil {
		return nil, err
	}
	if change.Disabled != nil {
		return nil, badRequest("disabled: a new account is not; disable it later")
	}
	if change.PasswordHash != "" {
		if err := issuer.CheckPasswordHash(change.PasswordHash); err != nil {
			return nil, statusError{http.StatusBadRequest, err}
		}
	}
	info, password, err := i.issuer.CreateUser(r.Context(), change.newUser())
	if err != nil {
		return nil, err
	}
	return created{userWithPassword{userView: userViewOf(info), Password: password}}, nil
}

// newUser is the account that c asks for.
func (c *userChange) newUser() issuer.NewUser {
	return issuer.NewUser{
		Name: c.Username, Email: value(c.Email), DisplayName: value(c.Name),
		Limited: c.Scope != nil, Scopes: strings.Fields(value(c.Scope)),
		Password: c.Password, PasswordHash: c.PasswordHash,
	}
}

func showUser(r *http.Request, i *running) (any, error) {
	info, err := i.issuer.User(r.Context(), r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	return userViewOf(info), nil
}

func updateUser(r *http.Request, i *running) (any, error) {
	var change userChange
	if err := readBody(r, &change); err != nil {
		return nil, err
	}
	if change.Username != "" || change.Password != "" || change.PasswordHash != "" {
		return nil, badRequest("a username stays what it is, and a password has a path of its own")
	}
	update := issuer.UserChange{
		Email: change.Email, DisplayName: change.Name, AllScopes: change.AllScopes, Disabled: change.Disabled,
	}
	if change.Scope != nil {
		scopes := strings.Fields(*change.Scope)
		update.Scopes = &scopes
	}
	info, err := i.issuer.UpdateUser(r.Context(), r.PathValue("id"), update)
	if err != nil {
		return nil, err
	}
	return userViewOf(info), nil
}

func deleteUser(r *http.Request, i *running) (any, error) {
	return nil, i.issuer.DeleteUser(r.Context(), r.PathValue("id"))
}

func setPassword(r *http.Request, i *running) (any, error) {
	var request passwordRequest
	if err := readBody(r, &request); err != nil {
		return nil, err
	}
	info, password, err := i.issuer.SetPassword(r.Context(), r.PathValue("id"), request.Password)
	if err != nil {
		return nil, err
	}
	return userWithPassword{userView: userViewOf(info), Password: password}, nil
}

// newTokenRequest asks for a personal access token.
type newTokenRequest struct {
	User      string `json:"user"` // name or ID
	Name      string `json:"name"`
	Scope     string `json:"scope,omitempty"`
	ExpiresIn int64  `json:"expires_in,omitempty"` // seconds; absent: what the issuer's lifetimes say
}

// newToken is what is answered once, when a personal access token is made.
type newToken struct {
	AccessToken string `json:"access_token"`
	TokenType   string `json:"token_type"`
	ExpiresIn   int64  `json:"expires_in"`
	tokenView
}

func createToken(r *http.Request, i *running) (any, error) {
	var request newTokenRequest
	if err := readBody(r, &request); err != nil {
		return nil, err
	}
	user, err := i.issuer.User(r.Context(), request.User)
	if err != nil {
		return nil, err
	}
	// Beyond what any lifetime may be the product would overflow; the issuer refuses the bound as well.
	lifetime := time.Duration(min(max(request.ExpiresIn, -1), 1<<33)) * time.Second
	scopes := strings.Fields(request.Scope)
	secret, t, err := i.issuer.CreatePersonalToken(r.Context(), user.ID, request.Name, scopes, lifetime)
	if err != nil {
		return nil, err
	}
	view, err := tokenViewOf(r.Context(), i, *t)
	if err != nil {
		return nil, err
	}
	return created{newToken{
		AccessToken: secret, TokenType: "Bearer", ExpiresIn: int64(t.ExpiresAt.Sub(t.IssuedAt) / time.Second),
		tokenView: view,
	}}, nil
}

// userID is the ID of the person that a name or an ID means; empty for none.
func (r *running) userID(ctx context.Context, nameOrID string) (string, error) {
	if nameOrID == "" {
		return "", nil
	}
	if _, isID := store.IDTime(nameOrID); isID {
		return nameOrID, nil // also of a person who is gone
	}
	u, err := r.issuer.User(ctx, nameOrID)
	return u.ID, err
}
