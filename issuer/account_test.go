package issuer

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/oauth2-passport/caddy-passport/store"
)

const (
	account         = "/oauth/account"
	testNewPassword = "another horse battery staple"
)

// testHash is a hash of testPassword that is quick to compare.
var testHash = sync.OnceValue(func() string {
	hash, err := bcrypt.GenerateFromPassword([]byte(testPassword), bcrypt.MinCost)
	if err != nil {
		panic(err)
	}
	return string(hash)
})

// member is somebody with an own account who has signed in. The scopes are limited where some are named.
func (h *house) member(name string, scopes ...string) (*browser, *store.User) {
	h.t.Helper()
	info, _, err := h.issuer.CreateUser(h.t.Context(), NewUser{
		Name: name, PasswordHash: testHash(), Limited: scopes != nil, Scopes: scopes,
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return h.browserOf(&info.User), &info.User
}

// browserOf is a browser in which a person has signed in; no password is hashed for it.
func (h *house) browserOf(u *store.User) *browser {
	h.t.Helper()
	b := h.browser()
	w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, b.at+"/oauth/login", nil)
	if err := h.handler.(*endpoints).startSession(h.t.Context(), w, r, u, u.Name); err != nil {
		h.t.Fatal(err)
	}
	b.jar.SetCookies(r.URL, w.Result().Cookies())
	return b
}

// act sends a form of the account page.
func (b *browser) act(action string, pairs ...string) seen {
	b.h.t.Helper()
	form := url.Values{"_token": b.get(account).form()["_token"], "action": {action}}
	for i := 0; i < len(pairs); i += 2 {
		form.Add(pairs[i], pairs[i+1])
	}
	return b.post(account, form)
}

// acts is act for what ends with 303 and a notice.
func (b *browser) acts(notice, action string, pairs ...string) seen {
	b.h.t.Helper()
	to := b.act(action, pairs...).location(b.h.t).String()
	if to != account+"?done="+notice {
		b.h.t.Fatalf("%s leads to %s", action, to)
	}
	return b.get(to, "Sec-Fetch-Site", "same-origin")
}

func (s seen) has(t testing.TB, status int, texts ...string) seen {
	t.Helper()
	if s.StatusCode != status {
		t.Errorf("%s: %d, want %d", s.at, s.StatusCode, status)
	}
	for _, text := range texts {
		if !strings.Contains(s.text, text) {
			t.Errorf("%s has no %q:\n%s", s.at, text, s.text)
		}
	}
	return s
}

func (s seen) hasNot(t testing.TB, texts ...string) seen {
	t.Helper()
	for _, text := range texts {
		if strings.Contains(s.text, text) {
			t.Errorf("%s has %q:\n%s", s.at, text, s.text)
		}
	}
	return s
}

var secretOnPage = regexp.MustCompile(`<code class="secret" id="([a-z-]+)">([^<]+)</code>`)

// secrets are those that the page shows once, by the ID of the element.
func (s seen) secrets() map[string]string {
	found := make(map[string]string)
	for _, m := range secretOnPage.FindAllStringSubmatch(s.text, -1) {
		found[m[1]] = m[2]
	}
	return found
}

func TestAccountPageNeedsASession(t *testing.T) {
	h := signInHouse(t)
	b := h.browser()
	want := "/oauth/login?return=%2Foauth%2Faccount"
	if got := b.get(account).location(t).String(); got != want {
		t.Errorf("to %s, want %s", got, want)
	}
	if got := b.post(account, url.Values{"action": {"end_sessions"}}).location(t).String(); got != want {
		t.Errorf("to %s, want %s", got, want)
	}
}

func TestAccountPageHasItsParts(t *testing.T) {
	h := signInHouse(t)
	b := h.browser()
	b.signIn("ada")
	b.get(account).has(t, http.StatusOK, "ada@example.com", "No app has access", "You have no tokens",
		"You have registered no apps", "this browser", `name="scopes" type="checkbox" value="read"`).
		hasNot(t, `value="admin"`, `name="new_password"`) // restricted; kept in the configuration

	own, _ := h.member("carol")
	own.get(account).has(t, http.StatusOK, `name="new_password"`)
	own.get(account, "Accept-Language", "de").has(t, http.StatusOK, "Ihr Konto", "Token erstellen")

	narrow, _ := h.member("dave", "write")
	narrow.get(account).has(t, http.StatusOK, `type="checkbox" value="write"`).hasNot(t, `type="checkbox" value="read"`)

	plain := signInHouse(t, func(c *Config) { c.Grants, c.Clients = []string{"client_credentials"}, nil })
	p := plain.browser()
	p.signIn("ada")
	p.get(account).has(t, http.StatusOK).hasNot(t, "Create token", "Register")
	for _, action := range []string{"create_token", "create_client"} {
		form := url.Values{
			"_token": {p.cookie("XSRF-TOKEN")}, "action": {action}, "name": {"x"}, "redirect": {testRedirect},
		}
		p.post(account, form).has(t, http.StatusForbidden, "not possible with your account")
	}
}

func TestNoticesComeFromThisPageOnly(t *testing.T) {
	h := signInHouse(t)
	b := h.browser()
	b.signIn("ada")
	notice := "The token is revoked."
	b.get(account+"?done=token_revoked", "Sec-Fetch-Site", "same-origin").has(t, http.StatusOK, notice)
	b.get(account+"?done=token_revoked", "Sec-Fetch-Site", "cross-site").hasNot(t, notice)
	b.get(account+"?done=%3Cb%3E", "Sec-Fetch-Site", "same-origin").has(t, http.StatusOK).hasNot(t, `role="status"`)
}

func TestPersonalTokensOnTheAccountPage(t *testing.T) {
	h := signInHouse(t)
	b := h.browser()
	b.signIn("ada")
	made := b.act("create_token", "name", "backup", "scopes", "read", "scopes", "write", "lifetime", "604800").
		has(t, http.StatusOK, "The token is ready")
	token := made.secrets()["new-token"]
	if kind, ok := store.ParseSecret(token); !ok || kind != store.PersonalAccessToken {
		t.Fatalf("the page shows %q", token)
	}
	id, err := h.verifier.Verify(t.Context(), token, testIdentifier)
	if err != nil || id.Scope != "read write" || time.Until(id.ExpiresAt) > 7*24*time.Hour {
		t.Fatalf("%+v %v", id, err)
	}
	page := b.get(account).has(t, http.StatusOK, "backup", "Never used").hasNot(t, token)
	if strings.Count(page.text, `name="token_id"`) != 1 {
		t.Error("the token is not there once")
	}

	b.acts("token_revoked", "revoke_token", "token_id", id.TokenID).hasNot(t, "backup")
	if h.good(token) {
		t.Error("the token is good after it was revoked")
	}
	b.act("revoke_token", "token_id", "nothing").has(t, http.StatusNotFound, "not there any more")

	for _, test := range []struct {
		name   string
		pairs  []string
		status int
		text   string
	}{
		{"no name", []string{"name", "  "}, 422, "Give the token a name"},
		{"control characters", []string{"name", "a\x01b"}, 422, "characters that are not allowed"},
		{"long name", []string{"name", strings.Repeat("x", 256)}, 422, "too long"},
		{"restricted scope", []string{"name", "x", "scopes", "admin"}, 422, "may not have one of these"},
		{"no such scope", []string{"name", "x", "scopes", "fly"}, 422, "may not have one of these"},
		{"every scope", []string{"name", "x", "scopes", "*"}, 422, "may not have one of these"},
		{"too long a life", []string{"name", "x", "lifetime", "99999999"}, 400, "cannot be understood"},
		{"no number", []string{"name", "x", "lifetime", "for ever"}, 400, "cannot be understood"},
		{"no action", []string{"action", "create_token"}, 400, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := b.act("create_token", test.pairs...).has(t, test.status, test.text)
			if len(got.secrets()) > 0 {
				t.Error("a token was made")
			}
		})
	}
}

