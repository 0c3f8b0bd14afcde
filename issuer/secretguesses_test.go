package issuer

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
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
	g := newSecretGuesses()
	for n := range 100 {
		c := credentials{id: strings.Repeat("x", maxValue-n), from: home}
		g.count(c.guessID(), time.Now())
	}
	for id := range g.by {
		if len(g.by) != 1 || len(id) > maxClientID {
			t.Fatalf("%d guesses are remembered, one with %d bytes", len(g.by), len(id))
		}
	}
}

func newSecretGuesses() *secretGuesses {
	var g secretGuesses
	g.load(nil)
	return &g
}

// TestSecretGuessesAreBounded: a flood of clients and addresses takes no more memory than it may.
func TestSecretGuessesAreBounded(t *testing.T) {
	g := newSecretGuesses()
	now := time.Now()
	for n := range 3 * maxSecretGuesses {
		g.count(fmt.Sprint("client", n), now.Add(time.Duration(n)*time.Microsecond))
		if len(g.by) > maxSecretGuesses {
			t.Fatalf("%d are remembered", len(g.by))
		}
	}
	guesser := credentials{id: "orders-sync", from: home}
	for range 7 {
		g.count(guesser.guessID(), now)
	}
	if wait := g.wait(&guesser, now); wait != 2*time.Second {
		t.Errorf("the wait is %s", wait)
	}
	g.forget(guesser.guessID())
	if wait := g.wait(&guesser, now); wait != 0 {
		t.Errorf("after a right one the wait is %s", wait)
	}
	// Those who wait are the last to be forgotten.
	for range 10 {
		g.count(guesser.guessID(), now)
	}
	for n := range maxSecretGuesses {
		g.count(fmt.Sprint("another", n), now)
	}
	if g.wait(&guesser, now) == 0 {
		t.Error("who had to wait was forgotten first")
	}
	g = newSecretGuesses()
	g.count(guesser.guessID(), now)
	g.forget(guesser.guessID())
	if g.any.Load() {
		t.Error("the last guess is forgotten, and everybody goes on to look for it")
	}
	g.count(guesser.guessID(), now)
	g.wait(&guesser, now.Add(keepSecretGuesses+time.Second))
	if g.any.Load() || len(g.by) != 0 {
		t.Error("after a day the guess is not forgotten")
	}
}

// TestFloodOfSecretGuessesFillsNoStore: who has any number of addresses, or thinks of any number of clients, has no
// more of it written than may be; what is written is not forgotten in memory, or there would be room for more.
func TestFloodOfSecretGuessesFillsNoStore(t *testing.T) {
	g := newSecretGuesses()
	now := time.Now()
	keep := func(id, from string) bool {
		g.count(id, now)
		return g.keep(id, from, now)
	}
	written := 0
	for n := range 2 * maxKeptFrom {
		if keep(fmt.Sprint("client", n), home) {
			written++
		}
	}
	if written != maxKeptFrom {
		t.Errorf("%d are written of one address", written)
	}
	if !keep("client0", home) {
		t.Error("what is in the store is not written again")
	}
	for n := range 2 * maxSecretGuesses {
		id := "orders-sync of " + fmt.Sprint(n)
		for range 6 { // all of them wait
			g.count(id, now)
		}
		if keep(id, fmt.Sprint(n)) {
			written++
		}
	}
	if written != maxKeptGuesses || g.kept != maxKeptGuesses || len(g.by) > maxSecretGuesses {
		t.Errorf("%d are written, of %d that are remembered", written, len(g.by))
	}
	now = now.Add(keepSecretGuesses + time.Second)
	if !keep("orders-sync", home) || g.kept != 1 || len(g.keptFrom) != 1 {
		t.Errorf("after a day nothing is written, and %d of %d addresses are remembered", g.kept, len(g.keptFrom))
	}
}

// guess guesses at the secret of a client, through the issuer of a house or another one.
func (h *house) guess(on *Issuer, client, secret, from string) int {
	h.t.Helper()
	r := request("/oauth/introspect", url.Values{"token": {"x"}}, "Authorization", basic(client, secret))
	r.RemoteAddr = from + ":1234"
	w := httptest.NewRecorder()
	on.Handler("").ServeHTTP(w, r)
	return w.Code
}

// again is an issuer on the store of the house: that of another node, or of the time after a restart.
func (h *house) again() *Issuer {
	h.t.Helper()
	config := testConfig()
	config.DB, config.Ring = h.db, h.ring
	i, err := New(config)
	if err != nil {
		h.t.Fatal(err)
	}
	return i
}

