package verify

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/oauth2-passport/caddy-passport/issuer/keys"
	"github.com/oauth2-passport/caddy-passport/store"
)

var allAlgorithms = []keys.Algorithm{keys.ES256, keys.ES384, keys.RS256, keys.PS256, keys.EdDSA}

func TestVerifyTellsWhoTheTokenIs(t *testing.T) {
	for _, alg := range allAlgorithms {
		t.Run(string(alg), func(t *testing.T) {
			h := newHouse(t, newKey(t, alg))
			token := h.token(change{
				"jti": "j1", "sub": "user-1", "preferred_username": "demo", "aud": []string{testIssuer, "other"},
				"tenant": map[string]any{"id": 7}, "ratio": 0.5, "note": "a\"b\u00e4",
			})
			for round := range 2 { // new, then remembered
				id, err := h.verify(token)
				if err != nil {
					t.Fatal(err)
				}
				got := []any{
					id.Issuer, id.Subject, id.ClientID, id.UserID, id.Username, id.TokenID, id.KeyID, id.Scope, id.Scopes,
					id.Audience, id.IssuedAt.Unix(), id.ExpiresAt.Unix(), id.Person(), id.HasScope("read"),
					id.HasScope("write"), id.HasScope("admin"), id.HasScope(""),
				}
				want := []any{
					testIssuer, "user-1", storedClient, "user-1", "demo", "j1", h.key.ID(), "read write",
					[]string{"read", "write"}, []string{testIssuer, "other"}, start.Unix(), start.Unix() + 3600, true, true,
					true, false, false,
				}
				if !reflect.DeepEqual(got, want) {
					t.Errorf("round %d:\n got %v\nwant %v", round, got, want)
				}
				if note, ok := id.Claim("note"); note != "a\"bä" || !ok {
					t.Errorf("claim note = %v, %v", note, ok)
				}
				if exp, _ := id.Claim("exp"); exp != start.Unix()+3600 {
					t.Errorf("claim exp = %v (%[1]T)", exp)
				}
				if tenant, _ := id.Claim("tenant"); !reflect.DeepEqual(tenant, map[string]any{"id": int64(7)}) {
					t.Errorf("claim tenant = %v", tenant)
				}
				if ratio, _ := id.Claim("ratio"); ratio != 0.5 {
					t.Errorf("claim ratio = %v", ratio)
				}
				if _, ok := id.Claim("nothing"); ok {
					t.Error("a claim that is not there")
				}
			}
		})
	}
}

func TestVerifyKnowsAClientThatActsForItself(t *testing.T) {
	h := newHouse(t, fixedKey(t))
	id, err := h.verify(h.token(change{"sub": configClient, "client_id": configClient, "preferred_username": "admin"}))
	if err != nil {
		t.Fatal(err)
	}
	if id.Person() || id.UserID != "" || id.Username != "" || id.Subject != configClient {
		t.Errorf("a client passes as a person: %q, %q", id.UserID, id.Username)
	}
}

func TestVerifyKnowsAllScopes(t *testing.T) {
	h := newHouse(t, fixedKey(t))
	id, err := h.verify(h.token(change{"scope": "*"}))
	if err != nil || !id.HasScope("admin") {
		t.Errorf("the scope * has no scope: %v", err)
	}
	id, err = h.verify(h.token(change{"scope": nil}))
	if err != nil || id.HasScope("admin") || id.HasScope("") || len(id.Scopes) != 0 {
		t.Errorf("a token without scopes has some: %v", err)
	}
}

func TestVerifyTakesKeyRotationsAndTypes(t *testing.T) {
	h := newHouse(t, fixedKey(t))
	second := newKey(t, keys.ES256)
	h.ring.set(h.key, second)
	for range 3 {
		for _, key := range []*keys.Key{h.key, second} {
			for _, typ := range []string{"at+jwt", "application/at+jwt", "AT+JWT", "Application/At+Jwt"} {
				h.want(signed(t, key, typ, h.claims()), nil)
			}
		}
	}
}

