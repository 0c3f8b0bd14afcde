package tests

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"
	"golang.org/x/oauth2"

	"github.com/oauth2-passport/caddy-passport/tests/internal/gateway"
)

const (
	adasPassword = "correct horse battery staple"
	secretOfApp  = "the-secret-of-the-app-of-these-tests"
	appRedirect  = "https://app.example/cb"
)

// appsSite is a gateway whose people use apps. Its access log shows the headers of answers.
const appsSite = `{
	default_bind 127.0.0.1
	passport {
		scope read "See your orders"
		scope write "Place and change orders"
		default_scopes read
		user ada {
			password_hash {env.ADA_HASH}
			email ada@example.com
		}
		user bob {
			password_hash {env.ADA_HASH}
			scopes read
		}
		client app {
			secret {env.APP_SECRET}
			grants authorization_code refresh_token device_code
			redirect_uris https://app.example/cb
		}
		client native {
			public
			redirect_uris http://127.0.0.1/cb
		}
		client tv {
			public
			grants device_code refresh_token
		}
	}
}

http://127.0.0.1:{$PORT} {
	log
	encode gzip
	passport_server
	passport_auth /orders* scopes read
	reverse_proxy {$UPSTREAM}
}
`

func startApps(t *testing.T) (*gateway.Gateway, *gateway.Upstream) {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(adasPassword), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	upstream := gateway.NewUpstream(t)
	g := gateway.Start(t, appsSite, "UPSTREAM="+upstream.Addr, "ADA_HASH="+string(hash), "APP_SECRET="+secretOfApp)
	g.Secret(secretOfApp)
	return g, upstream
}

// goClient is the OAuth client of the Go project, as the client of that ID.
func goClient(g *gateway.Gateway, id string) *oauth2.Config {
	config := &oauth2.Config{
		ClientID: id, Scopes: []string{"read", "write"},
		Endpoint: oauth2.Endpoint{
			AuthURL: g.URL + "/oauth/authorize", TokenURL: g.URL + "/oauth/token",
			DeviceAuthURL: g.URL + "/oauth/device/code",
		},
	}
	switch id {
	case "app":
		config.ClientSecret, config.RedirectURL = secretOfApp, appRedirect
	case "native":
		config.RedirectURL = "http://127.0.0.1:49152/cb" // the port that the system gave to the app
	}
	return config
}

// calls calls the API through the gateway, and returns what the upstream was told.
func calls(t *testing.T, client *http.Client, g *gateway.Gateway, upstream *gateway.Upstream) http.Header {
	t.Helper()
	resp, err := client.Get(g.URL + "/orders")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("calling: %d %s %v", resp.StatusCode, body, err)
	}
	return upstream.Last().Header
}

