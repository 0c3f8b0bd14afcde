package keys

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"unsafe"
)

// jwtHeader is an encoded JOSE header. There is one for each `typ` that a key has signed.
type jwtHeader struct {
	typ     string
	encoded string // base64url, with the dot after it
}

// maxHeaders bounds the headers that a key remembers; an issuer has two or three types.
const maxHeaders = 8

// SignJWT returns the compact JWS (RFC 7515 §7.1) of claims, a JSON object, under a header of `alg`, `typ` and `kid`.
// claims are taken as they are.
func (k *Key) SignJWT(typ string, claims []byte) (string, error) {
	header, err := k.header(typ)
	if err != nil {
		return "", err
	}
	enc := base64.RawURLEncoding
	input := len(header) + enc.EncodedLen(len(claims))
	token := make([]byte, 0, input+1+enc.EncodedLen(k.sigSize))
	token = append(token, header...)
	token = enc.AppendEncode(token, claims)

	var buf [rsaBits / 8]byte // keeps the signature of all but long RSA keys off the heap
	sig, err := k.appendSignature(buf[:0], token)
	if err != nil {
		return "", err
	}
	token = append(token, '.')
	token = enc.AppendEncode(token, sig)
	// A string without a copy: nobody else has token, and nobody writes to it.
	return unsafe.String(unsafe.SliceData(token), len(token)), nil
}

// header returns the encoded header for typ, with the dot after it.
func (k *Key) header(typ string) (string, error) {
	known := k.headers.Load()
	if known != nil {
		for i := range *known {
			if h := &(*known)[i]; h.typ == typ {
				return h.encoded, nil
			}
		}
	}
	plain, err := json.Marshal(struct {
		Alg Algorithm `json:"alg"`
		Typ string    `json:"typ,omitempty"`
		Kid string    `json:"kid"`
	}{k.alg, typ, k.id})
	if err != nil {
		return "", fmt.Errorf("encoding the header of a token: %w", err)
	}
	h := jwtHeader{typ, base64.RawURLEncoding.EncodeToString(plain) + "."}
	var more []jwtHeader
	if known != nil {
		more = *known
	}
	if len(more) < maxHeaders {
		more = append(slices.Clip(more), h)
		k.headers.CompareAndSwap(known, &more) // another goroutine came first: the next token remembers it
	}
	return h.encoded, nil
}
