package issuer

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/oauth2-passport/caddy-passport/issuer/keys"
	"github.com/oauth2-passport/caddy-passport/store"
	"github.com/oauth2-passport/caddy-passport/store/badgerstore"
)

const (
	rightPassword = "correct horse battery staple nine"
	wrongPassword = "another horse battery staple nine"

	home  = "192.0.2.7"
	other = "198.51.100.9"
)

// patiently gives tests a queue that does not rest, and answers that are not held back, for as long as the test runs.
func patiently(t testing.TB) {
	t.Helper()
	before, brakes := hashing, holding
	hashing = newHashQueue(runtime.GOMAXPROCS(0))
	hashing.savings = 24 * time.Hour
	holding = newBrake(0)
	t.Cleanup(func() { hashing, holding = before, brakes })
}

// configHash is a hash of rightPassword that costs little.
var configHash = sync.OnceValue(func() string {
	hash, err := bcrypt.GenerateFromPassword([]byte(rightPassword), bcrypt.MinCost)
	if err != nil {
		panic(err)
	}
	return string(hash)
})

// village is a source of people in memory.
type village struct {
	name   string
	mu     sync.Mutex
	people map[string]Profile // by folded usernames; everybody has rightPassword
	fault  error
	asked  int
}

func (v *village) Name() string { return v.name }

func (v *village) Check(_ context.Context, login, password string) (Profile, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.asked++
	p, ok := v.people[store.FoldLogin(login)]
	switch {
	case v.fault != nil:
		return Profile{}, v.fault
	case !ok:
		return Profile{}, ErrUnknownPerson
	case password != rightPassword:
		return Profile{}, ErrWrongPassword
	}
	return p, nil
}

func (v *village) Find(login string) (Profile, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	p, ok := v.people[store.FoldLogin(login)]
	return p, ok
}

func (v *village) Hashes() []string { return nil }

func (v *village) leave(name string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.people, name)
}

// withPeople gives a house a person of the configuration, demo, and a village with villager.
func withPeople(v *village) func(*Config) {
	return func(c *Config) {
		c.Users = []Person{
			{Name: "demo", PasswordHash: configHash(), Email: "demo@example.com", Limited: true, Scopes: []string{"read"}},
		}
		c.Sources = []Source{v}
	}
}

func newVillage() *village {
	return &village{name: "village", people: map[string]Profile{
		"villager": {ID: "villager", Username: "Villager", Email: "v@example.com"},
	}}
}

// account makes an account with rightPassword.
func (h *house) account(name, email string) UserInfo {
	h.t.Helper()
	info, made, err := h.issuer.CreateUser(h.t.Context(), NewUser{Name: name, Email: email, Password: rightPassword})
	if err != nil {
		h.t.Fatalf("making %s: %v", name, err)
	}
	if made != "" {
		h.t.Errorf("a password was made for %s, who has one", name)
	}
	return info
}

func (h *house) wantSignIn(login, password, from string) *store.User {
	h.t.Helper()
	u, err := h.issuer.signIn(h.t.Context(), login, password, guesser{address: from})
	if err != nil {
		h.t.Fatalf("signing in as %q: %v", login, err)
	}
	return u
}

func (h *house) wantWrong(login, password, from string) {
	h.t.Helper()
	u, err := h.issuer.signIn(h.t.Context(), login, password, guesser{address: from})
	if !errors.Is(err, errWrongLogin) || u != nil {
		h.t.Errorf("signing in as %q: %v %v, want %v", login, u, err, errWrongLogin)
	}
}

// wait is how long a sign-in is told to wait; zero when it is not.
func (h *house) wait(login, password, from string) time.Duration {
	h.t.Helper()
	_, err := h.issuer.signIn(h.t.Context(), login, password, guesser{address: from})
	if tooMany, ok := errors.AsType[*tooManyError](err); ok {
		return tooMany.RetryAfter
	}
	if err != nil && !errors.Is(err, errWrongLogin) {
		h.t.Fatalf("signing in as %q: %v", login, err)
	}
	return 0
}

