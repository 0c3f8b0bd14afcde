package verify

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oauth2-passport/caddy-passport/issuer/keys"
)

// idp is another issuer.
type idp struct {
	t      testing.TB
	server *httptest.Server
	clock  *atomic.Int64

	mu       sync.Mutex
	keys     []*keys.Key
	raw      []map[string]any // further members of the set
	down     bool
	metadata map[string]any // by path
	fetches  atomic.Int64   // of the keys
	hold     chan struct{}  // fetches wait for it
	cache    string
}

func newIDP(t testing.TB, own ...*keys.Key) *idp {
	i := &idp{t: t, keys: own, clock: new(atomic.Int64)}
	i.clock.Store(start.UnixNano())
	i.server = httptest.NewServer(i)
	t.Cleanup(i.server.Close)
	i.metadata = map[string]any{
		"/.well-known/openid-configuration": map[string]any{"issuer": i.url(), "jwks_uri": i.url() + "/keys"},
	}
	return i
}

func (i *idp) url() string { return i.server.URL }

func (i *idp) now() time.Time { return time.Unix(0, i.clock.Load()) }

func (i *idp) pass(d time.Duration) { i.clock.Add(int64(d)) }

func (i *idp) set(own ...*keys.Key) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys = own
}

func (i *idp) outage(down bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.down = down
}

func (i *idp) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	hold, down := i.hold, i.down
	metadata, ok := i.metadata[r.URL.Path]
	set := append([]map[string]any{}, i.raw...)
	for _, k := range i.keys {
		set = append(set, jwkOf(i.t, k))
	}
	w.Header().Set("Cache-Control", i.cache)
	i.mu.Unlock()
	switch {
	case down:
		w.WriteHeader(http.StatusBadGateway)
	case r.URL.Path == "/keys":
		i.fetches.Add(1)
		if hold != nil {
			<-hold
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"keys": set})
	case ok:
		_ = json.NewEncoder(w).Encode(metadata)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

// jwkOf is the public part of a key as JWK.
func jwkOf(t testing.TB, k *keys.Key) map[string]any {
	b := base64.RawURLEncoding.EncodeToString
	switch key := k.Public().(type) {
	case *ecdsa.PublicKey:
		point, err := key.Bytes()
		if err != nil {
			t.Error(err)
		}
		half := len(point) / 2
		return map[string]any{"kty": "EC", "crv": key.Curve.Params().Name, "kid": k.ID(), "use": "sig",
			"x": b(point[1 : half+1]), "y": b(point[half+1:])}
	case *rsa.PublicKey:
		return map[string]any{"kty": "RSA", "kid": k.ID(), "n": b(key.N.Bytes()), "e": "AQAB"}
	default:
		raw := fmt.Appendf(nil, "%s", key)
		return map[string]any{"kty": "OKP", "crv": "Ed25519", "kid": k.ID(), "x": b(raw)}
	}
}

// source makes a source that trusts the issuer.
func (i *idp) source(config Trust) *External {
	i.t.Helper()
	if config.Issuer == "" && config.Keys == nil {
		config.Issuer = i.url()
	}
	config.Now = i.now
	x, err := NewTrust(config)
	if err != nil {
		i.t.Fatal(err)
	}
	i.t.Cleanup(x.Close)
	return x
}

// claims are those of a good token of the issuer, changed as told.
func (i *idp) claims(changes ...change) map[string]any {
	c := map[string]any{"iss": i.url(), "sub": "u1", "aud": "api", "client_id": "app", "scope": "read write",
		"iat": i.now().Unix(), "exp": i.now().Add(time.Hour).Unix(), "jti": "j1", "preferred_username": "ann"}
	for _, change := range changes {
		maps.Copy(c, change)
	}
	for name, value := range c {
		if value == nil {
			delete(c, name)
		}
	}
	return c
}

func (i *idp) token(changes ...change) string {
	i.t.Helper()
	return signed(i.t, i.keys[0], "JWT", i.claims(changes...))
}

// verify verifies a token at sources, without an issuer of our own.
func (i *idp) verify(token string, trusted ...*External) (*Identity, error) {
	return (&Others{Trusted: trusted}).Verify(i.t.Context(), token, nil, "")
}

func wantErr(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("the error is %v, want %v", err, want)
	}
}

