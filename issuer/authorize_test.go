package issuer

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
)

// TestCodeFlow goes the whole way: request, sign-in, consent, code, token.
func TestCodeFlow(t *testing.T) {
	h := signInHouse(t)
	b := h.browser()
	request := asks("site", "state", "a b&c=ü#", "scope", "read write", "login_hint", "ada")
	login := b.get(request).location(t)
	if login.Path != "/oauth/login" {
		t.Fatalf("not signed in: %s", login)
	}
	page := b.get(login.String())
	if !strings.Contains(page.text, `value="ada"`) || page.StatusCode != http.StatusOK {
		t.Fatalf("%d %s", page.StatusCode, page.text)
	}
	back := b.post("/oauth/login", page.form("username", "ada@example.com", "password", testPassword)).location(t)
	consent := b.get(back.String())
	for _, want := range []string{"site", "app.example", "See your orders", "Place and change orders", "ada"} {
		if !strings.Contains(consent.text, want) {
			t.Errorf("the consent page does not say %q:\n%s", want, consent.text)
		}
	}
	answer := b.post("/oauth/authorize", consent.form("decision", "approve")).answered(t, testRedirect)
	if answer.Get("state") != "a b&c=ü#" || len(answer) != 3 {
		t.Errorf("the answer is %v", answer)
	}
	given := h.gives(h.askByCode("site", answer.Get("code")))
	if given.scope != "read write" || given.refresh == "" || !h.good(given.access) {
		t.Errorf("given %+v", given)
	}

	// What has been allowed is not asked again; what is new is.
	if code := b.get(asks("site", "scope", "write")).answered(t, testRedirect).Get("code"); code == "" {
		t.Error("no code")
	}
	b.agrees(b.get(asks("site", "scope", "read", "prompt", "consent")))
	if got := b.get(asks("other", "scope", "read")); got.StatusCode != http.StatusOK {
		t.Errorf("another client has the consent too: %d", got.StatusCode)
	}
}

func TestConsentAsksForNewScopesOnly(t *testing.T) {
	h := signInHouse(t)
	b := h.browser()
	b.signIn("ada")
	b.agrees(b.get(asks("site", "scope", "read")))
	page := b.get(asks("site", "scope", "read write"))
	b.agrees(page)
	b.get(asks("site", "scope", "write read")).answered(t, testRedirect)

	// Somebody else has allowed nothing.
	b.signIn("bob")
	if page := b.get(asks("site", "scope", "read")); page.StatusCode != http.StatusOK {
		t.Errorf("the consent of another person counts: %d", page.StatusCode)
	}
}

// TestFaultInClientOrRedirectNeverRedirects: who asks for an unknown client or redirect URI sees a page, and the
// browser goes nowhere, signed in or not (RFC 6749 §4.1.2.1, §10.15).
func TestFaultInClientOrRedirectNeverRedirects(t *testing.T) {
	h := signInHouse(t)
	var gone string
	h.update(func(r *store.Records) error {
		gone = store.NewID(r.Now())
		return r.PutClient(&store.Client{
			ID: gone, Name: "gone", Public: true, Disabled: true, RedirectURIs: []string{testRedirect},
			Grants: []string{"authorization_code"},
		})
	})
	signedIn := h.browser()
	signedIn.signIn("ada")
	for name, path := range map[string]string{
		"no client":            asks("", "client_id", ""),
		"unknown client":       asks("nobody"),
		"disabled client":      asks(gone),
		"odd client":           asks("a\"b"),
		"long client":          asks(strings.Repeat("x", 5000)),
		"client twice":         asks("site") + "&client_id=site",
		"redirect twice":       asks("site") + "&redirect_uri=" + url.QueryEscape(testRedirect),
		"other redirect":       asks("site", "redirect_uri", "https://evil.example/cb"),
		"longer redirect":      asks("site", "redirect_uri", testRedirect+"/more"),
		"redirect and query":   asks("site", "redirect_uri", testRedirect+"?x=1"),
		"redirect to fragment": asks("site", "redirect_uri", testRedirect+"#x"),
		"script":               asks("site", "redirect_uri", "javascript:alert(1)"),
		"relative":             asks("site", "redirect_uri", "/cb"),
		"client without any":   asks("orders-sync", "redirect_uri", ""),
		"which of two":         asks("native", "redirect_uri", ""),
		"of another client":    asks("native"),
		"malformed":            asks("site") + "&x=%zz",
		"control characters":   asks("site", "state", "a\r\nLocation: https://evil.example"),
		"too long":             asks("site", "state", strings.Repeat("x", maxBody)),
		"and prompt none":      asks("site", "redirect_uri", "https://evil.example/cb", "prompt", "none"),
	} {
		for who, b := range map[string]*browser{"stranger": h.browser(), "signed in": signedIn} {
			got := b.get(path)
			if got.StatusCode != http.StatusBadRequest || got.Header.Get("Location") != "" ||
				!strings.HasPrefix(got.Header.Get("Content-Type"), "text/html") || strings.Contains(got.text, "evil.example") {
				t.Errorf("%s, %s: %d to %q\n%s", name, who, got.StatusCode, got.Header.Get("Location"), got.text)
			}
		}
	}
}