// TestSecretGuessesOutliveARestart: it costs a guesser nothing to wait for a restart, unless that is told to wait then;
// and the answers do not tell which clients there are.
func TestSecretGuessesOutliveARestart(t *testing.T) {
	for _, client := range []string{"orders-sync", "nobody"} {
		t.Run(client, func(t *testing.T) {
			h := newHouse(t)
			for n := range 6 {
				if got := h.guess(h.issuer, client, "wrong", home); got != http.StatusUnauthorized {
					t.Fatalf("guess %d: %d", n, got)
				}
			}
			restarted := h.again()
			if got := h.guess(restarted, client, testSecret, home); got != http.StatusTooManyRequests {
				t.Errorf("after a restart: %d", got)
			}
			if got := h.guess(restarted, "boss", testSecret, home); got != http.StatusOK {
				t.Errorf("another client: %d", got)
			}
			if got := h.guess(restarted, "orders-sync", testSecret, other); got != http.StatusOK {
				t.Errorf("from another address: %d", got)
			}
			h.pass(2 * time.Second)
			if client == "nobody" {
				return
			}
			if got := h.guess(restarted, client, testSecret, home); got != http.StatusOK {
				t.Errorf("after the wait: %d", got)
			}
			if of := h.keptGuesses(client); of.Failures != 0 {
				t.Errorf("after a right one the store has %d", of.Failures)
			}
			h.guess(h.again(), client, "wrong", home)
			if got := h.guess(h.again(), client, testSecret, home); got != http.StatusOK {
				t.Errorf("after a wrong one that cost nothing: %d", got)
			}
		})
	}
}

