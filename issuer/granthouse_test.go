package issuer

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
)

const (
	testRedirect = "https://app.example/cb"
	testVerifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk" // RFC 7636 appendix B
)

func s256(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// peopled adds clients that people use, and lets all grants be on.
func peopled(c *Config) {
	c.Grants = KnownGrants()
	all := []string{"authorization_code", "refresh_token", "device_code", "password"}
	secret := store.HashSecret(testSecret)
	uris := []string{testRedirect}
	c.Clients = append(c.Clients,
		store.Client{ID: "app", Public: true, Grants: all, RedirectURIs: uris},
		store.Client{ID: "site", SecretHash: secret, Grants: all, RedirectURIs: uris},
		store.Client{ID: "other", SecretHash: secret, Grants: all, RedirectURIs: uris},
		store.Client{
			ID: "once", SecretHash: secret, RedirectURIs: uris,
			Grants: []string{"authorization_code", "device_code", "password", "implicit"},
		},
		store.Client{ID: "narrow", SecretHash: secret, Grants: all, RedirectURIs: uris, Scopes: []string{"read"}},
		store.Client{ID: "wide", SecretHash: secret, Grants: all, RedirectURIs: uris, Scopes: []string{"*"}},
	)
}

// person adds somebody with an account. Without scopes it may have every one that is not restricted.
func (h *house) person(name string, scopes ...string) *store.User {
	h.t.Helper()
	u := &store.User{Name: name, Limited: scopes != nil, Scopes: scopes}
	h.update(func(r *store.Records) error {
		u.ID = store.NewID(r.Now())
		return r.PutUser(u)
	})
	return u
}

func (h *house) update(fn func(*store.Records) error) {
	h.t.Helper()
	if err := h.db.Update(h.t.Context(), fn); err != nil {
		h.t.Fatal(err)
	}
}

// code is a code as the authorization endpoint makes it for a client, with the challenge of testVerifier.
func (h *house) code(client string, u *store.User, scopes string, change ...func(*store.Code)) (code string) {
	h.t.Helper()
	c := store.Code{
		ClientID: client, UserID: u.ID, Issuer: testIdentifier, RedirectURI: testRedirect, RedirectSent: true,
		Scopes: strings.Fields(scopes), Challenge: s256(testVerifier), AuthenticatedAt: h.db.Now().Add(-time.Minute),
	}
	for _, fn := range change {
		fn(&c)
	}
	h.update(func(r *store.Records) (err error) {
		code, err = h.issuer.newCode(r, c)
		return err
	})
	return code
}

// ask is a request of a client at the token endpoint; what is empty is left out.
func (h *house) ask(client, grantType string, pairs ...string) *http.Request {
	form := url.Values{"grant_type": {grantType}}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			form.Set(pairs[i], pairs[i+1])
		}
	}
	if c := h.issuer.clients[client]; c != nil && c.Public {
		form.Set("client_id", client)
		return request("/oauth/token", form)
	}
	return request("/oauth/token", form, "Authorization", basic(client, testSecret))
}

// askPublic is a request of a public client that the configuration does not know.
func (h *house) askPublic(client string, pairs ...string) *http.Request {
	form := url.Values{"client_id": {client}}
	for i := 0; i < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	return request("/oauth/token", form)
}

func (h *house) askByCode(client, code string) *http.Request {
	return h.ask(client, "authorization_code", "code", code, "redirect_uri", testRedirect, "code_verifier", testVerifier)
}

func (h *house) askByRefresh(client, token string, pairs ...string) *http.Request {
	return h.ask(client, "refresh_token", append([]string{"refresh_token", token}, pairs...)...)
}

// given is what the token endpoint has given.
type given struct{ access, refresh, scope string }

// gives asserts that a request is answered with tokens.
func (h *house) gives(r *http.Request) given {
	h.t.Helper()
	res := h.do(r)
	o := object(h.t, res)
	if res.StatusCode != http.StatusOK || o["token_type"] != "Bearer" || o["access_token"] == nil {
		h.t.Fatalf("no tokens: %d %v", res.StatusCode, o)
	}
	var g given
	g.access, _ = o["access_token"].(string)
	g.refresh, _ = o["refresh_token"].(string)
	g.scope, _ = o["scope"].(string)
	return g
}

// tokensOf redeems a code of the person for the client.
func (h *house) tokensOf(client string, u *store.User, scopes string) given {
	h.t.Helper()
	return h.gives(h.askByCode(client, h.code(client, u, scopes)))
}

// pass lets time pass.
func (h *house) pass(d time.Duration) { h.ahead.Add(int64(d)) }

// toldOf are the types of what the observer has been told since the last call.
func (h *house) toldOf() string {
	var types []string
	for _, e := range h.told() {
		types = append(types, string(e.Type))
	}
	return strings.Join(types, " ")
}

func newPeopledHouse(t testing.TB, change ...func(*Config)) (*house, *store.User) {
	t.Helper()
	h := newHouse(t, append([]func(*Config){peopled}, change...)...)
	return h, h.person("Ann")
}
