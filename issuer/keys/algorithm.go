package keys

import (
	"crypto/elliptic"
	"fmt"
	"strings"
)

// Algorithm is a JWS algorithm that keys of this package sign with, by its name in RFC 7518 §3.1 and RFC 8037 §3.1.
type Algorithm string

// The algorithms. HMAC is not among them: whoever could verify could sign.
const (
	ES256 Algorithm = "ES256" // ECDSA on P-256 with SHA-256; the default
	ES384 Algorithm = "ES384" // ECDSA on P-384 with SHA-384
	RS256 Algorithm = "RS256" // RSASSA-PKCS1-v1_5 with SHA-256
	PS256 Algorithm = "PS256" // RSASSA-PSS with SHA-256 and a salt of 32 bytes
	EdDSA Algorithm = "EdDSA" // Ed25519
)

// DefaultAlgorithm is what signs when nothing else is asked for.
const DefaultAlgorithm = ES256

var algorithms = []Algorithm{ES256, ES384, RS256, PS256, EdDSA}

// ParseAlgorithm returns the algorithm of that name, [DefaultAlgorithm] for the empty one. Names are compared with
// their case, as RFC 7515 §4.1.1 has it. The error lists the names that are known.
func ParseAlgorithm(s string) (Algorithm, error) {
	if s == "" {
		return DefaultAlgorithm, nil
	}
	for _, alg := range algorithms {
		if s == string(alg) {
			return alg, nil
		}
	}
	return "", fmt.Errorf("unknown algorithm %.40q: use one of %s", s, join(algorithms, ", "))
}

func join(algs []Algorithm, sep string) string {
	names := make([]string, len(algs))
	for i, alg := range algs {
		names[i] = string(alg)
	}
	return strings.Join(names, sep)
}

// curve is the curve of an ECDSA algorithm, nil for others.
func (a Algorithm) curve() elliptic.Curve {
	switch a {
	case ES256:
		return elliptic.P256()
	case ES384:
		return elliptic.P384()
	}
	return nil
}