func TestTokenOfATrustedIssuer(t *testing.T) {
	for _, alg := range []keys.Algorithm{keys.ES256, keys.ES384, keys.RS256, keys.PS256, keys.EdDSA} {
		t.Run(string(alg), func(t *testing.T) {
			i := newIDP(t, newKey(t, alg))
			x := i.source(Trust{})
			token := i.token()
			for range 3 {
				id, err := i.verify(token, x)
				if err != nil {
					t.Fatal(err)
				}
				if id.Own() || id.External() != x || id.Issuer != i.url() || id.Subject != "u1" || id.ClientID != "app" ||
					id.UserID != "u1" || id.Username != "ann" || id.Scope != "read write" || !id.HasScope("write") ||
					id.IntendedFor("api") != nil || id.TokenID != "j1" || id.KeyID != i.keys[0].ID() {
					t.Errorf("%+v", id)
				}
			}
			if n := i.fetches.Load(); n != 1 {
				t.Errorf("the keys were fetched %d times", n)
			}
		})
	}
}

func TestClaimsOfOtherIssuers(t *testing.T) {
	i := newIDP(t, newKey(t, keys.ES256))
	for _, test := range []struct {
		name                                string
		config                              Trust
		change                              change
		err                                 error
		scope, client, user, username, subj string
	}{
		{name: "scp array", change: change{"scope": nil, "scp": []string{"a", "b"}}, scope: "a b", client: "app", user: "u1",
			username: "ann"},
		{name: "scope array", change: change{"scope": []string{"a", "b"}}, scope: "a b", client: "app", user: "u1",
			username: "ann"},
		{name: "scope claim", config: Trust{ScopeClaim: "permissions"}, change: change{"permissions": []string{"a:b"}},
			scope: "a:b", client: "app", user: "u1", username: "ann"},
		{name: "no scope, its own claim", config: Trust{ScopeClaim: "permissions"}, client: "app", user: "u1",
			username: "ann"},
		{name: "azp", change: change{"client_id": nil, "azp": "spa", "scope": "a"}, scope: "a", client: "spa", user: "u1",
			username: "ann"},
		{name: "client claim", config: Trust{ClientClaim: "cid"}, change: change{"cid": "okta", "scope": "a"}, scope: "a",
			client: "okta", user: "u1", username: "ann"},
		{name: "username claim", config: Trust{UsernameClaim: "email"}, change: change{"email": "a@b.c", "scope": "a"},
			scope: "a", client: "app", user: "u1", username: "a@b.c"},
		{name: "username is sub", config: Trust{UsernameClaim: "sub"}, change: change{"scope": "a"},
			scope: "a", client: "app", user: "u1", username: "u1"},
		{name: "no client", change: change{"client_id": nil, "scope": "a"}, scope: "a", user: "u1", username: "ann"},
		{name: "client for itself", change: change{"sub": "app", "scope": "a"}, scope: "a", client: "app"},
		{name: "auth0 client", change: change{"sub": "app@clients", "scope": "a"}, scope: "a", client: "app"},
		{name: "keycloak client", change: change{"preferred_username": "service-account-app", "scope": "a"}, scope: "a",
			client: "app"},
		{name: "microsoft client", change: change{"idtyp": "app", "scope": "a"}, scope: "a", client: "app"},
		{name: "star is a scope like others", change: change{"scope": "*"}, scope: "*", client: "app", user: "u1",
			username: "ann"},
		{name: "no sub", change: change{"sub": nil}, err: ErrMalformed},
		{name: "no exp", change: change{"exp": nil}, err: ErrMalformed},
		{name: "expired", change: change{"exp": start.Unix()}, err: ErrExpired},
		{name: "not yet", change: change{"nbf": start.Add(2 * time.Minute).Unix()}, err: ErrNotYetValid},
		{name: "clock ahead", change: change{"nbf": start.Add(time.Minute / 2).Unix(), "scope": "a"}, scope: "a",
			client: "app", user: "u1", username: "ann"},
		{name: "scope with quotes", change: change{"scope": `a"b`}, err: ErrMalformed},
		{name: "scopes with spaces", change: change{"scope": []string{"a b"}}, err: ErrMalformed},
		{name: "scope a number", change: change{"scope": 3}, err: ErrMalformed},
		{name: "header in subject", change: change{"sub": "a\r\nX-Passport-Subject: b"}, err: ErrMalformed},
		{name: "header in username", change: change{"preferred_username": "a\nb"}, err: ErrMalformed},
		{name: "bound to a key", change: change{"cnf": map[string]any{"jkt": "x"}}, err: ErrBound},
	} {
		t.Run(test.name, func(t *testing.T) {
			id, err := i.verify(i.token(test.change), i.source(test.config))
			if test.err != nil {
				wantErr(t, err, test.err)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if id.Scope != test.scope || id.ClientID != test.client || id.UserID != test.user ||
				id.Username != test.username || id.Person() != (test.user != "") {
				t.Errorf("%+v", id)
			}
			if id.HasScope("anything") {
				t.Error("it has every scope")
			}
		})
	}
}

func TestTokenOfLaravelPassport(t *testing.T) {
	key := newKey(t, keys.RS256)
	i := newIDP(t, key)
	x := i.source(Trust{Name: "laravel", Keys: []crypto.PublicKey{newKey(t, keys.RS256).Public(), key.Public()}, Algorithms: []string{"RS256"},
		ScopeClaim: "scopes", ClientClaim: "aud", Laravel: true})
	base := change{"iss": nil, "client_id": nil, "scope": nil, "aud": "9a", "sub": "7", "scopes": []string{"read"},
		"iat": 1777896000.123456, "nbf": 1777896000.123456, "exp": float64(start.Add(time.Hour).Unix()) + 0.5}
	id, err := i.verify(i.token(base), x)
	if err != nil {
		t.Fatal(err)
	}
	if id.Issuer != "laravel" || id.Subject != "7" || id.UserID != "7" || id.ClientID != "9a" || id.Scope != "read" ||
		id.HasScope("write") {
		t.Errorf("%+v", id)
	}
	for name, sub := range map[string]any{"league 8": "", "absent": nil, "league 9": "9a"} {
		id, err := i.verify(i.token(base, change{"sub": sub, "scopes": []string{"*"}}), x)
		if err != nil {
			t.Fatal(name, err)
		}
		if id.Subject != "9a" || id.Person() || !id.HasScope("write") {
			t.Errorf("%s: %+v", name, id)
		}
	}
	_, err = i.verify(i.token(base, change{"iss": i.url()}), x)
	wantErr(t, err, ErrIssuer)
	i.keys = []*keys.Key{newKey(t, keys.RS256)}
	_, err = i.verify(i.token(base), x)
	wantErr(t, err, ErrSignature)
}

// TestRefusesHMACWithThePublicKeyOfATrustedIssuer signs with what everybody can read, in each form that a careless
// library takes for a secret.
func TestRefusesHMACWithThePublicKeyOfATrustedIssuer(t *testing.T) {
	key := newKey(t, keys.RS256)
	i := newIDP(t, key)
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	i.raw = []map[string]any{{"kty": "oct", "kid": "oct", "k": "c2VjcmV0", "alg": "HS256"}}
	x := i.source(Trust{})
	for name, secret := range map[string][]byte{
		"pem": text, "der": der, "jwk": []byte(mustJSON(t, jwkOf(t, key))), "oct": []byte("secret"), "empty": nil,
	} {
		for _, kid := range []string{key.ID(), "oct"} {
			token := forged(`{"alg":"HS256","kid":"`+kid+`"}`, mustJSON(t, i.claims()), func(input string) []byte {
				mac := hmac.New(sha256.New, secret)
				mac.Write([]byte(input))
				return mac.Sum(nil)
			})
			if _, err := i.verify(token, x); !errors.Is(err, ErrSignature) {
				t.Errorf("%s %s: %v", name, kid, err)
			}
		}
	}
}

func TestRefusesAlgorithmsThatDoNotFitTheKeyOfATrustedIssuer(t *testing.T) {
	rsaKey := newKey(t, keys.RS256)
	i := newIDP(t, rsaKey)
	sign := func(header string) string {
		return forged(header, mustJSON(t, i.claims()), func(input string) []byte {
			sig, err := rsaKey.Sign([]byte(input))
			if err != nil {
				t.Fatal(err)
			}
			return sig
		})
	}
	x, narrow := i.source(Trust{}), i.source(Trust{Algorithms: []string{"ES256", "PS256"}})
	for _, alg := range []string{"none", "None", "ES256", "PS256", "RS512", "EdDSA", "rs256", ""} {
		if _, err := i.verify(sign(`{"alg":"`+alg+`","kid":"`+rsaKey.ID()+`"}`), x); err == nil {
			t.Errorf("%q passes", alg)
		}
	}
	good := sign(`{"alg":"RS256","kid":"` + rsaKey.ID() + `"}`)
	if _, err := i.verify(good, x); err != nil {
		t.Error(err)
	}
	_, err := i.verify(good, narrow)
	wantErr(t, err, ErrSignature)
}

func TestIgnoresKeysThatATokenBringsOrPointsTo(t *testing.T) {
	attacker := newKey(t, keys.ES256)
	var asked atomic.Int64
	evil := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		_ = json.NewEncoder(w).Encode(map[string]any{"keys": []any{jwkOf(t, attacker)}})
	}))
	defer evil.Close()
	i := newIDP(t, newKey(t, keys.ES256))
	x := i.source(Trust{})
	for _, member := range []string{
		`"jku":"` + evil.URL + `"`, `"x5u":"` + evil.URL + `"`, `"jwk":` + mustJSON(t, jwkOf(t, attacker)), `"x5c":["MIIB"]`,
	} {
		for _, kid := range []string{attacker.ID(), i.keys[0].ID(), evil.URL, "../../../../dev/null", "/etc/passwd", "x' OR '1"} {
			token := forged(`{"alg":"ES256","kid":"`+kid+`",`+member+`}`, mustJSON(t, i.claims()), func(input string) []byte {
				sig, err := attacker.Sign([]byte(input))
				if err != nil {
					t.Fatal(err)
				}
				return sig
			})
			_, err := i.verify(token, x)
			wantErr(t, err, ErrSignature)
		}
	}
	if asked.Load() != 0 {
		t.Error("the URL in a token was asked")
	}
}

