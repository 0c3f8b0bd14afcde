package issuer

import (
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"github.com/oauth2-passport/caddy-passport/store"
)

const testPassword = "correct horse battery staple"

// signInHouse is a house with people who can sign in, and clients that send them here.
func signInHouse(t testing.TB, change ...func(*Config)) *house {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(testPassword), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return newHouse(t, append([]func(*Config){peopled, func(c *Config) {
		secret := store.HashSecret(testSecret)
		code := []string{"authorization_code", "refresh_token"}
		c.DefaultScopes = []string{"read"}
		c.Users = []Person{
			{Name: "ada", Email: "ada@example.com", PasswordHash: string(hash)},
			{Name: "bob", PasswordHash: string(hash), Limited: true, Scopes: []string{"read"}},
		}
		c.Clients = append(c.Clients,
			store.Client{
				ID: "first", Name: "Orders", SecretHash: secret, FirstParty: true, Grants: code,
				RedirectURIs: []string{testRedirect},
			},
			store.Client{
				ID: "native", Public: true, Grants: append(code, "device_code"),
				RedirectURIs: []string{"http://127.0.0.1/cb", "com.example.app:/cb"},
			},
			store.Client{
				ID: "native-first", Public: true, FirstParty: true, Grants: code,
				RedirectURIs: []string{"http://127.0.0.1/cb", "com.example.app:/cb", testRedirect},
			},
			store.Client{
				ID: "fragment", Public: true, Grants: []string{"implicit"}, RedirectURIs: []string{testRedirect},
			},
		)
	}}, change...)...)
}

// browser does what a browser does: it keeps cookies, and says where a form comes from.
type browser struct {
	h   *house
	jar *cookiejar.Jar
	at  string // the origin, "https://api.example.com"
}

func (h *house) browser() *browser {
	h.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		h.t.Fatal(err)
	}
	return &browser{h: h, jar: jar, at: "https://api.example.com"}
}

// seen is what a browser has got.
type seen struct {
	*http.Response
	text string
	at   string // the path
}

func (b *browser) do(r *http.Request) seen {
	b.h.t.Helper()
	u := &url.URL{Scheme: "https", Host: r.Host, Path: "/"}
	if r.TLS == nil {
		u.Scheme = "http"
	}
	for _, c := range b.jar.Cookies(u) {
		r.AddCookie(c)
	}
	res := b.h.do(r)
	b.jar.SetCookies(u, res.Cookies())
	body, err := io.ReadAll(res.Body)
	if err != nil {
		b.h.t.Fatal(err)
	}
	got := seen{res, string(body), r.URL.RequestURI()}
	b.h.checkAnswer(got)
	return got
}

// checkAnswer asserts what holds for every answer that people get.
func (h *house) checkAnswer(got seen) {
	h.t.Helper()
	if got.StatusCode == http.StatusTemporaryRedirect || got.StatusCode == http.StatusPermanentRedirect {
		h.t.Errorf("%s answers %d, which sends a form again", got.at, got.StatusCode)
	}
	if cache := got.Header.Get("Cache-Control"); cache != "no-store" {
		h.t.Errorf("%s may be kept: %q", got.at, cache)
	}
	if policy := got.Header.Get("Referrer-Policy"); got.StatusCode == http.StatusSeeOther && policy != "no-referrer" {
		h.t.Errorf("%s redirects with Referrer-Policy %q", got.at, policy)
	}
	if location := got.Header.Get("Location"); strings.Contains(location, testPassword) ||
		strings.Contains(location, "passport_session_") {
		h.t.Errorf("%s puts a secret into a URL: %s", got.at, location)
	}
	if strings.HasPrefix(got.Header.Get("Content-Type"), "text/html") {
		if policy := got.Header.Get("Referrer-Policy"); policy != "same-origin" && policy != "no-referrer" {
			h.t.Errorf("%s tells others where the person was: Referrer-Policy %q", got.at, policy)
		}
		if strings.Contains(got.text, testPassword) || strings.Contains(got.text, "passport_session_") {
			h.t.Errorf("%s shows a secret:\n%s", got.at, got.text)
		}
		if policy := got.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "frame-ancestors 'none'") ||
			!strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "script") {
			h.t.Errorf("%s has the policy %q", got.at, policy)
		}
		if got.Header.Get("X-Frame-Options") != "DENY" || strings.Contains(got.text, "<script") {
			h.t.Errorf("%s can be framed, or has a script", got.at)
		}
	}
}