func TestRefusesAlgNone(t *testing.T) {
	h := newHouse(t, fixedKey(t))
	claims := mustJSON(t, h.claims())
	signature := func(string) []byte { return make([]byte, 64) }
	for _, alg := range []string{"none", "None", "NONE", "nOnE"} {
		header := `{"alg":"` + alg + `","typ":"at+jwt","kid":"` + h.key.ID() + `"}`
		h.want(b64(header)+"."+b64(claims)+".", ErrMalformed)
		h.want(b64(header)+"."+b64(claims), ErrMalformed)
		h.want(forged(header, claims, signature), ErrSignature)
	}
	h.want(forged(`{"typ":"at+jwt","kid":"`+h.key.ID()+`"}`, claims, signature), ErrMalformed)
	h.want(forged(`{"alg":"","typ":"at+jwt","kid":"`+h.key.ID()+`"}`, claims, signature), ErrMalformed)
}

func TestRefusesHMACWithPublicKey(t *testing.T) {
	for _, alg := range allAlgorithms {
		t.Run(string(alg), func(t *testing.T) {
			h := newHouse(t, newKey(t, alg))
			der, err := x509.MarshalPKIXPublicKey(h.key.Public())
			if err != nil {
				t.Fatal(err)
			}
			secrets := [][]byte{der, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), {}, []byte(h.key.ID())}
			for _, secret := range secrets {
				hs256 := func(input string) []byte {
					mac := hmac.New(sha256.New, secret)
					mac.Write([]byte(input))
					return mac.Sum(nil)
				}
				for _, named := range []string{"HS256", string(alg)} {
					header := `{"alg":"` + named + `","typ":"at+jwt","kid":"` + h.key.ID() + `"}`
					h.want(forged(header, mustJSON(t, h.claims()), hs256), ErrSignature)
				}
			}
		})
	}
}

func TestRefusesAnotherAlgorithmOfTheSameKey(t *testing.T) {
	h := newHouse(t, newKey(t, keys.RS256))
	header := func(alg string) string { return `{"alg":"` + alg + `","typ":"at+jwt","kid":"` + h.key.ID() + `"}` }
	h.want(forged(header("RS256"), mustJSON(t, h.claims()), h.sign), nil)
	for _, alg := range []string{"PS256", "RS384", "rs256", "RS256 ", "ES256", "RS256\u0000"} {
		h.want(forged(header(strings.ReplaceAll(alg, "\x00", `\u0000`)), mustJSON(t, h.claims()), h.sign), ErrSignature)
	}
}

func TestRefusesKidWithPath(t *testing.T) {
	h := newHouse(t, fixedKey(t))
	tests := map[string]struct {
		kid  string // JSON
		want error
	}{
		"path":          {`"../../../../dev/null"`, ErrSignature},
		"absolute path": {`"/proc/sys/kernel/randomize_va_space"`, ErrSignature},
		"URL":           {`"https://evil.example/jwks"`, ErrSignature},
		"SQL":           {`"x' UNION SELECT 'secret"`, ErrSignature},
		"zero byte":     {`"` + h.key.ID() + `\u0000"`, ErrSignature},
		"space":         {`" ` + h.key.ID() + `"`, ErrSignature},
		"other case":    {`"` + strings.ToUpper(h.key.ID()) + `"`, ErrSignature},
		"prefix":        {`"` + h.key.ID()[:10] + `"`, ErrSignature},
		"empty":         {`""`, ErrSignature},
		"number":        {`1`, ErrMalformed},
		"null":          {`null`, ErrMalformed},
		"list":          {`["` + h.key.ID() + `"]`, ErrMalformed},
		"object":        {`{"kid":"` + h.key.ID() + `"}`, ErrMalformed},
		"escaped":       {`"\u00` + hexOf(h.key.ID()[0]) + h.key.ID()[1:] + `"`, nil}, // the same string
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			header := `{"alg":"EdDSA","typ":"at+jwt","kid":` + test.kid + `}`
			h.on(t).want(forged(header, mustJSON(t, h.claims()), h.sign), test.want)
		})
	}
	t.Run("none", func(t *testing.T) {
		h.on(t).want(forged(`{"alg":"EdDSA","typ":"at+jwt"}`, mustJSON(t, h.claims()), h.sign), ErrSignature)
	})
}

