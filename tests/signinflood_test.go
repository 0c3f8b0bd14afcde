package tests

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oauth2-passport/caddy-passport/tests/internal/gateway"
)

// TestFloodOfSignIns: from as many addresses as there are requests, for names that are nobody's and for one that is.
// Caddy's memory stays where it is, the API answers beside it, and afterwards everybody signs in again.
func TestFloodOfSignIns(t *testing.T) {
	h := newTown(t)
	// The addresses are those that a proxy tells of.
	config := strings.Replace(peopleSite, "\tdefault_bind 127.0.0.1\n",
		"\tdefault_bind 127.0.0.1\n\tservers {\n\t\ttrusted_proxies static 127.0.0.0/8\n\t}\n", 1)
	if err := h.Reload(config); err != nil {
		t.Fatal(err)
	}
	token := h.token("bob")
	before := h.memory("VmHWM")
	quiet := h.calls(token, 2*time.Second)

	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
	defer cancel()
	var all sync.WaitGroup
	var counts [600]atomic.Int64
	var attempts atomic.Int64
	for range 128 {
		all.Go(func() {
			for ctx.Err() == nil {
				n := attempts.Add(1)
				login := fmt.Sprint("name", n)
				if n%4 == 0 {
					login = "demo"
				}
				form := url.Values{"grant_type": {"password"}, "username": {login}, "password": {guessedWrong}}
				req := h.Request(http.MethodPost, "/oauth/token", form.Encode())
				req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
				req.Header.Set("X-Forwarded-For", fmt.Sprintf("10.%d.%d.%d", n>>16&255, n>>8&255, n&255))
				req.SetBasicAuth("app", appSecret)
				resp, err := h.Try(req)
				if err != nil {
					t.Error(err)
					return
				}
				counts[resp.Status].Add(1)
				if resp.Status == http.StatusTooManyRequests && resp.Header.Get("Retry-After") == "" {
					t.Error("429 without Retry-After")
				}
			}
		})
	}
	beside := h.calls(token, 6*time.Second)
	all.Wait()
	if counts[http.StatusTooManyRequests].Load() == 0 || counts[http.StatusBadRequest].Load() == 0 {
		t.Errorf("%d wrong, %d told to come again", counts[400].Load(), counts[429].Load())
	}
	if others := attempts.Load() - counts[400].Load() - counts[429].Load(); others != 0 {
		t.Errorf("%d were answered otherwise", others)
	}
	if grown := h.memory("VmHWM") - before; grown > 280<<20*gateway.Slack {
		t.Errorf("Caddy has taken %d MiB more", grown>>20)
	}
	t.Logf("%d attempts, %d hashed; %d requests a second to the API before and %d beside; at most %d MiB",
		attempts.Load(), counts[400].Load(), quiet/2, beside/6, h.memory("VmHWM")>>20)
	h.Eventually("bob signs in, from where he did before", func() bool {
		return h.signIn("bob", personPassword).Status == http.StatusOK
	})
}

// calls calls the API for so long, and returns how often.
func (h *town) calls(token string, span time.Duration) (n int) {
	h.t.Helper()
	for end := time.Now().Add(span); time.Now().Before(end); n++ {
		if resp := h.Get("/orders", token); resp.Status != http.StatusOK {
			h.t.Fatalf("the API answers %d", resp.Status)
		}
	}
	return n
}

// memory reads a figure of /proc/<pid>/status, in bytes.
func (h *town) memory(name string) int64 {
	h.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", h.PID()))
	if err != nil {
		h.t.Fatal(err)
	}
	var kilobytes int64
	for line := range strings.Lines(string(text)) {
		if _, err := fmt.Sscanf(line, name+": %d kB", &kilobytes); err == nil {
			return kilobytes << 10
		}
	}
	h.t.Fatalf("the status has no %s", name)
	return 0
}
