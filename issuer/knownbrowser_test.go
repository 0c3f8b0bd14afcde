package issuer

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
)

const knownCookie = "__Host-passport_browser"

// tries asks to sign in, and tells the status of the answer: 303 for who is signed in.
func (b *browser) tries(name, password string) int {
	b.h.t.Helper()
	page := b.get("/oauth/login?return=%2Foauth%2Faccount")
	return b.post("/oauth/login", page.form("username", name, "password", password)).StatusCode
}

// besiege guesses at a password, whenever that may be, until it has to wait for a minute.
func (h *house) besiege(name string) {
	h.t.Helper()
	for range 40 {
		wait := h.wait(name, wrongPassword, other)
		if wait > 50*time.Second {
			return
		}
		h.pass(wait)
		h.forgetAddress(other)
	}
	h.t.Fatalf("guesses at the password of %s do not wait", name)
}

// withCookie is a browser that has that cookie alone.
func (h *house) withCookie(name, value string) *browser {
	h.t.Helper()
	b := h.browser()
	u, _ := url.Parse(b.at + "/")
	b.jar.SetCookies(u, []*http.Cookie{{Name: name, Value: value, Path: "/", Secure: true}})
	return b
}

// TestNobodyIsLockedOutByAStranger: who has signed in with a browser before does so at once, on each day, although a
// stranger guesses at the account all the time, and somebody at the same address at others.
func TestNobodyIsLockedOutByAStranger(t *testing.T) {
	patiently(t)
	h := signInHouse(t)
	b := h.browser()
	b.signIn("ada")
	for range 12 {
		h.pass(6 * time.Hour)
		h.besiege("ada@example.com")
		h.besiege("ada")
		for range 12 {
			h.browser().tries("bob", wrongPassword) // from the address of the browser
		}
		stranger := h.browser()
		if got := stranger.tries("ada", testPassword); got != http.StatusTooManyRequests {
			t.Fatalf("the stranger does not wait: %d", got)
		}
		if got := b.tries("ada", testPassword); got != http.StatusSeeOther {
			t.Fatalf("ada is locked out: %d", got)
		}
		if got := stranger.tries("ada", testPassword); got != http.StatusTooManyRequests {
			t.Fatalf("that ada signs in lets the stranger go on guessing: %d", got)
		}
		if got := b.tries("ada@example.com", testPassword); got != http.StatusSeeOther {
			t.Fatalf("ada is locked out by email: %d", got)
		}
	}
	// With another browser it takes a minute.
	h.besiege("ada")
	h.forgetAddress("192.0.2.1")
	h.pass(time.Minute)
	h.browser().signIn("ada")
}

// TestLineOfStrangersInFrontOfALogin: who holds all places in the line for a login keeps nobody out who is known.
func TestLineOfStrangersInFrontOfALogin(t *testing.T) {
	patiently(t)
	h := signInHouse(t)
	b := h.browser()
	b.signIn("ada")
	for range 17 { // what one, who never ends, and all who wait for it are
		go func() { _, _ = h.issuer.turns.take(t.Context(), "login ada", 1) }()
	}
	full := func() bool {
		h.issuer.turns.mu.Lock()
		defer h.issuer.turns.mu.Unlock()
		return h.issuer.turns.lines["login ada"] != nil && h.issuer.turns.lines["login ada"].people == 17
	}
	for end := time.Now().Add(10 * time.Second); !full(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the line is not full")
		}
	}
	if got := h.browser().tries("ada", testPassword); got != http.StatusTooManyRequests {
		t.Errorf("a stranger: %d", got)
	}
	if got := b.tries("ada", testPassword); got != http.StatusSeeOther {
		t.Errorf("ada: %d", got)
	}
}

