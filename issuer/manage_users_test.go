package issuer

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
)

// session begins a session of a person, and returns its hash.
func (h *house) session(userID string) string {
	h.t.Helper()
	hash := store.HashSecret(store.NewID(time.Now()))
	err := h.db.Update(h.t.Context(), func(r *store.Records) error {
		return r.PutSession(&store.Session{
			ID: store.NewID(r.Now()), Hash: hash, UserID: userID, CreatedAt: r.Now(), AuthenticatedAt: r.Now(),
			IdleUntil: r.Now().Add(time.Hour), ExpiresAt: r.Now().Add(time.Hour),
		})
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return hash
}

// alive tells whether a session is good.
func (h *house) alive(hash string) bool {
	h.t.Helper()
	alive := false
	err := h.db.View(h.t.Context(), func(r *store.Records) error {
		s, err := r.Session(hash)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		u, err := h.issuer.personOf(h.t.Context(), r, s.UserID)
		if errors.Is(err, errNobody) {
			return nil
		}
		alive = err == nil && u.Stands(s.CreatedAt)
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return alive
}

// personal makes a personal access token.
func (h *house) personal(userID string) string {
	h.t.Helper()
	secret, _, err := h.issuer.CreatePersonalToken(h.t.Context(), userID, "test", nil, 0)
	if err != nil {
		h.t.Fatal(err)
	}
	return secret
}

// goodPersonal tells whether a personal access token is good.
func (h *house) goodPersonal(token string) bool {
	h.t.Helper()
	_, err := h.verifier.Verify(h.t.Context(), token, testIdentifier)
	return err == nil
}

// TestWhatEndsAPerson: sessions and tokens are over at once, and come back with nobody.
func TestWhatEndsAPerson(t *testing.T) {
	patiently(t)
	for name, end := range map[string]func(h *house, u UserInfo) error{
		"disabled": func(h *house, u UserInfo) error {
			_, err := h.issuer.UpdateUser(h.t.Context(), u.Name, UserChange{Disabled: new(true)})
			return err
		},
		"disabled and enabled": func(h *house, u UserInfo) error {
			_, err := h.issuer.UpdateUser(h.t.Context(), u.Name, UserChange{Disabled: new(true)})
			if err != nil {
				return err
			}
			_, err = h.issuer.UpdateUser(h.t.Context(), u.Name, UserChange{Disabled: new(false)})
			return err
		},
		"deleted": func(h *house, u UserInfo) error { return h.issuer.DeleteUser(h.t.Context(), u.Name) },
		"deleted and made again": func(h *house, u UserInfo) error {
			if err := h.issuer.DeleteUser(h.t.Context(), u.Name); err != nil {
				return err
			}
			h.account(u.Name, u.Email)
			return nil
		},
		"password set": func(h *house, u UserInfo) error {
			_, _, err := h.issuer.SetPassword(h.t.Context(), u.Name, wrongPassword)
			return err
		},
		"password changed": func(h *house, u UserInfo) error {
			_, err := h.issuer.changePassword(h.t.Context(), h.user(u.ID), rightPassword, wrongPassword)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			u, bystander := h.account("ann", "ann@example.com"), h.account("bob", "")
			session, personal := h.session(u.ID), h.personal(u.ID)
			bobs, bobsToken := h.session(bystander.ID), h.personal(bystander.ID)
			if !h.alive(session) || !h.goodPersonal(personal) || !h.alive(bobs) || !h.goodPersonal(bobsToken) {
				t.Fatal("nothing is good at the beginning")
			}
			if err := end(h, u); err != nil {
				t.Fatal(err)
			}
			if h.alive(session) {
				t.Error("the session goes on")
			}
			if h.goodPersonal(personal) {
				t.Error("the personal access token is good")
			}
			if !h.alive(bobs) || !h.goodPersonal(bobsToken) {
				t.Error("somebody else's have ended, too")
			}
		})
	}
}

// TestPeopleWhoLeaveTheirSource: what was given in their name is good no more, as long as they are away.
func TestPeopleWhoLeaveTheirSource(t *testing.T) {
	patiently(t)
	v := newVillage()
	h := newHouse(t, withPeople(v))
	u := h.wantSignIn("villager", rightPassword, home)
	session, personal := h.session(u.ID), h.personal(u.ID)
	profile := v.people["villager"]
	v.leave("villager")
	if h.issuer.UserKnown(u) || h.alive(session) || h.goodPersonal(personal) {
		t.Error("somebody who has left is still good")
	}
	h.wantWrong("villager", rightPassword, home)
	if info, err := h.issuer.User(t.Context(), "villager"); err != nil || info.Known {
		t.Errorf("the operator sees %+v, %v", info, err)
	}
	if err := h.issuer.DeleteUser(t.Context(), "villager"); err != nil {
		t.Errorf("somebody who has left cannot be deleted: %v", err)
	}
	v.people["villager"] = profile
	if again := h.wantSignIn("villager", rightPassword, home); again.ID == u.ID {
		t.Error("somebody who was deleted has the old ID")
	}
}

// TestPeopleOfTheConfiguration: what it says holds at once, also for who signed in before.
func TestPeopleOfTheConfiguration(t *testing.T) {
	patiently(t)
	h := newHouse(t, withPeople(newVillage()))
	demo := h.wantSignIn("demo", rightPassword, home)

	person := func() (u *store.User, err error) {
		err = h.db.View(t.Context(), func(r *store.Records) (err error) {
			u, err = h.issuer.personOf(t.Context(), r, demo.ID)
			return err
		})
		return u, err
	}
	config := h.issuer.config
	config.Users = []Person{{Name: "Demo", PasswordHash: configHash(), Scopes: []string{"write"}, Limited: true}}
	i, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	h.issuer = i
	if u, err := person(); err != nil || !slices.Equal(u.Scopes, []string{"write"}) || u.Email != "" || u.Name != "Demo" {
		t.Errorf("after a change of the configuration: %+v %v", u, err)
	}
	h.wantSignIn("demo", rightPassword, home)
	if u := h.user(demo.ID); !slices.Equal(u.Scopes, []string{"write"}) {
		t.Errorf("the record has the scopes %q", u.Scopes)
	}
	config.Users = nil
	if h.issuer, err = New(config); err != nil {
		t.Fatal(err)
	}
	if _, err := person(); !errors.Is(err, errNobody) {
		t.Errorf("out of the configuration: %v", err)
	}
	h.wantWrong("demo", rightPassword, home)
	// An account of the name is somebody else.
	if _, _, err := h.issuer.CreateUser(t.Context(), NewUser{Name: "demo", Password: wrongPassword}); !errors.Is(err, ErrUserTaken) {
		t.Errorf("an account with the name of somebody whose tokens may be good: %v", err)
	}
}

func TestFaultsOfPeopleInTheConfiguration(t *testing.T) {
	hash := configHash()
	for name, tc := range map[string]struct {
		people  []Person
		sources []Source
		want    string
	}{
		"no name":         {people: []Person{{PasswordHash: hash}}, want: "username: it is missing"},
		"odd name":        {people: []Person{{Name: "a\u202eb", PasswordHash: hash}}, want: "nobody sees"},
		"an ID":           {people: []Person{{Name: store.NewID(time.Now()), PasswordHash: hash}}, want: "form of an ID"},
		"long name":       {people: []Person{{Name: strings.Repeat("ä", 256), PasswordHash: hash}}, want: "more than 255"},
		"no hash":         {people: []Person{{Name: "a"}}, want: "password_hash is missing"},
		"no such hash":    {people: []Person{{Name: "a", PasswordHash: rightPassword}}, want: "neither an argon2id hash"},
		"email":           {people: []Person{{Name: "a", PasswordHash: hash, Email: "a@b@c"}}, want: "no email address"},
		"scope":           {people: []Person{{Name: "a", PasswordHash: hash, Scopes: []string{"a b"}}}, want: "no name for a scope"},
		"twice":           {people: []Person{{Name: "a", PasswordHash: hash}, {Name: "A", PasswordHash: hash}}, want: "twice"},
		"same source":     {sources: []Source{newVillage(), newVillage()}, want: `the name "village"`},
		"source's name":   {sources: []Source{&village{name: "config"}}, want: `the name "config"`},
		"nameless source": {sources: []Source{&village{}}, want: `the name ""`},
	} {
		t.Run(name, func(t *testing.T) {
			err := Check(Config{Users: tc.people, Sources: tc.sources})
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v, want something about %q", err, tc.want)
			}
			if err != nil && strings.Contains(err.Error(), rightPassword) {
				t.Error("the error has the password")
			}
		})
	}
	err := Check(Config{Users: []Person{{Name: "a@b.example", PasswordHash: hash, Email: "A@b.example"}}})
	if err != nil {
		t.Errorf("a name that is the person's email: %v", err)
	}
}

func TestCreateUser(t *testing.T) {
	patiently(t)
	h := newHouse(t, withPeople(newVillage()))
	ann := h.account("Ann", "ann@example.com")
	if ann.PasswordHash != "" || ann.ID == "" || !ann.Known {
		t.Errorf("made %+v", ann)
	}
	if events := h.told(); len(events) != 1 || events[0].Type != UserCreated || events[0].UserID != ann.ID {
		t.Errorf("told: %+v", events)
	}
	for name, tc := range map[string]struct {
		user NewUser
		want any
	}{
		"taken":                       {NewUser{Name: " ann", Password: rightPassword}, &InvalidError{}},
		"taken in capitals":           {NewUser{Name: "ANN", Password: rightPassword}, ErrUserTaken},
		"an email for a name":         {NewUser{Name: "ann@example.com", Password: rightPassword}, ErrUserTaken},
		"a name of the configuration": {NewUser{Name: "Demo", Password: rightPassword}, ErrUserTaken},
		"an email of it":              {NewUser{Name: "x", Email: "demo@example.com", Password: rightPassword}, ErrUserTaken},
		"a name of the village":       {NewUser{Name: "VILLAGER", Password: rightPassword}, ErrUserTaken},
		"no name":                     {NewUser{Password: rightPassword}, &InvalidError{}},
		"an unknown scope":            {NewUser{Name: "x", Limited: true, Scopes: []string{"nonsense"}}, &InvalidError{}},
		"a short password":            {NewUser{Name: "x", Password: "short"}, &PasswordError{}},
		"the name for the password":   {NewUser{Name: "annabella", Password: "Annabella"}, &PasswordError{}},
		"a password and a hash":       {NewUser{Name: "x", Password: rightPassword, PasswordHash: configHash()}, &InvalidError{}},
		"no hash":                     {NewUser{Name: "x", PasswordHash: "plain"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := h.issuer.CreateUser(t.Context(), tc.user)
			switch want := tc.want.(type) {
			case *InvalidError:
				if _, ok := errors.AsType[*InvalidError](err); !ok {
					t.Errorf("%v", err)
				}
			case *PasswordError:
				if _, ok := errors.AsType[*PasswordError](err); !ok {
					t.Errorf("%v", err)
				}
			case error:
				if !errors.Is(err, want) {
					t.Errorf("%v, want %v", err, want)
				}
			default:
				if err == nil {
					t.Error("no error")
				}
			}
		})
	}
	info, password, err := h.issuer.CreateUser(t.Context(), NewUser{Name: "bob", Limited: true})
	if err != nil || len(password) < 20 {
		t.Fatalf("made %q, %v", password, err)
	}
	if u := h.wantSignIn("bob", password, home); u.ID != info.ID || !u.Limited || len(u.Scopes) != 0 {
		t.Errorf("bob is %+v", u)
	}
}

// TestOneNameIsMadeOnce, though many ask for it at once.
func TestOneNameIsMadeOnce(t *testing.T) {
	patiently(t)
	h := newHouse(t)
	var made atomic.Int64
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			_, _, err := h.issuer.CreateUser(t.Context(), NewUser{Name: "ann", PasswordHash: configHash()})
			switch {
			case err == nil:
				made.Add(1)
			case !errors.Is(err, ErrUserTaken):
				t.Error(err)
			}
		})
	}
	all.Wait()
	if made.Load() != 1 {
		t.Errorf("made %d times", made.Load())
	}
}

