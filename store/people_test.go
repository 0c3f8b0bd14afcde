package store_test

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
)

func (h *house) putUser(u store.User) *store.User {
	h.Helper()
	h.update(func(r *store.Records) error { return r.PutUser(&u) })
	return &u
}

// userID is the ID of whom find finds, or the error.
func (h *house) userID(find func(r *store.Records) (*store.User, error)) string {
	h.Helper()
	var id string
	h.view(func(r *store.Records) error {
		u, err := find(r)
		if errors.Is(err, store.ErrNotFound) {
			id = "nobody"
			return nil
		}
		if err == nil {
			id = u.ID
		}
		return err
	})
	return id
}

func (h *house) login(login string) string {
	h.Helper()
	return h.userID(func(r *store.Records) (*store.User, error) { return r.UserByLogin(login) })
}

func (h *house) wantLogin(login, want string) {
	h.Helper()
	if got := h.login(login); got != want {
		h.Errorf("the login %q is that of %s, want %s", login, got, want)
	}
}

func TestUsers(t *testing.T) {
	h := newHouse(t)
	full := store.User{
		ID: "u1", Name: "Ann", Email: "Ann@Example.com", DisplayName: "Ann A", PasswordHash: "x", Limited: true,
		Scopes: []string{"read"},
	}
	written := h.putUser(full)
	h.view(func(r *store.Records) error {
		got, err := r.User("u1")
		if !reflect.DeepEqual(got, written) || !got.CreatedAt.Equal(start) {
			t.Errorf("read %s, want %s", dump(got), dump(written))
		}
		return err
	})
	for _, login := range []string{"Ann", "ann", " ANN ", "ann@example.com", "ANN@EXAMPLE.COM"} {
		h.wantLogin(login, "u1")
	}
	h.wantLogin("", "nobody")
	h.wantLogin("a", "nobody")

	t.Run("a name that is taken", func(t *testing.T) {
		for name, u := range map[string]store.User{
			"name":                  {ID: "u2", Name: "aNN"},
			"name that is an email": {ID: "u2", Name: "ann@example.com"},
			"email":                 {ID: "u2", Name: "bob", Email: "ann@example.com"},
			"email that is a name":  {ID: "u2", Name: "bob", Email: "ann"},
		} {
			err := h.db.Update(t.Context(), func(r *store.Records) error { return r.PutUser(&u) })
			h.wantError(name, err, store.ErrTaken)
		}
	})
	t.Run("renaming", func(t *testing.T) {
		renamed := *written
		renamed.Name, renamed.Email = "Anna", "ann"
		h.putUser(renamed)
		h.wantLogin("anna", "u1")
		h.wantLogin("ann", "u1")
		h.wantLogin("ann@example.com", "nobody")
		h.putUser(store.User{ID: "u2", Name: "ann@example.com"})
		h.wantLogin("ann@example.com", "u2")
	})
	t.Run("another source", func(t *testing.T) {
		h.putUser(store.User{ID: "u3", Name: "Anna", Source: "htpasswd", External: "a/b"})
		h.wantLogin("anna", "u1")
		for external, want := range map[string]string{"a/b": "u3", "a": "nobody", "a%2Fb": "nobody"} {
			got := h.userID(func(r *store.Records) (*store.User, error) { return r.UserBySource("htpasswd", external) })
			if got != want {
				t.Errorf("%s: %s, want %s", external, got, want)
			}
		}
	})
	t.Run("no name, no ID", func(t *testing.T) {
		for _, u := range []store.User{{Name: "x"}, {ID: "x"}, {ID: "x", Name: "  "}} {
			if err := h.db.Update(t.Context(), func(r *store.Records) error { return r.PutUser(&u) }); err == nil {
				t.Errorf("%+v is taken", u)
			}
		}
	})
	all := ids(h, func(r *store.Records, fn func(store.User) error) error { return r.Users("", fn) },
		func(u store.User) string { return u.ID })
	h.want("users", all, "u1", "u2", "u3")
}

