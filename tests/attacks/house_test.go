// Package attacks tries over HTTP, against a running Caddy, what must not be possible at the gateway.
package attacks

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwk"

	"github.com/oauth2-passport/caddy-passport/tests/internal/gateway"
)

const secret = "the secret of the clients of these tests"

// part is a part of a JWT: its header, or its claims. A member that is nil is left out.
type part map[string]any

func (p part) with(other part) part {
	p = maps.Clone(p)
	maps.Copy(p, other)
	maps.DeleteFunc(p, func(_ string, value any) bool { return value == nil })
	return p
}

func (p part) encode(t *testing.T) string {
	t.Helper()
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

// key signs tokens.
type key struct {
	private *ecdsa.PrivateKey
	public  jwk.Key // with its kid
}

func newKey(t *testing.T) *key {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public, err := jwk.FromRaw(private.Public())
	if err == nil {
		err = jwk.AssignKeyID(public, jwk.WithThumbprintHash(crypto.SHA256))
	}
	if err != nil {
		t.Fatal(err)
	}
	return &key{private, public}
}

// pem is the private key as the issuer is given it.
func (k *key) pem(t *testing.T) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(k.private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

func (k *key) sign(t *testing.T, header, claims part) string {
	t.Helper()
	return k.signText(t, header.encode(t)+"."+claims.encode(t))
}

func (k *key) signText(t *testing.T, input string) string {
	t.Helper()
	digest := sha256.Sum256([]byte(input))
	r, s, err := ecdsa.Sign(rand.Reader, k.private, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return input + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// header is that of an access token.
func (k *key) header() part {
	return part{"alg": "ES256", "typ": "at+jwt", "kid": k.public.KeyID()}
}

// claims are those of a good access token of the client.
func claims(issuer, client string) part {
	now := time.Now().Unix()
	return part{
		"iss": issuer, "sub": client, "aud": issuer, "client_id": client, "scope": "read", "jti": rand.Text(),
		"iat": now, "exp": now + 3600,
	}
}

// another is another issuer, which publishes one key.
func another(t *testing.T, k *key) (identifier string) {
	t.Helper()
	var server *httptest.Server
	server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch r.URL.Path {
		case "/.well-known/openid-configuration":
			_ = json.NewEncoder(w).Encode(part{"issuer": server.URL, "jwks_uri": server.URL + "/keys"})
		case "/keys":
			_ = json.NewEncoder(w).Encode(part{"keys": []jwk.Key{k.public}})
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// revoke has a client revoke its token.
func revoke(t *testing.T, g *gateway.Gateway, client, token string) {
	t.Helper()
	if resp := g.Form("/oauth/revoke", client, secret, url.Values{"token": {token}}); resp.Status != http.StatusOK {
		t.Fatalf("revoking: %d %s", resp.Status, resp.Body)
	}
}
