package store_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
	"github.com/oauth2-passport/caddy-passport/store/storetest"
)

func TestClientUnchanged(t *testing.T) {
	h := newHouse(t)
	h.putClient(store.Client{ID: "a", Name: "A"})
	h.putClient(store.Client{ID: "b", Name: "A"})
	read := h.client("a")
	unchanged := func(c *store.Client) (same bool) {
		h.view(func(r *store.Records) (err error) {
			same, err = r.ClientUnchanged(c)
			return err
		})
		return same
	}
	if !unchanged(read) {
		t.Error("it has changed before anything was written")
	}
	if unchanged(&store.Client{ID: "a", Name: "A"}) {
		t.Error("a client that was not read counts as unchanged")
	}
	h.pass(time.Millisecond)
	h.putClient(store.Client{ID: "a", Name: "A", CreatedAt: read.CreatedAt})
	if unchanged(read) {
		t.Error("it has been written, and counts as unchanged")
	}
	read = h.client("a")
	h.update(func(r *store.Records) error { return r.DeleteClient("a") })
	if unchanged(read) {
		t.Error("it is gone, and counts as unchanged")
	}
}

func TestClients(t *testing.T) {
	h := newHouse(t)
	h.want("clients of an empty store", h.clients(""))
	full := store.Client{
		ID: "orders", Name: "Orders <sync>", SecretHash: store.HashSecret("x"), Public: true,
		Grants: []string{"client_credentials"}, Scopes: []string{"read", "*"}, RedirectURIs: []string{"https://a/cb"},
		FirstParty: true, ResourceServer: true, AccessTokenLifetime: 5 * time.Minute, UserID: "u",
	}
	written := h.putClient(full)
	got := h.client("orders")
	read, _ := json.Marshal(got)
	if want, _ := json.Marshal(written); !bytes.Equal(read, want) {
		t.Errorf("read %s, want %s", read, want)
	}
	if !written.CreatedAt.Equal(start) || !written.UpdatedAt.Equal(start) {
		t.Errorf("created %v, updated %v", written.CreatedAt, written.UpdatedAt)
	}
	h.pass(time.Hour)
	full.CreatedAt = written.CreatedAt
	full.Name = "other"
	h.putClient(full)
	got = h.client("orders")
	if got.Name != "other" || !got.CreatedAt.Equal(start) || !got.UpdatedAt.Equal(h.now) {
		t.Errorf("after a change: %s", dump(got))
	}

	for _, id := range []string{"c", "a", "b"} {
		h.putClient(store.Client{ID: id})
	}
	h.want("clients", h.clients(""), "a", "b", "c", "orders")
	h.want("clients after b", h.clients("b"), "c", "orders")
	h.want("clients after one that is gone", h.clients("bb"), "c", "orders")
	h.want("clients after the last", h.clients("orders"))
	h.update(func(r *store.Records) error { return r.DeleteClient("b") })
	h.want("clients", h.clients(""), "a", "c", "orders")

	h.view(func(r *store.Records) error {
		seen := 0
		err := r.Clients("", func(store.Client) error {
			seen++
			return store.ErrStop
		})
		if seen != 1 {
			t.Errorf("ErrStop did not stop: %d", seen)
		}
		_, err2 := r.Client("b")
		h.wantError("a client that is gone", err2, store.ErrNotFound)
		return err
	})
	err := h.db.Update(t.Context(), func(r *store.Records) error { return r.DeleteClient("b") })
	h.wantError("deleting a client that is gone", err, store.ErrNotFound)
	for _, id := range []string{"", "\xff", "a\xc0"} {
		err = h.db.Update(t.Context(), func(r *store.Records) error { return r.PutClient(&store.Client{ID: id}) })
		if err == nil {
			t.Errorf("a client with the ID %q is taken", id)
		}
	}
}

// TestDisabledClientsTokensStayEnded disables a client and enables it again, by every way to write it.
func TestDisabledClientsTokensStayEnded(t *testing.T) {
	h := newHouse(t)
	h.putClient(store.Client{ID: "c"})
	h.pass(time.Second)
	disabled := h.now
	h.putClient(store.Client{ID: "c", Disabled: true})
	h.pass(time.Second)
	for name, c := range map[string]store.Client{
		"record that was read": {ID: "c", TokensNotBefore: disabled},
		"record made anew":     {ID: "c"},
		"earlier time":         {ID: "c", TokensNotBefore: start},
	} {
		h.putClient(c)
		if got := h.client("c"); got.Disabled || !got.TokensNotBefore.Equal(disabled) {
			t.Errorf("%s: %s", name, dump(got))
		}
	}
}

