package issuer

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/oauth2-passport/caddy-passport/issuer/verify"
	"github.com/oauth2-passport/caddy-passport/store"
)

// The JSON API is Laravel Passport's, for a person's own front end: its paths, methods, names of members and status
// codes. A page of this origin calls it with the session cookie, and for writes with the header X-XSRF-TOKEN; everybody
// else with an access token in the person's name that has [ManageScope].

// ManageScope is the scope of tokens that may call the JSON API. It exists where the configuration defines it; without
// that the API is for sessions alone. What is made by such a token can do no more than the token itself, and cannot
// call this API.
const ManageScope = "passport:manage"

// apiCaller is who calls the JSON API.
type apiCaller struct {
	user   *store.User
	within []string // the scopes of the token; nil for a session
}

// apiError is a fault in the shape of Laravel's.
type apiError struct {
	status    int
	message   string
	fields    map[string]string // by the name of the field, what is wrong with it
	challenge string            // WWW-Authenticate
	retry     time.Duration
}

// Error is the message.
func (e *apiError) Error() string { return e.message }

var (
	errAPINotFound = &apiError{status: http.StatusNotFound, message: "Not found."}
	errAPISession  = &apiError{
		status: http.StatusUnauthorized, message: "Unauthenticated.", challenge: `Bearer realm="OAuth"`,
	}
	errAPIToken = &apiError{
		status: http.StatusUnauthorized, message: "Unauthenticated.",
		challenge: `Bearer realm="OAuth", error="invalid_token"`,
	}
	errAPIScope = &apiError{
		status: http.StatusForbidden, message: "Invalid scope(s) provided.",
		challenge: `Bearer realm="OAuth", error="insufficient_scope", scope="` + ManageScope + `"`,
	}
	errAPIPerson = &apiError{status: http.StatusForbidden, message: "The token is not in the name of a user."}
	errAPIForged = &apiError{status: statusPageExpired, message: "CSRF token mismatch."}
)

// statusPageExpired is what Laravel answers to a form, or a script, without the right token.
const statusPageExpired = 419

// apiHandler answers a call; what it returns is written as JSON, or nothing with 204.
type apiHandler func(e *endpoints, r *http.Request, c *apiCaller, fields apiFields) (status int, answer any, err error)

// api makes an endpoint of a handler.
func api(handle apiHandler) handler {
	return func(e *endpoints, w http.ResponseWriter, r *http.Request) {
		status, answer, err := e.callAPI(w, r, handle)
		if err != nil {
			e.refuseAPI(w, r, err)
			return
		}
		writeAPI(w, r, status, answer)
	}
}

func (e *endpoints) callAPI(w http.ResponseWriter, r *http.Request, handle apiHandler) (int, any, error) {
	writes := r.Method != http.MethodGet && r.Method != http.MethodHead
	c, err := e.apiCaller(r, writes)
	if err != nil {
		return 0, nil, err
	}
	var fields apiFields
	if writes && r.Method != http.MethodDelete {
		if fields, err = readAPIFields(w, r); err != nil {
			return 0, nil, err
		}
	}
	return handle(e, r, c, fields)
}

// apiCaller finds out who calls: by the token if there is one, else by the session. What a session's cookie lets a
// script do needs the proof that it is a script of this origin.
func (e *endpoints) apiCaller(r *http.Request, writes bool) (*apiCaller, error) {
	if len(r.Header["Authorization"]) > 0 {
		return e.apiTokenCaller(r)
	}
	v, err := e.visitor(r)
	if err != nil {
		return nil, err
	}
	if v == nil {
		return nil, errAPISession
	}
	if writes && e.checkForm(r, nil, v) != nil {
		return nil, errAPIForged
	}
	return &apiCaller{user: v.user}, nil
}

