package keys

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
)

// maxKeyID bounds a `kid` that is given: it stands in every token.
const maxKeyID = 128

// parseJWK reads a private key in JSON (RFC 7517, RFC 7518 §6, RFC 8037).
func parseJWK(data []byte, alg Algorithm) (*Key, error) {
	if data[0] == '[' {
		return nil, errors.New("it is a JSON array: a single JWK is needed")
	}
	var m jwkMembers
	if err := json.Unmarshal(data, &m); err != nil {
		if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
			return nil, fmt.Errorf("it is not valid JSON, at byte %d", syntax.Offset)
		}
		return nil, errors.New("it is not a JSON object")
	}
	if _, ok := m["keys"]; ok {
		return nil, errors.New("it is a JWK set: give one private key of it")
	}
	id, own, err := m.purpose()
	if err != nil {
		return nil, err
	}
	priv, err := m.private()
	if err != nil {
		return nil, err
	}
	if own != "" {
		if _, err := fit(priv, own); err != nil {
			return nil, fmt.Errorf("its alg does not fit its key: %w", err)
		}
		if alg != "" && alg != own {
			return nil, fmt.Errorf("its alg is %s, but %s is asked for", own, alg)
		}
		alg = own
	}
	if alg, err = fit(priv, alg); err != nil {
		return nil, err
	}
	return newKey(priv, alg, id)
}

// purpose checks what the JWK says that it is for: use, key_ops, alg and kid (RFC 7517 §4.2 to §4.5).
func (m jwkMembers) purpose() (id string, alg Algorithm, err error) {
	use, err := m.text("use")
	if err != nil {
		return "", "", err
	}
	if use != "" && use != "sig" {
		return "", "", fmt.Errorf("its use is %.40q: a key for signatures (sig) is needed", use)
	}
	if raw, ok := m["key_ops"]; ok {
		var ops []string
		if json.Unmarshal(raw, &ops) != nil {
			return "", "", errors.New("its key_ops is not a list of texts")
		}
		if !slices.Contains(ops, "sign") {
			return "", "", errors.New("its key_ops does not allow to sign")
		}
	}
	name, err := m.text("alg")
	if err != nil {
		return "", "", err
	}
	switch name {
	case "":
	case "Ed25519": // the fully specified name of RFC 9864 §2.2
		alg = EdDSA
	default:
		if alg, err = ParseAlgorithm(name); err != nil {
			return "", "", fmt.Errorf("its alg: %w", err)
		}
	}
	id, err = m.text("kid")
	if err != nil {
		return "", "", err
	}
	if len(id) > maxKeyID {
		return "", "", fmt.Errorf("its kid has %d bytes, at most %d are taken", len(id), maxKeyID)
	}
	for _, c := range id {
		// It goes into tokens, file names of other programs and paths of the admin API.
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("-._~:=+", c) {
			return "", "", errors.New("its kid has a character other than letters, digits and - . _ ~ : = +")
		}
	}
	return id, alg, nil
}

// private is the private key of the members. jwx puts it together; what it would overlook is checked before and after.
func (m jwkMembers) private() (crypto.Signer, error) {
	kty, err := m.text("kty")
	if err != nil {
		return nil, err
	}
	switch kty {
	case "EC":
		return m.ec()
	case "OKP":
		return m.okp()
	case "RSA":
		return m.rsa()
	case "oct":
		return nil, errors.New("it is a symmetric key (kty oct): whoever could verify could sign")
	case "":
		return nil, errors.New("it has no kty: it is no JWK")
	}
	return nil, fmt.Errorf("its kty is %.40q: EC, RSA or OKP is needed", kty)
}

