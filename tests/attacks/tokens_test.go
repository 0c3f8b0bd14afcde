package attacks

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/oauth2-passport/caddy-passport/tests/internal/gateway"
)

const tokensSite = `{
	default_bind 127.0.0.1
	passport {
		issuer http://127.0.0.1:{$PORT}
		keys ES256 {
			private_key {env.KEY}
		}
		client demo {
			secret {env.CLIENT_SECRET}
			grants client_credentials
			scopes read write
		}
	}
	passport other {
		issuer http://127.0.0.1:{$PORT}/other
		client demo {
			secret {env.CLIENT_SECRET}
			grants client_credentials
			scopes read write
		}
	}
}

http://127.0.0.1:{$PORT} {
	passport_server
	passport_server other {
		prefix /other
	}
	passport_auth /orders* scopes read
	passport_auth /elsewhere* {
		audience https://elsewhere.example
	}
	passport_auth /optional* {
		optional
	}
	reverse_proxy {$UPSTREAM}
}
`

// TestRefusesForgedAndMisusedTokens sends what somebody may make who knows the public key, has tokens for other purposes,
// or once had good ones: twice, for what is remembered of them must not help.
func TestRefusesForgedAndMisusedTokens(t *testing.T) {
	k, stranger := newKey(t), newKey(t)
	upstream := gateway.NewUpstream(t)
	g := gateway.Start(t, tokensSite, "UPSTREAM="+upstream.Addr, "CLIENT_SECRET="+secret, "KEY="+k.pem(t))
	header, good := k.header(), claims(g.URL, "demo")
	if resp := g.Get("/orders/17", k.sign(t, header, good)); resp.Status != http.StatusOK {
		t.Fatalf("a good token: %d %s", resp.Status, resp.Body) // or all below would be refused for nothing
	}
	if err := stranger.public.Set("kid", k.public.KeyID()); err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(k.private.Public())
	if err != nil {
		t.Fatal(err)
	}
	jwkText, err := json.Marshal(k.public)
	if err != nil {
		t.Fatal(err)
	}
	byHMAC := func(secret []byte) string {
		input := header.with(part{"alg": "HS256"}).encode(t) + "." + good.encode(t)
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(input))
		return input + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
	}
	unsigned := func(alg string) string {
		return header.with(part{"alg": alg}).encode(t) + "." + good.encode(t) + "."
	}
	signed := func(header, claims part) string { return k.sign(t, header, claims) }
	real := g.Token("demo", secret, "read")
	cut := strings.LastIndex(real, ".")
	revoked := g.Token("demo", secret, "read")
	if resp := g.Get("/orders/17", revoked); resp.Status != http.StatusOK {
		t.Fatalf("a token that is to be revoked: %d %s", resp.Status, resp.Body)
	}
	revoke(t, g, "demo", revoked)
	created, _, code := g.Caddy("passport", "client", "create", "--name", "Short-lived", "--grants", "client_credentials",
		"--scopes", "read", "--json")
	var client struct {
		ID     string `json:"client_id"`
		Secret string `json:"client_secret"`
	}
	if err := json.Unmarshal([]byte(created), &client); err != nil || code != 0 {
		t.Fatalf("creating a client: %v %s", err, created)
	}
	deleted := g.Token(client.ID, client.Secret, "read")
	if resp := g.Get("/orders/17", deleted); resp.Status != http.StatusOK {
		t.Fatalf("a client that is to be deleted: %d %s", resp.Status, resp.Body)
	}
	if _, faults, code := g.Caddy("passport", "client", "delete", client.ID); code != 0 {
		t.Fatal(faults)
	}
	ofOther := g.Form("/other/token", "demo", secret, map[string][]string{
		"grant_type": {"client_credentials"}, "scope": {"read"},
	}).String("access_token")
	if ofOther == "" {
		t.Fatal("the other issuer gives no token")
	}
	now := time.Now().Unix()

	before := len(upstream.Requests())
	for name, token := range map[string]string{
		"alg none":                  unsigned("none"),
		"alg None":                  unsigned("None"),
		"alg NONE with a signature": unsigned("NONE") + real[cut+1:],
		"no alg":                    header.with(part{"alg": nil}).encode(t) + "." + good.encode(t) + ".",
		"HMAC with the PEM":         byHMAC(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})),
		"HMAC with the DER":         byHMAC(der),
		"HMAC with the JWK":         byHMAC(jwkText),
		"HMAC with nothing":         byHMAC(nil),
		"another key of that kid":   stranger.sign(t, stranger.header(), good),
		"a key that it brings":      stranger.sign(t, header.with(part{"jwk": stranger.public}), good),
		"a key that it points to":   stranger.sign(t, header.with(part{"jku": "http://" + upstream.Addr + "/keys"}), good),
		"a certificate":             stranger.sign(t, header.with(part{"x5u": "http://" + upstream.Addr + "/cert"}), good),
		"kid a path":                stranger.sign(t, header.with(part{"kid": "../../../../dev/null"}), good),
		"kid a URL":                 stranger.sign(t, header.with(part{"kid": "http://" + upstream.Addr + "/keys"}), good),
		"kid with SQL":              stranger.sign(t, header.with(part{"kid": "x' OR '1'='1"}), good),
		"no kid":                    stranger.sign(t, header.with(part{"kid": nil}), good),
		"a critical extension":      signed(header.with(part{"crit": []string{"b64"}, "b64": false}), good),
		"an ID token":               signed(header.with(part{"typ": "JWT"}), good.with(part{"nonce": "n", "aud": "demo"})),
		"typ JWT":                   signed(header.with(part{"typ": "JWT"}), good),
		"no typ":                    signed(header.with(part{"typ": nil}), good),
		"typ logout":                signed(header.with(part{"typ": "logout+jwt"}), good),
		"other claims":              strings.Split(real, ".")[0] + "." + good.with(part{"scope": "read admin"}).encode(t) + real[cut:],
		"no signature":              real[:cut+1],
		"a longer signature":        real + "AAAA",
		"two signatures":            real + real[cut:],
		"expired":                   signed(header, good.with(part{"iat": now - 7200, "exp": now - 1})),
		"no exp":                    signed(header, good.with(part{"exp": nil})),
		"exp a text":                signed(header, good.with(part{"exp": "9999999999"})),
		"not yet valid":             signed(header, good.with(part{"nbf": now + 600})),
		"of tomorrow":               signed(header, good.with(part{"iat": now + 86400, "exp": now + 90000})),
		"another issuer":            signed(header, good.with(part{"iss": "https://evil.example"})),
		"the issuer with a slash":   signed(header, good.with(part{"iss": g.URL + "/"})),
		"no issuer":                 signed(header, good.with(part{"iss": nil})),
		"another audience":          signed(header, good.with(part{"aud": "https://elsewhere.example"})),
		"no audience":               signed(header, good.with(part{"aud": nil})),
		"aud within a text":         signed(header, good.with(part{"aud": g.URL + " " + g.URL})),
		"no client":                 signed(header, good.with(part{"client_id": nil})),
		"a client that never was":   signed(header, good.with(part{"client_id": "nobody", "sub": "nobody"})),
		"a user that never was":     signed(header, good.with(part{"sub": "01a00000-0000-7000-8000-000000000000"})),
		"claims twice": k.signText(t, header.encode(t)+"."+base64.RawURLEncoding.EncodeToString([]byte(
			strings.Replace(string(text(t, good.with(part{"scope": nil}))), "{", `{"scope":"none","scope":"read",`, 1)))),
		"our other issuer's":       ofOther,
		"revoked":                  revoked,
		"of a deleted client":      deleted,
		"a refresh token":          "passport_rt_00000000000000000000000000000000000000000000000000",
		"a code":                   "passport_ac_00000000000000000000000000000000000000000000000000",
		"the client's secret":      client.Secret,
		"a made-up personal token": "passport_pat_00000000000000000000000000000000000000000000000000",
	} {
		t.Run(name, func(t *testing.T) {
			for range 2 {
				for _, path := range []string{"/orders/17", "/optional"} {
					resp := g.Get(path, token)
					if resp.Status != http.StatusUnauthorized || resp.String("error") != "invalid_token" ||
						!strings.Contains(resp.Header.Get("Www-Authenticate"), `error="invalid_token"`) {
						t.Errorf("%s: %d %s", path, resp.Status, resp.Body)
					}
				}
			}
		})
	}
	if resp := g.Get("/elsewhere", real); resp.Status != http.StatusUnauthorized {
		t.Errorf("a good token at a route with another audience: %d %s", resp.Status, resp.Body)
	}
	if got := upstream.Requests()[before:]; len(got) > 0 {
		t.Errorf("the upstream received %+v", got)
	}
	if resp := g.Get("/orders/17", real); resp.Status != http.StatusOK {
		t.Errorf("a good token at the end: %d %s", resp.Status, resp.Body)
	}
}

func text(t *testing.T, p part) []byte {
	t.Helper()
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
