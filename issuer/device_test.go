package issuer

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
)

// begun is what a device has got.
type begun struct{ device, user, page string }

func (h *house) beginDevice(client string, pairs ...string) begun {
	h.t.Helper()
	form := url.Values{"client_id": {client}}
	for i := 0; i < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	r := request("/oauth/device/code", form)
	if c := h.issuer.clients[client]; c != nil && !c.Public {
		r.Header.Set("Authorization", basic(client, testSecret))
	}
	res := h.do(r)
	o := object(h.t, res)
	if res.StatusCode != http.StatusOK || res.Header.Get("Cache-Control") != "no-store" {
		h.t.Fatalf("%d %v %v", res.StatusCode, res.Header, o)
	}
	return begun{o["device_code"].(string), o["user_code"].(string), o["verification_uri_complete"].(string)}
}

const deviceWire = "urn:ietf:params:oauth:grant-type:device_code"

func (h *house) pollsFor(client string, d begun) *http.Request {
	return h.ask(client, deviceWire, "device_code", d.device)
}

// fails asserts an error answer of the token endpoint.
func (h *house) fails(r *http.Request, code string) {
	h.t.Helper()
	res := h.do(r)
	if o := object(h.t, res); o["error"] != code {
		h.t.Errorf("got %d %v, want %s", res.StatusCode, o, code)
	}
}

func TestDeviceFlow(t *testing.T) {
	h := signInHouse(t)
	d := h.beginDevice("native", "scope", "read write")
	if !regexp.MustCompile(`^[BCDFGHJKLMNPQRSTVWXZ]{4}-[BCDFGHJKLMNPQRSTVWXZ]{4}$`).MatchString(d.user) ||
		d.page != "https://api.example.com/oauth/device?user_code="+d.user ||
		!strings.HasPrefix(d.device, "passport_dc_") {
		t.Fatalf("%+v", d)
	}
	h.fails(h.pollsFor("native", d), "authorization_pending")

	b := h.browser()
	login := b.get(strings.TrimPrefix(d.page, b.at)).location(t)
	back := b.post("/oauth/login", b.get(login.String()).form("username", "bob", "password", testPassword)).location(t)
	page := b.get(back.String())
	if !strings.Contains(page.text, d.user) || strings.Contains(page.text, "See your orders") {
		t.Fatalf("the code in the URL is not just filled in:\n%s", page.text)
	}
	typed := strings.ToLower(strings.ReplaceAll(d.user, "-", " "))
	page = b.post("/oauth/device", page.form("user_code", typed))
	if !strings.Contains(page.text, "native") || !strings.Contains(page.text, "See your orders") ||
		strings.Contains(page.text, "Place and change orders") || !strings.Contains(page.text, d.user) {
		t.Fatalf("bob is asked: %d\n%s", page.StatusCode, page.text)
	}
	done := b.post("/oauth/device", page.form("decision", "approve")).location(t)
	if done.String() != "/oauth/device?answer=approve" || b.get(done.String()).StatusCode != http.StatusOK {
		t.Errorf("done: %s", done)
	}
	if page := b.post("/oauth/device", page.form("decision", "deny")); page.StatusCode != http.StatusBadRequest {
		t.Errorf("denied after it was approved: %d", page.StatusCode)
	}
	given := h.gives(h.pollsFor("native", d))
	if given.scope != "read" || !h.good(given.access) {
		t.Errorf("%+v", given)
	}
	h.fails(h.pollsFor("native", d), "expired_token")
	if page := b.post("/oauth/device", page.form("decision", "approve")); page.StatusCode != http.StatusBadRequest {
		t.Errorf("approved twice: %d", page.StatusCode)
	}
}

func TestDeviceDenied(t *testing.T) {
	h := signInHouse(t)
	b := h.browser()
	b.signIn("ada")
	d := h.beginDevice("site")
	page := b.post("/oauth/device", b.get("/oauth/device").form("user_code", d.user))
	if got := b.post("/oauth/device", page.form("decision", "deny")).location(t); got.RawQuery != "answer=deny" {
		t.Errorf("%s", got)
	}
	h.fails(h.pollsFor("site", d), "access_denied")
}

