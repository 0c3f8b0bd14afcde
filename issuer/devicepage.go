package issuer

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/oauth2-passport/caddy-passport/issuer/pages"
	"github.com/oauth2-passport/caddy-passport/store"
)

// devicePage answers GET /device: the form for the user code. A code in the URL (RFC 8628 §3.3.1) is only filled in:
// the person looks whether it is the device's, and a link that somebody has sent does nothing by itself.
func (e *endpoints) devicePage(w http.ResponseWriter, r *http.Request) {
	f, fault := parseForm(r.URL.RawQuery)
	if fault != nil {
		e.refusePage(w, r, fault)
		return
	}
	v, err := e.visitor(r)
	if err != nil {
		e.refusePage(w, r, err)
		return
	}
	page := pages.Device{Step: pages.DeviceEnter}
	switch f.get("answer") {
	case decisionApprove:
		page.Step = pages.DeviceDone
	case decisionDeny:
		page.Step = pages.DeviceDenied
	default:
		if code, ok := userCode(f.get("user_code")); ok {
			page.UserCode = code
		}
	}
	if v == nil {
		e.toSignIn(w, ownRequest(r))
		return
	}
	e.showDevice(w, r, http.StatusOK, page, v)
}

func (e *endpoints) showDevice(w http.ResponseWriter, r *http.Request, status int, page pages.Device, v *visitor) {
	page.Prefix, page.CSRF, page.Username = e.prefix, v.csrf(), v.user.Name
	setRetryAfter(w, page.RetryAfter)
	e.keepXSRF(w, r, v)
	e.pages.Render(w, r, status, page)
}

// device answers POST /device: the person has typed a code, or has looked at who asks for what and answers.
func (e *endpoints) device(w http.ResponseWriter, r *http.Request) {
	f, fault := readForm(w, r)
	if fault != nil {
		e.refusePage(w, r, fault)
		return
	}
	v, err := e.visitor(r)
	if err != nil {
		e.refusePage(w, r, err)
		return
	}
	if fault := e.checkForm(r, f, v); fault != nil {
		e.refusePage(w, r, fault)
		return
	}
	page := pages.Device{Step: pages.DeviceEnter, UserCode: f.get("user_code")}
	err = e.deviceStep(r, f, v, &page)
	e.tellOfUserCode(r.Context(), v, err)
	tooMany, ok := errors.AsType[*tooManyError](err)
	switch {
	case ok:
		page.Fault, page.RetryAfter = pages.DeviceTooMany, tooMany.RetryAfter
		e.showDevice(w, r, http.StatusTooManyRequests, page, v)
	case errors.Is(err, store.ErrNotFound):
		page.Fault = pages.DeviceUnknown
		e.showDevice(w, r, http.StatusBadRequest, page, v)
	case err != nil:
		e.refusePage(w, r, err)
	case page.Step == pages.DeviceConfirm:
		e.showDevice(w, r, http.StatusOK, page, v)
	default:
		seeOther(w, e.prefix+"/device?answer="+f.get("decision"))
	}
}

// deviceStep goes one step on: to the page that shows who asks for what, or to the end. The error is [*tooManyError],
// [store.ErrNotFound] for a wrong code, or why nobody can tell.
func (e *endpoints) deviceStep(r *http.Request, f form, v *visitor, page *pages.Device) error {
	ctx := r.Context()
	// The person first, whatever the session, for one may have many; who shares the address does not wait for that.
	tries := []struct {
		try
		atOnce int
	}{
		{try{guessUserCode, v.user.ID}, 1}, {try{guessCodeFrom, addressSubject(RemoteIP(r))}, maxLine},
	}
	for _, t := range tries {
		done, err := e.turns.take(ctx, t.kind+" "+t.subject, t.atOnce)
		if err != nil {
			return err
		}
		defer done()
		wait, err := e.guess(ctx, t.kind, t.subject)
		if err != nil {
			return err
		}
		if wait > 0 {
			return &tooManyError{RetryAfter: wait}
		}
	}
	code, ok := userCode(f.get("user_code"))
	err := store.ErrNotFound
	if ok {
		page.UserCode = code
		switch decision := f.get("decision"); decision {
		case decisionApprove, decisionDeny:
			page.Step = pages.DeviceDone
			err = e.answerDevice(ctx, e.IdentifierFor(r), code, v, decision == decisionApprove)
		default:
			err = e.confirmDevice(ctx, e.IdentifierFor(r), code, v, page)
		}
	}
	if !errors.Is(err, store.ErrNotFound) {
		// A right code takes nothing back: anybody can get one for a device of his own, to go on guessing.
		return err
	}
	page.Step = pages.DeviceEnter
	for _, t := range tries {
		if err := e.guessed(ctx, t.kind, t.subject, false); err != nil {
			return err
		}
	}
	return err
}