// TestAFloodOfHashesKeepsNobodyOutWhoIsKnown: strangers from everywhere fill the line of the hashes, and yet who is known
// signs in, changes the password, and the operator makes accounts.
func TestAFloodOfHashesKeepsNobodyOutWhoIsKnown(t *testing.T) {
	patiently(t)
	h := signInHouse(t)
	b := h.browser()
	b.signIn("ada")
	hashing.mu.Lock()
	hashing.paid[strangers] = time.Now().Add(time.Hour)
	hashing.mu.Unlock()
	if got := h.browser().tries("bob", testPassword); got != http.StatusTooManyRequests {
		t.Errorf("a stranger: %d", got)
	}
	if got := b.tries("ada", testPassword); got != http.StatusSeeOther {
		t.Errorf("ada: %d", got)
	}
	info, _, err := h.issuer.CreateUser(t.Context(), NewUser{Name: "carl", Password: rightPassword})
	if err != nil {
		t.Fatalf("the operator: %v", err)
	}
	if _, err := h.issuer.changePassword(t.Context(), h.user(info.ID), rightPassword, wrongPassword); err != nil {
		t.Errorf("carl: %v", err)
	}
}

// TestGuessingInAKnownBrowser: it waits as well, and is known for the people alone who have signed in with it.
func TestGuessingInAKnownBrowser(t *testing.T) {
	patiently(t)
	h := signInHouse(t)
	b := h.browser()
	b.signIn("ada")
	for n := range 6 {
		if got := b.tries("ada", wrongPassword); got != http.StatusUnauthorized {
			t.Fatalf("guess %d: %d", n, got)
		}
	}
	known, err := h.issuer.knownBrowser(t.Context(), []string{b.cookie(knownCookie)}, "ada")
	if err != nil {
		t.Fatal(err)
	}
	h.update(func(r *store.Records) error {
		guesses, err := r.Guesses(guessBrowser, known.ID)
		if guesses.Failures != 6 {
			t.Errorf("%d guesses are counted", guesses.Failures)
		}
		guesses.Failures = 20 // or the wait would be a second, and over before it is asked for
		return errors.Join(err, r.PutGuesses(guessBrowser, known.ID, guesses))
	})
	if got := b.tries("ada", testPassword); got != http.StatusTooManyRequests {
		t.Errorf("a guess too many: %d", got)
	}
	h.pass(time.Minute)
	b.signIn("ada")

	h.besiege("bob")
	if got := b.tries("bob", testPassword); got != http.StatusTooManyRequests {
		t.Errorf("a browser of ada's guesses at bob's password: %d", got)
	}
	h.pass(time.Minute)
	b.signIn("bob")
	h.besiege("ada")
	h.besiege("bob")
	for _, name := range []string{"ada", "bob", "ada"} { // it is known for both
		if got := b.tries(name, testPassword); got != http.StatusSeeOther {
			t.Errorf("%s: %d", name, got)
		}
	}
}

// TestStolenBrowserCookie: the cookie is another one after each sign-in, ends with the password, by hand and after 90
// days, and signs nobody in.
func TestStolenBrowserCookie(t *testing.T) {
	patiently(t)
	for name, end := range map[string]func(h *house, b *browser, u *store.User){
		"rotated": func(h *house, b *browser, u *store.User) {
			if got := b.tries("carol", testPassword); got != http.StatusSeeOther {
				h.t.Errorf("carol: %d", got)
			}
		},
		"password changed": func(_ *house, b *browser, _ *store.User) {
			b.acts("password_changed", "change_password", "current_password", testPassword, "new_password", testNewPassword)
		},
		"password set": func(h *house, _ *browser, u *store.User) {
			if _, _, err := h.issuer.SetPassword(h.t.Context(), u.ID, testNewPassword); err != nil {
				h.t.Error(err)
			}
		},
		"signed out everywhere else": func(h *house, _ *browser, u *store.User) {
			h.browserOf(u).acts("sessions_ended", "end_sessions")
		},
		"session ended": func(h *house, b *browser, u *store.User) {
			id := ""
			err := h.db.View(h.t.Context(), func(r *store.Records) error {
				return r.SessionsOfUser(u.ID, func(s store.Session) error { id = s.ID; return nil })
			})
			if err != nil {
				h.t.Error(err)
			}
			h.browserOf(u).acts("session_ended", "end_session", "session_id", id)
		},
		"90 days": func(h *house, _ *browser, _ *store.User) { h.pass(keepBrowser) },
	} {
		t.Run(name, func(t *testing.T) {
			h := signInHouse(t)
			b, u := h.member("carol")
			stolen := b.cookie(knownCookie)
			thief := h.withCookie(knownCookie, stolen)
			if got := thief.get(account).StatusCode; got != http.StatusSeeOther {
				t.Fatalf("the cookie signs somebody in: %d", got)
			}
			if known, err := h.issuer.knownBrowser(t.Context(), []string{stolen}, "carol"); known == nil || err != nil {
				t.Fatalf("the browser is not known: %v", err)
			}
			end(h, b, u)
			if known, err := h.issuer.knownBrowser(t.Context(), []string{stolen}, "carol"); known != nil || err != nil {
				t.Errorf("the browser is known: %v", err)
			}
			h.besiege("carol")
			if got := thief.tries("carol", wrongPassword); got != http.StatusTooManyRequests {
				t.Errorf("the thief guesses on: %d", got)
			}
		})
	}
}

