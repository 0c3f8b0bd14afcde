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
	e, one := node(t, url)
	two := records(t, url)
	all := int(e.pool.Config().MaxConns)
	reading, release := make(chan struct{}), make(chan struct{})
	defer close(release)
	for range all {
		go func() {
			_ = one.View(t.Context(), func(r *store.Records) error {
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
	err := two.Update(t.Context(), func(r *store.Records) error {
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
		if one.Revocations().Revoked(store.TokenRef{TokenID: "t"}) {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the revocation is out of sight, for %v", one.Behind(one.Now()))
		}
	}
}