// TestFaultsAreToldToTheClient: all others redirect, with state and iss, and show no page.
func TestFaultsAreToldToTheClient(t *testing.T) {
	h := signInHouse(t)
	b := h.browser()
	b.signIn("ada")
	limited := h.browser()
	limited.signIn("bob")
	for _, test := range []struct {
		name, path, code string
	}{
		{"no response type", asks("site", "response_type", ""), "invalid_request"},
		{"unknown response type", asks("site", "response_type", "id_token"), "unsupported_response_type"},
		{"two response types", asks("site", "response_type", "code token"), "unsupported_response_type"},
		{"unknown response mode", asks("site", "response_mode", "web_message"), "invalid_request"},
		{"a code in the fragment", asks("site", "response_mode", "fragment"), "invalid_request"},
		{"no PKCE of a public client", asks("app", "code_challenge", "", "code_challenge_method", ""), "invalid_request"},
		{"no PKCE", asks("site", "code_challenge", "", "code_challenge_method", ""), "invalid_request"},
		{"PKCE plain", asks("site", "code_challenge_method", "plain"), "invalid_request"},
		{"PKCE plain by default", asks("site", "code_challenge_method", ""), "invalid_request"},
		{"PKCE method alone", asks("site", "code_challenge", ""), "invalid_request"},
		{"PKCE method in lower case", asks("site", "code_challenge_method", "s256"), "invalid_request"},
		{"a short challenge", asks("site", "code_challenge", "abc"), "invalid_request"},
		{"a challenge in base64", asks("site", "code_challenge", strings.Repeat("+", 43)), "invalid_request"},
		{"unknown scope", asks("site", "scope", "read delete"), "invalid_scope"},
		{"restricted scope", asks("site", "scope", "admin"), "invalid_scope"},
		{"any scope", asks("wide", "scope", "*"), "invalid_scope"},
		{"malformed scope", asks("site", "scope", `a"b`), "invalid_scope"},
		{"more than the client may have", asks("narrow", "scope", "write"), "invalid_scope"},
		{"unknown resource", asks("site", "resource", "https://elsewhere.example"), "invalid_target"},
		{"unknown prompt", asks("site", "prompt", "create"), "invalid_request"},
		{"none and another prompt", asks("site", "prompt", "none login"), "invalid_request"},
		{"odd max_age", asks("site", "max_age", "-1"), "invalid_request"},
		{"scope twice", asks("site") + "&scope=write", "invalid_request"},
		{"state twice", asks("site") + "&state=s2", "invalid_request"},
		{"response type twice", asks("site") + "&response_type=token", "invalid_request"},
	} {
		got := b.get(test.path).answered(t, testRedirect)
		if got.Get("error") != test.code || got.Get("state") != "s1" || got.Get("code") != "" {
			t.Errorf("%s: %v", test.name, got)
		}
	}
	if got := limited.get(asks("site", "scope", "write")).answered(t, testRedirect); got.Get("error") != "invalid_scope" {
		t.Errorf("more than the person may have: %v", got)
	}
	// Of what the person may not have the rest remains, and the page shows what.
	page := limited.get(asks("site", "scope", "read write"))
	if strings.Contains(page.text, "Place and change orders") {
		t.Error("the consent page shows what the person cannot give")
	}
	if given := h.gives(h.askByCode("site", limited.agrees(page))); given.scope != "read" {
		t.Errorf("given %q", given.scope)
	}
}