// TestDisabledPersonsClientsLoseTheirTokens disables a person who has registered a client, and enables it again.
func TestDisabledPersonsClientsLoseTheirTokens(t *testing.T) {
	h := newHouse(t)
	u := h.putUser(store.User{ID: "u", Name: "ann"})
	h.putClient(store.Client{ID: "own", UserID: "u"})
	h.putClient(store.Client{ID: "c", UserID: "other"})
	before, others := h.putToken("before", "own", "bob"), h.putToken("others", "c", "bob")
	h.pass(time.Second)
	disabled := *u
	disabled.Disabled = true
	h.putUser(disabled)
	ended := h.now
	h.pass(time.Second)
	h.putUser(store.User{ID: "u", Name: "ann"})
	h.wantRevoked(before, true)
	h.wantRevoked(others, false)
	h.wantRevoked(h.putToken("after", "own", "bob"), false)
	if own, c := h.client("own"), h.client("c"); !own.TokensNotBefore.Equal(ended) || !c.TokensNotBefore.IsZero() {
		t.Errorf("the clients: %s, %s", dump(own), dump(c))
	}
}

// TestRestoreDisablesAPersonWithClients restores a backup in which somebody is disabled who is not any more: what the
// person's clients have been given since does not come alive when the person is enabled again.
func TestRestoreDisablesAPersonWithClients(t *testing.T) {
	h := newHouse(t)
	h.putUser(store.User{ID: "u", Name: "ann", Disabled: true})
	h.putClient(store.Client{ID: "own", UserID: "u"})
	data := h.backup()
	h.pass(time.Minute)
	h.putUser(store.User{ID: "u", Name: "ann"})
	token := h.putToken("since", "own", "bob")
	h.pass(time.Minute)
	h.restore(data)
	h.wantRevoked(token, true)
	if got := h.client("own").TokensNotBefore; !got.Equal(h.now) {
		t.Errorf("tokens are good from %s on", got)
	}
}

// TestDisabledPersonsThingsStayEnded disables a person and enables it again.
func TestDisabledPersonsThingsStayEnded(t *testing.T) {
	h := newHouse(t)
	u := h.putUser(store.User{ID: "u", Name: "ann"})
	before := h.putToken("before", "c", "u")
	h.putSession("s", "u")
	h.pass(time.Second)
	disabled := *u
	disabled.Disabled = true
	h.putUser(disabled)
	h.wantRevoked(before, true)
	h.want("sessions", h.sessions("u"))
	h.pass(time.Second)
	enabled := store.User{ID: "u", Name: "ann"} // made anew: what was forgotten must not come back
	h.putUser(enabled)
	h.pass(time.Second)
	h.wantRevoked(before, true)
	h.wantRevoked(h.putToken("after", "c", "u"), false)
	h.view(func(r *store.Records) error {
		u, err := r.User("u")
		for at, want := range map[time.Time]bool{
			start: false, start.Add(time.Second): false, start.Add(time.Second + 1): true,
		} {
			if got := u.Stands(at); got != want {
				t.Errorf("given at %v it stands: %v, want %v", at, got, want)
			}
		}
		return err
	})
}

func TestDeleteUser(t *testing.T) {
	h := newHouse(t)
	h.putUser(store.User{ID: "u", Name: "ann", Email: "a@b"})
	h.putUser(store.User{ID: "other", Name: "bob"})
	h.putUser(store.User{ID: "far", Name: "ann", Source: "http", External: "7"})
	h.putClient(store.Client{ID: "own", UserID: "u"})
	h.putClient(store.Client{ID: "c", UserID: "other"})
	token := h.putToken("t", "c", "u")
	for _, user := range []string{"u", "other"} {
		h.putSession("s-"+user, user)
		h.update(func(r *store.Records) error { return r.PutConsent(&store.Consent{UserID: user, ClientID: "c"}) })
	}
	h.update(func(r *store.Records) error { return errors.Join(r.DeleteUser("u"), r.DeleteUser("far")) })
	h.wantRevoked(token, true)
	h.wantLogin("ann", "nobody")
	h.wantLogin("a@b", "nobody")
	h.want("clients", h.clients(""), "c")
	h.want("sessions of the other", h.sessions("other"), "s-other")
	for _, key := range h.keys() {
		gone := strings.Contains(key, "/u/") || strings.HasSuffix(key, "/u") || strings.Contains(key, "user-source")
		if gone && !strings.Contains(key, "token") && !strings.Contains(key, "/gone/") {
			t.Errorf("the person has left %s", key)
		}
	}
	h.putUser(store.User{ID: "next", Name: "ann"}) // the name is free
	err := h.db.Update(t.Context(), func(r *store.Records) error { return r.DeleteUser("u") })
	h.wantError("deleting a person who is gone", err, store.ErrNotFound)
}

