package store_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
)

// named begins a family whose tokens name it.
func (h *house) named() (f *store.Family, first string) {
	h.Helper()
	f = &store.Family{
		ID: store.NewID(h.now), ClientID: "c", UserID: "u", ExpiresAt: h.now.Add(365 * 24 * time.Hour),
	}
	first = f.NewRefreshToken()
	h.update(func(r *store.Records) error { return r.PutFamily(f, first, idle) })
	return f, first
}

// remade is a refresh token with another name, and the checksum of that.
func remade(t *testing.T, token, name string) string {
	t.Helper()
	return reference(store.SecretKind(string(store.RefreshToken)+name), number(t, token[55:98]))
}

func TestNamedRefreshTokens(t *testing.T) {
	h := newHouse(t)
	f, first := h.named()
	_, other := h.named()
	if kind, ok := store.ParseSecret(first); !ok || kind != store.RefreshToken || len(first) != 12+43+43+6 {
		t.Fatalf("%q is %q, %v", first, kind, ok)
	}
	second := h.wantRotate(first, store.Rotated)
	if second[:55] != first[:55] || second[55:98] == first[55:98] || other[:55] == first[:55] {
		t.Errorf("%q is followed by %q; another family has %q", first, second, other)
	}
	if kind, ok := store.ParseSecret(second); !ok || kind != store.RefreshToken {
		t.Errorf("the successor %q is %q, %v", second, kind, ok)
	}
	if again := h.wantRotate(first, store.Repeated); again != second {
		t.Errorf("the successor is %q, then %q", second, again)
	}
	third := h.wantRotate(second, store.Rotated)
	for key := range h.contents() {
		if strings.Contains(key, "/refresh/") {
			t.Errorf("there is a record %s", key)
		}
	}
	h.pass(grace)
	h.wantRotate(first, store.Reused)
	if !h.familyRevoked(f.ID) {
		t.Error("the family is not revoked")
	}
	_, _, err := h.rotate(third)
	h.wantError("the last token", err, store.ErrNotFound)
	h.wantRotate(other, store.Rotated)
}

// TestFamilyIsNotEndedByWhoKnowsItsID makes tokens up from the claim `grant_id`, which every API reads.
func TestFamilyIsNotEndedByWhoKnowsItsID(t *testing.T) {
	h := newHouse(t)
	f, token := h.named()
	last := "0"
	if token[54] == '0' {
		last = "1"
	}
	guesses := map[string]string{
		"another name with the same ID": (&store.Family{ID: f.ID}).NewRefreshToken(),
		"nearly the name":               remade(t, token, token[12:54]+last),
		"too large a number":            remade(t, token, strings.Repeat("z", 43)),
		"zero":                          remade(t, token, strings.Repeat("0", 43)),
		"no name":                       store.NewSecret(store.RefreshToken),
	}
	for name, guess := range guesses {
		if kind, ok := store.ParseSecret(guess); !ok || kind != store.RefreshToken {
			t.Fatalf("%s: %q is no refresh token", name, guess)
		}
		_, _, err := h.rotate(guess)
		h.wantError(name, err, store.ErrNotFound)
	}
	if h.familyRevoked(f.ID) {
		t.Error("the family is revoked")
	}
	h.wantRotate(token, store.Rotated)
}

// TestNamedTokensThatAreOver are idle for too long: the current one, and with it all before.
func TestNamedTokensThatAreOver(t *testing.T) {
	h := newHouse(t)
	f, first := h.named()
	second := h.wantRotate(first, store.Rotated)
	h.pass(idle)
	for _, token := range []string{first, second} {
		_, _, err := h.rotate(token)
		h.wantError("a token that was idle for too long", err, store.ErrNotFound)
	}
	if h.familyRevoked(f.ID) {
		t.Error("an idle token's family is revoked")
	}
}

// TestTokenFromBeforeThereWereNames is followed by one that has a name.
func TestTokenFromBeforeThereWereNames(t *testing.T) {
	h := newHouse(t)
	f := &store.Family{ID: store.NewID(h.now), ClientID: "c", UserID: "u", ExpiresAt: h.now.Add(365 * 24 * time.Hour)}
	first := store.NewSecret(store.RefreshToken)
	h.update(func(r *store.Records) error { return r.PutFamily(f, first, idle) })
	second := h.wantRotate(first, store.Rotated)
	if len(second) != 12+43+43+6 {
		t.Errorf("%q has no name", second)
	}
	if again := h.wantRotate(first, store.Repeated); again != second {
		t.Errorf("the successor is %q, then %q", second, again)
	}
	third := h.wantRotate(second, store.Rotated)
	if again := h.wantRotate(second, store.Repeated); again != third {
		t.Errorf("the successor is %q, then %q", third, again)
	}
	h.wantRotate(first, store.Reused)
	if !h.familyRevoked(f.ID) {
		t.Error("the family is not revoked")
	}
}