func TestTokens(t *testing.T) {
	h := newHouse(t)
	written := h.putToken("t1", "c", "u")
	got, err := h.token("t1")
	if err != nil || !reflect.DeepEqual(got, written) {
		t.Errorf("read %s, %v; want %s", dump(got), err, dump(written))
	}
	_, err = h.token("t")
	h.wantError("a token that is not there", err, store.ErrNotFound)

	h.putToken("t3", "c", "")
	h.putToken("t2", "other", "u")
	h.want("tokens", h.tokens(""), "t1", "t2", "t3")
	h.want("tokens after t1", h.tokens("t1"), "t2", "t3")
	h.want("tokens of the client", h.tokensOfClient("c", ""), "t1", "t3")
	h.want("tokens of the client after t1", h.tokensOfClient("c", "t1"), "t3")
	h.want("tokens of another client", h.tokensOfClient("other", ""), "t2")
	h.want("tokens of no client", h.tokensOfClient("", ""))
	h.want("tokens of the user", h.tokensOfUser("u", ""), "t1", "t2")
	h.want("tokens of nobody", h.tokensOfUser("", ""))

	h.update(func(r *store.Records) error { return r.DeleteToken(&store.Token{ID: "t1", ClientID: "c", UserID: "u"}) })
	h.want("tokens of the client", h.tokensOfClient("c", ""), "t3")
	h.want("tokens of the user", h.tokensOfUser("u", ""), "t2")
	for _, key := range h.keys() {
		if strings.Contains(key, "t1") {
			t.Errorf("the deleted token has left %s", key)
		}
	}

	h.pass(time.Hour - 1) // the engine still has them
	h.want("tokens in their last moment", h.tokens(""), "t2", "t3")
	h.pass(1)
	h.want("tokens when they are over", h.tokens(""))
	h.want("tokens of the client when they are over", h.tokensOfClient("c", ""))
	_, err = h.token("t3")
	h.wantError("a token that is over", err, store.ErrNotFound)
	for name, token := range map[string]*store.Token{
		"over":       {ID: "x", ClientID: "c", ExpiresAt: h.now},
		"without ID": {ClientID: "c", ExpiresAt: h.now.Add(time.Hour)},
	} {
		if err := h.db.Update(t.Context(), func(r *store.Records) error { return r.PutToken(token) }); err == nil {
			t.Errorf("a token %s is taken", name)
		}
	}
}

func TestRevokeToken(t *testing.T) {
	h := newHouse(t)
	token, other := h.putToken("t1", "c", "u"), h.putToken("t2", "c", "u")
	revoke := func(id string) error {
		return h.db.Update(t.Context(), func(r *store.Records) error { return r.RevokeToken(id) })
	}
	h.wantRevoked(token, false)
	before := h.db.Revocations().Generation()
	h.pass(time.Minute)
	if err := revoke("t1"); err != nil {
		t.Fatal(err)
	}
	h.wantRevoked(token, true)
	h.wantRevoked(other, false)
	generation := h.db.Revocations().Generation()
	if generation == before {
		t.Error("the generation is the same")
	}
	got, err := h.token("t1")
	if err != nil || !got.RevokedAt.Equal(h.now) {
		t.Errorf("the record: %s, %v", dump(got), err)
	}

	h.pass(time.Minute)
	if err := revoke("t1"); err != nil {
		t.Errorf("revoking again: %v", err)
	}
	if got, _ := h.token("t1"); !got.RevokedAt.Equal(start.Add(time.Minute)) {
		t.Errorf("revoking again has moved the time to %v", got.RevokedAt)
	}
	if h.db.Revocations().Generation() != generation {
		t.Error("revoking again counts as news")
	}
	h.wantError("a token that is not known", revoke("t"), store.ErrNotFound)
	h.pass(time.Hour)
	h.wantError("a token that is over", revoke("t1"), store.ErrNotFound)
}

