package verify

import (
	"encoding/base64"
	"strings"
	"unsafe"
)

// maxToken is the length of the longest token that is looked at, in bytes.
const maxToken = 8 << 10

// encoding is base64url without padding (RFC 7515 §2), with no bits left over: otherwise several texts were one token.
var encoding = base64.RawURLEncoding.Strict()

// compact is a JWS in the compact serialization (RFC 7515 §7.1), still encoded. The strings are parts of the token.
type compact struct {
	header, payload, signature string
	input                      string // what is signed: header and payload with the dot between them
}

// split cuts a token at its two dots. An unsecured JWS (RFC 7515 §A.5) has an empty signature and is none for us.
func split(token string) (compact, bool) {
	header, rest, _ := strings.Cut(token, ".")
	payload, signature, _ := strings.Cut(rest, ".")
	if header == "" || payload == "" || signature == "" || strings.IndexByte(signature, '.') >= 0 {
		return compact{}, false
	}
	return compact{header, payload, signature, token[:len(header)+1+len(payload)]}, true
}

// decode decodes one part of a token. The decoder skips line breaks, which RFC 7515 §2 does not allow: then fewer bytes
// come out than the length says.
func decode(part string) ([]byte, bool) {
	out := make([]byte, encoding.DecodedLen(len(part)))
	n, err := encoding.Decode(out, bytesOf(part))
	return out, err == nil && n == len(out)
}

// decodeString is [decode] without a copy of the result.
func decodeString(part string) (string, bool) {
	out, ok := decode(part)
	//nolint:gosec // nobody else has out, and nobody writes to it
	return unsafe.String(unsafe.SliceData(out), len(out)), ok
}

// bytesOf is s as bytes without a copy. Nobody may write to them.
func bytesOf(s string) []byte {
	//nolint:gosec // it is only handed to what reads: a hash, a decoder, the check of a signature
	return unsafe.Slice(unsafe.StringData(s), len(s))
}

// header is what a JOSE header (RFC 7515 §4) says that matters here. Where it points to a key (jku, jwk, x5u, x5c) it
// is not listened to: keys come from the issuer.
type header struct {
	encoded string // the part of the token that it was read from
	alg     string
	kid     string
	typ     string
}

// parseHeader reads the first part of a token.
func parseHeader(part string) (*header, bool) {
	text, ok := decodeString(part)
	if !ok {
		return nil, false
	}
	h := &header{encoded: part}
	ok = object(text, func(name, value string) (ok bool) {
		switch name {
		case "alg":
			h.alg, ok = unquote(value)
		case "kid":
			h.kid, ok = unquote(value)
		case "typ":
			h.typ, ok = unquote(value)
		case "crit", "b64":
			// Extensions that must be understood (RFC 7515 §4.1.11), and a payload that is not encoded (RFC 7797, which
			// RFC 7519 §7 does not have for JWTs): no issuer that is known here uses any.
			return false
		default:
			return true
		}
		return ok
	})
	return h, ok && h.alg != ""
}

// accessToken tells whether the header says that the token is an access token (RFC 9068 §2.1, §4). Media types have no
// case, and their "application/" may be left out (RFC 7515 §4.1.9).
func (h *header) accessToken() bool {
	return strings.EqualFold(h.typ, "at+jwt") || strings.EqualFold(h.typ, "application/at+jwt")
}
