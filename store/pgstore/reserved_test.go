package pgstore

import (
	"testing"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
	"github.com/oauth2-passport/caddy-passport/store/pgstore/pgtest"
)

// TestReadersWhoTakeAllConnectionsDoNotHideRevocations: what another node revokes is seen while all connections are
// somebody's.
func TestReadersWhoTakeAllConnectionsDoNotHideRevocations(t *testing.T) {
	url := pgtest.Start(t).Database()
	var engines []engine
	var nodes []*store.DB
	for range 2 {
		e := open(t, url)
		db, err := store.Open(t.Context(), e, "default", nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			db.Close()
			if err := e.Close(); err != nil {
				t.Error(err)
			}
		})
		engines, nodes = append(engines, e), append(nodes, db)
	}
	all := int(engines[0].pool.Config().MaxConns)
	reading, release := make(chan struct{}), make(chan struct{})
	defer close(release)
	for range all {
		go func() {
			_ = nodes[0].View(t.Context(), func(r *store.Records) error {
				_, _ = r.Client("c")
				reading <- struct{}{}
				<-release
				return nil
			})
		}()
	}
	for range all {
		<-reading
	}
	err := nodes[1].Update(t.Context(), func(r *store.Records) error {
		token := &store.Token{ID: "t", ClientID: "c", IssuedAt: r.Now(), ExpiresAt: r.Now().Add(time.Hour)}
		if err := r.PutToken(token); err != nil {
			return err
		}
		return r.RevokeToken("t")
	})
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if nodes[0].Revocations().Revoked(store.TokenRef{TokenID: "t"}) {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the revocation is out of sight, for %v", nodes[0].Behind(nodes[0].Now()))
		}
	}
}
