package caddymodule

import (
	"testing"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
)

// TestPurgesOnceAnHour: of all who share the storage one purges, and no sooner than an hour later again.
func TestPurgesOnceAnHour(t *testing.T) {
	l := newLife(t)
	l.mustLoad(l.caddyfile("storage badger {$DIR}/db\npurge 1ms", ""))
	app, _ := activeApp()
	i := app.find(DefaultIssuer)
	open, err := i.use(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	token := func(id string, revoke bool) {
		t.Helper()
		err := open.db.Update(t.Context(), func(r *store.Records) error {
			token := &store.Token{ID: id, ClientID: "demo", IssuedAt: r.Now(), ExpiresAt: r.Now().Add(time.Hour)}
			if err := r.PutToken(token); err != nil || !revoke {
				return err
			}
			return r.RevokeToken(id)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	token("live", false)
	token("revoked", true)
	time.Sleep(2 * time.Millisecond)
	purge := func(want int) {
		t.Helper()
		if n, err := i.purgeIfDue(t.Context(), open); err != nil || n != want {
			t.Errorf("%d are purged, want %d: %v", n, want, err)
		}
	}
	purge(1)
	token("revoked later", true)
	time.Sleep(2 * time.Millisecond)
	purge(0)
	if !open.db.Revocations().Revoked(store.TokenRef{TokenID: "revoked", ClientID: "demo"}) {
		t.Error("a token is good again, whose record is gone")
	}
}
