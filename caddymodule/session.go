package caddymodule

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/oauth2-passport/caddy-passport/issuer"
	"github.com/oauth2-passport/caddy-passport/issuer/verify"
)

// A browser sends its cookies along with whatever a page asks it for, also a page of somebody else. So a session is an
// identity only for requests that the site's own pages make: those that change something have to show a token that only
// these can read, and come from the same origin.

const (
	headerXSRF = "X-Xsrf-Token" // as net/http spells it; what axios and Angular send by themselves
	headerCSRF = "X-Csrf-Token" // what pages send that have the token from elsewhere

	defaultXSRFCookie = "XSRF-TOKEN"
)

// crossOrigin tells requests of other origins apart, by Sec-Fetch-Site or else Origin.
var crossOrigin = http.NewCrossOriginProtection()

// The refusals of requests that a session alone does not allow.
var (
	refusedForgery = &refusal{
		status: http.StatusForbidden,
		code:   codeDenied,
		description: "a session changes something only by requests with the token against forgery: " +
			"send what the cookie has that is named for it, in the header field X-XSRF-TOKEN",
	}
	refusedCrossSite = &refusal{
		status:      http.StatusForbidden,
		code:        codeDenied,
		description: "a session is good only for requests of the site's own pages",
	}
)

// identifySession finds out whose session a request comes in that brings no token. Without a good one it is nobody's.
func (g *gate) identifySession(r *http.Request, v *visit) (*running, *verify.Identity, *refusal) {
	if v.session == "" {
		return nil, nil, nil
	}
	kind := kindOf(r)
	if kind == looks && isEmbeddedElsewhere(r) {
		return nil, nil, nil
	}
	open, err := g.instance.use(r.Context())
	if err != nil {
		return nil, nil, refusedUnavailable(err)
	}
	id, err := v.verifySession(r.Context(), open.verifier, open.issuer.IdentifierFor(r))
	if err != nil {
		if _, over := errors.AsType[*verify.Error](err); over {
			return nil, nil, nil
		}
		return nil, nil, refusedUnavailable(err)
	}
	switch {
	case kind == looks:
	case isCrossOrigin(r):
		return nil, id, refusedCrossSite
	case kind == changes && !showsToken(r, id.CSRFToken()):
		return nil, id, refusedForgery
	}
	return open, id, nil
}

// verifySession is [visit.verify] of a request that brings no token, but a session.
func (v *visit) verifySession(
	ctx context.Context, verifier *verify.Verifier, issuer string,
) (*verify.Identity, error) {
	if v.verifier != verifier || v.issuer != issuer {
		v.verifier, v.issuer = verifier, issuer
		v.verdict, v.err = verifier.Session(ctx, v.session, issuer)
	}
	return v.verdict, v.err
}

// requestKind says what a request may do.
type requestKind uint8

const (
	looks   requestKind = iota // it changes nothing
	opens                      // it opens a WebSocket: no page can add a header field to that, or is kept from reading it
	changes                    // everything else
)

// kindOf tells what a request may do, in each way in which an upstream may take its method.
func kindOf(r *http.Request) requestKind {
	switch {
	case isWebSocket(r):
		return opens
	case !isSafe(r.Method):
		return changes
	}
	others, all := otherMethods(r)
	if !all || slices.ContainsFunc(others, func(method string) bool { return !isSafe(method) }) {
		return changes
	}
	return looks
}

// isSafe tells whether a method changes nothing (RFC 9110 §9.2.1). TRACE is none: it shows what was sent.
func isSafe(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}

// isWebSocket tells whether a request opens a WebSocket, by HTTP/1.1 (RFC 6455 §4.1) or a later one (RFC 8441,
// RFC 9220).
func isWebSocket(r *http.Request) bool {
	if r.Method == http.MethodConnect {
		return r.Header.Get(":protocol") == "websocket" || r.Proto == "websocket"
	}
	return r.Method == http.MethodGet && strings.EqualFold(r.Header.Get("Upgrade"), "websocket")
}

// isCrossOrigin tells whether a page of another origin makes the request, as far as the browser says so.
func isCrossOrigin(r *http.Request) bool {
	asked := *r
	asked.Method = http.MethodPost // or those that look like a look would not be asked
	return crossOrigin.Check(&asked) != nil
}

