//go:build unix

package issuer

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"

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