func TestRefusesIDTokensAndOthersOfATrustedIssuer(t *testing.T) {
	i := newIDP(t, newKey(t, keys.ES256))
	x := i.source(Trust{})
	for name, change := range map[string]change{
		"at_hash": {"at_hash": "x"}, "c_hash": {"c_hash": "x"}, "logout": {"events": map[string]any{}},
		"keycloak ID": {"typ": "ID"}, "keycloak refresh": {"typ": "Refresh"}, "s_hash": {"s_hash": "x"},
		"self-issued": {"sub_jwk": map[string]any{}}, "cognito ID": {"token_use": "id"},
		"forgerock ID": {"tokenName": "id_token"}, "curity ID": {"purpose": "id"},
		// ID tokens that say nothing of their kind: neither scope nor client_id.
		"nonce":     {"nonce": "n", "scope": nil, "client_id": nil, "azp": "app"},
		"auth_time": {"auth_time": 1700000000, "scope": nil, "client_id": nil, "azp": "app"},
		"auth0 ID": {"sid": "s", "scope": nil, "client_id": nil, "nickname": "ann", "email_verified": true,
			"updated_at": "2026-11-22T10:00:00Z"},
		"azp as the client": {"nonce": "n", "scope": nil, "client_id": nil, "azp": "app"},
		"roles":             {"nonce": "n", "scope": nil, "client_id": nil, "roles": []string{"admin"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := i.verify(i.token(change), x)
			wantErr(t, err, ErrType)
		})
	}
	for name, config := range map[string]Trust{
		"azp": {ClientClaim: "azp"}, "roles": {ScopeClaim: "roles"},
	} {
		_, err := i.verify(i.token(change{"nonce": "n", "scope": nil, "client_id": nil, name: "app"}), i.source(config))
		wantErr(t, err, ErrType)
	}
	for _, typ := range []string{"id+jwt", "logout+jwt", "dpop+jwt", "secevent+jwt", "JOSE"} {
		_, err := i.verify(signed(t, i.keys[0], typ, i.claims()), x)
		wantErr(t, err, ErrType)
	}
	// One that says nothing at all of itself has its client for audience.
	id, err := i.verify(i.token(change{"aud": "spa", "scope": nil, "client_id": nil, "azp": "spa"}), x)
	if err != nil {
		t.Fatal(err)
	}
	wantErr(t, id.IntendedFor("api"), ErrAudience)
}

