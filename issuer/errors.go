package issuer

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Error is a fault of the protocol: what the caller gets to read, and nothing else (RFC 6749 §5.2). They are all in
// the table below.
type Error struct {
	Code        string // `error`
	Description string // `error_description`, without quotation mark and backslash
	Status      int

	retryAfter time.Duration // zero: not said, or of 503 the usual
	body       []byte
}

// Error tells code and description.
func (e *Error) Error() string { return e.Code + ": " + e.Description }

func newError(status int, code, description string) *Error {
	e := &Error{Code: code, Description: description, Status: status}
	e.body = append(e.body, `{"error":`...)
	e.body = appendJSONString(e.body, code)
	e.body = append(e.body, `,"error_description":`...)
	e.body = appendJSONString(e.body, description)
	e.body = append(e.body, "}\n"...)
	return e
}

// after is the error with the time after which it may be over.
func (e *Error) after(d time.Duration) *Error {
	with := *e
	with.retryAfter = d
	return &with
}

// maxNamed bounds what a description names, in bytes.
const maxNamed = maxScopeName

// about is the error with a description that names what it is about, between before and after. The name may be the
// caller's own: one that has more in it than names need, or is too long, is not repeated, and e is the answer.
func (e *Error) about(before, name, after string) *Error {
	if len(name) > maxNamed || !isVisible(name) || strings.ContainsAny(name, "<>&'`") {
		return e
	}
	return newError(e.Status, e.Code, before+name+after)
}

