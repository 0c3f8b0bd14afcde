package tests

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"github.com/oauth2-passport/caddy-passport/tests/internal/gateway"
)

// attackedSite has people and clients of every kind. All accounts are in the storage, and hashed as the issuer does it.
const attackedSite = `{
	default_bind 127.0.0.1
	passport {
		scope read "See your orders"
		scope write "Place and change orders"
		scope passport:manage "Manage your tokens and apps"
		default_scopes read
		client app {
			secret {env.APP_SECRET}
			redirect_uris https://app.example/cb
		}
		client rival {
			secret {env.APP_SECRET}
			grants authorization_code refresh_token client_credentials
			redirect_uris https://app.example/cb
		}
		client spa {
			public
			redirect_uris https://app.example/cb
		}
		client native {
			public
			redirect_uris http://127.0.0.1/cb
		}
		client careless {
			public
			grants authorization_code client_credentials
			redirect_uris https://app.example/cb
		}
		client desktop {
			public
			redirect_uris com.example.app:/cb
		}
		client lookalike {
			secret {env.APP_SECRET}
			redirect_uris https://accounts.example.com.app.evil.example:8443/cb
		}
		client sync {
			secret {env.APP_SECRET}
			grants client_credentials
			scopes read passport:manage
		}
	}
}

http://127.0.0.1:{$PORT} {
	passport_server
	passport_auth /orders* scopes read
	passport_auth /people* {
		subject user
	}
	reverse_proxy {$UPSTREAM}
}
`

// attacked is a gateway that is attacked, and ada's browser in which she is signed in.
type attacked struct {
	*gateway.Gateway
	t        *testing.T
	upstream *gateway.Upstream
	browser  *gateway.Browser
}