// TestTakesAccessTokensThatLookLikeIDTokens: some issuers tell in access tokens how a person has signed in.
func TestTakesAccessTokensThatLookLikeIDTokens(t *testing.T) {
	i := newIDP(t, newKey(t, keys.ES256))
	x := i.source(Trust{})
	login := change{"nonce": "n", "auth_time": 1700000000, "sid": "s", "acr": "1", "scope": nil, "client_id": nil}
	for name, change := range map[string]change{
		"keycloak":               {"typ": "Bearer", "azp": "app", "scope": "openid", "session_state": "s"},
		"keycloak without scope": {"typ": "Bearer", "azp": "app"},
		"auth0":                  {"azp": "app", "scope": "openid profile", "permissions": []string{"a:b"}},
		"okta":                   {"cid": "app", "uid": "u1", "scp": []string{"a"}, "ver": 1},
		"entra":                  {"appid": "app", "idtyp": "user", "scp": "a", "ver": "1.0"},
		"entra of an app":        {"azp": "app", "idtyp": "app", "roles": []string{"a"}, "ver": "2.0"},
		"cognito":                {"token_use": "access", "username": "ann"},
		"authentik":              {"azp": "app", "uid": "x", "scope": "openid"},
		"curity":                 {"purpose": "access_token"},
		"forgerock":              {"tokenName": "access_token"},
		"a client alone":         {"client_id": "app"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := i.verify(i.token(login, change), x); err != nil {
				t.Error(err)
			}
		})
	}
	if _, err := i.verify(signed(t, i.keys[0], "at+jwt", i.claims(login)), x); err != nil {
		t.Errorf("RFC 9068: %v", err)
	}
	if _, err := i.verify(i.token(change{"scope": nil, "client_id": nil}), x); err != nil {
		t.Errorf("one that says little: %v", err)
	}
}

