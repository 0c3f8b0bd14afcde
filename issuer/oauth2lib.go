package issuer

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/go-oauth2/oauth2/v4"
	oauth2errors "github.com/go-oauth2/oauth2/v4/errors"
	"github.com/go-oauth2/oauth2/v4/models"
	"github.com/go-oauth2/oauth2/v4/server"

	"github.com/oauth2-passport/caddy-passport/store"
)

// library is go-oauth2's server before a manager of ours. It checks the parameters of a grant, calls the manager and
// says what the answer holds. Who the client is and whether it may use the grant is settled before: the library takes
// credentials from the query string too, and answers a grant that it does not know with the wrong error.
type library struct{ server *server.Server }

func newLibrary(i *Issuer) library {
	config := &server.Config{TokenType: "Bearer"}
	for _, g := range i.grants {
		if !g.beside {
			config.AllowedGrantTypes = append(config.AllowedGrantTypes, oauth2.GrantType(g.wire))
		}
	}
	s := server.NewServer(config, manager{i})
	s.ClientInfoHandler = func(r *http.Request) (string, string, error) {
		return requestOf(r.Context()).client.ID, "", nil
	}
	s.PasswordAuthorizationHandler = func(ctx context.Context, _, username, password string) (string, error) {
		req := requestOf(ctx)
		var err error
		if req.user, err = i.signInBy(ctx, req, username, password); err != nil {
			return "", err
		}
		return req.user.ID, nil
	}
	s.ClientScopeHandler = func(tgr *oauth2.TokenGenerateRequest) (bool, error) {
		return true, i.decideScope(requestOf(tgr.Request.Context()), tgr.Scope)
	}
	return library{s}
}

// decideScope sets what the token will hold.
func (i *Issuer) decideScope(req *tokenRequest, asked string) error {
	names, fault := parseScope(asked)
	if fault != nil {
		return fault
	}
	known := i.scopes.load()
	if req.user != nil {
		req.scopes, fault = known.scopesForUser(req.client, req.user, names, req.grant.anyScope)
	} else {
		req.scopes, fault = known.scopesFor(req.client, names, req.grant.anyScope)
	}
	if fault != nil {
		return fault
	}
	return nil
}

type requestKey struct{}

// requestOf is the request that the library answers; nil outside of one.
func requestOf(ctx context.Context) *tokenRequest {
	req, _ := ctx.Value(requestKey{}).(*tokenRequest)
	return req
}

// token lets the library answer a token request, and returns the body of the answer (RFC 6749 §5.1).
func (l library) token(ctx context.Context, req *tokenRequest) ([]byte, error) {
	info, err := l.access(context.WithValue(ctx, requestKey{}, req), req)
	if err != nil {
		return nil, fromLibrary(err)
	}
	return appendAnswer(make([]byte, 0, 1024), l.server.GetTokenData(info)), nil
}

// access lets the library check the request and call the manager. A grant that it does not know goes to the manager
// alone.
func (l library) access(ctx context.Context, req *tokenRequest) (oauth2.TokenInfo, error) {
	if req.grant.beside {
		return l.server.Manager.GenerateAccessToken(ctx, oauth2.GrantType(req.grant.wire), nil)
	}
	// The library reads the parameters of a request, those of the query too. It gets one that has only ours.
	values := req.form.forLibrary()
	if req.grant == authorizationCode && values["redirect_uri"] == nil {
		// The library wants one always, RFC 6749 §4.1.3 only where the authorization request had one: see checkCode.
		values["redirect_uri"] = []string{"none"}
	}
	r := (&http.Request{Method: http.MethodPost, Form: values}).WithContext(ctx)
	grantType, tgr, err := l.server.ValidationTokenRequest(r)
	if err != nil {
		return nil, err
	}
	return l.server.GetAccessToken(ctx, grantType, tgr)
}

// readByLibrary are the parameters that the library reads.
var readByLibrary = []string{
	"grant_type", "scope", "code", "redirect_uri", "code_verifier", "username", "password", "refresh_token",
}

func (f form) forLibrary() url.Values {
	values := make(url.Values, 4)
	for _, name := range readByLibrary {
		if value := f.get(name); value != "" {
			values[name] = []string{value}
		}
	}
	return values
}

// appendAnswer appends what the library put together as JSON, the members in the order of RFC 6749 §5.1.
func appendAnswer(body []byte, data map[string]any) []byte {
	body = append(body, '{')
	for _, name := range []string{"access_token", "token_type", "expires_in", "refresh_token", "scope"} {
		switch value := data[name].(type) {
		case string:
			body = appendMember(body, name, value)
		case int64:
			body = appendNumber(body, name, value)
		}
	}
	return append(body, "}\n"...)
}

// libraryErrors are the errors of the library and ours that mean the same.
var libraryErrors = map[error]*Error{
	oauth2errors.ErrInvalidRequest:       errParameterMissing,
	oauth2errors.ErrInvalidGrant:         errGrantNotGood,
	oauth2errors.ErrUnsupportedGrantType: errGrantUnknown,
	oauth2errors.ErrUnauthorizedClient:   errGrantRefused,
	oauth2errors.ErrInvalidScope:         errScopeNotAllowed,
	oauth2errors.ErrInvalidClient:        errInvalidClient,
}

func fromLibrary(err error) error {
	if fault := libraryErrors[err]; fault != nil {
		return fault
	}
	return err
}

// manager is the library's view of what is kept. The library compares errors with ==, so that the manager answers
// its sentinels unwrapped.
type manager struct{ issuer *Issuer }

