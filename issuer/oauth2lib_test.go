package issuer

import (
	"errors"
	"testing"
	"time"

	"github.com/go-oauth2/oauth2/v4"
	oauth2errors "github.com/go-oauth2/oauth2/v4/errors"

	"github.com/oauth2-passport/caddy-passport/store"
)

// TestManager goes through the library's view of what is kept.
func TestManager(t *testing.T) {
	h := newHouse(t)
	ctx := t.Context()
	m := manager{h.issuer}
	stored, _, err := h.issuer.CreateClient(ctx, store.Client{Name: "stored", Public: true, UserID: h.person("demo").ID})
	if err != nil {
		t.Fatal(err)
	}
	for id, public := range map[string]bool{"orders-sync": false, stored.ID: true} {
		c, err := m.GetClient(ctx, id)
		if err != nil || c.GetID() != id || c.IsPublic() != public || c.GetSecret() != "" {
			t.Errorf("%s: %v, %v", id, c, err)
		}
	}
	_, err = m.GetClient(ctx, "nobody")
	if err != oauth2errors.ErrInvalidClient { //nolint:errorlint // so does the library
		t.Errorf("unknown client: %v", err)
	}

	token := h.tokenFor("orders-sync", "read write")
	info, err := m.LoadAccessToken(ctx, token)
	if err != nil || info.GetClientID() != "orders-sync" || info.GetScope() != "read write" || info.GetUserID() != "" {
		t.Errorf("%v, %v", info, err)
	}
	if err := m.RemoveAccessToken(ctx, token); err != nil || h.good(token) {
		t.Errorf("removed: %v", err)
	}
	if err := m.RemoveAccessToken(ctx, token); err != nil {
		t.Errorf("removed again: %v", err)
	}
	if _, err := m.LoadAccessToken(ctx, token); err != oauth2errors.ErrInvalidAccessToken { //nolint:errorlint // as above
		t.Errorf("revoked token: %v", err)
	}
	if _, err := m.RefreshAccessToken(ctx, &oauth2.TokenGenerateRequest{Refresh: "x"}); err == nil {
		t.Error("who has not proven to be a client refreshes")
	}
}

// TestManagerOfPeople goes through what the library may ask about codes and refresh tokens.
func TestManagerOfPeople(t *testing.T) {
	h, ann := newPeopledHouse(t)
	ctx := t.Context()
	m := manager{h.issuer}
	for name, test := range map[string]struct {
		kind   oauth2.ResponseType
		method oauth2.CodeChallengeMethod
	}{"implicit": {oauth2.Token, oauth2.CodeChallengeS256}, "plain": {oauth2.Code, oauth2.CodeChallengePlain}} {
		_, err := m.GenerateAuthToken(ctx, test.kind, &oauth2.TokenGenerateRequest{
			ClientID: "app", UserID: ann.ID, RedirectURI: testRedirect, CodeChallengeMethod: test.method,
		})
		if err == nil {
			t.Errorf("%s: works", name)
		}
	}
	made, err := m.GenerateAuthToken(ctx, oauth2.Code, &oauth2.TokenGenerateRequest{
		ClientID: "app", UserID: ann.ID, RedirectURI: testRedirect, Scope: "read", CodeChallenge: s256(testVerifier),
		CodeChallengeMethod: oauth2.CodeChallengeS256,
	})
	if err != nil {
		t.Fatal(err)
	}
	g := h.gives(h.askByCode("app", made.GetCode()))
	info, err := m.LoadRefreshToken(ctx, g.refresh)
	if err != nil || info.GetClientID() != "app" || info.GetUserID() != ann.ID || info.GetScope() != "read" ||
		info.GetRefreshExpiresIn() != 30*24*time.Hour {
		t.Errorf("%+v, %v", info, err)
	}
	if err := m.RemoveRefreshToken(ctx, g.refresh); err != nil || h.good(g.access) {
		t.Errorf("removed: %v", err)
	}
	for name, token := range map[string]string{"removed": g.refresh, "unknown": store.NewSecret(store.RefreshToken)} {
		_, err := m.LoadRefreshToken(ctx, token)
		if err != oauth2errors.ErrInvalidRefreshToken { //nolint:errorlint // so does the library
			t.Errorf("%s: %v", name, err)
		}
		if err := m.RemoveRefreshToken(ctx, token); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestLibraryErrors: what the library says becomes what we say, and nothing of it reaches the caller as it is.
func TestLibraryErrors(t *testing.T) {
	h := newHouse(t)
	for said, want := range map[error]string{
		oauth2errors.ErrInvalidRequest:       "invalid_request",
		oauth2errors.ErrUnsupportedGrantType: "unsupported_grant_type",
		oauth2errors.ErrUnauthorizedClient:   "unauthorized_client",
		oauth2errors.ErrInvalidScope:         "invalid_scope",
		oauth2errors.ErrInvalidClient:        "invalid_client",
		oauth2errors.ErrServerError:          "temporarily_unavailable",
		errors.New("anything"):               "temporarily_unavailable",
	} {
		if got := h.issuer.fault(fromLibrary(said), "token", ""); got.Code != want {
			t.Errorf("%v becomes %v, want %s", said, got, want)
		}
	}
}
