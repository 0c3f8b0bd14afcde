package issuer

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/oauth2-passport/caddy-passport/issuer/pages"
)

// accountPage answers GET /account: the person's own page.
func (e *endpoints) accountPage(w http.ResponseWriter, r *http.Request) {
	v, err := e.visitor(r)
	switch {
	case err != nil:
		e.refusePage(w, r, err)
	case v == nil:
		e.signInFirst(w)
	default:
		e.showAccount(w, r, v, http.StatusOK, pages.Account{Notice: noticeOf(r)})
	}
}

// signInFirst sends somebody to sign in, and to the account page from there.
func (e *endpoints) signInFirst(w http.ResponseWriter) {
	seeOther(w, e.prefix+"/login?return="+url.QueryEscape(e.prefix+"/account"))
}

// noticeOf is what a form of the page has done that the browser comes from. A link elsewhere has done nothing.
func noticeOf(r *http.Request) pages.Notice {
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" {
		return ""
	}
	notice := pages.Notice(r.URL.Query().Get("done"))
	if !slices.Contains(pages.Notices, notice) {
		return ""
	}
	return notice
}

// showAccount shows the page with what is known by now, and what page has of the request.
func (e *endpoints) showAccount(w http.ResponseWriter, r *http.Request, v *visitor, status int, page pages.Account) {
	if err := e.fillAccount(r.Context(), v, &page); err != nil {
		e.refusePage(w, r, err)
		return
	}
	e.keepXSRF(w, r, v)
	setRetryAfter(w, page.Fault.RetryAfter)
	e.pages.Render(w, r, status, page)
}

// accountError is why a form of the account page was not taken.
type accountError struct {
	status int
	fault  pages.AccountFault
	values pages.AccountValues
}

// Error is the kind of the fault.
func (f *accountError) Error() string { return "account " + string(f.fault.Kind) }

// changeAccount answers POST /account: one of the forms of the page. What was made once and is never shown again is in
// the answer itself; after everything else the page is got anew.
func (e *endpoints) changeAccount(w http.ResponseWriter, r *http.Request) {
	f, fault := readPageForm(w, r)
	if fault != nil {
		e.refusePage(w, r, fault)
		return
	}
	v, err := e.visitor(r)
	if err != nil {
		e.refusePage(w, r, err)
		return
	}
	if v == nil {
		e.signInFirst(w)
		return
	}
	if fault := e.checkForm(r, form{{csrfField, f.Get(csrfField)}}, v); fault != nil {
		e.showAccount(w, r, v, fault.Status, pages.Account{Fault: pages.AccountFault{Kind: pages.Expired}})
		return
	}
	act := accountActions[pages.Action(f.Get("action"))]
	if act == nil {
		e.refusePage(w, r, badRequest("the field action is missing or unknown"))
		return
	}
	page, err := act(e, w, r, v, f)
	if err != nil {
		e.refuseChange(w, r, v, err)
		return
	}
	if page.NewToken != "" || page.NewClientID != "" {
		e.showAccount(w, r, v, http.StatusOK, page)
		return
	}
	seeOther(w, e.prefix+"/account?done="+url.QueryEscape(string(page.Notice)))
}

// refuseChange shows the page again, with what is wrong.
func (e *endpoints) refuseChange(w http.ResponseWriter, r *http.Request, v *visitor, err error) {
	switch f, ok := errors.AsType[*accountError](err); {
	case ok:
		e.showAccount(w, r, v, f.status, pages.Account{Fault: f.fault, Values: f.values})
	case errors.Is(err, ErrUnknownClient), errors.Is(err, ErrUnknownToken), errors.Is(err, errNoSession):
		e.showAccount(w, r, v, http.StatusNotFound, pages.Account{Fault: pages.AccountFault{Kind: pages.Gone}})
	case errors.Is(err, ErrPersonalAccessOff), errors.Is(err, errOwnClientsOff), errors.Is(err, errNoScopeToGive),
		errors.Is(err, ErrUserElsewhere), errors.Is(err, ErrPublicClient):
		e.refusePage(w, r, &pageError{kind: pages.FaultForbidden, status: http.StatusForbidden})
	case errors.Is(err, ErrUnknownPerson), errors.Is(err, ErrUnknownUser), errors.Is(err, errNobody):
		e.signInFirst(w) // disabled or deleted in this moment
	default:
		e.refusePage(w, r, err)
	}
}

// accountActions do what the forms ask for. The page that they return has the notice, and secrets that are shown once.
var accountActions = map[pages.Action]func(
	*endpoints, http.ResponseWriter, *http.Request, *visitor, url.Values,
) (pages.Account, error){
	pages.ActionDisconnect:     (*endpoints).disconnectApp,
	pages.ActionCreateToken:    (*endpoints).createToken,
	pages.ActionRevokeToken:    (*endpoints).revokeToken,
	pages.ActionCreateClient:   (*endpoints).registerApp,
	pages.ActionUpdateClient:   (*endpoints).changeApp,
	pages.ActionNewSecret:      (*endpoints).newAppSecret,
	pages.ActionDeleteClient:   (*endpoints).deleteApp,
	pages.ActionEndSession:     (*endpoints).endASession,
	pages.ActionEndSessions:    (*endpoints).endOtherSessionsOf,
	pages.ActionChangePassword: (*endpoints).setNewPassword,
}

func done(notice pages.Notice, err error) (pages.Account, error) {
	return pages.Account{Notice: notice}, err
}

func (e *endpoints) disconnectApp(
	_ http.ResponseWriter, r *http.Request, v *visitor, f url.Values,
) (pages.Account, error) {
	return done(pages.NoticeDisconnected, e.disconnect(r.Context(), v.user, f.Get("client_id")))
}

