//go:build linux

package upstreams

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oauth2-passport/caddy-passport/tests/internal/gateway"
)

const (
	bulk = 2 << 30 // bytes
	// level is how much the memory of Caddy may grow by for a transfer of that size, with the race detector.
	level = 128 << 20
)

const guarded = `http://127.0.0.1:{$PORT} {
	passport_server
	passport_auth scopes read
	reverse_proxy {$UPSTREAM}
}
`

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// summed is a body of so many bytes that are not all the same. It sums up what is read of it.
type summed struct {
	left  int64
	read  atomic.Int64
	sum   uint32
	pause *atomic.Bool // each piece takes its time while it is set
}

func (s *summed) Read(p []byte) (int, error) {
	if s.left == 0 {
		return 0, io.EOF
	}
	if s.pause != nil && s.pause.Load() {
		time.Sleep(10 * time.Millisecond)
		p = p[:min(len(p), 256<<10)]
	}
	n := int(min(int64(len(p)), s.left))
	from := s.read.Add(int64(n)) - int64(n)
	for i := 0; i < n; i += 4096 {
		p[i] = byte((from + int64(i)) >> 12)
	}
	s.sum = crc32.Update(s.sum, castagnoli, p[:n])
	s.left -= int64(n)
	return n, nil
}

// sink is an upstream that takes everything and tells how much it was, and its sum.
type sink struct {
	calls, bytes atomic.Int64
	broken       chan error // calls whose body did not come to its end
}

func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.calls.Add(1)
	sum := crc32.New(castagnoli)
	n, err := io.Copy(io.MultiWriter(sum, (*counter)(&s.bytes)), r.Body)
	if err != nil {
		s.broken <- err
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"bytes": n, "sum": fmt.Sprint(sum.Sum32()),
		"client": r.Header.Get("X-Passport-Client")})
}

type counter atomic.Int64

func (c *counter) Write(p []byte) (int, error) {
	(*atomic.Int64)(c).Add(int64(len(p)))
	return len(p), nil
}

// memory reads a figure of /proc/<pid>/status, in bytes.
func memory(t *testing.T, g *gateway.Gateway, name string) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", g.PID()))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var kilobytes int64
		if _, err := fmt.Sscanf(line, name+": %d kB", &kilobytes); err == nil {
			return kilobytes << 10
		}
	}
	t.Fatalf("the status has no %s", name)
	return 0
}

// staysLevel fails the test when a transfer takes much memory of Caddy's.
func staysLevel(t *testing.T, g *gateway.Gateway, transfer func()) {
	t.Helper()
	before := memory(t, g, "VmRSS")
	// From here on the peak counts anew (proc(5)).
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", g.PID()), []byte("5"), 0o600); err != nil {
		t.Fatal(err)
	}
	transfer()
	peak := memory(t, g, "VmHWM")
	t.Logf("Caddy had %d MiB, and %d MiB at most", before>>20, peak>>20)
	if peak-before > level {
		t.Errorf("2 GiB take %d MiB of memory", (peak-before)>>20)
	}
}

// upload is a request with a body of a known length.
func upload(t *testing.T, g *gateway.Gateway, bearer string, body *summed) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, g.URL+"/orders/import", body)
	if err != nil {
		t.Fatal(err)
	}
	req.ContentLength = body.left
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	return req
}