func (m jwkMembers) ec() (crypto.Signer, error) {
	crv, err := m.text("crv")
	if err != nil {
		return nil, err
	}
	var curve elliptic.Curve
	switch crv {
	case "P-256":
		curve = elliptic.P256()
	case "P-384":
		curve = elliptic.P384()
	case "":
		return nil, errors.New("its kty is EC, but it has no crv")
	default:
		return nil, fmt.Errorf("it is an EC key on %s: ES256 takes P-256, ES384 takes P-384", printable(crv))
	}
	width := (curve.Params().BitSize + 7) / 8
	if err := m.need("x", "y", "d"); err != nil {
		return nil, err
	}
	for _, name := range []string{"x", "y", "d"} {
		if b, err := m.bytes(name); err != nil {
			return nil, err
		} else if len(b) != width { // RFC 7518 §6.2.1.2, §6.2.2.1
			return nil, fmt.Errorf("its %s has %d bytes, a key on %s has %d", name, len(b), crv, width)
		}
	}
	priv, err := assemble[*ecdsa.PrivateKey](m, "kty", "crv", "x", "y", "d")
	if err != nil {
		return nil, err
	}
	d, err := m.bytes("d")
	if err != nil {
		return nil, err
	}
	derived, err := ecdsa.ParseRawPrivateKey(curve, d)
	if err != nil {
		return nil, fmt.Errorf("its d is not a private key on %s: zero, or not less than the order of the curve", crv)
	}
	if !derived.PublicKey.Equal(&priv.PublicKey) {
		return nil, errors.New("its public part (x, y) does not belong to its private part (d)")
	}
	return derived, nil
}

func (m jwkMembers) okp() (crypto.Signer, error) {
	crv, err := m.text("crv")
	if err != nil {
		return nil, err
	}
	switch crv {
	case "Ed25519":
	case "":
		return nil, errors.New("its kty is OKP, but it has no crv")
	case "X25519", "X448":
		return nil, fmt.Errorf("it is an %s key, which agrees on keys but cannot sign", crv)
	default:
		return nil, fmt.Errorf("it is an OKP key on %s: EdDSA takes Ed25519", printable(crv))
	}
	if err := m.need("x", "d"); err != nil {
		return nil, err
	}
	parts := make(map[string][]byte, 2)
	for _, name := range []string{"x", "d"} {
		b, err := m.bytes(name)
		if err != nil {
			return nil, err
		}
		if len(b) != ed25519.SeedSize { // the public key is as long
			return nil, fmt.Errorf("its %s has %d bytes, a key on Ed25519 has %d", name, len(b), ed25519.SeedSize)
		}
		parts[name] = b
	}
	derived := ed25519.NewKeyFromSeed(parts["d"])
	if !bytes.Equal(derived.Public().(ed25519.PublicKey), parts["x"]) {
		return nil, errors.New("its public part (x) does not belong to its private part (d)")
	}
	return assemble[ed25519.PrivateKey](m, "kty", "crv", "x", "d")
}

func (m jwkMembers) rsa() (crypto.Signer, error) {
	if _, ok := m["oth"]; ok {
		return nil, errors.New("it is an RSA key of more than two primes, which is not supported")
	}
	if err := m.need("n", "e", "d"); err != nil {
		return nil, err
	}
	names := []string{"n", "e", "d", "p", "q"}
	var width int // bytes of n
	for _, name := range names[3:] {
		if _, ok := m[name]; !ok {
			return nil, fmt.Errorf("it has no %s: an RSA key is needed with its primes (p, q)", name)
		}
	}
	for _, name := range []string{"dp", "dq", "qi"} {
		if _, ok := m[name]; ok {
			names = append(names, name)
		}
	}
	for _, name := range names {
		b, err := m.bytes(name)
		if err != nil {
			return nil, err
		}
		b = bytes.TrimLeft(b, "\x00")
		switch {
		case len(b) == 0:
			return nil, fmt.Errorf("its %s is zero", name)
		case name == "n":
			if err := checkModulus(new(big.Int).SetBytes(b)); err != nil {
				return nil, err
			}
			width = len(b)
		case name == "e" && len(b) > 4:
			return nil, fmt.Errorf("its e has %d bytes, at most 4 are taken", len(b))
		case name == "e" && (b[len(b)-1]&1 == 0 || len(b) == 1 && b[0] == 1):
			return nil, errors.New("its e is even or 1: it is no exponent of an RSA key")
		case len(b) > width:
			return nil, fmt.Errorf("its %s has %d bytes, its n has %d", name, len(b), width)
		}
	}
	priv, err := assemble[*rsa.PrivateKey](m, append(names, "kty")...)
	if err != nil {
		return nil, err
	}
	priv.Precompute()
	if err := priv.Validate(); err != nil {
		return nil, errors.New("its parts (n, e, d, p, q and what else is given) do not belong together")
	}
	return priv, nil
}
