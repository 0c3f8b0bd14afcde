package verify

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	_ "crypto/sha512" // SHA-384 and SHA-512, for crypto.Hash
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/lestrrat-go/jwx/v2/jwk"

	"github.com/oauth2-passport/caddy-passport/issuer/keys/es256"
)

// Bounds of the keys of another issuer.
const (
	minRSABits = 2048 // RFC 7518 §3.3
	maxRSABits = 8192
	maxKeys    = 64 // of one set
	maxKeyID   = 512
)

// algorithm is how a signature of another issuer may be made: by a private key, always.
type algorithm struct {
	hash  crypto.Hash
	kind  byte           // 'R' PKCS #1 v1.5, 'P' PSS, 'E' ECDSA, 'D' EdDSA
	curve elliptic.Curve // of ECDSA
}

// algorithms are all that a token of another issuer may be signed with (RFC 7518 §3.1, RFC 8037 §3.1, RFC 9864 §2.2).
var algorithms = map[string]algorithm{
	"RS256":   {hash: crypto.SHA256, kind: 'R'},
	"RS384":   {hash: crypto.SHA384, kind: 'R'},
	"RS512":   {hash: crypto.SHA512, kind: 'R'},
	"PS256":   {hash: crypto.SHA256, kind: 'P'},
	"PS384":   {hash: crypto.SHA384, kind: 'P'},
	"PS512":   {hash: crypto.SHA512, kind: 'P'},
	"ES256":   {hash: crypto.SHA256, kind: 'E', curve: elliptic.P256()},
	"ES384":   {hash: crypto.SHA384, kind: 'E', curve: elliptic.P384()},
	"ES512":   {hash: crypto.SHA512, kind: 'E', curve: elliptic.P521()},
	"EdDSA":   {kind: 'D'},
	"Ed25519": {kind: 'D'},
}

// CheckAlgorithm tells whether tokens of another issuer may be signed with the algorithm of that name.
func CheckAlgorithm(name string) error {
	if _, ok := algorithms[name]; ok {
		return nil
	}
	var names []string
	for known := range algorithms {
		names = append(names, known)
	}
	slices.Sort(names)
	if strings.HasPrefix(name, "HS") {
		return fmt.Errorf("the algorithm %s is symmetric: whoever could verify could sign; there is %s",
			name, strings.Join(names, ", "))
	}
	return fmt.Errorf("unknown algorithm %q: there is %s", name, strings.Join(names, ", "))
}

// publicKey is a key of another issuer.
type publicKey struct {
	kid string           // `kid`; empty where it has none
	alg string           // the only algorithm that it is for; empty: all that fit it
	key crypto.PublicKey // *rsa.PublicKey, *ecdsa.PublicKey, ed25519.PublicKey
	es  *es256.Key       // what verifies ES256; nil where it does not
	id  string           // the SHA-256 of what it is: a key that changes under its kid is another one
}

// newPublicKey takes a key that is fit to verify with.
func newPublicKey(key crypto.PublicKey, kid, alg string) (*publicKey, error) {
	switch key := key.(type) {
	case *rsa.PublicKey:
		if bits := key.N.BitLen(); bits < minRSABits || bits > maxRSABits {
			return nil, fmt.Errorf("it is an RSA key of %d bits, between %d and %d are taken",
				bits, minRSABits, maxRSABits)
		}
		if key.E < 3 || key.E&1 == 0 {
			return nil, errors.New("it is an RSA key with a bad exponent")
		}
	case *ecdsa.PublicKey:
		if _, err := key.Bytes(); err != nil { // not on its curve, or on one that the standard library lacks
			return nil, errors.New("it is an EC key with a bad point or an unknown curve")
		}
	case ed25519.PublicKey:
		if len(key) != ed25519.PublicKeySize {
			return nil, errors.New("it is an Ed25519 key of another length")
		}
	default:
		return nil, fmt.Errorf("it is no public key for signatures, but a %T", key)
	}
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return nil, fmt.Errorf("it can't be encoded: %w", err)
	}
	sum := sha256.Sum256(der)
	k := &publicKey{kid: kid, alg: alg, key: key, id: string(sum[:])}
	if k.fits("ES256") {
		k.es = es256.New(key.(*ecdsa.PublicKey))
	}
	if alg != "" && !k.fits(alg) {
		return nil, fmt.Errorf("its algorithm %.40q does not fit it", alg)
	}
	return k, nil
}