func TestPersonalTokensAreBounded(t *testing.T) {
	h := signInHouse(t)
	b, u := h.member("carol")
	for range maxPersonalTokens {
		if _, _, err := h.issuer.CreatePersonalToken(t.Context(), u.ID, "x", nil, 0); err != nil {
			t.Fatal(err)
		}
	}
	b.act("create_token", "name", "one more").has(t, 422, "as many tokens as you may have")
}

func TestOwnClientsOnTheAccountPage(t *testing.T) {
	h := signInHouse(t)
	b, u := h.member("carol")
	made := b.act("create_client", "name", "My app", "redirect", testRedirect+"\r\nhttps://my.example/other\r\n").
		has(t, http.StatusOK, "The app is registered")
	id, secret := made.secrets()["new-client-id"], made.secrets()["new-client-secret"]
	info, err := h.issuer.Client(t.Context(), id)
	if err != nil || info.UserID != u.ID || info.FirstParty || info.ResourceServer || info.Public ||
		!slices.Equal(info.RedirectURIs, []string{testRedirect, "https://my.example/other"}) ||
		!slices.Equal(info.Grants, []string{"authorization_code", "refresh_token"}) {
		t.Fatalf("%+v %v", info, err)
	}
	form := url.Values{"grant_type": {"client_credentials"}}
	h.fault(request("/oauth/token", form, "Authorization", basic(id, secret)), 400, "unauthorized_client")
	b.get(account).has(t, http.StatusOK, "My app", id).hasNot(t, secret)

	public := b.act("create_client", "name", "My SPA", "redirect", testRedirect, "public", "on").has(t, http.StatusOK)
	if public.secrets()["new-client-secret"] != "" || public.secrets()["new-client-id"] == "" {
		t.Errorf("a public client: %v", public.secrets())
	}
	b.act("new_secret", "client_id", public.secrets()["new-client-id"]).has(t, http.StatusForbidden)

	b.acts("client_updated", "update_client", "client_id", id, "name", "New name", "redirect", testRedirect).
		has(t, http.StatusOK, "New name").hasNot(t, "https://my.example/other")
	rotated := b.act("new_secret", "client_id", id).has(t, http.StatusOK, "new secret").secrets()["new-client-secret"]
	if rotated == "" || rotated == secret {
		t.Errorf("the new secret is %q", rotated)
	}
	h.fault(request("/oauth/token", form, "Authorization", basic(id, secret)), 401, "invalid_client")

	for _, test := range []struct{ name, app, redirect, text string }{
		{"no name", " ", testRedirect, "Give the app a name"},
		{"odd name", "a\x02", testRedirect, "characters that are not allowed"},
		{"no address", "x", " \r\n", "Enter an address"},
		{"script", "x", "javascript:alert(1)", "<bdi>javascript:alert(1)</bdi> cannot be used: it has to be a whole"},
		{
			"plain http", "x", testRedirect + "\nhttp://my.example/",
			"<bdi>http://my.example/</bdi> cannot be used: it has to begin with https://; http:// is for localhost only.",
		},
		{"wildcard", "x", "https://*.my.example/", "cannot be used"},
	} {
		t.Run(test.name, func(t *testing.T) {
			b.act("create_client", "name", test.app, "redirect", test.redirect).has(t, 422, test.text)
			b.act("update_client", "client_id", id, "name", test.app, "redirect", test.redirect).
				has(t, 422, test.text, "<details open>")
		})
	}
	b.acts("client_deleted", "delete_client", "client_id", id).hasNot(t, "New name")
	if _, err := h.issuer.Client(t.Context(), id); err == nil {
		t.Error("the client is still there")
	}
}