// GetClient answers a client, configured or stored.
func (m manager) GetClient(ctx context.Context, id string) (oauth2.ClientInfo, error) {
	client := m.issuer.clients[id]
	if client == nil {
		var err error
		if client, err = m.issuer.storedClient(ctx, id); err != nil {
			return nil, err
		}
	}
	if client == nil || client.Disabled {
		return nil, oauth2errors.ErrInvalidClient
	}
	return clientInfo{client}, nil
}

// GenerateAccessToken does what the request's grant does.
func (m manager) GenerateAccessToken(ctx context.Context, _ oauth2.GrantType, _ *oauth2.TokenGenerateRequest) (
	oauth2.TokenInfo, error,
) {
	req := requestOf(ctx)
	if req == nil {
		return nil, oauth2errors.ErrInvalidClient // nobody has proven to be one
	}
	given, err := req.grant.issue(m.issuer, ctx, req)
	if err != nil {
		return nil, err
	}
	return &models.Token{
		ClientID:        given.token.ClientID,
		UserID:          given.token.UserID,
		Scope:           strings.Join(given.token.Scopes, " "),
		Access:          given.access,
		AccessCreateAt:  given.token.IssuedAt,
		AccessExpiresIn: given.lifetime(),
		Refresh:         given.refresh,
	}, nil
}

// RefreshAccessToken does what the grant refresh_token does.
func (m manager) RefreshAccessToken(ctx context.Context, tgr *oauth2.TokenGenerateRequest) (oauth2.TokenInfo, error) {
	return m.GenerateAccessToken(ctx, oauth2.Refreshing, tgr)
}

// GenerateAuthToken makes a code for a person who has said yes. The authorization endpoint does not call it: there the
// consent is written in the same Update.
func (m manager) GenerateAuthToken(ctx context.Context, rt oauth2.ResponseType, tgr *oauth2.TokenGenerateRequest) (
	oauth2.TokenInfo, error,
) {
	if rt != oauth2.Code || tgr.CodeChallengeMethod == oauth2.CodeChallengePlain {
		return nil, oauth2errors.ErrUnsupportedResponseType
	}
	scopes, fault := parseScope(tgr.Scope)
	if fault != nil {
		return nil, oauth2errors.ErrInvalidScope
	}
	now := m.issuer.db.Now()
	code := ""
	err := m.issuer.db.Update(ctx, func(r *store.Records) (err error) {
		code, err = m.issuer.newCode(r, store.Code{
			ClientID: tgr.ClientID, UserID: tgr.UserID, Issuer: m.issuer.config.Identifier, RedirectURI: tgr.RedirectURI,
			RedirectSent: tgr.RedirectURI != "", Scopes: scopes, Challenge: tgr.CodeChallenge, AuthenticatedAt: now,
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	return &models.Token{
		ClientID: tgr.ClientID, UserID: tgr.UserID, RedirectURI: tgr.RedirectURI, Scope: tgr.Scope,
		Code: code, CodeCreateAt: now, CodeExpiresIn: m.issuer.config.Lifetimes.AuthorizationCode,
	}, nil
}

// LoadAccessToken answers what an access token holds that is good.
func (m manager) LoadAccessToken(ctx context.Context, access string) (oauth2.TokenInfo, error) {
	id, err := m.issuer.identify(ctx, access)
	if err != nil {
		return nil, err
	}
	if id == nil {
		return nil, oauth2errors.ErrInvalidAccessToken
	}
	return &models.Token{
		ClientID:        id.ClientID,
		UserID:          id.UserID,
		Scope:           id.Scope,
		Access:          access,
		AccessCreateAt:  id.IssuedAt,
		AccessExpiresIn: id.ExpiresAt.Sub(id.IssuedAt),
	}, nil
}

// LoadRefreshToken answers what a refresh token stands for that has not been used.
func (m manager) LoadRefreshToken(ctx context.Context, refresh string) (oauth2.TokenInfo, error) {
	known, err := m.issuer.knownRefreshToken(ctx, refresh)
	if err != nil {
		return nil, err
	}
	if known == nil {
		return nil, oauth2errors.ErrInvalidRefreshToken
	}
	return &models.Token{
		ClientID:         known.family.ClientID,
		UserID:           known.family.UserID,
		Scope:            strings.Join(known.family.Scopes, " "),
		Refresh:          refresh,
		RefreshCreateAt:  known.family.UsedAt,
		RefreshExpiresIn: known.expires.Sub(known.family.UsedAt),
	}, nil
}

// RemoveAccessToken revokes an access token; one that is not good is none.
func (m manager) RemoveAccessToken(ctx context.Context, access string) error {
	id, err := m.issuer.identify(ctx, access)
	if err != nil || id == nil {
		return err
	}
	err = m.issuer.RevokeToken(ctx, id.TokenID)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}

// RemoveRefreshToken revokes the family of a refresh token; one that is not known has none.
func (m manager) RemoveRefreshToken(ctx context.Context, refresh string) error {
	return m.issuer.revokeRefreshToken(ctx, "", refresh)
}

// clientInfo is a client as the library sees it. It never sees a secret.
type clientInfo struct{ client *store.Client }

func (c clientInfo) GetID() string     { return c.client.ID }
func (c clientInfo) GetSecret() string { return "" }
func (c clientInfo) GetDomain() string { return "" }
func (c clientInfo) IsPublic() bool    { return c.client.Public }
func (c clientInfo) GetUserID() string { return c.client.UserID }

// Interface guards
var (
	_ oauth2.Manager    = manager{}
	_ oauth2.ClientInfo = clientInfo{}
)