// Everything that an endpoint answers when it does not do what it was asked to. RFC 6749 §5.2 wants 400 but where it
// says otherwise; 404, 405, 413 and 503 are those of HTTP (RFC 9110), with a body that OAuth clients understand.
var (
	errNoSuchEndpoint = newError(http.StatusNotFound, "not_found", "There is no such endpoint.")
	errMethod         = newError(http.StatusMethodNotAllowed, "invalid_request",
		"The endpoint does not take this method.")
	errTooLarge = newError(http.StatusRequestEntityTooLarge, "invalid_request", "The request is too large.")

	errContentType = newError(http.StatusBadRequest, "invalid_request",
		"The request has to be application/x-www-form-urlencoded.")
	errBody          = newError(http.StatusBadRequest, "invalid_request", "The body could not be read.")
	errFormMalformed = newError(http.StatusBadRequest, "invalid_request", "The form is malformed.")
	errTwice         = newError(http.StatusBadRequest, "invalid_request", "A parameter is sent more than once.")
	errCharacters    = newError(http.StatusBadRequest, "invalid_request",
		"A parameter has characters that are not allowed.")
	errTooLong = newError(http.StatusBadRequest, "invalid_request", "A parameter is too long.")
	errQuery   = newError(http.StatusBadRequest, "invalid_request",
		"Parameters belong into the body, not the URL.")
	errHost             = newError(http.StatusBadRequest, "invalid_request", "The request names no usable host.")
	errNoGrant          = newError(http.StatusBadRequest, "invalid_request", "The parameter grant_type is missing.")
	errParameterMissing = newError(http.StatusBadRequest, "invalid_request",
		"A parameter that the grant type needs is missing.")
	errNoToken   = newError(http.StatusBadRequest, "invalid_request", "The parameter token is missing.")
	errTwoWays   = newError(http.StatusBadRequest, "invalid_request", "The client authenticates in more than one way.")
	errTwoIDs    = newError(http.StatusBadRequest, "invalid_request", "The request names two clients.")
	errTwoAuthns = newError(http.StatusBadRequest, "invalid_request", "There is more than one Authorization header.")

	// RFC 6749 §5.2: 401, so that the header WWW-Authenticate goes with it. One text for every cause: who asks does
	// not learn which clients there are.
	errInvalidClient = newError(http.StatusUnauthorized, "invalid_client", "Client authentication failed.")
	errNoClient      = newError(http.StatusUnauthorized, "invalid_client", "Client authentication is missing.")
	errAuthnMethod   = newError(http.StatusUnauthorized, "invalid_client",
		"The way of client authentication is not supported.")

	errGrantUnknown = newError(http.StatusBadRequest, "unsupported_grant_type", "The grant type is not supported.")
	errGrantRefused = newError(http.StatusBadRequest, "unauthorized_client",
		"The client is not allowed to use this grant type.")

	// RFC 6749 §5.2. Which of the causes it is that they name is told to the client that the grant belongs to alone.
	errGrantNotGood = newError(http.StatusBadRequest, "invalid_grant", "The grant is not good.")
	errCode         = newError(http.StatusBadRequest, "invalid_grant",
		"The code is unknown, expired, used before or another client's.")
	errCodeRedirect = newError(http.StatusBadRequest, "invalid_grant",
		"The redirect_uri is not that of the authorization request.")
	errVerifier = newError(http.StatusBadRequest, "invalid_grant",
		"The code_verifier does not belong to the code_challenge of the authorization request.")
	errRefreshToken = newError(http.StatusBadRequest, "invalid_grant",
		"The refresh token is unknown, expired, revoked, used before or another client's.")
	errPersonGone = newError(http.StatusBadRequest, "invalid_grant",
		"What the user has granted holds no longer.")
	errNothingLeft = newError(http.StatusBadRequest, "invalid_grant",
		"Nothing is left of the scopes that the user has granted.")
	errPassword = newError(http.StatusBadRequest, "invalid_grant", "The username or the password is wrong.")

	// RFC 8628 §3.5
	errDeviceCode = newError(http.StatusBadRequest, "invalid_grant",
		"The device code is malformed or another client's.")
	errDeviceExpired = newError(http.StatusBadRequest, "expired_token", "The device code has expired or was used before.")
	errDeviceDenied  = newError(http.StatusBadRequest, "access_denied", "The user has denied the request.")
	errSlowDown      = newError(http.StatusBadRequest, "slow_down",
		"The device asks too often: from now on it has to wait 5 seconds longer.")
	errAuthorizationPending = newError(http.StatusBadRequest, "authorization_pending", "The user has not answered yet.")

	errScopeMalformed  = newError(http.StatusBadRequest, "invalid_scope", "The scope is malformed.")
	errScopeUnknown    = newError(http.StatusBadRequest, "invalid_scope", "The scope is unknown.")
	errScopeNotAllowed = newError(http.StatusBadRequest, "invalid_scope", "The client may not have this scope.")
	errScopeOfPerson   = newError(http.StatusBadRequest, "invalid_scope", "The user may have none of the scopes.")
	errScopeNotGranted = newError(http.StatusBadRequest, "invalid_scope",
		"The scope is more than was granted, or than the user and the client may have by now.")

	// RFC 6749 §4.1.2.1, RFC 7636 §4.4.1: what a client is told by the redirect
	errResponseType        = newError(http.StatusBadRequest, "unsupported_response_type", "The response type is off.")
	errResponseTypeMissing = newError(http.StatusBadRequest, "invalid_request", "The parameter response_type is missing.")
	errResponseTypeRefused = newError(http.StatusBadRequest, "unauthorized_client",
		"The client is not allowed to use this response type.")
	errResponseMode = newError(http.StatusBadRequest, "invalid_request", "The response mode is not supported.")
	errNoChallenge  = newError(http.StatusBadRequest, "invalid_request",
		"PKCE is required: the parameter code_challenge is missing.")
	errChallenge = newError(http.StatusBadRequest, "invalid_request",
		"The code_challenge has to be the base64url of a SHA-256, with code_challenge_method=S256.")
	errPrompt = newError(http.StatusBadRequest, "invalid_request", "The prompt is unknown, or goes with no other.")
	errMaxAge = newError(http.StatusBadRequest, "invalid_request", "The max_age is no number of seconds.")
	errDenied = newError(http.StatusForbidden, "access_denied", "The user has denied the request.")

	// OpenID Connect Core 1.0 §3.1.2.6: what prompt=none answers where a page would be shown
	errLoginRequired   = newError(http.StatusForbidden, "login_required", "The user has to sign in.")
	errConsentRequired = newError(http.StatusForbidden, "consent_required", "The user has to consent.")

	// Only pages of this origin, with the token of their form, act for who is signed in.
	errForged = newError(http.StatusForbidden, "access_denied",
		"The request comes from elsewhere, or its form is too old.")

	// RFC 8707 §2
	errTarget = newError(http.StatusBadRequest, "invalid_target", "The resource is unknown.")

	errTooMany = newError(http.StatusTooManyRequests, "too_many_attempts",
		"There were too many attempts. Wait before the next one.")
	errUnavailable = newError(http.StatusServiceUnavailable, "temporarily_unavailable",
		"The service is not available at the moment. Try again.")
)

const (
	retryAfterSeconds = 5
	retryAfter        = retryAfterSeconds * time.Second
)

// writeError answers with e. It is the only one who writes a fault.
func writeError(w http.ResponseWriter, r *http.Request, e *Error) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("Pragma", "no-cache")
	h.Set("Content-Length", strconv.Itoa(len(e.body)))
	switch e.Status {
	case http.StatusUnauthorized:
		h.Set("WWW-Authenticate", `Basic realm="OAuth", charset="UTF-8"`)
	case http.StatusServiceUnavailable:
		h.Set("Retry-After", strconv.Itoa(retryAfterSeconds))
	}
	if e.retryAfter > 0 {
		h.Set("Retry-After", strconv.FormatInt(int64((e.retryAfter+time.Second-1)/time.Second), 10))
	}
	w.WriteHeader(e.Status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(e.body) // who does not read the answer has no use for another
	}
}

// Unavailable answers in the place of an issuer that cannot be made now, as its endpoints do when storage fails.
func Unavailable(w http.ResponseWriter, r *http.Request) { writeError(w, r, errUnavailable) }
