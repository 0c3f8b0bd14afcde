package store_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
	"github.com/oauth2-passport/caddy-passport/store/storetest"
)

var start = time.Date(2026, 3, 4, 5, 6, 7, 890_123_456, time.UTC)

// house is a database in memory with a clock that tests set.
type house struct {
	testing.TB
	engine *storetest.Engine
	db     *store.DB
	now    time.Time
}

func newHouse(t testing.TB) *house {
	t.Helper()
	h := &house{TB: t, engine: new(storetest.Engine), now: start}
	h.db = h.open("default")
	return h
}

// open opens the records of an issuer on the house's engine.
func (h *house) open(issuer string) *store.DB {
	h.Helper()
	db, err := store.Open(h.Context(), h.engine, issuer, func() time.Time { return h.now })
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(db.Close)
	return db
}

func (h *house) pass(d time.Duration) { h.now = h.now.Add(d) }

func (h *house) update(fn func(r *store.Records) error) {
	h.Helper()
	if err := h.db.Update(h.Context(), fn); err != nil {
		h.Fatalf("Update: %v", err)
	}
}

func (h *house) view(fn func(r *store.Records) error) {
	h.Helper()
	if err := h.db.View(h.Context(), fn); err != nil {
		h.Fatalf("View: %v", err)
	}
}

func (h *house) putClient(c store.Client) *store.Client {
	h.Helper()
	h.update(func(r *store.Records) error { return r.PutClient(&c) })
	return &c
}

func (h *house) client(id string) *store.Client {
	h.Helper()
	var c *store.Client
	h.view(func(r *store.Records) (err error) {
		c, err = r.Client(id)
		return err
	})
	return c
}

// putToken records a token of that client and user, issued now, that lives for an hour.
func (h *house) putToken(id, client, user string) *store.Token {
	h.Helper()
	t := &store.Token{
		ID: id, ClientID: client, UserID: user, Issuer: "https://api.example", Scopes: []string{"read", "write"},
		Audience: []string{"https://api.example"}, IssuedAt: h.now, ExpiresAt: h.now.Add(time.Hour),
	}
	h.update(func(r *store.Records) error { return r.PutToken(t) })
	return t
}

func (h *house) token(id string) (t *store.Token, err error) {
	h.Helper()
	err = h.db.View(h.Context(), func(r *store.Records) error {
		t, err = r.Token(id)
		return err
	})
	return t, err
}

// keys are the keys in the engine.
func (h *house) keys() (keys []string) {
	h.Helper()
	err := h.engine.View(h.Context(), func(tx store.Tx) error {
		return tx.Scan(nil, nil, func(key, _ []byte) error {
			keys = append(keys, string(key))
			return nil
		})
	})
	if err != nil {
		h.Fatal(err)
	}
	return keys
}

// ids collects what a listing passes to its function.
func ids[T any](h *house, list func(r *store.Records, fn func(T) error) error, id func(T) string) []string {
	h.Helper()
	var found []string
	h.view(func(r *store.Records) error {
		return list(r, func(record T) error {
			found = append(found, id(record))
			return nil
		})
	})
	return found
}

func (h *house) clients(after string) []string {
	h.Helper()
	return ids(h, func(r *store.Records, fn func(store.Client) error) error { return r.Clients(after, fn) },
		func(c store.Client) string { return c.ID })
}

func tokenID(t store.Token) string { return t.ID }

func (h *house) tokens(after string) []string {
	h.Helper()
	return ids(h, func(r *store.Records, fn func(store.Token) error) error { return r.Tokens(after, fn) }, tokenID)
}

func (h *house) tokensOfClient(client, after string) []string {
	h.Helper()
	return ids(h, func(r *store.Records, fn func(store.Token) error) error {
		return r.TokensOfClient(client, after, fn)
	}, tokenID)
}

func (h *house) tokensOfUser(user, after string) []string {
	h.Helper()
	return ids(h, func(r *store.Records, fn func(store.Token) error) error {
		return r.TokensOfUser(user, after, fn)
	}, tokenID)
}

// want compares lists of IDs.
func (h *house) want(what string, got []string, want ...string) {
	h.Helper()
	if !slices.Equal(got, want) {
		h.Errorf("%s: %q, want %q", what, got, want)
	}
}

func (h *house) wantError(what string, err, want error) {
	h.Helper()
	if !errors.Is(err, want) {
		h.Errorf("%s: %v, want %v", what, err, want)
	}
}

// revoked tells what the set in memory says of a token.
func (h *house) revoked(t *store.Token, keyID string) bool {
	return h.db.Revocations().Revoked(store.TokenRef{
		TokenID: t.ID, ClientID: t.ClientID, UserID: t.UserID, KeyID: keyID, IssuedAt: t.IssuedAt,
	})
}

func (h *house) wantRevoked(t *store.Token, want bool) {
	h.Helper()
	if h.revoked(t, "key") != want {
		h.Errorf("token %s is revoked: %v, want %v", t.ID, !want, want)
	}
}

func dump(v any) string { return fmt.Sprintf("%+v", v) }
