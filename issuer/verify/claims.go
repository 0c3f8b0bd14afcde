package verify

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// claims are those of a token that matter here, as they are sent. What is absent is empty.
type claims struct {
	text string // the whole payload; the strings below are parts of it

	issuer, subject, clientID, tokenID string
	scope, username, grantID           string
	audience                           string // JSON: a string or an array of strings
	expires, issued, notBefore         time.Time
}

// parse reads the second part of a token. It looks at the form alone: whether the claims are there, and good, is for
// the issuer to say whose token it is.
func (c *claims) parse(part string) bool {
	text, ok := decodeString(part)
	if !ok {
		return false
	}
	c.text = text
	return object(text, func(name, value string) (ok bool) {
		switch name {
		case "iss":
			c.issuer, ok = plain(value)
		case "sub":
			c.subject, ok = plain(value)
		case "client_id":
			c.clientID, ok = plain(value)
		case "jti":
			c.tokenID, ok = plain(value)
		case "scope":
			c.scope, ok = plain(value)
		case "preferred_username":
			c.username, ok = plain(value)
		case "grant_id":
			c.grantID, ok = plain(value)
		case "aud":
			c.audience, ok = value, true
		case "exp":
			c.expires, ok = numericDate(value)
		case "iat":
			c.issued, ok = numericDate(value)
		case "nbf":
			c.notBefore, ok = numericDate(value)
		default:
			return true
		}
		return ok
	})
}

// plain decodes a JSON string without control characters: these strings become header fields of the request to the
// upstream (RFC 9110 §5.5).
func plain(value string) (string, bool) {
	s, ok := unquote(value)
	for i := range len(s) {
		if s[i] < ' ' || s[i] == 0x7f {
			return "", false
		}
	}
	return s, ok
}

// numericDate decodes seconds since 1970 (RFC 7519 §2), whole or not, up to the year 9999.
func numericDate(value string) (time.Time, bool) {
	if c := value[0]; c < '0' || c > '9' {
		return time.Time{}, false
	}
	if seconds, err := strconv.ParseInt(value, 10, 64); err == nil {
		return time.Unix(seconds, 0), seconds <= maxDate
	}
	seconds, err := strconv.ParseFloat(value, 64)
	if err != nil || seconds > maxDate {
		return time.Time{}, false
	}
	whole, fraction := math.Modf(seconds)
	return time.Unix(int64(whole), int64(fraction*float64(time.Second))), true
}

const maxDate = 253402300799 // 9999-12-31T23:59:59Z

// maxList bounds the scopes and the audiences of a token.
const maxList = 256

// parseAudience decodes an `aud` (RFC 7519 §4.1.3): a string or an array of them, at least one and none empty.
func parseAudience(value string) ([]string, bool) {
	if one, ok := unquote(value); ok {
		return []string{one}, one != ""
	}
	list := make([]string, 0, min(strings.Count(value, ",")+1, maxList))
	s := scanner{text: value}
	ok := s.array(1, func(element string) bool {
		one, ok := unquote(element)
		if !ok || one == "" || len(list) == maxList {
			return false
		}
		list = append(list, one)
		return true
	})
	return list, ok && len(list) > 0
}

// parseScope cuts a `scope` into its tokens (RFC 6749 §3.3). The empty one has none.
func parseScope(scope string) ([]string, bool) {
	if scope == "" {
		return nil, true
	}
	for i := range len(scope) {
		if c := scope[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return nil, false
		}
	}
	if n := strings.Count(scope, " "); n >= maxList {
		return nil, false
	}
	list := strings.Split(scope, " ")
	return list, !slices.Contains(list, "")
}
