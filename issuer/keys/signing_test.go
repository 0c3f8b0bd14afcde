package keys_test

import (
	"errors"
	"testing"

	"github.com/oauth2-passport/caddy-passport/issuer/keys"
	"github.com/oauth2-passport/caddy-passport/store"
)

// sharedEngine is one that other nodes write to.
type sharedEngine struct{ store.Engine }

func (sharedEngine) Shared() bool { return true }

// TestNobodySignsWithARetiredKey: a ring that has not heard that its key is retired is told within the transaction that
// writes the token down.
func TestNobodySignsWithARetiredKey(t *testing.T) {
	for name, open := range map[string]func() (a, b *store.DB){
		"one node": func() (a, b *store.DB) {
			db := openDB(t, openEngine(t), nil)
			return db, db
		},
		"two nodes": func() (a, b *store.DB) {
			engine := sharedEngine{openEngine(t)}
			return openDB(t, engine, nil), openDB(t, engine, nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			mine, others := open()
			a, b := openRing(t, keys.Config{DB: mine}), openRing(t, keys.Config{DB: others})
			signing := func() (*keys.Key, error) {
				var key *keys.Key
				err := others.Update(t.Context(), func(rec *store.Records) (err error) {
					key, err = b.Signing(rec)
					return err
				})
				return key, err
			}
			for range 3 {
				leaked := a.Current().ID()
				if key, err := signing(); err != nil || key.ID() != leaked {
					t.Fatalf("%v %v, want %s", key, err, leaked)
				}
				if err := a.Retire(t.Context(), leaked); err != nil {
					t.Fatal(err)
				}
				_, err := signing()
				stale, ok := errors.AsType[*keys.StaleError](err)
				if !ok {
					t.Fatalf("a key that was retired: %v", err)
				}
				if err := b.Renew(t.Context(), stale); err != nil {
					t.Fatal(err)
				}
				if key, err := signing(); err != nil || key.ID() != a.Current().ID() {
					t.Fatalf("%v %v, want %s", key, err, a.Current().ID())
				}
			}
		})
	}
}
