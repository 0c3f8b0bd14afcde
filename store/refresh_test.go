package store_test

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
)

const (
	idle  = 30 * 24 * time.Hour
	grace = 30 * time.Second
)

func (h *house) putFamily(id, client, user, refresh string) *store.Family {
	h.Helper()
	f := &store.Family{
		ID: id, ClientID: client, UserID: user, Scopes: []string{"read"}, AccessUntil: h.now.Add(time.Hour),
		ExpiresAt: h.now.Add(365 * 24 * time.Hour),
	}
	h.update(func(r *store.Records) error { return r.PutFamily(f, refresh, idle) })
	return f
}

func (h *house) families(user string) []string {
	h.Helper()
	return ids(h, func(r *store.Records, fn func(store.Family) error) error { return r.FamiliesOfUser(user, fn) },
		func(f store.Family) string { return f.ID })
}

// rotate uses a refresh token as a grant does.
func (h *house) rotate(refresh string) (next string, outcome store.RotateOutcome, err error) {
	h.Helper()
	err = h.db.Update(h.Context(), func(r *store.Records) error {
		f, err := r.FamilyOfToken(refresh)
		if err != nil {
			return err
		}
		if !f.RevokedAt.IsZero() {
			return store.ErrNotFound
		}
		f.AccessUntil = h.now.Add(time.Hour)
		next, outcome, err = r.Rotate(f, refresh, idle, grace)
		return err
	})
	return next, outcome, err
}

func (h *house) wantRotate(refresh string, want store.RotateOutcome) string {
	h.Helper()
	next, outcome, err := h.rotate(refresh)
	if err != nil || outcome != want {
		h.Fatalf("outcome %d, %v; want %d", outcome, err, want)
	}
	return next
}

func (h *house) familyRevoked(id string) bool {
	return h.db.Revocations().Revoked(store.TokenRef{TokenID: "some", FamilyID: id})
}

func TestRefreshTokensFollowEachOther(t *testing.T) {
	h := newHouse(t)
	first := store.NewSecret(store.RefreshToken)
	h.putFamily("f", "c", "u", first)
	token := first
	for range 20 {
		h.pass(idle - time.Second) // never idle for too long
		next := h.wantRotate(token, store.Rotated)
		if next == token || next == "" {
			t.Fatalf("the successor of %q is %q", token, next)
		}
		token = next
		if h.now.Sub(start) > 300*24*time.Hour {
			break
		}
	}
	h.pass(idle)
	_, _, err := h.rotate(token)
	h.wantError("a token that was idle for too long", err, store.ErrNotFound)
	if h.familyRevoked("f") {
		t.Error("an idle token's family is revoked")
	}
}

func TestFamiliesEndHoweverOftenTheyAreRefreshed(t *testing.T) {
	h := newHouse(t)
	token := store.NewSecret(store.RefreshToken)
	f := h.putFamily("f", "c", "u", token)
	for h.now.Add(idle / 2).Before(f.ExpiresAt) {
		h.pass(idle / 2)
		token = h.wantRotate(token, store.Rotated)
	}
	h.pass(f.ExpiresAt.Sub(h.now))
	_, _, err := h.rotate(token)
	h.wantError("a family that is over", err, store.ErrNotFound)
}

// TestLostAnswerGetsTheSameSuccessor is two browser tabs that refresh at once, or an answer that got lost.
func TestLostAnswerGetsTheSameSuccessor(t *testing.T) {
	h := newHouse(t)
	first := store.NewSecret(store.RefreshToken)
	h.putFamily("f", "c", "u", first)
	second := h.wantRotate(first, store.Rotated)
	for range 3 {
		h.pass(grace/3 - 1)
		if again := h.wantRotate(first, store.Repeated); again != second {
			t.Errorf("the successor is %q, then %q", second, again)
		}
	}
	if h.familyRevoked("f") {
		t.Error("the family is revoked")
	}
	h.wantRotate(second, store.Rotated)
}

