//go:build unix

package issuer

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
)

// discard is a ResponseWriter that costs next to nothing.
type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
func (d *discard) WriteHeader(status int)      { d.status = status }

// cpu is the time that this process has had of the processors so far: unlike the time on the clock it does not depend
// on what else the machine does.
func cpu(b *testing.B) int64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return usage.Utime.Nano() + usage.Stime.Nano()
}

// benchmark sends one request over and over.
func (h *house) benchmark(b *testing.B, path, auth, body string, parallelism int) {
	b.Helper()
	b.ReportAllocs()
	b.SetParallelism(parallelism)
	before := cpu(b)
	defer func() { b.ReportMetric(float64(cpu(b)-before)/float64(b.N), "cpu-ns/op") }()
	b.RunParallel(func(pb *testing.PB) {
		r := httptest.NewRequest(http.MethodPost, "https://api.example.com"+path, nil)
		r.Header.Set("Content-Type", formMedia)
		r.Header.Set("Authorization", auth)
		reader := strings.NewReader(body)
		r.Body, r.ContentLength = io.NopCloser(reader), int64(len(body))
		w := &discard{header: make(http.Header)}
		for pb.Next() {
			reader.Reset(body)
			clear(w.header)
			h.handler.ServeHTTP(w, r)
			if w.status != http.StatusOK {
				b.Fatal(w.status)
			}
		}
	})
}

func BenchmarkToken(b *testing.B) {
	h := newHouse(b, func(c *Config) { c.Observer = nil })
	stored, secret, err := h.issuer.CreateClient(b.Context(), store.Client{Name: "stored"})
	if err != nil {
		b.Fatal(err)
	}
	const body = "grant_type=client_credentials&scope=read+write"
	b.Run("configured", func(b *testing.B) { h.benchmark(b, "/oauth/token", basic("orders-sync", testSecret), body, 32) })
	b.Run("stored", func(b *testing.B) { h.benchmark(b, "/oauth/token", basic(stored.ID, secret), body, 32) })
}

// keeper is a ResponseWriter that keeps the last body.
type keeper struct {
	discard
	body []byte
}

func (k *keeper) Write(p []byte) (int, error) {
	k.body = append(k.body[:0], p...)
	return len(p), nil
}

// grantBench sends requests of the client site, each with what next makes of the answer to the one before (nil: the
// first of a goroutine).
func (h *house) grantBench(b *testing.B, next func(answer []byte) string) {
	b.Helper()
	b.ReportAllocs()
	b.SetParallelism(32)
	b.ResetTimer()
	before := cpu(b)
	defer func() { b.ReportMetric(float64(cpu(b)-before)/float64(b.N), "cpu-ns/op") }()
	b.RunParallel(func(pb *testing.PB) {
		r := httptest.NewRequest(http.MethodPost, "https://api.example.com/oauth/token", nil)
		r.Header.Set("Content-Type", formMedia)
		r.Header.Set("Authorization", basic("site", testSecret))
		w := &keeper{discard: discard{header: make(http.Header)}}
		for pb.Next() {
			body := next(w.body)
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
			clear(w.header)
			h.handler.ServeHTTP(w, r)
			if w.status != http.StatusOK {
				b.Errorf("%d %s", w.status, w.body)
				return
			}
		}
	})
}

// codes are codes of people for a client.
func (h *house) codes(client string, people []*store.User, n int) []string {
	list := make([]string, 0, n)
	for len(list) < n {
		h.update(func(r *store.Records) error {
			for range min(1000, n-len(list)) {
				code, err := h.issuer.newCode(r, store.Code{
					ClientID: client, UserID: people[len(list)%len(people)].ID, Issuer: testIdentifier,
					RedirectURI: testRedirect, RedirectSent: true, Scopes: []string{"read", "write"},
					Challenge: s256(testVerifier), AuthenticatedAt: r.Now(),
				})
				if err != nil {
					return err
				}
				list = append(list, code)
			}
			return nil
		})
	}
	return list
}

// BenchmarkGrants compares what people's grants cost with the token of a client for itself.
func BenchmarkGrants(b *testing.B) {
	h := newHouse(b, peopled, forGrants)
	people := h.crowd(1000)
	b.Run("client_credentials", func(b *testing.B) {
		h.benchmark(b, "/oauth/token", basic("site", testSecret), "grant_type=client_credentials&scope=read+write", 32)
	})
	form := "grant_type=authorization_code&redirect_uri=" + url.QueryEscape(testRedirect) + "&code_verifier=" + testVerifier +
		"&code="
	b.Run("authorization_code", func(b *testing.B) {
		codes := h.codes("site", people, b.N)
		var used atomic.Int64
		h.grantBench(b, func([]byte) string { return form + codes[used.Add(1)-1] })
	})
	b.Run("refresh_token", func(b *testing.B) {
		first := make([]string, 32*runtime.GOMAXPROCS(0))
		for i, code := range h.codes("site", people, len(first)) {
			first[i] = h.gives(h.askByCode("site", code)).refresh
		}
		var begun atomic.Int64
		h.grantBench(b, func(answer []byte) string {
			token := ""
			if answer == nil {
				token = first[begun.Add(1)-1]
			} else if _, rest, ok := bytes.Cut(answer, []byte(`"refresh_token":"`)); ok {
				token = string(rest[:bytes.IndexByte(rest, '"')])
			}
			return "grant_type=refresh_token&refresh_token=" + token
		})
	})
}

func BenchmarkIntrospect(b *testing.B) {
	h := newHouse(b, func(c *Config) { c.Observer = nil })
	stored, secret, err := h.issuer.CreateClient(b.Context(), store.Client{Name: "stored", ResourceServer: true})
	if err != nil {
		b.Fatal(err)
	}
	h.t = b
	body := "token=" + h.tokenFor("orders-sync", "read write")
	b.Run("configured", func(b *testing.B) { h.benchmark(b, "/oauth/introspect", basic("api", testSecret), body, 1) })
	b.Run("stored", func(b *testing.B) { h.benchmark(b, "/oauth/introspect", basic(stored.ID, secret), body, 1) })
}

// BenchmarkPurge removes revoked tokens of which no more is known; the time on the clock has the rests in it.
func BenchmarkPurge(b *testing.B) {
	h := newHouse(b, func(c *Config) { c.Observer = nil })

	for left := b.N; left > 0; left -= 500 {
		h.update(func(r *store.Records) error {
			for range min(500, left) {
				now := r.Now()
				t := store.Token{
					ID: store.NewID(now), ClientID: "orders-sync", Issuer: testIdentifier, Scopes: []string{"read", "write"},
					Audience: []string{testIdentifier}, IssuedAt: now, ExpiresAt: now.Add(time.Hour), KeyID: "k",
					Grant: "client_credentials",
				}
				if err := r.PutToken(&t); err != nil {
					return err
				}
				if err := r.RevokeToken(t.ID); err != nil {
					return err
				}
			}
			return nil
		})
	}
	b.ReportAllocs()
	b.ResetTimer()
	before := cpu(b)
	n, err := h.issuer.Purge(b.Context(), PurgeFilter{Revoked: true})
	b.ReportMetric(float64(cpu(b)-before)/float64(b.N), "cpu-ns/op")
	if err != nil || n != b.N {
		b.Fatalf("%d of %d were purged: %v", n, b.N, err)
	}
}
