package keys

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jwk"
)

// renderJWKS renders the public parts of keys as a JWK set (RFC 7517 §5), in their order, and its strong entity tag.
func renderJWKS(keys []*Key) (body []byte, etag string, err error) {
	set := jwk.NewSet()
	for _, k := range keys {
		public, err := jwk.FromRaw(k.Public())
		if err != nil {
			return nil, "", fmt.Errorf("making a JWK of %v: %w", k, err)
		}
		for name, value := range map[string]any{
			jwk.KeyIDKey:     k.id,
			jwk.KeyUsageKey:  jwk.ForSignature,
			jwk.AlgorithmKey: jwa.SignatureAlgorithm(k.alg),
		} {
			if err := public.Set(name, value); err != nil {
				return nil, "", fmt.Errorf("making a JWK of %v: %w", k, err)
			}
		}
		if err := set.AddKey(public); err != nil {
			return nil, "", fmt.Errorf("making a JWK set: %w", err)
		}
	}
	if body, err = json.Marshal(set); err != nil {
		return nil, "", fmt.Errorf("encoding a JWK set: %w", err)
	}
	sum := sha256.Sum256(body)
	return body, `"` + base64.RawURLEncoding.EncodeToString(sum[:16]) + `"`, nil
}