func TestForeignTokenDoesNotPassForOurs(t *testing.T) {
	h := newHouse(t, newKey(t, keys.ES256))
	i := newIDP(t, newKey(t, keys.ES256))
	i.clock = &h.clock
	x := i.source(Trust{})
	others := &Others{Trusted: []*External{x}}
	verify := func(token string) (*Identity, error) { return others.Verify(t.Context(), token, h.v, testIssuer) }

	own, err := verify(h.token())
	if err != nil || !own.Own() {
		t.Fatal(own, err)
	}
	foreign, err := verify(i.token(change{"sub": own.Subject, "client_id": configClient}))
	if err != nil || foreign.Own() || foreign.Issuer != i.url() {
		t.Fatal(foreign, err)
	}
	_, err = verify(i.token(change{"iss": testIssuer}))
	wantErr(t, err, ErrType)
	_, err = verify(signed(t, h.key, "at+jwt", i.claims())) // our key, their name
	wantErr(t, err, ErrIssuer)
	_, err = verify(signed(t, i.keys[0], "at+jwt", h.claims()))
	wantErr(t, err, ErrSignature)
	_, err = verify(i.token(change{"iss": "https://third.example"}))
	wantErr(t, err, ErrIssuer)
	_, err = h.verify(i.token())
	wantErr(t, err, ErrIssuer)
}

func TestKeyRotationAndOutageOfATrustedIssuer(t *testing.T) {
	first, second, third := newKey(t, keys.ES256), newKey(t, keys.ES256), newKey(t, keys.ES256)
	i := newIDP(t, first)
	x := i.source(Trust{})
	old := i.token()
	if _, err := i.verify(old, x); err != nil {
		t.Fatal(err)
	}

	i.pass(betweenFetches)
	i.set(second, first)
	if _, err := i.verify(i.token(), x); err != nil {
		t.Fatalf("a token of the new key: %v", err)
	}
	if _, err := i.verify(old, x); err != nil {
		t.Fatalf("a token of the old key: %v", err)
	}

	// The outage: what is known stays good; of what is signed by a key that is not known, nobody can tell.
	i.pass(betweenFetches)
	i.outage(true)
	for _, token := range []string{old, i.token(change{"jti": "other"})} {
		if _, err := i.verify(token, x); err != nil {
			t.Errorf("in the outage: %v", err)
		}
	}
	_, err := i.verify(signed(t, third, "JWT", i.claims()), x)
	wantErr(t, err, ErrUnavailable)
	if _, ok := errors.AsType[*Error](err); ok {
		t.Error("the token is refused, though nobody can tell")
	}

	// After it the first key is withdrawn: its tokens are good no more, also those that are remembered.
	i.outage(false)
	i.pass(betweenFetches)
	i.set(third)
	if _, err := i.verify(signed(t, third, "JWT", i.claims()), x); err != nil {
		t.Fatal(err)
	}
	_, err = i.verify(old, x)
	wantErr(t, err, ErrSignature)

	// Keys are not kept for ever.
	i.outage(true)
	fresh := i.token(change{"exp": i.now().Add(72 * time.Hour).Unix()})
	i.pass(keepThroughOutage)
	if _, err := i.verify(fresh, x); err != nil {
		t.Fatal(err)
	}
	i.pass(time.Minute)
	_, err = i.verify(fresh, x)
	wantErr(t, err, ErrUnavailable)
}