// TestBrowserCookieFixedBeforeLogin: what somebody else has put into a browser is not what that is known by.
func TestBrowserCookieFixedBeforeLogin(t *testing.T) {
	h := signInHouse(t)
	attacker := h.browser()
	attacker.signIn("bob")
	bobs := attacker.cookie(knownCookie)
	for name, fixed := range map[string]string{
		"made up": strings.Repeat("A", browserSecretLen), "the attacker's": bobs, "nonsense": ". .x..",
		"many": strings.Join([]string{bobs, bobs, bobs, bobs, bobs, bobs, bobs}, "."), "long": strings.Repeat("x", 5000),
	} {
		victim := h.withCookie(knownCookie, fixed)
		victim.signIn("ada")
		now := strings.Split(victim.cookie(knownCookie), ".")
		if strings.Contains(fixed, now[0]) || len(now) > maxBrowserPeople {
			t.Errorf("%s: the browser is known by %q", name, now)
		}
		known, err := h.issuer.knownBrowser(t.Context(), strings.Split(fixed, "."), "ada")
		if known != nil || err != nil {
			t.Errorf("%s: what was fixed is known as ada's: %v", name, err)
		}
	}
}

// TestManyPeopleInOneBrowser: the cookie is bounded.
func TestManyPeopleInOneBrowser(t *testing.T) {
	h := signInHouse(t)
	b := h.browser()
	people := []string{"p0", "p1", "p2", "p3", "p4", "p5", "p6"}
	for _, name := range people {
		if _, _, err := h.issuer.CreateUser(t.Context(), NewUser{Name: name, PasswordHash: testHash()}); err != nil {
			t.Fatal(err)
		}
		b.signIn(name)
	}
	secrets := strings.Split(b.cookie(knownCookie), ".")
	if len(secrets) != maxBrowserPeople || len(b.cookie(knownCookie)) > maxCookie {
		t.Errorf("%d secrets", len(secrets))
	}
	for n, name := range people {
		known, err := h.issuer.knownBrowser(t.Context(), secrets, name)
		if err != nil || (known != nil) != (n >= len(people)-maxBrowserPeople) {
			t.Errorf("%s: %v %v", name, known, err)
		}
	}
}