func TestOwnClientsAreBounded(t *testing.T) {
	h := signInHouse(t)
	b, u := h.member("carol")
	for range maxOwnClients {
		n := ownClient{name: "x", redirectURIs: []string{testRedirect}}
		if _, _, err := h.issuer.createOwnClient(t.Context(), u, n, nil); err != nil {
			t.Fatal(err)
		}
	}
	b.act("create_client", "name", "x", "redirect", testRedirect).has(t, 422, "as many apps as you may have")
}

// connect lets somebody allow an app what it asks for, and returns its tokens.
func (b *browser) connect(client, scope string) (access, refresh string) {
	b.h.t.Helper()
	code := b.agrees(b.get(asks(client, "scope", scope)))
	o := object(b.h.t, b.h.do(request("/oauth/token", url.Values{
		"grant_type": {"authorization_code"}, "client_id": {client}, "code": {code}, "redirect_uri": {testRedirect},
		"code_verifier": {testVerifier},
	})))
	access, _ = o["access_token"].(string)
	refresh, _ = o["refresh_token"].(string)
	if access == "" || refresh == "" {
		b.h.t.Fatalf("no tokens: %v", o)
	}
	return access, refresh
}

func TestDisconnectingAnApp(t *testing.T) {
	h := signInHouse(t)
	b, _ := h.member("carol")
	other, _ := h.member("dave")
	access, refresh := b.connect("app", "read write")
	others, _ := other.connect("app", "read")
	b.get(account).has(t, http.StatusOK, "See your orders", "Place and change orders", "Connected since")

	b.acts("disconnected", "disconnect", "client_id", "app").has(t, http.StatusOK, "No app has access")
	if h.good(access) {
		t.Error("the access token is good after the app was disconnected")
	}
	if !h.good(others) {
		t.Error("the token of somebody else is gone too")
	}
	h.fault(request("/oauth/token", url.Values{
		"grant_type": {"refresh_token"}, "client_id": {"app"}, "refresh_token": {refresh},
	}), 400, "invalid_grant")
	b.get(asks("app")).has(t, http.StatusOK, `value="approve"`) // it has to ask again
	b.act("disconnect", "client_id", "app").has(t, http.StatusNotFound, "not there any more")
	b.act("disconnect", "client_id", "").has(t, http.StatusNotFound)
}

