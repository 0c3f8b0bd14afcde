package issuer

import (
	"net/http"
	"strconv"
	"strings"
)

// Error is a fault of the protocol: what the caller gets to read, and nothing else (RFC 6749 §5.2). They are all in
// the table below.
type Error struct {
	Code        string // `error`
	Description string // `error_description`, without quotation mark and backslash
	Status      int

	body []byte
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
	errResponseType   = newError(http.StatusBadRequest, "unsupported_response_type",
		"This issuer has no response type: clients get their tokens at the token endpoint.")
	errMethod = newError(http.StatusMethodNotAllowed, "invalid_request",
		"The endpoint does not take this method.")
	errTooLarge = newError(http.StatusRequestEntityTooLarge, "invalid_request", "The request is too large.")

	errContentType = newError(http.StatusBadRequest, "invalid_request",
		"The request has to be application/x-www-form-urlencoded.")
	errBody          = newError(http.StatusBadRequest, "invalid_request", "The body could not be read.")
	errFormMalformed = newError(http.StatusBadRequest, "invalid_request", "The form is malformed.")
	errTwice         = newError(http.StatusBadRequest, "invalid_request", "A parameter is sent more than once.")
	errCharacters    = newError(http.StatusBadRequest, "invalid_request",
		"A parameter has characters that are not allowed.")
	errTooLong   = newError(http.StatusBadRequest, "invalid_request", "A parameter is too long.")
	errQuery     = newError(http.StatusBadRequest, "invalid_request", "Parameters belong into the body, not the URL.")
	errHost      = newError(http.StatusBadRequest, "invalid_request", "The request names no usable host.")
	errNoGrant   = newError(http.StatusBadRequest, "invalid_request", "The parameter grant_type is missing.")
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

	errScopeMalformed  = newError(http.StatusBadRequest, "invalid_scope", "The scope is malformed.")
	errScopeUnknown    = newError(http.StatusBadRequest, "invalid_scope", "The scope is unknown.")
	errScopeNotAllowed = newError(http.StatusBadRequest, "invalid_scope", "The client may not have this scope.")

	// RFC 8707 §2
	errTarget = newError(http.StatusBadRequest, "invalid_target", "The resource is unknown.")

	errUnavailable = newError(http.StatusServiceUnavailable, "temporarily_unavailable",
		"The service is not available at the moment. Try again.")
)

const retryAfterSeconds = 5

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
	w.WriteHeader(e.Status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(e.body) // who does not read the answer has no use for another
	}
}

// Unavailable answers in the place of an issuer that cannot be made now, as its endpoints do when storage fails.
func Unavailable(w http.ResponseWriter, r *http.Request) { writeError(w, r, errUnavailable) }
