package verify

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/oauth2-passport/caddy-passport/issuer/keys"
	"github.com/oauth2-passport/caddy-passport/store"
)

// bench is a house on the real clock, with a key ring on its store.
func bench(b *testing.B, alg keys.Algorithm) *house {
	b.Helper()
	h := newHouseAt(b, nil, 0)
	ring, err := keys.Open(b.Context(), keys.Config{Algorithm: alg, DB: h.db})
	if err != nil {
		b.Fatal(err)
	}
	h.key = ring.Current()
	h.v = New(Config{Keys: ring, DB: h.db, Client: h.hasClient})
	return h
}

// manyTokens are different tokens of different clients.
func (h *house) manyTokens(n int) []string {
	list := make([]string, n)
	for i := range list {
		id := [...]string{configClient, storedClient}[i%2]
		list[i] = h.token(change{"sub": id, "client_id": id})
	}
	return list
}

func BenchmarkVerifyHit(b *testing.B) {
	for name, client := range map[string]string{"config client": configClient, "stored client": storedClient} {
		b.Run(name, func(b *testing.B) {
			h := bench(b, keys.ES256)
			token := h.token(change{"sub": client, "client_id": client})
			h.want(token, nil)
			ctx := b.Context()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := h.v.Verify(ctx, token, testIssuer); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkOpaqueHit is a personal access token, and a session, that have been seen before.
func BenchmarkOpaqueHit(b *testing.B) {
	h := bench(b, keys.ES256)
	personal, _ := h.personalToken(somebody)
	cookie, _ := h.session(somebody)
	h.want(personal, nil)
	h.wantSession(cookie, nil)
	ctx := b.Context()
	b.Run("personal", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := h.v.Verify(ctx, personal, testIssuer); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("session", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := h.v.Session(ctx, cookie, testIssuer); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkOpaqueMiss is one that the store is asked about, and one with a typo.
func BenchmarkOpaqueMiss(b *testing.B) {
	h := bench(b, keys.ES256)
	random := store.NewSecret(store.PersonalAccessToken)
	for name, token := range map[string]string{"random": random, "typo": random[:len(random)-1] + "_"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := h.v.Verify(b.Context(), token, testIssuer); err == nil {
					b.Fatal("taken")
				}
			}
		})
	}
}

func BenchmarkVerifyHitParallel(b *testing.B) {
	h := bench(b, keys.ES256)
	token := h.token()
	h.want(token, nil)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		ctx := context.Background()
		for pb.Next() {
			if _, err := h.v.Verify(ctx, token, testIssuer); err != nil {
				b.Error(err)
			}
		}
	})
}

func BenchmarkVerifyHit20000InTurn(b *testing.B) {
	h := bench(b, keys.EdDSA)
	tokens := h.manyTokens(20_000)
	for _, token := range tokens {
		h.want(token, nil)
	}
	var next atomic.Int64
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		ctx := context.Background()
		for i := int(next.Add(7919)); pb.Next(); i++ {
			if _, err := h.v.Verify(ctx, tokens[i%len(tokens)], testIssuer); err != nil {
				b.Error(err)
			}
		}
	})
}

// BenchmarkVerifyMiss verifies tokens that have not been seen before, beside the bare signature.
func BenchmarkVerifyMiss(b *testing.B) {
	for _, alg := range []keys.Algorithm{keys.ES256, keys.RS256, keys.EdDSA} {
		h := bench(b, alg)
		tokens := h.manyTokens(500)
		b.Run(fmt.Sprintf("%s/floor", alg), func(b *testing.B) {
			t, _ := split(tokens[0])
			signature, _ := decode(t.signature)
			b.ReportAllocs()
			for b.Loop() {
				if !h.key.Verify(bytesOf(t.input), signature) {
					b.Fatal("not good")
				}
			}
		})
		b.Run(fmt.Sprintf("%s/verify", alg), func(b *testing.B) {
			ctx := b.Context()
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if i%len(tokens) == 0 {
					h.v.cache = newCache(1 << 10)
				}
				if _, err := h.v.Verify(ctx, tokens[i%len(tokens)], testIssuer); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkVerifyForged(b *testing.B) {
	h := bench(b, keys.ES256)
	tokens := h.manyTokens(500)
	for i, token := range tokens { // the signature of another one
		t, _ := split(token)
		other, _ := split(tokens[(i+1)%len(tokens)])
		tokens[i] = t.input + "." + other.signature
	}
	ctx := b.Context()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, err := h.v.Verify(ctx, tokens[i%len(tokens)], testIssuer); err == nil {
			b.Fatal("taken")
		}
	}
}

func BenchmarkVerifyRevoked(b *testing.B) {
	for _, seen := range []bool{true, false} {
		b.Run(fmt.Sprintf("seen before %v", seen), func(b *testing.B) {
			h := bench(b, keys.ES256)
			tokens := h.manyTokens(500)
			if seen {
				for _, token := range tokens {
					h.want(token, nil)
				}
			}
			h.update(func(r *store.Records) error { return r.DeleteClient(storedClient) })
			h.update(func(r *store.Records) error {
				if err := r.PutClient(&store.Client{ID: configClient}); err != nil {
					return err
				}
				return r.DeleteClient(configClient)
			})
			ctx := b.Context()
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if _, err := h.v.Verify(ctx, tokens[i%len(tokens)], testIssuer); err == nil {
					b.Fatal("taken")
				}
			}
		})
	}
}

// BenchmarkWatch is one request after another on a connection.
func BenchmarkWatch(b *testing.B) {
	h := bench(b, keys.ES256)
	id, err := h.verify(h.token())
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		_, end := context.WithCancelCause(b.Context())
		defer end(nil)
		var one Watch
		for pb.Next() {
			one = Watch{}
			h.v.Watch(&one, id, end)
			if err := one.Release(); err != nil {
				b.Error(err)
			}
		}
	})
}

func BenchmarkIdentity(b *testing.B) {
	h := bench(b, keys.ES256)
	id, err := h.verify(h.token())
	if err != nil {
		b.Fatal(err)
	}
	b.Run("HasScope and IntendedFor", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if !id.HasScope("write") || id.IntendedFor(testIssuer) != nil {
				b.Fatal("refused")
			}
		}
	})
	b.Run("Claim", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, ok := id.Claim("jti"); !ok {
				b.Fatal("not there")
			}
		}
	})
}