func TestKeys(t *testing.T) {
	h := newHouse(t)
	read := func() (keys []store.Key) {
		h.view(func(r *store.Records) (err error) {
			keys, err = r.Keys()
			return err
		})
		return keys
	}
	if keys := read(); len(keys) != 0 {
		t.Errorf("keys of an empty store: %v", keys)
	}
	want := []store.Key{
		{ID: "a", Algorithm: "ES256", Private: []byte{1, 2}, State: store.KeyCurrent, CreatedAt: start, ActivatedAt: start},
		{ID: "b", Algorithm: "RS256", Private: []byte{0xff}, State: store.KeyRetired, CreatedAt: start, RetiredAt: start,
			ExpiresAt: start.Add(time.Hour)},
	}
	before, keysBefore := h.db.Revocations().Generation(), h.db.Revocations().KeyGeneration()
	h.update(func(r *store.Records) error {
		return errors.Join(r.PutKey(&want[1]), r.PutKey(&want[0]))
	})
	if got := read(); !reflect.DeepEqual(got, want) {
		t.Errorf("read %s, want %s", dump(got), dump(want))
	}
	if h.db.Revocations().Generation() == before || h.db.Revocations().KeyGeneration() == keysBefore {
		t.Error("nobody is told that the keys have changed")
	}
	token := h.putToken("t", "c", "")
	if h.revoked(token, "a") {
		t.Error("new keys revoke tokens")
	}

	keysBefore = h.db.Revocations().KeyGeneration()
	h.update(func(r *store.Records) error { return r.DeleteKey("a") })
	if got := read(); len(got) != 1 || got[0].ID != "b" {
		t.Errorf("after deleting one: %s", dump(got))
	}
	if h.db.Revocations().KeyGeneration() == keysBefore {
		t.Error("nobody is told that a key is gone")
	}
	if !h.revoked(token, "a") || h.revoked(token, "b") {
		t.Error("deleting a key revokes other tokens than it signed")
	}
	err := h.db.Update(t.Context(), func(r *store.Records) error { return r.DeleteKey("a") })
	h.wantError("deleting a key that is gone", err, store.ErrNotFound)
	if err := h.db.Update(t.Context(), func(r *store.Records) error { return r.PutKey(&store.Key{}) }); err == nil {
		t.Error("a key without ID is taken")
	}
}

// TestLeakedKeysFutureTokensAreRevoked: who has the key dates a token in the future, lest the revocation hits it.
func TestLeakedKeysFutureTokensAreRevoked(t *testing.T) {
	h := newHouse(t)
	h.update(func(r *store.Records) error { return r.PutKey(&store.Key{ID: "leaked"}) })
	h.update(func(r *store.Records) error { return r.DeleteKey("leaked") })
	forged := &store.Token{ID: "t", ClientID: "c", IssuedAt: h.now.Add(time.Minute)}
	if !h.revoked(forged, "leaked") {
		t.Error("a token dated in the future is good")
	}
}

// TestIdentifiersCannotReachOtherRecords writes records under identifiers that look like keys of others.
func TestIdentifiersCannotReachOtherRecords(t *testing.T) {
	h := newHouse(t)
	names := []string{
		"a", "a/b", "a%2Fb", "a%252Fb", "a%", "%", "/", "//", "..", "../token/t", "a/../../token/t", "token/t", "!badger!",
		"\x00", "a\x00", "ä", " ", "default/client/a", "a%21", "a!", strings.Repeat("x", 1000),
	}
	for i, name := range names {
		h.putClient(store.Client{ID: name, Name: name})
		h.putToken(store.NewID(h.now), name, name)
		h.putToken(name, "of names", "")
		if got := len(h.clients("")); got != i+1 {
			t.Errorf("with %q there are %d clients, want %d", name, got, i+1)
		}
	}
	for _, name := range names {
		if got := h.client(name); got.ID != name || got.Name != name {
			t.Errorf("client %q reads as %q", name, got.ID)
		}
		if got, err := h.token(name); err != nil || got.ID != name {
			t.Errorf("token %q reads as %v, %v", name, got, err)
		}
		if of := h.tokensOfClient(name, ""); len(of) != 1 {
			t.Errorf("client %q has the tokens %q", name, of)
		}
		if of := h.tokensOfUser(name, ""); len(of) != 1 {
			t.Errorf("user %q has the tokens %q", name, of)
		}
	}
	sorted := slices.Clone(names)
	slices.Sort(sorted)
	got := h.tokensOfClient("of names", "")
	slices.Sort(got)
	h.want("tokens whose ID is no UUID", got, sorted...)
	h.view(func(r *store.Records) error {
		for _, id := range []string{"", "a/", "/a", "client/a", "%2E%2E", "A", "a%2fb"} {
			_, err := r.Client(id)
			h.wantError("client "+id, err, store.ErrNotFound)
			_, err = r.Token(id)
			h.wantError("token "+id, err, store.ErrNotFound)
		}
		return nil
	})
}

