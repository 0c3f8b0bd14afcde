package caddymodule

import (
	"iter"
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

// maxMethods is how many methods an upstream may take a request's for. Nobody sends more than one in its place.
const maxMethods = 8

// otherMethods are what an upstream may take the method for. It is false when they are too many: then some are missing.
func otherMethods(r *http.Request) (methods []string, ok bool) {
	add := func(value string) bool {
		value, _, _ = strings.Cut(value, ",")
		method := strings.ToUpper(strings.TrimSpace(value))
		if method == "" || slices.Contains(methods, method) {
			return true
		}
		if len(methods) == maxMethods {
			return false
		}
		methods = append(methods, method)
		return true
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
				if !add(value) {
					return methods, false
				}
			}
		}
	}
	for value := range queryMethods(r.URL.RawQuery) {
		if !add(value) {
			return methods, false
		}
	}
	return methods, true
}

// methodsInQuery are the values of the parameter _method, in the spellings that PHP takes for it.
func methodsInQuery(query string) []string { return slices.Collect(queryMethods(query)) }

func queryMethods(query string) iter.Seq[string] {
	return func(yield func(string) bool) {
		if !strings.Contains(strings.ToLower(query), "method") && !strings.Contains(query, "%") {
			return
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
			if !yield(value) {
				return
			}
		}
	}
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
