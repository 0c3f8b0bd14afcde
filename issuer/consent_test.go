package issuer

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
)

// TestConsentByAThirdParty: nobody but the person, on a page of ours, in the session that was asked, says yes.
func TestConsentByAThirdParty(t *testing.T) {
	h := signInHouse(t)
	victim, attacker := h.browser(), h.browser()
	victim.signIn("ada")
	attacker.signIn("bob")
	stolen := victim.get(asks("site")).form("decision", "approve") // as if it had been read somewhere
	attackers := attacker.get(asks("site")).form("decision", "approve")
	mix := func(b *browser, request, token url.Values) seen {
		return b.post("/oauth/authorize",
			url.Values{"request": request["request"], "_token": token["_token"], "decision": {"approve"}})
	}
	for name, try := range map[string]func() seen{
		"a form of another site": func() seen {
			return victim.post("/oauth/authorize", stolen, "Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site")
		},
		"a form of a sister site": func() seen {
			return victim.post("/oauth/authorize", stolen, "Origin", "https://www.example.com", "Sec-Fetch-Site", "same-site")
		},
		"a form of another port": func() seen {
			return victim.post("/oauth/authorize", stolen, "Origin", "https://api.example.com:8443",
				"Sec-Fetch-Site", "same-site")
		},
		"an old browser, another site": func() seen {
			return victim.post("/oauth/authorize", stolen, "Origin", "https://evil.example", "Sec-Fetch-Site", "")
		},
		"a sandboxed frame": func() seen {
			return victim.post("/oauth/authorize", stolen, "Origin", "null", "Sec-Fetch-Site", "cross-site")
		},
		"a stolen form, the thief's session":    func() seen { return attacker.post("/oauth/authorize", stolen) },
		"a stolen form with the thief's token":  func() seen { return mix(attacker, stolen, attackers) },
		"a stolen form without a session":       func() seen { return h.browser().post("/oauth/authorize", stolen) },
		"the attacker's form, the victim's":     func() seen { return victim.post("/oauth/authorize", attackers) },
		"the attacker's request, the own token": func() seen { return mix(victim, attackers, stolen) },
		"no token":                              func() seen { return mix(victim, stolen, nil) },
		"no request":                            func() seen { return mix(victim, nil, stolen) },
		"a made up request":                     func() seen { return mix(victim, url.Values{"request": {"x"}}, stolen) },
		"a link":                                func() seen { return victim.get("/oauth/authorize?" + stolen.Encode()) },
		"DELETE by another site": func() seen {
			return victim.send(http.MethodDelete, "/oauth/authorize", stolen, "Origin", "https://evil.example",
				"Sec-Fetch-Site", "cross-site")
		},
	} {
		if got := try(); got.StatusCode < 400 || got.Header.Get("Location") != "" {
			t.Errorf("%s: %d to %q", name, got.StatusCode, got.Header.Get("Location"))
		}
	}
	// None of it has used the request up.
	victim.post("/oauth/authorize", stolen).answered(t, testRedirect)
	h.db.View(t.Context(), func(r *store.Records) error {
		return r.Users("", func(u store.User) error {
			if u.Name != "bob" {
				return nil
			}
			if c, err := r.Consent(u.ID, "site"); err == nil {
				t.Errorf("the attacker has consented: %v", c)
			}
			return nil
		})
	})
}

// TestReplayedConsent: a form is good once, whatever it was answered with, and not for long.
func TestReplayedConsent(t *testing.T) {
	h := signInHouse(t)
	b := h.browser()
	b.signIn("ada")
	for _, decision := range []string{"approve", "deny"} {
		form := b.get(asks("site", "prompt", "consent")).form("decision", decision)
		b.post("/oauth/authorize", form).answered(t, testRedirect)
		form.Set("decision", "approve")
		if got := b.post("/oauth/authorize", form); got.StatusCode != http.StatusBadRequest {
			t.Errorf("sent again after %s: %d to %s", decision, got.StatusCode, got.Header.Get("Location"))
		}
	}
	form := b.get(asks("site", "prompt", "consent")).form("decision", "approve")
	h.ahead.Add(int64(11 * time.Minute))
	if got := b.post("/oauth/authorize", form); got.StatusCode != http.StatusBadRequest {
		t.Errorf("sent too late: %d", got.StatusCode)
	}
	form = b.get(asks("site", "prompt", "consent")).form("decision", "approve")
	b.signIn("ada")
	form.Set("_token", b.get("/oauth/device").form().Get("_token"))
	if got := b.post("/oauth/authorize", form); got.StatusCode != http.StatusBadRequest {
		t.Errorf("sent in the next session: %d", got.StatusCode)
	}
}

