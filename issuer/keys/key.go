// Package keys holds the keys that an issuer signs its tokens with: it makes them, reads those that the operator gives,
// signs and verifies with them, and keeps them in a [Ring] that publishes a key before it signs and lets it verify for
// as long as a token that it signed may live.
//
// Begin at [Open] for the ring and at [Key] for a single key. Signing and verifying go straight to the standard
// library, except that package es256 verifies ES256; jwx reads and renders JSON Web Keys.
package keys

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"fmt"
	"sync/atomic"

	"github.com/lestrrat-go/jwx/v2/jwk"

	"github.com/oauth2-passport/caddy-passport/issuer/keys/es256"
)

const (
	rsaBits    = 2048 // of keys that are made here, and the least that RFC 7518 §3.3 and §3.5 allow
	rsaMaxBits = 8192 // a signature with more takes a tenth of a second and longer
)

// Key is a private key for one algorithm. It does not change and may be used from any goroutine. Printing one shows
// its ID and algorithm only.
type Key struct {
	id  string
	alg Algorithm

	// One of these is set, by the algorithm.
	ec  *ecdsa.PrivateKey
	rsa *rsa.PrivateKey
	ed  ed25519.PrivateKey

	es256    *es256.Key // what verifies; of ES256 alone
	edPublic ed25519.PublicKey
	sigSize  int // bytes of a signature: every one has the same

	headers atomic.Pointer[[]jwtHeader] // see SignJWT
}

// Generate makes a new key. Its ID is its thumbprint (RFC 7638, SHA-256, base64url).
func Generate(alg Algorithm) (*Key, error) {
	for {
		k, err := generate(alg)
		if err != nil || k.id[0] != '-' { // a command would take it for a flag
			return k, err
		}
	}
}

func generate(alg Algorithm) (*Key, error) {
	switch alg {
	case ES256, ES384:
		priv, err := ecdsa.GenerateKey(alg.curve(), rand.Reader)
		if err != nil {
			return nil, fmt.Errorf("generating a key for %s: %w", alg, err)
		}
		return newKey(priv, alg, "")
	case RS256, PS256:
		priv, err := rsa.GenerateKey(rand.Reader, rsaBits)
		if err != nil {
			return nil, fmt.Errorf("generating a key for %s: %w", alg, err)
		}
		return newKey(priv, alg, "")
	case EdDSA:
		_, priv, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return nil, fmt.Errorf("generating a key for %s: %w", alg, err)
		}
		return newKey(priv, alg, "")
	}
	_, err := ParseAlgorithm(string(alg))
	if err == nil {
		err = fmt.Errorf("no algorithm given: use one of %s", join(algorithms, ", "))
	}
	return nil, err
}

// newKey wraps a private key whose fitness for alg has been checked. id "" means the thumbprint.
func newKey(priv crypto.Signer, alg Algorithm, id string) (*Key, error) {
	k := &Key{id: id, alg: alg}
	switch priv := priv.(type) {
	case *ecdsa.PrivateKey:
		k.ec = priv
		k.sigSize = 2 * ((priv.Curve.Params().BitSize + 7) / 8)
		if alg == ES256 {
			k.es256 = es256.New(&priv.PublicKey)
		}
	case *rsa.PrivateKey:
		k.rsa = priv
		k.sigSize = priv.Size()
	case ed25519.PrivateKey:
		k.ed = priv
		k.edPublic = priv.Public().(ed25519.PublicKey)
		k.sigSize = ed25519.SignatureSize
	default:
		return nil, fmt.Errorf("a key of type %T cannot sign tokens", priv)
	}
	if k.id == "" {
		id, err := thumbprint(k.Public())
		if err != nil {
			return nil, err
		}
		k.id = id
	}
	return k, nil
}

// ID is the key's `kid`.
func (k *Key) ID() string { return k.id }

// Algorithm is the one algorithm that the key signs and verifies with (RFC 8725 §3.1).
func (k *Key) Algorithm() Algorithm { return k.alg }

// Public is the public key: an *ecdsa.PublicKey, an *rsa.PublicKey or an ed25519.PublicKey.
func (k *Key) Public() crypto.PublicKey {
	switch {
	case k.ec != nil:
		return &k.ec.PublicKey
	case k.rsa != nil:
		return &k.rsa.PublicKey
	default:
		return k.edPublic
	}
}

// String is the algorithm and the ID, so that a key in a log line tells no secret.
func (k *Key) String() string { return string(k.alg) + " key " + k.id }

// GoString is what String is, for %#v.
func (k *Key) GoString() string { return "keys.Key{" + k.String() + "}" }

// thumbprint is the one of RFC 7638 §3, with SHA-256, in base64url.
func thumbprint(public crypto.PublicKey) (string, error) {
	key, err := jwk.FromRaw(public)
	if err != nil {
		return "", fmt.Errorf("making a JWK of a public key: %w", err)
	}
	sum, err := key.Thumbprint(crypto.SHA256)
	if err != nil {
		return "", fmt.Errorf("making the thumbprint of a public key: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(sum), nil
}