func hexOf(c byte) string {
	const digits = "0123456789abcdef"
	return string([]byte{digits[c>>4], digits[c&15]})
}

func TestRefusesKeyThatTheTokenBrings(t *testing.T) {
	h := newHouse(t, fixedKey(t))
	mine := newKey(t, keys.EdDSA)
	sign := func(input string) []byte {
		signature, err := mine.Sign([]byte(input))
		if err != nil {
			t.Fatal(err)
		}
		return signature
	}
	for _, more := range []string{
		`"jku":"https://evil.example/jwks"`, `"x5u":"https://evil.example/cert"`, `"x5c":["MIIB"]`,
		`"jwk":{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","kid":"mine"}`,
	} {
		for _, kid := range []string{h.key.ID(), mine.ID(), "mine"} {
			header := `{"alg":"EdDSA","typ":"at+jwt","kid":"` + kid + `",` + more + `}`
			h.want(forged(header, mustJSON(t, h.claims()), sign), ErrSignature)
		}
	}
}

func TestRefusesIDToken(t *testing.T) {
	h := newHouse(t, fixedKey(t))
	for _, typ := range []string{"JWT", "", "id+jwt", "at+jwt ", "at", "logout+jwt", "application/jwt", "text/at+jwt"} {
		h.want(signed(t, h.key, typ, h.claims()), ErrType)
	}
}

func TestRefusesRefreshTokenAsAccessToken(t *testing.T) {
	h := newHouse(t, fixedKey(t))
	for _, kind := range []store.SecretKind{store.RefreshToken, store.AuthorizationCode, store.ClientSecret} {
		before := h.engine.countViews()
		secret := store.NewSecret(kind)
		h.want(secret, ErrType)
		h.want(secret[:len(secret)-1], ErrMalformed)
		if h.engine.countViews() != before {
			t.Errorf("%s: the store was read", kind)
		}
	}
}

func TestRefusesCriticalExtensions(t *testing.T) {
	h := newHouse(t, fixedKey(t))
	for _, more := range []string{
		`"crit":["b64"],"b64":false`, `"crit":["exp"]`, `"crit":[]`, `"crit":null`, `"b64":false`, `"b64":true`,
	} {
		header := `{"alg":"EdDSA","typ":"at+jwt","kid":"` + h.key.ID() + `",` + more + `}`
		h.want(forged(header, mustJSON(t, h.claims()), h.sign), ErrMalformed)
	}
}

func TestRefusesNamesThatAppearTwice(t *testing.T) {
	h := newHouse(t, fixedKey(t))
	header := `{"alg":"EdDSA","typ":"at+jwt","kid":"` + h.key.ID() + `"`
	claims := strings.TrimSuffix(mustJSON(t, h.claims()), "}")
	h.want(forged(header+`}`, claims+`}`, h.sign), nil)
	h.want(forged(header+`,"alg":"EdDSA"}`, claims+`}`, h.sign), ErrMalformed)
	h.want(forged(header+`,"x":1,"\u0078":2}`, claims+`}`, h.sign), ErrMalformed)
	h.want(forged(header+`}`, claims+`,"scope":"admin"}`, h.sign), ErrMalformed)
	h.want(forged(header+`}`, claims+`,"\u0073cope":"admin"}`, h.sign), ErrMalformed)
	h.want(forged(header+`}`, claims+`,"Scope":"admin"}`, h.sign), nil) // another name
	id, err := h.verify(forged(header+`}`, claims+`,"SUB":"root","EXP":0,"Client_ID":"x"}`, h.sign))
	if err != nil || id.Subject != storedClient || id.ClientID != storedClient {
		t.Errorf("a name in another case counts: %v, %v", id, err)
	}
}

