package tests

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/oauth2-passport/caddy-passport/issuer"
	"github.com/oauth2-passport/caddy-passport/tests/internal/gateway"
)

// Where the callers of these tests are, as trusted_proxies let it be seen.
const (
	personsAddress = "203.0.113.7"
	appsAddress    = "198.51.100.20"
	elsewhere      = "192.0.2.33"
	operators      = "127.0.0.1"
)

// auditedSite is the gateway of [operated], with people and their apps.
var auditedSite = strings.Replace(operated, "client demo {", `grants authorization_code refresh_token client_credentials \
			device_code personal_access password implicit
		refresh_grace 1s
		scope read "See your orders"
		scope write "Change your orders"
		user ada {
			password_hash {env.ADA_HASH}
		}
		client app {
			secret {env.APP_SECRET}
			grants authorization_code refresh_token device_code password
			redirect_uris https://app.example/cb
			scopes read write
		}
		client page {
			public
			grants implicit
			redirect_uris https://app.example/cb
			scopes read
		}
		client demo {`, 1)

// line is what a line of the audit log has beside its time, level, logger and issuer. A value that begins with $ is a
// name: it stands for the same something wherever the test has it.
type line map[string]string

// audited is a gateway whose audit log is held against what is done.
type audited struct {
	*testing.T
	g     *gateway.Gateway
	seen  int               // how many lines have been looked at
	msgs  map[string]bool   // of those lines
	names map[string]string // what the names stand for
}

// callersFrom sends requests as a proxy does that says where they come from.
type callersFrom struct {
	*http.Transport
	address string
}

func (c callersFrom) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("X-Forwarded-For", c.address)
	return c.Transport.RoundTrip(r)
}

// from lets requests come from an address, and those of browsers that are opened from now on.
func (a *audited) from(address string) {
	transport, ok := a.g.HTTP.Transport.(*http.Transport)
	if !ok {
		transport = a.g.HTTP.Transport.(callersFrom).Transport
	}
	a.g.HTTP.Transport = callersFrom{transport, address}
}

// browser is that of a person.
func (a *audited) browser() *gateway.Browser {
	a.from(personsAddress)
	return a.g.Browser()
}

// tells compares the lines that have been written since it was called last: they are there before the caller has its
// answer.
func (a *audited) tells(act string, want ...line) {
	a.Helper()
	lines := auditLines(a.T, a.g)
	fresh := lines[a.seen:]
	a.seen = len(lines)
	for _, got := range fresh {
		msg, _ := got["msg"].(string)
		a.msgs[msg] = true
	}
	if len(fresh) != len(want) {
		a.Errorf("%s: the log has %d lines more, want %d: %v", act, len(fresh), len(want), fresh)
		return
	}
	for i, got := range fresh {
		if got["logger"] != "passport.audit" || got["issuer"] != "default" || got["level"] != "info" || got["ts"] == nil {
			a.Errorf("%s: %v", act, got)
		}
		for _, name := range []string{"logger", "issuer", "level", "ts"} {
			delete(got, name)
		}
		if !slices.Equal(slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want[i]))) {
			a.Errorf("%s:\ngot  %v\nwant %v", act, got, want[i])
			continue
		}
		for field, value := range want[i] {
			if told := fmt.Sprint(got[field]); !a.is(value, told) {
				a.Errorf("%s: %s of %s is %q, want %q", act, field, want[i]["msg"], told, value)
			}
		}
	}
}

// is tells whether a value is what the test says, and keeps what a new name stands for.
func (a *audited) is(want, got string) bool {
	if !strings.HasPrefix(want, "$") {
		return got == want
	}
	if _, known := a.names[want]; !known && got != "" {
		a.names[want] = got
	}
	return got != "" && a.names[want] == got
}

// operator runs a command of the plugin and returns what it prints as JSON.
func (a *audited) operator(args ...string) map[string]any {
	a.Helper()
	out, faults, code := a.g.Caddy(append(append([]string{"passport"}, args...), "--json")...)
	var answer map[string]any
	if err := json.Unmarshal([]byte(out), &answer); code != 0 || err != nil {
		a.Fatalf("caddy passport %v: %d %v %s%s", args, code, err, out, faults)
	}
	for _, secret := range []string{"password", "access_token", "client_secret"} {
		if text, ok := answer[secret].(string); ok {
			a.g.Secret(text)
		}
	}
	return answer
}