// tellOfUserCode tells of a user code that was wrong, or was not looked at. A person who may not answer, or has signed
// out meanwhile, had a right one.
func (e *endpoints) tellOfUserCode(ctx context.Context, v *visitor, err error) {
	_, refused := errors.AsType[*pageError](err)
	if err == nil || refused {
		return
	}
	why := failed(err, store.ErrNotFound, failedWrongCode)
	e.tell(ctx, Event{Type: UserCodeRefused, UserID: v.user.ID, Grant: deviceCode.name, Error: why})
}

// waiting reads the device that waits with a user code, and its client.
func (e *endpoints) waiting(ctx context.Context, r *store.Records, issuer, code string) (
	hash string, d *store.DeviceAuthorization, client *store.Client, err error,
) {
	if hash, d, err = r.DeviceByUserCode(code); err != nil {
		return "", nil, nil, err
	}
	if d.State != store.DevicePending || d.Issuer != issuer {
		return "", nil, nil, store.ErrNotFound
	}
	client = e.clients[d.ClientID]
	if client == nil {
		if client, err = e.clientIn(ctx, r, d.ClientID); err != nil {
			return "", nil, nil, err
		}
	}
	if client.Disabled || !slices.Contains(client.Grants, deviceCode.name) {
		return "", nil, nil, store.ErrNotFound
	}
	return hash, d, client, nil
}

// confirmDevice shows the person who asks for what.
func (e *endpoints) confirmDevice(ctx context.Context, issuer, code string, v *visitor, page *pages.Device) error {
	var client *store.Client
	var before *store.Consent
	var scopes []string
	err := e.db.View(ctx, func(r *store.Records) error {
		_, d, found, err := e.waiting(ctx, r, issuer, code)
		if err != nil {
			return err
		}
		client = found
		scopes, err = e.deviceScopes(client, v.user, d)
		if err != nil {
			return err
		}
		before, err = r.Consent(v.user.ID, client.ID)
		if errors.Is(err, store.ErrNotFound) {
			before, err = nil, nil
		}
		return err
	})
	if err != nil {
		return err
	}
	app, err := e.appOf(ctx, client)
	page.Step, page.Client, page.Scopes = pages.DeviceConfirm, app, e.inWords(scopes, before)
	return err
}

// deviceScopes are what the person can give to the device of that which it asks for.
func (e *endpoints) deviceScopes(c *store.Client, u *store.User, d *store.DeviceAuthorization) ([]string, error) {
	if len(d.Scopes) == 0 {
		return nil, nil
	}
	scopes := e.scopes.load().stillAllowed(c, u, d.Scopes)
	if len(scopes) == 0 {
		return nil, &pageError{kind: pages.FaultForbidden, status: http.StatusForbidden}
	}
	return scopes, nil
}

// answerDevice writes the person's answer, which the device gets to know when it asks next.
func (e *endpoints) answerDevice(ctx context.Context, issuer, code string, v *visitor, approve bool) error {
	var event Event
	err := e.db.Update(ctx, func(r *store.Records) error {
		hash, d, client, err := e.waiting(ctx, r, issuer, code)
		if err != nil {
			return err
		}
		now := &visitor{secret: v.secret}
		if err := e.visit(ctx, r, now); errors.Is(err, errNobody) {
			return errNoRequest // signed out in the meantime
		} else if err != nil {
			return err
		}
		event = Event{Type: AuthorizationRefused, ClientID: d.ClientID, UserID: v.user.ID, Error: errDenied.Code}
		d.State, d.UserID, d.AnsweredAt = store.DeviceDenied, v.user.ID, r.Now()
		if approve {
			if d.Scopes, err = e.deviceScopes(client, now.user, d); err != nil {
				return err
			}
			d.State, d.AuthenticatedAt = store.DeviceApproved, now.session.AuthenticatedAt
			event.Type, event.Error, event.Scope = AuthorizationGranted, "", strings.Join(d.Scopes, " ")
			if err := e.rememberConsent(r, v.user.ID, d.ClientID, d.Scopes); err != nil {
				return err
			}
		}
		return r.PutDevice(hash, d)
	})
	if err != nil {
		return err
	}
	event.Grant, event.Time = deviceCode.name, time.Time{}
	e.tell(ctx, event)
	return nil
}
