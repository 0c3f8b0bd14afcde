package issuer

import (
	"io"
	"net/http"
	"net/url"
	"reflect"
	"testing"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
)

func TestIntrospection(t *testing.T) {
	h := newHouse(t)
	token := h.tokenFor("orders-sync", "read write")
	_, claims := decodeJWT(t, token)
	want := map[string]any{
		"active": true, "scope": "read write", "client_id": "orders-sync", "token_type": "Bearer",
		"exp": claims["exp"], "iat": claims["iat"], "sub": "orders-sync", "aud": testIdentifier, "iss": testIdentifier,
		"jti": claims["jti"],
	}
	for _, client := range []string{"orders-sync", "api"} { // its own, and a resource server
		if got := h.introspect(client, token); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %v, want %v", client, got, want)
		}
	}
	res := h.do(request("/oauth/introspect", url.Values{"token": {token}, "token_type_hint": {"refresh_token"}},
		"Authorization", basic("api", testSecret)))
	if o := object(t, res); o["active"] != true || res.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("with a wrong hint: %v", o)
	}
}

// TestIntrospectionOfWhatIsNotActive: RFC 7662 §2.2, nothing but that it is not.
func TestIntrospectionOfWhatIsNotActive(t *testing.T) {
	h := newHouse(t)
	stored, secret, err := h.issuer.CreateClient(t.Context(), store.Client{Name: "stored"})
	if err != nil {
		t.Fatal(err)
	}
	ask := func() string {
		o := object(t, h.do(request("/oauth/token", url.Values{"grant_type": {"client_credentials"}},
			"Authorization", basic(stored.ID, secret))))
		return o["access_token"].(string)
	}
	inactive := func(name, token string) {
		t.Helper()
		for range 2 {
			if o := h.introspect("api", token); !reflect.DeepEqual(o, map[string]any{"active": false}) {
				t.Errorf("%s: %v", name, o)
			}
		}
	}
	token := ask()
	if o := h.introspect("api", token); o["active"] != true {
		t.Fatalf("%v", o)
	}
	inactive("no token", "x")
	inactive("a refresh token", store.NewSecret(store.RefreshToken))
	inactive("a secret", secret)
	inactive("cut off", token[:len(token)-1])
	inactive("with something behind", token+".x")
	inactive("forged", token[:len(token)-4]+"AAAA")

	disabled := true
	if _, err := h.issuer.UpdateClient(t.Context(), stored.ID, ClientChange{Disabled: &disabled}); err != nil {
		t.Fatal(err)
	}
	inactive("client disabled", token)
	disabled = false
	if _, err := h.issuer.UpdateClient(t.Context(), stored.ID, ClientChange{Disabled: &disabled}); err != nil {
		t.Fatal(err)
	}
	inactive("client enabled again", token)

	h.ahead.Add(int64(2 * time.Millisecond)) // within the second of disabling
	token = ask()
	if o := h.introspect("api", token); o["active"] != true {
		t.Fatalf("after enabling: %v", o)
	}
	id := decodeID(t, token)
	if err := h.issuer.RevokeToken(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	inactive("revoked", token)

	token = ask()
	if err := h.issuer.DeleteClient(t.Context(), stored.ID); err != nil {
		t.Fatal(err)
	}
	inactive("client gone", token)

	token = h.tokenFor("orders-sync", "")
	h.ahead.Add(int64(time.Hour))
	inactive("expired", token)
}

func decodeID(t *testing.T, token string) string {
	t.Helper()
	_, claims := decodeJWT(t, token)
	return claims["jti"].(string)
}

func TestRevocation(t *testing.T) {
	h := newHouse(t)
	auth := []string{"Authorization", basic("orders-sync", testSecret)}
	token, other := h.tokenFor("orders-sync", ""), h.tokenFor("orders-sync", "")
	h.told()
	for round := range 2 { // revoking twice is no error
		res := h.do(request("/oauth/revoke", url.Values{"token": {token}, "token_type_hint": {"access_token"}}, auth...))
		body, _ := io.ReadAll(res.Body)
		if res.StatusCode != http.StatusOK || len(body) != 0 || res.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("round %d: %d %s", round, res.StatusCode, body)
		}
	}
	if h.good(token) || !h.good(other) {
		t.Errorf("revoked %v, other %v", h.good(token), h.good(other))
	}
	events := h.told()
	if len(events) != 1 || events[0].Type != TokenRevoked || events[0].TokenID != decodeID(t, token) {
		t.Errorf("events %+v", events)
	}
	record, err := h.issuer.Token(t.Context(), decodeID(t, token))
	if err != nil || record.RevokedAt.IsZero() {
		t.Errorf("record %+v, %v", record, err)
	}
	// RFC 7009 §2.2: what is no good token needs no revoking.
	for _, token := range []string{"x", token[:len(token)-4] + "AAAA", store.NewSecret(store.RefreshToken)} {
		if res := h.do(request("/oauth/revoke", url.Values{"token": {token}}, auth...)); res.StatusCode != http.StatusOK {
			t.Errorf("%.20s: %d", token, res.StatusCode)
		}
	}
}

