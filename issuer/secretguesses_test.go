package issuer

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
)

// TestGuessingClientSecrets: it is slowed down for who guesses, and for nobody else; unknown clients are no different.
func TestGuessingClientSecrets(t *testing.T) {
	for _, path := range []string{"/oauth/token", "/oauth/revoke", "/oauth/introspect"} {
		for _, client := range []string{"orders-sync", "nobody"} {
			t.Run(path+" "+client, func(t *testing.T) {
				h := newHouse(t)
				ask := func(id, secret, from string) *http.Response {
					r := request(path, url.Values{"grant_type": {"client_credentials"}, "token": {"x"}}, "Authorization",
						basic(id, secret))
					r.RemoteAddr = from + ":1234"
					return h.do(r)
				}
				for n := range 6 {
					if res := ask(client, fmt.Sprint("guess", n), home); res.StatusCode != http.StatusUnauthorized {
						t.Fatalf("guess %d: %d", n, res.StatusCode)
					}
				}
				for range 3 {
					res := ask(client, testSecret, home)
					if res.StatusCode != http.StatusTooManyRequests || res.Header.Get("Retry-After") == "" {
						t.Errorf("a guess too many: %d, Retry-After %q", res.StatusCode, res.Header.Get("Retry-After"))
					}
				}
				want := http.StatusOK
				if client == "nobody" {
					want = http.StatusUnauthorized
				}
				if res := ask(client, testSecret, other); res.StatusCode != want {
					t.Errorf("from another address: %d", res.StatusCode)
				}
				if res := ask("boss", testSecret, home); res.StatusCode != http.StatusOK {
					t.Errorf("another client of the address: %d", res.StatusCode)
				}
				h.pass(2 * time.Second)
				if res := ask(client, testSecret, home); res.StatusCode != want {
					t.Errorf("after the wait: %d", res.StatusCode)
				}
				if client != "nobody" {
					for n := range 6 {
						if res := ask(client, "wrong", home); res.StatusCode != http.StatusUnauthorized {
							t.Errorf("guess %d after a right one: %d", n, res.StatusCode)
						}
					}
				}
			})
		}
	}
}

// TestLongClientIDsTakeNoMemory: what is remembered of a guess does not grow with what was sent.
func TestLongClientIDsTakeNoMemory(t *testing.T) {
	var g secretGuesses
	for n := range 100 {
		g.wrong(&credentials{id: strings.Repeat("x", maxValue-n), from: home}, time.Now())
	}
	for subject := range g.by {
		if len(g.by) != 1 || len(subject) > maxClientID {
			t.Fatalf("%d guesses are remembered, one with %d bytes", len(g.by), len(subject))
		}
	}
}

// TestSecretGuessesAreBounded: a flood of clients and addresses takes no more memory than it may.
func TestSecretGuessesAreBounded(t *testing.T) {
	var g secretGuesses
	now := time.Now()
	for n := range 3 * maxSecretGuesses {
		g.wrong(&credentials{id: fmt.Sprint("client", n), from: home}, now.Add(time.Duration(n)*time.Microsecond))
		if len(g.by) > maxSecretGuesses {
			t.Fatalf("%d are remembered", len(g.by))
		}
	}
	guesser := credentials{id: "orders-sync", from: home}
	for range 7 {
		g.wrong(&guesser, now)
	}
	if wait := g.wait(&guesser, now); wait != 2*time.Second {
		t.Errorf("the wait is %s", wait)
	}
	g.right(&guesser)
	if wait := g.wait(&guesser, now); wait != 0 {
		t.Errorf("after a right one the wait is %s", wait)
	}
	// Those who wait are the last to be forgotten.
	for range 10 {
		g.wrong(&guesser, now)
	}
	for n := range maxSecretGuesses {
		g.wrong(&credentials{id: fmt.Sprint("another", n), from: other}, now)
	}
	if g.wait(&guesser, now) == 0 {
		t.Error("who had to wait was forgotten first")
	}
	g = secretGuesses{by: map[string]store.Guesses{guesser.subject(): {Failures: 1, LastAt: now}}}
	g.any.Store(true)
	g.right(&guesser)
	if g.any.Load() {
		t.Error("the last guess is forgotten, and everybody goes on to look for it")
	}
}
