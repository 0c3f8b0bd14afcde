package tests

import (
	"net/http"
	"net/url"
	"strconv"
	"testing"

	"github.com/oauth2-passport/caddy-passport/store/pgstore/pgtest"
	"github.com/oauth2-passport/caddy-passport/tests/internal/gateway"
)

const wrongSecret = "a-secret-that-is-as-long-and-that-nobody-has"

// guessSecret tells for how many seconds who sends that secret has to wait; 0: it was looked at, and is wrong.
func guessSecret(t *testing.T, g *gateway.Gateway, client, secret string) int {
	t.Helper()
	resp := g.Form("/oauth/token", client, secret, url.Values{"grant_type": {"client_credentials"}})
	switch resp.Status {
	case http.StatusTooManyRequests:
		seconds, err := strconv.Atoi(resp.Header.Get("Retry-After"))
		if err != nil || seconds < 1 {
			t.Errorf("Retry-After: %q", resp.Header.Get("Retry-After"))
		}
		return seconds
	case http.StatusUnauthorized:
		if got := resp.String("error"); got != "invalid_client" {
			t.Errorf("a wrong secret: %s", resp.Body)
		}
	default:
		t.Fatalf("a wrong secret of %s: %d %s", client, resp.Status, resp.Body)
	}
	return 0
}

// TestSecretGuessesOutliveAKill: who has guessed too often at the secret of a client waits on, also after `kill -9`,
// and is told so at the first guess. It makes no difference whether there is that client.
func TestSecretGuessesOutliveAKill(t *testing.T) {
	h := newTown(t)
	h.Secret(wrongSecret)
	for _, client := range []string{"app", "nobody"} {
		for n := range 6 {
			if guessSecret(t, h.Gateway, client, wrongSecret) > 0 {
				t.Fatalf("guess %d at %s waits", n, client)
			}
		}
	}
	h.Eventually("the waits are long enough to be found after a restart", func() bool {
		app, nobody := guessSecret(t, h.Gateway, "app", wrongSecret), guessSecret(t, h.Gateway, "nobody", wrongSecret)
		return min(app, nobody) > 7
	})
	h.Kill()
	if err := h.Run(); err != nil {
		t.Fatal(err)
	}
	if guessSecret(t, h.Gateway, "nobody", wrongSecret) == 0 {
		t.Error("after a restart nobody waits for a client that there is not")
	}
	if guessSecret(t, h.Gateway, "app", appSecret) == 0 {
		t.Error("after a restart nobody waits")
	}
	h.Eventually("who knows the secret signs people in when the wait is over", func() bool {
		return h.signIn("bob", personPassword).Status == http.StatusOK
	})
}

// TestSecretGuessesOnAnotherNode: who goes to another node after wrong secrets has one guess there, not five.
func TestSecretGuessesOnAnotherNode(t *testing.T) {
	database := pgtest.Start(t).Database()
	const options = `client other {
			secret ` + appSecret + `
			grants client_credentials
			scopes read
		}`
	var nodes [2]*gateway.Gateway
	for i := range nodes {
		nodes[i] = startNodeWith(t, database, options)
		nodes[i].Secret(wrongSecret)
	}
	// Each wait is twice as long as the one before, so that the other node is asked in time, be it ever so slow. It has
	// to make the guesser wait at fewer guesses than would cost nothing there, did it count by itself.
	guesses := 0
	nodes[0].Eventually("the other node tells the guesser to wait", func() bool {
		if guessSecret(t, nodes[0], "demo", wrongSecret) == 0 {
			return false
		}
		if guesses++; guesses > 5 {
			t.Fatal("the other node goes on taking guesses")
		}
		return guessSecret(t, nodes[1], "demo", wrongSecret) > 0
	})
	nodes[1].Token("other", appSecret, "read") // another client does not wait
	for _, g := range nodes {
		g.Eventually("who knows the secret gets a token when the wait is over", func() bool {
			return g.Form("/oauth/token", "demo", demoSecret, url.Values{"grant_type": {"client_credentials"}}).
				Status == http.StatusOK
		})
	}
}

// TestGuessingSecretsOfManyClients: an address that tries one client after the other is told to wait, whichever it
// tries next; an application that works behind the same address is not.
func TestGuessingSecretsOfManyClients(t *testing.T) {
	h := newTown(t)
	h.Secret(wrongSecret)
	h.token("demo") // by the secret of app
	clients := 0
	next := func() int {
		clients++
		return guessSecret(t, h.Gateway, "client-"+strconv.Itoa(clients), wrongSecret)
	}
	for n := range 100 {
		if next() > 0 {
			t.Fatalf("guess %d waits", n)
		}
	}
	h.Eventually("the address waits for longer than the rest of the test takes", func() bool { return next() > 7 })
	h.token("bob")
	if guessSecret(t, h.Gateway, "app", wrongSecret) == 0 {
		t.Error("a wrong secret of the application is told to be wrong")
	}
	h.token("ann")
	if next() == 0 {
		t.Error("the right secret of an application makes an end of the waiting")
	}
}