func (b *browser) get(path string, header ...string) seen {
	b.h.t.Helper()
	r := httptest.NewRequest(http.MethodGet, b.at+path, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	return b.do(r)
}

// post sends a form from a page of the same origin, unless the header says otherwise.
func (b *browser) post(path string, form url.Values, header ...string) seen {
	b.h.t.Helper()
	return b.send(http.MethodPost, path, form, header...)
}

func (b *browser) send(method, path string, form url.Values, header ...string) seen {
	b.h.t.Helper()
	r := httptest.NewRequest(method, b.at+path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", formMedia)
	r.Header.Set("Origin", b.at)
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return b.do(r)
}

// cookie is a cookie that the browser has.
func (b *browser) cookie(name string) string {
	u, _ := url.Parse(b.at + "/")
	for _, c := range b.jar.Cookies(u) {
		if c.Name == name {
			return c.Value
		}
	}
	return ""
}

var hiddenInput = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`)

// form are the hidden fields of the page.
func (s seen) form(pairs ...string) url.Values {
	form := url.Values{}
	for _, m := range hiddenInput.FindAllStringSubmatch(s.text, -1) {
		form.Set(html.UnescapeString(m[1]), html.UnescapeString(m[2]))
	}
	for i := 0; i < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	return form
}

// location is where the browser is sent to.
func (s seen) location(t testing.TB) *url.URL {
	t.Helper()
	u, err := url.Parse(s.Header.Get("Location"))
	if err != nil || s.StatusCode != http.StatusSeeOther || u.String() == "" {
		t.Fatalf("%s: %d to %q\n%s", s.at, s.StatusCode, s.Header.Get("Location"), s.text)
	}
	return u
}

// signIn signs a person in.
func (b *browser) signIn(name string) {
	b.h.t.Helper()
	got := b.post("/oauth/login",
		b.get("/oauth/login?return=%2Foauth%2Faccount").form("username", name, "password", testPassword))
	if got.location(b.h.t).String() != "/oauth/account" {
		b.h.t.Fatalf("signed in to %s", got.location(b.h.t))
	}
}

// asks is the path of an authorization request; pairs change its parameters, an empty value takes one away.
func asks(client string, pairs ...string) string {
	query := url.Values{
		"response_type": {"code"}, "client_id": {client}, "redirect_uri": {testRedirect}, "state": {"s1"},
		"code_challenge": {s256(testVerifier)}, "code_challenge_method": {"S256"}, "scope": {"read"},
	}
	for i := 0; i < len(pairs); i += 2 {
		query.Del(pairs[i])
		if pairs[i+1] != "" {
			query.Set(pairs[i], pairs[i+1])
		}
	}
	return "/oauth/authorize?" + query.Encode()
}

// answered asserts an answer to the client, and returns it.
func (s seen) answered(t testing.TB, uri string) url.Values {
	t.Helper()
	u := s.location(t)
	query := u.Query()
	u.RawQuery = ""
	if u.String() != uri {
		t.Fatalf("the answer went to %s, not to %s", u, uri)
	}
	if query.Get("iss") != testIdentifier {
		t.Errorf("the answer has iss %q", query.Get("iss"))
	}
	return query
}

// agrees answers a consent page, and returns the code.
func (b *browser) agrees(page seen) string {
	b.h.t.Helper()
	if page.StatusCode != http.StatusOK || !strings.Contains(page.text, `value="approve"`) {
		b.h.t.Fatalf("no consent page: %d %s\n%s", page.StatusCode, page.Header.Get("Location"), page.text)
	}
	code := b.post("/oauth/authorize", page.form("decision", "approve")).answered(b.h.t, testRedirect).Get("code")
	if code == "" {
		b.h.t.Fatal("no code")
	}
	return code
}