func TestResponseTypesThatAreOff(t *testing.T) {
	h := signInHouse(t, func(c *Config) {
		c.Grants = []string{"client_credentials", "implicit"}
		c.Clients = []store.Client{
			{ID: "site", SecretHash: store.HashSecret(testSecret), RedirectURIs: []string{testRedirect}},
		}
	})
	if got := h.browser().get(asks("site")).answered(t, testRedirect); got.Get("error") != "unsupported_response_type" {
		t.Errorf("%v", got)
	}
}

// TestPromptNoneNeverShowsAPage: whatever is missing is told to the client (OpenID Connect Core 1.0 §3.1.2.1).
func TestPromptNoneNeverShowsAPage(t *testing.T) {
	h := signInHouse(t)
	b := h.browser()
	none := func(client string, pairs ...string) url.Values {
		t.Helper()
		return b.get(asks(client, append(pairs, "prompt", "none")...)).answered(t, testRedirect)
	}
	if got := none("site"); got.Get("error") != "login_required" {
		t.Errorf("nobody is signed in: %v", got)
	}
	b.signIn("ada")
	if got := none("site"); got.Get("error") != "consent_required" {
		t.Errorf("not consented: %v", got)
	}
	b.agrees(b.get(asks("site")))
	if got := none("site"); got.Get("code") == "" {
		t.Errorf("consented: %v", got)
	}
	if got := none("site", "scope", "read write"); got.Get("error") != "consent_required" {
		t.Errorf("consented to less: %v", got)
	}
	if got := none("first"); got.Get("code") == "" {
		t.Errorf("first party: %v", got)
	}
	if got := none("first", "response_mode", "form_post"); got.Get("error") != "invalid_request" {
		t.Errorf("a mode that is a page: %v", got)
	}
	h.ahead.Store(int64(10 * time.Minute))
	if got := none("site", "max_age", "60"); got.Get("error") != "login_required" {
		t.Errorf("signed in too long ago: %v", got)
	}
	fail := store.ErrUnavailable
	h.engine.broken.Store(&fail)
	if got := none("site"); got.Get("error") != "temporarily_unavailable" {
		t.Errorf("storage is away: %v", got)
	}
}

func TestPromptLoginAndMaxAge(t *testing.T) {
	h := signInHouse(t)
	b := h.browser()
	b.signIn("ada")
	b.agrees(b.get(asks("site")))
	h.ahead.Store(int64(5 * time.Minute))
	for name, pairs := range map[string][]string{
		"login":     {"prompt", "login"},
		"max_age":   {"max_age", "60"},
		"max_age 0": {"max_age", "0"},
	} {
		request := asks("site", pairs...)
		for range 2 { // going back without signing in asks again
			login := b.get(request).location(t)
			if login.Path != "/oauth/login" {
				t.Fatalf("%s: %s", name, login)
			}
			request = login.Query().Get("return")
		}
		login := b.get("/oauth/login?return=" + url.QueryEscape(request))
		h.ahead.Add(int64(2 * time.Minute)) // people type slowly
		back := b.post("/oauth/login", login.form("username", "ada", "password", testPassword)).location(t)
		if got := b.get(back.String()).answered(t, testRedirect); got.Get("code") == "" {
			t.Errorf("%s: %v", name, got)
		}
		h.ahead.Add(int64(2 * time.Minute))
	}
	b.get(asks("site", "max_age", "3600")).answered(t, testRedirect)
	b.get(asks("site", "prompt", "select_account")).answered(t, testRedirect)
	// The parameter of our own lets nobody choose a time to come.
	future := asks("site", "prompt", "login", signedInAfter, "99999999999")
	if got := b.get(future).location(t); got.Path != "/oauth/login" {
		t.Errorf("%s", got)
	}
}

