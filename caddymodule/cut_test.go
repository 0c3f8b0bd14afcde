package caddymodule

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/fcgi"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// endings are the ways in which a token ends while a request runs.
var endings = map[string]struct {
	client string
	end    func(h *house, token string)
}{
	"expired": {"brief", func(*house, string) {}},
	"revoked": {testClient, func(h *house, token string) { h.revoke(token) }},
	"retired config": {testClient, func(h *house, token string) {
		h.load("http://{$ADDR} {\npassport_server\npassport_auth\nreverse_proxy {$UPSTREAM} {\nstream_close_delay 1h\n}\n}")
		h.http.CloseIdleConnections() // the old server closes them, too
		h.revoke(token)
	}},
}

func everyEnding(t *testing.T, directives string, test func(t *testing.T, h *house, token string, end func())) {
	for name, ending := range endings {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, directives)
			token := h.tokenOf(ending.client, "read")
			test(t, h, token, func() { ending.end(h, token) })
		})
	}
}

// stream is an upstream that sends what it is told to, and tells when its request is over.
type stream struct {
	lines chan string
	gone  chan error // why the request's context ended
}

func newStream() *stream { return &stream{make(chan string), make(chan error, 1)} }

func (s *stream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	flush := http.NewResponseController(w).Flush
	w.Header().Set("Content-Type", "text/event-stream")
	_ = flush()
	for {
		select {
		case line := <-s.lines:
			if _, err := io.WriteString(w, line); err != nil || flush() != nil {
				s.gone <- errors.New("cannot write")
				return
			}
		case <-r.Context().Done():
			s.gone <- context.Cause(r.Context())
			return
		}
	}
}

// send gives a line to the upstream, unless it is gone.
func (s *stream) send(t *testing.T, line string) {
	t.Helper()
	select {
	case s.lines <- line:
	case <-time.After(patience):
		t.Fatal("the upstream does not answer any more")
	}
}

// over waits for the end of the upstream's request.
func over(t *testing.T, gone <-chan error) {
	t.Helper()
	select {
	case <-gone:
	case <-time.After(patience):
		t.Fatal("the upstream's request outlives its token")
	}
}

func TestCutsEventStream(t *testing.T) {
	for name, client := range map[string]func(*testing.T, *house) *http.Client{
		"HTTP/1.1": func(_ *testing.T, h *house) *http.Client { return h.http },
		"HTTP/2":   func(t *testing.T, _ *house) *http.Client { return h2c(t) },
	} {
		t.Run(name, func(t *testing.T) {
			everyEnding(t, `
				passport_auth
				reverse_proxy {$UPSTREAM}`,
				func(t *testing.T, h *house, token string, end func()) {
					s := newStream()
					h.upstream.handler = s.ServeHTTP
					req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+h.addr+"/events", nil)
					req.Header.Set("Authorization", bearer(token))
					resp, err := client(t, h).Do(req)
					if err != nil || resp.StatusCode != http.StatusOK {
						t.Fatalf("%v %v", resp, err)
					}
					defer resp.Body.Close()
					s.send(t, "data: 1\n\n")
					buf := make([]byte, 9)
					if _, err := io.ReadFull(resp.Body, buf); err != nil || string(buf) != "data: 1\n\n" {
						t.Fatalf("%q %v", buf, err)
					}
					end()
					over(t, s.gone)
					if rest, err := io.ReadAll(resp.Body); err == nil {
						t.Errorf("the answer looks complete: %q", rest)
					}
				})
		})
	}
}

// TestCutsEventStreamBehindReportOnly: a passport_auth around that only reports cuts nothing, and must not keep the one
// within from doing so.
func TestCutsEventStreamBehindReportOnly(t *testing.T) {
	everyEnding(t, `
		passport_auth {
			report_only
		}
		passport_auth
		reverse_proxy {$UPSTREAM}`,
		func(t *testing.T, h *house, token string, end func()) {
			s := newStream()
			h.upstream.handler = s.ServeHTTP
			req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+h.addr+"/events", nil)
			req.Header.Set("Authorization", bearer(token))
			resp, err := h.http.Do(req)
			if err != nil || resp.StatusCode != http.StatusOK {
				t.Fatalf("%v %v", resp, err)
			}
			defer resp.Body.Close()
			s.send(t, "data: 1\n\n")
			end()
			over(t, s.gone)
		})
}

