package verify

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
)

// personalToken gives a personal access token to a person.
func (h *house) personalToken(person string, changes ...func(*store.Token)) (secret string, t *store.Token) {
	h.t.Helper()
	secret = store.NewSecret(store.PersonalAccessToken)
	now := h.now()
	t = &store.Token{
		ID: store.NewID(now), ClientID: "personal_access", UserID: person, Scopes: []string{"read", "write"},
		IssuedAt: now, ExpiresAt: now.Add(180 * 24 * time.Hour), Grant: "personal_access", Personal: true,
		Name: "laptop", Hash: store.HashSecret(secret),
	}
	for _, change := range changes {
		change(t)
	}
	h.update(func(r *store.Records) error { return r.PutToken(t) })
	return secret, t
}

// person makes a person with an own account.
func (h *house) person(changes ...func(*store.User)) *store.User {
	h.t.Helper()
	id := store.NewID(h.now())
	u := &store.User{ID: id, Name: "person " + id, Email: id + "@example.com", PasswordHash: "hash"}
	for _, change := range changes {
		change(u)
	}
	h.update(func(r *store.Records) error { return r.PutUser(u) })
	return u
}

func (h *house) changeUser(id string, change func(*store.User)) {
	h.t.Helper()
	h.update(func(r *store.Records) error {
		u, err := r.User(id)
		if err != nil {
			return err
		}
		change(u)
		return r.PutUser(u)
	})
}

func TestPersonalTokenTellsWhoItIs(t *testing.T) {
	h := newHouse(t, fixedKey(t))
	u := h.person(func(u *store.User) { u.Name, u.Limited, u.Scopes = "Ada", true, []string{"read", "write", "other"} })
	secret, record := h.personalToken(u.ID)
	for _, when := range []string{"first", "remembered"} {
		id, err := h.verify(secret)
		if err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		if id.Issuer != testIssuer || id.Subject != u.ID || id.UserID != u.ID || id.Username != "Ada" ||
			id.ClientID != "personal_access" || id.TokenID != record.ID || id.KeyID != "" || id.Scope != "read write" ||
			!id.HasScope("write") || id.HasScope("admin") || !id.Own() || !id.Person() || !id.Personal() || id.Session() {
			t.Errorf("%s: %+v", when, id)
		}
		if id.IntendedFor(testIssuer) != nil || !errors.Is(id.IntendedFor("https://other"), ErrAudience) {
			t.Errorf("%s: intended for %v", when, id.Audience)
		}
		if c := id.Claims(); c["sub"] != u.ID || c["jti"] != record.ID || c["preferred_username"] != "Ada" {
			t.Errorf("%s: claims %v", when, c)
		}
		user, err := h.v.User(t.Context(), id)
		if err != nil || user.Email != u.Email || user.PasswordHash != "" {
			t.Errorf("%s: %+v, %v", when, user, err)
		}
	}
}

// TestPersonalTokenBelongsToItsIssuerNotTheHost shows one token on two hosts, where each is an issuer of its own.
func TestPersonalTokenBelongsToItsIssuerNotTheHost(t *testing.T) {
	h := newHouse(t, fixedKey(t))
	secret, _ := h.personalToken(somebody)
	bound, _ := h.personalToken(somebody, func(t *store.Token) { t.Audience = []string{"https://a.example"} })
	for range 2 {
		for _, host := range []string{"https://a.example", "https://b.example"} {
			id, err := h.v.Verify(t.Context(), secret, host)
			if err != nil || id.Issuer != host || id.IntendedFor(host) != nil {
				t.Errorf("at %s: %v, %v", host, id, err)
			}
			if id, err = h.v.Verify(t.Context(), bound, host); err != nil ||
				(id.IntendedFor(host) == nil) != (host == "https://a.example") {
				t.Errorf("with an audience, at %s: %v, %v", host, id.Audience, err)
			}
		}
	}
	if _, err := h.v.Verify(t.Context(), secret, ""); !errors.Is(err, ErrIssuer) {
		t.Errorf("where no issuer is known: %v", err)
	}
}

