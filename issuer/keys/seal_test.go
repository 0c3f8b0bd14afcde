package keys_test

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/oauth2-passport/caddy-passport/issuer/keys"
	"github.com/oauth2-passport/caddy-passport/store"
)

var (
	secretA = []byte("a secret of thirty-two bytes, a.")
	secretB = []byte("a secret of thirty-two bytes, b.")
)

// pairs is all that an engine holds.
func pairs(t *testing.T, engine store.Engine) map[string]string {
	t.Helper()
	all := make(map[string]string)
	err := engine.View(t.Context(), func(tx store.Tx) error {
		return tx.Scan(nil, nil, func(key, value []byte) error {
			all[string(key)] = string(value)
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// privateParts are the private parts of the keys as they are stored.
func privateParts(t *testing.T, db *store.DB) (private [][]byte) {
	t.Helper()
	err := db.View(t.Context(), func(r *store.Records) error {
		found, err := r.Keys()
		private = nil
		for _, k := range found {
			private = append(private, k.Private)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return private
}

func allSealed(private [][]byte) bool {
	for _, p := range private {
		if !bytes.HasPrefix(p, []byte("passport-sealed-1:")) {
			return false
		}
	}
	return len(private) > 0
}

// TestStoredKeysAreEncrypted goes the way of an operator: without a secret, with one, with another one.
func TestStoredKeysAreEncrypted(t *testing.T) {
	engine := openEngine(t)
	clock := newClock()
	db := openDB(t, engine, clock.now)
	open := func(secrets ...[]byte) *keys.Ring {
		t.Helper()
		return openRing(t, keys.Config{DB: db, Secrets: secrets})
	}
	ring := open()
	first := ring.Current()
	if allSealed(privateParts(t, db)) {
		t.Fatal("sealed without a secret")
	}
	for _, step := range []struct {
		name    string
		secrets [][]byte
	}{
		{"a secret", [][]byte{secretA}},
		{"again", [][]byte{secretA}},
		{"another secret", [][]byte{secretB, secretA}},
		{"that one alone", [][]byte{secretB}},
	} {
		before := privateParts(t, db)
		ring = open(step.secrets...)
		if ring.Current().ID() != first.ID() || !bytes.Equal(jwksOf(ring), jwksOf(open(step.secrets...))) {
			t.Errorf("%s: there are other keys", step.name)
		}
		private := privateParts(t, db)
		if !allSealed(private) {
			t.Errorf("%s: a key is stored in the clear", step.name)
		}
		if step.name == "again" && !bytes.Equal(bytes.Join(before, nil), bytes.Join(private, nil)) {
			t.Errorf("%s: the keys are written though nothing changes", step.name)
		}
	}
	clock.advance(time.Hour)
	rotate(t, ring)
	if len(privateParts(t, db)) != 3 || !allSealed(privateParts(t, db)) {
		t.Error("after a rotation a key is stored in the clear")
	}
	if ring = open(secretB); ring.Key(first.ID()) == nil || ring.Current().ID() == first.ID() {
		t.Error("the keys are not those after the rotation")
	}
}

func jwksOf(r *keys.Ring) []byte {
	body, _ := r.JWKS()
	return body
}

// TestWrongSecretChangesNothing: who has not got the secret does not open the ring, and leaves all as it is.
func TestWrongSecretChangesNothing(t *testing.T) {
	engine := openEngine(t)
	db := openDB(t, engine, nil)
	openRing(t, keys.Config{DB: db, Secrets: [][]byte{secretA}})
	for _, test := range []struct {
		name    string
		secrets [][]byte
		want    string
	}{
		{"none", nil, "it is encrypted, and no encryption_key"},
		{"another", [][]byte{secretB}, "another encryption_key"},
		{"too short", [][]byte{secretB[:8]}, "at least 16 bytes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := pairs(t, engine)
			_, err := keys.Open(t.Context(), keys.Config{
				DB: db, Secrets: test.secrets, Algorithm: keys.EdDSA, // which else would make a new key
				Retain: func() time.Duration { return 100 * time.Hour },
			})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v", err)
			}
			if !maps.Equal(before, pairs(t, engine)) {
				t.Error("something was written")
			}
		})
	}
	openRing(t, keys.Config{DB: db, Secrets: [][]byte{secretA}})
}

// TestRefusesSealedKeyOfAnotherRecord: who can write to the database cannot let one key pass for another.
func TestRefusesSealedKeyOfAnotherRecord(t *testing.T) {
	db := openDB(t, openEngine(t), nil)
	openRing(t, keys.Config{DB: db, Secrets: [][]byte{secretA}})
	err := db.Update(t.Context(), func(r *store.Records) error {
		found, err := r.Keys()
		if err != nil {
			return err
		}
		found[0].Private, found[1].Private = found[1].Private, found[0].Private
		if err := r.PutKey(&found[0]); err != nil {
			return err
		}
		return r.PutKey(&found[1])
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keys.Open(t.Context(), keys.Config{DB: db, Secrets: [][]byte{secretA}}); err == nil {
		t.Error("the ring opens")
	}
}

// TestAdoptsKeysOfABackup restores a backup where keys are encrypted in another way than in the backup.
func TestAdoptsKeysOfABackup(t *testing.T) {
	for _, test := range []struct {
		name     string
		of, here [][]byte
		bad      bool
	}{
		{"neither encrypts", nil, nil, false},
		{"in the clear, where they are encrypted", nil, [][]byte{secretA}, false},
		{"encrypted alike", [][]byte{secretA}, [][]byte{secretA}, false},
		{"encrypted with a former secret", [][]byte{secretA}, [][]byte{secretB, secretA}, false},
		{"encrypted, where nothing is", [][]byte{secretA}, nil, true},
		{"encrypted with another secret", [][]byte{secretA}, [][]byte{secretB}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			from := openDB(t, openEngine(t), nil)
			of := openRing(t, keys.Config{DB: from, Secrets: test.of})
			file, err := os.Create(filepath.Join(t.TempDir(), "backup"))
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			if _, err := from.Backup(t.Context(), file); err != nil {
				t.Fatal(err)
			}
			engine := openEngine(t)
			db := openDB(t, engine, nil)
			here := openRing(t, keys.Config{DB: db, Secrets: test.here})
			before := pairs(t, engine)
			_, err = db.Restore(t.Context(), func() (io.ReadCloser, error) { return os.Open(file.Name()) },
				store.RestoreOptions{Key: here.Adopt})
			if test.bad {
				if !errors.Is(err, keys.ErrSealed) || !maps.Equal(before, pairs(t, engine)) {
					t.Errorf("%v; or something was written", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if private := privateParts(t, db); test.here != nil && !allSealed(private) {
				t.Error("a key is stored in the clear")
			}
			secrets := test.here[:min(1, len(test.here))]
			if again := openRing(t, keys.Config{DB: db, Secrets: secrets}); again.Current().ID() != of.Current().ID() {
				t.Error("another key signs")
			}
		})
	}
}