func TestDeviceEndpointRefusals(t *testing.T) {
	h := signInHouse(t)
	for _, test := range []struct {
		name   string
		form   url.Values
		basic  string
		status int
		code   string
	}{
		{"no client", url.Values{}, "", 401, "invalid_client"},
		{"unknown client", url.Values{"client_id": {"nobody"}}, "", 401, "invalid_client"},
		{"confidential without secret", url.Values{"client_id": {"site"}}, "", 401, "invalid_client"},
		{"wrong secret", url.Values{}, basic("site", "wrong"), 401, "invalid_client"},
		{"public with a secret", url.Values{"client_id": {"native"}, "client_secret": {"x"}}, "", 401, "invalid_client"},
		{"not its grant", url.Values{"client_id": {"spa"}}, "", 400, "unauthorized_client"},
		{"unknown scope", url.Values{"client_id": {"native"}, "scope": {"delete"}}, "", 400, "invalid_scope"},
		{"restricted scope", url.Values{"client_id": {"native"}, "scope": {"admin"}}, "", 400, "invalid_scope"},
		{"any scope", url.Values{"scope": {"*"}}, basic("wide", testSecret), 400, "invalid_scope"},
		{"unknown resource", url.Values{"client_id": {"native"}, "resource": {"x:y"}}, "", 400, "invalid_target"},
		{"twice", url.Values{"client_id": {"native", "native"}}, "", 400, "invalid_request"},
	} {
		r := request("/oauth/device/code", test.form)
		if test.basic != "" {
			r.Header.Set("Authorization", test.basic)
		}
		res := h.do(r)
		if o := object(t, res); res.StatusCode != test.status || o["error"] != test.code {
			t.Errorf("%s: %d %v", test.name, res.StatusCode, o)
		}
	}
	h = signInHouse(t, func(c *Config) {
		c.Grants = []string{"authorization_code"}
		for i := range c.Clients {
			c.Clients[i].Grants = nil
		}
	})
	h.fails(request("/oauth/device/code", url.Values{"client_id": {"native"}}), "unsupported_grant_type")
}

// TestUserCodesAreTyped: people type as they like, and nothing else passes.
func TestUserCodesAreTyped(t *testing.T) {
	for typed, want := range map[string]string{
		"BCDF-GHJK": "BCDF-GHJK", "bcdfghjk": "BCDF-GHJK", "bcdf ghjk": "BCDF-GHJK", "b-c-d-f-g-h-j-k": "BCDF-GHJK",
		"BCDF–GHJK": "BCDF-GHJK", "bcdf_ghjk.": "BCDF-GHJK",
		"": "", "BCDF-GHJ": "", "BCDF-GHJKL": "", "ACDF-GHJK": "", "BCDF-GHJ1": "", "0BCDF-GHJK": "",
		strings.Repeat("-", 100000): "",
	} {
		got, ok := userCode(typed)
		if got != want || ok != (want != "") {
			t.Errorf("%.20q: %q, %t", typed, got, ok)
		}
	}
	seen := make(map[byte]int)
	for range 1000 {
		code := newUserCode()
		if got, ok := userCode(code); !ok || got != code {
			t.Fatalf("%q", code)
		}
		for i := range len(code) {
			seen[code[i]]++
		}
	}
	if len(seen) != len(userCodeAlphabet)+1 {
		t.Errorf("not all letters come up: %v", seen)
	}
}

