package issuer

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// asksFor is an answer to a client at the token endpoint.
func (h *house) asksFor(client, secret, from string) *http.Response {
	h.t.Helper()
	r := request("/oauth/token", url.Values{"grant_type": {"client_credentials"}}, "Authorization", basic(client, secret))
	r.RemoteAddr = from + ":1234"
	return h.do(r)
}

// tryMany guesses at the secrets of as many clients as cost an address nothing, and at one more. Of each there is one
// guess: no client has to wait.
func (h *house) tryMany(from string) {
	h.t.Helper()
	for n := range limits[guessSecrets].free + 1 {
		if res := h.asksFor(fmt.Sprint("client", n), "wrong", from); res.StatusCode != http.StatusUnauthorized {
			h.t.Fatalf("guess %d: %d", n, res.StatusCode)
		}
	}
}

func (h *house) wantWait(why string, res *http.Response) {
	h.t.Helper()
	if res.StatusCode != http.StatusTooManyRequests || res.Header.Get("Retry-After") == "" {
		h.t.Errorf("%s: %d, Retry-After %q", why, res.StatusCode, res.Header.Get("Retry-After"))
	}
}

// TestGuessingSecretsOfManyClients: who tries one client after the other waits as an address; those that are at work
// there do not.
func TestGuessingSecretsOfManyClients(t *testing.T) {
	h := newHouse(t)
	if res := h.asksFor("boss", testSecret, home); res.StatusCode != http.StatusOK {
		t.Fatalf("before: %d", res.StatusCode)
	}
	h.tryMany(home)
	for _, client := range []string{"nobody", "limited", "boss", "spa"} {
		h.wantWait(client+" with a wrong secret", h.asksFor(client, "wrong", home))
	}
	for range 3 {
		if res := h.asksFor("boss", testSecret, home); res.StatusCode != http.StatusOK {
			t.Errorf("who has proven itself there: %d", res.StatusCode)
		}
	}
	if res := h.do(h.ask("spa", "implicit")); res.StatusCode == http.StatusTooManyRequests {
		t.Error("who has no secret waits")
	}
	if res := h.asksFor("orders-sync", testSecret, other); res.StatusCode != http.StatusOK {
		t.Errorf("at another address: %d", res.StatusCode)
	}
	// Who has not proven itself there is not told that its secret is right: it would be told to who guesses.
	h.wantWait("a right secret that comes from there for the first time", h.asksFor("orders-sync", testSecret, home))
	h.pass(1100 * time.Millisecond)
	if res := h.asksFor("orders-sync", testSecret, home); res.StatusCode != http.StatusOK {
		t.Errorf("after the wait: %d", res.StatusCode)
	}
	// A right secret makes no end of the waiting: it may be the guesser's own. The next guess makes it longer.
	if res := h.asksFor("nobody at all", "wrong", home); res.StatusCode != http.StatusUnauthorized {
		t.Errorf("the next guess: %d", res.StatusCode)
	}
	h.pass(1100 * time.Millisecond)
	h.wantWait("the guess after it", h.asksFor("nobody at all", "wrong", home))
	h.pass(2 * time.Hour)
	h.tryMany(home) // all is forgiven
}

// TestGuessingTheSecretOfAClientAtWork: the exception for it, too, is no way to guess without a limit, nor to be told
// which clients there are; and to prove to be one is none to guess at others.
func TestGuessingTheSecretOfAClientAtWork(t *testing.T) {
	h := newHouse(t)
	h.asksFor("boss", testSecret, home)
	h.tryMany(home)
	for n := range 20 {
		for _, client := range []string{"boss", "orders-sync", "nobody"} {
			h.wantWait(fmt.Sprint("guess ", n, " at ", client), h.asksFor(client, fmt.Sprint("guess", n), home))
		}
	}
	for _, client := range []string{"boss", "orders-sync", "nobody"} {
		c := credentials{id: client, from: home}
		if n := h.issuer.secrets.failures(c.guessID()); n != 6 {
			t.Errorf("%d guesses at %s were looked at", n, client)
		}
	}
	h.wantWait("the right secret after six wrong ones", h.asksFor("boss", testSecret, home))
	h.pass(1100 * time.Millisecond)
	h.tryOne("orders-sync", home)
	if res := h.asksFor("boss", testSecret, home); res.StatusCode != http.StatusOK {
		t.Errorf("when its own wait is over, while the address waits: %d", res.StatusCode)
	}
	h.wantWait("a right secret of another", h.asksFor("orders-sync", testSecret, home))
}