// TestImpersonatedFirstParty: a client that proves itself by nothing, and whose redirect URI any app on the device can
// claim, is asked for whatever it is registered as (RFC 8252 §8.6).
func TestImpersonatedFirstParty(t *testing.T) {
	h := signInHouse(t)
	b := h.browser()
	b.signIn("ada")
	b.get(asks("first")).answered(t, testRedirect)
	b.get(asks("native-first")).answered(t, testRedirect) // claimed https: only the app's own server
	for _, uri := range []string{"http://127.0.0.1:49152/cb", "com.example.app:/cb"} {
		page := b.get(asks("native-first", "redirect_uri", uri))
		if page.StatusCode != http.StatusOK || !strings.Contains(page.text, `value="approve"`) {
			t.Errorf("%s: %d %s", uri, page.StatusCode, page.Header.Get("Location"))
		}
	}
}

// TestImpersonatedNativeApp: what the person has allowed such a client before is no answer to whoever asks next.
func TestImpersonatedNativeApp(t *testing.T) {
	h := signInHouse(t)
	b := h.browser()
	b.signIn("ada")
	request := asks("native", "redirect_uri", "http://127.0.0.1:49152/cb")
	for range 2 {
		page := b.get(request)
		if page.StatusCode != http.StatusOK || !strings.Contains(page.text, `value="approve"`) {
			t.Fatalf("%d %s", page.StatusCode, page.Header.Get("Location"))
		}
		b.post("/oauth/authorize", page.form("decision", "approve")).answered(t, "http://127.0.0.1:49152/cb")
	}
	silent := b.get(request+"&prompt=none").answered(t, "http://127.0.0.1:49152/cb")
	if silent.Get("error") != "consent_required" {
		t.Errorf("prompt=none: %v", silent)
	}
}

func TestNativeAppsRedirects(t *testing.T) {
	h := signInHouse(t)
	b := h.browser()
	b.signIn("ada")
	for _, uri := range []string{"http://127.0.0.1:49152/cb", "com.example.app:/cb"} {
		page := b.get(asks("native", "redirect_uri", uri, "prompt", "consent"))
		got := b.post("/oauth/authorize", page.form("decision", "approve")).answered(t, uri)
		res := h.do(h.ask("native", "authorization_code", "code", got.Get("code"), "redirect_uri", uri,
			"code_verifier", testVerifier))
		if res.StatusCode != http.StatusOK {
			t.Errorf("%s: %d", uri, res.StatusCode)
		}
	}
}

// TestAuthorizationRequestAsForm: RFC 6749 §3.1 has POST too, from another site, so that no cookie comes with it.
func TestAuthorizationRequestAsForm(t *testing.T) {
	h := signInHouse(t)
	b := h.browser()
	b.signIn("ada")
	query, _ := url.ParseQuery(strings.TrimPrefix(asks("site"), "/oauth/authorize?"))
	r := httptest.NewRequest(http.MethodPost, "https://api.example.com/oauth/authorize", strings.NewReader(query.Encode()))
	r.Header.Set("Content-Type", formMedia)
	r.Header.Set("Origin", "https://app.example")
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	got := seen{Response: h.do(r), at: "the form"}
	b.agrees(b.get(got.location(t).String()))

	for name, body := range map[string]string{
		"twice": query.Encode() + "&client_id=x", "malformed": "a=%", "empty": "",
	} {
		r := httptest.NewRequest(http.MethodPost, "https://api.example.com/oauth/authorize", strings.NewReader(body))
		r.Header.Set("Content-Type", formMedia)
		res := h.do(r)
		if res.StatusCode == http.StatusSeeOther {
			res = h.do(get(res.Header.Get("Location")))
		}
		if res.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %d", name, res.StatusCode)
		}
	}
}

// TestCredentialsOfACarelessClientEndInNoURL: an authorization request as a form goes on as a GET, but not with what
// must not be in a log.
func TestCredentialsOfACarelessClientEndInNoURL(t *testing.T) {
	h := signInHouse(t)
	b := h.browser()
	b.signIn("ada")
	query, err := url.Parse(asks("site"))
	if err != nil {
		t.Fatal(err)
	}
	if got := b.post("/oauth/authorize", query.Query()); got.StatusCode != http.StatusSeeOther {
		t.Fatalf("a request as a form: %d", got.StatusCode)
	}
	for _, name := range []string{"client_secret", "client_assertion", "password", "code_verifier", "access_token"} {
		form := query.Query()
		form.Set(name, "not-for-a-log")
		got := b.post("/oauth/authorize", form)
		if got.StatusCode != http.StatusBadRequest || strings.Contains(fmt.Sprint(got.Header, got.text), "not-for-a-log") {
			t.Errorf("%s: %d %v", name, got.StatusCode, got.Header)
		}
	}
}