// TestGuessingUserCodes: wrong codes cost time, across restarts, and neither a right code of the guesser's own nor many
// guesses at once take that back.
func TestGuessingUserCodes(t *testing.T) {
	h := signInHouse(t)
	b := h.browser()
	b.signIn("ada")
	own := h.beginDevice("native")
	form := b.get("/oauth/device").form()
	guess := func(code string) seen {
		form.Set("user_code", code)
		return b.post("/oauth/device", form)
	}
	ada, err := h.issuer.User(t.Context(), "ada")
	if err != nil {
		t.Fatal(err)
	}
	refused := Event{Type: UserCodeRefused, UserID: ada.ID, Grant: "device_code", Error: failedWrongCode}
	h.told()
	for range 5 {
		if got := guess("BBBB-BBBB"); got.StatusCode != http.StatusBadRequest {
			t.Fatalf("one of the first five: %d", got.StatusCode)
		}
		h.wantTold(refused)
		if got := guess(own.user); got.StatusCode != http.StatusOK {
			t.Fatalf("the own code: %d", got.StatusCode)
		}
		h.wantTold()
	}
	guess("no code at all")
	h.wantTold(refused)
	got := guess("BBBB-BBBB")
	refused.Error = failedTooMany
	h.wantTold(refused)
	seconds, err := strconv.Atoi(got.Header.Get("Retry-After"))
	if got.StatusCode != http.StatusTooManyRequests || err != nil || seconds < 1 {
		t.Fatalf("after six: %d, Retry-After %q", got.StatusCode, got.Header.Get("Retry-After"))
	}
	if got := guess(own.user); got.StatusCode != http.StatusTooManyRequests {
		t.Errorf("the right code tells itself while others wait: %d", got.StatusCode)
	}
	h.ahead.Add(int64(time.Duration(seconds) * time.Second))
	if got := guess(own.user); got.StatusCode != http.StatusOK {
		t.Errorf("after the wait: %d", got.StatusCode)
	}

	var wrong sync.Map
	var all sync.WaitGroup
	for i := range 32 {
		all.Go(func() {
			r := request("/oauth/device", url.Values{"_token": form["_token"], "user_code": {"CCCC-CCCC"}},
				"Origin", b.at, "Cookie", "__Host-passport_session="+b.cookie("__Host-passport_session"))
			if h.do(r).StatusCode == http.StatusBadRequest {
				wrong.Store(i, true)
			}
		})
	}
	all.Wait()
	n := 0
	wrong.Range(func(any, any) bool { n++; return true })
	if n > 1 {
		t.Errorf("%d guesses at once were looked at", n)
	}
}

// TestDeviceCodesBelongToTheirIssuer: where each host is an issuer, a code is no other's.
func TestDeviceCodesBelongToTheirIssuer(t *testing.T) {
	h := signInHouse(t, func(c *Config) { c.Identifier = "" })
	d := h.beginDevice("native")
	b := h.browser()
	b.at = "https://other.example"
	b.signIn("ada")
	got := b.post("/oauth/device", b.get("/oauth/device").form("user_code", d.user))
	if got.StatusCode != http.StatusBadRequest {
		t.Errorf("%d", got.StatusCode)
	}
}

// TestDeviceOfAClientThatIsGone: what was right when the device asked may be so no more.
func TestDeviceOfAClientThatIsGone(t *testing.T) {
	h := signInHouse(t)
	b := h.browser()
	b.signIn("ada")
	var client store.Client
	h.update(func(r *store.Records) error {
		client = store.Client{ID: store.NewID(r.Now()), Name: "Thing", Public: true, Grants: []string{"device_code"}}
		return r.PutClient(&client)
	})
	d := h.beginDevice(client.ID)
	page := b.post("/oauth/device", b.get("/oauth/device").form("user_code", d.user))
	if !strings.Contains(page.text, "Thing") {
		t.Fatalf("%d %s", page.StatusCode, page.text)
	}
	client.Disabled = true
	h.update(func(r *store.Records) error { return r.PutClient(&client) })
	if got := b.post("/oauth/device", page.form("decision", "approve")); got.StatusCode != http.StatusBadRequest {
		t.Errorf("approved for a disabled client: %d", got.StatusCode)
	}
}

// TestDevicePhishing: neither a link nor a form of another site brings a device into somebody's name.
func TestDevicePhishing(t *testing.T) {
	h := signInHouse(t)
	b := h.browser()
	b.signIn("ada")
	d := h.beginDevice("native", "scope", "read write")
	stranger := h.browser()
	stranger.signIn("bob")
	strangers := stranger.get("/oauth/device").form()
	own := b.get("/oauth/device").form()
	approves := func(token []string, header ...string) seen {
		form := url.Values{"user_code": {d.user}, "decision": {"approve"}, "_token": token}
		return b.post("/oauth/device", form, header...)
	}
	for name, try := range map[string]func() seen{
		"a link": func() seen {
			return b.get("/oauth/device?user_code=" + d.user + "&decision=approve")
		},
		"a form without token":        func() seen { return approves(nil) },
		"a form with another's token": func() seen { return approves(strangers["_token"]) },
		"a form of another site": func() seen {
			return approves(own["_token"], "Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site")
		},
		"a form of a sister site": func() seen {
			return approves(own["_token"], "Origin", "https://www.example.com", "Sec-Fetch-Site", "same-site")
		},
	} {
		if got := try(); got.StatusCode == http.StatusSeeOther {
			t.Errorf("%s: %s", name, got.Header.Get("Location"))
		}
		h.ahead.Add(int64(6 * time.Second))
		h.fails(h.pollsFor("native", d), "authorization_pending")
	}
}

