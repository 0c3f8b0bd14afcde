//go:build linux

package attacks

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/oauth2-passport/caddy-passport/tests/internal/gateway"
)

// endless is a body without an end.
type endless struct{ piece string }

func (e endless) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		n += copy(p[n:], e.piece)
	}
	return n, nil
}

// TestRefusesRequestsOfAnySize sends headers, forms and JSON that are too big, too deep or too many. Each is refused as
// the caller's fault, none takes Caddy down, and its memory stays level.
func TestRefusesRequestsOfAnySize(t *testing.T) {
	upstream := gateway.NewUpstream(t)
	g := gateway.Start(t, strings.ReplaceAll(racesSite, "{$ANOTHER}", "https://idp.example"), "UPSTREAM="+upstream.Addr,
		"CLIENT_SECRET="+secret)
	good := g.Token("demo", secret, "read write")
	before := resident(t, g)
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", g.PID()), []byte("5"), 0o600); err != nil { // the peak
		t.Fatal(err)
	}
	const form, jsonType = "application/x-www-form-urlencoded", "application/json"
	deep := strings.Repeat(`{"a":[`, 1<<20)
	for _, test := range []struct {
		name, method, path, kind string
		body                     io.Reader
		header                   map[string]string
	}{
		{"a form without an end", "POST", "/oauth/token", form, endless{"grant_type=x&"}, nil},
		{"a form of one long name", "POST", "/oauth/token", form, strings.NewReader(strings.Repeat("a", 32<<20)), nil},
		{"a form of many parameters", "POST", "/oauth/token", form, strings.NewReader(strings.Repeat("a=b&", 8<<20)), nil},
		{"introspection without an end", "POST", "/oauth/introspect", form, endless{"token="}, nil},
		{"revocation without an end", "POST", "/oauth/revoke", form, endless{"%41"}, nil},
		{"JSON in the place of a form", "POST", "/oauth/token", jsonType, strings.NewReader(deep), nil},
		{"many parts", "POST", "/oauth/token", "multipart/form-data; boundary=x", endless{"--x\r\n\r\n\r\n"}, nil},
		{"a path of 512 kB", "GET", "/read/" + strings.Repeat("a", 512<<10), "", nil, nil},
		{"a path of many dot segments", "GET", "/read" + strings.Repeat("/%2e%2e/x", 50<<10), "", nil, nil},
		{"a query of 512 kB", "GET", "/oauth/authorize?" + strings.Repeat("a=b&", 128<<10), "", nil, nil},
		{"a token of 512 kB", "GET", "/read", "", nil, map[string]string{"Authorization": "Bearer " + strings.Repeat("a", 512<<10)}},
		{"a JWT of 512 kB", "GET", "/read", "", nil,
			map[string]string{"Authorization": "Bearer " + good[:strings.Index(good, ".")+1] + strings.Repeat("A", 512<<10) + ".AAAA"}},
		{"credentials of 512 kB", "POST", "/oauth/token", form, nil,
			map[string]string{"Authorization": "Basic " + strings.Repeat("YTph", 128<<10)}},
		{"a header that an expression looks at", "GET", "/region", "", nil,
			map[string]string{"Authorization": "Bearer " + good, "X-Region": strings.Repeat("eu", 256<<10)}},
		{"cookies without number", "GET", "/read", "", nil, map[string]string{"Cookie": strings.Repeat("passport_session=x; ", 20<<10)}},
		{"headers of 8 MB", "GET", "/read", "", nil, map[string]string{"X-Long": strings.Repeat("a", 8<<20)}},
	} {
		t.Run(test.name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), test.method, g.URL+test.path, test.body)
			if err != nil {
				t.Fatal(err)
			}
			if test.kind != "" {
				req.Header.Set("Content-Type", test.kind)
			}
			for name, value := range test.header {
				req.Header.Set(name, value)
			}
			resp, err := g.Try(req)
			late, ok := errors.AsType[net.Error](err)
			switch {
			case ok && late.Timeout():
				t.Errorf("no answer: %v", err)
			case err != nil: // it was told while it sent, and the connection closed
			case resp.Status < 400 || resp.Status > 499:
				t.Errorf("%d %.200s", resp.Status, resp.Body)
			}
		})
	}
	t.Run("the admin API", func(t *testing.T) {
		for _, path := range []string{"/passport/default/clients", "/passport/default/tokens/inspect", "/passport/explain"} {
			for _, body := range []io.Reader{strings.NewReader(deep), io.LimitReader(endless{"[1,"}, 64<<20),
				bytes.NewReader(make([]byte, 64<<20))} {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+g.Admin+path, body)
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("Content-Type", jsonType)
				if resp, err := g.Try(req); err == nil && (resp.Status < 400 || resp.Status > 499) {
					t.Errorf("%s: %d %.200s", path, resp.Status, resp.Body)
				}
			}
		}
	})
	t.Run("garbage on the connection", func(t *testing.T) {
		for _, garbage := range []string{
			"GET /read HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer " + "\x00\xff" + "\r\n\r\n",
			"POST /oauth/token HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 99999999999999999999\r\n\r\n",
			"POST /oauth/token HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\n",
			"POST /oauth/token HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
			"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04",
		} {
			conn, err := net.Dial("tcp", "127.0.0.1:"+g.Port)
			if err != nil {
				t.Fatal(err)
			}
			_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
			_, _ = io.WriteString(conn, strings.ReplaceAll(garbage, "{HOST}", "127.0.0.1:"+g.Port))
			if tcp, ok := conn.(*net.TCPConn); ok {
				_ = tcp.CloseWrite()
			}
			answer, _ := io.ReadAll(io.LimitReader(conn, 1<<16))
			if bytes.HasPrefix(answer, []byte("HTTP/1.1 2")) || bytes.HasPrefix(answer, []byte("HTTP/1.1 5")) {
				t.Errorf("%.60q is answered with %.60q", garbage, answer)
			}
			_ = conn.Close()
		}
	})
	if resp := g.Get("/read", good); resp.Status != http.StatusOK {
		t.Errorf("a good request at the end: %d %s", resp.Status, resp.Body)
	}
	if len(upstream.Requests()) != 1 {
		t.Errorf("the upstream got %d requests", len(upstream.Requests()))
	}
	if peak := status(t, g, "VmHWM"); peak-before > 256<<20 {
		t.Errorf("Caddy has taken %d MiB more", (peak-before)>>20)
	}
}

func resident(t *testing.T, g *gateway.Gateway) int64 { return status(t, g, "VmRSS") }

// status reads a figure of /proc/<pid>/status, in bytes.
func status(t *testing.T, g *gateway.Gateway, name string) int64 {
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
