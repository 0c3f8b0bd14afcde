package issuer

import (
	"net/http"
	"strconv"
	"unicode/utf8"
)

const hexDigits = "0123456789abcdef"

// appendJSONString appends s as a JSON string (RFC 8259 §7). What is no UTF-8 becomes U+FFFD.
func appendJSONString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	from := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && size == 1 {
				dst = append(append(dst, s[from:i]...), "\ufffd"...)
				from = i + 1
			}
			i += size
			continue
		}
		i++
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, s[from:i-1]...)
		from = i
		if c == '"' || c == '\\' {
			dst = append(dst, '\\', c)
			continue
		}
		dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
	}
	return append(append(dst, s[from:]...), '"')
}

// appendMember appends a member with a string value to an object that is open; a comma goes before all but the first.
func appendMember(dst []byte, name, value string) []byte {
	return appendJSONString(appendName(dst, name), value)
}

func appendNumber(dst []byte, name string, value int64) []byte {
	return strconv.AppendInt(appendName(dst, name), value, 10)
}

func appendList(dst []byte, name string, values []string) []byte {
	dst = append(appendName(dst, name), '[')
	for i, value := range values {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendJSONString(dst, value)
	}
	return append(dst, ']')
}

// appendAudience appends `aud`: a string when there is one, a list when there are more (RFC 7519 §4.1.3).
func appendAudience(dst []byte, audience []string) []byte {
	if len(audience) == 1 {
		return appendMember(dst, "aud", audience[0])
	}
	return appendList(dst, "aud", audience)
}

// appendName appends the name of a member; names are ours and need no escaping.
func appendName(dst []byte, name string) []byte {
	if dst[len(dst)-1] != '{' {
		dst = append(dst, ',')
	}
	dst = append(append(append(dst, '"'), name...), '"', ':')
	return dst
}

// appendScope appends `scope`, the names separated by spaces (RFC 6749 §3.3).
func appendScope(dst []byte, scopes []string) []byte {
	dst = append(appendName(dst, "scope"), '"')
	for i, name := range scopes {
		if i > 0 {
			dst = append(dst, ' ')
		}
		quoted := len(dst)
		dst = appendJSONString(dst, name)
		dst = append(dst[:quoted], dst[quoted+1:len(dst)-1]...)
	}
	return append(dst, '"')
}

// writeJSON answers 200 with a body that nobody may keep.
func writeJSON(w http.ResponseWriter, body []byte) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("Pragma", "no-cache") // RFC 6749 §5.1
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(body)
}