// TestCutsStreamOverHTTP2 is what gRPC is made of: HTTP/2 on both sides, and both directions at once.
func TestCutsStreamOverHTTP2(t *testing.T) {
	everyEnding(t, `
		passport_auth
		reverse_proxy h2c://{$UPSTREAM} {
			stream_close_delay 1h
		}`,
		func(t *testing.T, h *house, token string, end func()) {
			gone := make(chan error, 1)
			h.upstream.handler = func(w http.ResponseWriter, r *http.Request) {
				defer func() { gone <- context.Cause(r.Context()) }()
				w.Header().Set("Content-Type", "application/grpc")
				_ = http.NewResponseController(w).Flush()
				buf := make([]byte, 64)
				for {
					n, err := r.Body.Read(buf)
					if err != nil {
						return
					}
					_, _ = w.Write(bytes.ToUpper(buf[:n]))
					_ = http.NewResponseController(w).Flush()
				}
			}
			up, write := io.Pipe()
			defer write.Close()
			req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+h.addr+"/pkg.Service/Method", up)
			req.Header.Set("Authorization", bearer(token))
			req.Header.Set("Content-Type", "application/grpc")
			req.Header.Set("Te", "trailers")
			resp, err := h2c(t).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if _, err := io.WriteString(write, "ping"); err != nil {
				t.Fatal(err)
			}
			buf := make([]byte, 4)
			if _, err := io.ReadFull(resp.Body, buf); err != nil || string(buf) != "PING" {
				t.Fatalf("%q %v", buf, err)
			}
			end()
			over(t, gone)
			if rest, err := io.ReadAll(resp.Body); err == nil {
				t.Errorf("the answer looks complete: %q", rest)
			}
		})
}

// webSocket opens a WebSocket through the gateway. The upstream echoes what it gets, until its connection ends.
func webSocket(t *testing.T, h *house, token string) (conn net.Conn, r *bufio.Reader, gone <-chan error) {
	t.Helper()
	ended := make(chan error, 1)
	h.upstream.handler = func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Passport-Subject") == "" || r.Header.Get("Authorization") != "" {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			ended <- err
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
			"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
		_, err = io.Copy(conn, buffered)
		ended <- err
	}
	conn, err := net.DialTimeout("tcp", h.addr, patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(2 * patience))
	_, err = io.WriteString(conn, "GET /socket HTTP/1.1\r\nHost: "+h.addr+"\r\nAuthorization: "+bearer(token)+"\r\n"+
		"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"+
		"Sec-WebSocket-Version: 13\r\n\r\n")
	if err != nil {
		t.Fatal(err)
	}
	r = bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%v %v", resp, err)
	}
	return conn, r, ended
}

func TestCutsWebSocket(t *testing.T) {
	everyEnding(t, `
		passport_auth
		reverse_proxy {$UPSTREAM} {
			stream_close_delay 1h
		}`,
		func(t *testing.T, h *house, token string, end func()) {
			conn, r, gone := webSocket(t, h, token)
			for _, message := range []string{"\x82\x02hi", "\x82\x03you"} {
				if _, err := io.WriteString(conn, message); err != nil {
					t.Fatal(err)
				}
				buf := make([]byte, len(message))
				if _, err := io.ReadFull(r, buf); err != nil || string(buf) != message {
					t.Fatalf("%q %v", buf, err)
				}
			}
			end()
			over(t, gone)
			if _, err := r.ReadByte(); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("the caller's side is open: %v", err)
			}
		})
}

