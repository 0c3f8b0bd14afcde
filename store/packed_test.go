package store_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
)

// filled is a record in which every field holds something.
func filled[T any](t *testing.T) *T {
	t.Helper()
	record := new(T)
	i := 0
	for kind, value := range reflect.ValueOf(record).Elem().Fields() {
		if !kind.IsExported() {
			continue
		}
		i++
		switch field := value.Addr().Interface().(type) {
		case *string:
			*field = fmt.Sprintf("x/y?z=%d \u2028 é", i)
		case *bool:
			*field = true
		case *[]string:
			*field = []string{"read", "", store.NewID(start)}
		case *time.Time:
			*field = start.Add(time.Duration(i))
		default:
			t.Fatalf("what is in %s?", kind.Name)
		}
	}
	return record
}

func asJSON(t *testing.T, record any) string {
	t.Helper()
	data, err := json.Marshal(record)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// familyBefore is a family as it was kept before records were packed, with every field.
const familyBefore = `{"id":"f","client_id":"c","user_id":"u","issuer":"i","grant":"g","scopes":["a","b"],` +
	`"audience":["d"],"authenticated_at":1,"created_at":2,"used_at":3,"access_until":4,"expires_at":5,"revoked_at":6,` +
	`"access":["t 1"],"name":"n","current":"c","until":7,"previous":"p","successor":"AAEC","rotated_at":8}`

func TestPackedRecordsAreReadAsTheyWere(t *testing.T) {
	hash, id := store.HashSecret("x"), store.NewID(start)
	for name, record := range map[string]string{
		"a code":          asJSON(t, filled[store.Code](t)),
		"a person":        asJSON(t, filled[store.User](t)),
		"a token":         asJSON(t, filled[store.Token](t)),
		"a family":        familyBefore,
		"nothing":         `{}`,
		"an empty list":   `{"scopes":[]}`,
		"a long text":     `{"id":"` + strings.Repeat("x", 100_000) + `"}`,
		"an ID":           `{"id":"` + id + `"}`,
		"almost an ID":    `{"id":"` + id[:35] + `","user_id":"` + strings.ToUpper(id) + `","client_id":"` + id + `x"}`,
		"no ID":           `{"id":"` + strings.Replace(id, "-", "0", 1) + `"}`,
		"a hash":          `{"id":"` + hash + `"}`,
		"almost a hash":   `{"id":"` + hash[:63] + `","user_id":"` + strings.ToUpper(hash) + `","client_id":"` + hash[:63] + `g"}`,
		"numbers":         `{"until":-1,"rotated_at":9223372036854775807,"revoked_at":-9223372036854775808}`,
		"another century": `{"created_at":"1969-12-31T23:59:59.999999999Z"}`,
		"other ages":      `{"created_at":"9999-12-31T23:59:59Z","updated_at":"0002-01-01T00:00:00Z","not_before":"2262-05-01T00:00:00Z"}`,
	} {
		t.Run(name, func(t *testing.T) {
			if err := store.PackedAgrees([]byte(record)); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestRecordsFromBeforeTheyWerePacked are read, and packed when they are written again.
func TestRecordsFromBeforeTheyWerePacked(t *testing.T) {
	h := newHouse(t)
	code, user, token := filled[store.Code](t), filled[store.User](t), filled[store.Token](t)
	token.ID, token.RevokedAt, token.ExpiresAt = "t", time.Time{}, start.Add(time.Hour)
	code.UsedAt, code.FamilyID, user.ID, user.Disabled = time.Time{}, "", "u", false
	first := store.NewSecret(store.RefreshToken)
	before := map[string]string{
		"user/u":                           asJSON(t, user),
		"token/t":                          asJSON(t, token),
		"code/" + store.HashSecret("code"): asJSON(t, code),
		"refresh/" + store.HashSecret(first): fmt.Sprintf(`{"family_id":"f","expires_at":%d}`,
			start.Add(idle).UnixNano()),
		"family-user/u/c/f": "",
		"family/f": fmt.Sprintf(`{"id":"f","client_id":"c","user_id":"u","issuer":"i","grant":"authorization_code",`+
			`"scopes":["read"],"created_at":%d,"used_at":%d,"access_until":%d,"expires_at":%d,"access":["t %d"],`+
			`"current":%q,"until":%d}`, start.UnixNano(), start.UnixNano(), start.Add(time.Hour).UnixNano(),
			start.Add(365*24*time.Hour).UnixNano(), start.Add(time.Hour).Unix(), store.HashSecret(first),
			start.Add(idle).UnixNano()),
	}
	err := h.engine.Update(t.Context(), func(tx store.Tx) (err error) {
		for key, value := range before {
			err = errors.Join(err, tx.Put([]byte("default/"+key), []byte(value), 0))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	data := h.backup()
	h.pass(time.Second)
	h.update(func(r *store.Records) error {
		u, err := r.User("u")
		if err != nil || !reflect.DeepEqual(u, user) {
			t.Errorf("the person is %+v (%v), want %+v", u, err, user)
		}
		c, err := r.Code(store.HashSecret("code"))
		if err != nil || !reflect.DeepEqual(c, code) {
			t.Errorf("the code is %+v (%v), want %+v", c, err, code)
		}
		known, err := r.Token("t")
		if err != nil || !reflect.DeepEqual(known, token) {
			t.Errorf("the token is %+v (%v), want %+v", known, err, token)
		}
		f, err := r.Family("f")
		if err != nil || f.Grant != "authorization_code" || !f.CreatedAt.Equal(start) || !slices.Equal(f.Scopes, []string{"read"}) {
			t.Errorf("the family is %+v (%v)", f, err)
		}
		return errors.Join(r.PutUser(u), r.UseCode(store.HashSecret("code"), c, "f"), r.RevokeToken("t"))
	})
	next := h.wantRotate(first, store.Rotated)
	if again := h.wantRotate(first, store.Repeated); again != next {
		t.Errorf("%q is followed by %q, then by %q", first, next, again)
	}
	h.view(func(r *store.Records) error {
		c, err := r.Code(store.HashSecret("code"))
		if err != nil || c.UsedAt.IsZero() || c.FamilyID != "f" {
			t.Errorf("the code is %+v after its use (%v)", c, err)
		}
		return err
	})
	for key, value := range h.contents() {
		kind := strings.Split(key, "/")[1]
		want := kind == "user" || kind == "code" || kind == "family" || kind == "token"
		if got := store.IsPacked([]byte(value)); got != want {
			t.Errorf("%s is packed: %v", key, got)
		}
	}

	if known, err := h.token("t"); err != nil || known.RevokedAt.IsZero() {
		t.Errorf("the token is %+v (%v) after its end", known, err)
	}

	// A backup tells of them in JSON, packed or not.
	for _, data := range [][]byte{data, h.backup()} {
		for _, kind := range []string{"user", "code", "family", "token"} {
			if !bytes.Contains(data, []byte(`{"kind":"`+kind+`","id":"`)) {
				t.Errorf("there is no %s in the backup", kind)
			}
		}
		other := newHouse(t)
		other.restore(data)
		if got := other.backup(); !bytes.Equal(withoutTime(got), withoutTime(data)) {
			t.Errorf("%s is restored as %s", data, got)
		}
	}
}

// TestDamagedPackedRecords are errors, wherever they are cut or longer.
func TestDamagedPackedRecords(t *testing.T) {
	h := newHouse(t)
	h.furnish()
	h.update(func(r *store.Records) error {
		return r.PutToken(&store.Token{ID: "of-f", ClientID: "c", UserID: "u", FamilyID: "f", ExpiresAt: h.now.Add(time.Hour)})
	})
	for key, value := range h.contents() {
		if !store.IsPacked([]byte(value)) {
			continue
		}
		kind := strings.Split(key, "/")[1]
		if size := store.Unpack([]byte(value))[kind]; size != len(value) {
			t.Errorf("%s has %d bytes, and %d when it is packed again", key, len(value), size)
		}
		for n := range len(value) {
			if _, ok := store.Unpack([]byte(value[:n]))[kind]; ok {
				t.Errorf("%s is read when it is cut after %d of %d bytes", key, n, len(value))
			}
		}
		if _, ok := store.Unpack([]byte(value + "\x00"))[kind]; ok {
			t.Errorf("%s is read with something behind it", key)
		}
	}
	for _, value := range []string{"\x01", "\x01\x01", "\x01\x03", "\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"} {
		err := h.engine.Update(t.Context(), func(tx store.Tx) error {
			return tx.Put([]byte("default/user/u"), []byte(value), 0)
		})
		if err != nil {
			t.Fatal(err)
		}
		err = h.db.View(t.Context(), func(r *store.Records) error {
			_, err := r.User("u")
			return errors.Join(err, r.Users("", func(store.User) error { return nil }))
		})
		if err == nil || strings.Count(err.Error(), "is damaged") != 2 {
			t.Errorf("%q: %v", value, err)
		}
	}
}

// FuzzUnpack takes arbitrary bytes for packed records: nothing, or records that are packed again.
func FuzzUnpack(f *testing.F) {
	f.Add([]byte("\x01"))
	f.Add([]byte("\x01\x01" + strings.Repeat("x", 40)))
	f.Add(append([]byte{1}, make([]byte, 20)...))
	f.Fuzz(func(t *testing.T, data []byte) { store.Unpack(data) })
}

// TestWhatEndsInAnotherAgeEndsThen is no less ended for a time that the packed record has no number for.
func TestWhatEndsInAnotherAgeEndsThen(t *testing.T) {
	h := newHouse(t)
	for year, stands := range map[int]bool{9999: false, 2263: false, 1600: true, 1: true} {
		h.update(func(r *store.Records) error {
			return r.PutUser(&store.User{
				ID: fmt.Sprint(year), Name: fmt.Sprint(year), NotBefore: time.Date(year, 6, 1, 0, 0, 0, 0, time.UTC),
			})
		})
		h.view(func(r *store.Records) error {
			u, err := r.User(fmt.Sprint(year))
			if err == nil && u.Stands(h.now) != stands {
				t.Errorf("what was given stands: %v, when it ended in the year %d", !stands, year)
			}
			return err
		})
	}
}