func TestSignIn(t *testing.T) {
	patiently(t)
	v := newVillage()
	h := newHouse(t, withPeople(v))
	ann := h.account("Ann", "Ann@Example.com")
	h.told()

	for _, login := range []string{"Ann", " ann ", "ANN", "ann@example.com"} {
		if u := h.wantSignIn(login, rightPassword, home); u.ID != ann.ID || u.SignedInAt.IsZero() {
			t.Errorf("%q signs in as %+v", login, u)
		}
	}
	events := h.told()
	if len(events) != 4 || events[0].Type != SignInSucceeded || events[0].UserID != ann.ID {
		t.Errorf("told: %+v", events)
	}

	demo := h.wantSignIn("DEMO@example.com", rightPassword, home)
	if demo.Source != configSource || demo.External != "demo" || !demo.Limited || demo.Name != "demo" {
		t.Errorf("demo is %+v", demo)
	}
	if again := h.wantSignIn("demo", rightPassword, home); again.ID != demo.ID {
		t.Errorf("demo is %s, and then %s", demo.ID, again.ID)
	}
	villager := h.wantSignIn("villager", rightPassword, home)
	if villager.Source != "village" || villager.Email != "v@example.com" || villager.Limited {
		t.Errorf("the villager is %+v", villager)
	}

	h.told()
	for _, try := range map[string][2]string{
		"wrong password":                    {"Ann", wrongPassword},
		"wrong password of the config":      {"demo", wrongPassword},
		"wrong password in the village":     {"villager", wrongPassword},
		"nobody":                            {"nobody", rightPassword},
		"no login":                          {" ", rightPassword},
		"no password":                       {"Ann", ""},
		"a password with more than a byte":  {"Ann", rightPassword + " "},
		"a password that is too long":       {"Ann", strings.Repeat("x", maxPassword+1)},
		"a login that is too long":          {strings.Repeat("x", maxLogin+1), rightPassword},
		"a login with a zero":               {"Ann\x00", rightPassword},
		"the hash for the password":         {"demo", configHash()},
		"the email of nobody":               {"nobody@example.com", rightPassword},
		"the ID of a person for its login":  {ann.ID, rightPassword},
		"a password in another composition": {"Ann", strings.ToUpper(rightPassword)},
	} {
		h.wantWrong(try[0], try[1], "")
	}
	for _, e := range h.told() {
		if e.Type != SignInFailed || e.Error != failedWrong {
			t.Errorf("told: %+v", e)
		}
	}
}

// TestSignInWithUmlauts: one password, typed on two keyboards, and a name in capitals.
func TestSignInWithUmlauts(t *testing.T) {
	patiently(t)
	h := newHouse(t)
	const composed, decomposed = "schöne grüße aus köln", "scho\u0308ne gru\u0308ße aus ko\u0308ln"
	if _, _, err := h.issuer.CreateUser(t.Context(), NewUser{Name: "Jürgen", Password: composed}); err != nil {
		t.Fatal(err)
	}
	h.wantSignIn("JÜRGEN", decomposed, home)
	h.wantSignIn("jürgen", composed, home)
}