// TestBorrowedEmailMakesNoBrowserKnown: an email that a source tells of is no login of its person; and a login that has
// become somebody else's account is none any more.
func TestBorrowedEmailMakesNoBrowserKnown(t *testing.T) {
	patiently(t)
	v := newVillage()
	v.people["mallory"] = Profile{ID: "mallory", Username: "mallory", Email: "ann@example.com"}
	v.people["ann2@example.com"] = Profile{ID: "mallory", Username: "mallory"}
	h := newHouse(t, withPeople(v))
	h.account("ann", "ann@example.com")
	known := func(b *browser, login string) bool {
		found, err := h.issuer.knownBrowser(t.Context(), strings.Split(b.cookie(knownCookie), "."), login)
		if err != nil {
			t.Fatal(err)
		}
		return found != nil
	}
	b := h.browser()
	if got := b.tries("mallory", rightPassword); got != http.StatusSeeOther {
		t.Fatal(got)
	}
	if !known(b, "mallory") || known(b, "ann@example.com") || known(b, "ann") {
		t.Error("the browser is known for ann")
	}
	if got := b.tries("ann2@example.com", rightPassword); got != http.StatusSeeOther {
		t.Fatal(got)
	}
	if !known(b, "mallory") || !known(b, "ann2@example.com") {
		t.Error("the browser is not known for what was typed")
	}
	v.leave("ann2@example.com")
	h.account("ann2", "ann2@example.com")
	if known(b, "ann2@example.com") {
		t.Error("the browser is known for a login that is another's")
	}
}

// TestGuessesAtAUserOfTheConfigInOnesOwnBrowser: mallory's account has the email that a user of the config signs in
// with. To sign in as mallory in between gives no more guesses.
func TestGuessesAtAUserOfTheConfigInOnesOwnBrowser(t *testing.T) {
	patiently(t)
	h := signInHouse(t)
	_, mallory := h.member("mallory")
	h.update(func(r *store.Records) error {
		u, err := r.User(mallory.ID)
		if err != nil {
			return err
		}
		u.Email = "ada@example.com"
		return r.PutUser(u)
	})
	b := h.browser()
	b.signIn("mallory")
	waits := 0
	for range 6 {
		for range 4 {
			if b.tries("ada@example.com", wrongPassword) == http.StatusTooManyRequests {
				waits++
			}
		}
		b.signIn("mallory")
	}
	if waits < 12 {
		t.Errorf("of 24 guesses %d had to wait", waits)
	}
	h.besiege("ada@example.com")
	h.browser().signIn("mallory") // in one that is not known, which makes an end of guesses at mallory
	if got := h.browser().tries("ada@example.com", testPassword); got != http.StatusTooManyRequests {
		t.Errorf("the guesses are forgotten: %d", got)
	}
}

// TestSessionBegunWhileThePasswordChanges: whose password was right a moment ago gets no session, nor tokens, by it
// after it was changed.
func TestSessionBegunWhileThePasswordChanges(t *testing.T) {
	patiently(t)
	for name, try := range map[string]func(h *house) bool{
		"session": func(h *house) bool {
			b := h.browser()
			return b.tries("carol", testPassword) == http.StatusSeeOther || b.cookie("__Host-passport_session") != ""
		},
		"password grant": func(h *house) bool {
			return h.do(h.askByPassword("site", "carol", testPassword)).StatusCode == http.StatusOK
		},
	} {
		for _, by := range []string{"password", "disabled and enabled"} {
			t.Run(name+", "+by, func(t *testing.T) {
				h := signInHouse(t)
				_, u := h.member("carol")
				change := func() {
					var err error
					if by == "password" {
						_, _, err = h.issuer.SetPassword(t.Context(), u.ID, testNewPassword)
					} else {
						for _, disabled := range []bool{true, false} {
							_, failed := h.issuer.UpdateUser(t.Context(), u.ID, UserChange{Disabled: &disabled})
							err = errors.Join(err, failed)
						}
					}
					if err != nil {
						t.Error(err)
					}
				}
				if _, err := h.issuer.population(t.Context()); err != nil { // which may write
					t.Fatal(err)
				}
				// The first Update is that the password was right, the second one gives what it is good for.
				first := func() { h.engine.beforeUpdate.Store(&change) }
				h.engine.beforeUpdate.Store(&first)
				if try(h) {
					t.Error("the old password is good after the change")
				}
				if h.engine.beforeUpdate.Load() != nil {
					t.Error("nothing was changed meanwhile")
				}
				err := h.db.View(t.Context(), func(r *store.Records) error {
					return r.SessionsOfUser(u.ID, func(store.Session) error { return errors.New("there is a session") })
				})
				if err != nil || h.tokens() != 0 {
					t.Errorf("%v, %d tokens", err, h.tokens())
				}
			})
		}
	}
}

