package caddymodule

import (
	"testing"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
)

// TestHealthTellsOfKeysThatCannotBeLoaded: those in memory are used on, and nobody would notice otherwise.
func TestHealthTellsOfKeysThatCannotBeLoaded(t *testing.T) {
	h := newHouse(t, "")
	app, _ := activeApp()
	i, err := app.instance("")
	if err != nil {
		t.Fatal(err)
	}
	waitFor := func(ok bool) issuerHealth {
		t.Helper()
		for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
			found := i.health(t.Context())
			if found.Keys.OK == ok {
				return found
			}
			if time.Now().After(end) {
				t.Fatalf("the keys: %+v", *found.Keys)
			}
		}
	}
	before := waitFor(true)
	h.update(func(r *store.Records) error {
		return r.PutKey(&store.Key{
			ID: "torn", Algorithm: "ES256", Private: []byte("no key"), State: store.KeyRetired, CreatedAt: r.Now(),
			RetiredAt: r.Now(), ExpiresAt: r.Now().Add(time.Hour),
		})
	})
	torn := waitFor(false)
	if torn.Keys.Error == "" || torn.Status != failing || !torn.Storage.OK || torn.Keys.KeyID != before.Keys.KeyID {
		t.Errorf("%+v, keys %+v", torn, *torn.Keys)
	}
	h.update(func(r *store.Records) error { return r.DeleteKey("torn") })
	if after := waitFor(true); after.Status != healthy || after.Keys.Error != "" {
		t.Errorf("%+v, keys %+v", after, *after.Keys)
	}
}
