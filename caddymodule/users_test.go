package caddymodule

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"golang.org/x/crypto/bcrypt"

	"github.com/oauth2-passport/caddy-passport/issuer"
)

const (
	rightPassword = "correct horse battery staple nine"
	wrongPassword = "another horse battery staple nine"
)

func bcryptOf(t *testing.T, password string) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return string(hash)
}

func writeFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// newHtpasswd provisions the module on a file with that content.
func newHtpasswd(t *testing.T, content string) (*Htpasswd, error) {
	t.Helper()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	t.Cleanup(cancel)
	h := &Htpasswd{File: filepath.Join(t.TempDir(), "htpasswd")}
	writeFile(t, h.File, content)
	return h, h.Provision(ctx)
}

// overdue has the file looked at by the next request.
func (h *Htpasswd) overdue() { h.checked.Store(0) }

func TestHtpasswd(t *testing.T) {
	hash := bcryptOf(t, rightPassword)
	h, err := newHtpasswd(t, "# people\n\nAnn:"+hash+"\r\nJürgen Müller:"+strings.Replace(hash, "$2a$", "$2y$", 1)+"\n")
	if err != nil {
		t.Fatal(err)
	}
	for login, want := range map[string]string{"ann": "Ann", "ANN ": "Ann", "jürgen müller": "Jürgen Müller"} {
		p, err := h.Check(t.Context(), login, rightPassword)
		if err != nil || p.Username != want || p.ID != strings.ToLower(want) || p.Limited {
			t.Errorf("%q is %+v, %v", login, p, err)
		}
		if _, err := h.Check(t.Context(), login, wrongPassword); !errors.Is(err, issuer.ErrWrongPassword) {
			t.Errorf("%q with a wrong password: %v", login, err)
		}
	}
	for _, login := range []string{"bob", "", "# people", "ann:" + hash} {
		if _, err := h.Check(t.Context(), login, rightPassword); !errors.Is(err, issuer.ErrUnknownPerson) {
			t.Errorf("%q: %v", login, err)
		}
	}
	if len(h.Hashes()) != 2 || h.Name() != "htpasswd" {
		t.Errorf("%d hashes of %s", len(h.Hashes()), h.Name())
	}
}

// TestHtpasswdChanges: it is read again; who has no line any more is gone; a fault changes nothing.
func TestHtpasswdChanges(t *testing.T) {
	hash, other := bcryptOf(t, rightPassword), bcryptOf(t, wrongPassword)
	h, err := newHtpasswd(t, "ann:"+hash+"\nbob:"+hash+"\n")
	if err != nil {
		t.Fatal(err)
	}
	known := func(want ...string) {
		t.Helper()
		h.overdue()
		for _, name := range []string{"ann", "bob", "carl"} {
			_, found := h.Find(name)
			if wanted := strings.Contains(strings.Join(want, " "), name); found != wanted {
				t.Errorf("%s is known: %v", name, found)
			}
		}
	}
	known("ann", "bob")
	writeFile(t, h.File, "carl:"+hash+"\nbob:"+other+"\n")
	known("bob", "carl")
	if _, err := h.Check(t.Context(), "bob", wrongPassword); err != nil {
		t.Errorf("bob's new password: %v", err)
	}
	if _, err := h.Check(t.Context(), "bob", rightPassword); !errors.Is(err, issuer.ErrWrongPassword) {
		t.Errorf("bob's old password: %v", err)
	}
	writeFile(t, h.File, "ann:"+hash+"\nbob:plain\n")
	known("bob", "carl")
	writeFile(t, h.File, "ann:"+hash+"\n")
	known("ann")
	// As editors write: another file takes its place, of the same size and age.
	info, err := os.Stat(h.File)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, h.File+".new", "bob:"+hash+"\n")
	if err := os.Chtimes(h.File+".new", info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(h.File+".new", h.File); err != nil {
		t.Fatal(err)
	}
	known("bob")
	if err := os.Remove(h.File); err != nil {
		t.Fatal(err)
	}
	known()
	writeFile(t, h.File, "ann:"+hash+"\n")
	known("ann")
	writeFile(t, h.File, "")
	known()
}