// tryOne guesses once, so that the address waits again.
func (h *house) tryOne(client, from string) {
	h.t.Helper()
	if res := h.asksFor(client, "wrong", from); res.StatusCode != http.StatusUnauthorized {
		h.t.Errorf("a guess at %s: %d", client, res.StatusCode)
	}
}

// TestWaitingAddressIsNotKeptWaitingForGood: what is sent while an address waits makes its wait no longer.
func TestWaitingAddressIsNotKeptWaitingForGood(t *testing.T) {
	h := newHouse(t)
	h.tryMany(home)
	for n := range 200 {
		h.wantWait("a flood", h.asksFor(fmt.Sprint("other", n), "wrong", home))
		h.pass(time.Millisecond)
	}
	h.pass(time.Second)
	if res := h.asksFor("orders-sync", testSecret, home); res.StatusCode != http.StatusOK {
		t.Errorf("after the wait: %d", res.StatusCode)
	}
}

// TestAddressesOfSecretGuessesAreBounded: whoever has any number of addresses, or clients, takes no more memory than
// may be, and those who wait are the last to be forgotten.
func TestAddressesOfSecretGuessesAreBounded(t *testing.T) {
	var s secretAddresses
	now := time.Now()
	for range limits[guessSecrets].free + 1 {
		s.count(home, now)
	}
	for n := range 3 * maxSecretAddresses {
		s.count(fmt.Sprintf("10.%d.%d.%d", n>>16, n>>8&255, n&255), now)
		if len(s.by) > maxSecretAddresses {
			t.Fatalf("%d are remembered", len(s.by))
		}
	}
	if s.wait(home, now) <= 0 {
		t.Error("who had to wait was forgotten first")
	}
	s.count("no address", now)
	if s.wait("no address", now) != 0 || s.wait("2001:db8::1", now) != 0 {
		t.Error("who is at no address, or has not guessed, waits")
	}
	for n := range 2 * limits[guessSecrets].free {
		s.count(fmt.Sprintf("2001:db8::%x", n), now)
	}
	if s.wait("2001:db8::ffff", now) <= 0 {
		t.Error("another address of the same /64 does not wait")
	}
	s.count(home, now.Add(5*time.Hour))
	if len(s.by) != 1 {
		t.Errorf("%d are remembered when all is forgiven", len(s.by))
	}
	s = secretAddresses{}
	for n := range limits[guessSecrets].free + 1 + maxSecretAddresses {
		for range limits[guessSecrets].free + 1 { // all of them wait
			s.count(fmt.Sprintf("10.%d.%d.%d", n>>16, n>>8&255, n&255), now)
		}
	}
	if len(s.by) > maxSecretAddresses {
		t.Errorf("%d are remembered that wait", len(s.by))
	}

	var p provenClients
	for n := range 3 * maxProvenClients {
		p.add(strings.Repeat("x", 20)+fmt.Sprint(n), now)
		if len(p.young)+len(p.old) > maxProvenClients {
			t.Fatalf("%d clients are remembered", len(p.young)+len(p.old))
		}
	}
}

// TestClientIsKnownAtItsAddressForADay, and for two at most, unless it proves itself again.
func TestClientIsKnownAtItsAddressForADay(t *testing.T) {
	var p provenClients
	at := func(hours int) time.Time { return time.Date(2026, 1, 1, hours, 0, 0, 0, time.UTC) }
	p.add("a", at(0))
	p.add("b", at(23))
	p.add("again", at(23))
	p.add("again", at(30))
	for _, test := range []struct {
		subject string
		hours   int
		want    bool
	}{
		{"nobody", 24, false}, {"a", 24, true}, {"b", 46, true}, {"again", 53, true}, {"a", 72, false}, {"b", 72, false},
		{"again", 102, false},
	} {
		if got := p.has(test.subject, at(test.hours)); got != test.want {
			t.Errorf("%s after %d hours: %t", test.subject, test.hours, got)
		}
	}
}