// isEmbeddedElsewhere tells whether a page of another site makes the request, and not a person who follows a link from
// there (Fetch Metadata).
func isEmbeddedElsewhere(r *http.Request) bool {
	if r.Header.Get("Sec-Fetch-Site") != "cross-site" {
		return false
	}
	return r.Header.Get("Sec-Fetch-Mode") != "navigate" || r.Header.Get("Sec-Fetch-Dest") != "document"
}

// showsToken tells whether the request has the token against forgery, in one of its header fields.
func showsToken(r *http.Request, want string) bool {
	for _, name := range []string{headerXSRF, headerCSRF} {
		for _, value := range r.Header[name] {
			if subtle.ConstantTimeCompare([]byte(value), []byte(want)) == 1 && want != "" {
				return true
			}
		}
	}
	return false
}

// giveToken sets the cookie from which the site's pages read the token against forgery, unless the browser has it.
func (r *running) giveToken(w http.ResponseWriter, req *http.Request, v *visit, id *verify.Identity) {
	if hasCookie(req.Header["Cookie"], r.xsrfCookie, id.CSRFToken()) {
		return
	}
	http.SetCookie(w, &http.Cookie{ //nolint:gosec // scripts have to read it, and it is no secret from the network
		Name: r.xsrfCookie, Value: id.CSRFToken(), Path: "/", SameSite: http.SameSiteLaxMode,
		Secure: req.TLS != nil || v.secureSession(),
	})
}

// secureSession tells whether the session came in the cookie of HTTPS, which a proxy in front may have ended.
func (v *visit) secureSession() bool { return !strings.HasPrefix(v.session, "http ") }

// hasCookie tells whether Cookie fields have that cookie, once.
func hasCookie(fields []string, name, value string) bool {
	n := 0
	for _, field := range fields {
		for pair := range strings.SplitSeq(field, ";") {
			of, is, _ := strings.Cut(textproto.TrimString(pair), "=")
			if of != name {
				continue
			}
			if n++; is != value {
				return false
			}
		}
	}
	return n == 1
}

// signIn is where a person is sent who asks for a page and has to sign in first: to the issuer on the same site, which
// sends the person back. It is empty for every other request, and on a site that serves no issuer.
func (a *Auth) signIn(r *http.Request, v *visit) string {
	if !a.Session || v.site == nil || !isPage(r) {
		return ""
	}
	at := slices.IndexFunc(v.site.servers, func(s *Server) bool { return s.instance == a.gate.instance })
	if at < 0 {
		return ""
	}
	asked := r.URL
	if before, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok {
		asked = before.URL // as the browser knows it
	}
	back := asked.RequestURI()
	if !strings.HasPrefix(back, "/") || strings.HasPrefix(back, "//") || len(back) > maxReturn {
		back = "/"
	}
	return strings.TrimRight(v.site.servers[at].Prefix, "/") + "/login?return=" + url.QueryEscape(back)
}

// maxReturn bounds the path to which a person is sent back.
const maxReturn = 2 << 10

// isPage tells whether a request is a browser's for a page, rather than a script's for data.
func isPage(r *http.Request) bool {
	if r.Method != http.MethodGet || r.Header.Get("X-Requested-With") != "" || isWebSocket(r) {
		return false
	}
	if mode := r.Header.Get("Sec-Fetch-Mode"); mode != "" && mode != "navigate" {
		return false
	}
	return slices.ContainsFunc(r.Header["Accept"], func(value string) bool { return strings.Contains(value, "text/html") })
}

// sendToSignIn answers a request for a page by the way to the sign-in page.
func sendToSignIn(w http.ResponseWriter, to string) error {
	h := w.Header()
	h.Set("Location", to)
	h.Set("Cache-Control", "no-store")
	h.Add("Vary", "Accept, Cookie, Sec-Fetch-Mode")
	w.WriteHeader(http.StatusSeeOther)
	return nil
}

// checkXSRFCookie tells whether a cookie may have that name; the empty one stands for the default.
func checkXSRFCookie(name string) error {
	if name == "" {
		return nil
	}
	if !isToken(name) {
		return fmt.Errorf("%q is no name of a cookie", name)
	}
	if issuer.IsOwnCookie(name) || strings.HasPrefix(name, "__") {
		return fmt.Errorf("the cookie cannot have the name %q: scripts read it, and it is none of the issuer's own", name)
	}
	return nil
}