func (h *house) putSession(id, user string) *store.Session {
	h.Helper()
	s := &store.Session{
		ID: id, Hash: "hash-" + id, UserID: user, CreatedAt: h.now, SeenAt: h.now, AuthenticatedAt: h.now,
		IdleUntil: h.now.Add(2 * time.Hour), ExpiresAt: h.now.Add(12 * time.Hour),
	}
	h.update(func(r *store.Records) error { return r.PutSession(s) })
	return s
}

func (h *house) sessions(user string) []string {
	h.Helper()
	return ids(h, func(r *store.Records, fn func(store.Session) error) error { return r.SessionsOfUser(user, fn) },
		func(s store.Session) string { return s.ID })
}

func (h *house) session(hash string) (s *store.Session, err error) {
	h.Helper()
	err = h.db.View(h.Context(), func(r *store.Records) error {
		s, err = r.Session(hash)
		return err
	})
	return s, err
}

func TestSessions(t *testing.T) {
	h := newHouse(t)
	written := h.putSession("s1", "u")
	if got, err := h.session("hash-s1"); err != nil || !reflect.DeepEqual(got, written) {
		t.Errorf("read %s, %v; want %s", dump(got), err, dump(written))
	}
	h.putSession("s2", "u")
	h.putSession("s3", "v")
	h.want("sessions", h.sessions("u"), "s1", "s2")

	h.pass(2*time.Hour - 1)
	seen := *written
	seen.SeenAt, seen.IdleUntil = h.now, h.now.Add(2*time.Hour)
	h.update(func(r *store.Records) error { return r.PutSession(&seen) })
	h.pass(1)
	h.want("sessions when one was idle for too long", h.sessions("u"), "s1")
	_, err := h.session("hash-s2")
	h.wantError("an idle session", err, store.ErrNotFound)

	other := h.putSession("s4", "u")
	h.update(func(r *store.Records) error { return r.EndSessions("u", "s4") })
	h.want("sessions", h.sessions("u"), "s4")
	_, err = h.session("hash-s1")
	h.wantError("an ended session", err, store.ErrNotFound)
	if !h.db.Revocations().Revoked(store.TokenRef{TokenID: "s1"}) {
		t.Error("the set in memory has not heard of the end of a session")
	}
	if h.db.Revocations().Revoked(store.TokenRef{TokenID: "s4"}) {
		t.Error("a session that was spared is revoked")
	}
	over := *other
	over.ExpiresAt = h.now
	if err := h.db.Update(t.Context(), func(r *store.Records) error { return r.PutSession(&over) }); err == nil {
		t.Error("a session that is over is kept")
	}
}

func TestSessionsAreBounded(t *testing.T) {
	h := newHouse(t)
	for i := range 60 {
		h.pass(time.Second)
		h.putSession(fmt.Sprintf("s%02d", i), "u")
	}
	got := h.sessions("u")
	if len(got) != 50 || got[0] != "s10" || got[49] != "s59" {
		t.Errorf("%d sessions: %q", len(got), got)
	}
}