// TestFormPostToAnApp: no browser sends a form to a scheme of an app's own.
func TestFormPostToAnApp(t *testing.T) {
	h := signInHouse(t)
	b := h.browser()
	b.signIn("ada")
	u := b.get(asks("native", "response_mode", "form_post", "redirect_uri", "com.example.app:/cb")).location(t)
	if u.Scheme != "com.example.app" || u.Query().Get("error") != "invalid_request" {
		t.Errorf("it is answered by %s", u)
	}
}

func TestFormPost(t *testing.T) {
	h := signInHouse(t)
	b := h.browser()
	b.signIn("ada")
	state := `"><script>alert(1)</script>`
	page := b.get(asks("first", "response_mode", "form_post", "state", state))
	form := page.form()
	if page.StatusCode != http.StatusOK || !strings.Contains(page.text, `action="`+testRedirect+`"`) ||
		form.Get("state") != state || form.Get("iss") != testIdentifier {
		t.Fatalf("%d %v\n%s", page.StatusCode, page.Header, page.text)
	}
	h.gives(h.askByCode("first", form.Get("code")))
	page = b.get(asks("site", "response_mode", "form_post", "scope", "delete"))
	if form := page.form(); form.Get("error") != "invalid_scope" || form.Get("state") != "s1" {
		t.Errorf("%v", form)
	}
}

func TestImplicit(t *testing.T) {
	h := signInHouse(t)
	b := h.browser()
	b.signIn("ada")
	request := asks("fragment", "response_type", "token", "code_challenge", "", "code_challenge_method", "")
	page := b.get(request)
	u := b.post("/oauth/authorize", page.form("decision", "approve")).location(t)
	got, err := url.ParseQuery(u.Fragment)
	if err != nil || u.RawQuery != "" || u.Host != "app.example" {
		t.Fatalf("%s: %v", u, err)
	}
	if !h.good(got.Get("access_token")) || got.Get("token_type") != "Bearer" || got.Get("expires_in") != "3600" ||
		got.Get("scope") != "read" || got.Get("state") != "s1" || got.Get("iss") != testIdentifier ||
		got.Get("refresh_token") != "" || got.Get("code") != "" {
		t.Errorf("%v", got)
	}
	u = b.get(asks("fragment", "response_type", "token", "response_mode", "query")).location(t)
	if u.Fragment == "" || !strings.Contains(u.Fragment, "invalid_request") {
		t.Errorf("a token in a query: %s", u)
	}
	u = b.get(asks("site", "response_type", "token")).location(t)
	if !strings.Contains(u.Fragment, "unauthorized_client") || u.RawQuery != "" {
		t.Errorf("a token for a client of codes: %s", u)
	}
	if got := b.get(asks("fragment")).answered(t, testRedirect); got.Get("error") != "unauthorized_client" {
		t.Errorf("a code for a client of tokens: %v", got)
	}
}

func TestResourceOfTheRequest(t *testing.T) {
	h := signInHouse(t)
	h.issuer.NameResources("https://api.example.com/mcp")
	b := h.browser()
	b.signIn("ada")
	code := b.agrees(b.get(asks("site", "resource", "https://api.example.com/mcp")))
	given := h.gives(h.askByCode("site", code))
	if aud := h.introspect("api", given.access)["aud"]; aud != "https://api.example.com/mcp" {
		t.Errorf("aud %v", aud)
	}
}

