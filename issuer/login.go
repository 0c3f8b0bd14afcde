package issuer

import (
	"errors"
	"net/http"
	"strings"

	"github.com/oauth2-passport/caddy-passport/issuer/pages"
)

// loginPage answers GET /login: the sign-in form. It is shown to who is signed in too, if there is something to go back
// to, for that may be why the person has been sent here.
func (e *endpoints) loginPage(w http.ResponseWriter, r *http.Request) {
	f, fault := parseForm(r.URL.RawQuery)
	if fault != nil {
		e.refusePage(w, r, fault)
		return
	}
	back := f.get("return")
	if !isOwnPath(back) {
		back = ""
	}
	if back == "" {
		v, err := e.visitor(r)
		if err != nil {
			e.refusePage(w, r, err)
			return
		}
		if v != nil {
			seeOther(w, e.returnTo(""))
			return
		}
	}
	e.showLogin(w, r, http.StatusOK, pages.Login{Return: back})
}

// showLogin shows the sign-in form, with the name of the app that the person comes from.
func (e *endpoints) showLogin(w http.ResponseWriter, r *http.Request, status int, v pages.Login) {
	v.Prefix, v.CSRF = e.prefix, e.signInToken(w, r)
	e.introduce(r, &v)
	setRetryAfter(w, v.RetryAfter)
	e.pages.Render(w, r, status, v)
}

// maxHint bounds the parameter login_hint, in bytes.
const maxHint = 255

// introduce tells which app has sent the person to sign in, if one has, and whom it expects.
func (e *endpoints) introduce(r *http.Request, v *pages.Login) {
	query, ok := strings.CutPrefix(v.Return, e.prefix+"/authorize?")
	if !ok {
		return
	}
	f, fault := parseForm(query)
	if fault != nil {
		return
	}
	client, err := e.clientOf(r.Context(), f.get("client_id"))
	if err != nil || client == nil {
		return // the authorization endpoint will tell
	}
	v.Client = client.Name
	if hint := f.get("login_hint"); v.Username == "" && len(hint) <= maxHint {
		v.Username = hint
	}
}

// login answers POST /login: name and password are right, or the form is shown again.
func (e *endpoints) login(w http.ResponseWriter, r *http.Request) {
	f, fault := readForm(w, r)
	if fault != nil {
		e.refusePage(w, r, fault)
		return
	}
	page := pages.Login{Return: f.get("return"), Username: f.get("username")}
	if !isOwnPath(page.Return) {
		page.Return = ""
	}
	if fault := e.checkSignIn(r, f); fault != nil {
		page.Fault = pages.LoginExpired
		e.showLogin(w, r, fault.Status, page)
		return
	}
	by := guesser{address: RemoteIP(r), browser: e.browserSecrets(r)}
	user, err := e.signIn(r.Context(), f.get("username"), f.get("password"), by)
	if err == nil {
		err = e.startSession(r.Context(), w, r, user, f.get("username"))
	}
	if err != nil {
		e.refuseLogin(w, r, page, err)
		return
	}
	seeOther(w, e.returnTo(page.Return))
}

// refuseLogin shows the form again, and why.
func (e *endpoints) refuseLogin(w http.ResponseWriter, r *http.Request, page pages.Login, err error) {
	if tooMany, ok := errors.AsType[*tooManyError](err); ok {
		page.Fault, page.RetryAfter = pages.LoginTooMany, tooMany.RetryAfter
		e.showLogin(w, r, http.StatusTooManyRequests, page)
		return
	}
	if errors.Is(err, errWrongLogin) || errors.Is(err, errNobody) {
		page.Fault = pages.LoginWrong
		e.showLogin(w, r, http.StatusUnauthorized, page)
		return
	}
	fault := e.fault(err, "login", "")
	page.Fault, page.RetryAfter = pages.LoginUnavailable, retryAfter
	e.showLogin(w, r, fault.Status, page)
}

// logoutPage answers GET /logout: a form, for a link elsewhere must not sign anybody out; or, to who is signed in no
// more, that it is so.
func (e *endpoints) logoutPage(w http.ResponseWriter, r *http.Request) {
	f, fault := parseForm(r.URL.RawQuery)
	if fault != nil {
		e.refusePage(w, r, fault)
		return
	}
	v, err := e.visitor(r)
	switch {
	case err != nil:
		e.refusePage(w, r, err)
	case v == nil:
		e.pages.Render(w, r, http.StatusOK, pages.SignedOut{Prefix: e.prefix})
	default:
		back := f.get("return")
		if !isOwnPath(back) {
			back = ""
		}
		e.pages.Render(w, r, http.StatusOK, pages.Logout{
			Prefix: e.prefix, CSRF: v.csrf(), Return: back, Username: v.user.Name,
		})
	}
}

// logout answers POST /logout: the session is over, everywhere at once.
func (e *endpoints) logout(w http.ResponseWriter, r *http.Request) {
	f, fault := readForm(w, r)
	if fault != nil {
		e.refusePage(w, r, fault)
		return
	}
	v, err := e.visitor(r)
	if err == nil && v != nil {
		if fault := e.checkForm(r, f, v); fault != nil {
			err = fault
		} else {
			err = e.signOut(w, r, v)
		}
	}
	if err != nil {
		e.refusePage(w, r, err)
		return
	}
	back := e.prefix + "/logout"
	if isOwnPath(f.get("return")) {
		back = f.get("return")
	}
	seeOther(w, back)
}