// app posts a form as the client app does.
func (a *audited) app(status int, path string, pairs ...string) gateway.Response {
	a.Helper()
	a.from(appsAddress)
	form := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	resp := a.g.Form(path, "app", secretOfApp, form)
	if resp.Status != status {
		a.Fatalf("%s %v: %d %s", path, pairs, resp.Status, resp.Body)
	}
	for _, secret := range []string{"access_token", "refresh_token", "device_code"} {
		a.g.Secret(resp.String(secret))
	}
	return resp
}

// redeems hands in a code.
func (a *audited) redeems(status int, code string) gateway.Response {
	a.Helper()
	return a.app(status, "/oauth/token", "grant_type", "authorization_code", "code", code, "redirect_uri", appRedirect,
		"code_verifier", strings.Repeat("v", 43))
}

// refreshes hands in a refresh token and returns the next one.
func (a *audited) refreshes(status int, token string) string {
	a.Helper()
	return a.app(status, "/oauth/token", "grant_type", "refresh_token", "refresh_token", token).String("refresh_token")
}

// connects lets the app get its tokens for a person who is signed in, and who is asked when it has to be. The names of
// the log's family and token end with that suffix.
func (a *audited) connects(b *gateway.Browser, person, suffix string, asked bool) gateway.Response {
	a.Helper()
	page := b.Open(authorization())
	if asked {
		page = b.Send("/oauth/authorize", page.Form("decision", "approve"))
	}
	if page.Left == nil || page.Left.Query().Get("code") == "" {
		a.Fatalf("no code: %d %s %v", page.Status, page.Path, page.Left)
	}
	a.tells("a person lets an app act", byPerson("authorization_granted", "client_id", "app", "user_id", person,
		"grant_type", "authorization_code", "scope", "read"))
	a.names["$code"] = page.Left.Query().Get("code")
	resp := a.redeems(200, a.names["$code"])
	a.tells("an app gets its tokens", a.gift(person, suffix, "authorization_code")...)
	return resp
}

// gift are the lines of an access token and a refresh token that the app gets in a person's name.
func (a *audited) gift(person, suffix, grant string) []line {
	return []line{
		{"msg": "access_token_created", "actor": "user", "remote_ip": appsAddress, "client_id": "app", "user_id": person,
			"jti": "$token" + suffix, "family_id": "$family" + suffix, "grant_type": grant, "scope": "read"},
		{"msg": "refresh_token_created", "actor": "user", "remote_ip": appsAddress, "client_id": "app", "user_id": person,
			"family_id": "$family" + suffix, "grant_type": grant},
	}
}

// tokenRefused is the line of a request at the token endpoint that gives nothing: who it says it is, and no more.
func tokenRefused(grant, code string) line {
	return line{"msg": "access_token_refused", "actor": "client", "remote_ip": appsAddress, "client_id": "app",
		"grant_type": grant, "error": code}
}

// byPerson is the line of an act of a person in a browser; pairs are what else it has.
func byPerson(msg string, pairs ...string) line {
	return with(line{"msg": msg, "actor": "user", "remote_ip": personsAddress}, pairs)
}

// byOperator is the line of an act of the operator.
func byOperator(msg string, pairs ...string) line {
	return with(line{"msg": msg, "actor": "operator", "remote_ip": operators}, pairs)
}

func with(l line, pairs []string) line {
	for i := 0; i < len(pairs); i += 2 {
		l[pairs[i]] = pairs[i+1]
	}
	return l
}