// TestCutsStreamsOfIntrospectedTokens that are revoked at their issuer, which is asked again and again while they run;
// and not while it says that they are good, nor while it is away.
func TestCutsStreamsOfIntrospectedTokens(t *testing.T) {
	i := newIDP(t)
	directives := `
		passport_auth {
			issuer off
			introspect ` + i.url + `/introspect {
				client_id gateway
				client_secret of-the-gateway
				cache 1s
			}
		}
		reverse_proxy {$UPSTREAM}`
	// asked waits until the other issuer has been asked twice more: the second question comes after the first answer.
	asked := func(t *testing.T) {
		t.Helper()
		wanted, until := i.questions()+2, time.Now().Add(patience)
		for ; i.questions() < wanted; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(until) {
				t.Fatal("the other issuer is not asked about a running request")
			}
		}
	}
	const good = `{"active":true,"sub":"u1","client_id":"demo"}`
	t.Run("event stream", func(t *testing.T) {
		i.answer("events", good)
		h := newHouse(t, directives)
		s := newStream()
		h.upstream.handler = s.ServeHTTP
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+h.addr+"/events", nil)
		req.Header.Set("Authorization", bearer("events"))
		resp, err := h.http.Do(req)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%v %v", resp, err)
		}
		defer resp.Body.Close()
		goesOn := func() {
			s.send(t, "data: 1\n\n")
			buf := make([]byte, 9)
			if _, err := io.ReadFull(resp.Body, buf); err != nil || string(buf) != "data: 1\n\n" {
				t.Fatalf("%q %v", buf, err)
			}
		}
		goesOn()
		asked(t)
		goesOn()
		i.outage(true)
		asked(t)
		goesOn()
		i.outage(false)
		i.answer("events", `{"active":false}`)
		over(t, s.gone)
		if rest, err := io.ReadAll(resp.Body); err == nil {
			t.Errorf("the answer looks complete: %q", rest)
		}
	})
	t.Run("WebSocket", func(t *testing.T) {
		i.answer("socket", good)
		h := newHouse(t, directives)
		conn, r, gone := webSocket(t, h, "socket")
		if _, err := io.WriteString(conn, "\x82\x02hi"); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 4)
		if _, err := io.ReadFull(r, buf); err != nil || string(buf) != "\x82\x02hi" {
			t.Fatalf("%q %v", buf, err)
		}
		i.answer("socket", `{"active":false}`)
		over(t, gone)
		if _, err := r.ReadByte(); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the caller's side is open: %v", err)
		}
	})
	t.Run("upload", func(t *testing.T) {
		i.answer("upload", good)
		h := newHouse(t, directives)
		begun, gone := make(chan struct{}), make(chan error, 1)
		h.upstream.handler = func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.ReadFull(r.Body, make([]byte, 5))
			close(begun)
			_, err := io.Copy(io.Discard, r.Body)
			gone <- err
		}
		up, write := io.Pipe()
		defer write.Close()
		go func() {
			req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+h.addr+"/upload", up)
			req.Header.Set("Authorization", bearer("upload"))
			if resp, err := h.http.Do(req); err == nil {
				resp.Body.Close()
			}
		}()
		_, _ = io.WriteString(write, "hello")
		select {
		case <-begun:
		case <-time.After(patience):
			t.Fatal("the upload does not begin")
		}
		i.answer("upload", `{"active":false}`)
		select {
		case err := <-gone:
			if err == nil {
				t.Error("the upload looks complete")
			}
		case <-time.After(patience):
			t.Fatal("the upload outlives its token")
		}
	})
}

// noteReturn is a handler that tells how the one after it has ended.
type noteReturn struct{}

var returned = make(chan error, 1)

var errPanicked = errors.New("it panicked")

func (noteReturn) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.note_return", New: func() caddy.Module { return noteReturn{} }}
}

func (noteReturn) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	err := errPanicked
	defer func() { returned <- err }()
	err = next.ServeHTTP(w, r)
	return err
}

func init() {
	caddy.RegisterModule(noteReturn{})
	httpcaddyfile.RegisterHandlerDirective("note_return",
		func(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
			h.Next()
			return noteReturn{}, nil
		})
}

// TestHandlersAroundACutWebSocketComeToTheirEnd, with what they write to logs and measure: its connection, which is
// nobody's response any more, need not be aborted.
func TestHandlersAroundACutWebSocketComeToTheirEnd(t *testing.T) {
	h := newHouse(t, `
		route {
			note_return
			passport_auth
			reverse_proxy {$UPSTREAM}
		}`)
	token := h.token("read")
	_, r, gone := webSocket(t, h, token)
	h.revoke(token)
	over(t, gone)
	select {
	case err := <-returned:
		if errors.Is(err, errPanicked) {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Fatal("the request outlives its token")
	}
	if _, err := r.ReadByte(); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the caller's side is open: %v", err)
	}
}

