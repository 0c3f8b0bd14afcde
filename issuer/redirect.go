package issuer

import (
	"net/url"
	"strconv"
	"strings"

	"github.com/oauth2-passport/caddy-passport/store"
)

// redirectURI finds out where the answer to an authorization request goes: asked, when the client has registered it, or
// the only one that it has registered when it asks for none (RFC 6749 §3.1.2.3).
func redirectURI(c *store.Client, asked string) (uri string, ok bool) {
	if asked == "" {
		if len(c.RedirectURIs) != 1 {
			return "", false
		}
		return c.RedirectURIs[0], true
	}
	for _, registered := range c.RedirectURIs {
		if sameRedirect(registered, asked) {
			return asked, checkRedirectURI(asked) == nil
		}
	}
	return "", false
}

// sameRedirect compares character by character (RFC 9700 §4.1.3), but for the port of a native app's own server, which
// the system gives to it (RFC 8252 §7.3).
func sameRedirect(registered, asked string) bool {
	if registered == asked {
		return true
	}
	host, rest, ok := cutLoopback(registered)
	if !ok {
		return false
	}
	askedHost, askedRest, ok := cutLoopback(asked)
	return ok && askedHost == host && askedRest == rest
}

// loopbackHosts are those whose port is free. RFC 8252 §8.3 prefers the addresses to the name, which is not forbidden.
var loopbackHosts = []string{"127.0.0.1", "[::1]", "localhost"}

// cutLoopback splits the URI of a loopback interface into its host and what comes after the port.
func cutLoopback(uri string) (host, rest string, ok bool) {
	uri, ok = strings.CutPrefix(uri, "http://")
	if !ok {
		return "", "", false
	}
	for _, host := range loopbackHosts {
		rest, ok := strings.CutPrefix(uri, host)
		if !ok {
			continue
		}
		if port, ok := strings.CutPrefix(rest, ":"); ok {
			digits := len(port) - len(strings.TrimLeft(port, "0123456789"))
			if n, err := strconv.ParseUint(port[:digits], 10, 16); err != nil || n == 0 {
				return "", "", false
			}
			rest = port[digits:]
		}
		if rest == "" || rest[0] == '/' || rest[0] == '?' {
			return host, rest, true
		}
	}
	return "", "", false
}

// destination is what is to be known of where an answer goes.
type destination struct {
	shown string // the host, or the scheme of an app
	local bool   // it is on the person's own device: any app there can be behind it
}

// destinationOf reads a redirect URI that has been checked when it was registered.
func destinationOf(uri string) destination {
	u, err := url.Parse(uri)
	switch {
	case err != nil:
		return destination{shown: uri, local: true}
	case u.Scheme != "https" && u.Scheme != "http":
		return destination{shown: u.Scheme + ":", local: true} // RFC 8252 §7.1
	}
	return destination{shown: u.Host, local: isLoopback(u.Hostname())}
}

// unassured tells whether anybody could pretend to be the client and receive its answer: it proves itself by nothing,
// and its redirect URI leads to whichever app on the device has claimed it first (RFC 8252 §8.6).
func unassured(c *store.Client, uri string) bool { return c.Public && destinationOf(uri).local }

// withParams adds parameters to a redirect URI, which keeps the query that it has (RFC 6749 §3.1.2).
func withParams(uri string, params [][2]string, fragment bool) string {
	var b strings.Builder
	b.WriteString(uri)
	separator := byte('?')
	switch {
	case fragment:
		separator = '#'
	case strings.HasSuffix(uri, "?") || strings.HasSuffix(uri, "&"):
		separator = 0
	case strings.Contains(uri, "?"):
		separator = '&'
	}
	for _, p := range params {
		if separator != 0 {
			b.WriteByte(separator)
		}
		b.WriteString(p[0] + "=" + url.QueryEscape(p[1]))
		separator = '&'
	}
	return b.String()
}