func TestUpdateUser(t *testing.T) {
	patiently(t)
	h := newHouse(t, withPeople(newVillage()))
	ann := h.account("ann", "ann@example.com")
	h.account("bob", "bob@example.com")
	h.told()
	got, err := h.issuer.UpdateUser(t.Context(), "ann@example.com", UserChange{
		Email: new("Ann@example.org"), Scopes: new([]string{"read"}), DisplayName: new("Ann A."),
	})
	if err != nil || got.Email != "Ann@example.org" || !got.Limited || got.DisplayName != "Ann A." || got.ID != ann.ID {
		t.Errorf("changed to %+v, %v", got, err)
	}
	if events := h.told(); len(events) != 1 || events[0].Type != UserUpdated {
		t.Errorf("told: %+v", events)
	}
	h.wantSignIn("ann@example.org", rightPassword, home)
	h.wantWrong("ann@example.com", rightPassword, home)
	if got, err = h.issuer.UpdateUser(t.Context(), ann.ID, UserChange{AllScopes: true}); err != nil || got.Limited {
		t.Errorf("changed to %+v, %v", got, err)
	}
	for name, tc := range map[string]struct {
		who    string
		change UserChange
		want   error
	}{
		"nobody":              {"nobody", UserChange{Disabled: new(true)}, ErrUnknownUser},
		"no name":             {"", UserChange{Disabled: new(true)}, ErrUnknownUser},
		"an ID of nobody":     {store.NewID(time.Now()), UserChange{Disabled: new(true)}, ErrUnknownUser},
		"bob's email":         {"ann", UserChange{Email: new("BOB@example.com")}, ErrUserTaken},
		"demo's email":        {"ann", UserChange{Email: new("demo@example.com")}, ErrUserTaken},
		"the configuration":   {"demo", UserChange{Email: new("x@example.com")}, ErrUserElsewhere},
		"the village's scope": {"villager", UserChange{AllScopes: true}, ErrUserElsewhere},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := h.issuer.UpdateUser(t.Context(), tc.who, tc.change); !errors.Is(err, tc.want) {
				t.Errorf("%v, want %v", err, tc.want)
			}
		})
	}
	h.told()
	for _, who := range []string{"demo", "villager"} {
		if _, err := h.issuer.UpdateUser(t.Context(), who, UserChange{Disabled: new(true)}); err != nil {
			t.Errorf("%s cannot be disabled: %v", who, err)
		}
		h.wantWrong(who, rightPassword, home)
		if err := h.issuer.DeleteUser(t.Context(), who); !errors.Is(err, ErrUserElsewhere) {
			t.Errorf("deleting %s, who is there: %v", who, err)
		}
		if _, _, err := h.issuer.SetPassword(t.Context(), who, ""); !errors.Is(err, ErrUserElsewhere) {
			t.Errorf("a password for %s: %v", who, err)
		}
		if _, err := h.issuer.UpdateUser(t.Context(), who, UserChange{Disabled: new(false)}); err != nil {
			t.Error(err)
		}
		h.wantSignIn(who, rightPassword, home)
	}
	if events := h.told(); events[0].Type != UserDisabled || events[2].Type != UserEnabled {
		t.Errorf("told: %+v", events)
	}
}