// TestCodeFlowOfTheGoClient goes the whole way with a client that nobody here wrote: a person is sent to the gateway,
// signs in, consents, and the app calls the API in the person's name, for as long as it refreshes its token.
func TestCodeFlowOfTheGoClient(t *testing.T) {
	g, upstream := startApps(t)
	for _, id := range []string{"app", "native"} {
		t.Run(id, func(t *testing.T) {
			config, verifier := goClient(g, id), oauth2.GenerateVerifier()
			browser := g.Browser()
			consent := browser.SignIn(browser.Open(config.AuthCodeURL("a state", oauth2.S256ChallengeOption(verifier))),
				"ada@example.com", adasPassword)
			for _, want := range []string{id, "See your orders", "Place and change orders", "ada"} {
				if !strings.Contains(consent.Body, want) {
					t.Errorf("the consent page does not say %q: %d %s", want, consent.Status, consent.Body)
				}
			}
			answer := browser.Send("/oauth/authorize", consent.Form("decision", "approve")).Left
			if answer == nil || !strings.HasPrefix(answer.String(), config.RedirectURL+"?") ||
				answer.Query().Get("state") != "a state" || answer.Query().Get("iss") != g.URL {
				t.Fatalf("the answer is %v", answer)
			}
			token, err := config.Exchange(t.Context(), answer.Query().Get("code"), oauth2.VerifierOption(verifier))
			if err != nil {
				t.Fatal(err)
			}
			g.Secret(token.AccessToken)
			g.Secret(token.RefreshToken)
			if token.Extra("scope") != "read write" || token.RefreshToken == "" {
				t.Errorf("the token's scope is %v", token.Extra("scope"))
			}
			told := calls(t, config.Client(t.Context(), token), g, upstream)
			if told.Get("X-Passport-Username") != "ada" || told.Get("X-Passport-Client") != id ||
				told.Get("X-Passport-Subject") == "" || told.Get("X-Passport-Scope") != "read write" {
				t.Errorf("the upstream was told %v", told)
			}

			over := *token
			over.AccessToken, over.Expiry = "", over.Expiry.AddDate(-1, 0, 0)
			fresh, err := config.TokenSource(t.Context(), &over).Token()
			if err != nil {
				t.Fatal(err)
			}
			g.Secret(fresh.AccessToken)
			g.Secret(fresh.RefreshToken)
			if fresh.RefreshToken == token.RefreshToken {
				t.Error("the refresh token is the one from before")
			}
			calls(t, config.Client(t.Context(), fresh), g, upstream)

			// The second time nobody is asked: the person is signed in and has consented. But whether it is the same app
			// that claims a port of the device now, nobody can tell.
			again := browser.Open(config.AuthCodeURL("2", oauth2.S256ChallengeOption(verifier)))
			if asked := again.Left == nil; asked != (id == "native") {
				t.Fatalf("asked again: %t, %d %s", asked, again.Status, again.Body)
			}
			if again.Left == nil {
				again = browser.Send("/oauth/authorize", again.Form("decision", "approve"))
			}
			if _, err := config.Exchange(t.Context(), again.Left.Query().Get("code"),
				oauth2.VerifierOption(oauth2.GenerateVerifier())); err == nil {
				t.Error("a code is good with another verifier")
			}
		})
	}
}

