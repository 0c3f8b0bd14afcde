// Package browser lets a person go through the pages in a real browser: typing, clicking and reading.
package browser

import (
	"context"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"golang.org/x/oauth2"

	"github.com/oauth2-passport/caddy-passport/tests/internal/gateway"
)

const (
	password = "correct horse battery staple"
	appID    = "shop"
)

const caddyfile = `{
	default_bind 127.0.0.1
	passport {
		issuer http://localhost:{$PORT}
		scope read "See your orders"
		scope write "Place and change orders"
		scope admin "Everything" {
			restricted
		}
		brand "Orders"
		client shop {
			name "Corner shop"
			public
			grants authorization_code refresh_token device_code
			redirect_uris http://127.0.0.1/cb https://shop.example/cb
		}
		client till {
			name "Our own till"
			secret a-secret-of-at-least-thirty-two-characters
			first_party
			redirect_uris {env.APP}/cb
			grants authorization_code
		}
		client books {
			name "Book keeping"
			secret a-secret-of-at-least-thirty-two-characters
			redirect_uris {env.APP}/cb
			grants authorization_code
		}
	}
}

http://localhost:{$PORT} {
	passport_server
	passport_auth /api/* scopes read
	passport_auth /desk* {
		session
	}
	route /desk/moved {
		passport_auth {
			session
		}
		redir {$ELSEWHERE}/moved
	}
	respond /api/* "orders of {passport.username}"
	respond /desk* "the desk of {passport.username}"
}
`

// app is an app that sends people to the issuer, and to which they come back.
type app struct {
	*httptest.Server
	answers chan url.Values
	onward  atomic.Value // string: where the callback sends people on; empty: it shows a page
}

func newApp(t *testing.T) *app {
	a := &app{answers: make(chan url.Values, 10)}
	a.onward.Store("")
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/cb" {
			http.NotFound(w, r)
			return
		}
		_ = r.ParseForm()
		a.answers <- r.Form
		if onward := a.onward.Load().(string); onward != "" {
			http.Redirect(w, r, onward, http.StatusFound)
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, `<!doctype html><html lang="en"><title>app</title><main><h1>Back in the app</h1></main>`)
	}))
	t.Cleanup(a.Close)
	return a
}

// answer is what the app was sent back with.
func (a *app) answer(t *testing.T) url.Values {
	t.Helper()
	select {
	case values := <-a.answers:
		return values
	case <-time.After(patience):
		t.Fatal("nobody comes back to the app")
		return nil
	}
}

// newElsewhere is a host of the app's beside the one of its callback. It is another site to a browser, too: localhost
// is not 127.0.0.1.
func newElsewhere(t *testing.T) string {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, `<!doctype html><html lang="en"><title>app</title><main><h1>Arrived at `+
			html.EscapeString(r.URL.Path)+`</h1></main>`)
	}))
	t.Cleanup(server.Close)
	return strings.Replace(server.URL, "127.0.0.1", "localhost", 1)
}

// site is a gateway with a person, an app and a browser.
type site struct {
	*chrome
	gateway   *gateway.Gateway
	app       *app
	elsewhere string
	url       string
	config    oauth2.Config
}

func newSite(t *testing.T, options ...chromedp.ExecAllocatorOption) *site {
	t.Helper()
	s := &site{app: newApp(t), elsewhere: newElsewhere(t)}
	s.gateway = gateway.Start(t, caddyfile, "APP="+s.app.URL, "ELSEWHERE="+s.elsewhere)
	s.url = "http://localhost:" + s.gateway.Port
	cmd := s.gateway.Command("passport", "user", "create", "ann", "--email", "ann@example.com", "--password-stdin")
	cmd.Stdin = strings.NewReader(password + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("creating a person: %v\n%s", err, out)
	}
	s.gateway.Secret(password)
	s.chrome = newChrome(t, options...)
	t.Cleanup(func() { // of every page that the test has come to
		s.weighs(60_000, s.url, s.app.URL, s.elsewhere)
	})
	s.config = oauth2.Config{
		ClientID: appID, RedirectURL: s.app.URL + "/cb", Scopes: []string{"read", "write"},
		Endpoint: oauth2.Endpoint{
			AuthURL: s.url + "/oauth/authorize", TokenURL: s.url + "/oauth/token",
			DeviceAuthURL: s.url + "/oauth/device/code", AuthStyle: oauth2.AuthStyleInParams,
		},
	}
	return s
}

// authorize sends the person from the app to the issuer, and returns the verifier.
func (s *site) authorize(options ...oauth2.AuthCodeOption) (verifier string) {
	s.Helper()
	verifier = oauth2.GenerateVerifier()
	s.open(s.config.AuthCodeURL("a state", append(options, oauth2.S256ChallengeOption(verifier))...))
	return verifier
}