func newAttacked(t *testing.T) *attacked {
	t.Helper()
	upstream := gateway.NewUpstream(t)
	a := &attacked{Gateway: gateway.New(t, attackedSite, "UPSTREAM="+upstream.Addr, "APP_SECRET="+secretOfApp), t: t,
		upstream: upstream}
	for _, secret := range []string{secretOfApp, adasPassword, guessedWrong} {
		a.Secret(secret)
	}
	if err := a.Run(); err != nil {
		t.Fatalf("%v\n%s", err, a.Log())
	}
	cmd := a.Command("passport", "user", "create", "ada", "--password-stdin", "--address", a.Admin)
	cmd.Stdin = strings.NewReader(adasPassword + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	a.browser = a.Browser()
	a.browser.SignIn(a.browser.Open("/oauth/login"), "ada", adasPassword)
	return a
}

// ofClient is how a client asks for authorization, and who it is at the token endpoint.
func ofClient(id string) (asks []string, credentials url.Values) {
	credentials = url.Values{"client_id": {id}}
	switch id {
	case "native":
		return []string{"client_id", id, "redirect_uri", "http://127.0.0.1:49152/cb"}, credentials
	case "desktop":
		return []string{"client_id", id, "redirect_uri", "com.example.app:/cb"}, credentials
	case "lookalike":
		return []string{"client_id", id, "redirect_uri", "https://accounts.example.com.app.evil.example:8443/cb"}, credentials
	case "spa", "careless":
		return []string{"client_id", id}, credentials
	}
	credentials.Set("client_secret", secretOfApp)
	return []string{"client_id", id}, credentials
}

// answer has ada answer what a client asks, and returns what the client is told.
func (a *attacked) answer(decision, client string, pairs ...string) url.Values {
	a.t.Helper()
	asks, _ := ofClient(client)
	page := a.browser.Open(authorization(append(asks, pairs...)...))
	if page.Left == nil {
		page = a.browser.Send("/oauth/authorize", page.Form("decision", decision))
	}
	if page.Left == nil {
		a.t.Fatalf("%s is told nothing: %d %s", client, page.Status, page.Body)
	}
	return page.Left.Query()
}

var rightVerifier = strings.Repeat("v", 43) // see [authorization]

// redemption is how a client redeems the code that ada has given it.
func (a *attacked) redemption(client string) url.Values {
	a.t.Helper()
	told := a.answer("approve", client)
	if told.Get("code") == "" {
		a.t.Fatalf("%s gets no code: %v", client, told)
	}
	_, form := ofClient(client)
	form.Set("grant_type", "authorization_code")
	form.Set("code", told.Get("code"))
	form.Set("redirect_uri", appRedirect)
	form.Set("code_verifier", rightVerifier)
	return form
}

func (a *attacked) token(form url.Values) gateway.Response {
	a.t.Helper()
	resp := a.Form("/oauth/token", "", "", form)
	for _, name := range []string{"access_token", "refresh_token"} {
		if secret := resp.String(name); secret != "" {
			a.Secret(secret)
		}
	}
	return resp
}

// changed is a form with other values; an empty one leaves its field out.
func changed(form url.Values, pairs ...string) url.Values {
	form = maps.Clone(form)
	for i := 0; i < len(pairs); i += 2 {
		if form.Set(pairs[i], pairs[i+1]); pairs[i+1] == "" {
			form.Del(pairs[i])
		}
	}
	return form
}

// stolen asserts that each attempt at what belongs to somebody else is refused, and that the owner gets tokens
// afterwards: the attempt has used up nothing.
func (a *attacked) stolen(t *testing.T, owner url.Values, status int, code string, attempt url.Values) {
	t.Helper()
	if resp := a.token(attempt); resp.Status != status || resp.String("error") != code ||
		strings.Contains(resp.Body, "access_token") {
		t.Errorf("the attempt: %d %s", resp.Status, resp.Body)
	}
	if resp := a.token(owner); resp.Status != http.StatusOK || resp.String("access_token") == "" {
		t.Errorf("the owner afterwards: %d %s", resp.Status, resp.Body)
	}
}

// TestRefreshTokenOfAnotherClient: redeemed by another client, or without the secret of a confidential one (RFC 6749
// §6).
func TestRefreshTokenOfAnotherClient(t *testing.T) {
	a := newAttacked(t)
	for _, test := range []struct {
		name, owner string
		pairs       []string
		status      int
		code        string
	}{
		{"by another confidential client", "app", []string{"client_id", "rival"}, 400, "invalid_grant"},
		{"by a public client", "app", []string{"client_id", "spa", "client_secret", ""}, 400, "invalid_grant"},
		{"of a public client, by a confidential one", "spa",
			[]string{"client_id", "rival", "client_secret", secretOfApp}, 400, "invalid_grant"},
		{"of a public client, by another", "spa", []string{"client_id", "native"}, 400, "invalid_grant"},
		{"without the secret", "app", []string{"client_secret", ""}, 401, "invalid_client"},
		{"with a wrong secret", "app", []string{"client_secret", wrongSecret}, 401, "invalid_client"},
		{"by nobody", "app", []string{"client_secret", "", "client_id", ""}, 401, "invalid_client"},
		{"by a client that may not refresh", "app", []string{"client_id", "sync"}, 400, "unauthorized_client"},
	} {
		t.Run(test.name, func(t *testing.T) {
			a.t = t
			_, form := ofClient(test.owner)
			form.Set("grant_type", "refresh_token")
			form.Set("refresh_token", a.token(a.redemption(test.owner)).String("refresh_token"))
			a.stolen(t, form, test.status, test.code, changed(form, test.pairs...))
		})
	}
}

// TestStolenCode: redeemed by another client, or by who lacks what belongs to it (RFC 6749 §4.1.3, RFC 7636 §4.6).
func TestStolenCode(t *testing.T) {
	a := newAttacked(t)
	for _, test := range []struct {
		name, owner string
		pairs       []string
	}{
		{"with another client", "app", []string{"client_id", "rival"}},
		{"with a public client", "app", []string{"client_id", "spa", "client_secret", ""}},
		{"of a public client, with a confidential one", "spa", []string{"client_id", "app", "client_secret", secretOfApp}},
		{"with another redirect URI", "app", []string{"redirect_uri", "https://evil.example/cb"}},
		{"with almost the redirect URI", "app", []string{"redirect_uri", appRedirect + "/"}},
		{"without the redirect URI", "app", []string{"redirect_uri", ""}},
		{"with a wrong verifier", "app", []string{"code_verifier", strings.Repeat("w", 43)}},
		{"of a public client, with a wrong verifier", "spa", []string{"code_verifier", strings.Repeat("w", 43)}},
		{"with the challenge for a verifier", "app",
			[]string{"code_verifier", oauth2.S256ChallengeFromVerifier(rightVerifier)}},
		{"without a verifier", "app", []string{"code_verifier", ""}},
		{"of a public client, without a verifier", "spa", []string{"code_verifier", ""}},
	} {
		t.Run(test.name, func(t *testing.T) {
			a.t = t
			form := a.redemption(test.owner)
			a.stolen(t, form, 400, "invalid_grant", changed(form, test.pairs...))
		})
	}
	// A code without a challenge could be put into another's session; there is none (PKCE downgrade, RFC 9700 §4.8.2).
	for name, pairs := range map[string][]string{
		"PKCE downgrade, no challenge": {"code_challenge", "", "code_challenge_method", ""},
		"PKCE downgrade, plain":        {"code_challenge", rightVerifier, "code_challenge_method", "plain"},
	} {
		t.Run(name, func(t *testing.T) {
			a.t = t
			for _, client := range []string{"app", "spa"} {
				if told := a.answer("approve", client, pairs...); told.Get("error") != "invalid_request" || told.Has("code") {
					t.Errorf("%s is told %v", client, told)
				}
			}
		})
	}
}

// TestGrantThatTheClientMayNotUse, and a token of a client itself that would pass as a person's (RFC 9700 §4.15).
func TestGrantThatTheClientMayNotUse(t *testing.T) {
	a := newAttacked(t)
	for _, client := range []string{"app", "spa", "careless"} {
		t.Run(client+" using client_credentials", func(t *testing.T) {
			_, form := ofClient(client)
			form.Set("grant_type", "client_credentials")
			if resp := a.token(form); resp.Status != http.StatusBadRequest || resp.String("error") != "unauthorized_client" {
				t.Errorf("%d %s", resp.Status, resp.Body)
			}
		})
	}
	t.Run("a client of its own using a person's code", func(t *testing.T) {
		a.t = t
		form := a.redemption("app")
		a.stolen(t, form, 400, "unauthorized_client", changed(form, "client_id", "sync"))
	})
	t.Run("a client of its own passing as a person", func(t *testing.T) {
		token := a.Token("sync", secretOfApp, "read passport:manage")
		if resp := a.Get("/orders", token); resp.Status != http.StatusOK {
			t.Fatalf("its token: %d %s", resp.Status, resp.Body)
		}
		if told := a.upstream.Last().Header; told.Get("X-Passport-Subject") != "sync" ||
			told.Get("X-Passport-Client") != "sync" || told.Values("X-Passport-Username") != nil {
			t.Errorf("the upstream was told %v", told)
		}
		if resp := a.Get("/people", token); resp.Status != http.StatusForbidden {
			t.Errorf("where people are wanted: %d %s", resp.Status, resp.Body)
		}
		for _, path := range []string{"/oauth/tokens", "/oauth/personal-access-tokens", "/oauth/clients"} {
			if resp := a.Get(path, token); resp.Status != http.StatusUnauthorized && resp.Status != http.StatusForbidden {
				t.Errorf("%s: %d %s", path, resp.Status, resp.Body)
			}
		}
	})
}

// TestTellingUsersAndClientsApart: neither a message nor a time tells whether there is somebody, or a client; and a
// client learns and ends nothing of another's token (RFC 7009 §2.1, RFC 7662 §4).
func TestTellingUsersAndClientsApart(t *testing.T) {
	a := newAttacked(t)
	t.Run("clients by a message", func(t *testing.T) {
		for _, path := range []string{"/oauth/token", "/oauth/revoke", "/oauth/introspect"} {
			form := url.Values{"grant_type": {"client_credentials"}, "token": {"x"}}
			known, unknown := a.Form(path, "rival", wrongSecret, form), a.Form(path, "nobody", wrongSecret, form)
			for _, resp := range []gateway.Response{known, unknown} {
				resp.Header.Del("Date")
			}
			if known.Status != http.StatusUnauthorized || known.Status != unknown.Status || known.Body != unknown.Body ||
				fmt.Sprint(known.Header) != fmt.Sprint(unknown.Header) {
				t.Errorf("%s:\n%+v\n%+v", path, known, unknown)
			}
		}
	})
	t.Run("users by a message or by time", func(t *testing.T) {
		pages, took := make(map[string]string), make(map[string]time.Duration)
		for range 4 { // which cost nothing
			for _, name := range []string{"ada", "eve"} {
				b := a.Browser()
				form := b.Open("/oauth/login").Form("username", name, "password", guessedWrong)
				begin := time.Now()
				page := b.Send("/oauth/login", form)
				if d := time.Since(begin); took[name] == 0 || d < took[name] {
					took[name] = d
				}
				if page.Status != http.StatusUnauthorized {
					t.Fatalf("%s: %d %s", name, page.Status, page.Body)
				}
				for field := range form {
					if field != "username" {
						page.Body = strings.ReplaceAll(page.Body, form.Get(field), "")
					}
				}
				pages[name] = strings.ReplaceAll(page.Body, name, "")
			}
		}
		if pages["ada"] != pages["eve"] {
			t.Errorf("the pages differ:\n%s\n%s", pages["ada"], pages["eve"])
		}
		if took["eve"] < took["ada"]/4 { // a password that is not hashed takes a tenth
			t.Errorf("eve, who is nobody, is refused after %s, and ada after %s", took["eve"], took["ada"])
		}
	})
	t.Run("a client that revokes or introspects another's token", func(t *testing.T) {
		a.t = t
		given := a.token(a.redemption("app"))
		for _, token := range []string{given.String("access_token"), given.String("refresh_token")} {
			form := url.Values{"token": {token}}
			if resp := a.Form("/oauth/introspect", "rival", secretOfApp, form); resp.Status != http.StatusOK ||
				strings.TrimSpace(resp.Body) != `{"active":false}` {
				t.Errorf("introspecting: %d %s", resp.Status, resp.Body)
			}
			if resp := a.Form("/oauth/revoke", "rival", secretOfApp, form); resp.Status != http.StatusOK {
				t.Errorf("revoking: %d %s", resp.Status, resp.Body)
			}
		}
		if resp := a.Get("/orders", given.String("access_token")); resp.Status != http.StatusOK {
			t.Errorf("the access token afterwards: %d %s", resp.Status, resp.Body)
		}
		_, form := ofClient("app")
		form.Set("grant_type", "refresh_token")
		form.Set("refresh_token", given.String("refresh_token"))
		if resp := a.token(form); resp.Status != http.StatusOK {
			t.Errorf("the refresh token afterwards: %d %s", resp.Status, resp.Body)
		}
	})
}

// posts sends a form as the browser would, and does not follow where that leads.
func (a *attacked) posts(b *gateway.Browser, path string, form url.Values) gateway.Response {
	a.t.Helper()
	req := a.Request(http.MethodPost, path, form.Encode())
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Origin", a.URL)
	for _, name := range []string{"passport_form", "passport_session"} {
		if value := b.Cookie(name); value != "" {
			req.AddCookie(&http.Cookie{Name: name, Value: value})
		}
	}
	return a.Do(req)
}

// TestPasswordSentOnByARedirect: after a form with a password, and after the consent, the browser is led on by 303, by
// which it sends no form again as it would after 307 (RFC 9700 §4.12).
func TestPasswordSentOnByARedirect(t *testing.T) {
	a := newAttacked(t)
	for _, back := range []string{"/orders", authorization()} {
		b := a.Browser()
		page := b.Open("/oauth/login?" + url.Values{"return": {back}}.Encode())
		resp := a.posts(b, "/oauth/login", page.Form("username", "ada", "password", adasPassword))
		for _, c := range (&http.Response{Header: resp.Header}).Cookies() {
			a.Secret(c.Value)
		}
		if resp.Status != http.StatusSeeOther || resp.Header.Get("Location") == "" ||
			strings.Contains(resp.Header.Get("Location"), "password") || resp.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("signed in, to go on to %s: %d %v", back, resp.Status, resp.Header)
		}
	}
	for _, decision := range []string{"approve", "deny"} {
		page := a.browser.Open(authorization("client_id", "rival", "prompt", "consent"))
		resp := a.posts(a.browser, "/oauth/authorize", page.Form("decision", decision))
		if resp.Status != http.StatusSeeOther || !strings.HasPrefix(resp.Header.Get("Location"), appRedirect+"?") ||
			resp.Header.Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("%s: %d %v", decision, resp.Status, resp.Header)
		}
		if to, err := url.Parse(resp.Header.Get("Location")); err == nil && to.Query().Has("code") {
			a.Secret(to.Query().Get("code"))
		}
	}
}

