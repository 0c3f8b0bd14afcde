package verify

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
)

const (
	testIdle     = 2 * time.Hour
	testAbsolute = 12 * time.Hour
)

// session signs a person in.
func (h *house) session(person string, changes ...func(*store.Session)) (cookie string, s *store.Session) {
	h.t.Helper()
	cookie = store.NewSecret(store.SessionSecret)
	now := h.now()
	s = &store.Session{
		ID: store.NewID(now), Hash: store.HashSecret(cookie), UserID: person, CreatedAt: now, AuthenticatedAt: now,
		SeenAt: now, IdleUntil: now.Add(testIdle), ExpiresAt: now.Add(testAbsolute),
	}
	for _, change := range changes {
		change(s)
	}
	h.update(func(r *store.Records) error { return r.PutSession(s) })
	return cookie, s
}

// wantSession asks for a session and compares the error.
func (h *house) wantSession(cookie string, want error) *Identity {
	h.t.Helper()
	id, err := h.v.Session(h.t.Context(), cookie, testIssuer)
	if !errors.Is(err, want) || (id == nil) != (err != nil) {
		h.t.Errorf("Session = %v, %v, want the error %v", id != nil, err, want)
	}
	return id
}

func TestSessionTellsWhoItIs(t *testing.T) {
	h := newHouse(t, fixedKey(t))
	h.v = New(Config{Keys: h.ring, DB: h.db, UserScopes: func(u *store.User) []string {
		return append([]string{"read"}, u.Scopes...)
	}})
	u := h.person(func(u *store.User) { u.Name, u.Limited, u.Scopes = "Ada", true, []string{"admin"} })
	cookie, record := h.session(u.ID)
	for _, when := range []string{"first", "remembered"} {
		id := h.wantSession(cookie, nil)
		if id.Issuer != testIssuer || id.Subject != u.ID || id.UserID != u.ID || id.Username != "Ada" || id.ClientID != "" ||
			id.TokenID != record.ID || id.Scope != "read admin" || !id.HasScope("admin") || id.HasScope("write") ||
			!id.Own() || !id.Person() || !id.Session() || id.Personal() || !id.ExpiresAt.Equal(record.ExpiresAt) {
			t.Errorf("%s: %+v", when, id)
		}
		if token := id.CSRFToken(); len(token) < 40 || token != CSRFToken(cookie) || token == cookie {
			t.Errorf("%s: the token against forgery is %q", when, token)
		}
	}
	if id, err := h.v.Session(t.Context(), cookie, "https://other.example"); err != nil ||
		id.Issuer != "https://other.example" {
		t.Errorf("at another host of the issuer: %v, %v", id, err)
	}
}

func TestSessionOfNobody(t *testing.T) {
	h := newHouse(t, fixedKey(t))
	cookie, _ := h.session(somebody)
	for name, value := range map[string]string{
		"none": "", "random": store.NewSecret(store.SessionSecret), "cut": cookie[:len(cookie)-1], "longer": cookie + "x",
		"long": string(make([]byte, maxSession+1)), "marked": "http " + cookie, "hash": store.HashSecret(cookie),
	} {
		t.Run(name, func(t *testing.T) { h.on(t).wantSession(value, ErrSession) })
	}
	h.t = t
	if _, err := h.v.Session(t.Context(), cookie, ""); !errors.Is(err, ErrSession) {
		t.Errorf("where no issuer is known: %v", err)
	}
	ghost, _ := h.session("nobody")
	h.wantSession(ghost, ErrUserGone)
}

func TestSessionAfterSignOutIsRefused(t *testing.T) {
	h := newHouse(t, fixedKey(t))
	seen, record := h.session(somebody)
	other, _ := h.session(somebody)
	id := h.wantSession(seen, nil)
	h.wantSession(other, nil)
	h.update(func(r *store.Records) error { return r.EndSession(record) })
	for range 2 {
		h.wantSession(seen, ErrSession)
		h.wantSession(other, nil)
	}
	if err := h.v.own.lost(id, true, h.now()); !errors.Is(err, ErrSession) {
		t.Errorf("a running request: %v", err)
	}
	h.v.cache = newCache(64)
	h.wantSession(seen, ErrSession)
}

