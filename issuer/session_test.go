package issuer

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/oauth2-passport/caddy-passport/issuer/verify"
	"github.com/oauth2-passport/caddy-passport/store"
)

// TestSessionCookie: what the cookies of a sign-in are like.
func TestSessionCookie(t *testing.T) {
	h := signInHouse(t)
	for _, test := range []struct {
		at, session, browser string
		secure               bool
		identifier           bool
	}{
		{"https://api.example.com", "__Host-passport_session", "__Host-passport_browser", true, true},
		{"http://localhost:8080", "passport_session", "passport_browser", false, true},
		{"http://127.0.0.1:8080", "passport_session", "passport_browser", false, false},
		{"https://localhost", "__Host-passport_session", "__Host-passport_browser", true, false},
	} {
		if !test.identifier {
			h.issuer.config.Identifier = ""
		}
		b := h.browser()
		b.at = test.at
		form := b.get("/oauth/login").form("username", "ada", "password", testPassword)
		got := b.post("/oauth/login", form)
		cookies := make(map[string]*http.Cookie)
		for _, c := range got.Cookies() {
			cookies[c.Name] = c
			seconds := 12 * 60 * 60
			if c.Name == test.browser {
				seconds = 90 * 24 * 60 * 60
			}
			if c.Path != "/" || c.Domain != "" || c.Secure != test.secure || c.SameSite != http.SameSiteLaxMode ||
				c.MaxAge != seconds {
				t.Errorf("%s: %s", test.at, c.Raw)
			}
		}
		session, xsrf, known := cookies[test.session], cookies["XSRF-TOKEN"], cookies[test.browser]
		if len(cookies) != 3 || session == nil || xsrf == nil || known == nil || !session.HttpOnly || xsrf.HttpOnly ||
			!known.HttpOnly {
			t.Fatalf("%s: %v", test.at, got.Header["Set-Cookie"])
		}
		if !strings.HasPrefix(session.Value, "passport_session_") || strings.Contains(xsrf.Value, session.Value) {
			t.Errorf("%s: %s", test.at, session.Value)
		}
	}
}

// sendsCookie is a request with that cookie alone.
func (h *house) sendsCookie(at, name, value string) int {
	h.t.Helper()
	r := httptest.NewRequest(http.MethodGet, at+"/oauth/logout", nil)
	r.AddCookie(&http.Cookie{Name: name, Value: value})
	res := h.do(r)
	body := make([]byte, 1<<16)
	n, _ := res.Body.Read(body)
	if strings.Contains(string(body[:n]), `name="_token"`) {
		return 1 // the form that signs out is for who is signed in
	}
	return 0
}

// TestSessionFromTheNetwork: who can set cookies of plain HTTP cannot put a session of his own, or a stolen one, into a
// browser that uses HTTPS; nor can a sister host.
func TestSessionFromTheNetwork(t *testing.T) {
	h := signInHouse(t)
	b := h.browser()
	b.signIn("bob")
	secret := b.cookie("__Host-passport_session")
	plain := h.browser()
	plain.at = "http://localhost:8080"
	plain.signIn("bob")
	plainSecret := plain.cookie("passport_session")
	for _, test := range []struct {
		at, name, value string
		in              int
	}{
		{"https://api.example.com", "__Host-passport_session", secret, 1},
		{"http://api.example.com", "__Host-passport_session", secret, 1}, // by a proxy
		{"https://api.example.com", "passport_session", secret, 0},
		{"http://api.example.com", "passport_session", secret, 0},
		{"https://api.example.com", "passport_session", plainSecret, 0},
		{"https://api.example.com", "__Host-passport_session", plainSecret, 0},
		{"http://localhost:8080", "passport_session", plainSecret, 1},
		{"http://localhost:8080", "passport_session", secret, 0},
		{"http://localhost:8080", "passport_session", "http " + plainSecret, 0},
		{"https://api.example.com", "__Host-passport_session", "", 0},
		{"https://api.example.com", "__Host-passport_session", strings.Repeat("x", 5000), 0},
	} {
		if got := h.sendsCookie(test.at, test.name, test.value); got != test.in {
			t.Errorf("%s %s=%.30s…: signed in %d", test.at, test.name, test.value, got)
		}
	}
	r := get("https://api.example.com/oauth/logout", "Cookie",
		"__Host-passport_session="+secret+"; __Host-passport_session=another")
	if v, err := (&endpoints{Issuer: h.issuer}).visitor(r); v != nil || err != nil {
		t.Errorf("two cookies: %v %v", v, err)
	}
}