func TestFloodOfUnknownKidsFetchesOnce(t *testing.T) {
	i := newIDP(t, newKey(t, keys.ES256))
	x := i.source(Trust{})
	if _, err := i.verify(i.token(), x); err != nil {
		t.Fatal(err)
	}
	i.pass(betweenFetches)
	release := make(chan struct{})
	i.mu.Lock()
	i.hold = release
	i.mu.Unlock()
	stranger := newKey(t, keys.ES256)
	forgery := signed(t, stranger, "JWT", i.claims())
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			if _, err := i.verify(forgery, x); !errors.Is(err, ErrSignature) {
				t.Errorf("%v", err)
			}
		})
	}
	close(release)
	wg.Wait()
	for n := range 100 {
		header := fmt.Sprintf(`{"alg":"ES256","kid":"%d"}`, n)
		token := forged(header, mustJSON(t, i.claims()), func(string) []byte { return make([]byte, 64) })
		if _, err := i.verify(token, x); !errors.Is(err, ErrSignature) {
			t.Fatal(err)
		}
	}
	if n := i.fetches.Load(); n != 2 {
		t.Errorf("the keys were fetched %d times", n)
	}
	// A bad signature under a kid that is known is no reason to fetch.
	i.pass(betweenFetches)
	token := forged(`{"alg":"ES256","kid":"`+i.keys[0].ID()+`"}`, mustJSON(t, i.claims()),
		func(string) []byte { return make([]byte, 64) })
	_, err := i.verify(token, x)
	wantErr(t, err, ErrSignature)
	if n := i.fetches.Load(); n != 2 {
		t.Errorf("the keys were fetched %d times", n)
	}
}

func TestDiscovery(t *testing.T) {
	for _, test := range []struct {
		name, path string // of the issuer
		metadata   map[string]any
		good       bool
	}{
		{"RFC 8414, path inserted", "/realms/a", map[string]any{
			"/.well-known/oauth-authorization-server/realms/a": map[string]any{"issuer": "$/realms/a", "jwks_uri": "$/keys"}}, true},
		{"OpenID, path in front", "/realms/a", map[string]any{
			"/realms/a/.well-known/openid-configuration": map[string]any{"issuer": "$/realms/a", "jwks_uri": "$/keys"}}, true},
		{"slash at the end", "/", map[string]any{
			"/.well-known/openid-configuration": map[string]any{"issuer": "$/", "jwks_uri": "$/keys"}}, true},
		{"the first is another's", "", map[string]any{
			"/.well-known/oauth-authorization-server": map[string]any{"issuer": "https://evil.example", "jwks_uri": "$/evil"},
			"/.well-known/openid-configuration":       map[string]any{"issuer": "$", "jwks_uri": "$/keys"}}, true},
		{"another issuer", "", map[string]any{
			"/.well-known/openid-configuration": map[string]any{"issuer": "$/", "jwks_uri": "$/keys"}}, false},
		{"plain http elsewhere", "", map[string]any{
			"/.well-known/openid-configuration": map[string]any{"issuer": "$", "jwks_uri": "http://keys.example/"}}, false},
		{"a file", "", map[string]any{
			"/.well-known/openid-configuration": map[string]any{"issuer": "$", "jwks_uri": "file:///etc/passwd"}}, false},
		{"no JSON object", "", map[string]any{"/.well-known/openid-configuration": "text"}, false},
		{"nothing", "", map[string]any{}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			i := newIDP(t, newKey(t, keys.ES256))
			for path, document := range test.metadata {
				if object, ok := document.(map[string]any); ok {
					for name, value := range object {
						if text := value.(string); text[0] == '$' {
							object[name] = i.url() + text[1:]
						}
					}
				}
				test.metadata[path] = document
			}
			i.metadata = test.metadata
			issuer := i.url() + test.path
			_, err := i.verify(i.token(change{"iss": issuer}), i.source(Trust{Issuer: issuer}))
			if test.good != (err == nil) || !test.good && !errors.Is(err, ErrUnavailable) {
				t.Error(err)
			}
		})
	}
}