func TestSessionIsOverWhenNothingHappens(t *testing.T) {
	h := newHouse(t, fixedKey(t))
	cookie, _ := h.session(somebody)
	h.wantSession(cookie, nil)
	h.pass(testIdle)
	h.wantSession(cookie, ErrSession)
	h.wantSession(cookie, ErrSession)
}

// TestSessionThatIsUsedGoesOn uses a session for longer than it may be idle, up to its end.
func TestSessionThatIsUsedGoesOn(t *testing.T) {
	h := newHouse(t, fixedKey(t))
	cookie, record := h.session(somebody)
	first := h.wantSession(cookie, nil)
	for n := 0; h.now().Before(record.ExpiresAt); n++ {
		if id := h.wantSession(cookie, nil); id != first {
			t.Error("the identity has changed, and nothing about it")
		}
		h.wantSession(cookie, nil) // what is not written yet counts too
		h.v.uses.write(t.Context(), h.db)
		if n%5 == 4 { // what has been forgotten is in the store
			h.v.cache = newCache(64)
			first = h.wantSession(cookie, nil)
		}
		h.pass(testIdle / 2)
	}
	h.wantSession(cookie, ErrSession)
	if err := h.v.own.lost(first, false, h.now()); !errors.Is(err, ErrSession) {
		t.Errorf("a running request: %v", err)
	}
}