func TestOldHashesAreReplaced(t *testing.T) {
	patiently(t)
	h := newHouse(t)
	hash, err := bcrypt.GenerateFromPassword([]byte(rightPassword), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	laravel := strings.Replace(string(hash), "$2a$", "$2y$", 1)
	info, _, err := h.issuer.CreateUser(t.Context(), NewUser{Name: "ann", PasswordHash: laravel})
	if err != nil {
		t.Fatal(err)
	}
	h.wantWrong("ann", wrongPassword, home)
	busy, free := context.WithCancel(t.Context())
	var others sync.WaitGroup
	others.Go(func() { // the line is half a second long all the time
		for ; busy.Err() == nil; time.Sleep(time.Millisecond) {
			hashing.mu.Lock()
			hashing.paid[strangers] = time.Now().Add(500 * time.Millisecond)
			hashing.mu.Unlock()
		}
	})
	h.wantSignIn("ann", rightPassword, home) // it is not worth making anybody wait for
	free()
	others.Wait()
	if u := h.user(info.ID); isOwnHash(u.PasswordHash) {
		t.Error("the hash was replaced though others wait")
	}
	hashing.paid[strangers] = time.Time{}
	h.wantSignIn("ann", rightPassword, home)
	if u := h.user(info.ID); !isOwnHash(u.PasswordHash) {
		t.Errorf("the hash is %.10s…", u.PasswordHash)
	}
	h.wantSignIn("ann", rightPassword, home)
	h.wantWrong("ann", wrongPassword, home)
}

// user is the record of a person.
func (h *house) user(id string) *store.User {
	h.t.Helper()
	var u *store.User
	err := h.db.View(h.t.Context(), func(r *store.Records) (err error) {
		u, err = r.User(id)
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return u
}

// TestNamesAreNotToldApartByWork counts hashes, which are all that takes time: each attempt costs one, whoever has the
// name.
func TestNamesAreNotToldApartByWork(t *testing.T) {
	patiently(t)
	v := &village{name: "village"}
	h := newHouse(t, withPeople(v))
	h.account("ann", "ann@example.com")
	off := h.account("off", "")
	disabled := true
	if _, err := h.issuer.UpdateUser(t.Context(), off.ID, UserChange{Disabled: &disabled}); err != nil {
		t.Fatal(err)
	}
	h.wantWrong("first", wrongPassword, other) // which counts how people are hashed
	for name, login := range map[string]string{
		"an account": "ann", "an email": "ann@example.com", "the configuration": "demo", "somebody disabled": "off",
		"nobody": "nobody", "nobody's email": "nobody@example.com",
	} {
		t.Run(name, func(t *testing.T) {
			before, views, updates := hashing.hashes.Load(), h.engine.views.Load(), h.engine.updates.Load()
			h.wantWrong(login, wrongPassword, home)
			if n := hashing.hashes.Load() - before; n != 1 {
				t.Errorf("%d hashes, want 1", n)
			}
			if v, u := h.engine.views.Load()-views, h.engine.updates.Load()-updates; v != 2 || u != 1 {
				t.Errorf("%d views and %d updates, want 2 and 1", v, u)
			}
			h.forgetAddress(home)
		})
	}
	before := hashing.hashes.Load()
	h.wantWrong("off", rightPassword, home)
	if n := hashing.hashes.Load() - before; n != 1 {
		t.Errorf("somebody disabled, with the right password: %d hashes, want 1", n)
	}
}

// forgetAddress lets a test go on from an address.
func (h *house) forgetAddress(ip string) {
	h.t.Helper()
	err := h.db.Update(h.t.Context(), func(r *store.Records) error { return r.ForgetGuesses(guessAddress, addressSubject(ip)) })
	if err != nil {
		h.t.Fatal(err)
	}
}

// TestGuessingAPassword: five wrong ones are free; then each makes the wait longer, up to a minute.
func TestGuessingAPassword(t *testing.T) {
	patiently(t)
	for name, login := range map[string]string{"an account": "ann", "nobody": "nobody", "the configuration": "demo"} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, withPeople(newVillage()))
			h.account("ann", "")
			for range 6 {
				if wait := h.wait(login, wrongPassword, home); wait != 0 {
					t.Fatalf("one of the first guesses waits %s", wait)
				}
			}
			for want := time.Second; want < 2*time.Minute; want *= 2 {
				want := min(want, time.Minute)
				wait := h.wait(login, rightPassword, home)
				if wait <= want-time.Second || wait > want {
					t.Fatalf("the wait is %s, want %s", wait, want)
				}
				if another := h.wait(login, rightPassword, other); another == 0 {
					t.Fatal("another address does not wait")
				}
				h.pass(wait)
				if wait := h.wait(login, wrongPassword, home); wait != 0 {
					t.Fatalf("after the wait there are %s more", wait)
				}
			}
		})
	}
}

