package store_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
)

func TestRevocationsOutliveARestart(t *testing.T) {
	h := newHouse(t)
	token := h.putToken("t1", "c1", "u1")
	ofClient := h.putToken("t2", "c2", "")
	spared := h.putToken("t3", "c1", "u1")
	h.putClient(store.Client{ID: "c2"})
	h.update(func(r *store.Records) error { return errors.Join(r.RevokeToken("t1"), r.DeleteClient("c2")) })
	for range 2 {
		h.wantRevoked(token, true)
		h.wantRevoked(ofClient, true)
		h.wantRevoked(spared, false)
		h.db = h.open("default")
	}
	if n := h.db.Revocations().Len(); n != 2 {
		t.Errorf("%d revocations, want 2", n)
	}
	h.pass(time.Hour) // the token is over, the client's revocation is not
	h.db = h.open("default")
	h.wantRevoked(ofClient, true)
	if n := h.db.Revocations().Len(); n != 1 {
		t.Errorf("%d revocations after an hour, want 1", n)
	}
	h.pass(store.RecheckAfter)
	h.db = h.open("default")
	if n := h.db.Revocations().Len(); n != 0 {
		t.Errorf("%d revocations when all are over", n)
	}
}

// TestFailedRevocations: what an update did not write is not revoked; what it may have written is.
func TestFailedRevocations(t *testing.T) {
	h := newHouse(t)
	token := h.putToken("t", "c", "")
	fault := errors.New("a fault")
	err := h.db.Update(t.Context(), func(r *store.Records) error { return errors.Join(r.RevokeToken("t"), fault) })
	h.wantError("an update that fails", err, fault)
	h.wantRevoked(token, false)

	h.engine.Fail(fmt.Errorf("%w: the cable is cut", store.ErrUnavailable))
	revoke := func(r *store.Records) error { return r.RevokeToken("t") }
	h.wantError("a commit that fails", h.db.Update(t.Context(), revoke), store.ErrUnavailable)
	h.wantRevoked(token, true)
	h.engine.Fail(nil)
	h.update(revoke)
	h.wantRevoked(token, true)
	if got, err := h.token("t"); err != nil || got.RevokedAt.IsZero() {
		t.Errorf("the record: %v, %v", got, err)
	}
}

// TestRevokingAgainTeachesTheSet: the record says revoked, and the set in memory has missed it.
func TestRevokingAgainTeachesTheSet(t *testing.T) {
	h := newHouse(t)
	token := h.putToken("t", "c", "")
	other := h.db
	h.db = h.open("default") // a second set on the same records
	revoke := func(r *store.Records) error { return r.RevokeToken("t") }
	if err := other.Update(t.Context(), revoke); err != nil {
		t.Fatal(err)
	}
	h.wantRevoked(token, false)
	h.update(revoke)
	h.wantRevoked(token, true)
}

