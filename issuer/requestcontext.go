package issuer

import (
	"context"
	"net"
	"net/http"
	"net/textproto"
	"strings"
)

// What the server in front knows of a request better than the request itself comes through its context: the cookies of
// the issuer, which a gateway takes out of requests before any handler of the site sees them, and the client's address,
// which only the server can tell apart from that of its own proxies.
type (
	sessionKey  struct{}
	cookiesKey  struct{}
	remoteIPKey struct{}
)

// The session cookie. The name that begins with "__Host-" is for HTTPS: no other host and nobody on the network can set
// such a cookie (RFC 6265bis §4.1.3.2).
const (
	secureSessionCookie = securePrefix + plainSessionCookie
	plainSessionCookie  = "passport_session"
)

// securePrefix begins the names of all cookies that are set by HTTPS, but for the one that scripts read.
const securePrefix = "__Host-"

// IsOwnCookie tells whether a cookie of that name is the issuer's own, and no upstream's business: that of the session,
// of the sign-in form and of a known browser. The one that scripts read, [Config.XSRFCookie], is none of them.
func IsOwnCookie(name string) bool {
	switch strings.TrimPrefix(name, securePrefix) {
	case plainSessionCookie, formCookie, browserCookie:
		return true
	}
	return false
}

// plainMark stands before what the cookie of plain HTTP holds, wherever that is used. So a session that began by HTTPS
// cannot be carried by a cookie that anybody could have set.
const plainMark = "http "

// WithSession gives a request's context what [SessionCookie] says of the request, for a handler that comes after the
// cookie has been taken out of it. An empty value says that there was none.
func WithSession(ctx context.Context, value string) context.Context {
	return context.WithValue(ctx, sessionKey{}, value)
}

// WithCookies gives a request's context its header fields Cookie as they came, for a handler that comes after those of
// [IsOwnCookie] have been taken out of them.
func WithCookies(ctx context.Context, fields []string) context.Context {
	return context.WithValue(ctx, cookiesKey{}, fields)
}

// WithRemoteIP gives a request's context the address of the client, without a port. An empty one is ignored.
func WithRemoteIP(ctx context.Context, ip string) context.Context {
	if ip == "" {
		return ctx
	}
	return context.WithValue(ctx, remoteIPKey{}, ip)
}

// SessionCookie is what the request's session cookie proves its session with: the secret whose hash the session's
// record has. Take it as it is, it has no form to rely on. It is what [WithSession] gave, or else what the request's
// cookies have; empty when there is none, or two that differ, for which of them is the browser's own cannot be told.
func SessionCookie(r *http.Request) string {
	if value, ok := r.Context().Value(sessionKey{}).(string); ok {
		return value
	}
	return SessionIn(cookiesOf(r), r.TLS != nil)
}

// SessionIn is [SessionCookie] of the header fields Cookie of a request that came by TLS, or not.
func SessionIn(fields []string, tls bool) string {
	if !tls {
		if value := onlyCookieIn(fields, plainSessionCookie); value != "" {
			return plainMark + value
		}
	}
	return onlyCookieIn(fields, secureSessionCookie) // also without TLS: a proxy in front may have ended it
}

// maxCookie bounds what is looked up as a session.
const maxCookie = 256

// onlyCookie is the value of a cookie; empty when there are two that differ.
func onlyCookie(r *http.Request, name string) string { return onlyCookieIn(cookiesOf(r), name) }

// cookiesOf are a request's header fields Cookie, as [WithCookies] gave them or else as the request has them.
func cookiesOf(r *http.Request) []string {
	if fields, ok := r.Context().Value(cookiesKey{}).([]string); ok {
		return fields
	}
	return r.Header["Cookie"]
}

// onlyCookieIn finds a cookie in header fields Cookie. It reads them like [http.Request.CookiesNamed], but the gateway
// asks for each request, and that makes a list.
func onlyCookieIn(fields []string, name string) string {
	only := ""
	for _, field := range fields {
		for pair := range strings.SplitSeq(field, ";") {
			found, value, _ := strings.Cut(textproto.TrimString(pair), "=")
			if textproto.TrimString(found) != name {
				continue
			}
			if n := len(value); n > 1 && value[0] == '"' && value[n-1] == '"' {
				value = value[1 : n-1]
			}
			switch {
			case strings.ContainsFunc(value, notInCookie):
				continue
			case only != "" && value != only, len(value) > maxCookie:
				return ""
			}
			only = value
		}
	}
	return only
}

// notInCookie tells of the characters that no cookie's value has (RFC 6265 §4.1.1; browsers do send spaces and commas).
func notInCookie(c rune) bool { return c < ' ' || c > '~' || c == '"' || c == '\\' }

// RemoteIP is the address of the client: what [WithRemoteIP] gave, or else that of the connection. It has neither port
// nor zone.
func RemoteIP(r *http.Request) string {
	ip, ok := r.Context().Value(remoteIPKey{}).(string)
	if !ok {
		ip = r.RemoteAddr
		if host, _, err := net.SplitHostPort(ip); err == nil {
			ip = host
		}
	}
	ip, _, _ = strings.Cut(ip, "%")
	return ip
}