func TestRefusesTokensThatWereTamperedWith(t *testing.T) {
	for _, alg := range allAlgorithms {
		t.Run(string(alg), func(t *testing.T) {
			h := newHouse(t, newKey(t, alg))
			token := h.token()
			h.want(token, nil)
			for i := 0; i < len(token); i += 1 + len(token)/97 {
				for _, c := range []byte{'A', 'z', '-', '.', '=', '\n', ' ', 0xff} {
					if c == token[i] {
						continue
					}
					changed := token[:i] + string([]byte{c}) + token[i+1:]
					if _, err := h.verify(changed); err == nil {
						t.Fatalf("byte %d as %q: taken", i, c)
					}
				}
				if _, err := h.verify(token[:i]); err == nil {
					t.Fatalf("cut at %d: taken", i)
				}
			}
			if h.remembered() != 1 {
				t.Errorf("%d tokens are remembered", h.remembered())
			}
		})
	}
}

func TestRefusesOtherSpellingsOfAToken(t *testing.T) {
	h := newHouse(t, fixedKey(t))
	token := h.token()
	last := token[len(token)-1]
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	bits := strings.IndexByte(alphabet, last) // 64 bytes of signature leave 4 bits of the last character over
	tests := map[string]string{
		"padding":        token + "==",
		"bits left over": token[:len(token)-1] + alphabet[bits+1:bits+2],
		"line break":     token[:9] + "\n" + token[9:],
		"line break end": token + "\r\n",
		"space":          " " + token,
		"plus and slash": strings.NewReplacer("-", "+", "_", "/").Replace(token) + "+",
		"empty part":     "." + token,
		"fourth part":    token + ".",
		"scheme":         "Bearer " + token,
		"JWE":            token + ".aaaa.bbbb",
		"JSON":           `{"payload":"` + token + `"}`,
	}
	for name, other := range tests {
		t.Run(name, func(t *testing.T) {
			for range 2 {
				h.on(t).want(other, ErrMalformed)
			}
		})
	}
}

func TestRefusesMalformedClaims(t *testing.T) {
	h := newHouse(t, fixedKey(t))
	long := make([]string, maxList+1)
	for i := range long {
		long[i] = "s"
	}
	tests := map[string]change{
		"no sub":             {"sub": nil},
		"empty sub":          {"sub": ""},
		"sub is a number":    {"sub": 1},
		"line break in sub":  {"sub": "a\nX-Passport-Scope: admin"},
		"zero byte in sub":   {"sub": "a\x00"},
		"no client":          {"client_id": nil},
		"client is a list":   {"client_id": []string{storedClient}},
		"no jti":             {"jti": nil},
		"no aud":             {"aud": nil},
		"empty aud":          {"aud": ""},
		"no audience":        {"aud": []string{}},
		"aud is an object":   {"aud": map[string]any{testIssuer: true}},
		"aud with a number":  {"aud": []any{testIssuer, 1}},
		"aud in aud":         {"aud": []any{[]string{testIssuer}}},
		"too many audiences": {"aud": long},
		"no exp":             {"exp": nil},
		"exp is a string":    {"exp": "9999999999"},
		"exp is negative":    {"exp": -1},
		"exp is huge":        {"exp": 1e300},
		"exp is beyond":      {"exp": maxDate + 1},
		"exp is a list":      {"exp": []int{1}},
		"no iat":             {"iat": nil},
		"iat is true":        {"iat": true},
		"nbf is a string":    {"nbf": "now"},
		"scope is a list":    {"scope": []string{"read"}},
		"scope with a quote": {"scope": `read "admin`},
		"scope with two spc": {"scope": "read  admin"},
		"scope with NBSP":    {"scope": "read\u00a0admin"},
		"too many scopes":    {"scope": strings.Join(long, " ")},
		"username is a list": {"preferred_username": []string{"demo"}},
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) { h.on(t).want(h.token(change), ErrMalformed) })
	}
	for name, iss := range map[string]any{"no iss": nil, "empty iss": ""} {
		t.Run(name, func(t *testing.T) {
			if _, err := h.v.Verify(t.Context(), h.token(change{"iss": iss}), ""); !errors.Is(err, ErrIssuer) {
				t.Errorf("Verify = %v", err)
			}
		})
	}
}

