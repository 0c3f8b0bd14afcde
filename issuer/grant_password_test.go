package issuer

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/oauth2-passport/caddy-passport/store"
)

const bensPassword = "correct horse battery"

// signer adds somebody who has a password.
func (h *house) signer(name string) *store.User {
	h.t.Helper()
	info, _, err := h.issuer.CreateUser(h.t.Context(), NewUser{Name: name, Password: bensPassword})
	if err != nil {
		h.t.Fatal(err)
	}
	return &info.User
}

func (h *house) askByPassword(client, username, password string, pairs ...string) *http.Request {
	return h.ask(client, "password", append([]string{"username", username, "password", password}, pairs...)...)
}

func TestPasswordGrant(t *testing.T) {
	h, _ := newPeopledHouse(t)
	ben := h.signer("Ben")
	g := h.gives(h.askByPassword("site", "ben", bensPassword, "scope", "write"))
	_, claims := decodeJWT(t, g.access)
	if claims["sub"] != ben.ID || claims["preferred_username"] != "Ben" || g.scope != "write" || !h.good(g.access) {
		t.Errorf("%v", claims)
	}
	h.gives(h.askByRefresh("site", g.refresh))
	if g := h.gives(h.askByPassword("site", "ben", bensPassword)); g.scope != "read" {
		t.Errorf("by default: %q", g.scope)
	}
	for _, test := range []struct{ name, username, password, scope, want string }{
		{"wrong password", "Ben", "wrong", "", "invalid_grant"},
		{"unknown", "Eve", bensPassword, "", "invalid_grant"},
		{"no password", "Ben", "", "", "invalid_request"},
		{"no name", "", bensPassword, "", "invalid_request"},
		{"restricted scope", "Ben", bensPassword, "admin", "invalid_scope"},
		{"every scope", "Ben", bensPassword, "*", "invalid_scope"},
		{"unknown scope", "Ben", bensPassword, "fly", "invalid_scope"},
	} {
		t.Run(test.name, func(t *testing.T) {
			h.t = t
			h.fault(h.askByPassword("site", test.username, test.password, "scope", test.scope), 400, test.want)
		})
	}
}

// TestPasswordGrantIsOffByDefault, for every client.
func TestPasswordGrantIsOffByDefault(t *testing.T) {
	h := newHouse(t)
	h.fault(h.askByPassword("web", "ben", bensPassword), 400, "unsupported_grant_type")
}

// TestGuessingPasswordsAtTheTokenEndpoint: the first ones cost nothing, then the answer is to wait.
func TestGuessingPasswordsAtTheTokenEndpoint(t *testing.T) {
	h, _ := newPeopledHouse(t)
	h.signer("Ben")
	for n := range 20 {
		res := h.do(h.askByPassword("site", "ben", "wrong"))
		o := object(t, res)
		if n < 5 && (res.StatusCode != http.StatusBadRequest || o["error"] != "invalid_grant") {
			t.Errorf("guess %d: %d %v", n, res.StatusCode, o)
		}
		if n == 19 && (res.StatusCode != http.StatusTooManyRequests || res.Header.Get("Retry-After") == "" || o["error"] == nil) {
			t.Errorf("guess %d: %d %v %v", n, res.StatusCode, res.Header, o)
		}
	}
	h.fault(h.askByPassword("site", "ben", bensPassword), 429, "too_many_attempts")
}

// TestDiscouragedGrantsAreLogged, and no others.
func TestDiscouragedGrantsAreLogged(t *testing.T) {
	for _, test := range []struct{ grants, want []string }{
		{KnownGrants(), []string{"password", "implicit"}}, {DefaultGrants(), nil}, {nil, nil},
	} {
		core, logs := observer.New(zapcore.WarnLevel)
		newHouse(t, func(c *Config) { c.Grants, c.Logger = test.grants, zap.New(core) })
		var got []string
		for _, entry := range logs.All() {
			if name, ok := entry.ContextMap()["grant"].(string); ok {
				got = append(got, name)
			}
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%v: %v", test.grants, got)
		}
	}
}

// TestGuessingAtOnePersonThroughABackend: all people of an application come from one address, its backend's. Guesses at
// somebody's password there, or at names, shut nobody else out.
func TestGuessingAtOnePersonThroughABackend(t *testing.T) {
	patiently(t)
	h, _ := newPeopledHouse(t)
	h.signer("Ben")
	h.signer("Cara")
	for range 6 {
		h.fault(h.askByPassword("site", "ben", "wrong"), 400, "invalid_grant")
	}
	h.update(func(r *store.Records) error { // or the wait would be a second, and over before it is asked for
		return r.PutGuesses(guessLogin, "ben", store.Guesses{Failures: 20, LastAt: r.Now()})
	})
	h.fault(h.askByPassword("site", "ben", bensPassword), 429, "too_many_attempts")
	for n := range 20 {
		h.fault(h.askByPassword("site", fmt.Sprint("name", n), "wrong"), 400, "invalid_grant")
	}
	h.gives(h.askByPassword("site", "cara", bensPassword))

	// A client without a secret may be anybody: its address counts.
	waits := 0
	for n := range 20 {
		if h.do(h.askByPassword("app", fmt.Sprint("name", n), "wrong")).StatusCode == http.StatusTooManyRequests {
			waits++
		}
	}
	if waits == 0 {
		t.Error("a public client guesses at twenty names and does not wait")
	}
	h.gives(h.askByPassword("site", "cara", bensPassword))
}

// TestGuessingAtAllPeopleThroughABackend: after a thousand wrong passwords a client waits, too, and no other client.
func TestGuessingAtAllPeopleThroughABackend(t *testing.T) {
	patiently(t)
	h, _ := newPeopledHouse(t)
	h.signer("Cara")
	h.fault(h.askByPassword("site", "ben", "wrong"), 400, "invalid_grant")
	h.update(func(r *store.Records) error {
		guesses, err := r.Guesses(guessThrough, "site")
		if guesses.Failures != 1 {
			t.Errorf("%d guesses are counted", guesses.Failures)
		}
		guesses.Failures = limits[guessThrough].free
		return errors.Join(err, r.PutGuesses(guessThrough, "site", guesses))
	})
	h.fault(h.askByPassword("site", "ben", "wrong"), 400, "invalid_grant")
	h.update(func(r *store.Records) error {
		return r.PutGuesses(guessThrough, "site", store.Guesses{Failures: limits[guessThrough].free + 20, LastAt: r.Now()})
	})
	h.fault(h.askByPassword("site", "cara", bensPassword), 429, "too_many_attempts")
	h.gives(h.askByPassword("wide", "cara", bensPassword, "scope", "read"))
	h.pass(time.Minute)
	h.gives(h.askByPassword("site", "cara", bensPassword))
}