// TestStolenRefreshTokenEndsTheFamily uses an old token again when the grace is over.
func TestStolenRefreshTokenEndsTheFamily(t *testing.T) {
	for name, steal := range map[string]func(h *house, first string){
		"when the time is over": func(h *house, _ string) { h.pass(grace) },
		"when the successor has been used": func(h *house, first string) {
			h.wantRotate(h.wantRotate(first, store.Repeated), store.Rotated)
		},
		"two generations later": func(h *house, first string) {
			second := h.wantRotate(first, store.Repeated)
			h.wantRotate(h.wantRotate(second, store.Rotated), store.Rotated)
			h.pass(time.Hour)
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			first := store.NewSecret(store.RefreshToken)
			h.putFamily("f", "c", "u", first)
			other := store.NewSecret(store.RefreshToken)
			h.putFamily("other", "c", "u", other)
			second := h.wantRotate(first, store.Rotated)
			steal(h, first)
			if next := h.wantRotate(first, store.Reused); next != "" {
				t.Errorf("the thief gets %q", next)
			}
			if !h.familyRevoked("f") || h.familyRevoked("other") {
				t.Error("the family is not revoked, or the other one is")
			}
			_, _, err := h.rotate(second)
			h.wantError("the successor", err, store.ErrNotFound)
			h.want("families", h.families("u"), "other")
			h.wantRotate(other, store.Rotated)
		})
	}
}