func TestRefusesHugeAndDeepTokens(t *testing.T) {
	h := newHouse(t, fixedKey(t))
	h.want("", ErrMalformed)
	h.want(strings.Repeat("a", maxToken), ErrMalformed)
	h.want(strings.Repeat("a", 64<<20), ErrMalformed)
	h.want(strings.Repeat(".", maxToken), ErrMalformed)
	h.want(h.token(change{"fill": strings.Repeat("x", maxToken)}), ErrMalformed)
	h.want(h.token(change{"fill": strings.Repeat("x", maxToken/2)}), nil)

	deep := func(n int) json.RawMessage {
		return json.RawMessage(strings.Repeat("[", n) + strings.Repeat("]", n))
	}
	h.want(h.token(change{"deep": deep(maxDepth)}), ErrMalformed)
	h.want(h.token(change{"deep": deep(maxDepth - 1)}), nil)

	many := make(change)
	for i := range maxMembers {
		many["m"+string(rune('a'+i/26))+string(rune('a'+i%26))] = 0
	}
	h.want(h.token(many), ErrMalformed)
}

func TestRefusesTokensOutOfTheirTime(t *testing.T) {
	h := newHouse(t, fixedKey(t))
	at := func(d time.Duration) int64 { return start.Add(d).Unix() }
	tests := map[string]struct {
		change change
		want   error
	}{
		"expired":                 {change{"exp": at(-time.Second)}, ErrExpired},
		"expires now":             {change{"exp": at(0)}, ErrExpired},
		"expired at the epoch":    {change{"exp": 0}, ErrExpired},
		"expires in a second":     {change{"exp": at(time.Second)}, nil},
		"expires within a second": {change{"exp": float64(at(0)) + 0.5}, nil},
		"not before later":        {change{"nbf": at(time.Second)}, ErrNotYetValid},
		"not before now":          {change{"nbf": at(0)}, nil},
		"issued far ahead":        {change{"iat": at(2 * time.Minute)}, ErrNotYetValid},
		"issued a moment ahead":   {change{"iat": at(10 * time.Second)}, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { h.on(t).want(h.token(test.change), test.want) })
	}
	t.Run("expires while it is remembered", func(t *testing.T) {
		h.on(t)
		token := h.token(change{"exp": at(time.Minute)})
		h.want(token, nil)
		h.pass(time.Minute - 1)
		h.want(token, nil)
		h.pass(1)
		h.want(token, ErrExpired)
	})
}

func TestRefusesTokenOfAnotherIssuer(t *testing.T) {
	h := newHouse(t, fixedKey(t))
	h.want(h.token(change{"iss": "https://other.example.com"}), ErrIssuer)
	h.want(h.token(change{"iss": testIssuer + "/"}), ErrIssuer)
	h.want(signed(t, newKey(t, keys.EdDSA), "at+jwt", h.claims()), ErrSignature)

	token := h.token() // remembered for its host, presented to another
	h.want(token, nil)
	for range 2 {
		for _, issuer := range []string{"https://other.example.com", ""} {
			if _, err := h.v.Verify(t.Context(), token, issuer); !errors.Is(err, ErrIssuer) {
				t.Errorf("at %q: %v", issuer, err)
			}
		}
	}
	h.want(token, nil)
}