func TestUseOfSessionIsRecordedOnceAMinute(t *testing.T) {
	h := newHouse(t, fixedKey(t))
	cookie, record := h.session(somebody)
	read := func() *store.Session {
		t.Helper()
		var s *store.Session
		if err := h.db.View(t.Context(), func(r *store.Records) (err error) {
			s, err = r.Session(record.Hash)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return s
	}
	h.pass(recordUse - time.Second)
	h.wantSession(cookie, nil)
	h.v.uses.write(t.Context(), h.db)
	if s := read(); !s.SeenAt.Equal(record.SeenAt) {
		t.Errorf("written within a minute: %s", s.SeenAt)
	}
	h.pass(time.Second)
	for range 10 {
		h.wantSession(cookie, nil)
	}
	if n := len(h.v.uses.waiting); n != 1 {
		t.Errorf("%d uses wait", n)
	}
	if s := read(); !s.SeenAt.Equal(record.SeenAt) {
		t.Error("a request has written")
	}
	h.v.uses.write(t.Context(), h.db)
	if s := read(); !s.SeenAt.Equal(h.now()) || !s.IdleUntil.Equal(h.now().Add(testIdle)) ||
		!s.ExpiresAt.Equal(record.ExpiresAt) {
		t.Errorf("recorded: %+v", s)
	}
	// One that ends before its use is written does not come back.
	h.pass(recordUse)
	h.wantSession(cookie, nil)
	h.update(func(r *store.Records) error { return r.EndSession(record) })
	h.v.uses.write(t.Context(), h.db)
	h.v.cache = newCache(64)
	h.wantSession(cookie, ErrSession)
}

// TestSessionUsedElsewhereGoesOn has another node, or the issuer's pages, write that a session is used.
func TestSessionUsedElsewhereGoesOn(t *testing.T) {
	h := newHouse(t, fixedKey(t))
	cookie, record := h.session(somebody)
	id := h.wantSession(cookie, nil)
	h.pass(testIdle - time.Minute)
	record.SeenAt, record.IdleUntil = h.now(), h.now().Add(testIdle)
	h.update(func(r *store.Records) error { return r.PutSession(record) })
	h.pass(2 * time.Minute)
	if again := h.wantSession(cookie, nil); again != id {
		t.Error("the identity has changed, and nothing about it")
	}
	if err := h.v.own.lost(id, false, h.now()); err != nil {
		t.Errorf("a running request: %v", err)
	}
}

// TestSessionHasWhatThePersonMayHaveNow changes what a person may have.
func TestSessionHasWhatThePersonMayHaveNow(t *testing.T) {
	h := newHouse(t, fixedKey(t))
	u := h.person(func(u *store.User) { u.Limited, u.Scopes = true, []string{"read", "admin"} })
	cookie, _ := h.session(u.ID)
	before := h.wantSession(cookie, nil)
	if !before.HasScope("admin") {
		t.Fatalf("scopes: %v", before.Scopes)
	}
	personal, _ := h.personalToken(u.ID)
	if id, err := h.verify(personal); err != nil || id.Username != u.Name {
		t.Fatalf("a token of %v, %v", id, err)
	}
	h.pass(time.Second)
	h.changeUser(u.ID, func(u *store.User) { u.Scopes, u.Name = []string{"read"}, "Grace" })
	h.engine.setFault(store.ErrUnavailable)
	h.wantSession(cookie, ErrUnavailable) // what the person may have is not known
	h.engine.setFault(nil)
	after := h.wantSession(cookie, nil)
	if id, err := h.verify(personal); err != nil || id.Username != "Grace" || id.Scope != "read" {
		t.Errorf("a token of %v, %v", id, err)
	}
	views := h.engine.countViews()
	h.pass(time.Second)
	if h.wantSession(cookie, nil) != after || h.engine.countViews() != views {
		t.Error("the store was asked again")
	}
	if after.HasScope("admin") || !after.HasScope("read") || after.Username != "Grace" {
		t.Errorf("scopes: %v of %s", after.Scopes, after.Username)
	}
	if before == after {
		t.Error("the identity of running requests has changed")
	}
	// Requests that run with the old identity go on with the session.
	for range 3 {
		h.pass(testIdle / 2)
		h.wantSession(cookie, nil)
	}
	if err := h.v.own.lost(before, true, h.now()); err != nil {
		t.Errorf("a running request: %v", err)
	}
}

// TestRequestOfSessionIsCutWhenTheSessionEnds watches requests, ends what they came with, and has the last use written.
func TestRequestOfSessionIsCutWhenTheSessionEnds(t *testing.T) {
	inBubble(t, func(t *testing.T, h *house) {
		ended, record := h.session(somebody)
		idle, _ := h.session(somebody, func(s *store.Session) { s.IdleUntil = s.SeenAt.Add(time.Minute) })
		personal, token := h.personalToken(somebody)
		first, release := watched(t.Context(), h.v, h.wantSession(ended, nil))
		defer release()
		second, release := watched(t.Context(), h.v, h.wantSession(idle, nil))
		defer release()
		id, err := h.verify(personal)
		if err != nil {
			t.Fatal(err)
		}
		third, release := watched(t.Context(), h.v, id)
		defer release()
		wantCut(first, t, 3*time.Second, nil)
		wantCut(third, t, 0, nil)
		var last time.Time
		if err := h.db.View(t.Context(), func(r *store.Records) error {
			found, err := r.Token(token.ID)
			if err == nil {
				last = found.LastUsedAt
			}
			return err
		}); err != nil || last.IsZero() {
			t.Errorf("the use of a token was not written: %v, %v", last, err)
		}
		h.update(func(r *store.Records) error { return errors.Join(r.EndSession(record), r.RevokeToken(token.ID)) })
		wantCut(first, t, time.Second, ErrSession)
		wantCut(third, t, 0, ErrRevoked)
		wantCut(second, t, 50*time.Second, nil)
		h.wantSession(idle, nil) // which keeps it
		wantCut(second, t, 50*time.Second, nil)
		wantCut(second, t, 20*time.Second, ErrSession)
	})
}

// TestLastUseIsWrittenWhenTheVerifierStops uses a token and stops at once.
func TestLastUseIsWrittenWhenTheVerifierStops(t *testing.T) {
	h := newHouse(t, fixedKey(t))
	ctx, stop := context.WithCancel(t.Context())
	secret, record := h.personalToken(somebody)
	h.want(secret, nil)
	stop()
	h.v.Run(ctx)
	err := h.db.View(t.Context(), func(r *store.Records) error {
		found, err := r.Token(record.ID)
		if err == nil && found.LastUsedAt.IsZero() {
			err = errors.New("not written")
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