func (e *endpoints) createToken(
	_ http.ResponseWriter, r *http.Request, v *visitor, f url.Values,
) (pages.Account, error) {
	values := pages.AccountValues{TokenName: f.Get("name"), TokenScopes: f["scopes"]}
	refuse := func(kind pages.AccountFaultKind) (pages.Account, error) {
		return pages.Account{}, &accountError{
			status: http.StatusUnprocessableEntity, fault: pages.AccountFault{Kind: kind}, values: values,
		}
	}
	var lifetime time.Duration
	if text := f.Get("lifetime"); text != "" {
		seconds, err := strconv.ParseInt(text, 10, 32)
		if err != nil || seconds <= 0 {
			return pages.Account{}, badRequest("the field lifetime is no number of seconds")
		}
		lifetime = time.Duration(seconds) * time.Second
	}
	secret, t, err := e.CreatePersonalToken(r.Context(), v.user.ID, values.TokenName, values.TokenScopes, lifetime)
	if invalid, ok := errors.AsType[*InvalidError](err); ok {
		switch {
		case invalid.Field == "scopes":
			return refuse(pages.TokenScopesInvalid)
		case invalid.Field == "expires_in":
			return pages.Account{}, badRequest(invalid.Problem)
		case isBlank(values.TokenName):
			return refuse(pages.TokenNameMissing)
		case checkTokenName(values.TokenName) != nil:
			return refuse(pages.TokenNameInvalid)
		}
		return refuse(pages.TokenTooMany)
	}
	if err != nil {
		return pages.Account{}, err
	}
	return pages.Account{Notice: pages.NoticeTokenCreated, NewToken: secret, NewTokenName: t.Name}, nil
}

func (e *endpoints) revokeToken(
	_ http.ResponseWriter, r *http.Request, v *visitor, f url.Values,
) (pages.Account, error) {
	return done(pages.NoticeTokenRevoked, e.RevokePersonalToken(r.Context(), v.user.ID, f.Get("token_id")))
}

func (e *endpoints) registerApp(
	_ http.ResponseWriter, r *http.Request, v *visitor, f url.Values,
) (pages.Account, error) {
	n, values := appOfForm(f)
	n.public, values.Public = f.Has("public"), f.Has("public")
	c, secret, err := e.createOwnClient(r.Context(), v.user, n, nil)
	if err != nil {
		return pages.Account{}, refuseApp(err, n, values)
	}
	return pages.Account{Notice: pages.NoticeClientCreated, NewClientID: c.ID, NewClientSecret: secret}, nil
}

func (e *endpoints) changeApp(
	_ http.ResponseWriter, r *http.Request, v *visitor, f url.Values,
) (pages.Account, error) {
	n, values := appOfForm(f)
	values.ClientID = f.Get("client_id")
	_, err := e.updateOwnClient(r.Context(), v.user.ID, values.ClientID, n)
	return done(pages.NoticeClientUpdated, refuseApp(err, n, values))
}

func (e *endpoints) newAppSecret(
	_ http.ResponseWriter, r *http.Request, v *visitor, f url.Values,
) (pages.Account, error) {
	c, secret, err := e.rotateOwnSecret(r.Context(), v.user.ID, f.Get("client_id"))
	return pages.Account{Notice: pages.NoticeSecretCreated, NewClientID: c.ID, NewClientSecret: secret}, err
}

func (e *endpoints) deleteApp(
	_ http.ResponseWriter, r *http.Request, v *visitor, f url.Values,
) (pages.Account, error) {
	return done(pages.NoticeClientDeleted, e.deleteOwnClient(r.Context(), v.user.ID, f.Get("client_id")))
}

func (e *endpoints) endASession(
	_ http.ResponseWriter, r *http.Request, v *visitor, f url.Values,
) (pages.Account, error) {
	return done(pages.NoticeSessionEnded, e.endOneSession(r.Context(), v.user.ID, f.Get("session_id")))
}

func (e *endpoints) endOtherSessionsOf(
	_ http.ResponseWriter, r *http.Request, v *visitor, _ url.Values,
) (pages.Account, error) {
	return done(pages.NoticeSessionsEnded, e.endOtherSessions(r.Context(), v.session))
}

// setNewPassword changes the password, which ends everything that was given by the old one, and signs this browser in
// again.
func (e *endpoints) setNewPassword(
	w http.ResponseWriter, r *http.Request, v *visitor, f url.Values,
) (pages.Account, error) {
	password := f.Get("new_password")
	changed, err := e.changePassword(r.Context(), v.user, f.Get("current_password"), password)
	refuse := func(status int, kind pages.AccountFaultKind, wait time.Duration) (pages.Account, error) {
		return pages.Account{}, &accountError{
			status: status, fault: pages.AccountFault{Kind: kind, RetryAfter: wait},
		}
	}
	if tooMany, ok := errors.AsType[*tooManyError](err); ok {
		return refuse(http.StatusTooManyRequests, pages.PasswordWrongTooMany, tooMany.RetryAfter)
	}
	if _, ok := errors.AsType[*PasswordError](err); ok {
		switch {
		case utf8.RuneCountInString(password) < minPassword:
			return refuse(http.StatusUnprocessableEntity, pages.PasswordShort, 0)
		case len(password) > maxPassword:
			return refuse(http.StatusUnprocessableEntity, pages.PasswordLong, 0)
		}
		return refuse(http.StatusUnprocessableEntity, pages.PasswordCommon, 0)
	}
	if errors.Is(err, errWrongLogin) {
		return refuse(http.StatusUnprocessableEntity, pages.PasswordWrong, 0)
	}
	if err == nil {
		err = e.startSession(r.Context(), w, r, changed, changed.Name)
	}
	return done(pages.NoticePasswordChanged, err)
}