// TestTwentyGuessesInARow is the contract's sentence: the first five cost nothing, by the twentieth it is 429.
func TestTwentyGuessesInARow(t *testing.T) {
	patiently(t)
	h := newHouse(t)
	h.account("ann", "")
	for range 5 {
		h.wantWrong("ann", wrongPassword, home)
	}
	h.wantSignIn("ann", rightPassword, home)
	waits := 0
	for range 20 {
		if h.wait("ann", wrongPassword, home) > 0 {
			waits++
		}
	}
	if waits == 0 {
		t.Error("nobody was told to wait")
	}
}

// TestGuessingAtManyNames: an address waits, too.
func TestGuessingAtManyNames(t *testing.T) {
	patiently(t)
	h := newHouse(t)
	h.account("ann", "")
	waits := 0
	for n := range 20 {
		if h.wait(fmt.Sprint("name", n), wrongPassword, "2001:db8::1") > 0 {
			waits++
		}
	}
	if waits == 0 {
		t.Fatal("an address guesses at twenty names and does not wait")
	}
	if h.wait("ann", rightPassword, "2001:db8::2:2") == 0 {
		t.Error("another address of the same /64 does not wait")
	}
	h.wantSignIn("ann", rightPassword, "2001:db8:0:1::1")
	h.wantSignIn("ann", rightPassword, home)
	// Its own account does not make an end of the wait.
	h.pass(time.Minute)
	h.wantSignIn("ann", rightPassword, "2001:db8::1")
	if h.wait("name99", wrongPassword, "2001:db8::1") > 0 {
		t.Error("it waits longer than it was told")
	}
	if h.wait("name99", wrongPassword, "2001:db8::1") == 0 {
		t.Error("a right password makes the address forget its guesses")
	}
	h.pass(time.Hour)
	h.wantWrong("name99", wrongPassword, "2001:db8::1")
}

// TestSignInForgetsGuesses: what was guessed before counts no more.
func TestSignInForgetsGuesses(t *testing.T) {
	patiently(t)
	h := newHouse(t)
	h.account("ann", "ann@example.com")
	for round := range 4 {
		for range 5 {
			h.wantWrong("ann", wrongPassword, home)
			h.forgetAddress(home)
		}
		if round%2 == 0 {
			h.wantSignIn("ann@example.com", rightPassword, home)
		} else {
			h.wantSignIn("ann", rightPassword, home)
		}
	}
	for range 6 {
		h.wantWrong("ann", wrongPassword, home)
	}
	if h.wait("ann", rightPassword, home) == 0 {
		t.Fatal("there is no wait")
	}
	h.pass(24*time.Hour + time.Second)
	h.wantSignIn("ann", rightPassword, other)
}

// TestGuessingInParallel: many guesses at once are no more than many in a row.
func TestGuessingInParallel(t *testing.T) {
	patiently(t)
	h := newHouse(t)
	h.account("ann", "")
	var looked atomic.Int64
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if _, err := h.issuer.signIn(t.Context(), "ann", wrongPassword, guesser{address: home}); errors.Is(err, errWrongLogin) {
				looked.Add(1)
			}
		})
	}
	all.Wait()
	if n := looked.Load(); n > 6 || n < 5 {
		t.Errorf("%d passwords were looked at", n)
	}
	if len(h.issuer.turns.lines) != 0 {
		t.Errorf("%d lines are left", len(h.issuer.turns.lines))
	}
}