func TestFollowsNoRedirectOfATrustedIssuer(t *testing.T) {
	i := newIDP(t, newKey(t, keys.ES256))
	elsewhere := httptest.NewServer(http.RedirectHandler(i.url()+"/keys", http.StatusFound))
	defer elsewhere.Close()
	_, err := i.verify(i.token(), i.source(Trust{JWKSURI: elsewhere.URL}))
	wantErr(t, err, errRedirect)
	if i.fetches.Load() != 0 {
		t.Error("the redirect was followed")
	}
}

func TestRefusesKeySetsWithoutBound(t *testing.T) {
	i := newIDP(t, newKey(t, keys.ES256))
	big := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		junk := make([]byte, 64<<10)
		for n := range junk {
			junk[n] = ' '
		}
		for range 100 {
			if _, err := w.Write(junk); err != nil {
				return
			}
		}
	}))
	defer big.Close()
	_, err := i.verify(i.token(), i.source(Trust{JWKSURI: big.URL}))
	wantErr(t, err, ErrUnavailable)
}

func TestKeysOfNoUseAreLeftOut(t *testing.T) {
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	b := base64.RawURLEncoding.EncodeToString
	good := jwkOf(t, newKey(t, keys.ES256))
	with := func(changes map[string]any) map[string]any {
		m := maps.Clone(good)
		maps.Copy(m, changes)
		return m
	}
	for name, jwk := range map[string]map[string]any{
		"for encryption": with(map[string]any{"use": "enc"}),
		"to sign":        with(map[string]any{"key_ops": []string{"sign"}}),
		"other alg":      with(map[string]any{"alg": "ES384"}),
		"HMAC":           with(map[string]any{"alg": "HS256"}),
		"off the curve":  with(map[string]any{"x": good["y"]}),
		"small RSA":      {"kty": "RSA", "n": b(small.N.Bytes()), "e": "AQAB"},
		"exponent 1":     {"kty": "RSA", "n": b(make([]byte, 256)), "e": "AQ"},
		"symmetric":      {"kty": "oct", "k": "c2VjcmV0"},
		"X25519":         {"kty": "OKP", "crv": "X25519", "x": b(make([]byte, 32))},
		"unknown":        {"kty": "AKP"},
	} {
		t.Run(name, func(t *testing.T) {
			if list, err := parseJWKS([]byte(mustJSON(t, map[string]any{"keys": []any{jwk}}))); err == nil {
				t.Errorf("%+v", list[0])
			}
			list, err := parseJWKS([]byte(mustJSON(t, map[string]any{"keys": []any{jwk, 1, good}})))
			if err != nil || len(list) != 1 {
				t.Errorf("%v, %v: one bad key spoils the others", list, err)
			}
		})
	}
}

func TestES512(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	k, err := newPublicKey(&key.PublicKey, "", "")
	if err != nil {
		t.Fatal(err)
	}
	h := crypto.SHA512.New()
	h.Write([]byte("input"))
	r, s, err := ecdsa.Sign(rand.Reader, key, h.Sum(nil))
	if err != nil {
		t.Fatal(err)
	}
	sig := append(r.FillBytes(make([]byte, 66)), s.FillBytes(make([]byte, 66))...)
	if !k.verify("ES512", "input", sig) || k.verify("ES256", "input", sig) || k.verify("ES512", "other", sig) ||
		k.verify("ES512", "input", sig[1:]) {
		t.Error("wrong")
	}
}

func TestMaxAge(t *testing.T) {
	for value, want := range map[string]time.Duration{
		"": 0, "max-age=300": 5 * time.Minute, "public, MAX-AGE=60": time.Minute, "no-store": 1, "max-age=0": 1,
		"max-age=x": 0, "max-age=99999999999999": 0, "private": 0,
	} {
		if got := maxAge(http.Header{"Cache-Control": {value}}); got != want {
			t.Errorf("%q: %v, want %v", value, got, want)
		}
	}
}