func (e *endpoints) apiTokenCaller(r *http.Request) (*apiCaller, error) {
	headers := r.Header["Authorization"]
	scheme, token, _ := strings.Cut(headers[0], " ")
	if len(headers) > 1 || !strings.EqualFold(scheme, "Bearer") {
		return nil, errAPIToken
	}
	identifier := e.IdentifierFor(r)
	if identifier == "" {
		return nil, errHost
	}
	id, err := e.verifier.Verify(r.Context(), strings.TrimSpace(token), identifier)
	if err == nil {
		err = id.IntendedFor(identifier)
	}
	if _, refused := errors.AsType[*verify.Error](err); refused {
		return nil, errAPIToken
	}
	if err != nil {
		return nil, err
	}
	if !id.Own() || !id.Person() {
		return nil, errAPIPerson
	}
	if !e.scopes.load().within(id.Scopes, ManageScope) {
		return nil, errAPIScope
	}
	c := &apiCaller{within: id.Scopes}
	err = e.db.View(r.Context(), func(records *store.Records) (err error) {
		c.user, err = e.personOf(r.Context(), records, id.UserID)
		return err
	})
	if errors.Is(err, errNobody) {
		return nil, errAPIToken
	}
	return c, err
}

// mayGive tells whether the caller may give a scope away, as far as the token goes that it calls with.
func (c *apiCaller) mayGive(known *scopes, name string) bool {
	return c.within == nil || known.within(c.within, name) && !known.within([]string{name}, ManageScope)
}

// refuseAPI answers with a fault.
func (e *endpoints) refuseAPI(w http.ResponseWriter, r *http.Request, err error) {
	f := e.apiFault(err)
	h := w.Header()
	if f.challenge != "" {
		h.Set("WWW-Authenticate", f.challenge)
	}
	setRetryAfter(w, f.retry)
	answer := struct {
		Message string              `json:"message"`
		Errors  map[string][]string `json:"errors,omitempty"`
	}{Message: f.message}
	for name, problem := range f.fields {
		if answer.Errors == nil {
			answer.Errors = make(map[string][]string, len(f.fields))
		}
		answer.Errors[name] = []string{problem}
	}
	writeAPI(w, r, f.status, answer)
}

func (e *endpoints) apiFault(err error) *apiError {
	if f, ok := errors.AsType[*apiError](err); ok {
		return f
	}
	if invalid, ok := errors.AsType[*InvalidError](err); ok {
		return invalidFields(map[string]string{apiName(invalid.Field): apiProblem(invalid)})
	}
	if many, ok := errors.AsType[*tooManyThingsError](err); ok {
		return invalidFields(map[string]string{"name": fmt.Sprintf("There may be %d, and there are.", many.limit)})
	}
	switch {
	case errors.Is(err, ErrUnknownClient), errors.Is(err, ErrUnknownToken):
		return errAPINotFound
	case errors.Is(err, ErrUnknownPerson), errors.Is(err, errNobody):
		return errAPISession
	case errors.Is(err, ErrPersonalAccessOff), errors.Is(err, errOwnClientsOff), errors.Is(err, errNoScopeToGive):
		return &apiError{status: http.StatusForbidden, message: capital(err.Error()) + "."}
	}
	f := e.fault(err, "api", "")
	return &apiError{status: f.Status, message: f.Description, retry: max(f.retryAfter, retryIf(f == errUnavailable))}
}

func retryIf(unavailable bool) time.Duration {
	if unavailable {
		return retryAfter
	}
	return 0
}

// apiName is what Laravel calls a field of ours.
func apiName(field string) string {
	switch field {
	case "client_name":
		return "name"
	case "redirect_uris":
		return "redirect"
	case "scope":
		return "scopes"
	}
	return field
}

func apiProblem(e *InvalidError) string {
	return fmt.Sprintf("The %s: %s.", apiName(e.Field), e.Problem)
}

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// invalidFields is what Laravel answers to fields that are wrong: the first problem, and how many there are.
func invalidFields(fields map[string]string) *apiError {
	f := &apiError{status: http.StatusUnprocessableEntity, fields: fields}
	f.message = fields[slices.Sorted(maps.Keys(fields))[0]]
	switch more := len(fields) - 1; {
	case more == 1:
		f.message += " (and 1 more error)"
	case more > 1:
		f.message += " (and " + strconv.Itoa(more) + " more errors)"
	}
	return f
}

// writeAPI answers with JSON that nobody may keep. Without an answer there is no body.
func writeAPI(w http.ResponseWriter, r *http.Request, status int, answer any) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	if answer == nil {
		w.WriteHeader(status)
		return
	}
	body, err := json.Marshal(answer)
	if err != nil {
		panic(err) // what is answered are strings, numbers and lists of them
	}
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // who does not read the answer has no use for another
	}
}