// TestGuessesOutliveARestart, of the same database on disk.
func TestGuessesOutliveARestart(t *testing.T) {
	patiently(t)
	dir := filepath.Join(t.TempDir(), "database")
	ahead := time.Duration(0)
	open := func() (*Issuer, func()) {
		badger, err := badgerstore.Open(badgerstore.Options{Dir: dir, MinFree: -1})
		if err != nil {
			t.Fatal(err)
		}
		db, err := store.Open(t.Context(), badger, "default", func() time.Time { return time.Now().Add(ahead) })
		if err != nil {
			t.Fatal(err)
		}
		ring, err := keys.Open(t.Context(), keys.Config{DB: db, Retain: func() time.Duration { return time.Hour }})
		if err != nil {
			t.Fatal(err)
		}
		i, err := New(Config{DB: db, Ring: ring})
		if err != nil {
			t.Fatal(err)
		}
		return i, func() {
			db.Close()
			if err := badger.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	i, shut := open()
	if _, _, err := i.CreateUser(t.Context(), NewUser{Name: "ann", Password: rightPassword}); err != nil {
		t.Fatal(err)
	}
	for n := range 12 { // one after the other, each as soon as it may
		from := guesser{address: fmt.Sprintf("192.0.2.%d", n)}
		if _, err := i.signIn(t.Context(), "ann", wrongPassword, from); !errors.Is(err, errWrongLogin) {
			t.Fatalf("guess %d: %v", n, err)
		}
		ahead += time.Minute
	}
	ahead -= time.Minute
	shut()
	i, shut = open()
	defer shut()
	_, err := i.signIn(t.Context(), "ann", rightPassword, guesser{address: home})
	if tooMany, ok := errors.AsType[*tooManyError](err); !ok || tooMany.RetryAfter < 30*time.Second {
		t.Errorf("after a restart the answer is %v, want a wait of a minute", err)
	}
}

// TestSignInFails: what cannot be told is no wrong password, and costs nobody anything.
func TestSignInFails(t *testing.T) {
	patiently(t)
	v := newVillage()
	h := newHouse(t, withPeople(v))
	h.account("ann", "")
	v.fault = errors.New("the village is asleep")
	h.told()
	_, err := h.issuer.signIn(t.Context(), "villager", rightPassword, guesser{address: home})
	if err == nil || errors.Is(err, errWrongLogin) {
		t.Errorf("the village is asleep, and the answer is %v", err)
	}
	if events := h.told(); len(events) != 1 || events[0].Error != failedNotThere {
		t.Errorf("told: %+v", events)
	}
	v.fault = nil
	for range 30 {
		v.fault = errors.New("the village is asleep")
		_, _ = h.issuer.signIn(t.Context(), "villager", wrongPassword, guesser{address: home})
	}
	v.fault = nil
	h.wantSignIn("villager", rightPassword, home)

	broken := errors.New("the disk is gone")
	h.engine.broken.Store(&broken)
	if _, err := h.issuer.signIn(t.Context(), "ann", rightPassword, guesser{address: home}); !errors.Is(err, broken) {
		t.Errorf("the disk is gone, and the answer is %v", err)
	}
	h.engine.broken.Store(nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.issuer.signIn(ctx, "ann", rightPassword, guesser{address: home}); err == nil {
		t.Error("somebody signs in who is gone")
	}
}

// TestSignInAgainstAChange: a password that is changed, or a person who is disabled, while the old one is compared.
func TestSignInAgainstAChange(t *testing.T) {
	patiently(t)
	for name, change := range map[string]func(h *house, id string) error{
		"password": func(h *house, id string) error {
			_, _, err := h.issuer.SetPassword(h.t.Context(), id, wrongPassword)
			return err
		},
		"disabled": func(h *house, id string) error {
			disabled := true
			_, err := h.issuer.UpdateUser(h.t.Context(), id, UserChange{Disabled: &disabled})
			return err
		},
		"deleted": func(h *house, id string) error { return h.issuer.DeleteUser(h.t.Context(), id) },
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			ann := h.account("ann", "")
			meanwhile := func() {
				if err := change(h, ann.ID); err != nil {
					t.Error(err)
				}
			}
			h.engine.beforeUpdate.Store(&meanwhile)
			h.wantWrong("ann", rightPassword, home)
		})
	}
}

// TestImpostors: no source gives somebody the name of a person who comes first.
func TestImpostors(t *testing.T) {
	patiently(t)
	v := newVillage()
	v.people["mallory"] = Profile{ID: "1", Username: "Demo"}
	v.people["mallory2"] = Profile{ID: "2", Username: "Ann"}
	v.people["mallory3"] = Profile{ID: "3", Username: "demo@example.com"}
	v.people["odd"] = Profile{ID: "4", Username: "a\nb"}
	second := &village{name: "second", people: map[string]Profile{"mallory4": {ID: "5", Username: "Villager"}}}
	h := newHouse(t, withPeople(v), func(c *Config) { c.Sources = append(c.Sources, second) })
	h.account("ann", "")
	for _, login := range []string{"mallory", "mallory2", "mallory3", "mallory4"} {
		h.wantWrong(login, rightPassword, home)
	}
	if _, err := h.issuer.signIn(t.Context(), "odd", rightPassword, guesser{address: home}); err == nil {
		t.Error("a name with a line break signs in")
	}
}

// TestBorrowedEmailForgivesNoGuesses: an email that a source tells of, and nobody has proven, is no way around the limits
// of whom it belongs to.
func TestBorrowedEmailForgivesNoGuesses(t *testing.T) {
	patiently(t)
	v := newVillage()
	v.people["mallory"] = Profile{ID: "1", Username: "mallory", Email: "ann@example.com"}
	h := newHouse(t, withPeople(v))
	h.account("ann", "ann@example.com")
	for range 3 {
		for range 4 {
			if h.wait("ann@example.com", wrongPassword, other) > 0 {
				return
			}
			h.forgetAddress(other)
		}
		h.wantSignIn("mallory", rightPassword, other)
	}
	t.Fatal("twelve guesses cost nothing")
}

// TestAFloodOfSignIns: a thousand at once, from as many addresses and for as many names. A few hash, a few wait, all
// others are told to come again, and the memory stays where it is.
func TestAFloodOfSignIns(t *testing.T) {
	before := hashing
	hashing = newHashQueue(runtime.GOMAXPROCS(0))
	t.Cleanup(func() { hashing = before })
	h := newHouse(t)
	runtime.GC()
	var start, peak runtime.MemStats
	runtime.ReadMemStats(&start)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	var all sync.WaitGroup
	var refused atomic.Int64
	for n := range 1000 {
		all.Go(func() {
			_, err := h.issuer.signIn(ctx, fmt.Sprint("name", n), wrongPassword, guesser{address: fmt.Sprintf("10.%d.%d.1", n/250, n%250)})
			if _, ok := errors.AsType[*tooManyError](err); ok {
				refused.Add(1)
			}
		})
	}
	all.Wait()
	runtime.ReadMemStats(&peak)
	hashed := hashing.hashes.Load()
	if hashed == 0 || refused.Load() < 1000-maxHashing-hashed {
		t.Errorf("%d hashed, %d were told to come again", hashed, refused.Load())
	}
	if grown := int64(peak.Sys) - int64(start.Sys); grown > 200<<20 {
		t.Errorf("the memory has grown by %d MB", grown>>20)
	}
	if len(hashing.slots)+len(hashing.places)+len(h.issuer.turns.lines) != 0 {
		t.Error("something is left of the flood")
	}
}

// TestGuessingPasswordsOverHTTP: the page answers 429 with Retry-After; before, nothing tells who has an account.
func TestGuessingPasswordsOverHTTP(t *testing.T) {
	patiently(t)
	h := signInHouse(t)
	answers := make(map[string]string)
	for _, name := range []string{"ada", "eve"} {
		b := h.browser()
		for n := range 7 {
			page := b.post("/oauth/login", b.get("/oauth/login").form("username", name, "password", wrongPassword))
			want := http.StatusUnauthorized
			if n == 6 {
				want = http.StatusTooManyRequests
			}
			if page.StatusCode != want || (page.Header.Get("Retry-After") != "") != (n == 6) {
				t.Errorf("guess %d at %s: %d, Retry-After %q", n, name, page.StatusCode, page.Header.Get("Retry-After"))
			}
			if n == 0 {
				text := hiddenInput.ReplaceAllString(page.text, "")
				answers[name] = strings.ReplaceAll(text, name, "")
			}
		}
		h.forgetAddress("192.0.2.1")
	}
	if answers["ada"] != answers["eve"] {
		t.Errorf("the answers differ:\n%s\n%s", answers["ada"], answers["eve"])
	}
}
