package tests

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/oauth2-passport/caddy-passport/store"
)

// personalSite is a gateway to which people's scripts come with personal access tokens, on two hosts of one issuer.
var personalSite = strings.Replace(sessionSite, "scope read", `client inspector {
			secret {env.DEMO_SECRET}
			grants client_credentials
			resource_server
		}
		client plain {
			secret {env.DEMO_SECRET}
			grants client_credentials
		}
		scope read`, 1)

func TestPersonalAccessToken(t *testing.T) {
	s := startSessions(t, strings.ReplaceAll(personalSite, "{env.DEMO_SECRET}", demoSecret), "")
	token, id := s.personalToken("ada", "read")
	nobody := s.g.Browser()
	bearer := []string{"Authorization", "Bearer " + token}
	for range 2 { // the second time from the cache
		s.want(nobody, 200, "GET", "/api/orders", bearer...)
		got := s.upstream.Last().Header
		if got.Get("X-Passport-Username") != "ada" || got.Get("X-Passport-Client") != "personal_access" ||
			got.Get("X-Passport-Scope") != "read" || got.Get("X-Passport-Issuer") != s.g.URL ||
			got.Get("X-Passport-Subject") == "" || got.Get("Authorization") != "" {
			t.Errorf("the upstream got %v", got)
		}
		s.want(nobody, 403, "GET", "/write/orders", bearer...)
		s.want(nobody, 200, "GET", s.bare+"/orders", bearer...) // it belongs to the issuer, not to the host
		if got := s.upstream.Last().Header.Get("X-Passport-Issuer"); got != s.bare {
			t.Errorf("at the other host the issuer is %q", got)
		}
		s.want(nobody, 401, "GET", s.other+"/orders", bearer...) // of another issuer
	}
	introspect := func(client string) map[string]any {
		t.Helper()
		resp := s.g.Form("/id/introspect", client, demoSecret, url.Values{"token": {token}})
		if resp.Status != http.StatusOK {
			t.Fatalf("introspection: %d %s", resp.Status, resp.Body)
		}
		return resp.JSON()
	}
	if got := introspect("inspector"); got["active"] != true || got["client_id"] != "personal_access" ||
		got["username"] != "ada" || got["scope"] != "read" || got["jti"] != id || got["iss"] != s.g.URL ||
		got["aud"] != s.g.URL {
		t.Errorf("introspection: %v", got)
	}
	if got := introspect("plain"); got["active"] != false {
		t.Errorf("a client that it is not for hears %v", got)
	}
	s.g.Eventually("its last use is recorded", func() bool {
		return s.caddy("token", "show", id)["last_used_at"] != nil
	})
}

func TestPersonalTokenAfterRevocation(t *testing.T) {
	s := startSessions(t, sessionSite, "")
	token, id := s.personalToken("ada", "read")
	other, _ := s.personalToken("ada", "read")
	nobody := s.g.Browser()
	s.want(nobody, 200, "GET", "/api/orders", "Authorization", "Bearer "+token)
	s.caddy("token", "revoke", id)
	for range 2 {
		refused(t, s.want(nobody, 401, "GET", "/api/orders", "Authorization", "Bearer "+token), 401, "invalid_token", "revoked")
	}
	s.want(nobody, 200, "GET", "/api/orders", "Authorization", "Bearer "+other)
	s.g.Restart()
	s.want(nobody, 401, "GET", "/api/orders", "Authorization", "Bearer "+token)
	s.want(nobody, 200, "GET", "/api/orders", "Authorization", "Bearer "+other)
}

func TestPersonalTokenOfDisabledUser(t *testing.T) {
	s := startSessions(t, sessionSite, "")
	token, _ := s.personalToken("ada", "read")
	unseen, _ := s.personalToken("ada", "read")
	nobody := s.g.Browser()
	s.want(nobody, 200, "GET", "/api/orders", "Authorization", "Bearer "+token)
	s.caddy("user", "disable", "ada")
	for _, token := range []string{token, unseen} {
		refused(t, s.want(nobody, 401, "GET", "/api/orders", "Authorization", "Bearer "+token), 401, "invalid_token")
	}
	s.caddy("user", "enable", "ada")
	s.want(nobody, 401, "GET", "/api/orders", "Authorization", "Bearer "+token)
	again, _ := s.personalToken("ada", "read")
	s.want(nobody, 200, "GET", "/api/orders", "Authorization", "Bearer "+again)
	s.caddy("user", "delete", "ada")
	s.want(nobody, 401, "GET", "/api/orders", "Authorization", "Bearer "+again)
}

// TestSecretThatIsNoAccessToken sends everything opaque that is none, and personal access tokens with a typo.
func TestSecretThatIsNoAccessToken(t *testing.T) {
	s := startSessions(t, sessionSite, "")
	token, _ := s.personalToken("ada", "read")
	nobody := s.g.Browser()
	for _, test := range []struct{ name, token, reason string }{
		{"refresh token", store.NewSecret(store.RefreshToken), "no access token"},
		{"code", store.NewSecret(store.AuthorizationCode), "no access token"},
		{"client's secret", store.NewSecret(store.ClientSecret), "no access token"},
		{"session", s.Cookie("passport_session"), "no access token"},
		{"device code", store.NewSecret(store.DeviceCode), "no access token"},
		{"random", store.NewSecret(store.PersonalAccessToken), "unknown"},
		{"typo", token[:20] + string(token[20]^1) + token[21:], "checksum"},
		{"cut", token[:len(token)-1], "checksum"},
		{"longer", token + "0", "checksum"},
		{"lower case", strings.ToLower(token), "checksum"},
	} {
		for _, path := range []string{"/api/1", "/app/1", "/maybe/1"} {
			resp := s.want(nobody, 401, "GET", path, "Authorization", "Bearer "+test.token)
			if refused(t, resp, 401, "invalid_token"); !strings.Contains(resp.String("error_description"), test.reason) {
				t.Errorf("%s at %s: %s", test.name, path, resp.Body)
			}
		}
	}
	s.want(nobody, 200, "GET", "/api/1", "Authorization", "Bearer "+token)
}
