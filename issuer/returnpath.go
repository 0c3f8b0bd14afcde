package issuer

import (
	"net/http"
	"net/url"
	"strings"
)

// maxReturn bounds the path that a person is sent back to after signing in. An authorization request that came as a
// form of [maxBody] fits in.
const maxReturn = 2 * maxBody

// isOwnPath tells whether s is a path of this host, with or without a query: what a browser is sent to after it must
// not lead anywhere else, whatever reading of it the browser prefers (WHATWG URL: a backslash is a slash, tabs and line
// feeds are dropped, // begins a host).
func isOwnPath(s string) bool {
	if !strings.HasPrefix(s, "/") || strings.HasPrefix(s, "//") || len(s) > maxReturn {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c > '~' || c == '\\' || c == '#' || c == '<' || c == '>' || c == '"' {
			return false
		}
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || u.Opaque != "" {
		return false
	}
	// The path also as whoever decodes it once more would read it.
	path := u.Path
	if decoded, err := url.PathUnescape(path); err == nil {
		path = decoded
	}
	if strings.Contains(path, "//") || strings.Contains(path, `\`) || !isText(path) || strings.Contains(path, "\t") {
		return false
	}
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "." || segment == ".." {
			return false
		}
	}
	return true
}

// ownRequest is the path and the query of a request, the latter encoded as [isOwnPath] wants it. Browsers leave some
// characters as they are.
func ownRequest(r *http.Request) string {
	f, _, _ := parseParams(r.URL.RawQuery)
	if len(f) == 0 {
		return r.URL.EscapedPath()
	}
	return r.URL.EscapedPath() + "?" + f.encode()
}

// returnTo is where a person goes on who was asked to do something first: the path that the request names, or the own
// account.
func (e *endpoints) returnTo(path string) string {
	if isOwnPath(path) {
		return path
	}
	return e.prefix + "/account"
}