// TestHtpasswdIsLookedAtOnceASecond, not at each request.
func TestHtpasswdIsLookedAtOnceASecond(t *testing.T) {
	h, err := newHtpasswd(t, "ann:"+bcryptOf(t, rightPassword)+"\n")
	if err != nil {
		t.Fatal(err)
	}
	h.checked.Store(time.Now().Add(time.Hour / 4).UnixNano()) // a clock that is set back must not stop it
	writeFile(t, h.File, "")
	if _, found := h.Find("ann"); found {
		t.Error("after the clock was set back the file is not looked at")
	}
	writeFile(t, h.File, "ann:"+bcryptOf(t, rightPassword)+"\n")
	h.checked.Store(time.Now().UnixNano())
	if _, found := h.Find("ann"); found {
		t.Error("the file is looked at each time")
	}
	if allocs := testing.AllocsPerRun(100, func() { h.Find("bob") }); allocs > 1 {
		t.Errorf("looking for somebody takes %v allocations", allocs)
	}
}

func TestFaultsOfHtpasswd(t *testing.T) {
	hash := bcryptOf(t, rightPassword)
	for name, tc := range map[string]struct{ content, want string }{
		"no colon":     {"ann\n", ":1: there is no colon"},
		"no hash":      {"\nann:\n", `:2: the hash of "ann" can't be used`},
		"plain":        {"ann:" + rightPassword + "\n", "htpasswd -B"},
		"SHA-1":        {"ann:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\n", "htpasswd -B"},
		"MD5":          {"ann:$apr1$r31.....$HqJZimcKQFAMYayBlzkrA/\n", "htpasswd -B"},
		"no name":      {":" + hash + "\n", ":1: username: it is missing"},
		"twice":        {"ann:" + hash + "\nbob:" + hash + "\nAnn:" + hash + "\n", `:3: "Ann" has a line already`},
		"more":         {"ann:" + hash + ":Ann A.\n", "can't be used"},
		"a long line":  {strings.Repeat("x", 1<<20) + ":" + hash + "\n", "token too long"},
		"many lines":   {strings.Repeat("#\n", maxHtpasswd), "more than"},
		"binary":       {"\x00\x01:" + hash + "\n", "nobody sees"},
		"no UTF-8":     {"\xff:" + hash + "\n", "UTF-8"},
		"an odd space": {"a  b:" + hash + "\n", "spaces"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := newHtpasswd(t, tc.content)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("%v, want something about %q", err, tc.want)
			}
			for _, secret := range []string{hash, rightPassword, "W6ph5Mm5Pz8GgiULbPgzG37mj9g"} {
				if strings.Contains(err.Error(), secret) {
					t.Error("the error has what stands for the password")
				}
			}
		})
	}
}

func FuzzHtpasswd(f *testing.F) {
	f.Add("ann:$2y$10$abcdefghijklmnopqrstuuNZ0dSSb8jwhQAN8MaSPP0Er7PqVRe6e")
	f.Add("# a\nann:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=")
	f.Fuzz(func(t *testing.T, line string) {
		if l, err := parseHtpasswd(line); err == nil && (l.name == "" || issuer.CheckPasswordHash(l.hash) != nil) {
			t.Errorf("%q is taken for %+v", line, l)
		}
	})
}

// legacy is an application that has accounts.
type legacy struct {
	*httptest.Server
	answer  http.HandlerFunc
	asked   atomic.Int64
	request *http.Request
	body    string
}

func newLegacy(t *testing.T, answer http.HandlerFunc) *legacy {
	t.Helper()
	l := &legacy{answer: answer}
	l.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		l.asked.Add(1)
		body, _ := io.ReadAll(r.Body)
		l.request, l.body = r, string(body)
		l.answer(w, r)
	}))
	t.Cleanup(l.Close)
	return l
}

func answering(status int, media, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", media)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func newHTTPUsers(t *testing.T, h *HTTPUsers) *HTTPUsers {
	t.Helper()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	t.Cleanup(cancel)
	if err := h.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	if err := h.Validate(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Cleanup() })
	return h
}

const annsProfile = `{"id":17,"username":"ann","email":"ann@example.com","name":"Ann A.","scopes":["read"],"more":1}`