// TestSessionHandedOn: a gateway takes the cookie out of the request and hands it on beside it.
func TestSessionHandedOn(t *testing.T) {
	h := signInHouse(t)
	b := h.browser()
	b.signIn("ada")
	secret := b.cookie("__Host-passport_session")
	e := &endpoints{Issuer: h.issuer}
	r := get("https://api.example.com/")
	if v, _ := e.visitor(r.WithContext(WithSession(r.Context(), secret))); v == nil || v.user.Name != "ada" {
		t.Error("the session that was handed on does not count")
	}
	r = get("https://api.example.com/", "Cookie", "__Host-passport_session="+secret)
	if v, _ := e.visitor(r.WithContext(WithSession(r.Context(), ""))); v != nil {
		t.Error("the cookie counts although none was handed on")
	}
}

// TestSessionFixedBeforeLogin: whatever session or cookie a browser has been given before its person signs in is
// worthless afterwards (RFC 6819 §4.4.1.13; OWASP, session fixation).
func TestSessionFixedBeforeLogin(t *testing.T) {
	h := signInHouse(t)
	attacker := h.browser()
	attacker.signIn("bob")
	bobs := attacker.cookie("__Host-passport_session")

	victim := h.browser()
	u, _ := url.Parse("https://api.example.com/")
	victim.jar.SetCookies(u, []*http.Cookie{{Name: "__Host-passport_session", Value: bobs, Path: "/", Secure: true}})
	victim.signIn("ada")
	adas := victim.cookie("__Host-passport_session")
	if adas == bobs {
		t.Fatal("the session is the one from before")
	}
	if h.sendsCookie("https://api.example.com", "__Host-passport_session", bobs) != 0 {
		t.Error("the session from before is alive")
	}
	victim.signIn("ada")
	if h.sendsCookie("https://api.example.com", "__Host-passport_session", adas) != 0 {
		t.Error("after another sign-in the session from before is alive")
	}

	made := h.browser()
	made.jar.SetCookies(u, []*http.Cookie{
		{Name: "__Host-passport_session", Value: "made-up", Path: "/", Secure: true},
		{Name: "__Host-passport_form", Value: "made-up", Path: "/", Secure: true},
	})
	made.signIn("ada")
	if got := made.cookie("__Host-passport_session"); got == "made-up" {
		t.Error("the made up value is the session")
	}
}