func TestWhatARevocationHits(t *testing.T) {
	ref := store.TokenRef{TokenID: "t", ClientID: "c", UserID: "u", KeyID: "k", IssuedAt: start}
	until := start.Add(time.Hour)
	for _, test := range []struct {
		name    string
		revoked []store.Revocation
		want    bool
	}{
		{"nothing", nil, false},
		{"the token", []store.Revocation{{Kind: store.RevokedToken, ID: "t"}}, true},
		{"another token", []store.Revocation{{Kind: store.RevokedToken, ID: "c"}}, false},
		{"the client", []store.Revocation{{Kind: store.RevokedClient, ID: "c"}}, true},
		{"another client", []store.Revocation{{Kind: store.RevokedClient, ID: "t"}}, false},
		{"the user", []store.Revocation{{Kind: store.RevokedUser, ID: "u"}}, true},
		{"another user", []store.Revocation{{Kind: store.RevokedUser, ID: "c"}}, false},
		{"the key", []store.Revocation{{Kind: store.RevokedKey, ID: "k"}}, true},
		{"another key", []store.Revocation{{Kind: store.RevokedKey, ID: "c"}}, false},
		{"other keys", []store.Revocation{{Kind: store.KeysChanged, ID: "k"}}, false},
		{"no name", []store.Revocation{
			{Kind: store.RevokedToken}, {Kind: store.RevokedClient}, {Kind: store.RevokedUser}, {Kind: store.RevokedKey},
		}, false},
		{"before its time", []store.Revocation{{Kind: store.RevokedUser, ID: "u", Before: start.Add(-1)}}, false},
		{"in its moment", []store.Revocation{{Kind: store.RevokedUser, ID: "u", Before: start}}, true},
		{"after its time", []store.Revocation{{Kind: store.RevokedUser, ID: "u", Before: start.Add(1)}}, true},
		{"the later counts", []store.Revocation{
			{Kind: store.RevokedUser, ID: "u", Before: start},
			{Kind: store.RevokedUser, ID: "u", Before: start.Add(-time.Hour)},
		}, true},
		{"all counts more", []store.Revocation{
			{Kind: store.RevokedUser, ID: "u"},
			{Kind: store.RevokedUser, ID: "u", Before: start.Add(-time.Hour)},
		}, true},
		{"all counts later too", []store.Revocation{
			{Kind: store.RevokedUser, ID: "u", Before: start.Add(-time.Hour)},
			{Kind: store.RevokedUser, ID: "u"},
		}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			for i := range test.revoked {
				test.revoked[i].Until = until
			}
			var together, oneByOne store.Revocations
			together.Apply(test.revoked...)
			for _, v := range test.revoked {
				oneByOne.Apply(v)
			}
			if got := together.Revoked(ref); got != test.want {
				t.Errorf("Revoked is %v, want %v", got, test.want)
			}
			if got := oneByOne.Revoked(ref); got != test.want {
				t.Errorf("one after the other, Revoked is %v, want %v", got, test.want)
			}
			nobody := store.TokenRef{IssuedAt: start}
			if together.Revoked(nobody) {
				t.Error("a token without any name is revoked")
			}
		})
	}
}

func TestGenerations(t *testing.T) {
	var set store.Revocations
	until := start.Add(time.Hour)
	for _, step := range []struct {
		name       string
		revoked    []store.Revocation
		news, keys bool
	}{
		{"nothing", nil, false, false},
		{"a token", []store.Revocation{{Kind: store.RevokedToken, ID: "t", Until: until}}, true, false},
		{"the same again", []store.Revocation{{Kind: store.RevokedToken, ID: "t", Until: until}}, false, false},
		{"that and another", []store.Revocation{
			{Kind: store.RevokedToken, ID: "t", Until: until}, {Kind: store.RevokedToken, ID: "t2", Until: until},
		}, true, false},
		{"a client", []store.Revocation{{Kind: store.RevokedClient, ID: "c", Until: until}}, true, false},
		{"other keys", []store.Revocation{{Kind: store.KeysChanged, Until: until}}, true, true},
		{"other keys again", []store.Revocation{{Kind: store.KeysChanged, Until: until}}, true, true},
		{"a key", []store.Revocation{{Kind: store.RevokedKey, ID: "k", Until: until}}, true, true},
	} {
		notified := make(chan struct{}, 1)
		stop := set.Notify(notified)
		generation, keys := set.Generation(), set.KeyGeneration()
		set.Apply(step.revoked...)
		if news := set.Generation() != generation; news != step.news || len(notified) == 1 != news {
			t.Errorf("%s: news: %v, notified: %v, want %v", step.name, news, len(notified), step.news)
		}
		if changed := set.KeyGeneration() != keys; changed != step.keys {
			t.Errorf("%s: keys changed: %v, want %v", step.name, changed, step.keys)
		}
		stop()
		stop()
	}
}

func TestNotify(t *testing.T) {
	var set store.Revocations
	first, second, full := make(chan struct{}, 3), make(chan struct{}, 3), make(chan struct{})
	stopFirst := set.Notify(first)
	stopSecond := set.Notify(second)
	defer set.Notify(full)() // nobody listens: nobody waits
	defer stopSecond()
	revoke := func(id string) {
		set.Apply(store.Revocation{Kind: store.RevokedToken, ID: id, Until: start})
	}
	revoke("a")
	stopFirst()
	revoke("b")
	if len(first) != 1 || len(second) != 2 {
		t.Errorf("%d and %d notices, want 1 and 2", len(first), len(second))
	}
}