// TestRefreshTokensAreNotInTheStore reads all that is kept.
func TestRefreshTokensAreNotInTheStore(t *testing.T) {
	h := newHouse(t)
	token := store.NewSecret(store.RefreshToken)
	h.putFamily("f", "c", "u", token)
	tokens := []string{token}
	for range 3 {
		token = h.wantRotate(token, store.Rotated)
		tokens = append(tokens, token)
	}
	err := h.engine.View(t.Context(), func(tx store.Tx) error {
		return tx.Scan(nil, nil, func(key, value []byte) error {
			for _, token := range tokens {
				secret := []byte(token[len(store.RefreshToken):])
				if bytes.Contains(key, secret) || bytes.Contains(value, secret) {
					t.Errorf("%s has a refresh token in it", key)
				}
			}
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestFamilyWithoutRefreshToken(t *testing.T) {
	h := newHouse(t)
	over := h.now.Add(time.Hour)
	f := &store.Family{ID: "f", ClientID: "c", UserID: "u", AccessUntil: over, ExpiresAt: over}
	h.update(func(r *store.Records) error { return r.PutFamily(f, "", idle) })
	h.want("families", h.families("u"), "f")
	h.update(func(r *store.Records) error { _, err := r.Disconnect("u", "c"); return err })
	if !h.familyRevoked("f") {
		t.Error("the family is not revoked")
	}
}

func TestDisconnectEndsWhatAClientHasOfAPerson(t *testing.T) {
	h := newHouse(t)
	tokens := map[string]string{}
	for _, pair := range [][2]string{{"u", "c"}, {"u", "other"}, {"v", "c"}} {
		id := pair[0] + "-" + pair[1]
		tokens[id] = store.NewSecret(store.RefreshToken)
		h.putFamily(id, pair[1], pair[0], tokens[id])
		h.update(func(r *store.Records) error {
			return r.PutConsent(&store.Consent{UserID: pair[0], ClientID: pair[1], Scopes: []string{"read"}})
		})
	}
	h.update(func(r *store.Records) error { _, err := r.Disconnect("u", "c"); return err })
	for id, token := range tokens {
		_, _, err := h.rotate(token)
		if gone := id == "u-c"; gone != (err != nil) || gone != h.familyRevoked(id) {
			t.Errorf("%s: %v", id, err)
		}
	}
	h.view(func(r *store.Records) error {
		_, err := r.Consent("u", "c")
		h.wantError("the consent", err, store.ErrNotFound)
		_, err = r.Consent("u", "other")
		return err
	})
	h.update(func(r *store.Records) error { _, err := r.Disconnect("u", "c"); return err }) // there may be nothing
}

// TestFamiliesAreBounded is a client that asks for a person's authorization again and again.
func TestFamiliesAreBounded(t *testing.T) {
	h := newHouse(t)
	for i := range 200 {
		h.pass(time.Second)
		h.putFamily(fmt.Sprintf("f%03d", i), "c", "u", store.NewSecret(store.RefreshToken))
	}
	h.putFamily("other", "d", "u", store.NewSecret(store.RefreshToken))
	got := h.families("u")
	if len(got) < 101 || len(got) > 141 || got[len(got)-2] != "f199" || got[len(got)-1] != "other" {
		t.Errorf("%d families: %q", len(got), got)
	}
	if !h.familyRevoked("f080") || h.familyRevoked("f100") {
		t.Error("the oldest have not made room")
	}
}

// TestClientWithMoreFamiliesThanATransactionTakes is disconnected all the same.
func TestClientWithMoreFamiliesThanATransactionTakes(t *testing.T) {
	h := newHouse(t)
	const many = 600
	h.update(func(r *store.Records) error {
		for i := range many {
			f := &store.Family{
				ID: fmt.Sprintf("f%03dx", i), ClientID: "c", UserID: "u", ExpiresAt: h.now.Add(365 * 24 * time.Hour),
			}
			until := idle
			if i < 300 {
				until = time.Minute // it will be over, its place in the index not yet
			}
			if err := r.PutFamily(f, store.NewSecret(store.RefreshToken), until); err != nil {
				return err
			}
		}
		return r.PutConsent(&store.Consent{UserID: "u", ClientID: "c"})
	})
	h.pass(2 * time.Minute)
	rounds := 0
	for more := true; more; rounds++ {
		before := h.db.Revocations().Len()
		h.update(func(r *store.Records) (err error) {
			more, err = r.Disconnect("u", "c")
			return err
		})
		if n := h.db.Revocations().Len() - before; n > 250 || rounds > many {
			t.Fatalf("round %d ends %d families", rounds, n)
		}
	}
	h.want("families", h.families("u"))
	for i := 300; i < many; i++ {
		if id := fmt.Sprintf("f%03dx", i); !h.familyRevoked(id) {
			t.Errorf("%s is not revoked", id)
		}
	}
}

func TestRevokedFamiliesOutliveARestart(t *testing.T) {
	h := newHouse(t)
	f := h.putFamily("f", "c", "u", store.NewSecret(store.RefreshToken))
	h.update(func(r *store.Records) error { return r.RevokeFamily(f) })
	again := h.open("default")
	if !again.Revocations().Revoked(store.TokenRef{TokenID: "t", FamilyID: "f"}) {
		t.Error("after a restart the family is alive")
	}
	if again.Revocations().Revoked(store.TokenRef{TokenID: "t"}) {
		t.Error("a token without a family is revoked")
	}
}

func TestCodesAreRememberedAfterTheirUse(t *testing.T) {
	h := newHouse(t)
	c := &store.Code{ID: "code", ClientID: "c", UserID: "u", IssuedAt: h.now, ExpiresAt: h.now.Add(time.Minute)}
	h.update(func(r *store.Records) error { return r.PutCode("hash", c) })
	h.pass(time.Second)
	h.update(func(r *store.Records) error {
		c, err := r.Code("hash")
		if err != nil || !c.UsedAt.IsZero() {
			t.Errorf("%s, %v", dump(c), err)
		}
		return r.UseCode("hash", c, "f")
	})
	h.pass(time.Hour)
	h.view(func(r *store.Records) error {
		c, err := r.Code("hash")
		if err != nil || !c.UsedAt.Equal(start.Add(time.Second)) || c.FamilyID != "f" {
			t.Errorf("%s, %v", dump(c), err)
		}
		_, err = r.Code("other")
		h.wantError("another code", err, store.ErrNotFound)
		return nil
	})
}