// TestLoginCSRF: no other site signs somebody in to an account of the attacker's.
func TestLoginCSRF(t *testing.T) {
	h := signInHouse(t)
	attacker := h.browser()
	form := attacker.get("/oauth/login").form("username", "bob", "password", testPassword)
	for name, try := range map[string]func(victim *browser) seen{
		"no form asked for": func(v *browser) seen { return v.post("/oauth/login", form) },
		"no token": func(v *browser) seen {
			v.get("/oauth/login")
			return v.post("/oauth/login", url.Values{"username": {"bob"}, "password": {testPassword}})
		},
		"the attacker's token": func(v *browser) seen { v.get("/oauth/login"); return v.post("/oauth/login", form) },
		"a token that goes with no cookie": func(v *browser) seen {
			return v.post("/oauth/login", url.Values{
				"username": {"bob"}, "password": {testPassword}, "_token": {verify.CSRFToken("")},
			})
		},
		"another site": func(v *browser) seen {
			own := v.get("/oauth/login").form("username", "bob", "password", testPassword)
			return v.post("/oauth/login", own, "Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site")
		},
		"a sister site": func(v *browser) seen {
			own := v.get("/oauth/login").form("username", "bob", "password", testPassword)
			return v.post("/oauth/login", own, "Origin", "https://www.example.com", "Sec-Fetch-Site", "same-site")
		},
		"an old browser on another site": func(v *browser) seen {
			own := v.get("/oauth/login").form("username", "bob", "password", testPassword)
			return v.post("/oauth/login", own, "Origin", "https://evil.example", "Sec-Fetch-Site", "")
		},
		"a sandboxed frame": func(v *browser) seen {
			own := v.get("/oauth/login").form("username", "bob", "password", testPassword)
			return v.post("/oauth/login", own, "Origin", "null", "Sec-Fetch-Site", "cross-site")
		},
	} {
		victim := h.browser()
		got := try(victim)
		if got.StatusCode != http.StatusForbidden || victim.cookie("__Host-passport_session") != "" {
			t.Errorf("%s: %d, session %q", name, got.StatusCode, victim.cookie("__Host-passport_session"))
		}
	}
	if events := h.told(); len(events) != 0 {
		t.Errorf("a password was looked at: %v", events)
	}
}

// TestSessionLifetimes: a session that nobody uses is over after its idle lifetime, any after its absolute one.
func TestSessionLifetimes(t *testing.T) {
	h := signInHouse(t)
	b := h.browser()
	b.signIn("ada")
	signedIn := func() bool {
		r := get("https://api.example.com/", "Cookie", "__Host-passport_session="+b.cookie("__Host-passport_session"))
		v, err := (&endpoints{Issuer: h.issuer}).visitor(r)
		if err != nil {
			t.Fatal(err)
		}
		return v != nil
	}
	h.ahead.Store(int64(2*time.Hour - time.Minute))
	if !signedIn() {
		t.Error("over before its idle lifetime")
	}
	for range 5 {
		h.ahead.Add(int64(2*time.Hour - time.Minute))
		if !signedIn() {
			t.Error("over although it is used")
		}
	}
	h.ahead.Store(int64(12 * time.Hour))
	if signedIn() {
		t.Error("alive after its absolute lifetime")
	}
	b.signIn("ada")
	h.ahead.Add(int64(2 * time.Hour))
	if signedIn() {
		t.Error("alive after its idle lifetime")
	}
}

// TestSessionOfSomebodyWhoIsGone: a person who is disabled, deleted or taken out of the configuration has no session.
func TestSessionOfSomebodyWhoIsGone(t *testing.T) {
	h := signInHouse(t)
	for name, end := range map[string]func(r *store.Records, u *store.User) error{
		"disabled": func(r *store.Records, u *store.User) error { u.Disabled = true; return r.PutUser(u) },
		"not before now": func(r *store.Records, u *store.User) error {
			u.NotBefore = r.Now() // as when the session is written while the person is being ended
			return r.PutUser(u)
		},
		"ended":   func(r *store.Records, u *store.User) error { return r.EndUser(u) },
		"deleted": func(r *store.Records, u *store.User) error { return r.DeleteUser(u.ID) },
	} {
		b := h.browser()
		b.signIn("bob")
		code := b.agrees(b.get(asks("site", "prompt", "consent")))
		page := b.get(asks("site", "prompt", "consent"))
		h.update(func(r *store.Records) error {
			u, err := r.UserBySource(configSource, "bob")
			if err != nil {
				return err
			}
			return end(r, u)
		})
		if got := b.get(asks("site")).location(t); got.Path != "/oauth/login" {
			t.Errorf("%s: %s", name, got)
		}
		if got := b.post("/oauth/authorize", page.form("decision", "approve")); got.StatusCode != http.StatusForbidden {
			t.Errorf("%s: %d", name, got.StatusCode)
		}
		h.fails(h.askByCode("site", code), "invalid_grant")
		h.update(func(r *store.Records) error {
			u, err := r.UserBySource(configSource, "bob")
			if err != nil {
				return nil // deleted
			}
			u.Disabled = false
			return r.PutUser(u)
		})
	}
}

