package hardening

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/oauth2-passport/caddy-passport/issuer/verify"
)

// The cookies of a browser, and the field with the token of a form.
const (
	sessionCookie = "__Host-passport_session="
	formCookie    = "__Host-passport_form="
	formField     = "_token"
)

// anyAddress is where a request comes from: another place each time, for an address may do so much only.
func anyAddress() string {
	return fmt.Sprintf("10.%d.%d.%d:1024", rand.IntN(256), rand.IntN(256), rand.IntN(256))
}

// browse sends what a browser does with that session, which may be none. With a form it is sent by POST. When
// that is answered with 429, for the line in front of a password is full, it comes again.
func (h *house) browse(path, session string, form url.Values) *httptest.ResponseRecorder {
	w := h.browseOnce(path, session, form)
	for tries := 0; w.Code == http.StatusTooManyRequests && tries < 100; tries++ {
		time.Sleep(50 * time.Millisecond)
		w = h.browseOnce(path, session, form)
	}
	return w
}

func (h *house) browseOnce(path, session string, form url.Values) *httptest.ResponseRecorder {
	method, cookie, token := http.MethodGet, sessionCookie+session, verify.CSRFToken(session)
	if form != nil {
		method = http.MethodPost
		if session == "" {
			cookie, token = formCookie+"FORM", verify.CSRFToken("FORM")
		}
		form.Set(formField, token)
	}
	r := httptest.NewRequest(method, identifier+path, strings.NewReader(form.Encode()))
	r.RemoteAddr = anyAddress()
	r.Header.Set("Cookie", cookie)
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	w := httptest.NewRecorder()
	h.handler.ServeHTTP(w, r)
	return w
}

// sessionIn is the session that an answer begins; empty for none.
func sessionIn(w *httptest.ResponseRecorder) string {
	for _, line := range w.Header().Values("Set-Cookie") {
		if rest, ok := strings.CutPrefix(line, sessionCookie); ok {
			value, _, _ := strings.Cut(rest, ";")
			return value
		}
	}
	return ""
}

// trySignIn signs somebody in with a new browser. The status is 303 when that has succeeded.
func (h *house) trySignIn(login, password string) (session string, status int) {
	w := h.browse("/oauth/login", "", url.Values{"username": {login}, "password": {password}})
	return sessionIn(w), w.Code
}

func (h *house) signIn(login, password string) (session string, err error) {
	session, status := h.trySignIn(login, password)
	if status != http.StatusSeeOther || session == "" {
		err = fmt.Errorf("signing in as %s: %d", login, status)
	}
	return session, err
}

// submit sends a form that succeeds with a redirect, and returns where that leads.
func (h *house) submit(path, session string, pairs ...string) (*url.URL, error) {
	form := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	w := h.browse(path, session, form)
	if w.Code != http.StatusSeeOther {
		return nil, fmt.Errorf("%s: %d %s", path, w.Code, w.Body)
	}
	return url.Parse(w.Header().Get("Location"))
}

// signedIn asks for a page that is for people who are signed in.
func (h *house) signedIn(session string) bool {
	return h.browse("/oauth/device", session, nil).Code == http.StatusOK
}

var requestField = regexp.MustCompile(`name="request" value="([^"]+)"`)

// authorize has a person asked for an app, and answers a code. It allows what it is asked for.
func (h *house) authorize(client, session string) (code string, err error) {
	w := h.askFor(client, session, "")
	to, err := url.Parse(w.Header().Get("Location"))
	if w.Code == http.StatusOK {
		found := requestField.FindSubmatch(w.Body.Bytes())
		if found == nil {
			return "", fmt.Errorf("no consent page: %s", w.Body)
		}
		to, err = h.submit("/oauth/authorize", session, "decision", "approve", "request", string(found[1]))
	}
	if err != nil {
		return "", err
	}
	if code = to.Query().Get("code"); code == "" {
		err = fmt.Errorf("no code: %d %s %s", w.Code, to, w.Body)
	}
	return code, err
}

// askFor sends an authorization request.
func (h *house) askFor(client, session, prompt string) *httptest.ResponseRecorder {
	sum := sha256.Sum256([]byte(verifier))
	query := url.Values{
		"response_type": {"code"}, "client_id": {client}, "redirect_uri": {redirect}, "scope": {"read"},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"},
	}
	if prompt != "" {
		query.Set("prompt", prompt)
	}
	return h.browse("/oauth/authorize?"+query.Encode(), session, nil)
}