// fits tells whether the key may verify signatures of the algorithm: the key says so, never the token alone
// (RFC 8725 §3.1).
func (k *publicKey) fits(alg string) bool {
	a, ok := algorithms[alg]
	if !ok || k.alg != "" && k.alg != alg {
		return false
	}
	switch key := k.key.(type) {
	case *rsa.PublicKey:
		return a.kind == 'R' || a.kind == 'P'
	case *ecdsa.PublicKey:
		return a.kind == 'E' && key.Curve == a.curve
	default:
		return a.kind == 'D'
	}
}

// verify tells whether signature is the key's signature of input by alg.
func (k *publicKey) verify(alg, input string, signature []byte) bool {
	if !k.fits(alg) {
		return false
	}
	if alg == "ES256" {
		sum := sha256.Sum256(bytesOf(input))
		return k.es.Verify(&sum, signature)
	}
	a := algorithms[alg]
	var sum []byte
	if a.hash != 0 {
		h := a.hash.New()
		h.Write(bytesOf(input))
		sum = h.Sum(nil)
	}
	switch key := k.key.(type) {
	case *rsa.PublicKey:
		if a.kind == 'P' {
			options := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: a.hash} // RFC 7518 §3.5
			return rsa.VerifyPSS(key, a.hash, sum, signature, options) == nil
		}
		return rsa.VerifyPKCS1v15(key, a.hash, sum, signature) == nil
	case *ecdsa.PublicKey:
		width := (key.Curve.Params().BitSize + 7) / 8
		if len(signature) != 2*width { // RFC 7518 §3.4
			return false
		}
		r, s := new(big.Int).SetBytes(signature[:width]), new(big.Int).SetBytes(signature[width:])
		return ecdsa.Verify(key, sum, r, s)
	case ed25519.PublicKey:
		return ed25519.Verify(key, bytesOf(input), signature)
	}
	return false
}

// parseJWKS reads a JWK set (RFC 7517 §5). Keys that are of no use here are left out, as it says: symmetric ones, those
// for encryption, of unknown kinds.
func parseJWKS(body []byte) ([]*publicKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(body, &set); err != nil {
		return nil, errors.New("it is no JWK set")
	}
	var found []*publicKey
	for _, raw := range set.Keys {
		if len(found) == maxKeys {
			break
		}
		if k, err := parseJWK(raw); err == nil {
			found = append(found, k)
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("none of the %d keys of its JWK set can verify signatures here", len(set.Keys))
	}
	return found, nil
}

func parseJWK(raw []byte) (*publicKey, error) {
	key, err := jwk.ParseKey(raw)
	if err != nil {
		return nil, err
	}
	if use := key.KeyUsage(); use != "" && use != "sig" {
		return nil, errors.New("it is not for signatures")
	}
	if ops := key.KeyOps(); len(ops) > 0 && !slices.Contains(ops, jwk.KeyOpVerify) { // RFC 7517 §4.3
		return nil, errors.New("it is not for verifying")
	}
	if len(key.KeyID()) > maxKeyID {
		return nil, errors.New("its kid is too long")
	}
	var public any
	if err := key.Raw(&public); err != nil {
		return nil, err
	}
	if rsaKey, ok := public.(*rsa.PublicKey); ok && rsaKey.N == nil {
		return nil, errors.New("it has no modulus")
	}
	alg := ""
	if key.Algorithm() != nil {
		alg = key.Algorithm().String()
	}
	return newPublicKey(public, key.KeyID(), alg)
}

// ParsePublicKeys reads public keys in PEM, one or more: PKIX ("PUBLIC KEY"), PKCS #1 ("RSA PUBLIC KEY").
func ParsePublicKeys(text []byte) ([]crypto.PublicKey, error) {
	var found []crypto.PublicKey
	for rest := text; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		var key crypto.PublicKey
		var err error
		switch {
		case block.Type == "PUBLIC KEY":
			key, err = x509.ParsePKIXPublicKey(block.Bytes)
		case block.Type == "RSA PUBLIC KEY":
			key, err = x509.ParsePKCS1PublicKey(block.Bytes)
		case strings.HasSuffix(block.Type, "PRIVATE KEY"):
			err = errors.New("it is a private key: the public one is needed, which can't sign")
		default:
			err = fmt.Errorf("it is a %.40q: a PUBLIC KEY is needed", block.Type)
		}
		if err != nil {
			return nil, err
		}
		if _, err := newPublicKey(key, "", ""); err != nil {
			return nil, err
		}
		found = append(found, key)
	}
	if len(found) == 0 {
		return nil, errors.New("it has no public key in PEM")
	}
	return found, nil
}