// redeem is what the app does when the person comes back.
func (s *site) redeem(verifier string) *oauth2.Token {
	s.Helper()
	answer := s.app.answer(s.T)
	if answer.Get("state") != "a state" || answer.Get("iss") != s.url || answer.Get("error") != "" {
		s.Fatalf("the app gets %v", answer)
	}
	token, err := s.config.Exchange(s.T.Context(), answer.Get("code"), oauth2.VerifierOption(verifier))
	if err != nil {
		s.Fatal(err)
	}
	s.gateway.Secret(answer.Get("code"))
	s.gateway.Secret(token.AccessToken)
	return token
}

// calls asks the API as the app does.
func (s *site) calls(token string, status int) {
	s.Helper()
	req := s.gateway.Request(http.MethodGet, "/api/orders", "")
	req.Host = "localhost:" + s.gateway.Port
	req.Header.Set("Authorization", "Bearer "+token)
	resp := s.gateway.Do(req)
	if resp.Status != status || status == http.StatusOK && resp.Body != "orders of ann" {
		s.Errorf("the API answers %d %s, want %d", resp.Status, resp.Body, status)
	}
}

// TestPersonSignsInAndAuthorizesAnApp is the whole way: the app, sign-in with a mistake, consent, the app, its calls in
// the person's name, a refresh; then the person takes the access back.
func TestPersonSignsInAndAuthorizesAnApp(t *testing.T) {
	s := newSite(t)
	verifier := s.authorize()
	s.sees("Sign in to go on to Corner shop")
	s.look("login")
	s.signsIn("ann", "wrong")
	s.sees("The username or the password is wrong.")
	s.look("login-wrong")
	s.signsIn("ANN@example.com", password)
	s.sees("Give Corner shop access to your account?")
	for _, words := range []string{"See your orders", "Place and change orders", "This app runs on your own computer."} {
		s.sees(words)
	}
	s.look("consent")
	s.presses("Authorize")
	s.sees("Back in the app")
	token := s.redeem(verifier)
	s.calls(token.AccessToken, http.StatusOK)

	t.Run("refresh", func(t *testing.T) {
		token.Expiry = time.Now().Add(-time.Hour)
		next, err := s.config.TokenSource(t.Context(), token).Token()
		if err != nil || next.RefreshToken == token.RefreshToken {
			t.Fatalf("refreshing: %v", err)
		}
		token = next
		s.calls(token.AccessToken, http.StatusOK)
	})
	t.Run("an app on the person's own computer is asked about each time", func(*testing.T) {
		verifier := s.authorize()
		s.presses("Authorize")
		s.sees("Back in the app")
		s.redeem(verifier)
	})
	t.Run("account", func(*testing.T) {
		s.open(s.url + "/oauth/account")
		s.sees("Corner shop")
		s.look("account")
		s.presses("Disconnect")
		s.sees("The app is disconnected.")
		s.calls(token.AccessToken, http.StatusUnauthorized)
		if _, err := s.config.TokenSource(t.Context(),
			&oauth2.Token{RefreshToken: token.RefreshToken}).Token(); err == nil {
			t.Error("the refresh token is still good")
		}
	})
	t.Run("deny", func(*testing.T) {
		s.authorize()
		s.presses("Deny")
		s.sees("Back in the app")
		if answer := s.app.answer(t); answer.Get("error") != "access_denied" || answer.Get("iss") != s.url {
			t.Errorf("the app gets %v", answer)
		}
	})
	t.Run("form_post", func(*testing.T) {
		verifier := s.authorize(oauth2.SetAuthURLParam("response_mode", "form_post"))
		s.sees("Authorize")
		s.presses("Authorize")
		s.sees("One more step")
		s.look("form-post")
		s.run("going on", chromedp.Click(`//button`))
		s.sees("Back in the app")
		s.redeem(verifier)
	})
	t.Run("sign out", func(*testing.T) {
		s.open(s.url + "/oauth/logout")
		s.look("logout")
		s.follows("Back to your account")
		s.sees("Where you are signed in")
		s.open(s.url + "/oauth/logout")
		s.presses("Sign out")
		s.sees("You are signed out")
		s.look("signed-out")
		s.open(s.url + "/oauth/account")
		s.sees("Username or email")
	})
}

