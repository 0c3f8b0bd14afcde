//go:build unix

package issuer

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
	"github.com/oauth2-passport/caddy-passport/store/badgerstore"
)

// countingEngine counts what transactions do.
type countingEngine struct {
	store.Engine
	reads, writes, bytes atomic.Int64
}

func (e *countingEngine) View(ctx context.Context, fn func(store.Tx) error) error {
	return e.Engine.View(ctx, func(tx store.Tx) error { return fn(countingTx{tx, e}) })
}

func (e *countingEngine) Update(ctx context.Context, fn func(store.Tx) error) error {
	return e.Engine.Update(ctx, func(tx store.Tx) error { return fn(countingTx{tx, e}) })
}

type countingTx struct {
	store.Tx
	e *countingEngine
}

func (t countingTx) Get(key []byte) ([]byte, error) {
	t.e.reads.Add(1)
	return t.Tx.Get(key)
}

func (t countingTx) Put(key, value []byte, ttl time.Duration) error {
	t.e.writes.Add(1)
	t.e.bytes.Add(int64(len(key) + len(value)))
	return t.Tx.Put(key, value, ttl)
}

// spent is what a grant costs, of the rounds so far.
type spent struct {
	cpu                            []float64 // nanoseconds a request, of each round
	allocs, memory                 uint64
	reads, writes, bytes, requests int64
}

// BenchmarkGrantsBeside compares what people's grants cost with the token of a client for itself: rounds of each, by
// turns, so that what else the machine does meets all. What it reports are medians.
func BenchmarkGrantsBeside(b *testing.B) {
	badger, err := badgerstore.Open(badgerstore.Options{Dir: b.TempDir(), MinFree: -1})
	if err != nil {
		b.Fatal(err)
	}
	engine := &countingEngine{Engine: badger}
	h := newHouseOn(b, engine, peopled, forGrants)
	people := h.crowd(5000)
	const (
		round   = 1000
		clients = 64
	)
	rounds := max(b.N, 3)
	codes := h.codes("site", people, round*rounds)
	tokens := h.refreshTokens("site", people, round*rounds)
	form := "grant_type=authorization_code&code_verifier=" + testVerifier + "&redirect_uri=" +
		url.QueryEscape(testRedirect) + "&code="
	turn := 0
	grants := []struct {
		name string
		body func(n int) string
		spent
	}{
		{name: "client_credentials", body: func(int) string { return "grant_type=client_credentials&scope=read+write" }},
		{name: "code", body: func(n int) string { return form + codes[turn*round+n] }},
		{
			name: "refresh",
			body: func(n int) string { return "grant_type=refresh_token&refresh_token=" + tokens[turn*round+n] },
		},
	}
	b.ResetTimer()
	for ; turn < rounds; turn++ {
		for i := range grants {
			g := &grants[i]
			g.reads -= engine.reads.Load()
			g.writes -= engine.writes.Load()
			g.bytes -= engine.bytes.Load()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			began := cpu(b)
			var next atomic.Int64
			var group sync.WaitGroup
			for range clients {
				group.Go(func() {
					r := httptest.NewRequest(http.MethodPost, "https://api.example.com/oauth/token", nil)
					r.Header.Set("Content-Type", formMedia)
					r.Header.Set("Authorization", basic("site", testSecret))
					w := &keeper{discard: discard{header: make(http.Header)}}
					for n := int(next.Add(1)) - 1; n < round; n = int(next.Add(1)) - 1 {
						body := g.body(n)
						r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
						clear(w.header)
						h.handler.ServeHTTP(w, r)
						if w.status != http.StatusOK {
							b.Errorf("%s: %d %s", g.name, w.status, w.body)
							return
						}
					}
				})
			}
			group.Wait()
			g.cpu = append(g.cpu, float64(cpu(b)-began)/round)
			runtime.ReadMemStats(&after)
			g.allocs += after.Mallocs - before.Mallocs
			g.memory += after.TotalAlloc - before.TotalAlloc
			g.requests += round
			g.reads += engine.reads.Load()
			g.writes += engine.writes.Load()
			g.bytes += engine.bytes.Load()
		}
	}
	b.ReportMetric(0, "ns/op")
	base := grants[0].median()
	for i := range grants {
		g := &grants[i]
		per := func(n int64) float64 { return float64(n) / float64(g.requests) }
		b.Logf("%-18s %6.0f cpu-ns  %.2f x  %4.0f allocs %6.0f B  %.1f reads %.1f writes of %.0f B", g.name, g.median(),
			g.median()/base, per(int64(g.allocs)), per(int64(g.memory)), per(g.reads), per(g.writes), per(g.bytes))
		b.ReportMetric(g.median()/base, g.name+"-x")
	}
}

func (s *spent) median() float64 {
	sorted := slices.Sorted(slices.Values(s.cpu))
	return sorted[len(sorted)/2]
}

// forGrants lets the client site use the grants that are compared.
func forGrants(c *Config) {
	c.Observer = nil
	c.Lifetimes.AuthorizationCode = time.Hour
	for i := range c.Clients {
		if c.Clients[i].ID == "site" {
			c.Clients[i].Grants = append(c.Clients[i].Grants, "client_credentials")
		}
	}
}

// crowd is n people.
func (h *house) crowd(n int) []*store.User {
	people := make([]*store.User, n)
	for i := range people {
		people[i] = h.person(fmt.Sprintf("Person %d", i))
	}
	return people
}

// refreshTokens are refresh tokens of people for a client, each of a family that has been refreshed once.
func (h *house) refreshTokens(client string, people []*store.User, n int) []string {
	list := make([]string, 0, n)
	for len(list) < n {
		h.update(func(r *store.Records) error {
			for range min(500, n-len(list)) {
				f := &store.Family{
					ID: store.NewID(r.Now()), ClientID: client, UserID: people[len(list)%len(people)].ID,
					Issuer: testIdentifier, Grant: "authorization_code", Scopes: []string{"read", "write"},
					AuthenticatedAt: r.Now(), ExpiresAt: r.Now().Add(30 * 24 * time.Hour),
				}
				first := f.NewRefreshToken()
				if err := r.PutFamily(f, first, 24*time.Hour); err != nil {
					return err
				}
				next, _, err := r.Rotate(f, first, 24*time.Hour, time.Minute)
				if err != nil {
					return err
				}
				list = append(list, next)
			}
			return nil
		})
	}
	return list
}