// TestMixUp: a client that speaks to more than one issuer sees whose answer it has, refusals included (RFC 9207 §2).
func TestMixUp(t *testing.T) {
	a := newAttacked(t)
	for _, test := range []struct {
		name, decision, want string
		pairs                []string
	}{
		{"a code", "approve", "", nil},
		{"denied", "deny", "access_denied", []string{"prompt", "consent"}},
		{"an unknown scope", "", "invalid_scope", []string{"scope", "fly"}},
		{"another response type", "", "unsupported_response_type", []string{"response_type", "id_token"}},
		{"no challenge", "", "invalid_request", []string{"code_challenge", "", "code_challenge_method", ""}},
		{"not without asking", "", "consent_required", []string{"prompt", "none", "client_id", "rival"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			a.t = t
			told := a.answer(test.decision, "app", test.pairs...)
			if told.Get("iss") != a.URL || told.Get("state") != "s" || told.Get("error") != test.want ||
				told.Has("code") != (test.want == "") {
				t.Errorf("told %v", told)
			}
		})
	}
	resp := a.Get("/.well-known/oauth-authorization-server", "")
	if resp.JSON()["authorization_response_iss_parameter_supported"] != true || resp.String("issuer") != a.URL {
		t.Errorf("the metadata: %d %s", resp.Status, resp.Body)
	}
	for _, decision := range []string{"approve", "deny"} { // where the answer is a form
		page := a.browser.Open(authorization("response_mode", "form_post", "prompt", "consent"))
		page = a.browser.Send("/oauth/authorize", page.Form("decision", decision))
		form := page.Form()
		a.Secret(form.Get("code"))
		if page.Status != http.StatusOK || form.Get("iss") != a.URL || form.Has("code") == form.Has("error") {
			t.Errorf("by a form, %s: %d %s", decision, page.Status, page.Body)
		}
	}
}

// TestConsentPageThatHidesWhereTheCodeGoes: it names the whole host that the redirect leads to, and warns when that is
// on the person's own computer, where any program may listen.
func TestConsentPageThatHidesWhereTheCodeGoes(t *testing.T) {
	a := newAttacked(t)
	for client, test := range map[string]struct {
		host string
		warn bool
	}{
		"app":       {"app.example", false},
		"spa":       {"app.example", false},
		"lookalike": {"accounts.example.com.app.evil.example:8443", false},
		"native":    {"127.0.0.1:49152", true},
		"desktop":   {"com.example.app:", true},
	} {
		t.Run(client, func(t *testing.T) {
			asks, _ := ofClient(client)
			page := a.browser.Open(authorization(append(asks, "prompt", "consent")...))
			if page.Status != http.StatusOK || !strings.Contains(page.Body, "<code><bdi>"+test.host+"</bdi></code>") {
				t.Errorf("it does not name %s: %d %s", test.host, page.Status, page.Body)
			}
			warns := strings.Contains(page.Body, "This app runs on your own computer.") &&
				strings.Contains(page.Body, `class="warning"`)
			if warns != test.warn {
				t.Errorf("it warns: %t, %s", warns, page.Body)
			}
		})
	}
}