// TestConsentInARace: of many answers to one form at once, one gives a code.
func TestConsentInARace(t *testing.T) {
	h := signInHouse(t)
	b := h.browser()
	b.signIn("ada")
	for range 20 {
		form := b.get(asks("site", "prompt", "consent")).form("decision", "approve")
		cookie := "__Host-passport_session=" + b.cookie("__Host-passport_session")
		var all sync.WaitGroup
		var mu sync.Mutex
		codes := 0
		for range 16 {
			all.Go(func() {
				res := h.do(request("/oauth/authorize", form, "Cookie", cookie))
				if strings.Contains(res.Header.Get("Location"), "code=") {
					mu.Lock()
					codes++
					mu.Unlock()
				}
			})
		}
		all.Wait()
		if codes != 1 {
			t.Fatalf("%d codes", codes)
		}
	}
}

// TestConsentOutlivesItsClient: what was right when the page was shown may be wrong when it is answered. A redirect URI
// that has been taken back gets nothing, an error neither.
func TestConsentOutlivesItsClient(t *testing.T) {
	h := signInHouse(t)
	b := h.browser()
	b.signIn("ada")
	for name, test := range map[string]struct {
		change func(*store.Client)
		page   bool
		code   string
	}{
		"disabled":          {func(c *store.Client) { c.Disabled = true }, true, ""},
		"redirect changed":  {func(c *store.Client) { c.RedirectURIs = []string{"https://app.example/other"} }, true, ""},
		"grant taken back":  {func(c *store.Client) { c.Grants = []string{"device_code"} }, false, "unauthorized_client"},
		"scopes taken back": {func(c *store.Client) { c.Scopes = []string{"write"} }, false, "invalid_scope"},
		"renamed":           {func(c *store.Client) { c.Name = "Other" }, false, ""},
	} {
		for _, decision := range []string{"approve", "deny"} {
			var c store.Client
			h.update(func(r *store.Records) error {
				c = store.Client{
					ID: store.NewID(r.Now()), Name: "Thing", Public: true, Grants: []string{"authorization_code"},
					RedirectURIs: []string{testRedirect},
				}
				return r.PutClient(&c)
			})
			form := b.get(asks(c.ID)).form("decision", decision)
			test.change(&c)
			h.update(func(r *store.Records) error { return r.PutClient(&c) })
			got := b.post("/oauth/authorize", form)
			if test.page {
				if got.StatusCode != http.StatusBadRequest || got.Header.Get("Location") != "" {
					t.Errorf("%s, %s: %d to %s", name, decision, got.StatusCode, got.Header.Get("Location"))
				}
				continue
			}
			want := test.code
			if decision == "deny" {
				want = "access_denied"
			}
			if answer := got.answered(t, testRedirect); answer.Get("error") != want || (want == "") != answer.Has("code") {
				t.Errorf("%s, %s: %v", name, decision, answer)
			}
		}
	}
}

// TestConsentPageHidesWhereTheCodeGoes: it does not; and it warns where any app of the machine could take the code.
func TestConsentPageHidesWhereTheCodeGoes(t *testing.T) {
	h := signInHouse(t)
	b := h.browser()
	b.signIn("ada")
	for _, test := range []struct {
		client, uri, shown string
		local              bool
	}{
		{"site", testRedirect, "app.example", false},
		{"native", "http://127.0.0.1:49152/cb", "127.0.0.1:49152", true},
		{"native", "com.example.app:/cb", "com.example.app:", true},
	} {
		page := b.get(asks(test.client, "redirect_uri", test.uri))
		if !strings.Contains(page.text, test.shown) || strings.Contains(page.text, `class="warning"`) != test.local {
			t.Errorf("%s:\n%s", test.uri, page.text)
		}
	}
}

