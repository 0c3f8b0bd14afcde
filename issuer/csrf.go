package issuer

import (
	"crypto/hmac"
	"crypto/rand"
	"net/http"

	"github.com/oauth2-passport/caddy-passport/issuer/verify"
)

// The two walls around everything that a browser's cookie lets a person do: the browser says itself that the request
// comes from a page of this origin (Sec-Fetch-Site, Origin), and the request carries a token that only such a page can
// know. The cookie's SameSite is a third one.

// The header that carries the token for scripts, which read it from the cookie of [Config.XSRFCookie]; forms have it in
// a field.
const (
	csrfHeader = "X-XSRF-TOKEN"
	csrfField  = "_token"
)

// formCookie binds the sign-in form to the browser that has got it, as there is no session yet. In the names of
// cookies the prefix "__Host-" is added where the request came by HTTPS.
const formCookie = "passport_form"

var crossOrigin = http.NewCrossOriginProtection()

// csrf is the token of the visitor's forms. Who knows it does not know the session.
func (v *visitor) csrf() string { return verify.CSRFToken(v.secret) }

// checkForm lets only pages of this origin act for a visitor. The token is a field of the form, or in the header.
func (e *endpoints) checkForm(r *http.Request, f form, v *visitor) *Error {
	token := f.get(csrfField)
	if token == "" {
		token = r.Header.Get(csrfHeader)
	}
	if v == nil || !genuine(r, token, v.csrf()) {
		return errForged
	}
	return nil
}

func genuine(r *http.Request, got, want string) bool {
	return crossOrigin.Check(r) == nil && hmac.Equal([]byte(got), []byte(want))
}

// signInToken is the token of the sign-in form, and gives the browser the cookie that it belongs to.
func (e *endpoints) signInToken(w http.ResponseWriter, r *http.Request) string {
	secret := onlyCookie(r, e.cookieName(r, formCookie))
	if secret == "" {
		secret = rand.Text()
		e.setCookie(w, r, formCookie, secret, 0)
	}
	return verify.CSRFToken(secret)
}

// checkSignIn is [endpoints.checkForm] for the sign-in form: nobody is signed in to an account by another's page.
func (e *endpoints) checkSignIn(r *http.Request, f form) *Error {
	secret := onlyCookie(r, e.cookieName(r, formCookie))
	if secret == "" || !genuine(r, f.get(csrfField), verify.CSRFToken(secret)) {
		return errForged
	}
	return nil
}