// TestCutsWebSocketWhoseCallerReadsNothing has a proxy that waits for its caller, and so does not see its context end.
func TestCutsWebSocketWhoseCallerReadsNothing(t *testing.T) {
	h := newHouse(t, `
		log
		passport_auth
		reverse_proxy {$UPSTREAM}`)
	token := h.token("read")
	filled, gone := make(chan struct{}), make(chan error, 1)
	h.upstream.handler = func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			gone <- err
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		piece := make([]byte, 64<<10)
		for {
			_ = conn.SetWriteDeadline(time.Now().Add(time.Second))
			if _, err := conn.Write(piece); err != nil {
				break // nobody takes more
			}
		}
		close(filled)
		_ = conn.SetDeadline(time.Time{})
		_, err = io.Copy(io.Discard, conn)
		gone <- err
	}
	conn, err := net.DialTimeout("tcp", h.addr, patience)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "GET /socket HTTP/1.1\r\nHost: "+h.addr+"\r\nAuthorization: "+bearer(token)+"\r\n"+
		"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n")
	<-filled
	if n := h.instance().verifier.Watching(); n != 1 {
		t.Fatalf("%d requests are watched", n)
	}
	h.revoke(token)
	over(t, gone)
	answered := func(line string) bool {
		return strings.Contains(line, `"handled request"`) && strings.Contains(line, `"/socket"`)
	}
	for until := time.Now().Add(patience); !slices.ContainsFunc(strings.Split(h.logged(), "\n"), answered); {
		if time.Now().After(until) {
			t.Fatal("the proxy waits for its caller still")
		}
		time.Sleep(10 * time.Millisecond)
	}
	h.waitForCut()
}

func TestCutsUpload(t *testing.T) {
	everyEnding(t, `
		passport_auth
		reverse_proxy {$UPSTREAM} {
			stream_close_delay 1h
		}`,
		func(t *testing.T, h *house, token string, end func()) {
			got, gone := make(chan struct{}), make(chan error, 1)
			h.upstream.handler = func(_ http.ResponseWriter, r *http.Request) {
				buf := make([]byte, 5)
				if _, err := io.ReadFull(r.Body, buf); err == nil {
					close(got)
				}
				_, err := io.Copy(io.Discard, r.Body)
				gone <- err
			}
			up, write := io.Pipe()
			defer write.Close()
			answered := make(chan *http.Response, 1)
			go func() {
				req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+h.addr+"/upload", up)
				req.Header.Set("Authorization", bearer(token))
				resp, err := h.http.Do(req)
				if err != nil {
					resp = nil
				}
				answered <- resp
			}()
			_, _ = io.WriteString(write, "hello")
			select {
			case <-got:
			case <-time.After(patience):
				t.Fatal("the upload does not begin")
			}
			end()
			select {
			case err := <-gone:
				if err == nil {
					t.Error("the upload looks complete")
				}
			case <-time.After(patience):
				t.Fatal("the upload outlives its token")
			}
			write.Close()
			if resp := <-answered; resp != nil {
				defer resp.Body.Close()
				if resp.StatusCode != http.StatusUnauthorized ||
					!strings.Contains(resp.Header.Get("WWW-Authenticate"), `error="invalid_token"`) {
					t.Errorf("%d %v", resp.StatusCode, resp.Header)
				}
			}
		})
}