func TestPersonalTokens(t *testing.T) {
	h := newHouse(t)
	token := &store.Token{
		ID: "t", ClientID: "personal_access", UserID: "u", Personal: true, Name: "laptop", Hash: store.HashSecret("x"),
		IssuedAt: h.now, ExpiresAt: h.now.Add(time.Hour),
	}
	h.update(func(r *store.Records) error { return r.PutToken(token) })
	h.putToken("jwt", "c", "u")
	read := func() (got *store.Token, err error) {
		err = h.db.View(t.Context(), func(r *store.Records) error {
			got, err = r.PersonalToken(store.HashSecret("x"))
			return err
		})
		return got, err
	}
	if got, err := read(); err != nil || !reflect.DeepEqual(got, token) {
		t.Errorf("read %s, %v; want %s", dump(got), err, dump(token))
	}
	listed := func() []string {
		return ids(h, func(r *store.Records, fn func(store.Token) error) error {
			return r.PersonalTokensOfUser("u", fn)
		}, tokenID)
	}
	h.want("personal tokens", listed(), "t")
	h.want("tokens of the user", h.tokensOfUser("u", ""), "jwt", "t")

	touch := func(at time.Time, want time.Time) {
		t.Helper()
		h.update(func(r *store.Records) error { return r.TouchTokens(map[string]time.Time{"t": at, "gone": at}) })
		if got, err := read(); err != nil || !got.LastUsedAt.Equal(want) {
			t.Errorf("used at %v: %v, %v, want %v", at, got.LastUsedAt, err, want)
		}
	}
	touch(h.now, h.now)
	touch(h.now.Add(time.Minute-1), h.now)
	touch(h.now.Add(time.Minute), h.now.Add(time.Minute))
	touch(h.now, h.now.Add(time.Minute)) // the past is no news

	h.update(func(r *store.Records) error { return r.RevokeToken("t") })
	touch(h.now.Add(time.Hour), h.now.Add(time.Minute))
	if got, err := read(); err != nil || got.RevokedAt.IsZero() {
		t.Errorf("revoked: %s, %v", dump(got), err)
	}
	h.pass(time.Hour)
	_, err := read()
	h.wantError("a token that is over", err, store.ErrNotFound)
	h.want("personal tokens", listed())

	h.update(func(r *store.Records) error { return r.DeleteToken(token) })
	for _, key := range h.keys() {
		if strings.Contains(key, "personal") {
			t.Errorf("the deleted token has left %s", key)
		}
	}
	for name, bad := range map[string]store.Token{
		"without a hash":   {ID: "x", ClientID: "c", UserID: "u", Personal: true, ExpiresAt: h.now.Add(time.Hour)},
		"without a person": {ID: "x", ClientID: "c", Hash: "h", Personal: true, ExpiresAt: h.now.Add(time.Hour)},
	} {
		if err := h.db.Update(t.Context(), func(r *store.Records) error { return r.PutToken(&bad) }); err == nil {
			t.Errorf("a personal token %s is taken", name)
		}
	}
}

func TestRequestsAreAnsweredOnce(t *testing.T) {
	h := newHouse(t)
	q := &store.AuthorizationRequest{
		ID: "q", UserID: "u", SessionID: "s", ClientID: "c", State: "x", Scopes: []string{"read"},
	}
	take := func() (got *store.AuthorizationRequest, err error) {
		err = h.db.Update(t.Context(), func(r *store.Records) error {
			got, err = r.TakeRequest("q")
			return err
		})
		return got, err
	}
	_, err := take()
	h.wantError("a request that was never made", err, store.ErrNotFound)
	h.update(func(r *store.Records) error { return r.PutRequest(q) })
	if got, err := take(); err != nil || !reflect.DeepEqual(got, q) {
		t.Errorf("read %s, %v; want %s", dump(got), err, dump(q))
	}
	_, err = take()
	h.wantError("a request that is answered", err, store.ErrNotFound)
	h.update(func(r *store.Records) error { return r.PutRequest(q) })
	h.pass(10 * time.Minute)
	_, err = take()
	h.wantError("a request that is over", err, store.ErrNotFound)
}

func TestDevices(t *testing.T) {
	h := newHouse(t)
	d := &store.DeviceAuthorization{
		ID: "d", ClientID: "c", UserCode: "BCDF-GHJK", State: store.DevicePending, Interval: 5 * time.Second,
		CreatedAt: h.now, ExpiresAt: h.now.Add(10 * time.Minute),
	}
	put := func(hash string, d *store.DeviceAuthorization) error {
		return h.db.Update(t.Context(), func(r *store.Records) error { return r.PutDevice(hash, d) })
	}
	read := func(code string) (hash string, got *store.DeviceAuthorization, err error) {
		err = h.db.View(t.Context(), func(r *store.Records) error {
			hash, got, err = r.DeviceByUserCode(code)
			return err
		})
		return hash, got, err
	}
	if err := put("hash", d); err != nil {
		t.Fatal(err)
	}
	if hash, got, err := read("BCDF-GHJK"); err != nil || hash != "hash" || !reflect.DeepEqual(got, d) {
		t.Errorf("read %s, %s, %v; want %s", hash, dump(got), err, dump(d))
	}
	_, _, err := read("BCDF-GHJL")
	h.wantError("another code", err, store.ErrNotFound)
	h.wantError("a user code that is another's", put("other", d), store.ErrTaken)
	d.State = store.DeviceApproved
	if err := put("hash", d); err != nil {
		t.Fatal(err)
	}
	if _, got, err := read("BCDF-GHJK"); err != nil || got.State != store.DeviceApproved {
		t.Errorf("read %s, %v", dump(got), err)
	}
	h.update(func(r *store.Records) error { return r.DeleteDevice("hash", d) })
	for _, key := range h.keys() {
		if strings.Contains(key, "device") {
			t.Errorf("the deleted device has left %s", key)
		}
	}
	if err := put("hash", d); err != nil {
		t.Fatal(err)
	}
	h.pass(10 * time.Minute)
	_, _, err = read("BCDF-GHJK")
	h.wantError("a device that is over", err, store.ErrNotFound)
}

