package store_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
	"github.com/oauth2-passport/caddy-passport/store/storetest"
)

// FuzzRecords takes arbitrary bytes for every kind of record: they are an error, or a record that can be written and
// read again.
func FuzzRecords(f *testing.F) {
	for _, record := range []any{
		store.Client{
			ID: "c", Name: "n", Grants: []string{"client_credentials"}, AccessTokenLifetime: time.Minute, CreatedAt: start,
			TokensNotBefore: start,
		},
		store.Token{ID: "t", ClientID: "c", Scopes: []string{"read"}, IssuedAt: start, ExpiresAt: start.Add(time.Hour)},
		store.Key{ID: "k", Algorithm: "ES256", Private: []byte{1}, State: store.KeyNext, CreatedAt: start},
		store.Revocation{Kind: store.RevokedToken, ID: "t", Until: start.Add(time.Hour)},
		store.User{ID: "x", Name: "n", Limited: true, Scopes: []string{"read"}, NotBefore: start},
		store.Session{ID: "x", Hash: "x", UserID: "x", IdleUntil: start.Add(time.Hour), ExpiresAt: start.Add(time.Hour)},
		store.Family{ID: "x", ClientID: "c", UserID: "x", AccessUntil: start, ExpiresAt: start.Add(time.Hour)},
		store.Code{ID: "x", ClientID: "c", UserID: "x", Challenge: "y", ExpiresAt: start},
		store.DeviceAuthorization{ID: "x", UserCode: "x", State: store.DevicePending, ExpiresAt: start.Add(time.Hour)},
		store.AuthorizationRequest{ID: "x", State: "y", CreatedAt: start},
		store.Consent{UserID: "x", ClientID: "c", GrantedAt: start},
		store.Guesses{Failures: 1, LastAt: start},
		map[string]any{"family_id": "x", "expires_at": start.Add(time.Hour).UnixNano()},
		map[string]any{
			"id": "x", "client_id": "c", "user_id": "x", "expires_at": start.Add(time.Hour).UnixNano(), "successor": []byte("abc"),
			"access": []string{"t " + strconv.FormatInt(start.Add(time.Hour).Unix(), 10), "odd"}, "name": store.HashSecret("y"),
			"previous": store.HashSecret("x"), "rotated_at": start.UnixNano(), "until": start.Add(time.Hour).UnixNano(),
		},
	} {
		data, err := json.Marshal(record)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		decodeTwice[store.Client](t, data)
		decodeTwice[store.Token](t, data)
		decodeTwice[store.Key](t, data)
		decodeTwice[store.Revocation](t, data)
		decodeTwice[store.User](t, data)
		decodeTwice[store.Session](t, data)
		decodeTwice[store.Family](t, data)
		decodeTwice[store.Code](t, data)
		decodeTwice[store.DeviceAuthorization](t, data)
		decodeTwice[store.AuthorizationRequest](t, data)
		decodeTwice[store.Consent](t, data)
		decodeTwice[store.Guesses](t, data)
		if err := store.PackedAgrees(data); err != nil {
			t.Error(err)
		}

		engine := new(storetest.Engine)
		db, err := store.Open(t.Context(), engine, "i", func() time.Time { return start })
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		err = engine.Update(t.Context(), func(tx store.Tx) error {
			var err error
			for _, kind := range []string{"schema", "client/x", "token/x", "key/x", "revoked/x", "user/x", "session/x",
				"family/x", "code/x", "device/x", "request/x", "consent/x/c", "refresh/" + store.HashSecret("x"),
				"guesses/login/" + store.HashSecret("x")} {
				err = errors.Join(err, tx.Put([]byte("i/"+kind), data, 0))
			}
			for _, index := range []string{"session-user/x/x", "device-code/x", "user-login/x", "personal/x"} {
				err = errors.Join(err, tx.Put([]byte("i/"+index), []byte("x"), 0))
			}
			return errors.Join(err, tx.Put([]byte("i/family-user/x/c/x"), nil, 0),
				tx.Put([]byte("i/token-client/c/x"), nil, 0))
		})
		if err != nil {
			t.Fatal(err)
		}
		// Whether these answer an error is not the point: they return.
		_ = db.Update(t.Context(), func(r *store.Records) error {
			_, err := r.Keys()
			return errors.Join(err, r.RevokeToken("x"), r.DeleteClient("x"),
				r.Clients("", func(store.Client) error { return nil }),
				r.Tokens("", func(store.Token) error { return nil }),
				r.TokensOfClient("c", "", func(store.Token) error { return nil }),
				r.TokensOfUser("x", "", func(store.Token) error { return nil }))
		})
		usePeople(t, db)
		if again, err := store.Open(t.Context(), engine, "i", func() time.Time { return start }); err == nil {
			again.Close()
		}
	})
}

