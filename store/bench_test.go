package store_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
	"github.com/oauth2-passport/caddy-passport/store/storetest"
)

func BenchmarkNewSecret(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		store.NewSecret(store.RefreshToken)
	}
}

func BenchmarkParseSecret(b *testing.B) {
	s := store.NewSecret(store.RefreshToken)
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := store.ParseSecret(s); !ok {
			b.Fatal(s)
		}
	}
}

func BenchmarkSecretMatches(b *testing.B) {
	s := store.NewSecret(store.ClientSecret)
	hash := store.HashSecret(s)
	b.ReportAllocs()
	for b.Loop() {
		if !store.SecretMatches(hash, s) {
			b.Fatal(s)
		}
	}
}

func BenchmarkNewID(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		store.NewID(start)
	}
}

func BenchmarkIDTime(b *testing.B) {
	id := store.NewID(start)
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := store.IDTime(id); !ok {
			b.Fatal(id)
		}
	}
}

// BenchmarkRevoked asks for a token that is not revoked, on every processor at once.
func BenchmarkRevoked(b *testing.B) {
	for _, revoked := range []int{0, 100_000} {
		b.Run(fmt.Sprintf("revoked=%d", revoked), func(b *testing.B) {
			var set store.Revocations
			var all []store.Revocation
			for i := range revoked {
				kind := store.RevokedToken
				if i%1000 == 0 {
					kind = store.RevokedClient
				}
				all = append(all, store.Revocation{Kind: kind, ID: store.NewID(start), Until: start})
			}
			set.Apply(all...)
			refs := make([]store.TokenRef, 1024)
			for i := range refs {
				refs[i] = store.TokenRef{TokenID: store.NewID(start), ClientID: "orders", KeyID: "key", IssuedAt: start}
			}
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(p *testing.PB) {
				for n := 0; p.Next(); n++ {
					if set.Revoked(refs[n%len(refs)]) {
						b.Fatal("revoked")
					}
				}
			})
		})
	}
}

// BenchmarkToken writes and reads the record of a token; the engine is a map in memory.
func BenchmarkToken(b *testing.B) {
	db, err := store.Open(b.Context(), new(storetest.Engine), "default", nil)
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	token := &store.Token{
		ID: store.NewID(start), ClientID: store.NewID(start), Issuer: "https://api.example.com",
		Scopes: []string{"read", "write"}, Audience: []string{"https://api.example.com"},
		IssuedAt: time.Now(), ExpiresAt: time.Now().Add(time.Hour),
	}
	b.Run("put", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := db.Update(b.Context(), func(r *store.Records) error { return r.PutToken(token) }); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("get", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			err := db.View(b.Context(), func(r *store.Records) error {
				_, err := r.Token(token.ID)
				return err
			})
			if err != nil {
				b.Fatal(err)
			}
		}
	})
}