func TestHTTPUsers(t *testing.T) {
	t.Setenv("LEGACY_KEY", "the-key-of-the-legacy-application")
	l := newLegacy(t, answering(200, "application/json; charset=utf-8", annsProfile))
	for _, format := range []string{"", "form", "json"} {
		t.Run("format "+format, func(t *testing.T) {
			h := newHTTPUsers(t, &HTTPUsers{
				URL: l.URL + "/login?from=gateway", Format: format, Headers: map[string]string{"X-Key": "{env.LEGACY_KEY}"},
			})
			p, err := h.Check(t.Context(), " ann&co ", "a+b&c=d ü")
			if err != nil || p.ID != "17" || p.Username != "ann" || p.Email != "ann@example.com" || p.DisplayName != "Ann A." ||
				!p.Limited || len(p.Scopes) != 1 || p.Scopes[0] != "read" {
				t.Fatalf("%+v %v", p, err)
			}
			r := l.request
			if r.Method != http.MethodPost || r.URL.RequestURI() != "/login?from=gateway" ||
				r.Header.Get("X-Key") != "the-key-of-the-legacy-application" || r.Header.Get("Accept") != "application/json" {
				t.Errorf("asked by %s %s %v", r.Method, r.URL, r.Header)
			}
			want, media := "password=a%2Bb%26c%3Dd+%C3%BC&username=ann%26co", "application/x-www-form-urlencoded"
			if format == "json" {
				want, media = `{"password":"a+b\u0026c=d ü","username":"ann\u0026co"}`, "application/json"
			}
			if l.body != want || r.Header.Get("Content-Type") != media {
				t.Errorf("sent %s %s", r.Header.Get("Content-Type"), l.body)
			}
		})
	}
}

func TestHTTPUsersRefused(t *testing.T) {
	for _, status := range []int{401, 403, 422} {
		l := newLegacy(t, answering(status, "text/html", "<h1>No</h1>"))
		h := newHTTPUsers(t, &HTTPUsers{URL: l.URL})
		for range 2 {
			if _, err := h.Check(t.Context(), "ann", wrongPassword); !errors.Is(err, issuer.ErrUnknownPerson) {
				t.Errorf("%d: %v", status, err)
			}
		}
		if l.asked.Load() != 2 {
			t.Errorf("%d: it was asked %d times, want 2: nothing is kept", status, l.asked.Load())
		}
	}
}

// TestHTTPUsersThatCannotTell: what the application says wrongly is nobody's wrong password, and no sign-in.
func TestHTTPUsersThatCannotTell(t *testing.T) {
	elsewhere := newLegacy(t, answering(200, "application/json", annsProfile))
	for name, answer := range map[string]http.HandlerFunc{
		"redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
		},
		"redirect that drops the body": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL, http.StatusSeeOther)
		},
		"not found":          answering(404, "application/json", annsProfile),
		"error":              answering(500, "application/json", annsProfile),
		"too many":           answering(429, "application/json", annsProfile),
		"no content":         answering(204, "application/json", ""),
		"a page":             answering(200, "text/html", "<form>Sign in</form>"),
		"no JSON":            answering(200, "application/json", "<form>Sign in</form>"),
		"false":              answering(200, "application/json", "false"),
		"null":               answering(200, "application/json", "null"),
		"an empty object":    answering(200, "application/json", "{}"),
		"no id":              answering(200, "application/json", `{"username":"ann"}`),
		"an id that is null": answering(200, "application/json", `{"id":null,"username":"ann"}`),
		"an id that is true": answering(200, "application/json", `{"id":true,"username":"ann"}`),
		"odd scopes":         answering(200, "application/json", `{"id":1,"username":"ann","scopes":7}`),
		"much":               answering(200, "application/json", annsProfile+strings.Repeat(" ", maxProfile)),
		"nothing": func(http.ResponseWriter, *http.Request) {
			panic(http.ErrAbortHandler)
		},
		"too late": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
	} {
		t.Run(name, func(t *testing.T) {
			l := newLegacy(t, answer)
			h := newHTTPUsers(t, &HTTPUsers{URL: l.URL, Timeout: caddy.Duration(5 * time.Second)})
			if name == "too late" {
				h.Timeout = caddy.Duration(50 * time.Millisecond)
			}
			p, err := h.Check(t.Context(), "ann", rightPassword)
			if err == nil || errors.Is(err, issuer.ErrUnknownPerson) || errors.Is(err, issuer.ErrWrongPassword) {
				t.Errorf("%+v %v", p, err)
			}
			if err != nil && strings.Contains(err.Error(), rightPassword) {
				t.Error("the error has the password")
			}
			if l.asked.Load() != 1 {
				t.Errorf("it was asked %d times, want once", l.asked.Load())
			}
		})
	}
	if elsewhere.asked.Load() != 0 {
		t.Error("a redirect has carried the password on")
	}
	h := newHTTPUsers(t, &HTTPUsers{URL: "http://127.0.0.1:1/"})
	if _, err := h.Check(t.Context(), "ann", rightPassword); err == nil || strings.Contains(err.Error(), rightPassword) {
		t.Errorf("nobody listens: %v", err)
	}
}