// usePeople does with the records of people what may be done with them.
func usePeople(t *testing.T, db *store.DB) {
	for _, use := range []func(r *store.Records) error{
		func(r *store.Records) error {
			u, err := r.UserByLogin("x")
			if err != nil {
				return err
			}
			u.Stands(start)
			return r.PutUser(u)
		},
		func(r *store.Records) error { return r.EndSessions("x", "") },
		func(r *store.Records) error {
			f, err := r.FamilyOfToken("x")
			if err != nil {
				return err
			}
			_, _, err = r.Rotate(f, "x", idle, grace)
			return err
		},
		func(r *store.Records) error { _, err := r.Disconnect("x", "c"); return err },
		func(r *store.Records) error { _, _, err := r.DeviceByUserCode("x"); return err },
		func(r *store.Records) error { _, err := r.TakeRequest("x"); return err },
		func(r *store.Records) error { _, err := r.Code("x"); return err },
		func(r *store.Records) error { _, err := r.PersonalToken("x"); return err },
		func(r *store.Records) error { _, err := r.Guesses("login", "x"); return err },
		func(r *store.Records) error { return r.TouchTokens(map[string]time.Time{"x": start}) },
		func(r *store.Records) error { _, err := r.Browser("x"); return err },
		func(r *store.Records) error { return r.ForgetBrowsers("x", "") },
		func(r *store.Records) error { return r.DeleteUser("x") },
	} {
		_ = db.Update(t.Context(), use)
	}
}

// decodeTwice reads data as a record, writes it and reads that.
func decodeTwice[T any](t *testing.T, data []byte) {
	record, err := store.Decode[T](data)
	if err != nil {
		return
	}
	first, err := json.Marshal(record)
	if err != nil {
		t.Fatalf("%s is read, and cannot be written: %v", data, err)
	}
	if record, err = store.Decode[T](first); err != nil {
		t.Fatalf("%s is written as %s, which cannot be read: %v", data, first, err)
	}
	second, err := json.Marshal(record)
	if err != nil || string(second) != string(first) {
		t.Fatalf("%s is read and written as %s (%v)", first, second, err)
	}
}

// FuzzParseSecret holds what is taken for a secret against another way to say what one is.
func FuzzParseSecret(f *testing.F) {
	for _, kind := range kinds {
		f.Add(store.NewSecret(kind))
	}
	f.Add((&store.Family{ID: store.NewID(start)}).NewRefreshToken())
	f.Add("")
	f.Add("passport_rt_")
	f.Fuzz(func(t *testing.T, s string) {
		kind, ok := store.ParseSecret(s)
		if !ok {
			if kind != "" {
				t.Errorf("%q is no secret, and of kind %q", s, kind)
			}
			return
		}
		digits := s[len(kind) : len(s)-6]
		name := digits[:len(digits)-43]
		if len(name) != 0 && (len(name) != 43 || kind != store.RefreshToken) {
			t.Fatalf("%q has a name of %d characters", s, len(name))
		}
		if want := reference(store.SecretKind(string(kind)+name), number(t, digits[len(name):])); s != want {
			t.Errorf("%q is taken for a secret, %q is one", s, want)
		}
		if !store.SecretMatches(store.HashSecret(s), s) {
			t.Errorf("%q does not match its own hash", s)
		}
	})
}

// FuzzKeys: two records have one key only if they have one issuer, kind and ID.
func FuzzKeys(f *testing.F) {
	f.Add("a", "b", "a/b", "")
	f.Add("a%2Fb", "c", "a", "b/c")
	f.Add("", "/", "/", "")
	f.Add("!badger!", "%", "%21", "%25")
	f.Fuzz(func(t *testing.T, a, b, c, d string) {
		for _, part := range []string{a, b, c, d} {
			if got := store.Unescape(store.Escape(part)); got != part {
				t.Errorf("%q is written %q and read %q", part, store.Escape(part), got)
			}
		}
		one, other := store.RecordKey("i/", "token-client", a, b), store.RecordKey("i/", "token-client", c, d)
		if (string(one) == string(other)) != (a == c && b == d) {
			t.Errorf("%q and %q have the keys %q and %q", []string{a, b}, []string{c, d}, one, other)
		}
	})
}

// FuzzRestore takes backups with arbitrary lines and an end that fits: they change nothing, or leave what can be backed
// up and restored again.
func FuzzRestore(f *testing.F) {
	furnished := newHouse(f)
	furnished.furnish()
	lines := bytes.SplitAfter(furnished.backup(), []byte("\n"))
	header, records := lines[0], lines[1:len(lines)-2]
	f.Add(bytes.Join(records, nil))
	for i, record := range records {
		f.Add(record)
		f.Add(bytes.Join(slices.Concat(records[i:], records[:i+1]), nil))
	}
	f.Fuzz(func(t *testing.T, lines []byte) {
		backup := slices.Concat(header, lines)
		sum := sha256.Sum256(backup)
		backup = fmt.Appendf(backup, `{"kind":"end","records":%d,"sha256":"%s"}`+"\n", bytes.Count(lines, []byte("\n")),
			hex.EncodeToString(sum[:]))
		h := newHouse(t)
		h.furnish()
		before := h.contents()
		if _, err := h.db.Restore(t.Context(), from(backup), store.RestoreOptions{}); err != nil {
			if after := h.contents(); !maps.Equal(before, after) {
				t.Fatalf("%v, but there is now %q", err, after)
			}
			return
		}
		again := newHouse(t)
		again.restore(h.backup())
		if was, is := h.contents(), again.contents(); !maps.Equal(was, is) {
			t.Errorf("there is now %q, there was %q", is, was)
		}
	})
}
