package keys

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/lestrrat-go/jwx/v2/jwk"
)

// jwkMembers are the members of a JWK, by their exact names.
type jwkMembers map[string]json.RawMessage

// assemble has jwx make a private key of the members named.
func assemble[T any](m jwkMembers, names ...string) (T, error) {
	var priv T
	part := make(jwkMembers, len(names))
	for _, name := range names {
		part[name] = m[name]
	}
	data, err := json.Marshal(part)
	if err != nil {
		return priv, errors.New("it is not a valid JWK")
	}
	// The errors of jwx are not passed on: they may quote what they could not read.
	key, err := jwk.ParseKey(data)
	if err != nil {
		return priv, errors.New("it is not a valid JWK")
	}
	var raw any
	if err := key.Raw(&raw); err != nil {
		return priv, errors.New("it is not a valid key: its parts do not belong together")
	}
	priv, ok := raw.(T)
	if !ok {
		return priv, errors.New("it is not a private key")
	}
	return priv, nil
}

// need answers an error when a member is missing. One that lacks only d is a public key.
func (m jwkMembers) need(names ...string) error {
	for _, name := range names {
		if _, ok := m[name]; ok {
			continue
		}
		if name == "d" {
			return errors.New("it is a public key (it has no d): the private key is needed")
		}
		return fmt.Errorf("it has no %s", name)
	}
	return nil
}

// text is a member that is text, empty when it is missing.
func (m jwkMembers) text(name string) (string, error) {
	raw, ok := m[name]
	if !ok {
		return "", nil
	}
	var s *string
	if json.Unmarshal(raw, &s) != nil || s == nil {
		return "", fmt.Errorf("its %s is not a text", name)
	}
	return *s, nil
}

// bytes is a member in base64url without padding (RFC 7515 §2).
func (m jwkMembers) bytes(name string) ([]byte, error) {
	s, err := m.text(name)
	if err != nil {
		return nil, err
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || strings.ContainsAny(s, "\r\n") { // the decoder skips line breaks
		return nil, fmt.Errorf("its %s is not base64url without padding", name)
	}
	return b, nil
}

// printable is s for an error message: quoted when it is no plain name.
func printable(s string) string {
	for _, c := range s {
		if c <= ' ' || c > '~' {
			return fmt.Sprintf("%.40q", s)
		}
	}
	return fmt.Sprintf("%.40s", s)
}