func (h *house) keptGuesses(client string) (of store.Guesses) {
	h.t.Helper()
	c := credentials{id: client, from: home}
	err := h.db.View(h.t.Context(), func(r *store.Records) (err error) {
		of, err = r.Guesses(guessClient, c.subject())
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return of
}

// TestSecretGuessesOnAnotherNode: who goes to another node has one guess there, and what was guessed there counts for
// the next wait on the first, too.
func TestSecretGuessesOnAnotherNode(t *testing.T) {
	for _, client := range []string{"orders-sync", "nobody"} {
		t.Run(client, func(t *testing.T) {
			h := newHouse(t)
			node := h.again()
			for range 6 {
				h.guess(h.issuer, client, "wrong", home)
			}
			if got := h.guess(node, client, "wrong", home); got != http.StatusUnauthorized {
				t.Errorf("the first guess on the other node: %d", got)
			}
			if got := h.guess(node, client, "wrong", home); got != http.StatusTooManyRequests {
				t.Errorf("the second guess on the other node: %d", got)
			}
			h.pass(1100 * time.Millisecond) // the wait of the first node, which has not heard of it
			if got := h.guess(h.issuer, client, "wrong", home); got != http.StatusUnauthorized {
				t.Errorf("the next guess: %d", got)
			}
			if of := h.keptGuesses(client); of.Failures != 8 {
				t.Errorf("the store has %d", of.Failures)
			}
			h.pass(3 * time.Second) // seven make one wait for two seconds, eight for four
			if got := h.guess(h.issuer, client, "wrong", home); got != http.StatusTooManyRequests {
				t.Errorf("the first node does not count what the other has: %d", got)
			}
		})
	}
}

// TestFloodOfSecretGuessesIsNoneOfWrites: neither who waits has anything written, nor who guesses a few times at each
// of many clients, nor who does it all at once.
func TestFloodOfSecretGuessesIsNoneOfWrites(t *testing.T) {
	h := newHouse(t)
	before := h.engine.updates.Load()
	for n := range 20 {
		for range 5 {
			h.guess(h.issuer, fmt.Sprint("client", n), "wrong", home)
		}
	}
	if n := h.engine.updates.Load() - before; n != 0 {
		t.Errorf("%d updates for guesses that cost nothing", n)
	}
	for range 100 {
		h.guess(h.issuer, "orders-sync", "wrong", home)
	}
	if n := h.engine.updates.Load() - before; n != 1 {
		t.Errorf("%d updates while somebody waits", n)
	}
	h.pass(2 * time.Second)
	c := credentials{id: "orders-sync", from: home}
	for range 50 { // none of which was told to wait, for they came at once
		h.issuer.wrongSecret(t.Context(), &c)
	}
	if n := h.engine.updates.Load() - before; n != 2 {
		t.Errorf("%d updates for 50 guesses at once", n)
	}
	if failures := h.issuer.secrets.failures(c.guessID()); failures != 56 {
		t.Errorf("%d are counted", failures)
	}
}

// TestPublicClientForgetsNoGuesses: its ID proves nothing, and would undo what was counted, with a write each time.
func TestPublicClientForgetsNoGuesses(t *testing.T) {
	h := newHouse(t)
	for range 6 {
		h.guess(h.issuer, "spa", "wrong", home)
	}
	before := h.engine.updates.Load()
	c := credentials{id: "spa", from: home}
	if _, err := h.issuer.authenticate(t.Context(), c); err != nil {
		t.Errorf("without a secret: %v", err)
	}
	if n := h.engine.updates.Load() - before; n != 0 {
		t.Errorf("%d updates", n)
	}
	if got := h.guess(h.issuer, "spa", "wrong", home); got != http.StatusTooManyRequests {
		t.Errorf("then with a wrong one: %d", got)
	}
}

// TestRightSecretPaysNothing: as long as there are no wrong guesses, a secret of the configuration reads and writes
// nothing.
func TestRightSecretPaysNothing(t *testing.T) {
	h := newHouse(t)
	c := credentials{id: "orders-sync", secret: testSecret, from: home}
	authenticate := func() (reads, writes int64) {
		t.Helper()
		reads, writes = h.engine.views.Load(), h.engine.updates.Load()
		if _, err := h.issuer.authenticate(t.Context(), c); err != nil {
			t.Error(err)
		}
		return h.engine.views.Load() - reads, h.engine.updates.Load() - writes
	}
	if reads, writes := authenticate(); reads != 0 || writes != 0 {
		t.Errorf("%d reads, %d writes", reads, writes)
	}
	h.guess(h.issuer, "boss", "wrong", home)
	h.guess(h.issuer, "orders-sync", "wrong", home)
	for range 2 { // the second one has nothing to forget
		if reads, writes := authenticate(); reads != 0 || writes != 0 {
			t.Errorf("after guesses that cost nothing: %d reads, %d writes", reads, writes)
		}
	}
}

// TestSecretGuessesWhileTheStoreIsDown are counted in memory: neither an outage nor hanging up gives free guesses.
func TestSecretGuessesWhileTheStoreIsDown(t *testing.T) {
	h := newHouse(t)
	broken := store.ErrUnavailable
	h.engine.broken.Store(&broken)
	for n := range 6 {
		if got := h.guess(h.issuer, "orders-sync", "wrong", home); got != http.StatusServiceUnavailable {
			t.Fatalf("guess %d: %d", n, got)
		}
	}
	if got := h.guess(h.issuer, "orders-sync", testSecret, home); got != http.StatusTooManyRequests {
		t.Errorf("a guess too many: %d", got)
	}
	// Of a client in the store nobody has looked at the secret.
	for range 7 {
		if got := h.guess(h.issuer, "nobody", "wrong", home); got != http.StatusServiceUnavailable {
			t.Errorf("a client that cannot be read: %d", got)
		}
	}
	h.engine.broken.Store(nil)
	h.pass(1100 * time.Millisecond)
	if got := h.guess(h.issuer, "orders-sync", "wrong", home); got != http.StatusUnauthorized {
		t.Errorf("when the store is back: %d", got)
	}
	if of := h.keptGuesses("orders-sync"); of.Failures != 7 {
		t.Errorf("the store has %d", of.Failures)
	}
}

// TestSecretGuessesOfWhoHangsUp count, and are kept.
func TestSecretGuessesOfWhoHangsUp(t *testing.T) {
	h := newHouse(t)
	ctx, hangUp := context.WithCancel(t.Context())
	hangUp()
	for range 6 {
		c := credentials{id: "orders-sync", secret: "wrong", from: home}
		if _, err := h.issuer.authenticate(ctx, c); err == nil {
			t.Error("a wrong secret is right")
		}
	}
	if of := h.keptGuesses("orders-sync"); of.Failures != 6 {
		t.Errorf("the store has %d", of.Failures)
	}
}

// TestSecretGuessesCannotBeRead: an issuer does not begin as if there were none.
func TestSecretGuessesCannotBeRead(t *testing.T) {
	h := newHouse(t)
	broken := store.ErrUnavailable
	h.engine.broken.Store(&broken)
	config := testConfig()
	config.DB, config.Ring = h.db, h.ring
	if _, err := New(config); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
}