func TestUploadOf2GiB(t *testing.T) {
	s := &sink{broken: make(chan error, 8)}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	g := start(t, guarded, strings.TrimPrefix(server.URL, "http://"))
	g.HTTP.Timeout = 3 * patience
	bearer := token(g)

	t.Run("without a token", func(t *testing.T) {
		staysLevel(t, g, func() {
			body := &summed{left: bulk}
			if resp, err := g.Try(upload(t, g, "", body)); err == nil { // else it was told while it sent
				refused(t, "an upload", resp, "")
			}
			if n := body.read.Load(); n > 64<<20 {
				t.Errorf("%d bytes were taken", n)
			}
		})
		if n := s.calls.Load(); n != 0 {
			t.Errorf("the upstream got %d requests", n)
		}
	})
	t.Run("with a token", func(t *testing.T) {
		staysLevel(t, g, func() {
			body := &summed{left: bulk}
			resp := g.Do(upload(t, g, bearer, body))
			if got := resp.JSON(); resp.Status != http.StatusOK || got["bytes"] != float64(bulk) ||
				got["sum"] != fmt.Sprint(body.sum) || got["client"] != clientID {
				t.Errorf("%d %s", resp.Status, resp.Body)
			}
		})
	})
	t.Run("whose token is revoked", func(t *testing.T) {
		before := s.bytes.Load()
		var slow atomic.Bool
		body := &summed{left: bulk, pause: &slow}
		slow.Store(true)
		req := upload(t, g, bearer, body)
		type outcome struct {
			resp gateway.Response
			err  error
		}
		answered := make(chan outcome, 1)
		go func() {
			resp, err := g.Try(req)
			answered <- outcome{resp, err}
		}()
		eventually(t, "the upload runs", func() bool { return s.bytes.Load()-before > 1<<20 })
		revoke(t, g, bearer)
		if got := <-answered; got.err == nil { // else it was told while it sent
			refused(t, "the upload", got.resp, "invalid_token")
		}
		select {
		case <-s.broken:
		case <-time.After(patience):
			t.Error("the upstream's request outlives the token")
		}
		if n := s.bytes.Load() - before; n >= bulk {
			t.Error("all of it came to the upstream")
		}
		refused(t, "the next one", g.Do(upload(t, g, bearer, &summed{left: 1})), "invalid_token")
	})
}

func TestDownloadOf2GiB(t *testing.T) {
	n := startNginx(t)
	path := filepath.Join(n.dir, "www", "orders", "all.bin")
	sum := write(t, path)
	g := start(t, guarded, n.plain)
	g.HTTP.Timeout = 3 * patience
	bearer := token(g)
	get := func(t *testing.T, bearer string) *http.Response {
		t.Helper()
		req := g.Request(http.MethodGet, "/orders/all.bin", "")
		if bearer != "" {
			req.Header.Set("Authorization", "Bearer "+bearer)
		}
		resp, err := g.HTTP.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = resp.Body.Close() })
		return resp
	}

	refused(t, "without a token", g.Get("/orders/all.bin", ""), "")
	t.Run("with a token", func(t *testing.T) {
		staysLevel(t, g, func() {
			resp := get(t, bearer)
			got := crc32.New(castagnoli)
			n, err := io.Copy(got, resp.Body)
			if err != nil || n != bulk || got.Sum32() != sum {
				t.Errorf("%d: %d bytes, %v", resp.StatusCode, n, err)
			}
		})
	})
	t.Run("a part of it", func(t *testing.T) {
		req := g.Request(http.MethodGet, "/orders/all.bin", "")
		req.Header.Set("Authorization", "Bearer "+bearer)
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", bulk-5))
		if resp := g.Do(req); resp.Status != http.StatusPartialContent || resp.Body != "e end" {
			t.Errorf("%d %q", resp.Status, resp.Body)
		}
	})
	t.Run("whose token is revoked", func(t *testing.T) {
		resp := get(t, bearer)
		took, err := io.CopyN(io.Discard, resp.Body, 16<<20)
		if err != nil {
			t.Fatal(err)
		}
		revoke(t, g, bearer)
		for err == nil {
			var n int64
			n, err = io.CopyN(io.Discard, resp.Body, 256<<10)
			took += n
			time.Sleep(10 * time.Millisecond)
		}
		if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) || took >= bulk {
			t.Errorf("all %d bytes came: %v", took, err)
		}
		refused(t, "the next one", g.Get("/orders/all.bin", bearer), "invalid_token")
	})
}

// write makes a file of that size, most of which takes no room on the disk, and sums it up.
func write(t *testing.T, path string) uint32 {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	sum := crc32.New(castagnoli)
	err = file.Truncate(bulk)
	for at := int64(0); err == nil && at < bulk; at += bulk / 64 {
		_, err = file.WriteAt(fmt.Appendf(nil, "this is at %d", at), at)
	}
	if err == nil {
		_, err = file.WriteAt([]byte("the end"), bulk-7)
	}
	if err == nil {
		_, err = io.Copy(sum, file)
	}
	if err != nil {
		t.Fatal(err)
	}
	return sum.Sum32()
}
