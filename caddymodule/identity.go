package caddymodule

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/oauth2-passport/caddy-passport/issuer/verify"
)

// The header fields by which the upstream learns who calls. Every name that begins like theirs is kept from callers.
const (
	headerSubject  = "X-Passport-Subject"
	headerClient   = "X-Passport-Client"
	headerScope    = "X-Passport-Scope"
	headerIssuer   = "X-Passport-Issuer"
	headerUsername = "X-Passport-Username"
)

// visit is what our directives know of one request. They share it: the token is read once, and verified once for each
// issuer.
type visit struct {
	stripped bool // of what a caller has no right to tell the upstream
	answered bool // by an issuer, see [hideAnswer]
	read     bool // the token has been looked for
	how      sent // how it was sent

	exits   []caddyhttp.Handler // what comes after the sites that the request is in, the innermost last
	site    *site               // that it has come into last; nil: none
	session string              // what its browser's session is proved by, see issuer.SessionCookie
	cookies []string            // its Cookie fields as they came; nil where nothing was taken out of them

	token         string
	authorization string // the header field that it came in

	// What became of the token, or of the session where there is none, at the verifier and the issuer that were asked
	// last.
	verifier *verify.Verifier
	issuer   string
	foreign  *foreign
	verdict  *verify.Identity
	err      error

	// identity is who the request is let through for; nil while no passport_auth has done so. What is not let through
	// is nobody, whatever its token says.
	identity *verify.Identity

	// watching is whose end cuts the request, by a passport_auth around this one; nil: nobody's.
	watching *verify.Identity

	values     [5]string // of the identity's header fields, which need slices
	credential [1]string // that the upstream knows, likewise
	cookie     [1]string // what is left of the Cookie field, likewise
	exitsOf    [2]caddyhttp.Handler
	writer     cutWriter
}

// visitVar is where a request's visit is among its variables.
const visitVar = "passport.visit"

// visitOf returns the visit of a request, nil if it has none yet.
func visitOf(r *http.Request) *visit {
	v, _ := caddyhttp.GetVar(r.Context(), visitVar).(*visit)
	return v
}

// begin returns the visit of a request, and makes one if it has none yet.
func begin(r *http.Request) *visit {
	vars, _ := r.Context().Value(caddyhttp.VarsCtxKey).(map[string]any)
	if v, ok := vars[visitVar].(*visit); ok {
		return v
	}
	v := new(visit)
	v.exits = v.exitsOf[:0]
	if vars != nil {
		vars[visitVar] = v
	}
	if repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		repl.Map(v.placeholder)
	}
	return v
}

// String keeps the visit out of the placeholder that Caddy has for each variable.
func (*visit) String() string { return "" }

// bearer finds the token of the request, the first time that it is asked.
func (v *visit) bearer(r *http.Request) sent {
	if !v.read {
		v.read = true
		if v.token, v.how = bearerToken(r); v.how == sentOnce {
			v.authorization = r.Header["Authorization"][0]
		}
	}
	return v.how
}

// verify finds out whose the token is: of our own issuer, unless verifier is nil, or of others, unless foreign is. The
// answers are good for the rest of the request.
func (v *visit) verify(
	ctx context.Context, verifier *verify.Verifier, issuer string, others *foreign,
) (*verify.Identity, error) {
	if v.verifier != verifier || v.issuer != issuer || v.foreign != others {
		v.verifier, v.issuer, v.foreign = verifier, issuer, others
		if others == nil {
			v.verdict, v.err = verifier.Verify(ctx, v.token, issuer)
		} else {
			others.start()
			v.verdict, v.err = others.Verify(ctx, v.token, verifier, issuer)
		}
	}
	return v.verdict, v.err
}

// introduce tells the upstream who calls.
func (v *visit) introduce(h http.Header, id *verify.Identity) {
	v.identity = id
	v.values = [5]string{id.Subject, id.ClientID, id.Scope, id.Issuer, id.Username}
	h[headerSubject] = v.values[0:1:1] // nobody can append over the next one
	h[headerScope] = v.values[2:3:3]
	h[headerIssuer] = v.values[3:4:4]
	if id.ClientID != "" { // other issuers need not name one
		h[headerClient] = v.values[1:2:2]
	} else {
		delete(h, headerClient)
	}
	if id.Person() {
		h[headerUsername] = v.values[4:5:5]
	} else {
		delete(h, headerUsername)
	}
}

// placeholder gives the placeholders of the identity. All of ours are known, and empty while nobody has been let
// through; {http.auth.user.id}, which access logs show, is others' as well.
func (v *visit) placeholder(key string) (any, bool) {
	id := v.identity
	if key == "http.auth.user.id" {
		if id == nil {
			return nil, false
		}
		return id.Subject, true
	}
	name, ok := strings.CutPrefix(key, "passport.")
	if !ok {
		return nil, false
	}
	claim, isClaim := strings.CutPrefix(name, "claims.")
	if id == nil {
		return "", isClaim || identityPlaceholders[name]
	}
	if isClaim {
		value, _ := id.Claim(claim)
		return claimText(value), true
	}
	switch name {
	case "subject":
		return id.Subject, true
	case "username":
		return id.Username, true
	case "client_id":
		return id.ClientID, true
	case "scope":
		return id.Scope, true
	case "token_id":
		return id.TokenID, true
	case "issuer":
		return id.Issuer, true
	}
	return nil, false
}

var identityPlaceholders = map[string]bool{
	"subject": true, "username": true, "client_id": true, "scope": true, "token_id": true, "issuer": true,
}

// claimText is a claim as text: strings as they are, everything else as JSON.
func claimText(value any) string {
	switch value := value.(type) {
	case nil:
		return ""
	case string:
		return value
	}
	text, err := json.Marshal(value)
	if err != nil {
		return "" // not reached: it came from JSON
	}
	return string(text)
}