// TestAuditOfPeople does all that people, their apps and operators do that is security-relevant, over the wire, and
// holds the lines of the audit log against it, field by field. There is none that it has not seen.
func TestAuditOfPeople(t *testing.T) {
	hash, err := bcrypt.GenerateFromPassword([]byte(adasPassword), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	upstream := gateway.NewUpstream(t)
	g := gateway.Start(t, auditedSite, "UPSTREAM="+upstream.Addr, "DEMO_SECRET="+demoSecret, "ADA_HASH="+string(hash),
		"APP_SECRET="+secretOfApp)
	a := &audited{T: t, g: g, msgs: make(map[string]bool), names: make(map[string]string)}
	for _, secret := range []string{adasPassword, secretOfApp, demoSecret, string(hash)} {
		g.Secret(secret)
	}

	eve, password := a.account()
	browser := a.signsIn(eve, password)
	a.consents(browser, eve)
	a.implicitly(browser, eve)
	a.reuses(browser, eve)
	a.takesBack(browser, eve)
	a.devices(browser, eve)
	a.passwordGrant(eve, password)
	a.personalTokens(browser, eve)
	a.ownClients(browser, eve)
	a.sessions(browser, eve, password)
	a.clientsOfOperator()
	a.endOfAccount(eve)
	a.guesses()
	a.operations()

	var unseen []string
	for _, what := range issuer.EventTypes() {
		if !a.msgs[string(what)] {
			unseen = append(unseen, string(what))
		}
		delete(a.msgs, string(what))
	}
	if len(unseen) > 0 {
		t.Errorf("nothing in this test makes the log say %v", unseen)
	}
	if len(a.msgs) > 0 {
		t.Errorf("the log says what is none of issuer.EventTypes(): %v", slices.Sorted(maps.Keys(a.msgs)))
	}
}

// account makes the account of a person.
func (a *audited) account() (id, password string) {
	made := a.operator("user", "create", "eve", "--email", "eve@example.com")
	id, _ = made["sub"].(string)
	password, _ = made["password"].(string)
	a.tells("an account is made", byOperator("user_created", "user_id", id))
	a.operator("user", "update", "eve", "--name", "Eve")
	a.tells("an account is changed", byOperator("user_updated", "user_id", id))
	return id, password
}

// signsIn fails to sign in in each way, and then does.
func (a *audited) signsIn(eve, password string) *gateway.Browser {
	browser := a.browser()
	try := func(name, password string) {
		browser.SignIn(browser.Open("/oauth/login"), name, password)
	}
	try("nobody-of-that-name", "a wrong password that is long enough")
	a.tells("nobody signs in", byPerson("sign_in_failed", "error", "wrong_login"))
	try("eve", "a wrong password that is long enough")
	a.tells("a wrong password", byPerson("sign_in_failed", "user_id", eve, "error", "wrong_login"))
	try("eve@example.com", password)
	a.tells("a person signs in", byPerson("sign_in_succeeded", "user_id", eve))

	other := a.browser()
	other.SignIn(other.Open("/oauth/login"), "ada", adasPassword)
	a.tells("a person of the config signs in", byPerson("sign_in_succeeded", "user_id", "$ada"))
	other = a.browser()
	other.SignIn(other.Open("/oauth/login"), "ada", "a wrong password that is long enough")
	a.tells("a wrong password for a person of the config",
		byPerson("sign_in_failed", "user_id", "$ada", "error", "wrong_login"))
	return browser
}

// consents says no and yes to an app, and asks what cannot be asked.
func (a *audited) consents(browser *gateway.Browser, eve string) {
	page := browser.Open(authorization())
	a.tells("a person is asked")
	browser.Send("/oauth/authorize", page.Form("decision", "deny"))
	a.tells("a person says no", byPerson("authorization_refused", "client_id", "app", "user_id", eve,
		"grant_type", "authorization_code", "error", "access_denied"))
	browser.Open(authorization("redirect_uri", "https://evil.example/cb"))
	a.tells("an answer is to go elsewhere", line{"msg": "authorization_refused", "actor": "client",
		"remote_ip": personsAddress, "client_id": "app", "error": "invalid_request"})

	a.connects(browser, eve, " of eve", true)
	a.redeems(400, a.names["$code"])
	a.tells("a code is used twice", line{"msg": "code_reused", "actor": "user", "remote_ip": appsAddress,
		"client_id": "app", "user_id": eve, "family_id": "$family of eve", "grant_type": "authorization_code",
		"error": "invalid_grant"}, tokenRefused("authorization_code", "invalid_grant"))
}

// implicitly lets an app in a page have a token by the browser.
func (a *audited) implicitly(browser *gateway.Browser, eve string) {
	page := browser.Open(authorization("client_id", "page", "response_type", "token"))
	page = browser.Send("/oauth/authorize", page.Form("decision", "approve"))
	if page.Left == nil {
		a.Fatalf("no answer: %d %s", page.Status, page.Body)
	}
	answer, err := url.ParseQuery(page.Left.Fragment)
	if err != nil || answer.Get("access_token") == "" {
		a.Fatalf("no token: %v", err)
	}
	a.g.Secret(answer.Get("access_token"))
	of := []string{"client_id", "page", "user_id", eve, "grant_type", "implicit", "scope", "read"}
	a.tells("a person lets an app in a page act",
		byPerson("access_token_created", append(of, "jti", "$implicit", "family_id", "$family implicit")...),
		byPerson("authorization_granted", of...))
}

// guesses has somebody guess at a password until guessing has to wait; then nobody looks up whose name it is.
func (a *audited) guesses() {
	stranger := a.browser()
	for n := range 20 {
		page := stranger.SignIn(stranger.Open("/oauth/login"), "ada", "a wrong password that is long enough")
		if page.Status == http.StatusTooManyRequests {
			a.tells("a guess too many", byPerson("sign_in_failed", "error", "too_many_attempts"))
			return
		}
		a.tells(fmt.Sprintf("guess %d", n),
			byPerson("sign_in_failed", "user_id", "$ada", "error", "wrong_login"))
	}
	a.Error("nobody has to wait after 20 guesses")
}

// refuses has somebody who is signed in guess until guessing has to wait: each guess has its line.
func (a *audited) refuses(what, wrong string, of line, guess func() gateway.Page) {
	a.Helper()
	for range 20 {
		if guess().Status == http.StatusTooManyRequests {
			a.tells(what+", too often", with(of, []string{"error", "too_many_attempts"}))
			return
		}
		a.tells(what, with(of, []string{"error", wrong}))
	}
	a.Errorf("%s: nobody has to wait after 20 guesses", what)
}

// reuses refreshes tokens, and uses again what had been replaced: after its successor, and after the time of grace.
func (a *audited) reuses(browser *gateway.Browser, eve string) {
	refreshed := func(suffix, token string) []line {
		return []line{
			{"msg": "access_token_created", "actor": "user", "remote_ip": appsAddress, "client_id": "app", "user_id": eve,
				"jti": "$token" + token, "family_id": "$family" + suffix, "grant_type": "refresh_token", "scope": "read"},
			{"msg": "refresh_token_refreshed", "actor": "user", "remote_ip": appsAddress, "client_id": "app", "user_id": eve,
				"family_id": "$family" + suffix, "grant_type": "authorization_code"},
		}
	}
	reused := func(suffix string) []line {
		return []line{
			{"msg": "refresh_token_reused", "actor": "user", "remote_ip": appsAddress, "client_id": "app", "user_id": eve,
				"family_id": "$family" + suffix, "grant_type": "authorization_code", "error": "invalid_grant"},
			tokenRefused("refresh_token", "invalid_grant"),
		}
	}
	first := a.connects(browser, eve, " of thief", false).String("refresh_token")
	second := a.refreshes(200, first)
	a.tells("a refresh token is used", refreshed(" of thief", " refreshed")...)
	a.refreshes(200, second)
	a.tells("its successor is used", refreshed(" of thief", " refreshed again")...)
	a.refreshes(400, first)
	a.tells("a refresh token is used after its successor", reused(" of thief")...)

	first = a.connects(browser, eve, " of late", false).String("refresh_token")
	a.refreshes(200, first)
	a.tells("a refresh token is used", refreshed(" of late", " in time")...)
	time.Sleep(1200 * time.Millisecond) // refresh_grace is a second
	a.refreshes(400, first)
	a.tells("a refresh token is used after the time of grace", reused(" of late")...)
}

// takesBack ends what apps have: the app itself, at the revocation endpoint, and the person, in each way.
func (a *audited) takesBack(browser *gateway.Browser, eve string) {
	mine := a.connects(browser, eve, " 1", false)
	a.app(200, "/oauth/revoke", "token", mine.String("access_token"))
	a.tells("an app revokes an access token", line{"msg": "access_token_revoked", "actor": "user",
		"remote_ip": appsAddress, "client_id": "app", "user_id": eve, "jti": "$token 1"})
	a.app(200, "/oauth/revoke", "token", mine.String("refresh_token"))
	a.tells("an app revokes a refresh token", line{"msg": "refresh_token_revoked", "actor": "user",
		"remote_ip": appsAddress, "client_id": "app", "user_id": eve, "family_id": "$family 1",
		"grant_type": "authorization_code"})
	a.g.Form("/oauth/revoke", "app", "a-wrong-secret-of-enough-characters", url.Values{"token": {"x"}})
	a.tells("a client is refused", line{"msg": "client_refused", "actor": "client", "remote_ip": appsAddress,
		"client_id": "app", "error": "invalid_client"})
	a.g.Form("/oauth/token", "app", "a-wrong-secret-of-enough-characters", url.Values{"grant_type": {"refresh_token"}})
	a.tells("a client is refused a token", line{"msg": "access_token_refused", "actor": "client",
		"remote_ip": appsAddress, "client_id": "app", "error": "invalid_client"})

	a.connects(browser, eve, " 2", false)
	a.changes(browser, "disconnect", "client_id", "app")
	a.tells("a person disconnects an app", byPerson("authorization_revoked", "client_id", "app", "user_id", eve))

	a.connects(browser, eve, " 3", true)
	a.calls(browser, 204, http.MethodDelete, "/oauth/tokens/"+a.names["$token 3"], "")
	a.tells("a person revokes a token of an app", byPerson("refresh_token_revoked", "client_id", "app", "user_id", eve,
		"jti", "$token 3", "family_id", "$family 3", "grant_type", "authorization_code"))
}

// changes sends a form of the account page.
func (a *audited) changes(browser *gateway.Browser, action string, pairs ...string) gateway.Page {
	a.Helper()
	form := browser.Open("/oauth/account").Form(append(pairs, "action", action)...)
	page := browser.Send("/oauth/account", form)
	if page.Status != http.StatusOK {
		a.Fatalf("%s: %d at %s", action, page.Status, page.Path)
	}
	return page
}

// calls calls the JSON API as a script of the site does.
func (a *audited) calls(browser *gateway.Browser, status int, method, path, body string) gateway.Response {
	a.Helper()
	req := a.g.Request(method, path, body)
	req.Header.Set("X-XSRF-TOKEN", browser.Cookie("XSRF-TOKEN"))
	req.Header.Set("Content-Type", "application/json")
	resp := browser.Do(req).Response
	if resp.Status != status {
		a.Fatalf("%s %s: %d %s", method, path, resp.Status, resp.Body)
	}
	for _, secret := range []string{"accessToken", "plainSecret", "secret"} {
		a.g.Secret(resp.String(secret))
	}
	return resp
}

// devices says no and yes to a device.
func (a *audited) devices(browser *gateway.Browser, eve string) {
	const wire = "urn:ietf:params:oauth:grant-type:device_code"
	for _, test := range []struct {
		decision string
		status   int
		line     line
		then     []line
	}{
		{"deny", 400, byPerson("authorization_refused", "error", "access_denied"),
			[]line{tokenRefused("device_code", "access_denied")}},
		{"approve", 200, byPerson("authorization_granted", "scope", "read"), a.gift(eve, " of device", "device_code")},
	} {
		device := a.app(200, "/oauth/device/code", "scope", "read")
		a.tells("a device waits")
		page := browser.Open("/oauth/device")
		page = browser.Send("/oauth/device", page.Form("user_code", device.String("user_code")))
		browser.Send("/oauth/device", page.Form("decision", test.decision))
		a.tells("a person answers a device: "+test.decision,
			with(test.line, []string{"client_id", "app", "user_id", eve, "grant_type", "device_code"}))
		a.app(test.status, "/oauth/token", "grant_type", wire, "device_code", device.String("device_code"))
		a.tells("a device asks after "+test.decision, test.then...)
	}

	form := browser.Open("/oauth/device")
	a.refuses("a user code that no device has", "wrong_user_code",
		byPerson("user_code_refused", "user_id", eve, "grant_type", "device_code"),
		func() gateway.Page { return browser.Send("/oauth/device", form.Form("user_code", "BBBB-BBBB")) })
}

// passwordGrant signs in by way of an app that people tell their password.
func (a *audited) passwordGrant(eve, password string) {
	byApp := func(msg string, pairs ...string) line {
		return with(line{"msg": msg, "actor": "user", "remote_ip": appsAddress, "client_id": "app"}, pairs)
	}
	a.app(400, "/oauth/token", "grant_type", "password", "username", "eve", "password", "a wrong one, of some length")
	a.tells("a wrong password by an app", byApp("sign_in_failed", "user_id", eve, "error", "wrong_login"),
		tokenRefused("password", "invalid_grant"))
	a.app(200, "/oauth/token", "grant_type", "password", "username", "eve", "password", password, "scope", "read")
	a.tells("a person signs in by an app", append([]line{byApp("sign_in_succeeded", "user_id", eve)},
		a.gift(eve, " by password", "password")...)...)
}

// personalTokens makes and revokes them in each way.
func (a *audited) personalTokens(browser *gateway.Browser, eve string) {
	of := func(name string) []string {
		return []string{"client_id", "personal_access", "user_id", eve, "jti", name, "grant_type", "personal_access"}
	}
	page := a.changes(browser, "create_token", "name", "Script", "scopes", "read")
	if _, secret, ok := strings.Cut(page.Body, "passport_pat_"); ok {
		a.g.Secret("passport_pat_" + secret[:30])
	} else {
		a.Error("the page does not show the new token")
	}
	a.tells("a person makes a token", byPerson("access_token_created", append(of("$pat 1"), "scope", "read")...))
	a.changes(browser, "revoke_token", "token_id", a.names["$pat 1"])
	a.tells("a person revokes it", byPerson("access_token_revoked", of("$pat 1")...))

	a.calls(browser, 200, http.MethodPost, "/oauth/personal-access-tokens", `{"name":"Front end","scopes":["read"]}`)
	a.tells("a script makes a token", byPerson("access_token_created", append(of("$pat 2"), "scope", "read")...))
	a.calls(browser, 204, http.MethodDelete, "/oauth/personal-access-tokens/"+a.names["$pat 2"], "")
	a.tells("a script revokes it", byPerson("access_token_revoked", of("$pat 2")...))

	a.operator("token", "create", "--user", "eve", "--name", "Nightly", "--scopes", "read write")
	a.tells("the operator makes a token",
		byOperator("access_token_created", append(of("$pat 3"), "scope", "read write")...))
	a.operator("token", "revoke", a.names["$pat 3"])
	a.tells("the operator revokes it", byOperator("access_token_revoked", of("$pat 3")...))
}

// ownClients makes, changes and deletes clients of a person.
func (a *audited) ownClients(browser *gateway.Browser, eve string) {
	of := []string{"client_id", "$own client", "user_id", eve}
	const mine = `{"name":"Mine","redirect":"https://mine.example/cb"}`
	made := a.calls(browser, 201, http.MethodPost, "/oauth/clients", mine)
	a.tells("a person registers a client", byPerson("client_created", of...))
	id := made.String("id")
	if id != a.names["$own client"] {
		a.Errorf("the client is %q, the log says %q", id, a.names["$own client"])
	}
	a.calls(browser, 200, http.MethodPut, "/oauth/clients/"+id, strings.Replace(mine, "Mine", "My own", 1))
	a.tells("a person changes its client", byPerson("client_updated", of...))
	a.changes(browser, "new_secret", "client_id", id)
	a.tells("a person gives its client another secret", byPerson("client_secret_rotated", of...))
	a.operator("client", "update", id, "--name", "Theirs")
	a.tells("the operator changes a person's client", byOperator("client_updated", of...))
	a.calls(browser, 204, http.MethodDelete, "/oauth/clients/"+id, "")
	a.tells("a person deletes its client", byPerson("client_deleted", of...))
}

// sessions ends sessions in each way, and changes the password.
func (a *audited) sessions(browser *gateway.Browser, eve, password string) {
	signedIn := byPerson("sign_in_succeeded", "user_id", eve)
	other := a.browser()
	other.SignIn(other.Open("/oauth/login"), "eve", password)
	a.tells("a person signs in elsewhere", signedIn)
	a.changes(browser, "end_sessions")
	a.tells("a person ends the other sessions", byPerson("signed_out", "user_id", eve))

	const renewed = "entirely another staple of the battery"
	a.g.Secret(renewed)
	a.changes(browser, "change_password", "current_password", password, "new_password", renewed)
	a.tells("a person changes the password", byPerson("password_changed", "user_id", eve))
	browser.Send("/oauth/logout", browser.Open("/oauth/logout").Form())
	a.tells("a person signs out", byPerson("signed_out", "user_id", eve))
	browser.SignIn(browser.Open("/oauth/login"), "eve", renewed)
	a.tells("a person signs in with the new password", signedIn)
	form := browser.Open("/oauth/account").Form("action", "change_password", "current_password", password,
		"new_password", "the staple of somebody who found the browser")
	a.refuses("a wrong current password", "wrong_password", byPerson("password_refused", "user_id", eve),
		func() gateway.Page { return browser.Send("/oauth/account", form) })
	a.operator("user", "password", "eve")
	a.tells("the operator changes the password", byOperator("password_changed", "user_id", eve))
}

// clientsOfOperator makes, changes and deletes a client of the operator's.
func (a *audited) clientsOfOperator() {
	id, _ := createClient(a.T, a.g)
	a.tells("a client is made", byOperator("client_created", "client_id", id))
	a.operator("client", "update", id, "--name", "Another")
	a.tells("a client is changed", byOperator("client_updated", "client_id", id))
	a.operator("client", "update", id, "--disabled")
	a.tells("a client is disabled", byOperator("client_disabled", "client_id", id))
	a.operator("client", "update", id, "--disabled=false", "--name", "A third")
	a.tells("a client is enabled, and changed", byOperator("client_updated", "client_id", id),
		byOperator("client_enabled", "client_id", id))
	a.operator("client", "rotate-secret", id)
	a.tells("a client gets another secret", byOperator("client_secret_rotated", "client_id", id))
	a.operator("client", "delete", id)
	a.tells("a client is deleted", byOperator("client_deleted", "client_id", id))
}

// endOfAccount disables, enables and deletes a person.
func (a *audited) endOfAccount(eve string) {
	for _, verb := range []string{"disable", "enable", "delete"} {
		a.operator("user", verb, "eve")
		a.tells("user "+verb, byOperator("user_"+strings.TrimSuffix(verb, "e")+"ed", "user_id", eve))
	}
}

// operations are what an operator does with all that there is.
func (a *audited) operations() {
	a.operator("keys", "rotate", "--force")
	a.tells("another key signs", byOperator("key_rotated", "kid", "$kid"))
	a.operator("keys", "rotate", "--force")
	a.tells("yet another key signs", byOperator("key_rotated", "kid", "$next kid"))
	a.operator("keys", "retire", a.names["$kid"])
	a.tells("a key is retired", byOperator("key_retired", "kid", "$kid"))
	a.operator("keys", "retire", a.names["$next kid"])
	a.tells("the key that signs is retired", byOperator("key_rotated", "kid", "$third kid"),
		byOperator("key_retired", "kid", "$next kid"))

	file := filepath.Join(a.g.Dir, "backup")
	a.operator("backup", file)
	a.tells("a backup is written", byOperator("backup_written", "count", "$records"))
	a.operator("restore", file)
	a.tells("a backup is restored", byOperator("backup_restored", "count", "$records"))

	a.from(appsAddress)
	token := a.g.Token("demo", demoSecret, "read")
	ofDemo := []string{"client_id", "demo", "jti", "$demo"}
	a.from(elsewhere)
	a.g.Form("/oauth/revoke", "demo", demoSecret, url.Values{"token": {token}})
	a.tells("a client gets and revokes a token for itself",
		with(line{"msg": "access_token_created", "actor": "client", "remote_ip": appsAddress,
			"grant_type": "client_credentials", "scope": "read"}, ofDemo),
		with(line{"msg": "access_token_revoked", "actor": "client", "remote_ip": elsewhere}, ofDemo))
	if purged := a.operator("purge", "--revoked")["purged"]; purged == nil {
		a.Error("purge does not say how many it has forgotten")
	} else {
		a.tells("revoked tokens are forgotten", byOperator("tokens_purged", "count", fmt.Sprint(purged)))
	}
}