// TestScriptThroughNames: a client's name, a scope, a state and what people type are text, wherever they are shown.
func TestScriptThroughNames(t *testing.T) {
	const script = `"'><script>alert(1)</script><img src=x onerror=alert(1)>`
	h := signInHouse(t, func(c *Config) {
		c.Scopes = append(c.Scopes, Scope{Name: "evil", Description: script})
	})
	b := h.browser()
	b.signIn("ada")
	var id string
	h.update(func(r *store.Records) error {
		id = store.NewID(r.Now())
		owner := &store.User{ID: store.NewID(r.Now()), Name: script}
		if err := r.PutUser(owner); err != nil {
			return err
		}
		return r.PutClient(&store.Client{
			ID: id, Name: script, Public: true, UserID: owner.ID, RedirectURIs: []string{testRedirect},
			Grants: []string{"authorization_code", "device_code"},
		})
	})
	request := asks(id, "scope", "evil", "state", script)
	stranger := h.browser()
	login := stranger.get(request + "&login_hint=" + url.QueryEscape(script)).location(t)
	d := h.beginDevice(id, "scope", "evil")
	for name, page := range map[string]seen{
		"consent":   b.get(request),
		"sign-in":   stranger.get(login.String()),
		"form post": b.get(asks(id, "state", script, "response_mode", "form_post", "scope", "nothing")),
		"typed": stranger.post("/oauth/login",
			stranger.get(login.String()).form("username", script, "password", script)),
		"device":      b.get("/oauth/device?user_code=" + url.QueryEscape(script)),
		"device code": b.post("/oauth/device", b.get("/oauth/device").form("user_code", script)),
		"confirm":     b.post("/oauth/device", b.get("/oauth/device").form("user_code", d.user)),
		"fault":       b.get(asks(script)),
	} {
		if strings.Contains(page.text, "<script") || strings.Contains(page.text, "<img src=x") ||
			!strings.HasPrefix(page.Header.Get("Content-Type"), "text/html") {
			t.Errorf("%s: %d\n%s", name, page.StatusCode, page.text)
		}
	}
	if !strings.Contains(b.get(request).text, "&lt;script&gt;") {
		t.Error("the name is not shown at all")
	}
}

// TestMixUp: every answer of the authorization endpoint, faults too, says whose it is (RFC 9207); so does the metadata.
func TestMixUp(t *testing.T) {
	h := signInHouse(t)
	b := h.browser()
	none := b.get(asks("site", "prompt", "none")) // nobody is signed in
	b.signIn("ada")
	deny := b.get(asks("site"))
	for name, got := range map[string]seen{
		"login_required": none,
		"code":           b.get(asks("first")),
		"fault":          b.get(asks("site", "scope", "delete")),
		"denied":         b.post("/oauth/authorize", deny.form("decision", "deny")),
		"approved":       b.post("/oauth/authorize", b.get(asks("site")).form("decision", "approve")),
	} {
		if iss := got.location(t).Query()["iss"]; !slices.Equal(iss, []string{testIdentifier}) {
			t.Errorf("%s: iss %q", name, iss)
		}
	}
	u := b.get(asks("fragment", "response_type", "token", "prompt", "none")).location(t)
	if !strings.Contains(u.EscapedFragment(), "iss="+url.QueryEscape(testIdentifier)) {
		t.Errorf("fragment: %s", u)
	}
	metadata := object(t, h.do(get(wellKnown)))
	if metadata["authorization_response_iss_parameter_supported"] != true {
		t.Errorf("%v", metadata)
	}
}

// TestFramedPages: no page can be shown within another one (RFC 9700 §4.16).
func TestFramedPages(t *testing.T) {
	h := signInHouse(t)
	b := h.browser()
	b.signIn("ada")
	d := h.beginDevice("native")
	for name, page := range map[string]seen{
		"sign-in":    b.get("/oauth/login?return=%2Forders"),
		"sign-out":   b.get("/oauth/logout"),
		"signed out": h.browser().get("/oauth/logout"),
		"consent":    b.get(asks("site")),
		"device":     b.get("/oauth/device"),
		"confirm":    b.post("/oauth/device", b.get("/oauth/device").form("user_code", d.user)),
		"done":       b.get("/oauth/device?answer=approve"),
		"fault":      b.get(asks("nobody")),
		"form post":  b.get(asks("first", "response_mode", "form_post")),
	} {
		policy := page.Header.Get("Content-Security-Policy")
		if !strings.Contains(policy, "frame-ancestors 'none'") || page.Header.Get("X-Frame-Options") != "DENY" ||
			!strings.Contains(policy, "base-uri 'none'") ||
			!strings.HasPrefix(page.Header.Get("Content-Type"), "text/html") {
			t.Errorf("%s: %d %v", name, page.StatusCode, page.Header)
		}
		if page.Header.Get("Referrer-Policy") == "" || page.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %v", name, page.Header)
		}
	}
}