// TestPersonUsesTheAccountPage makes and revokes a personal access token, registers an app, changes the password.
func TestPersonUsesTheAccountPage(t *testing.T) {
	s := newSite(t)
	s.open(s.url + "/oauth/account")
	s.signsIn("ann", password)
	s.sees("Your account")

	s.run("naming the token", chromedp.SendKeys(`#token-name`, "laptop"))
	s.ticks(`//input[@name="scopes" and @value="read"]`)
	s.presses("Create token")
	s.sees("The token is ready.")
	s.look("account-token")
	token := ask(s.chrome, "copying the token", chromedp.Text(`#new-token`))
	if !strings.HasPrefix(token, "passport_pat_") || strings.Contains(s.address(), "passport_pat") {
		t.Fatalf("the token is %q, at %s", token, s.address())
	}
	s.gateway.Secret(token)
	s.calls(token, http.StatusOK)
	s.open(s.url + "/oauth/account")
	if strings.Contains(s.text(), token) {
		t.Error("the token is shown again")
	}
	s.sees("laptop")
	s.presses("Revoke")
	s.sees("The token is revoked.")
	s.calls(token, http.StatusUnauthorized)

	s.run("naming a token without permissions", chromedp.SendKeys(`#token-name`, "badge"))
	s.presses("Create token")
	s.sees("No permissions: it only says who you are.")

	register := chromedp.Click(`//form[@aria-labelledby="new-client-title"]//button`)
	s.run("naming an app", chromedp.SendKeys(`#client-name`, "My script"),
		chromedp.SendKeys(`#client-redirect`, "http://script.example/cb"))
	s.run("registering it", register)
	s.sees("http://script.example/cb cannot be used: it has to begin with https://")
	s.look("account-client-http")
	s.run("registering it by TLS", chromedp.Clear(`#client-redirect`),
		chromedp.SendKeys(`#client-redirect`, "https://script.example/cb"), register)
	s.sees("The app is registered.")
	s.sees("My script")
	s.look("account-client")

	s.types("Current password", password)
	s.types("New password", "another password of mine")
	s.presses("Change password")
	s.sees("The password is changed.")
	s.open(s.url + "/oauth/logout")
	s.presses("Sign out")
	s.sees("You are signed out")
	s.open(s.url + "/oauth/account")
	s.signsIn("ann", password)
	s.sees("The username or the password is wrong.")
	s.signsIn("ann", "another password of mine")
	s.sees("Your account")
}