// TestAccessTokensThatAFamilyLists are found by their person as those in the index are.
func TestAccessTokensThatAFamilyLists(t *testing.T) {
	h := newHouse(t)
	f, refresh := h.named()
	h.putToken("0", "c", "u")
	h.putToken("m", "other", "u")
	want := []string{"0"}
	give := func(id string, lifetime time.Duration) {
		t.Helper()
		h.update(func(r *store.Records) (err error) {
			if f, err = r.FamilyOfToken(refresh); err != nil {
				return err
			}
			token := &store.Token{
				ID: id, ClientID: "c", UserID: "u", FamilyID: f.ID, IssuedAt: h.now, ExpiresAt: h.now.Add(lifetime),
			}
			f.Gives(token, r.Now())
			if refresh, _, err = r.Rotate(f, refresh, idle, grace); err != nil {
				return err
			}
			return r.PutToken(token)
		})
	}
	all := []string{"0"}
	for i := range 7 {
		id := fmt.Sprintf("f%d", i)
		give(id, time.Minute+time.Duration(i)*time.Second)
		all = append(all, id)
		if i >= 3 { // a family lists the newest four
			want = append(want, id)
		}
	}
	want = append(want, "m")
	h.want("tokens of the person", h.tokensOfUser("u", ""), want...)
	h.want("those after one", h.tokensOfUser("u", "f4"), want[3:]...)
	h.want("those of the client", h.tokensOfClient("c", ""), all...)

	h.pass(time.Minute + 3*time.Second)
	give("g", time.Minute) // takes the place of one that is over
	h.want("those that are good", h.tokensOfUser("u", ""), "0", "f4", "f5", "f6", "g", "m")
	h.update(func(r *store.Records) error { return r.RevokeFamily(f) })
	h.want("those of a revoked family", h.tokensOfUser("u", ""), "0", "f4", "f5", "f6", "g", "m")
	h.want("those of another person", h.tokensOfUser("v", ""))
}

// TestRefreshingOverAndOverIsInNoIndexOfThePerson is a client that takes as many access tokens as it can: what is read
// to list what the person has given does not grow.
func TestRefreshingOverAndOverIsInNoIndexOfThePerson(t *testing.T) {
	h := newHouse(t)
	f, refresh := h.named()
	for range 50 {
		h.pass(time.Second)
		h.update(func(r *store.Records) (err error) {
			if f, err = r.FamilyOfToken(refresh); err != nil {
				return err
			}
			token := &store.Token{
				ID: store.NewID(h.now), ClientID: "c", UserID: "u", FamilyID: f.ID, IssuedAt: h.now,
				ExpiresAt: h.now.Add(time.Hour),
			}
			f.Gives(token, r.Now())
			if refresh, _, err = r.Rotate(f, refresh, idle, grace); err != nil {
				return err
			}
			return r.PutToken(token)
		})
	}
	all := h.tokensOfClient("c", "")
	if len(all) != 50 {
		t.Fatalf("%d tokens", len(all))
	}
	h.want("the person's tokens", h.tokensOfUser("u", ""), all[46:]...)
	newest := ids(h, func(r *store.Records, fn func(store.Token) error) error {
		return r.AccessTokens(f, func(token store.Token) error { _ = fn(token); return store.ErrStop })
	}, tokenID)
	h.want("the newest one", newest, all[49])
	listed := func() (n int) {
		for _, key := range h.keys() {
			if strings.Contains(key, "/token-user/") {
				n++
			}
		}
		return n
	}
	if n := listed(); n != 0 {
		t.Errorf("%d places in the index of the person's tokens", n)
	}
	h.update(func(r *store.Records) error { return r.RevokeFamily(f) })
	if n := listed(); n > 4 {
		t.Errorf("%d places in the index of the person's tokens after the family has ended", n)
	}
	for _, id := range all {
		if !h.db.Revocations().Revoked(store.TokenRef{TokenID: id, FamilyID: f.ID}) {
			t.Errorf("%s has outlived its family", id)
		}
	}
}