// TestFormsThatLeadOut: Chromium holds every redirect that follows a form against form-action, those of the app, too. It
// is on each page but those whose form may lead to an app, or to wherever a page of the site redirects.
func TestFormsThatLeadOut(t *testing.T) {
	h := signInHouse(t)
	b := h.browser()
	b.signIn("ada")
	d := h.beginDevice("native")
	login := func(back string) seen { return h.browser().get("/oauth/login?return=" + url.QueryEscape(back)) }
	for name, test := range map[string]struct {
		page seen
		out  bool
	}{
		"sign-in for an app":        {login(asks("site")), true},
		"sign-in for a page":        {login("/orders"), true},
		"sign-in for nothing":       {login(""), false},
		"sign-in for the account":   {login("/oauth/account"), false},
		"sign-in for a device":      {login("/oauth/device?user_code=BCDF-GHJK"), false},
		"sign-in for another site":  {login("https://evil.example/"), false},
		"consent":                   {b.get(asks("site")), true},
		"form post":                 {b.get(asks("first", "response_mode", "form_post")), true},
		"device":                    {b.get("/oauth/device"), false},
		"confirm":                   {b.post("/oauth/device", b.get("/oauth/device").form("user_code", d.user)), false},
		"account":                   {b.get("/oauth/account"), false},
		"sign-out":                  {b.get("/oauth/logout"), false},
		"sign-out and on to a page": {b.get("/oauth/logout?return=/orders"), true},
		"fault":                     {b.get(asks("nobody")), false},
	} {
		policy := test.page.Header.Get("Content-Security-Policy")
		if stays := strings.Contains(policy, "; form-action 'self';"); stays == test.out ||
			strings.Contains(policy, "form-action") != stays || !strings.HasPrefix(policy, "default-src 'none';") {
			t.Errorf("%s: %d %s", name, test.page.StatusCode, policy)
		}
	}
}

// TestMethodsOfPages: what is not a page's method is refused, and OPTIONS lets no other site's script in.
func TestMethodsOfPages(t *testing.T) {
	h := signInHouse(t)
	for path, methods := range map[string]string{
		"/oauth/authorize": "GET, HEAD, POST, DELETE, OPTIONS",
		"/oauth/login":     "GET, HEAD, POST, OPTIONS",
		"/oauth/logout":    "GET, HEAD, POST, OPTIONS",
		"/oauth/device":    "GET, HEAD, POST, OPTIONS",
	} {
		r := httptest.NewRequest(http.MethodPatch, "https://api.example.com"+path, nil)
		if res := h.do(r); res.StatusCode != http.StatusMethodNotAllowed || res.Header.Get("Allow") != methods {
			t.Errorf("%s: %d %s", path, res.StatusCode, res.Header.Get("Allow"))
		}
		r = httptest.NewRequest(http.MethodOptions, "https://api.example.com"+path, nil)
		r.Header.Set("Origin", "https://evil.example")
		r.Header.Set("Access-Control-Request-Method", "POST")
		if res := h.do(r); res.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s lets others in", path)
		}
	}
}

// TestStorageAwayFromPages: nobody is let in, and nothing is given, while the store cannot be asked.
func TestStorageAwayFromPages(t *testing.T) {
	h := signInHouse(t)
	b := h.browser()
	b.signIn("ada")
	consent := b.get(asks("site")).form("decision", "approve")
	device := b.get("/oauth/device").form("user_code", h.beginDevice("native").user, "decision", "approve")
	logout := b.get("/oauth/logout").form()
	fail := store.ErrUnavailable
	h.engine.broken.Store(&fail)
	for name, got := range map[string]seen{
		"consent":  b.post("/oauth/authorize", consent),
		"device":   b.post("/oauth/device", device),
		"page":     b.get("/oauth/device"),
		"sign-out": b.post("/oauth/logout", logout),
		"asks":     b.get(asks("0190b6f4-0000-7000-8000-000000000000")),
	} {
		if got.StatusCode != http.StatusServiceUnavailable || got.Header.Get("Retry-After") == "" ||
			got.Header.Get("Location") != "" {
			t.Errorf("%s: %d to %s", name, got.StatusCode, got.Header.Get("Location"))
		}
	}
	if got := b.get(asks("first")).answered(t, testRedirect); got.Get("error") != "temporarily_unavailable" {
		t.Errorf("%v", got)
	}
	h.engine.broken.Store(nil)
	b.post("/oauth/authorize", consent).answered(t, testRedirect)
}