func TestChangePassword(t *testing.T) {
	patiently(t)
	h := newHouse(t, withPeople(newVillage()))
	ann := h.account("ann", "")
	change := func(old, password string) error {
		_, err := h.issuer.changePassword(t.Context(), h.user(ann.ID), old, password)
		return err
	}
	h.told()
	for name, tc := range map[string]struct{ old, password string }{
		"the wrong one": {wrongPassword, "a new one that is long"}, "none": {"", "a new one that is long"},
		"one that is too long": {strings.Repeat("x", maxPassword+1), "a new one that is long"},
	} {
		if err := change(tc.old, tc.password); !errors.Is(err, errWrongLogin) {
			t.Errorf("%s: %v", name, err)
		}
		h.wantTold(Event{Type: PasswordRefused, UserID: ann.ID, Error: failedWrongPassword})
	}
	if _, ok := errors.AsType[*PasswordError](change(rightPassword, "short")); !ok {
		t.Error("a short password is taken")
	}
	demo := h.wantSignIn("demo", rightPassword, home)
	_, err := h.issuer.changePassword(t.Context(), demo, rightPassword, wrongPassword)
	if !errors.Is(err, ErrUserElsewhere) {
		t.Errorf("a password of the configuration is changed: %v", err)
	}
	h.told()
	if err := change(rightPassword, wrongPassword); err != nil {
		t.Fatal(err)
	}
	if events := h.told(); len(events) != 1 || events[0].Type != PasswordChanged || events[0].UserID != ann.ID {
		t.Errorf("told: %+v", events)
	}
	h.wantSignIn("ann", wrongPassword, home)
	h.wantWrong("ann", rightPassword, home)
	// Guessing, by who has found a browser that was left alone.
	for range 6 {
		_ = change(rightPassword, "a new one that is long")
	}
	h.told()
	if _, ok := errors.AsType[*tooManyError](change(wrongPassword, "a new one that is long")); !ok {
		t.Error("guessing at the old password costs nothing")
	}
	h.wantTold(Event{Type: PasswordRefused, UserID: ann.ID, Error: failedTooMany})
	h.pass(time.Minute)
	broken := store.ErrUnavailable
	h.engine.broken.Store(&broken)
	user := &store.User{ID: ann.ID, PasswordHash: configHash()}
	_, err = h.issuer.changePassword(t.Context(), user, wrongPassword, "a new one that is long")
	if !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("while the store is down: %v", err)
	}
	h.wantTold(Event{Type: PasswordRefused, UserID: ann.ID, Error: failedNotThere})
	h.engine.broken.Store(nil)
	if err := change(wrongPassword, "a new one that is long"); err != nil {
		t.Error(err)
	}
}

