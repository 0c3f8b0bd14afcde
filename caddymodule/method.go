package caddymodule

import (
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// methodOverrides are header fields that some upstreams take for the method, folded.
var methodOverrides = []string{"x-http-method-override", "x-http-method", "x-method-override"}

func isMethodOverride(name string) bool {
	return len(name) <= len(methodOverrides[0]) && len(name) >= len(methodOverrides[1]) &&
		slices.ContainsFunc(methodOverrides, func(other string) bool {
			return len(name) == len(other) && sameFolded(name, other)
		})
}

// otherMethods are what an upstream may take the method for.
func otherMethods(r *http.Request) []string {
	var methods []string
	add := func(value string) {
		value, _, _ = strings.Cut(value, ",")
		if method := strings.ToUpper(strings.TrimSpace(value)); method != "" && !slices.Contains(methods, method) {
			methods = append(methods, method)
		}
	}
	if upper := strings.ToUpper(r.Method); upper != r.Method {
		add(upper)
	}
	if r.Method == http.MethodHead {
		add(http.MethodGet) // RFC 9110 §9.3.2
	}
	for name, values := range r.Header {
		if isMethodOverride(name) {
			for _, value := range values {
				add(value)
			}
		}
	}
	for _, value := range methodsInQuery(r.URL.RawQuery) {
		add(value)
	}
	return methods
}

// methodsInQuery are the values of the parameter _method, in the spellings that PHP takes for it.
func methodsInQuery(query string) (values []string) {
	if !strings.Contains(strings.ToLower(query), "method") && !strings.Contains(query, "%") {
		return nil
	}
	for pair := range strings.FieldsFuncSeq(query, func(c rune) bool { return c == '&' || c == ';' }) {
		name, value, _ := strings.Cut(pair, "=")
		name, err := url.QueryUnescape(name)
		if err != nil || fold(strings.TrimLeft(name, " ")) != "-method" {
			continue
		}
		if decoded, err := url.QueryUnescape(value); err == nil {
			value = decoded
		}
		values = append(values, value)
	}
	return values
}

// plainHost is what upstreams may take a host for, without port and final dots, and whether that is not what Caddy's
// matchers see.
func plainHost(host string) (plain string, odd bool) {
	seen := host
	if name, _, err := net.SplitHostPort(host); err == nil {
		seen = name
	}
	seen = strings.TrimSuffix(strings.TrimPrefix(seen, "["), "]")
	plain = host[strings.LastIndexByte(host, '@')+1:]
	if inside, _, ok := strings.Cut(plain, "]"); ok && strings.HasPrefix(inside, "[") {
		plain = inside[1:]
		return plain, plain != seen
	}
	plain, _, _ = strings.Cut(plain, ":")
	plain = strings.TrimRight(plain, ".")
	return plain, plain != seen
}