// TestFloodOfDevices: for a client that anybody can claim to be, an address gets only so many codes.
func TestFloodOfDevices(t *testing.T) {
	h := signInHouse(t)
	h.update(func(r *store.Records) error {
		return r.PutGuesses(guessDevice, "192.0.2.1", store.Guesses{Failures: limits[guessDevice].free, LastAt: r.Now()})
	})
	h.beginDevice("native")
	res := h.do(request("/oauth/device/code", url.Values{"client_id": {"native"}}))
	if res.StatusCode != http.StatusTooManyRequests || res.Header.Get("Retry-After") == "" {
		t.Errorf("%d %v", res.StatusCode, res.Header)
	}
	h.beginDevice("site")
	h.ahead.Add(int64(time.Minute))
	h.beginDevice("native")
}

// TestFloodOfDevicesFromANetwork: one of IPv6 has 65,536 of what counts as one address.
func TestFloodOfDevicesFromANetwork(t *testing.T) {
	h := signInHouse(t)
	asks := func(from string) *http.Response {
		r := request("/oauth/device/code", url.Values{"client_id": {"native"}})
		r.RemoteAddr = from
		return h.do(r)
	}
	h.update(func(r *store.Records) error {
		g := store.Guesses{Failures: limits[guessDeviceNet].free, LastAt: r.Now()}
		return r.PutGuesses(guessDeviceNet, "2001:db8:7::/48", g)
	})
	for from, want := range map[string]int{
		"[2001:db8:7:1::1]:1": http.StatusOK, "[2001:db8:8:2::1]:1": http.StatusOK, "192.0.2.1:1": http.StatusOK,
	} {
		if got := asks(from).StatusCode; got != want {
			t.Errorf("%s: %d", from, got)
		}
	}
	res := asks("[2001:db8:7:2::1]:1")
	if res.StatusCode != http.StatusTooManyRequests || res.Header.Get("Retry-After") == "" {
		t.Errorf("%d %v", res.StatusCode, res.Header)
	}
}

// TestGuesserBehindAnAddressShutsNobodyOutOfTheDevicePage: who guesses at user codes waits, and not who shares the
// address.
func TestGuesserBehindAnAddressShutsNobodyOutOfTheDevicePage(t *testing.T) {
	h := signInHouse(t)
	d := h.beginDevice("native")
	types := func(b *browser, code string) int {
		return b.post("/oauth/device", b.get("/oauth/device").form("user_code", code)).StatusCode
	}
	guesser, bob := h.member("guesser")
	for range 6 {
		types(guesser, "BBBB-BBBB")
	}
	h.update(func(r *store.Records) error { // or the wait would be a second, and over before it is asked for
		return r.PutGuesses(guessUserCode, bob.ID, store.Guesses{Failures: 20, LastAt: r.Now()})
	})
	if got := types(guesser, "BBBB-BBBB"); got != http.StatusTooManyRequests {
		t.Errorf("the guesser: %d", got)
	}
	if got := types(h.browserOf(bob), "BBBB-BBBB"); got != http.StatusTooManyRequests {
		t.Errorf("the guesser in another session: %d", got)
	}
	person, _ := h.member("person")
	if got := types(person, d.user); got != http.StatusOK {
		t.Errorf("somebody at the same address: %d", got)
	}
}

// TestGuessingUserCodesWithManyAccounts: an address waits, too, in the end.
func TestGuessingUserCodesWithManyAccounts(t *testing.T) {
	h := signInHouse(t)
	waited := 0
	for n := range limits[guessCodeFrom].free/5 + 2 {
		b, _ := h.member(fmt.Sprint("guesser", n))
		form := b.get("/oauth/device").form("user_code", "BBBB-BBBB")
		for range 5 {
			if b.post("/oauth/device", form).StatusCode == http.StatusTooManyRequests {
				waited++
			}
		}
	}
	if waited == 0 {
		t.Error("accounts enough, and nobody waits")
	}
}