func TestPersonalTokenAfterRevocationIsRefused(t *testing.T) {
	h := newHouse(t, fixedKey(t))
	seen, record := h.personalToken(somebody)
	other, _ := h.personalToken(somebody)
	unseen, hidden := h.personalToken(somebody)
	h.want(seen, nil)
	h.want(other, nil)
	h.update(func(r *store.Records) error {
		return errors.Join(r.RevokeToken(record.ID), r.RevokeToken(hidden.ID))
	})
	for range 2 {
		h.want(seen, ErrRevoked)
		h.want(unseen, ErrRevoked)
		h.want(other, nil)
	}
	// Its record may be purged; it is no token of anybody then.
	h.update(func(r *store.Records) error { return r.DeleteToken(hidden) })
	h.want(unseen, ErrInactive)
}

func TestExpiredPersonalTokenIsRefused(t *testing.T) {
	h := newHouse(t, fixedKey(t))
	secret, _ := h.personalToken(somebody, func(t *store.Token) { t.ExpiresAt = t.IssuedAt.Add(time.Minute) })
	h.want(secret, nil)
	h.pass(time.Minute)
	h.want(secret, ErrExpired)
	h.v.cache = newCache(64)
	h.want(secret, ErrInactive) // its record is over
}

// TestTokensOfPeopleWhoAreGoneAreRefused takes a person away in each way there is, with tokens that have been seen and
// with such that have not.
func TestTokensOfPeopleWhoAreGoneAreRefused(t *testing.T) {
	for _, test := range []struct {
		name string
		gone func(*house, string)
		want error
		back func(*house, string) // nil: there is no way back
	}{
		{"disabled", func(h *house, id string) {
			h.changeUser(id, func(u *store.User) { u.Disabled = true })
		}, ErrUserGone, func(h *house, id string) {
			h.changeUser(id, func(u *store.User) { u.Disabled = false })
		}},
		{"deleted", func(h *house, id string) {
			h.update(func(r *store.Records) error { return r.DeleteUser(id) })
		}, ErrUserGone, nil},
		{"ended", func(h *house, id string) {
			h.update(func(r *store.Records) error {
				u, err := r.User(id)
				return errors.Join(err, r.EndUser(u))
			})
		}, ErrRevoked, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHouse(t, fixedKey(t))
			u := h.person()
			jwt := change{"sub": u.ID, "client_id": configClient}
			seen, unseen := h.token(jwt), h.token(jwt)
			stored := h.token(change{"sub": u.ID}) // of a client in the store
			personal, _ := h.personalToken(u.ID)
			unknown, _ := h.personalToken(u.ID)
			cookie, _ := h.session(u.ID)
			for _, token := range []string{seen, stored, personal} {
				h.want(token, nil)
			}
			h.wantSession(cookie, nil)
			h.pass(time.Second)
			test.gone(h, u.ID)
			for range 2 {
				for _, token := range []string{seen, stored, personal} {
					h.want(token, ErrRevoked) // by what is in memory
				}
				h.want(unseen, ErrRevoked)
				h.wantSession(cookie, ErrSession)
			}
			if test.name != "deleted" {
				h.want(unknown, test.want)
			}
			// A restart forgets what is in memory.
			h.v = New(Config{Keys: h.ring, DB: h.db, Client: h.hasClient})
			for _, token := range []string{seen, stored, personal} {
				if _, err := h.verify(token); !errors.Is(err, test.want) && !errors.Is(err, ErrInactive) &&
					!errors.Is(err, ErrRevoked) {
					t.Errorf("after a restart: %v", err)
				}
			}
			if test.back == nil {
				return
			}
			h.pass(time.Second)
			test.back(h, u.ID)
			for _, token := range []string{seen, stored, personal, unseen, unknown} {
				if _, err := h.verify(token); err == nil {
					t.Error("a token from before is good again")
				}
			}
			h.pass(time.Second)
			h.want(h.token(jwt), nil)
			again, _ := h.personalToken(u.ID)
			h.want(again, nil)
		})
	}
}