func TestSessionsOnTheAccountPage(t *testing.T) {
	h := signInHouse(t)
	b, u := h.member("carol")
	second, third := h.browserOf(u), h.browserOf(u)
	page := b.get(account, "User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")
	ids := regexp.MustCompile(`name="session_id" value="([^"]+)"`).FindAllStringSubmatch(page.text, -1)
	if len(ids) != 2 {
		t.Fatalf("%d other sessions:\n%s", len(ids), page.text)
	}
	b.acts("session_ended", "end_session", "session_id", ids[0][1])
	if (second.get(account).StatusCode == http.StatusOK) == (third.get(account).StatusCode == http.StatusOK) {
		t.Error("not that one session is over")
	}
	b.acts("sessions_ended", "end_sessions")
	if second.get(account).StatusCode != http.StatusSeeOther || third.get(account).StatusCode != http.StatusSeeOther ||
		b.get(account).StatusCode != http.StatusOK {
		t.Error("not all other sessions are over")
	}
	b.act("end_session", "session_id", ids[0][1]).has(t, http.StatusNotFound)
	if !slices.ContainsFunc(h.told(), func(e Event) bool { return e.Type == SignedOut && e.UserID == u.ID }) {
		t.Error("nobody was told")
	}
}

func TestChangingThePassword(t *testing.T) {
	h := signInHouse(t)
	b, u := h.member("carol")
	other := h.browserOf(u)
	before := b.cookie("__Host-passport_session")
	for _, test := range []struct {
		name, old, new, text string
		status               int
	}{
		{"wrong", "wrong password", testNewPassword, "current password is wrong", 422},
		{"empty", "", testNewPassword, "current password is wrong", 422},
		{"short", testPassword, "sh0rt-p", "too short", 422},
		{"long", testPassword, strings.Repeat("x y", 1000), "too long", 422},
		{"common", testPassword, "password123", "easy to guess", 422},
	} {
		t.Run(test.name, func(t *testing.T) {
			b.act("change_password", "current_password", test.old, "new_password", test.new).
				has(t, test.status, test.text).hasNot(t, test.new)
		})
	}
	b.acts("password_changed", "change_password", "current_password", testPassword, "new_password", testNewPassword).
		has(t, http.StatusOK, "password is changed")
	if b.cookie("__Host-passport_session") == before {
		t.Error("the session is the old one")
	}
	if other.get(account).StatusCode != http.StatusSeeOther {
		t.Error("another session goes on after the password has changed")
	}

	config := h.browser()
	config.signIn("ada")
	config.act("change_password", "current_password", testPassword, "new_password", testNewPassword).
		has(t, http.StatusForbidden)
}

