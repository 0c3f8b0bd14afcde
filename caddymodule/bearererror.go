package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"go.uber.org/zap/zapcore"

	"github.com/oauth2-passport/caddy-passport/issuer/verify"
)

// refusal is what a request is answered that may not pass.
type refusal struct {
	status      int
	code        string // `error`, RFC 6750 §3.1; empty when no token was sent
	description string
	scoped      bool  // the answer names the scopes that the route needs
	cause       error // for the log, where the description does not say it
}

// The refusals that are always the same.
var (
	refusedAnonymous = &refusal{
		status:      http.StatusUnauthorized,
		description: "an access token is needed, in the header field Authorization: Bearer",
		scoped:      true,
	}
	refusedTwice = &refusal{
		status:      http.StatusBadRequest,
		code:        "invalid_request",
		description: "send one access token, in one header field Authorization, and none in the query",
	}
	refusedScope = &refusal{
		status:      http.StatusForbidden,
		code:        "insufficient_scope",
		description: "the access token lacks a scope that is needed here",
		scoped:      true,
	}
	refusedUser = &refusal{
		status:      http.StatusForbidden,
		code:        codeDenied,
		description: "only a person may do this, not a client that acts for itself",
	}
	refusedClient = &refusal{
		status:      http.StatusForbidden,
		code:        codeDenied,
		description: "only a client that acts for itself may do this, not a person",
	}
	refusedOtherClient = &refusal{
		status:      http.StatusForbidden,
		code:        codeDenied,
		description: "the client may not do this",
	}
	refusedMistakable = &refusal{ // by the doors of a site
		status:      http.StatusBadRequest,
		code:        "invalid_request",
		description: "the target of the request can be read in more than one way",
	}
)

// codeDenied is the `error` of bodies alone: it is none of RFC 6750.
const codeDenied = "access_denied"

// refusedToken is the refusal of a token that is not good.
func refusedToken(err *verify.Error) *refusal {
	switch err {
	case verify.ErrCutOutOfSight:
		return refusedUnavailable(verify.ErrOutOfSight)
	case verify.ErrCutUnasked:
		return refusedUnavailable(fmt.Errorf("%w: %w", verify.ErrUnavailable, err))
	}
	return &refusal{
		status:      http.StatusUnauthorized,
		code:        "invalid_token",
		description: err.Description,
		cause:       err,
	}
}

// refusedUnavailable is the refusal of a token of which nothing could be found out.
func refusedUnavailable(err error) *refusal {
	return &refusal{
		status:      http.StatusServiceUnavailable,
		code:        "temporarily_unavailable",
		description: "the access token cannot be checked now, try again later",
		cause:       err,
	}
}

// level is that of log lines about the refusal: what is ours at Error, what is the caller's below. That other nodes'
// revocations are out of sight is told once, not for each request.
func (n *refusal) level() zapcore.Level {
	switch {
	case n.status == http.StatusServiceUnavailable && !errors.Is(n.cause, verify.ErrOutOfSight):
		return zapcore.ErrorLevel
	case n.status == http.StatusForbidden:
		return zapcore.InfoLevel // somebody we know
	}
	return zapcore.DebugLevel
}

// retryAfterSeconds is the Retry-After of a 503. A database that restarts is back by then.
const retryAfterSeconds = "5"

// challenge is what an answer says of the route.
type challenge struct {
	realm    string // empty: no WWW-Authenticate
	scope    string // all scopes that it needs; empty where it asks for none
	metadata string // the URL of the metadata of its resource (RFC 9728 §5.1); empty: it is none
}

// write answers the request. realm and scope are a route's; scope is empty where it asks for none.
func (n *refusal) write(w http.ResponseWriter, realm, scope string) error {
	return n.answer(w, challenge{realm: realm, scope: scope})
}

// answer answers the request. Who is refused by a protected resource is told all that it takes to come back: where its
// metadata is, and the scopes, whatever was wrong.
func (n *refusal) answer(w http.ResponseWriter, route challenge) error {
	realm, scope := route.realm, route.scope
	known := route.metadata != "" && (n.status == http.StatusUnauthorized || n.status == http.StatusForbidden)
	if !n.scoped && !known {
		scope = ""
	}
	body, err := json.Marshal(struct {
		Error       string `json:"error,omitempty"`
		Description string `json:"error_description"`
		Scope       string `json:"scope,omitempty"`
	}{n.code, n.description, scope})
	if err != nil {
		return err // not reached: strings can be encoded
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	switch {
	case n.status == http.StatusServiceUnavailable:
		h.Set("Retry-After", retryAfterSeconds)
	case realm != "" && (n.code != codeDenied || known):
		h.Add("WWW-Authenticate", n.challenge(realm, scope, route.metadata))
	}
	w.WriteHeader(n.status)
	_, err = w.Write(append(body, '\n'))
	return err
}

// letScriptsRead lets scripts of other origins read a refusal, where they may call (Fetch, "CORS protocol"): they have
// to tell a token that has expired from a broken connection. It says nothing that a caller without a browser would not
// get. What the config says about other origins has been set already, and holds.
func letScriptsRead(h http.Header) {
	if h.Get("Access-Control-Allow-Origin") == "" {
		h.Set("Access-Control-Allow-Origin", "*")
	}
	h.Add("Access-Control-Expose-Headers", "WWW-Authenticate, Retry-After")
}

// challenge is the WWW-Authenticate of the answer, RFC 6750 §3.
func (n *refusal) challenge(realm, scope, metadata string) string {
	var b strings.Builder
	b.WriteString(`Bearer realm=`)
	quote(&b, realm)
	if n.code != "" && n.code != codeDenied {
		b.WriteString(`, error=`)
		quote(&b, n.code)
		b.WriteString(`, error_description=`)
		quote(&b, n.description)
	}
	if scope != "" {
		b.WriteString(`, scope=`)
		quote(&b, scope)
	}
	if metadata != "" {
		b.WriteString(`, resource_metadata=`)
		quote(&b, metadata)
	}
	return b.String()
}

// quote writes s as a quoted-string, RFC 9110 §5.6.4.
func quote(b *strings.Builder, s string) {
	b.WriteByte('"')
	for i := range len(s) {
		if s[i] == '"' || s[i] == '\\' {
			b.WriteByte('\\')
		}
		b.WriteByte(s[i])
	}
	b.WriteByte('"')
}