func TestGuesses(t *testing.T) {
	h := newHouse(t)
	read := func(kind, subject string) (g store.Guesses) {
		t.Helper()
		h.view(func(r *store.Records) (err error) {
			g, err = r.Guesses(kind, subject)
			return err
		})
		return g
	}
	g := store.Guesses{Failures: 3, LastAt: h.now}
	h.update(func(r *store.Records) error { return r.PutGuesses("login", "ann", g) })
	if got := read("login", "ann"); got.Failures != 3 || !got.LastAt.Equal(h.now) {
		t.Errorf("%+v", got)
	}
	for _, other := range [][2]string{{"login", "bob"}, {"address", "ann"}, {"logi", "n/ann"}} {
		if got := read(other[0], other[1]); got.Failures != 0 {
			t.Errorf("%q: %+v", other, got)
		}
	}
	for _, key := range h.keys() {
		if strings.Contains(key, "ann") {
			t.Errorf("a key has what somebody typed: %s", key)
		}
	}
	h.pass(24 * time.Hour)
	if got := read("login", "ann"); got.Failures != 0 {
		t.Errorf("after a day: %+v", got)
	}
	h.update(func(r *store.Records) error {
		return errors.Join(r.PutGuesses("login", "ann", store.Guesses{Failures: 1, LastAt: h.now}),
			r.ForgetGuesses("login", "ann"))
	})
	if got := read("login", "ann"); got.Failures != 0 {
		t.Errorf("forgotten: %+v", got)
	}
}

func TestGuessesOf(t *testing.T) {
	h := newHouse(t)
	for subject, n := range map[string]int{"ann": 1, "bob": 2} {
		h.update(func(r *store.Records) error {
			return errors.Join(r.PutGuesses("login", subject, store.Guesses{Failures: n, LastAt: h.now}),
				r.PutGuesses("login2", subject, store.Guesses{Failures: 7, LastAt: h.now}))
		})
	}
	h.pass(12 * time.Hour)
	h.update(func(r *store.Records) error {
		return r.PutGuesses("login", "carl", store.Guesses{Failures: 3, LastAt: h.now})
	})
	read := func() map[string]int {
		got := make(map[string]int)
		h.view(func(r *store.Records) error {
			return r.GuessesOf("login", func(id string, g store.Guesses) error {
				got[id] = g.Failures
				return nil
			})
		})
		return got
	}
	ann, bob, carl := store.GuessesID("ann"), store.GuessesID("bob"), store.GuessesID("carl")
	if got := read(); !maps.Equal(got, map[string]int{ann: 1, bob: 2, carl: 3}) {
		t.Errorf("%v", got)
	}
	h.pass(12 * time.Hour)
	if got := read(); !maps.Equal(got, map[string]int{carl: 3}) {
		t.Errorf("a day after the first ones: %v", got)
	}
}

func TestClientsOfUser(t *testing.T) {
	h := newHouse(t)
	of := func(user string) []string {
		return ids(h, func(r *store.Records, fn func(store.Client) error) error { return r.ClientsOfUser(user, fn) },
			func(c store.Client) string { return c.ID })
	}
	h.putClient(store.Client{ID: "b", UserID: "ann"})
	h.putClient(store.Client{ID: "a/%", UserID: "ann"})
	h.putClient(store.Client{ID: "c", UserID: "bob"})
	h.putClient(store.Client{ID: "operator's"})
	h.want("clients of ann", of("ann"), "a/%", "b")
	h.want("clients of bob", of("bob"), "c")
	h.want("clients of nobody", of(""))
	h.putClient(store.Client{ID: "b", UserID: "bob", Name: "moved"})
	h.want("clients of ann", of("ann"), "a/%")
	h.want("clients of bob", of("bob"), "b", "c")
	h.update(func(r *store.Records) error { return r.DeleteClient("c") })
	h.want("clients of bob", of("bob"), "b")
}