func TestUsers(t *testing.T) {
	patiently(t)
	v := newVillage()
	h := newHouse(t, withPeople(v))
	h.account("ann", "")
	h.wantSignIn("villager", rightPassword, home)
	h.account("bob", "")
	names := func(filter UserFilter) (names []string) {
		list, err := h.issuer.Users(t.Context(), filter)
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range list {
			if u.PasswordHash != "" {
				t.Errorf("the list has %s's hash", u.Name)
			}
			names = append(names, u.Name)
		}
		return names
	}
	want := []string{"demo", "ann", "Villager", "bob"}
	if got := names(UserFilter{}); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	demo := h.wantSignIn("demo", rightPassword, home)
	if got := names(UserFilter{}); !slices.Equal(got, want) {
		t.Errorf("after demo has signed in: %q, want %q", got, want)
	}
	if got := names(UserFilter{Limit: 2}); !slices.Equal(got, want[:2]) {
		t.Errorf("two of them: %q", got)
	}
	ann, err := h.issuer.User(t.Context(), "ann")
	if err != nil {
		t.Fatal(err)
	}
	if got := names(UserFilter{After: ann.ID}); !slices.Equal(got, want[2:]) {
		t.Errorf("after ann: %q", got)
	}
	for _, who := range []string{"demo", "DEMO@example.com", demo.ID} {
		if got, err := h.issuer.User(t.Context(), who); err != nil || got.ID != demo.ID {
			t.Errorf("%s is %+v, %v", who, got, err)
		}
	}
	// Two people of sources that tell only at sign-in may have one email.
	for n, id := range []string{"1", "2"} {
		v.people[id] = Profile{ID: id, Username: "twin" + id, Email: "twins@example.com"}
		h.wantSignIn(id, rightPassword, home)
		_, err := h.issuer.User(t.Context(), "twins@example.com")
		if n == 0 && err != nil || n == 1 && !errors.Is(err, ErrTwoUsers) {
			t.Errorf("%d have the email: %v", n+1, err)
		}
	}
}

// TestAskingForPeopleMakesThem: an operator who names somebody of the configuration gets an ID that stays.
func TestAskingForPeopleMakesThem(t *testing.T) {
	patiently(t)
	h := newHouse(t, withPeople(newVillage()))
	for _, who := range []string{"demo", "villager"} {
		first, err := h.issuer.User(t.Context(), who)
		if err != nil || first.ID == "" {
			t.Fatalf("%s is %+v, %v", who, first, err)
		}
		updates := h.engine.updates.Load()
		again, err := h.issuer.User(t.Context(), who)
		if err != nil || again.ID != first.ID || h.engine.updates.Load() != updates {
			t.Errorf("%s is %s and then %s, %v", who, first.ID, again.ID, err)
		}
		if u := h.wantSignIn(who, rightPassword, home); u.ID != first.ID {
			t.Errorf("%s signs in as %s, not as %s", who, u.ID, first.ID)
		}
	}
}
