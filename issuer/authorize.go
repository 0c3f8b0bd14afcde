package issuer

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/oauth2-passport/caddy-passport/issuer/pages"
	"github.com/oauth2-passport/caddy-passport/store"
)

// authorization is a request at the authorization endpoint, as far as it has been read.
type authorization struct {
	store.AuthorizationRequest // RedirectURI is empty until it is known to be the client's

	client *store.Client
	asked  []string // the parameter scope
	fault  *Error   // what the client is told to be wrong with the request

	none, login, consent bool          // prompt
	maxAge               time.Duration // negative: any
	signedInAfter        time.Time     // when the person was asked to sign in for this request; zero: was not
}

// authorize answers GET /authorize (RFC 6749 §4.1.1). Client and redirect URI come first: a fault in those is a page,
// and nobody is redirected. Every other fault is told to the client by the redirect (§4.1.2.1).
func (e *endpoints) authorize(w http.ResponseWriter, r *http.Request) {
	q, err := e.readAuthorization(r, r.URL.RawQuery)
	if err == nil {
		err = e.decide(w, r, q)
	}
	if err == nil {
		return
	}
	if q.RedirectURI != "" && q.client.UserID != "" {
		// Anybody may register such a client, to have people led to wherever it wants by a link to us with a fault in it
		// (RFC 9700 §4.11.2). Only its own people are: the others read on a page what is wrong.
		v, failed := e.visitor(r)
		if failed == nil && v == nil && q.fault != nil && !q.none {
			e.toSignIn(w, ownRequest(r))
			return
		}
		if failed != nil || !e.knowsClient(r.Context(), q, v) {
			q.RedirectURI = ""
		}
	}
	e.refuseAuthorization(w, r, &q.AuthorizationRequest, err)
}

// knowsClient tells whether a person has registered the client, or allowed it something before.
func (e *endpoints) knowsClient(ctx context.Context, q *authorization, v *visitor) bool {
	if v == nil {
		return false
	}
	q.UserID = v.user.ID
	if q.UserID == q.client.UserID {
		return true
	}
	before, err := e.consentOf(ctx, q)
	return err == nil && before != nil
}

// authorizePost answers POST /authorize: a person's answer to the consent page, or an authorization request as a form
// (RFC 6749 §3.1). The latter goes on as GET, for cookies do not come with a form of another site.
func (e *endpoints) authorizePost(w http.ResponseWriter, r *http.Request) {
	f, fault := readForm(w, r)
	if fault != nil {
		e.refusePage(w, r, &pageError{kind: pages.FaultRequest, status: fault.Status, detail: fault.Description})
		return
	}
	if f.has("decision") || f.has(csrfField) {
		e.decideConsent(w, r, f, f.get("decision"))
		return
	}
	// What a client has sent by mistake is not to end up in a URL.
	credentials := []string{"client_secret", "client_assertion", "password", "code_verifier", "access_token"}
	if slices.ContainsFunc(credentials, f.has) {
		e.refusePage(w, r, badRequest("Credentials have no place in this request."))
		return
	}
	seeOther(w, e.prefix+"/authorize?"+f.encode())
}

// readAuthorization reads the parameters of a request. With an error that is a [*pageError] client or redirect URI are
// not known.
func (e *endpoints) readAuthorization(r *http.Request, query string) (*authorization, error) {
	q := &authorization{maxAge: -1}
	q.Issuer = e.IdentifierFor(r)
	f, twice, fault := parseParams(query)
	switch {
	case q.Issuer == "":
		return q, badRequest(errHost.Description)
	case len(query) > maxBody:
		return q, badRequest(errTooLarge.Description)
	case fault != nil:
		return q, badRequest(fault.Description)
	case slices.Contains(twice, "client_id"), slices.Contains(twice, "redirect_uri"):
		return q, badRequest(errTwice.Description)
	case len(f.get("state")) > maxState: // and without its state no client could use an answer
		return q, badRequest(errTooLong.Description)
	}
	var err error
	q.ClientID = f.get("client_id")
	if q.client, err = e.clientOf(r.Context(), q.ClientID); err != nil {
		return q, err
	}
	if q.client == nil {
		return q, &pageError{kind: pages.FaultClient, status: http.StatusBadRequest}
	}
	uri, ok := redirectURI(q.client, f.get("redirect_uri"))
	if !ok {
		return q, &pageError{kind: pages.FaultRedirect, status: http.StatusBadRequest}
	}
	q.RedirectURI, q.RedirectSent, q.State = uri, f.get("redirect_uri") != "", f.get("state")
	q.none = f.get("prompt") == "none"
	if q.fault = e.readResponse(q, f); q.fault == nil && len(twice) > 0 {
		q.fault = errTwice
	}
	if q.fault == nil {
		q.fault = e.readDetails(q, f)
	}
	if q.fault != nil {
		return q, q.fault
	}
	return q, nil
}