// TestTellingPeopleApartByTheKindOfTheirHash: names that nobody has are compared with hashes of the kinds that people
// have, in the same shares, and each always with the same kind: after a restart, on another node, and when people sign
// in and are hashed anew it goes the way that people go.
func TestTellingPeopleApartByTheKindOfTheirHash(t *testing.T) {
	h := newHouse(t, withPeople(newVillage()))
	h.update(func(r *store.Records) error {
		for n := range 399 {
			u := &store.User{ID: store.NewID(r.Now()), Name: "person" + string(rune('a'+n%26)) + store.NewID(r.Now())}
			if u.PasswordHash = SomePasswordHash; n < 199 {
				u.PasswordHash = "$2y$10$" + strings.Repeat("a", 53)
			}
			if err := r.PutUser(u); err != nil {
				return err
			}
		}
		return nil
	})
	names := make([]string, 4000)
	for n := range names {
		names[n] = "nobody" + store.NewID(time.Now())
	}
	kindsOf := func(i *Issuer) []string {
		t.Helper()
		p, err := i.population(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var kinds []string
		for _, name := range names {
			kinds = append(kinds, hashKind(p.decoy(name)))
		}
		return kinds
	}
	count := func(kinds []string) map[string]int {
		counts := make(map[string]int)
		for _, kind := range kinds {
			counts[kind]++
		}
		return counts
	}
	before := kindsOf(h.issuer)
	counts := count(before)
	// 199 of bcrypt 10, one of the configuration, 200 of ours and one more
	if b := counts["2y$10"]; b < 1700 || b > 2300 || counts["2a$04"] == 0 || counts[ownHashKind] < 1700 ||
		len(counts) != 3 {
		t.Errorf("the shares are %v", counts)
	}
	again, err := New(h.issuer.config)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(kindsOf(again), before) {
		t.Error("after a restart names have other kinds")
	}

	n := 0
	h.update(func(r *store.Records) error {
		var some []store.User
		err := r.Users("", func(u store.User) error {
			if n < 100 && hashKind(u.PasswordHash) == "2y$10" {
				n++
				some = append(some, u)
			}
			return nil
		})
		for _, u := range some {
			u.PasswordHash = SomePasswordHash
			err = errors.Join(err, r.PutUser(&u))
		}
		return err
	})
	if !slices.Equal(kindsOf(h.issuer), before) {
		t.Error("people are counted at each attempt")
	}
	h.pass(countEvery)
	changed := 0
	for n, kind := range kindsOf(h.issuer) {
		if kind == before[n] {
			continue
		}
		changed++
		if kind != ownHashKind {
			t.Fatalf("a name went from %s to %s", before[n], kind)
		}
	}
	if changed < 700 || changed > 1300 {
		t.Errorf("%d names have changed", changed)
	}
	if right, err := PasswordMatches(t.Context(), SomePasswordHash, ""); right || err != nil {
		t.Errorf("the decoy is somebody's hash: %v %v", right, err)
	}
}

// TestNamesOfNobodyAreComparedWithForeignHashes: the sign-in itself takes now this kind, now that.
func TestNamesOfNobodyAreComparedWithForeignHashes(t *testing.T) {
	patiently(t)
	h := newHouse(t, withPeople(newVillage()))
	for range 24 { // none of one of the two kinds: once in eight million runs
		h.wantWrong("nobody"+store.NewID(time.Now()), wrongPassword, other)
		h.forgetAddress(other)
	}
	hashing.mu.Lock()
	defer hashing.mu.Unlock()
	for _, kind := range []string{ownHashKind, hashKind(configHash())} {
		if hashing.least[kind] == 0 {
			t.Errorf("no name is compared with %s", kind)
		}
	}
}