func TestSweep(t *testing.T) {
	var set store.Revocations
	for i, kind := range []store.RevocationKind{store.RevokedToken, store.RevokedClient, store.RevokedKey} {
		for n := range 10 {
			set.Apply(store.Revocation{Kind: kind, ID: fmt.Sprint(i, n), Until: start.Add(time.Duration(n) * time.Minute)})
		}
	}
	if n := set.Len(); n != 30 {
		t.Errorf("%d revocations, want 30", n)
	}
	set.Sweep(start.Add(-time.Second))
	if n := set.Len(); n != 30 {
		t.Errorf("%d revocations, want 30", n)
	}
	hit := func(id string) bool { return set.Revoked(store.TokenRef{TokenID: id}) }
	set.Sweep(start.Add(4 * time.Minute)) // within the second in which a token ends it may be alive
	if n := set.Len(); n != 6+5+5 || hit("0 3") || !hit("0 4") || !hit("0 9") {
		t.Errorf("%d revocations, want 16; %v %v %v", n, hit("0 3"), hit("0 4"), hit("0 9"))
	}
	set.Sweep(start.Add(time.Hour))
	if n := set.Len(); n != 0 {
		t.Errorf("%d revocations, want none", n)
	}
}

// TestRevokedIsSeenWithItsGeneration reads the set beside those who fill it: who has seen the new generation must see
// what made it new.
func TestRevokedIsSeenWithItsGeneration(t *testing.T) {
	var set store.Revocations
	const rounds = 500
	kinds := []store.RevocationKind{store.RevokedToken, store.RevokedClient}
	var group sync.WaitGroup
	done := make(chan struct{})
	for range 4 {
		group.Go(func() {
			for {
				n := set.Generation() // so many have been revoked, each once
				for i := range n {
					id := fmt.Sprint(i)
					if !set.Revoked(store.TokenRef{TokenID: id, ClientID: id, IssuedAt: start}) {
						t.Errorf("generation %d does not know revocation %d", n, i)
						return
					}
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	for i := range rounds {
		set.Apply(store.Revocation{Kind: kinds[i%2], ID: fmt.Sprint(i), Until: start})
		if i%100 == 0 {
			set.Sweep(start.Add(-time.Hour))
			set.Notify(make(chan struct{}))()
		}
	}
	close(done)
	group.Wait()
}

// TestChangedPersonIsKnownAsChanged changes what is kept of a person, and what nobody needs to hear of.
func TestChangedPersonIsKnownAsChanged(t *testing.T) {
	h := newHouse(t)
	u := store.User{ID: store.NewID(h.now), Name: "ada", Limited: true, Scopes: []string{"read", "write"}}
	put := func(change func(*store.User)) (told bool) {
		t.Helper()
		h.pass(time.Second)
		read, generation := h.now.Add(-time.Millisecond), h.db.Revocations().Generation()
		change(&u)
		h.update(func(r *store.Records) error { return r.PutUser(&u) })
		told = h.db.Revocations().UserChanged(u.ID, read)
		if told != (generation != h.db.Revocations().Generation()) {
			t.Error("the generation does not tell the same")
		}
		if h.db.Revocations().UserChanged(u.ID, h.now.Add(time.Millisecond)) {
			t.Error("who reads it now hears that it has changed")
		}
		if h.db.Revocations().Revoked(store.TokenRef{TokenID: "t", UserID: u.ID, IssuedAt: read}) {
			t.Error("a token of the person is revoked")
		}
		return told
	}
	if put(func(*store.User) {}) {
		t.Error("a new person has changed")
	}
	for name, change := range map[string]func(*store.User){
		"scopes": func(u *store.User) { u.Scopes = []string{"read"} },
		"limit":  func(u *store.User) { u.Limited, u.Scopes = false, nil },
		"name":   func(u *store.User) { u.Name = "Ada" },
		"email":  func(u *store.User) { u.Email = "ada@example.com" },
	} {
		if !put(change) {
			t.Errorf("%s: nobody hears of it", name)
		}
	}
	if put(func(u *store.User) { u.SignedInAt, u.PasswordHash = h.now, "other" }) {
		t.Error("signing in changes the person")
	}
}