// TestRevocationWithoutRecord revokes a token that is good though its record is lost.
func TestRevocationWithoutRecord(t *testing.T) {
	h := newHouse(t)
	token := h.tokenFor("orders-sync", "")
	err := h.db.Update(t.Context(), func(r *store.Records) error {
		record, err := r.Token(decodeID(t, token))
		if err != nil {
			return err
		}
		return r.DeleteToken(record)
	})
	if err != nil || !h.good(token) {
		t.Fatal(err)
	}
	h.do(request("/oauth/revoke", url.Values{"token": {token}}, "Authorization", basic("orders-sync", testSecret)))
	if h.good(token) {
		t.Error("the token is good still")
	}
}

func TestTokenQueryErrors(t *testing.T) {
	h := newHouse(t)
	token := h.tokenFor("orders-sync", "")
	auth := basic("orders-sync", testSecret)
	for _, path := range []string{"/oauth/revoke", "/oauth/introspect"} {
		h.fault(request(path, url.Values{"token": {token}}), 401, "invalid_client")
		for _, id := range []string{"orders-sync", "nobody"} {
			h.fault(request(path, url.Values{"token": {token}}, "Authorization", basic(id, "x")), 401, "invalid_client")
		}
		h.fault(request(path, url.Values{}, "Authorization", auth), 400, "invalid_request")
		h.fault(request(path, url.Values{"token": {token, token}}, "Authorization", auth), 400, "invalid_request")
		h.fault(request(path+"?token="+token, url.Values{}, "Authorization", auth), 400, "invalid_request")
	}
	if !h.good(token) {
		t.Error("a refused request has revoked the token")
	}
	if events := h.told(); len(events) != 7 || events[2].Type != ClientRefused || events[2].ClientID != "orders-sync" {
		t.Errorf("events %+v", events)
	}
}

// TestGuessingSecretsWhereNoTokensAreGiven is told of, as at the token endpoint, while it has to wait and while nobody
// can tell, too.
func TestGuessingSecretsWhereNoTokensAreGiven(t *testing.T) {
	for _, path := range []string{"/oauth/revoke", "/oauth/introspect"} {
		h := newHouse(t)
		guess := func(status int, code string) {
			t.Helper()
			h.fault(request(path, url.Values{"token": {"x"}}, "Authorization", basic("orders-sync", "wrong")), status, code)
			h.wantTold(Event{Type: ClientRefused, ClientID: "orders-sync", Error: code})
		}
		for range 6 {
			guess(http.StatusUnauthorized, "invalid_client")
		}
		guess(http.StatusTooManyRequests, "too_many_attempts")
		h.pass(time.Minute)
		broken := store.ErrUnavailable
		h.engine.broken.Store(&broken)
		guess(http.StatusServiceUnavailable, "temporarily_unavailable")
	}
}