// TestIssuersCannotReachEachOther opens issuers of names that look like parts of keys on one engine.
func TestIssuersCannotReachEachOther(t *testing.T) {
	h := newHouse(t)
	names := []string{"a", "a/client", "a%2Fclient", "A", "", "!badger!txn", "a/", "/"}
	for _, name := range names {
		h.db = h.open(name)
		h.putClient(store.Client{ID: "shared", Name: name})
		token := h.putToken("shared", "c", "u")
		h.update(func(r *store.Records) error { return r.RevokeToken("shared") })
		h.wantRevoked(token, true)
	}
	for _, name := range names {
		h.db = h.open(name)
		h.want("clients of "+name, h.clients(""), "shared")
		if got := h.client("shared").Name; got != name {
			t.Errorf("the client of %q is that of %q", name, got)
		}
		if n := h.db.Revocations().Len(); n != 1 {
			t.Errorf("%q has %d revocations", name, n)
		}
	}
	for _, key := range h.keys() {
		if strings.HasPrefix(key, "!badger!") {
			t.Errorf("the key %q is Badger's own", key)
		}
	}
}

func TestDamagedRecordsAreErrors(t *testing.T) {
	for name, value := range map[string]string{
		"empty": "", "text": "x", "cut": `{"id":"t","client_id`, "other type": `{"id":1}`, "list": `[]`,
		"bad time": `{"created_at":"x","expires_at":"x","until":"x"}`,
	} {
		h := newHouse(t)
		h.putClient(store.Client{ID: "c"})
		h.putToken("t", "c", "")
		h.update(func(r *store.Records) error { return r.PutKey(&store.Key{ID: "k"}) })
		err := h.engine.Update(t.Context(), func(tx store.Tx) error {
			return errors.Join(
				tx.Put([]byte("default/client/c"), []byte(value), 0),
				tx.Put([]byte("default/token/t"), []byte(value), 0),
				tx.Put([]byte("default/key/k"), []byte(value), 0),
				tx.Put([]byte("default/revoked/r"), []byte(value), 0),
				tx.Put([]byte("default/user/u"), []byte(value), 0),
				tx.Put([]byte("default/session/s"), []byte(value), 0),
				tx.Put([]byte("default/family/f"), []byte(value), 0),
				tx.Put([]byte("default/code/c"), []byte(value), 0))
		})
		if err != nil {
			t.Fatal(err)
		}
		for what, read := range map[string]func(r *store.Records) error{
			"Client":  func(r *store.Records) error { _, err := r.Client("c"); return err },
			"Token":   func(r *store.Records) error { _, err := r.Token("t"); return err },
			"Keys":    func(r *store.Records) error { _, err := r.Keys(); return err },
			"Clients": func(r *store.Records) error { return r.Clients("", func(store.Client) error { return nil }) },
			"Tokens":  func(r *store.Records) error { return r.Tokens("", func(store.Token) error { return nil }) },
			"TokensOfClient": func(r *store.Records) error {
				return r.TokensOfClient("c", "", func(store.Token) error { return nil })
			},
			"User":    func(r *store.Records) error { _, err := r.User("u"); return err },
			"Session": func(r *store.Records) error { _, err := r.Session("s"); return err },
			"Family":  func(r *store.Records) error { _, err := r.Family("f"); return err },
			"Code":    func(r *store.Records) error { _, err := r.Code("c"); return err },
		} {
			err := h.db.View(t.Context(), read)
			if err == nil || errors.Is(err, store.ErrNotFound) || !strings.Contains(err.Error(), "damaged") {
				t.Errorf("%s, %s: %v", what, name, err)
			}
		}
		if _, err := store.Open(t.Context(), h.engine, "default", nil); err == nil {
			t.Errorf("%s: a store with a damaged revocation is opened", name)
		}
	}
}

func TestOpen(t *testing.T) {
	h := newHouse(t)
	h.want("keys of a new store", h.keys(), "default/schema")
	if err := h.db.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	if got := h.db.Now(); !got.Equal(start) {
		t.Errorf("now is %v", got)
	}
	h.open("default")
	err := h.engine.Update(t.Context(), func(tx store.Tx) error {
		return tx.Put([]byte("default/schema"), []byte(`{"version":3}`), 0)
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Open(t.Context(), h.engine, "default", nil); err == nil || !strings.Contains(err.Error(), "newer") {
		t.Errorf("a store of a newer version: %v", err)
	}
	h.engine.Fail(store.ErrUnavailable)
	if _, err := store.Open(t.Context(), h.engine, "other", nil); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("a store that does not answer: %v", err)
	}
	if err := h.db.Ping(t.Context()); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("Ping: %v", err)
	}
	db, err := store.Open(t.Context(), new(storetest.Engine), "default", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if age := time.Since(db.Now()); age < 0 || age > time.Hour {
		t.Errorf("without a clock it is %v", db.Now())
	}
}
