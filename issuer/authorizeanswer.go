package issuer

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/oauth2-passport/caddy-passport/issuer/pages"
	"github.com/oauth2-passport/caddy-passport/store"
)

// pageError is a fault that a person reads on a page.
type pageError struct {
	kind   pages.FaultKind
	status int
	detail string // for the developer of an app
	retry  time.Duration
}

// Error is the kind of the fault.
func (f *pageError) Error() string { return "page " + string(f.kind) }

func badRequest(detail string) *pageError {
	return &pageError{kind: pages.FaultRequest, status: http.StatusBadRequest, detail: detail}
}

// refusePage shows a fault.
func (e *endpoints) refusePage(w http.ResponseWriter, r *http.Request, err error) {
	f, ok := errors.AsType[*pageError](err)
	if !ok {
		switch fault := e.fault(err, "page", ""); fault {
		case errForged:
			f = &pageError{kind: pages.FaultExpired, status: fault.Status}
		case errUnavailable:
			f = &pageError{kind: pages.FaultUnavailable, status: fault.Status, retry: retryAfter}
		case errScopeOfPerson:
			f = &pageError{kind: pages.FaultForbidden, status: http.StatusForbidden}
		default:
			f = &pageError{kind: pages.FaultRequest, status: fault.Status, detail: fault.Description}
		}
	}
	setRetryAfter(w, f.retry)
	e.pages.Render(w, r, f.status, pages.Fault{Prefix: e.prefix, Kind: f.kind, Detail: f.detail, RetryAfter: f.retry})
}

// setRetryAfter says when it is worth to come again, in whole seconds (RFC 9110 §10.2.3).
func setRetryAfter(w http.ResponseWriter, wait time.Duration) {
	if wait > 0 {
		w.Header().Set("Retry-After", strconv.FormatInt(int64((wait+time.Second-1)/time.Second), 10))
	}
}

// refuseAuthorization tells the client of a fault, or the person where the client cannot be told (RFC 6749 §4.1.2.1).
func (e *endpoints) refuseAuthorization(
	w http.ResponseWriter, r *http.Request, q *store.AuthorizationRequest, err error,
) {
	if _, ok := errors.AsType[*pageError](err); ok || q.RedirectURI == "" {
		event := Event{Type: AuthorizationRefused, ClientID: q.ClientID, UserID: q.UserID, Error: "invalid_request"}
		if fault, ok := errors.AsType[*Error](err); ok {
			event.Error = fault.Code
		}
		e.tell(r.Context(), event)
		e.refusePage(w, r, err)
		return
	}
	fault := e.fault(err, "authorize", q.ClientID)
	e.tell(r.Context(), Event{
		Type: AuthorizationRefused, ClientID: q.ClientID, UserID: q.UserID, Grant: responseGrants[q.ResponseType],
		Error: fault.Code,
	})
	e.answer(w, r, q, [][2]string{
		{"error", fault.Code}, {"error_description", fault.Description},
	})
}

// answer brings an answer to the client, with the `state` of the request and the `iss` by which the client tells whose
// answer it is (RFC 9207 §2).
func (e *endpoints) answer(w http.ResponseWriter, r *http.Request, q *store.AuthorizationRequest, params [][2]string) {
	if q.State != "" {
		params = append(params, [2]string{"state", q.State})
	}
	params = append(params, [2]string{"iss", q.Issuer})
	if q.ResponseMode == modeFormPost {
		name := ""
		if client, err := e.clientOf(r.Context(), q.ClientID); err == nil && client != nil {
			name = client.Name
		}
		e.pages.Render(w, r, http.StatusOK, pages.FormPost{
			Prefix: e.prefix, RedirectURI: q.RedirectURI, Client: name, Params: params,
		})
		return
	}
	seeOther(w, withParams(q.RedirectURI, params, q.ResponseMode == modeFragment))
}

// seeOther sends the browser on, always by GET: after 307 and 308 it would send a form with a password once more (RFC
// 9700 §4.12). What the address holds is for nobody else: it is not kept, and not told as where the browser came from.
func seeOther(w http.ResponseWriter, location string) {
	h := w.Header()
	h.Set("Location", location)
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Content-Length", "0")
	w.WriteHeader(http.StatusSeeOther)
}

// encode writes the form as a query.
func (f form) encode() string {
	var b strings.Builder
	for i, p := range f {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString(url.QueryEscape(p.name) + "=" + url.QueryEscape(p.value))
	}
	return b.String()
}
