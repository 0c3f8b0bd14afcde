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
	for i := range 7 { // more than a family lists
		id := fmt.Sprintf("f%d", i)
		give(id, time.Minute+time.Duration(i)*time.Second)
		want = append(want, id)
	}
	want = append(want, "m")
	h.want("tokens of the person", h.tokensOfUser("u", ""), want...)
	h.want("those after one", h.tokensOfUser("u", "f2"), want[4:]...)
	h.want("those of the client", h.tokensOfClient("c", ""), want[:8]...)

	h.pass(time.Minute + 3*time.Second)
	give("g", time.Minute) // takes the place of one that is over
	h.want("those that are good", h.tokensOfUser("u", ""), "0", "f4", "f5", "f6", "g", "m")
	h.update(func(r *store.Records) error { return r.RevokeFamily(f) })
	h.want("those of a revoked family", h.tokensOfUser("u", ""), "0", "f4", "f5", "f6", "g", "m")
	h.want("those of another person", h.tokensOfUser("v", ""))
}