// TestPersonConnectsADevice types the code that a device shows.
func TestPersonConnectsADevice(t *testing.T) {
	s := newSite(t)
	device, err := s.config.DeviceAuth(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.open(device.VerificationURI)
	s.signsIn("ann", password)
	s.sees("Enter the code that the device or the app shows.")
	s.look("device")
	s.types("Code", "bcdfghjk")
	s.presses("Continue")
	s.sees("This code is not known.")
	s.look("device-unknown")
	s.types("Code", strings.ToLower(strings.ReplaceAll(device.UserCode, "-", "")))
	s.presses("Continue")
	s.sees("Does your device show " + device.UserCode)
	s.look("device-confirm")
	s.presses("Authorize")
	s.sees("The device is connected")
	s.look("device-done")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	token, err := s.config.DeviceAccessToken(ctx, device)
	if err != nil {
		t.Fatal(err)
	}
	s.calls(token.AccessToken, http.StatusOK)

	device, err = s.config.DeviceAuth(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.open(device.VerificationURIComplete) // the code is there already, and still is the person's to compare
	s.sees("Does your device show this code?")
	s.look("device-filled")
	s.presses("Continue")
	s.presses("Deny")
	s.sees("The device was not connected")
	s.look("device-denied")
	s.follows("Your account")
	s.sees("Connected since") // the app on the first device
	if _, err := s.config.DeviceAccessToken(ctx, device); err == nil || !strings.Contains(err.Error(), "access_denied") {
		t.Errorf("the device gets %v", err)
	}
}

// TestPersonUsesAWebAppWithoutTokens opens a page of the legacy application, is sent to sign in and back.
func TestPersonUsesAWebAppWithoutTokens(t *testing.T) {
	s := newSite(t)
	s.open(s.url + "/desk/drawer?n=1")
	s.signsIn("ann", password)
	s.sees("the desk of ann")
	if got, want := s.address(), s.url+"/desk/drawer?n=1"; got != want {
		t.Errorf("the person is at %s, want %s", got, want)
	}
}

// TestFirstPartyAppNeedsNoConsent goes straight back to the app.
func TestFirstPartyAppNeedsNoConsent(t *testing.T) {
	s := newSite(t)
	s.config.ClientID, s.config.ClientSecret = "till", "a-secret-of-at-least-thirty-two-characters"
	verifier := s.authorize()
	s.signsIn("ann", password)
	s.sees("Back in the app")
	s.redeem(verifier)
}

// TestCallbackThatGoesOnToAnotherOrigin: an app's callback may well redirect, to another host of the app or to a scheme
// that its native part listens to. Chromium holds all of that against the form-action of the page whose form began it (CSP3).
func TestCallbackThatGoesOnToAnotherOrigin(t *testing.T) {
	s := newSite(t)
	s.app.onward.Store(s.elsewhere + "/shop")
	arrives := func(verifier string) {
		t.Helper()
		s.sees("Arrived at /shop")
		s.redeem(verifier)
	}
	signOut := func() {
		t.Helper()
		s.open(s.url + "/oauth/logout")
		s.presses("Sign out")
		s.sees("You are signed out")
	}
	s.config.ClientID, s.config.ClientSecret = "books", "a-secret-of-at-least-thirty-two-characters"
	verifier := s.authorize()
	s.signsIn("ann", password)
	s.presses("Authorize")
	arrives(verifier) // after consent

	verifier = s.authorize(oauth2.SetAuthURLParam("response_mode", "form_post"))
	s.sees("One more step")
	s.presses("Continue")
	arrives(verifier)

	signOut()
	verifier = s.authorize()
	s.signsIn("ann", password)
	arrives(verifier) // after sign-in, for the consent is remembered

	signOut()
	s.config.ClientID = "till"
	verifier = s.authorize()
	s.signsIn("ann", password)
	arrives(verifier) // after sign-in, for the client is of the first party

	signOut()
	s.open(s.url + "/desk/moved")
	s.signsIn("ann", password)
	s.sees("Arrived at /moved")

	s.open(s.url + "/oauth/logout?return=/desk/moved") // which asks who comes to sign in again
	s.presses("Sign out")
	s.signsIn("ann", password)
	s.sees("Arrived at /moved")

	s.config.ClientID, s.config.ClientSecret = appID, ""
	s.app.onward.Store("com.example.shop:/done")
	verifier = s.authorize()
	s.presses("Authorize")
	s.redeem(verifier)
	s.goesTo("com.example.shop:/done")
}

// TestFaultsThatMustNotRedirect stay on a page of the issuer.
func TestFaultsThatMustNotRedirect(t *testing.T) {
	s := newSite(t)
	s.open(s.url + "/oauth/authorize?client_id=nobody&response_type=code")
	s.look("fault")
	s.open(s.url + "/oauth/authorize?client_id=shop&response_type=code&redirect_uri=https://evil.example/cb")
	if !strings.HasPrefix(s.address(), s.url) {
		t.Errorf("the person is at %s", s.address())
	}
}

// TestPagesWorkWithoutScript goes through the whole flow with JavaScript switched off.
func TestPagesWorkWithoutScript(t *testing.T) {
	s := newSite(t, chromedp.Flag("blink-settings", "scriptEnabled=false"))
	verifier := s.authorize()
	s.signsIn("ann", password)
	s.presses("Authorize")
	s.redeem(verifier)
}

// TestGermanPages are read by somebody whose browser prefers German.
func TestGermanPages(t *testing.T) {
	s := newSite(t, chromedp.Flag("accept-lang", "de-DE"), chromedp.Flag("lang", "de-DE"))
	s.authorize()
	s.sees("Anmelden")
	s.look("login-german")
	lang := ask(s.chrome, "the language", chromedp.Evaluate[string](`document.documentElement.lang`))
	if lang != "de" {
		t.Errorf("the page is in %q", lang)
	}
	s.types("Benutzername oder E-Mail-Adresse", "ann")
	s.types("Passwort", password+"\r")
	s.sees("Zugriff")
	s.look("consent-german")
	s.open(s.url + "/oauth/account")
	s.sees("Ihr Konto")
	s.look("account-german")
	s.open(s.url + "/oauth/nowhere")
	s.sees("Hier ist nichts")
	s.look("not-found-german")
}

// TestScriptsOfASiteUseTheSession calls the JSON API from a page of the same site, as its own front end does.
func TestScriptsOfASiteUseTheSession(t *testing.T) {
	s := newSite(t)
	s.open(s.url + "/oauth/account")
	s.signsIn("ann", password)
	s.sees("Your account")
	s.open(s.url + "/desk")
	s.sees("the desk of ann")
	call := func(script string) (answer map[string]any) {
		t.Helper()
		text := ask(s.chrome, "calling the API", chromedp.Evaluate[string](script, chromedp.EvalAwaitPromise))
		if err := json.Unmarshal([]byte(text), &answer); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		return answer
	}
	const create = `fetch("/oauth/personal-access-tokens", {method: "POST",
		headers: {"Content-Type": "application/json", "Accept": "application/json"%s},
		body: JSON.stringify({name: "from a script", scopes: ["read"]})})
		.then(async r => JSON.stringify({status: r.status, body: await r.text()}))`
	if got := call(fmt.Sprintf(create, "")); got["status"] == float64(200) || got["status"] == float64(201) {
		t.Errorf("without the CSRF token: %v", got)
	}
	const token = `, "X-XSRF-TOKEN": decodeURIComponent(document.cookie.match(/XSRF-TOKEN=([^;]+)/)[1])`
	got := call(fmt.Sprintf(create, token))
	body, _ := got["body"].(string)
	if !strings.Contains(body, `"accessToken"`) {
		t.Errorf("with the CSRF token: %v", got)
	}
}
