package caddymodule

import (
	"net/http"
	"net/url"
	"strings"
)

// sent says how a request brings a token.
type sent uint8

const (
	sentNone      sent = iota // it brings none
	sentOnce                  // in the header field Authorization, the only place that counts
	sentTwice                 // in more than one way (RFC 6750 §2)
	sentMalformed             // the field is there for a bearer token, but holds nothing that could be one
)

// bearerToken finds the token of a request (RFC 6750 §2.1).
//
// A token in the query (§2.3) or in a form (§2.2) does not count: URLs are logged everywhere, and bodies are the
// upstream's. A parameter access_token of the query beside a token in the header is a second way of sending one; alone
// it is the upstream's own business, for there are APIs that have one. Bodies are not read.
func bearerToken(r *http.Request) (token string, how sent) {
	fields := r.Header["Authorization"]
	if len(fields) == 0 {
		return "", sentNone
	}
	if len(fields) > 1 {
		return "", sentTwice // even if they are the same: upstreams differ in which they take
	}
	token, how = parseBearer(fields[0])
	if how == sentOnce && r.URL.RawQuery != "" && hasAccessToken(r.URL.RawQuery) {
		return "", sentTwice
	}
	return token, how
}

// parseBearer takes a token from the value of a header field Authorization (RFC 9110 §11.4): the scheme, whose case
// does not count, one space or more, and the token. What the token may consist of is for who verifies it to say. Fields
// of other schemes are none of ours.
func parseBearer(value string) (token string, how sent) {
	const scheme = "bearer"
	if len(value) < len(scheme) || !strings.EqualFold(value[:len(scheme)], scheme) {
		return "", sentNone
	}
	rest := value[len(scheme):]
	if rest != "" && isTokenChar(rest[0]) {
		return "", sentNone // the scheme goes on: it is another one
	}
	token = strings.TrimLeft(rest, " ")
	if token == "" || len(token) == len(rest) {
		return "", sentMalformed
	}
	return token, sentOnce
}

// isTokenChar tells whether c may be in a token, RFC 9110 §5.6.2, which names of schemes and header fields are.
func isTokenChar(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' ||
		strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}

// isToken tells whether s is a token, RFC 9110 §5.6.2.
func isToken(s string) bool {
	for i := range len(s) {
		if !isTokenChar(s[i]) {
			return false
		}
	}
	return s != ""
}

// hasAccessToken tells whether a query has the parameter access_token.
func hasAccessToken(query string) bool {
	for pair := range strings.FieldsFuncSeq(query, func(c rune) bool { return c == '&' || c == ';' }) {
		name, _, _ := strings.Cut(pair, "=")
		if strings.ContainsAny(name, "%+") {
			var err error
			if name, err = url.QueryUnescape(name); err != nil {
				continue
			}
		}
		if name == "access_token" {
			return true
		}
	}
	return false
}