func TestSignOut(t *testing.T) {
	h := signInHouse(t)
	b := h.browser()
	b.signIn("ada")
	secret := b.cookie("__Host-passport_session")
	session, err := h.verifier.Session(t.Context(), secret, testIdentifier)
	if err != nil || session.Username != "ada" {
		t.Fatalf("%v %v", session, err)
	}
	page := b.get("/oauth/logout?return=%2Forders")
	if page.StatusCode != http.StatusOK || b.cookie("__Host-passport_session") != secret {
		t.Fatal("a link signs out")
	}
	for name, got := range map[string]seen{
		"no token": b.post("/oauth/logout", url.Values{}),
		"another site": b.post("/oauth/logout", page.form(), "Origin", "https://evil.example",
			"Sec-Fetch-Site", "cross-site"),
	} {
		if got.StatusCode != http.StatusForbidden {
			t.Errorf("%s: %d", name, got.StatusCode)
		}
	}
	if got := b.post("/oauth/logout", page.form()).location(t); got.String() != "/orders" {
		t.Errorf("sent to %s", got)
	}
	if b.cookie("__Host-passport_session") != "" || b.cookie("XSRF-TOKEN") != "" {
		t.Error("the cookies are still there")
	}
	// Also who has kept the cookie, and what is remembered of it, is signed out.
	if h.sendsCookie("https://api.example.com", "__Host-passport_session", secret) != 0 {
		t.Error("the session is alive in the store")
	}
	if _, err := h.verifier.Session(t.Context(), secret, testIdentifier); err == nil {
		t.Error("the session is alive at the gateway")
	}
	if got := b.get("/oauth/logout"); got.StatusCode != http.StatusOK || strings.Contains(got.text, "_token") {
		t.Errorf("signed out: %d %s", got.StatusCode, got.text)
	}
	again := b.post("/oauth/logout", url.Values{"return": {"//evil.example"}}).location(t)
	if again.String() != "/oauth/logout" {
		t.Errorf("signed out twice: %s", again)
	}
}

// TestOpenRedirectThroughPages: sign-in, sign-out and the device page lead to this host alone.
func TestOpenRedirectThroughPages(t *testing.T) {
	h := signInHouse(t)
	for _, evil := range []string{
		"https://evil.example", "//evil.example", "/\\evil.example", "\\\\evil.example", "/%2f/evil.example",
		"javascript:alert(1)", "/\t/evil.example", "https:evil.example", "/%5cevil.example",
	} {
		b := h.browser()
		r := httptest.NewRequest(http.MethodGet, "https://api.example.com/oauth/login", nil)
		r.URL.RawQuery = url.Values{"return": {evil}}.Encode()
		page := b.do(r)
		if page.StatusCode == http.StatusOK && strings.Contains(page.text, "evil") {
			t.Errorf("%q is on the page", evil)
		}
		form := b.get("/oauth/login").form("username", "ada", "password", testPassword, "return", evil)
		if got := b.post("/oauth/login", form); strings.Contains(got.Header.Get("Location"), "evil") ||
			strings.Contains(got.Header.Get("Location"), "alert") {
			t.Errorf("sign-in leads to %s", got.Header.Get("Location"))
		}
		b.signIn("ada")
		form = b.get("/oauth/logout").form("return", evil)
		if got := b.post("/oauth/logout", form); strings.Contains(got.Header.Get("Location"), "evil") ||
			strings.Contains(got.Header.Get("Location"), "alert") {
			t.Errorf("sign-out leads to %s", got.Header.Get("Location"))
		}
		b.signIn("ada")
		page = b.get("/oauth/device?return=" + url.QueryEscape(evil) + "&answer=" + url.QueryEscape(evil))
		if strings.Contains(page.Header.Get("Location"), "evil") || strings.Contains(page.text, "evil") {
			t.Errorf("the device page shows %q", evil)
		}
		form = b.get("/oauth/device").form("user_code", h.beginDevice("native").user, "decision", evil)
		if got := b.post("/oauth/device", form); got.Header.Get("Location") != "" {
			t.Errorf("the device page leads to %s", got.Header.Get("Location"))
		}
	}
}