// TestCutOverHTTP2LeavesOthersAlone: a connection has many requests there.
func TestCutOverHTTP2LeavesOthersAlone(t *testing.T) {
	h := newHouse(t, `
		passport_auth
		reverse_proxy {$UPSTREAM}`)
	streams := map[string]*stream{"/ends": newStream(), "/stays": newStream()}
	h.upstream.handler = func(w http.ResponseWriter, r *http.Request) { streams[r.URL.Path].ServeHTTP(w, r) }
	client, ending := h2c(t), h.token("read")
	open := func(path, token string) *bufio.Reader {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+h.addr+path, nil)
		req.Header.Set("Authorization", bearer(token))
		resp, err := client.Do(req)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%v %v", resp, err)
		}
		t.Cleanup(func() { resp.Body.Close() })
		return bufio.NewReader(resp.Body)
	}
	open("/ends", ending)
	stays := open("/stays", h.token("read"))
	h.revoke(ending)
	over(t, streams["/ends"].gone)
	streams["/stays"].send(t, "data: 1\n")
	if line, err := stays.ReadString('\n'); err != nil || line != "data: 1\n" {
		t.Errorf("the other request of the connection: %q %v", line, err)
	}
}

// TestCutsUploadOfKnownLength has callers who send nothing after the cut, to upstreams whose proxies may wait for them.
// HTTP/2 is not among them: where a request of known length is given up, Caddy's proxy reads and closes its body at once
// (caddy v2.11.9, bodyNopCloserIfNotRead), which the race detector sees.
func TestCutsUploadOfKnownLength(t *testing.T) {
	for _, name := range []string{"HTTP/1.1", "FastCGI"} {
		t.Run(name, func(t *testing.T) {
			got, gone := make(chan struct{}), make(chan error, 1)
			upstream := func(_ http.ResponseWriter, r *http.Request) {
				_, _ = io.ReadFull(r.Body, make([]byte, 5))
				close(got)
				_, err := io.Copy(io.Discard, r.Body)
				gone <- err
			}
			proxy := "reverse_proxy {$UPSTREAM}"
			if name == "FastCGI" {
				ln, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				defer ln.Close()
				go func() { _ = fcgi.Serve(ln, http.HandlerFunc(upstream)) }()
				proxy = "reverse_proxy " + ln.Addr().String() + " {\ntransport fastcgi {\nroot /srv\n}\n}"
			}
			h := newHouse(t, "passport_auth\n"+proxy)
			h.upstream.handler = upstream
			token := h.token("read")
			conn, err := net.Dial("tcp", h.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_, _ = fmt.Fprintf(conn, "POST /upload.php HTTP/1.1\r\nHost: %s\r\nAuthorization: %s\r\n"+
				"Content-Length: 1000000\r\n\r\n", h.addr, bearer(token))
			_, _ = conn.Write(make([]byte, 300_000)) // more than FastCGI gathers
			select {
			case <-got:
			case <-time.After(patience):
				t.Fatal("the upload does not begin")
			}
			h.revoke(token)
			over(t, gone)
		})
	}
}

// TestAnswersWhoWaitedTooLong has an upstream that has not begun to answer when the token ends.
func TestAnswersWhoWaitedTooLong(t *testing.T) {
	for name, client := range map[string]func(*testing.T, *house) *http.Client{
		"HTTP/1.1": func(_ *testing.T, h *house) *http.Client { return h.http },
		"HTTP/2":   func(t *testing.T, _ *house) *http.Client { return h2c(t) },
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, `
				passport_auth
				reverse_proxy {$UPSTREAM}`)
			token := h.token("read")
			got, gone := make(chan struct{}), make(chan error, 1)
			h.upstream.handler = func(_ http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/slow" {
					close(got)
					<-r.Context().Done()
					gone <- nil
				}
			}
			go func() {
				<-got
				h.revoke(token)
			}()
			h.http = client(t, h)
			resp := h.get("/slow", "Authorization", bearer(token))
			if resp.status != http.StatusUnauthorized ||
				resp.json()["error_description"] != "the access token has been revoked" {
				t.Errorf("%d %s", resp.status, resp.body)
			}
			over(t, gone)
			if log := h.logged(); !strings.Contains(log, `"msg":"request cut"`) || strings.Contains(log, token) {
				t.Error("the log lacks the cut, or has the token")
			}
			for range 3 { // what ended that request ends no other
				if resp := h.get("/", "Authorization", bearer(h.token("read"))); resp.status != http.StatusOK {
					t.Errorf("after it: %d %s", resp.status, resp.body)
				}
			}
		})
	}
}