// TestDeviceFlowOfTheGoClient: a device shows a code, a person types it, the device gets its token.
func TestDeviceFlowOfTheGoClient(t *testing.T) {
	g, upstream := startApps(t)
	config := goClient(g, "tv")
	device, err := config.DeviceAuth(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	g.Secret(device.DeviceCode)
	browser := g.Browser()
	page := browser.SignIn(browser.Open(device.VerificationURIComplete), "bob", adasPassword)
	if !strings.Contains(page.Body, device.UserCode) {
		t.Fatalf("the code is not filled in: %d %s", page.Status, page.Body)
	}
	page = browser.Send("/oauth/device", page.Form("user_code", strings.ToLower(device.UserCode)))
	if !strings.Contains(page.Body, "See your orders") || strings.Contains(page.Body, "Place and change orders") {
		t.Errorf("bob is asked: %d %s", page.Status, page.Body)
	}
	page = browser.Send("/oauth/device", page.Form("decision", "approve"))
	if page.Status != http.StatusOK || page.Path != "/oauth/device?answer=approve" {
		t.Errorf("approved: %d %s", page.Status, page.Path)
	}
	token, err := config.DeviceAccessToken(t.Context(), device)
	if err != nil {
		t.Fatal(err)
	}
	g.Secret(token.AccessToken)
	g.Secret(token.RefreshToken)
	told := calls(t, config.Client(t.Context(), token), g, upstream)
	if told.Get("X-Passport-Username") != "bob" || told.Get("X-Passport-Scope") != "read" {
		t.Errorf("the upstream was told %v", told)
	}
}

// authorization is the path of a request of the app at the authorization endpoint; pairs change its parameters.
func authorization(pairs ...string) string {
	query := url.Values{
		"response_type": {"code"}, "client_id": {"app"}, "redirect_uri": {appRedirect}, "state": {"s"}, "scope": {"read"},
		"code_challenge": {oauth2.S256ChallengeFromVerifier(strings.Repeat("v", 43))}, "code_challenge_method": {"S256"},
	}
	for i := 0; i < len(pairs); i += 2 {
		query.Set(pairs[i], pairs[i+1])
	}
	return "/oauth/authorize?" + query.Encode()
}

// TestAppsAndPeopleUnderAttack tries over the wire what the tests of package issuer try at its handler.
func TestAppsAndPeopleUnderAttack(t *testing.T) {
	g, upstream := startApps(t)
	browser := g.Browser()
	browser.SignIn(browser.Open("/oauth/login"), "ada", adasPassword)
	fromElsewhere := func(path string, form url.Values) gateway.Page {
		req := g.Request(http.MethodPost, path, form.Encode())
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Origin", "https://evil.example")
		req.Header.Set("Sec-Fetch-Site", "cross-site")
		return browser.Do(req)
	}

	t.Run("redirect to elsewhere", func(t *testing.T) {
		for _, uri := range []string{"https://evil.example/cb", appRedirect + "/x", "javascript:alert(1)", "//app.example"} {
			if page := browser.Open(authorization("redirect_uri", uri)); page.Status != 400 || page.Left != nil {
				t.Errorf("%s: %d to %v", uri, page.Status, page.Left)
			}
		}
	})
	t.Run("open redirect of the sign-in", func(t *testing.T) {
		for _, back := range []string{"https://evil.example", "//evil.example", `/\evil.example`, "/%2f%2fevil.example"} {
			b := g.Browser()
			form := b.Open("/oauth/login").Form("username", "ada", "password", adasPassword, "return", back)
			if page := b.Send("/oauth/login", form); page.Left != nil || strings.Contains(page.Path, "evil") {
				t.Errorf("%s leads to %s %v", back, page.Path, page.Left)
			}
		}
	})
	t.Run("consent by another site", func(t *testing.T) {
		page := browser.Open(authorization())
		form := page.Form("decision", "approve")
		if got := fromElsewhere("/oauth/authorize", form); got.Status != http.StatusForbidden || got.Left != nil {
			t.Errorf("%d to %v", got.Status, got.Left)
		}
		policy := page.Header.Get("Content-Security-Policy")
		if !strings.Contains(policy, "frame-ancestors 'none'") || page.Header.Get("X-Frame-Options") != "DENY" ||
			page.Header.Get("Cache-Control") != "no-store" || strings.Contains(page.Body, "<script") {
			t.Errorf("the consent page can be framed or kept: %v", page.Header)
		}
		if got := browser.Send("/oauth/authorize", form); got.Left == nil {
			t.Errorf("the person's own answer: %d %s", got.Status, got.Body)
		}
		if got := browser.Send("/oauth/authorize", form); got.Left != nil || got.Status != http.StatusBadRequest {
			t.Errorf("the same answer again: %d to %v", got.Status, got.Left)
		}
	})
	t.Run("login by another site", func(t *testing.T) {
		form := browser.Open("/oauth/login?return=/").Form("username", "bob", "password", adasPassword)
		before := browser.Cookie("passport_session")
		if got := fromElsewhere("/oauth/login", form); got.Status != http.StatusForbidden ||
			browser.Cookie("passport_session") != before {
			t.Errorf("%d", got.Status)
		}
	})
	t.Run("the session cookie reaches nobody", func(t *testing.T) {
		if page := browser.Open("/open"); page.Status != http.StatusOK {
			t.Fatalf("%d", page.Status)
		}
		if got := upstream.Last().Header.Get("Cookie"); strings.Contains(got, "passport_session") {
			t.Errorf("the upstream received %q", got)
		}
	})
	t.Run("guessing", func(t *testing.T) {
		b := g.Browser()
		form := b.Open("/oauth/login").Form("username", "bob", "password", "wrong")
		for n := 1; ; n++ {
			page := b.Send("/oauth/login", form)
			if page.Status == http.StatusTooManyRequests {
				if n <= 5 || page.Header.Get("Retry-After") == "" {
					t.Errorf("at the %d. wrong password: %v", n, page.Header)
				}
				break
			}
			if n == 20 || page.Status != http.StatusUnauthorized {
				t.Fatalf("the %d. wrong password: %d", n, page.Status)
			}
		}
	})
	t.Run("sign-out", func(t *testing.T) {
		secret := browser.Cookie("passport_session")
		page := browser.Open("/oauth/logout")
		if got := fromElsewhere("/oauth/logout", page.Form()); got.Status != http.StatusForbidden {
			t.Errorf("by another site: %d", got.Status)
		}
		browser.Send("/oauth/logout", page.Form())
		req := g.Request(http.MethodGet, authorization(), "")
		req.AddCookie(&http.Cookie{Name: "passport_session", Value: secret})
		if got := g.Browser().Do(req); !strings.HasPrefix(got.Path, "/oauth/login") {
			t.Errorf("the session is alive: %s", got.Path)
		}
	})
}