// TestTellingUsersApartByTheSignIn: the answer to a wrong password is that to a name that nobody has, to the letter.
func TestTellingUsersApartByTheSignIn(t *testing.T) {
	h := signInHouse(t)
	answers := make(map[string]seen)
	for _, name := range []string{"ada", "ada@example.com", "nobody", "nobody@example.com", "", strings.Repeat("x", 300)} {
		b := h.browser()
		got := b.post("/oauth/login", b.get("/oauth/login").form("username", name, "password", "wrong"))
		got.text = hiddenInput.ReplaceAllString(got.text, "")
		got.text = strings.ReplaceAll(got.text, `value="`+name+`"`, `value="name"`)
		got.Header.Del("Content-Length")
		answers[name] = got
	}
	for name, got := range answers {
		want := answers["nobody"]
		if got.StatusCode != want.StatusCode || len(got.Header) != len(want.Header) || name != "" && got.text != want.text {
			t.Errorf("%.20q: %d %v\n%s\nnobody: %d %v\n%s", name, got.StatusCode, got.Header, got.text,
				want.StatusCode, want.Header, want.text)
		}
	}
}

func TestSignInRefusals(t *testing.T) {
	h := signInHouse(t)
	b := h.browser()
	form := b.get("/oauth/login?return=%2Forders").form()
	try := func(name, password string) seen {
		form.Set("username", name)
		form.Set("password", password)
		return b.post("/oauth/login", form)
	}
	for _, who := range []string{"ada", "nobody"} { // told apart by nothing
		got := try(who, "wrong")
		if got.StatusCode != http.StatusUnauthorized || strings.Contains(got.text, "wrong") &&
			strings.Contains(got.text, `value="wrong"`) || !strings.Contains(got.text, `value="/orders"`) {
			t.Errorf("%s: %d %s", who, got.StatusCode, got.text)
		}
		if b.cookie("__Host-passport_session") != "" {
			t.Error("signed in")
		}
	}
	for range 20 {
		try("ada", "wrong")
	}
	got := try("ada", testPassword)
	if got.StatusCode != http.StatusTooManyRequests || got.Header.Get("Retry-After") == "" {
		t.Errorf("after twenty: %d %q", got.StatusCode, got.Header.Get("Retry-After"))
	}
	h.ahead.Add(int64(time.Hour))
	fail := store.ErrUnavailable
	h.engine.broken.Store(&fail)
	if got := try("ada", testPassword); got.StatusCode != http.StatusServiceUnavailable ||
		got.Header.Get("Retry-After") == "" {
		t.Errorf("storage is away: %d", got.StatusCode)
	}
	h.engine.broken.Store(nil)
	if got := try("ada", testPassword).location(t); got.String() != "/orders" {
		t.Errorf("%s", got)
	}
	for _, query := range []string{"username=ada", "password=x"} {
		r := request("/oauth/login?"+query, form)
		if res := h.do(r); res.StatusCode != http.StatusBadRequest {
			t.Errorf("%s in the URL: %d", query, res.StatusCode)
		}
	}
}

// TestOversizedState: what a client wants back is kept, and goes into a URL. Its bound is above what libraries take.
func TestOversizedState(t *testing.T) {
	h := signInHouse(t)
	b := h.browser()
	b.signIn("ada")
	state := strings.Repeat("s", maxState)
	page := b.get(asks("site", "state", state))
	got := b.post("/oauth/authorize", page.form("decision", "approve")).answered(t, testRedirect)
	if got.Get("state") != state {
		t.Errorf("state has %d bytes", len(got.Get("state")))
	}
	if got := b.get(asks("site", "state", state+"s")); got.StatusCode != http.StatusBadRequest {
		t.Errorf("%d %v", got.StatusCode, got.Header)
	}
}