func TestRefusesTokenForAnotherAudience(t *testing.T) {
	h := newHouse(t, fixedKey(t))
	id, err := h.verify(h.token(change{"aud": []string{"a", "b"}}))
	if err != nil {
		t.Fatal(err)
	}
	for _, good := range [][]string{{"a"}, {"b"}, {"x", "b"}} {
		if err := id.IntendedFor(good...); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range [][]string{nil, {""}, {"A"}, {"ab"}, {testIssuer}, {"a "}} {
		if err := id.IntendedFor(bad...); !errors.Is(err, ErrAudience) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestRefusesRevokedToken(t *testing.T) {
	h := newHouse(t, fixedKey(t))
	seen, unseen, other := h.token(change{"jti": "j1"}), h.token(change{"jti": "j2"}), h.token(change{"jti": "j3"})
	h.want(seen, nil)
	h.want(other, nil)
	h.revoke("j1")
	h.revoke("j2")
	for range 2 {
		h.want(seen, ErrRevoked)
		h.want(unseen, ErrRevoked)
		h.want(other, nil)
	}
	h.want(h.token(change{"jti": "j1", "x": 1}), ErrRevoked) // other bytes, the same token
}

func TestRefusesTokensOfClientThatIsGoneOrDisabled(t *testing.T) {
	tests := map[string]func(r *store.Records) error{
		"deleted": func(r *store.Records) error { return r.DeleteClient(storedClient) },
		"disabled": func(r *store.Records) error {
			return r.PutClient(&store.Client{ID: storedClient, Disabled: true})
		},
	}
	for name, end := range tests {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, fixedKey(t))
			seen, unseen := h.token(), h.token()
			h.want(seen, nil)
			h.update(end)
			for range 2 {
				h.want(seen, ErrRevoked)
				h.want(unseen, ErrRevoked)
			}
			h.pass(time.Second)
			h.want(h.token(), ErrClientGone) // issued, by whatever fault, after its client's end
		})
	}
	t.Run("never there", func(t *testing.T) {
		h := newHouse(t, fixedKey(t))
		h.want(h.token(change{"client_id": "ghost", "sub": "ghost"}), ErrClientGone)
	})
	t.Run("enabled again", func(t *testing.T) {
		h := newHouse(t, fixedKey(t))
		old := h.token(change{"exp": start.Add(24 * time.Hour).Unix()})
		h.want(old, nil)
		client := &store.Client{ID: storedClient, Disabled: true}
		h.update(func(r *store.Records) error { return r.PutClient(client) })
		h.pass(time.Second)
		client.Disabled = false
		h.update(func(r *store.Records) error { return r.PutClient(client) })
		h.pass(time.Second)
		h.want(old, ErrRevoked)
		h.want(h.token(), nil)
		h.pass(3 * time.Hour) // the revocation is forgotten, the client's record is not
		h.v = New(Config{Keys: h.ring, DB: h.db, Client: h.hasClient})
		h.want(old, ErrRevoked)
		h.want(h.token(), nil)
	})
	t.Run("within one second", func(t *testing.T) { // the `iat` of all three is the same
		h := newHouse(t, fixedKey(t))
		before := h.token()
		h.want(before, nil)
		h.pass(100 * time.Millisecond)
		client := &store.Client{ID: storedClient, Disabled: true}
		h.update(func(r *store.Records) error { return r.PutClient(client) })
		client.Disabled = false
		h.update(func(r *store.Records) error { return r.PutClient(client) })
		h.pass(100 * time.Millisecond)
		after := h.token()
		for range 2 {
			h.want(before, ErrRevoked)
			h.want(after, nil)
		}
		h.pass(100 * time.Millisecond)
		h.update(func(r *store.Records) error { return r.DeleteClient(storedClient) })
		h.want(before, ErrRevoked)
		h.want(after, ErrRevoked)
	})
	t.Run("taken from the config", func(t *testing.T) {
		h := newHouse(t, fixedKey(t))
		token := h.token(change{"client_id": configClient, "sub": configClient})
		h.want(token, nil)
		h.setClient(configClient, false)
		for range 2 {
			h.want(token, ErrClientGone)
		}
		h.setClient(configClient, true)
		h.want(token, nil)
	})
}

