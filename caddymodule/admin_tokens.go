package caddymodule

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/oauth2-passport/caddy-passport/issuer"
	"github.com/oauth2-passport/caddy-passport/issuer/verify"
	"github.com/oauth2-passport/caddy-passport/store"
)

// tokenView is what the admin API answers of an access token; times are seconds since 1970.
type tokenView struct {
	ID        string   `json:"jti"`
	ClientID  string   `json:"client_id"`
	Subject   string   `json:"sub"`
	Issuer    string   `json:"iss,omitempty"`
	Name      string   `json:"name,omitempty"` // of a personal access token
	Scope     string   `json:"scope"`
	Audience  []string `json:"aud"`
	IssuedAt  int64    `json:"iat"`
	ExpiresAt int64    `json:"exp"`
	UsedAt    int64    `json:"last_used_at,omitempty"` // of a personal access token, to the minute
	RevokedAt int64    `json:"revoked_at,omitempty"`
	KeyID     string   `json:"kid,omitempty"`
	Active    bool     `json:"active"`
	Reason    string   `json:"reason,omitempty"` // why it is not
}

type tokenList struct {
	Tokens []tokenView `json:"tokens"`
	More   bool        `json:"more"` // there are more than the limit
}

type inspectRequest struct {
	Token string `json:"token"`
}

// inspection is what can be said of a token that somebody has at hand.
type inspection struct {
	Active bool           `json:"active"`
	Reason string         `json:"reason,omitempty"` // why it is not
	Claims map[string]any `json:"claims,omitempty"` // what it says; true only when it is active
	Token  *tokenView     `json:"token,omitempty"`  // what is kept of it
}

type purgeRequest struct {
	Revoked bool `json:"revoked,omitempty"`
	Expired bool `json:"expired,omitempty"` // these vanish by themselves: alone it has nothing to remove
	Hours   int  `json:"hours,omitempty"`
}

type purgeAnswer struct {
	Purged int `json:"purged"`
}

// Bounds of a list of tokens.
const (
	defaultTokens = 100
	maxTokens     = 10_000
)

// tokenViewOf is the view of a token's record, with what becomes of who sends the token now.
func tokenViewOf(ctx context.Context, i *running, t store.Token) (tokenView, error) {
	v := tokenView{
		ID: t.ID, KeyID: t.KeyID, ClientID: t.ClientID, Subject: t.UserID, Issuer: t.Issuer, Name: t.Name,
		Scope:    strings.Join(t.Scopes, " "),
		Audience: t.Audience, IssuedAt: t.IssuedAt.Unix(), ExpiresAt: t.ExpiresAt.Unix(),
	}
	if v.Subject == "" {
		v.Subject = t.ClientID // RFC 9068 §2.2: the client acts for itself
	}
	if !t.LastUsedAt.IsZero() {
		v.UsedAt = t.LastUsedAt.Unix()
	}
	if !t.RevokedAt.IsZero() {
		v.RevokedAt = t.RevokedAt.Unix()
	}
	refused := i.verifier.Recorded(ctx, &t)
	why, ok := errors.AsType[*verify.Error](refused)
	if refused != nil && !ok {
		return v, refused
	}
	if v.Active = refused == nil; !v.Active {
		v.Reason = why.Description
	}
	return v, nil
}

func listTokens(r *http.Request, i *running) (any, error) {
	query := r.URL.Query()
	limit, err := limitOf(r)
	if err != nil {
		return nil, err
	}
	user, err := i.userID(r.Context(), query.Get("user"))
	if err != nil {
		return nil, err
	}
	tokens, err := i.issuer.Tokens(r.Context(), issuer.TokenFilter{
		ClientID: query.Get("client_id"), UserID: user, After: query.Get("after"), Limit: limit + 1,
	})
	if err != nil {
		return nil, err
	}
	answer := tokenList{Tokens: make([]tokenView, 0, len(tokens)), More: len(tokens) > limit}
	for _, t := range tokens[:min(limit, len(tokens))] {
		v, err := tokenViewOf(r.Context(), i, t)
		if err != nil {
			return nil, err
		}
		answer.Tokens = append(answer.Tokens, v)
	}
	return answer, nil
}

func showToken(r *http.Request, i *running) (any, error) {
	t, err := i.issuer.Token(r.Context(), r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	return tokenViewOf(r.Context(), i, *t)
}

func revokeToken(r *http.Request, i *running) (any, error) {
	return nil, i.issuer.RevokeToken(r.Context(), r.PathValue("id"))
}

func inspectToken(r *http.Request, i *running) (any, error) {
	var request inspectRequest
	if err := readBody(r, &request); err != nil {
		return nil, err
	}
	found, err := i.issuer.InspectToken(r.Context(), request.Token)
	if err != nil {
		return nil, err
	}
	answer := inspection{Active: found.Active, Reason: found.Reason, Claims: found.Claims}
	if found.Record != nil {
		v, err := tokenViewOf(r.Context(), i, *found.Record)
		if err != nil {
			return nil, err
		}
		answer.Token = &v
	}
	return answer, nil
}

func purge(r *http.Request, i *running) (any, error) {
	var request purgeRequest
	if err := readBody(r, &request); err != nil {
		return nil, err
	}
	if request.Hours < 0 || request.Hours > 100*365*24 {
		return nil, badRequest("hours: %d is less than none, or more than a hundred years", request.Hours)
	}
	n, err := i.issuer.Purge(r.Context(), issuer.PurgeFilter{
		Revoked: request.Revoked || !request.Expired,
		Age:     time.Duration(request.Hours) * time.Hour,
	})
	if err != nil {
		return nil, err
	}
	return purgeAnswer{Purged: n}, nil
}