func TestProfilesOfHTTPUsers(t *testing.T) {
	for body, want := range map[string]string{
		`{"id":"a-7","username":"ann"}`:                             "a-7 ann limited=false []",
		`{"id":9007199254740993,"username":"ann"}`:                  "9007199254740993 ann limited=false []",
		`{"id":1,"username":"ann","scopes":null,"email":null}`:      "1 ann limited=false []",
		`{"id":1,"username":"ann","scopes":[]}`:                     "1 ann limited=true []",
		`{"id":1,"username":"ann","scopes":"read  write"}`:          "1 ann limited=true [read write]",
		`{"id":1,"username":"ann","scopes":["read","write"]}`:       "1 ann limited=true [read write]",
		`{"id":1,"username":"ann","scopes":"","name":"Ann \u0041"}`: "1 ann limited=true []",
	} {
		p, err := parseProfile([]byte(body))
		if got := fmt.Sprintf("%s %s limited=%v %v", p.ID, p.Username, p.Limited, p.Scopes); err != nil || got != want {
			t.Errorf("%s: %s, %v", body, got, err)
		}
	}
}

// TestHTTPUsersByTLS: a certificate of an authority of one's own is good only where it is named.
func TestHTTPUsersByTLS(t *testing.T) {
	server := httptest.NewTLSServer(answering(200, "application/json", annsProfile))
	t.Cleanup(server.Close)
	server.Config.ErrorLog = nil
	if _, err := newHTTPUsers(t, &HTTPUsers{URL: server.URL}).Check(t.Context(), "ann", rightPassword); err == nil {
		t.Error("a certificate of nobody is taken")
	}
	ca := filepath.Join(t.TempDir(), "ca.pem")
	writeFile(t, ca, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))
	if _, err := newHTTPUsers(t, &HTTPUsers{URL: server.URL, CA: ca}).Check(t.Context(), "ann", rightPassword); err != nil {
		t.Error(err)
	}
}

func TestFaultsOfHTTPUsers(t *testing.T) {
	for name, h := range map[string]*HTTPUsers{
		"no URL":          {},
		"http":            {URL: "http://legacy.example/login"},
		"another scheme":  {URL: "ftp://127.0.0.1/login"},
		"a path":          {URL: "/login"},
		"a password":      {URL: "https://a:b@legacy.example/login"},
		"a fragment":      {URL: "https://legacy.example/login#a"},
		"a format":        {URL: "https://legacy.example/", Format: "xml"},
		"a long timeout":  {URL: "https://legacy.example/", Timeout: caddy.Duration(time.Hour)},
		"no time":         {URL: "https://legacy.example/", Timeout: -1},
		"a name":          {URL: "https://legacy.example/", SourceName: "a b"},
		"a header":        {URL: "https://legacy.example/", Headers: map[string]string{"A B": "c"}},
		"a line break":    {URL: "https://legacy.example/", Headers: map[string]string{"A": "b\r\nC: d"}},
		"our header":      {URL: "https://legacy.example/", Headers: map[string]string{"content-type": "a/b"}},
		"no certificates": {URL: "https://legacy.example/", CA: "/dev/null"},
		"an unset env":    {URL: "https://{env.NOT_SET}/"},
		"an unset header": {URL: "https://legacy.example/", Headers: map[string]string{"A": "{env.NOT_SET}"}},
		"localhost.evil":  {URL: "http://localhost.example/login"},
		"127.0.0.1.evil":  {URL: "http://127.0.0.1.example/login"},
		"another's IP":    {URL: "http://10.0.0.7/login"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
			defer cancel()
			err := h.Provision(ctx)
			if err == nil {
				err = h.Validate()
			}
			if err == nil {
				t.Error("no error")
			}
		})
	}
	for _, h := range []*HTTPUsers{
		{URL: "http://127.0.0.1:8081/login"}, {URL: "http://[::1]/login"}, {URL: "http://localhost/login"},
		{URL: "http://legacy:8080/login", PlainHTTP: true},
	} {
		newHTTPUsers(t, h)
	}
}

// TestUserSourcesInJSON: the names are those of the Caddyfile.
func TestUserSourcesInJSON(t *testing.T) {
	var h HTTPUsers
	const text = `{"url":"https://a.example","format":"json","timeout":"3s","headers":{"A":"b"},"plain_http":true,"name":"x"}`
	if err := json.Unmarshal([]byte(text), &h); err != nil {
		t.Fatal(err)
	}
	if h.URL == "" || h.Format != "json" || h.Timeout != caddy.Duration(3*time.Second) || !h.PlainHTTP || h.SourceName != "x" {
		t.Errorf("%+v", &h)
	}
}