// maxState bounds the parameter state, in bytes: it is kept until the person answers, and goes back in a URL. Libraries
// take some 20 to 50, those that encrypt what they want to know again up to 2,000.
const maxState = 4 << 10

// clientOf finds a client that may be asked for at the authorization endpoint; nil when there is none.
func (i *Issuer) clientOf(ctx context.Context, id string) (*store.Client, error) {
	if !isClientID(id) {
		return nil, nil
	}
	client := i.clients[id]
	if client == nil {
		err := i.db.View(ctx, func(r *store.Records) (err error) {
			client, err = i.clientIn(ctx, r, id)
			return err
		})
		if errors.Is(err, store.ErrNotFound) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
	}
	if client.Disabled {
		return nil, nil
	}
	return client, nil
}

// The response types, and the grant that each of them belongs to.
const (
	responseCode  = "code"
	responseToken = "token"
)

var responseGrants = map[string]string{responseCode: "authorization_code", responseToken: "implicit"}

// The response modes (OAuth 2.0 Multiple Response Types, Form Post Response Mode).
const (
	modeQuery    = "query"
	modeFragment = "fragment"
	modeFormPost = "form_post"
)

// readResponse finds out how the answer is given, which is how a fault is told too.
func (e *endpoints) readResponse(q *authorization, f form) *Error {
	q.ResponseType, q.ResponseMode = f.get("response_type"), modeQuery
	if q.ResponseType == responseToken {
		q.ResponseMode = modeFragment
	}
	switch mode := f.get("response_mode"); {
	case mode == "", mode == q.ResponseMode:
	case mode == modeFormPost && !q.none && isWeb(q.RedirectURI): // a page with a form
		q.ResponseMode = mode
	default: // a token in a query ends up in logs, a code in a fragment at nobody's
		return errResponseMode
	}
	grant := responseGrants[q.ResponseType]
	switch {
	case q.ResponseType == "":
		return errResponseTypeMissing
	case !slices.Contains(e.config.Grants, grant):
		return errResponseType
	case !slices.Contains(q.client.Grants, grant):
		return errResponseTypeRefused
	}
	return nil
}

// isWeb tells whether a form can be sent to a redirect URI: not to the scheme of an app.
func isWeb(uri string) bool {
	return strings.HasPrefix(uri, "https://") || strings.HasPrefix(uri, "http://")
}

// readDetails reads what is left.
func (e *endpoints) readDetails(q *authorization, f form) *Error {
	if fault := readChallenge(q, f); fault != nil {
		return fault
	}
	if fault := readPrompt(q, f); fault != nil {
		return fault
	}
	asked, fault := parseScope(f.get("scope"))
	if fault != nil {
		return fault
	}
	if _, fault := e.scopes.load().scopesFor(q.client, asked, false); fault != nil {
		return fault
	}
	q.asked = asked
	audience, err := e.audience(&tokenRequest{form: f, issuer: q.Issuer})
	if err != nil {
		return errTarget
	}
	q.Audience = audience
	return nil
}

// challengeLen is the length of a SHA-256 in base64url (RFC 7636 §4.2).
const challengeLen = 43