func TestDenied(t *testing.T) {
	h := signInHouse(t)
	b := h.browser()
	b.signIn("ada")
	page := b.get(asks("site"))
	got := b.post("/oauth/authorize", page.form("decision", "deny")).answered(t, testRedirect)
	if got.Get("error") != "access_denied" || got.Get("state") != "s1" || got.Get("code") != "" {
		t.Errorf("%v", got)
	}
	page = b.get(asks("site"))
	form := page.form()
	got = b.send(http.MethodDelete, "/oauth/authorize", form).answered(t, testRedirect)
	if got.Get("error") != "access_denied" {
		t.Errorf("DELETE: %v", got)
	}
	page = b.get(asks("site"))
	r := httptest.NewRequest(http.MethodDelete, b.at+"/oauth/authorize?request="+page.form().Get("request"), nil)
	r.Header.Set("X-XSRF-TOKEN", b.cookie("XSRF-TOKEN"))
	if got := b.do(r).answered(t, testRedirect); got.Get("error") != "access_denied" {
		t.Errorf("DELETE by a script: %v", got)
	}
	// Nothing of it is remembered.
	if page := b.get(asks("site")); page.StatusCode != http.StatusOK {
		t.Errorf("%d", page.StatusCode)
	}
}

func TestHostsAreIssuers(t *testing.T) {
	h := signInHouse(t, func(c *Config) { c.Identifier = "" })
	b := h.browser()
	b.at = "http://localhost:8080"
	b.signIn("ada")
	if b.cookie("passport_session") == "" {
		t.Fatal("no cookie of plain HTTP")
	}
	got := b.get(asks("first")).location(t).Query()
	if got.Get("iss") != "http://localhost:8080" || got.Get("code") == "" {
		t.Errorf("%v", got)
	}
}

// TestOpenRedirectThroughAnyonesClient: a client that some person has registered does not get other people by a link to
// the authorization endpoint that is answered without asking them (RFC 9700 §4.11.2).
func TestOpenRedirectThroughAnyonesClient(t *testing.T) {
	h := signInHouse(t)
	owner, mallory := h.member("mallory")
	info, _, err := h.issuer.CreateClient(t.Context(), store.Client{
		Name: "Phish", Public: true, UserID: mallory.ID, RedirectURIs: []string{testRedirect},
		Grants: []string{"authorization_code"},
	})
	if err != nil {
		t.Fatal(err)
	}
	stays := func(b *browser, status int, pairs ...string) {
		t.Helper()
		got := b.get(asks(info.ID, pairs...))
		if got.StatusCode != status || got.Header.Get("Location") != "" || strings.Contains(got.text, testRedirect) {
			t.Errorf("%s: %d to %q\n%s", got.at, got.StatusCode, got.Header.Get("Location"), got.text)
		}
	}
	leads := func(b *browser, code string, pairs ...string) {
		t.Helper()
		if got := b.get(asks(info.ID, pairs...)).answered(t, testRedirect); got.Get("error") != code {
			t.Errorf("%v: %v", pairs, got)
		}
	}
	nobody := h.browser()
	login := nobody.get(asks(info.ID, "scope", "delete")).location(t)
	if login.Path != "/oauth/login" {
		t.Fatalf("nobody is sent to %s", login)
	}
	stays(nobody, http.StatusForbidden, "prompt", "none")
	stays(nobody, http.StatusBadRequest, "prompt", "none", "scope", "delete")

	b, _ := h.member("carol")
	stays(b, http.StatusForbidden, "prompt", "none")
	stays(b, http.StatusBadRequest, "scope", "delete")
	stays(b, http.StatusBadRequest, "response_mode", "form_post", "scope", "delete")
	poor, _ := h.member("poor", "write")
	stays(poor, http.StatusForbidden) // it asks for what the person may not have

	denied := b.post("/oauth/authorize", b.get(asks(info.ID)).form("decision", "deny")).answered(t, testRedirect)
	if denied.Get("error") != "access_denied" {
		t.Errorf("denied: %v", denied)
	}
	stays(b, http.StatusForbidden, "prompt", "none")
	b.agrees(b.get(asks(info.ID)))
	leads(b, "", "prompt", "none")
	leads(b, "consent_required", "prompt", "none", "scope", "read write")
	leads(b, "invalid_scope", "scope", "delete")
	leads(owner, "invalid_scope", "scope", "delete")
	leads(owner, "consent_required", "prompt", "none")

	fail := store.ErrUnavailable
	h.engine.broken.Store(&fail)
	stays(b, http.StatusServiceUnavailable, "prompt", "none")
}