func TestGuessingThePasswordOnTheAccountPage(t *testing.T) {
	h := signInHouse(t)
	b, _ := h.member("carol")
	for range 20 {
		got := b.act("change_password", "current_password", "wrong password", "new_password", testNewPassword)
		if got.StatusCode == http.StatusTooManyRequests {
			if got.Header.Get("Retry-After") == "" || !strings.Contains(got.text, "Try again in") {
				t.Error("it is not said how long to wait")
			}
			return
		}
	}
	t.Error("twenty guesses were looked at")
}

// TestAccountChangedByAnotherSite: no form of the page works without its token, or from another origin.
func TestAccountChangedByAnotherSite(t *testing.T) {
	h := signInHouse(t)
	b, u := h.member("carol")
	token := b.get(account).form().Get("_token")
	stranger, _ := h.member("mallory")
	foreign := stranger.get(account).form().Get("_token")
	for _, test := range []struct {
		name, token string
		header      []string
	}{
		{"no token", "", nil},
		{"another's token", foreign, nil},
		{"from another site", token, []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"}},
		{"from another site, by an old browser", token, []string{"Sec-Fetch-Site", "", "Origin", "https://evil.example"}},
		{"from another host of the site", token, []string{"Sec-Fetch-Site", "same-site"}},
		{"from a sandbox", token, []string{"Sec-Fetch-Site", "cross-site", "Origin", "null"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			for action := range accountActions {
				form := url.Values{"_token": {test.token}, "action": {string(action)}, "name": {"x"}, "redirect": {testRedirect}}
				b.post(account, form, test.header...).has(t, http.StatusForbidden, "Nothing has been changed").
					hasNot(t, `class="secret"`)
			}
		})
	}
	own, err := h.issuer.ownClients(t.Context(), u.ID)
	if tokens, _ := h.issuer.PersonalTokens(t.Context(), u.ID); len(own)+len(tokens) > 0 || err != nil {
		t.Errorf("something was made: %v %v", own, tokens)
	}
	if b.get(account).StatusCode != http.StatusOK {
		t.Error("the session was ended")
	}
}

// TestAccountOfSomebodyElse: IDs of another person's things do nothing.
func TestAccountOfSomebodyElse(t *testing.T) {
	h := signInHouse(t)
	b, u := h.member("carol")
	access, _ := b.connect("app", "read")
	client := b.act("create_client", "name", "Carol's", "redirect", testRedirect).secrets()["new-client-id"]
	pat := b.act("create_token", "name", "x").secrets()["new-token"]
	tokens, _ := h.issuer.PersonalTokens(t.Context(), u.ID)
	var session string
	err := h.db.View(context.Background(), func(r *store.Records) error {
		return r.SessionsOfUser(u.ID, func(s store.Session) error { session = s.ID; return nil })
	})
	if err != nil || len(tokens) != 1 || client == "" || session == "" {
		t.Fatal(err, tokens, client, session)
	}
	mallory, _ := h.member("mallory")
	for _, act := range [][]string{
		{"disconnect", "client_id", "app"},
		{"revoke_token", "token_id", tokens[0].ID},
		{"update_client", "client_id", client, "name", "Mallory's", "redirect", "https://evil.example/"},
		{"new_secret", "client_id", client},
		{"delete_client", "client_id", client},
		{"update_client", "client_id", "app", "name", "Mallory's", "redirect", "https://evil.example/"},
		{"delete_client", "client_id", "app"},
		{"end_session", "session_id", session},
	} {
		mallory.act(act[0], act[1:]...).has(t, http.StatusNotFound)
	}
	info, err := h.issuer.Client(t.Context(), client)
	if err != nil || info.Name != "Carol's" || !h.good(access) || !h.good(pat) || b.get(account).StatusCode != http.StatusOK {
		t.Errorf("something was changed: %+v %v", info, err)
	}
}

// TestOwnClientWithMoreScopesThanItsOwner: what a person cannot have, the person's clients cannot ask for.
func TestOwnClientWithMoreScopesThanItsOwner(t *testing.T) {
	h := signInHouse(t)
	narrow, _ := h.member("dave", "write")
	id := narrow.act("create_client", "name", "x", "redirect", testRedirect, "public", "on").secrets()["new-client-id"]
	wide, _ := h.member("erin")
	wide.get(asks(id, "scope", "read")).has(t, http.StatusBadRequest, "may not have the scope")
	wide.get(asks(id, "scope", "write")).has(t, http.StatusOK, "Registered by", "dave")
	wide.get(asks(id, "scope", "admin")).has(t, http.StatusBadRequest, "may not have the scope")

	info, _, err := h.issuer.CreateUser(t.Context(), NewUser{Name: "frank", PasswordHash: testHash(), Limited: true})
	if err != nil {
		t.Fatal(err)
	}
	h.browserOf(&info.User).act("create_client", "name", "x", "redirect", testRedirect).has(t, http.StatusForbidden)
}

// TestScriptInWhatOthersSayOnTheAccountPage shows names of others as text.
func TestScriptInWhatOthersSayOnTheAccountPage(t *testing.T) {
	h := signInHouse(t)
	b, u := h.member("carol")
	const script = `"><script>alert(1)</script>`
	if _, _, err := h.issuer.CreatePersonalToken(t.Context(), u.ID, script, nil, 0); err != nil {
		t.Fatal(err)
	}
	b.act("create_client", "name", script, "redirect", testRedirect)
	h.update(func(r *store.Records) error {
		now := r.Now()
		return r.PutSession(&store.Session{
			ID: store.NewID(now), Hash: "x", UserID: u.ID, UserAgent: script, RemoteIP: script, CreatedAt: now, SeenAt: now,
			IdleUntil: now.Add(time.Hour), ExpiresAt: now.Add(time.Hour),
		})
	})
	b.get(account).has(t, http.StatusOK, "&lt;script&gt;").hasNot(t, "<script")
}

func TestFormsOfTheAccountPageAreBounded(t *testing.T) {
	h := signInHouse(t)
	b := h.browser()
	b.signIn("ada")
	token := b.get(account).form().Get("_token")
	for _, test := range []struct {
		name string
		form url.Values
	}{
		{"many fields", url.Values{"_token": {token}, "scopes": slices.Repeat([]string{"x"}, maxPageFields+1)}},
		{"twice", url.Values{"_token": {token, token}}},
		{"long value", url.Values{"_token": {token}, "name": {strings.Repeat("x", maxValue+1)}}},
		{"no UTF-8", url.Values{"_token": {token}, "name": {"\xff"}}},
		{"null", url.Values{"_token": {token}, "name": {"a\x00"}}},
	} {
		if got := b.post(account, test.form); got.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %d", test.name, got.StatusCode)
		}
	}
	if got := b.post(account, url.Values{"name": {strings.Repeat("x", maxBody)}}); got.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("large body: %d", got.StatusCode)
	}
	if got := b.post(account, url.Values{}, "Content-Type", "text/plain"); got.StatusCode != http.StatusBadRequest {
		t.Errorf("text: %d", got.StatusCode)
	}
}

func TestAccountPageWithoutStorage(t *testing.T) {
	h := signInHouse(t)
	b := h.browser()
	b.signIn("ada")
	broken := errors.New("no disk")
	h.engine.broken.Store(&broken)
	got := b.get(account).has(t, http.StatusServiceUnavailable, "Not available at the moment")
	if got.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
}

func TestBrowserNames(t *testing.T) {
	for _, test := range []struct{ agent, want string }{
		{"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox · Linux"},
		{"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36 Edg/140.0.0.0", "Edge · Windows"},
		{"Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/19.0 Mobile/15E148 Safari/604.1", "Safari · iPhone"},
		{"Mozilla/5.0 (Linux; Android 15) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Mobile Safari/537.36", "Chrome · Android"},
		{"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/19.0 Safari/605.1.15", "Safari · macOS"},
		{"curl/8.0", "curl"},
		{"<script>", ""},
		{"", ""},
	} {
		if got := browserName(test.agent); got != test.want {
			t.Errorf("%q: %q, want %q", test.agent, got, test.want)
		}
	}
}