// TestTokenFromBeforeItsPersonWasEndedIsRefusedForGood looks at tokens that live longer than anybody remembers that
// their person was ended.
func TestTokenFromBeforeItsPersonWasEndedIsRefusedForGood(t *testing.T) {
	h := newHouse(t, fixedKey(t))
	u := h.person()
	personal, record := h.personalToken(u.ID)
	jwt := h.token(change{"sub": u.ID, "client_id": configClient, "exp": h.now().Add(24 * time.Hour).Unix()})
	revoked, revokedRecord := h.personalToken(somebody)
	h.pass(time.Second)
	h.changeUser(u.ID, func(u *store.User) { u.Disabled = true })
	h.changeUser(u.ID, func(u *store.User) { u.Disabled = false })
	h.update(func(r *store.Records) error { // as a restore of a backup may leave it
		revokedRecord.RevokedAt = r.Now()
		return r.PutToken(revokedRecord)
	})
	h.pass(3 * store.RecheckAfter)
	db, err := store.Open(t.Context(), h.engine, "default", h.now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	if db.Revocations().Revoked(store.TokenRef{TokenID: record.ID, UserID: u.ID, IssuedAt: record.IssuedAt}) {
		t.Fatal("it is still remembered")
	}
	h.db, h.v = db, New(Config{Keys: h.ring, DB: db, Client: h.hasClient})
	for range 2 {
		h.want(personal, ErrRevoked)
		h.want(jwt, ErrRevoked)
		h.want(revoked, ErrRevoked)
	}
	h.want(h.token(change{"sub": u.ID}), nil)
}

// TestPersonWhomTheSourceHasDroppedIsRefused drops a person from a file, of which the store hears nothing.
func TestPersonWhomTheSourceHasDroppedIsRefused(t *testing.T) {
	h := newHouse(t, fixedKey(t))
	u := h.person(func(u *store.User) { u.Source, u.External = "htpasswd", "ada" })
	known := true
	h.v = New(Config{Keys: h.ring, DB: h.db, Client: h.hasClient, UserKnown: func(asked *store.User) bool {
		if asked.Source != "htpasswd" || asked.External != "ada" || asked.PasswordHash != "" {
			t.Errorf("asked of %+v", asked)
		}
		return known
	}})
	jwt := h.token(change{"sub": u.ID, "client_id": configClient})
	personal, _ := h.personalToken(u.ID)
	cookie, _ := h.session(u.ID)
	check := func(want error) {
		t.Helper()
		for range 2 {
			h.want(jwt, want)
			h.want(personal, want)
			h.wantSession(cookie, want)
		}
	}
	check(nil)
	id, err := h.verify(jwt)
	if err != nil {
		t.Fatal(err)
	}
	known = false
	check(ErrUserGone)
	if err := h.v.own.lost(id, false, h.now()); !errors.Is(err, ErrUserGone) {
		t.Errorf("a running request: %v", err)
	}
	h.v.cache = newCache(64)
	check(ErrUserGone)
	known = true
	check(nil)
	h.want(h.token(), nil) // nobody asks for a client's
}

// TestOtherSecretsAsBearerTokens shows everything that is opaque and no access token.
func TestOtherSecretsAsBearerTokens(t *testing.T) {
	h := newHouse(t, fixedKey(t))
	cookie, _ := h.session(somebody)
	h.wantSession(cookie, nil)
	for _, kind := range []store.SecretKind{
		store.RefreshToken, store.AuthorizationCode, store.ClientSecret, store.SessionSecret, store.DeviceCode,
	} {
		views := h.engine.countViews()
		h.want(store.NewSecret(kind), ErrType)
		if n := h.engine.countViews() - views; n != 0 {
			t.Errorf("%s: the store was asked %d times", kind, n)
		}
	}
	h.want(cookie, ErrType)                        // though it is remembered as a session
	h.want(cookie+"\x00"+testIssuer, ErrMalformed) // by what it is remembered under
	personal, _ := h.personalToken(somebody)
	h.want(personal, nil)
	h.wantSession(personal, ErrSession) // and the other way round
}

func TestMistypedPersonalTokenIsNotLookedUp(t *testing.T) {
	h := newHouse(t, fixedKey(t))
	secret, _ := h.personalToken(somebody)
	views := h.engine.countViews()
	for i := len(store.PersonalAccessToken); i < len(secret); i++ {
		other := byte('a')
		if secret[i] == other {
			other = 'b'
		}
		h.want(secret[:i]+string(other)+secret[i+1:], ErrMistyped)
	}
	for _, token := range []string{
		secret[:len(secret)-1], secret + "x", secret + " ", "passport_pat_", "passport_pat_" + strings.Repeat("ä", 24),
		strings.ToLower(secret), "passport_pat_" + strings.Repeat("x", 4000), secret + "\x00" + testIssuer,
	} {
		h.want(token, ErrMistyped)
	}
	if n := h.engine.countViews() - views; n != 0 {
		t.Errorf("the store was asked %d times", n)
	}
	h.want(secret, nil)
	if n := h.engine.countViews() - views; n != 1 {
		t.Errorf("for the right one the store was asked %d times", n)
	}
	h.want(secret, nil)
	if n := h.engine.countViews() - views; n != 1 {
		t.Errorf("for one that is remembered the store was asked again")
	}
}

// TestFloodOfRandomPersonalTokensLeavesTheCacheAlone sends what nobody has, with good checksums.
func TestFloodOfRandomPersonalTokensLeavesTheCacheAlone(t *testing.T) {
	h := newHouse(t, fixedKey(t))
	h.v = New(Config{Keys: h.ring, DB: h.db, Client: h.hasClient, CacheSize: ways})
	personal, _ := h.personalToken(somebody)
	cookie, _ := h.session(somebody)
	jwt := h.token()
	h.want(personal, nil)
	h.want(jwt, nil)
	h.wantSession(cookie, nil)
	for range 10_000 {
		h.want(store.NewSecret(store.PersonalAccessToken), ErrInactive)
		h.wantSession(store.NewSecret(store.SessionSecret), ErrSession)
	}
	if n := h.remembered(); n != 3 {
		t.Errorf("%d are remembered", n)
	}
	views := h.engine.countViews()
	h.want(personal, nil)
	h.want(jwt, nil)
	h.wantSession(cookie, nil)
	if n := h.engine.countViews() - views; n != 0 {
		t.Errorf("the store was asked %d times for what had been seen", n)
	}
}

func TestPersonalTokenWhenStorageFails(t *testing.T) {
	h := newHouse(t, fixedKey(t))
	seen, _ := h.personalToken(somebody)
	unseen, _ := h.personalToken(somebody)
	cookie, _ := h.session(somebody)
	other, _ := h.session(somebody)
	h.want(seen, nil)
	h.wantSession(cookie, nil)
	h.engine.setFault(store.ErrUnavailable)
	h.want(seen, nil)
	h.want(unseen, ErrUnavailable)
	h.pass(2 * rereadSession)
	h.wantSession(cookie, nil)
	h.wantSession(other, ErrUnavailable)
	h.pass(store.RecheckAfter)
	h.want(seen, ErrUnavailable)
	h.wantSession(cookie, ErrUnavailable)
	h.engine.setFault(nil)
	h.want(seen, nil)
	h.want(unseen, nil)
	h.wantSession(cookie, nil)
}

// TestRevokedFamilyTakesItsTokens revokes what a token was given by.
func TestRevokedFamilyTakesItsTokens(t *testing.T) {
	h := newHouse(t, fixedKey(t))
	family := store.NewID(h.now())
	seen, unseen := h.token(change{"sub": somebody, "grant_id": family}), h.token(change{"sub": somebody, "grant_id": family})
	other := h.token(change{"sub": somebody, "grant_id": store.NewID(h.now())})
	h.want(seen, nil)
	h.want(other, nil)
	h.revoke(family)
	h.want(seen, ErrRevoked)
	h.want(unseen, ErrRevoked)
	h.want(other, nil)
}

func TestUseOfPersonalTokenIsRecorded(t *testing.T) {
	h := newHouse(t, fixedKey(t))
	secret, record := h.personalToken(somebody)
	used := func() time.Time {
		t.Helper()
		var found *store.Token
		if err := h.db.View(t.Context(), func(r *store.Records) (err error) {
			found, err = r.Token(record.ID)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return found.LastUsedAt
	}
	write := func() { h.v.uses.write(t.Context(), h.db) }
	for range 10 {
		h.want(secret, nil)
	}
	if !used().IsZero() {
		t.Error("a request has written")
	}
	if n := len(h.v.uses.waiting); n != 1 {
		t.Errorf("%d uses wait", n)
	}
	first := h.now()
	write()
	if !used().Equal(first) {
		t.Errorf("used at %s, recorded is %s", first, used())
	}
	h.pass(recordUse / 2)
	h.want(secret, nil)
	if write(); !used().Equal(first) {
		t.Error("recorded twice within a minute")
	}
	h.pass(recordUse)
	h.want(secret, nil)
	if write(); !used().Equal(h.now()) {
		t.Errorf("used at %s, recorded is %s", h.now(), used())
	}
	// What is not let through is no use.
	h.pass(recordUse)
	last := used()
	h.update(func(r *store.Records) error { return r.RevokeToken(record.ID) })
	h.want(secret, ErrRevoked)
	if write(); !used().Equal(last) {
		t.Error("the use of a revoked token is recorded")
	}
}

// TestManyUsesAreWrittenInBatches records the use of more than one transaction takes.
func TestManyUsesAreWrittenInBatches(t *testing.T) {
	h := newHouse(t, fixedKey(t))
	var ids []string
	for range 2*usesAtOnce + 1 {
		secret, record := h.personalToken(somebody)
		h.want(secret, nil)
		ids = append(ids, record.ID)
	}
	h.v.uses.write(t.Context(), h.db)
	err := h.db.View(t.Context(), func(r *store.Records) error {
		return r.PersonalTokensOfUser(somebody, func(token store.Token) error {
			if !token.LastUsedAt.Equal(h.now()) || !slices.Contains(ids, token.ID) {
				t.Errorf("%s was used at %s", token.ID, token.LastUsedAt)
			}
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestPersonalTokenOfSomebodyWhoMayHaveLess: what was taken from the person is taken from the token, `*` included.
func TestPersonalTokenOfSomebodyWhoMayHaveLess(t *testing.T) {
	h := newHouse(t, fixedKey(t))
	o := &h.v.own
	for name, c := range map[string]struct {
		has, granted, want []string
	}{
		"the same":             {[]string{"read", "write"}, []string{"read", "write"}, []string{"read", "write"}},
		"less":                 {[]string{"read"}, []string{"read", "write"}, []string{"read"}},
		"nothing":              {nil, []string{"read"}, nil},
		"all that there is":    {[]string{"*"}, []string{"*"}, []string{"*"}},
		"all that was there":   {[]string{"read"}, []string{"*"}, []string{"read"}},
		"nothing of all there": {nil, []string{"*"}, nil},
	} {
		got := o.still(&store.User{Limited: true, Scopes: c.has}, c.granted)
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