func TestReadsClientsAgainAfterAnHour(t *testing.T) {
	h := newHouse(t, fixedKey(t))
	token := h.token(change{"exp": start.Add(24 * time.Hour).Unix()})
	read := func(want int) {
		t.Helper()
		before := h.engine.countViews()
		h.want(token, nil)
		if n := h.engine.countViews() - before; n != want {
			t.Errorf("the store was read %d times, want %d", n, want)
		}
	}
	read(1)
	read(0)
	h.pass(store.RecheckAfter - 1)
	read(0)
	h.pass(1)
	read(1)
	read(0)
	h.pass(-3 * time.Hour) // the clock is set back: what was read in the future does not count
	h.want(h.token(change{"iat": start.Add(-3 * time.Hour).Unix()}), nil)
	h.pass(3 * time.Hour)

	h.engine.mu.Lock() // another node has deleted the client, and its revocation never came
	for key := range h.engine.pairs {
		if strings.Contains(key, storedClient) {
			delete(h.engine.pairs, key)
		}
	}
	h.engine.mu.Unlock()
	h.want(token, nil)
	h.pass(store.RecheckAfter)
	h.want(token, ErrClientGone)
}

func TestReadsAClientOnceForManyTokens(t *testing.T) {
	h := newHouse(t, fixedKey(t))
	before := h.engine.countViews()
	for range 50 {
		h.want(h.token(), nil)
		h.want(h.token(change{"client_id": configClient, "sub": configClient}), nil)
	}
	if n := h.engine.countViews() - before; n != 1 {
		t.Errorf("the store was read %d times", n)
	}
}

func TestFailsClosedWhileStorageFails(t *testing.T) {
	h := newHouse(t, fixedKey(t))
	seen := h.token(change{"exp": start.Add(24 * time.Hour).Unix()})
	h.want(seen, nil)
	h.pass(store.RecheckAfter)
	unseen := h.token()
	h.engine.setFault(store.ErrUnavailable)
	for range 2 {
		for _, token := range []string{seen, unseen} {
			h.want(token, ErrUnavailable)
			_, err := h.verify(token)
			if refused := new(Error); errors.As(err, &refused) || !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("the answer is %v", err)
			}
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	h.engine.setFault(nil)
	if id, err := h.v.Verify(ctx, unseen, testIssuer); id != nil || !errors.Is(err, context.Canceled) {
		t.Errorf("a request that is gone: %v, %v", id, err)
	}
	h.want(seen, nil)
	h.want(unseen, nil)
}

func TestRefusesTokensOfALeakedKey(t *testing.T) {
	h := newHouse(t, fixedKey(t))
	spare := newKey(t, keys.EdDSA)
	h.ring.set(h.key, spare)
	// Whoever has the key dates a token ahead, so that the revocation of what was issued until now misses it.
	token := h.token(change{"iat": start.Add(50 * time.Second).Unix()})
	h.want(token, nil)
	h.ring.set(spare)
	h.want(token, ErrSignature)
	h.want(h.token(), ErrSignature)
	h.want(signed(t, spare, "at+jwt", h.claims()), nil)
}

func TestRefusesTokensOfAKeyThatTheRingRetires(t *testing.T) {
	h := newHouse(t, fixedKey(t))
	ring, err := keys.Open(t.Context(), keys.Config{Algorithm: keys.EdDSA, DB: h.db})
	if err != nil {
		t.Fatal(err)
	}
	h.v = New(Config{Keys: ring, DB: h.db, Client: h.hasClient})
	leaked := ring.Current()
	seen, unseen := signed(t, leaked, "at+jwt", h.claims()), signed(t, leaked, "at+jwt", h.claims())
	h.want(seen, nil)
	if err := ring.Retire(t.Context(), leaked.ID()); err != nil {
		t.Fatal(err)
	}
	for _, token := range []string{seen, unseen} {
		if _, err := h.verify(token); !errors.Is(err, ErrSignature) && !errors.Is(err, ErrRevoked) {
			t.Errorf("Verify = %v", err)
		}
	}
	h.want(signed(t, ring.Current(), "at+jwt", h.claims()), nil)
}

func TestErrorsSayNothingOfTheToken(t *testing.T) {
	for _, err := range []*Error{
		ErrMalformed, ErrType, ErrIssuer, ErrSignature, ErrExpired, ErrNotYetValid, ErrRevoked, ErrClientGone, ErrAudience,
	} {
		for _, c := range err.Error() { // what RFC 6750 §3 allows in an error_description
			if c < ' ' || c > '~' || c == '"' || c == '\\' {
				t.Errorf("%q", err.Description)
			}
		}
	}
}
