package tests

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/oauth2-passport/caddy-passport/tests/internal/gateway"
)

const (
	personPassword = "correct horse battery staple nine"
	guessedWrong   = "another horse battery staple nine"
	appSecret      = "a-secret-of-at-least-thirty-two-characters"
)

const peopleSite = `{
	default_bind 127.0.0.1
	passport {
		grants password refresh_token client_credentials personal_access
		scope read "See orders"
		scope write "Change orders"
		client app {
			secret ` + appSecret + `
			grants password refresh_token
			scopes read write
		}
		user demo {
			password_hash {env.DEMO_HASH}
			scopes read
		}
		users htpasswd {env.HTPASSWD}
		users http {env.LEGACY} {
			header X-Key {env.LEGACY_KEY}
		}
	}
}

http://127.0.0.1:{$PORT} {
	passport_server
	passport_auth scopes read
	respond "{passport.username} {passport.scope}"
}
`

// town is a gateway with people of every kind.
type town struct {
	*gateway.Gateway
	t        *testing.T
	htpasswd string
	hash     string
	takes    atomic.Int64 // how long the application of its people takes to answer
}

func newTown(t *testing.T) *town {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(personPassword), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	h := &town{t: t, htpasswd: filepath.Join(t.TempDir(), "htpasswd"), hash: string(hash)}
	legacy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(time.Duration(h.takes.Load()))
		if r.Header.Get("X-Key") != "key-of-the-legacy-application" || r.FormValue("username") != "carl" ||
			r.FormValue("password") != personPassword {
			w.WriteHeader(http.StatusUnprocessableEntity)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"id":17,"username":"Carl","scopes":["read"]}`)
	}))
	t.Cleanup(legacy.Close)
	h.write("ann:" + h.hash + "\n")
	h.Gateway = gateway.New(t, peopleSite, "DEMO_HASH="+h.hash, "HTPASSWD="+h.htpasswd, "LEGACY="+legacy.URL+"/login",
		"LEGACY_KEY=key-of-the-legacy-application")
	h.Secret(personPassword)
	h.Secret(guessedWrong)
	h.Secret("key-of-the-legacy-application")
	if err := h.Run(); err != nil {
		t.Fatalf("%v\n%s", err, h.Log())
	}
	cmd := h.Command("passport", "user", "create", "bob", "--email", "bob@example.com", "--password-stdin", "--address", h.Admin)
	cmd.Stdin = strings.NewReader(personPassword + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return h
}

func (h *town) write(htpasswd string) {
	h.t.Helper()
	if err := os.WriteFile(h.htpasswd, []byte(htpasswd), 0o600); err != nil {
		h.t.Fatal(err)
	}
}

func (h *town) signIn(login, password string) gateway.Response {
	h.t.Helper()
	return h.Form("/oauth/token", "app", appSecret, url.Values{
		"grant_type": {"password"}, "username": {login}, "password": {password}, "scope": {"read"},
	})
}

func (h *town) token(login string) string {
	h.t.Helper()
	resp := h.signIn(login, personPassword)
	token := resp.String("access_token")
	if resp.Status != http.StatusOK || token == "" {
		h.t.Fatalf("%s does not sign in: %d %s", login, resp.Status, resp.Body)
	}
	h.Secret(token)
	h.Secret(resp.String("refresh_token"))
	return token
}

// TestPeopleOfEveryKind sign in, and call the API in their own names until they are gone.
func TestPeopleOfEveryKind(t *testing.T) {
	h := newTown(t)
	tokens := make(map[string]string)
	for login, name := range map[string]string{
		"demo": "demo", "bob": "bob", "BOB@example.com": "bob", "ann": "ann", "carl": "Carl",
	} {
		tokens[login] = h.token(login)
		if resp := h.Get("/orders", tokens[login]); resp.Status != http.StatusOK || resp.Body != name+" read" {
			t.Errorf("%s: %d %s", login, resp.Status, resp.Body)
		}
		if resp := h.signIn(login, guessedWrong); resp.Status != http.StatusBadRequest || resp.String("error") != "invalid_grant" {
			t.Errorf("%s with a wrong password: %d %s", login, resp.Status, resp.Body)
		}
	}
	wrong, nobody := h.signIn("bob", guessedWrong), h.signIn("nobody", guessedWrong)
	if wrong.Status != nobody.Status || wrong.Body != nobody.Body {
		t.Errorf("a wrong password: %d %s, a name of nobody: %d %s", wrong.Status, wrong.Body, nobody.Status, nobody.Body)
	}
	list, _, _ := h.Caddy("passport", "user", "list", "--address", h.Admin)
	for _, line := range []string{"demo", "bob", "ann", "Carl"} {
		if !strings.Contains(list, "\n"+line+" ") {
			t.Errorf("%s is not in the list:\n%s", line, list)
		}
	}

	h.write("dora:" + h.hash + "\n")
	h.Eventually("ann's token is refused once her line is gone", func() bool {
		return h.Get("/orders", tokens["ann"]).Status == http.StatusUnauthorized
	})
	if resp := h.signIn("ann", personPassword); resp.Status != http.StatusBadRequest {
		t.Errorf("ann, who is gone: %d %s", resp.Status, resp.Body)
	}
	h.token("dora")
	if resp := h.Get("/orders", tokens["bob"]); resp.Status != http.StatusOK {
		t.Errorf("bob, who has nothing to do with it: %d %s", resp.Status, resp.Body)
	}

	if _, faults, code := h.Caddy("passport", "user", "disable", "carl", "--address", h.Admin); code != 0 {
		t.Errorf("disabling carl: %s", faults)
	}
	if resp := h.Get("/orders", tokens["carl"]); resp.Status != http.StatusUnauthorized {
		t.Errorf("carl, who is disabled: %d %s", resp.Status, resp.Body)
	}
	if resp := h.signIn("carl", personPassword); resp.Status != http.StatusBadRequest {
		t.Errorf("carl, who is disabled, signs in: %d %s", resp.Status, resp.Body)
	}

	if err := h.Reload(strings.Replace(peopleSite, "user demo", "user edith", 1)); err != nil {
		t.Fatal(err)
	}
	h.Eventually("demo's token is refused once the config has demo no more", func() bool {
		return h.Get("/orders", tokens["demo"]).Status == http.StatusUnauthorized
	})
}

// TestNamesAreNotToldApartByAskingTheirSource: where an application takes its time to say that a password is wrong, the
// gateway takes as long for names that it knows itself.
func TestNamesAreNotToldApartByAskingTheirSource(t *testing.T) {
	h := newTown(t)
	const takes = 250 * time.Millisecond
	h.takes.Store(int64(takes))
	for _, login := range []string{"nobody", "bob", "demo", "ann", "carl"} {
		begin := time.Now()
		if resp := h.signIn(login, guessedWrong); resp.Status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", login, resp.Status, resp.Body)
		}
		if took := time.Since(begin); took < takes {
			t.Errorf("%s is refused after %s", login, took)
		}
	}
}

// TestGuessesOutliveAKill: who has guessed too often waits on, also after `kill -9`.
func TestGuessesOutliveAKill(t *testing.T) {
	h := newTown(t)
	waits := func() int {
		resp := h.signIn("bob", guessedWrong)
		if resp.Status != http.StatusTooManyRequests {
			return 0
		}
		seconds, err := strconv.Atoi(resp.Header.Get("Retry-After"))
		if err != nil || seconds < 1 {
			t.Errorf("Retry-After: %q", resp.Header.Get("Retry-After"))
		}
		return seconds
	}
	for n := range 5 {
		if waits() > 0 {
			t.Fatalf("guess %d waits", n)
		}
	}
	h.Eventually("the wait is long enough to be found after a restart", func() bool { return waits() > 7 })
	h.Kill()
	if err := h.Run(); err != nil {
		t.Fatal(err)
	}
	if waits() == 0 {
		t.Error("after a restart nobody waits")
	}
	h.token("demo") // others do not
}
