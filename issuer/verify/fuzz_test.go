package verify

import (
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/oauth2-passport/caddy-passport/issuer/keys"
)

// FuzzVerify looks for a token that is taken though the issuer never signed it, and for a panic.
func FuzzVerify(f *testing.F) {
	h := newHouse(f, fixedKey(f))
	good := []string{ // the same in each process: so are the key and the clock
		h.token(change{"jti": "j1"}),
		h.token(change{"jti": "j2", "sub": "user-1", "aud": []string{"a", testIssuer}, "nbf": start.Unix()}),
		h.token(change{"jti": "j3", "scope": nil, "nested": map[string]any{"a": []int{1, 2}}}),
	}
	for _, token := range good {
		header, rest, _ := strings.Cut(token, ".")
		payload, signature, _ := strings.Cut(rest, ".")
		f.Add(token)
		f.Add(token + "=")
		f.Add(token + ".")
		f.Add(header + "." + payload + ".")
		f.Add(b64(`{"alg":"none","typ":"at+jwt"}`) + "." + payload + ".")
		f.Add(b64(`{"alg":"HS256","typ":"at+jwt","kid":"../../dev/null"}`) + "." + payload + "." + signature)
		f.Add(b64(`{"alg":"EdDSA","typ":"at+jwt","kid":"`+h.key.ID()+`","crit":["b64"],"b64":false}`) + "." + rest)
		f.Add(header + "." + b64(`{"iss":"`+testIssuer+`","exp":1e99}`) + "." + signature)
	}
	f.Add("passport_rt_")
	f.Add("..")
	f.Fuzz(func(t *testing.T, token string) {
		for range 2 { // new, then perhaps remembered
			id, err := h.v.Verify(t.Context(), token, testIssuer)
			if (id == nil) != (err != nil) {
				t.Fatalf("%v, %v", id, err)
			}
			if err == nil && !slices.Contains(good, token) {
				t.Fatalf("%q is taken", token)
			}
			if refused := new(Error); err != nil && !errors.As(err, &refused) {
				t.Fatalf("not a fault of the token: %v", err)
			}
		}
	})
}

// FuzzSignedToken signs whatever comes and compares what is taken with encoding/json: a header or claims of any shape
// make no panic, and nobody becomes who the token does not say.
func FuzzSignedToken(f *testing.F) {
	h := newHouse(f, fixedKey(f))
	header := `{"alg":"EdDSA","typ":"at+jwt","kid":"` + h.key.ID() + `"}`
	f.Add(header, mustJSON(f, h.claims()))
	f.Add(header, mustJSON(f, h.claims(change{"exp": float64(start.Unix()) + 0.5, "scope": "*", "aud": []string{"a"}})))
	f.Add(header, mustJSON(f, h.claims(change{"sub": "user-1", "preferred_username": "\u00e4\"\\/"})))
	f.Add(`{"alg":"EdDSA"}`, `{}`)
	f.Add(strings.Replace(header, "kid", `k\u0069d`, 1), `{"iss":"`+testIssuer+`","iss":"x"}`)
	f.Fuzz(func(t *testing.T, header, claims string) {
		token := forged(header, claims, h.sign)
		id, err := h.v.Verify(t.Context(), token, testIssuer)
		if err != nil {
			return
		}
		var head map[string]any
		if err := json.Unmarshal([]byte(header), &head); err != nil {
			t.Fatalf("the header %q is taken: %v", header, err)
		}
		if head["alg"] != "EdDSA" || head["kid"] != h.key.ID() || head["crit"] != nil {
			t.Fatalf("the header %q is taken", header)
		}
		var want map[string]any
		if err := json.Unmarshal([]byte(claims), &want); err != nil {
			t.Fatalf("the claims %q are taken: %v", claims, err)
		}
		for name, value := range map[string]string{
			"iss": id.Issuer, "sub": id.Subject, "client_id": id.ClientID, "jti": id.TokenID,
		} {
			if want[name] != value || value == "" {
				t.Fatalf("%s is %q in %q", name, value, claims)
			}
		}
		if scope, _ := want["scope"].(string); scope != id.Scope || strings.Join(id.Scopes, " ") != scope {
			t.Fatalf("scopes are %q in %q", id.Scopes, claims)
		}
		audience := want["aud"]
		if list, ok := audience.([]any); ok && len(list) == len(id.Audience) {
			for i := range list {
				if list[i] != id.Audience[i] {
					t.Fatalf("audience is %q in %q", id.Audience, claims)
				}
			}
		} else if !reflect.DeepEqual(id.Audience, []string{asString(audience)}) {
			t.Fatalf("audience is %q in %q", id.Audience, claims)
		}
		exp, _ := want["exp"].(float64)
		got, now := float64(id.ExpiresAt.UnixMilli())/1000, float64(start.Unix())
		if d := got - exp; d < -0.01 || d > 0.01 || exp <= now {
			t.Fatalf("it expires at %v in %q", id.ExpiresAt, claims)
		}
		if id.Person() != (id.Subject != id.ClientID) || len(id.Claims()) != len(want) {
			t.Fatalf("%+v of %q", id.Claims(), claims)
		}
	})
}

func asString(v any) string {
	s, _ := v.(string)
	return s
}

// FuzzECDSASignature looks for another signature that an ES256 key takes for a token, besides the twin with the order
// of the curve minus s.
func FuzzECDSASignature(f *testing.F) {
	h := newHouse(f, newKey(f, keys.ES256))
	input, _, _ := strings.Cut(h.token(), ".")
	input += "." + b64(mustJSON(f, h.claims()))
	f.Add([]byte{})
	f.Add(make([]byte, 64))
	f.Add(append(make([]byte, 63), 1))
	f.Add([]byte("\x30\x06\x02\x01\x01\x02\x01\x01"))
	f.Fuzz(func(t *testing.T, signature []byte) {
		token := input + "." + b64(string(signature))
		if _, err := h.v.Verify(t.Context(), token, testIssuer); err == nil {
			t.Fatalf("the signature %x is taken", signature)
		}
	})
}