func TestCheckURL(t *testing.T) {
	for url, good := range map[string]bool{
		"https://idp.example": true, "https://idp.example/a?b=c": true, "http://127.0.0.1:1/": true, "http://[::1]/": true,
		"http://localhost:80": true, "http://idp.example": false, "http://127.0.0.1.evil.example": false, "idp.example": false,
		"https://": false, "https://u:p@idp.example": false, "https://idp.example#a": false, "file:///etc/passwd": false,
		"https:idp.example": false, "": false,
	} {
		if err := CheckURL(url); good != (err == nil) {
			t.Errorf("%s: %v", url, err)
		}
	}
}

// TestWatchCutsForeignTokens has a source end the requests whose token ends.
func TestWatchCutsForeignTokens(t *testing.T) {
	i := newIDP(t, newKey(t, keys.ES256))
	x := i.source(Trust{})
	id, err := i.verify(i.token(), x)
	if err != nil {
		t.Fatal(err)
	}
	ctx, release := watched(context.Background(), sourceOf{x, ""}, id)
	defer release()
	if x.Watching() != 1 {
		t.Error("not watched")
	}
	for range 2 {
		x.cut(i.now())
	}
	if ctx.Err() != nil {
		t.Fatal("cut too early")
	}
	i.pass(time.Hour)
	x.cut(i.now())
	wantErr(t, context.Cause(ctx), ErrExpired)
}

// sourceOf watches requests with that token.
type sourceOf struct {
	*External
	token string
}

func (s sourceOf) Watch(one *Watch, id *Identity, end context.CancelCauseFunc) {
	s.External.Watch(one, id, &s.token, end)
}

// TestStreamIsCutWhenTheKeyOfItsTokenIsWithdrawn: an issuer takes a key that leaked out of its set. That it cannot be
// asked is no withdrawal, and ends no request before its token's exp.
func TestStreamIsCutWhenTheKeyOfItsTokenIsWithdrawn(t *testing.T) {
	leaked, other := newKey(t, keys.ES256), newKey(t, keys.ES256)
	i := newIDP(t, leaked, other)
	x := i.source(Trust{})
	open := func(key *keys.Key) context.Context {
		id, err := i.verify(signed(t, key, "JWT", i.claims(change{"exp": i.now().Add(72 * time.Hour).Unix()})), x)
		if err != nil {
			t.Fatal(err)
		}
		ctx, release := watched(context.Background(), sourceOf{x, ""}, id)
		t.Cleanup(release)
		return ctx
	}
	fetch := func() error {
		i.pass(betweenFetches)
		return x.source.(*trust).keys.refresh(t.Context())
	}
	ends, stays := open(leaked), open(other)
	x.cut(i.now()) // which finds them running
	x.cut(i.now())
	i.set(other)
	x.cut(i.now()) // nobody has heard of it yet
	if ends.Err() != nil {
		t.Fatal("cut too early")
	}
	if err := fetch(); err != nil {
		t.Fatal(err)
	}
	x.cut(i.now())
	wantErr(t, context.Cause(ends), ErrSignature)

	i.outage(true)
	i.pass(keepThroughOutage)
	if fetch() == nil {
		t.Fatal("there is no outage")
	}
	x.cut(i.now())
	wantErr(t, context.Cause(stays), nil)
	i.pass(48 * time.Hour)
	x.cut(i.now())
	wantErr(t, context.Cause(stays), ErrExpired)
}

// TestKeysKeepTheirTables: what a key has for verifying faster outlives a change of the others.
func TestKeysKeepTheirTables(t *testing.T) {
	of := func(keys ...*keys.Key) (list []*publicKey) {
		for _, key := range keys {
			k, err := newPublicKey(key.Public(), key.ID(), "")
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, k)
		}
		return list
	}
	stays, goes, comes := newKey(t, keys.ES256), newKey(t, keys.ES256), newKey(t, keys.ES256)
	rsa := newKey(t, keys.RS256)
	old, now := of(goes, stays, rsa), of(rsa, comes, stays)
	fresh := now[1].es
	keepTables(old, now)
	if now[0].es != nil || now[1].es != fresh || now[2].es != old[1].es {
		t.Error("a key has another's, or has not kept its own")
	}
}