// readChallenge holds a code to PKCE by S256, whoever asks (RFC 9700 §2.1.1): the method "plain" shows the verifier to
// everybody who sees the request, and a code without a challenge can be put into another's session.
func readChallenge(q *authorization, f form) *Error {
	q.Challenge = f.get("code_challenge")
	method := f.get("code_challenge_method")
	switch {
	case q.ResponseType == responseToken:
		q.Challenge = ""
	case q.Challenge == "" && method == "":
		return errNoChallenge
	case method != "S256", len(q.Challenge) != challengeLen, strings.ContainsFunc(q.Challenge, notBase64URL):
		return errChallenge
	}
	return nil
}

func notBase64URL(c rune) bool {
	return (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && c != '-' && c != '_'
}

// signedInAfter is the parameter that this endpoint adds to a request when it asks the person to sign in again: a
// session that began later will do. Who takes it away is asked once more; and who may change it may as well leave out
// `prompt` and `max_age`.
const signedInAfter = "signed_in_after"

// readPrompt reads `prompt` and `max_age` (OpenID Connect Core 1.0 §3.1.2.1). A session has one account, so that
// select_account leaves nothing to choose from.
func readPrompt(q *authorization, f form) *Error {
	prompts := strings.Fields(f.get("prompt"))
	for _, prompt := range prompts {
		switch prompt {
		case "none":
			q.none = true
		case "login":
			q.login = true
		case "consent":
			q.consent = true
		case "select_account":
		default:
			return errPrompt
		}
	}
	if q.none && len(prompts) > 1 {
		return errPrompt
	}
	if value := f.get("max_age"); value != "" {
		seconds, err := strconv.ParseUint(value, 10, 31)
		if err != nil {
			return errMaxAge
		}
		q.maxAge = time.Duration(seconds) * time.Second
	}
	if seconds, err := strconv.ParseUint(f.get(signedInAfter), 10, 40); err == nil {
		q.signedInAfter = time.Unix(int64(seconds), 0)
	}
	return nil
}

// mustSignIn tells whether the person has to prove again who it is before the request is answered.
func (q *authorization) mustSignIn(v *visitor, now time.Time) bool {
	if v == nil {
		return true
	}
	since := v.session.AuthenticatedAt
	if !q.signedInAfter.IsZero() && !since.Before(q.signedInAfter) {
		return false
	}
	return q.login || q.maxAge >= 0 && now.Sub(since) > q.maxAge
}

// decide answers a request that is right.
func (e *endpoints) decide(w http.ResponseWriter, r *http.Request, q *authorization) error {
	v, err := e.visitor(r)
	if err != nil {
		return err
	}
	if now := e.db.Now(); q.mustSignIn(v, now) {
		if q.none {
			return errLoginRequired
		}
		back := ownRequest(r)
		if q.login || q.maxAge >= 0 {
			back = askedToSignIn(back, now)
		}
		e.toSignIn(w, back)
		return nil
	}
	scopes, fault := e.scopes.load().scopesForUser(q.client, v.user, q.asked, false)
	if fault != nil {
		return fault
	}
	q.Scopes, q.UserID, q.SessionID = scopes, v.user.ID, v.session.ID
	before, err := e.consentOf(r.Context(), q)
	if err != nil {
		return err
	}
	if q.consent || !e.covered(q, before) {
		if q.none {
			return errConsentRequired
		}
		return e.askConsent(w, r, q, v, before)
	}
	take := func(*store.Records) (*store.AuthorizationRequest, error) { return &q.AuthorizationRequest, nil }
	e.grantAuthorization(w, r, v, take, false)
	return nil
}

// askedToSignIn adds to a request that the person has been asked to sign in now.
func askedToSignIn(request string, now time.Time) string {
	path, query, _ := strings.Cut(request, "?")
	kept := slices.DeleteFunc(strings.Split(query, "&"), func(pair string) bool {
		return strings.HasPrefix(pair, signedInAfter+"=")
	})
	return path + "?" + strings.Join(append(kept, signedInAfter+"="+strconv.FormatInt(now.Unix(), 10)), "&")
}

// toSignIn sends a person to the sign-in page, and from there to an own path.
func (e *endpoints) toSignIn(w http.ResponseWriter, back string) {
	seeOther(w, e.prefix+"/login?"+form{{"return", back}}.encode())
}