// TestCutsFastCGI has an upstream whose proxy does not look at the request's context: one that goes on, and one that
// comes to its end, which must not look like the end of a good answer.
func TestCutsFastCGI(t *testing.T) {
	for name, more := range map[string]bool{"goes on": true, "ends": false} {
		t.Run(name, func(t *testing.T) { testCutsFastCGI(t, more) })
	}
}

func testCutsFastCGI(t *testing.T, more bool) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	s := newStream()
	go func() {
		_ = fcgi.Serve(ln, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			for line := range s.lines {
				if _, err := io.WriteString(w, line); err != nil {
					break
				}
				_ = http.NewResponseController(w).Flush()
			}
			s.gone <- nil
		}))
	}()
	h := newHouse(t, `
		passport_auth
		reverse_proxy `+ln.Addr().String()+` {
			flush_interval -1
			transport fastcgi {
				root /srv
			}
		}`)
	token := h.token("read")
	req, _ := http.NewRequest(http.MethodGet, "http://"+h.addr+"/index.php", nil)
	req.Header.Set("Authorization", bearer(token))
	answered := make(chan *http.Response, 1)
	go func() {
		resp, err := h.http.Do(req)
		if err != nil {
			t.Error(err)
		}
		answered <- resp
	}()
	s.send(t, "one\n")
	resp := <-answered
	if resp == nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%v", resp)
	}
	defer resp.Body.Close()
	r := bufio.NewReader(resp.Body)
	if line, err := r.ReadString('\n'); err != nil || line != "one\n" {
		t.Fatalf("%q %v", line, err)
	}
	h.revoke(token)
	h.waitForCut()
	if more {
		s.send(t, "more\n")
	} else {
		close(s.lines)
	}
	if rest, err := io.ReadAll(r); err == nil || len(rest) > 0 {
		t.Errorf("after the cut: %q %v", rest, err)
	}
	if more {
		close(s.lines)
	}
	over(t, s.gone)
}

// waitForCut waits until no request is watched any more.
func (h *house) waitForCut() {
	h.t.Helper()
	for start := time.Now(); h.instance().verifier.Watching() > 0; time.Sleep(10 * time.Millisecond) {
		if time.Since(start) > patience {
			h.t.Fatal("the request outlives its token")
		}
	}
}

func TestCutsDownloadOfFile(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "large"), make([]byte, 64<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	h := newHouse(t, `
		passport_auth
		root `+dir+`
		file_server`)
	token := h.token("read")
	req, _ := http.NewRequest(http.MethodGet, "http://"+h.addr+"/large", nil)
	req.Header.Set("Authorization", bearer(token))
	resp, err := h.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.CopyN(io.Discard, resp.Body, 1<<20); err != nil {
		t.Fatal(err)
	}
	h.revoke(token)
	h.waitForCut()
	n, err := io.Copy(io.Discard, resp.Body)
	if err == nil || n >= 63<<20 {
		t.Errorf("%d bytes came through: %v", n, err)
	}
}

// TestKeepsResponseOfGoodToken: what is watched is not harmed.
func TestKeepsResponseOfGoodToken(t *testing.T) {
	dir := t.TempDir()
	content := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	if err := os.WriteFile(filepath.Join(dir, "file"), content, 0o600); err != nil {
		t.Fatal(err)
	}
	h := newHouse(t, `
		passport_auth
		handle /file {
			root `+dir+`
			file_server
		}
		handle {
			reverse_proxy {$UPSTREAM}
		}`)
	h.upstream.handler = func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Trailer", "X-Checksum")
		w.WriteHeader(http.StatusEarlyHints)
		_, _ = w.Write(content)
		w.Header().Set("X-Checksum", "17")
	}
	token := h.token("read")
	for _, path := range []string{"/file", "/proxy"} {
		req, _ := http.NewRequest(http.MethodGet, "http://"+h.addr+path, nil)
		req.Header.Set("Authorization", bearer(token))
		resp, err := h.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK || !bytes.Equal(body, content) {
			t.Errorf("%s: %d, %d bytes, %v", path, resp.StatusCode, len(body), err)
		}
		if path == "/proxy" && resp.Trailer.Get("X-Checksum") != "17" {
			t.Errorf("trailer: %v", resp.Trailer)
		}
	}
}
