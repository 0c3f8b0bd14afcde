package tests

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/oauth2-passport/caddy-passport/tests/internal/gateway"
)

// reloads is how often the config is replaced under load.
const reloads = 1000

// reloadedSite gives connections to the upstream up soon: those that were in use when their config ended are kept by
// Caddy for as long as others.
const reloadedSite = `{
	default_bind 127.0.0.1
	passport {
		scope read "See the orders"
		client demo {
			secret {env.DEMO_SECRET}
			grants client_credentials
			scopes read write
		}
		user ann {
			password_hash {env.HASH}
		}
	}
}

http://127.0.0.1:{$PORT} {
	passport_server
	passport_auth {
		scopes read
		session
	}
	reverse_proxy {$UPSTREAM} {
		flush_interval -1
		transport http {
			keepalive 5s
		}
	}
}
`

// otherSite differs from it in each module of this plugin.
var otherSite = strings.NewReplacer(
	"See the orders", "Look", "read write\n", "read write other\n\t\t\tlifetime access_token 30m\n",
	"\tsession\n", "\tsession\n\t\trealm other\n\t\tupstream_header X-Config other\n").Replace(reloadedSite)

// endless is an upstream that answers at once, streams events, and echoes what comes in a tunnel.
type endless struct {
	addr string
	seen sync.Map // URIs
}

func newEndless(t *testing.T) *endless {
	t.Helper()
	u := &endless{}
	server := httptest.NewServer(u)
	t.Cleanup(server.Close)
	u.addr = server.Listener.Addr().String()
	return u
}

func (u *endless) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/events":
		w.Header().Set("Content-Type", "text/event-stream")
		for n := 0; ; n++ {
			if _, err := fmt.Fprintf(w, "data: %d\n", n); err != nil {
				return
			}
			_ = http.NewResponseController(w).Flush()
			select {
			case <-r.Context().Done():
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	case "/chat":
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn,
			"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		_, _ = io.Copy(conn, buffered)
	default:
		u.seen.Store(r.RequestURI, true)
		_, _ = io.WriteString(w, r.Header.Get("X-Passport-Subject"))
	}
}

func startReloaded(t *testing.T) (*gateway.Gateway, *endless) {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(personPassword), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	u := newEndless(t)
	return gateway.Start(t, reloadedSite, "UPSTREAM="+u.addr, "DEMO_SECRET="+demoSecret, "HASH="+string(hash)), u
}

// replace puts another config in force. Caddy replaces its admin endpoint with each, and drops as much there.
func replace(t *testing.T, g *gateway.Gateway, caddyfile string) {
	t.Helper()
	for {
		err := g.Load(caddyfile)
		if err == nil {
			return
		}
		if !droppedByCaddy(err) {
			t.Fatal(err)
		}
	}
}

// holdings are what a process holds.
type holdings struct{ goroutines, files int }

func holdingsOf(t *testing.T, g *gateway.Gateway) holdings {
	t.Helper()
	g.HTTP.CloseIdleConnections()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", g.PID()))
	if err != nil {
		t.Fatal(err)
	}
	return holdings{int(metric(t, g, "go_goroutines")), len(entries)}
}

// TestThousandReloadsUnderLoad replaces the config a thousand times while clients and people call. No request that
// Caddy has taken up fails, and what it has dropped has had no effect; an event stream goes on from the first config to
// the last, and ends when its token is revoked; in the end nothing is held for the configs that are over.
func TestThousandReloadsUnderLoad(t *testing.T) {
	g, upstream := startReloaded(t)
	out, faults, code := g.Caddy("passport", "token", "create", "--user", "ann", "--name", "script", "--scopes", "read",
		"--json")
	if code != 0 {
		t.Fatalf("%s%s", out, faults)
	}
	personal := gateway.Response{Body: out}.String("access_token")
	g.Secret(personal)
	browser := g.Browser()
	browser.SignIn(browser.Open("/oauth/login"), "ann", personPassword)
	session := http.Header{
		"Cookie": {"passport_session=" + browser.Cookie("passport_session")}, "Sec-Fetch-Site": {"same-origin"},
	}
	warm, streamed := g.Token("demo", demoSecret, "read"), g.Token("demo", demoSecret, "read")
	for _, caddyfile := range []string{otherSite, reloadedSite} { // what is made once is there
		replace(t, g, caddyfile)
	}
	before := holdingsOf(t, g)

	const issued = `caddy_passport_tokens_total{grant="client_credentials",issuer="default",result="issued"}`
	issuedBefore := metric(t, g, issued)
	events := open(t, g, "/events", streamed)
	c := &callers{g: g}
	var tunnels atomic.Int64
	stop := c.work(
		func() error { return c.call(bearer(warm), http.StatusOK) },
		func() error { return c.call(bearer(warm), http.StatusOK) },
		func() error { return c.call(bearer(personal), http.StatusOK) },
		func() error { return c.call(session, http.StatusOK) },
		func() error { return c.call(bearer("nonsense"), http.StatusUnauthorized) },
		c.useNewToken, c.useNewToken, c.useRevokedToken, events.alive,
		func() error { // Caddy closes a tunnel when it reloads, and its client opens another one
			chat, err := tryOpen(g, "/chat", warm)
			if err != nil {
				if droppedByCaddy(err) {
					return nil
				}
				return err
			}
			defer chat.conn.Close()
			tunnels.Add(1)
			for range 100 {
				if chat.alive() != nil {
					break
				}
			}
			return nil
		},
	)
	began := time.Now()
	for n := range reloads {
		replace(t, g, []string{otherSite, reloadedSite}[n%2])
	}
	took := time.Since(began)
	for _, err := range stop() {
		t.Error(err)
	}
	t.Logf("%d reloads in %s; %d calls, %d tokens, %d tunnels; Caddy dropped %d requests unread", reloads,
		took.Round(time.Second), c.calls.Load(), c.issued.Load(), tunnels.Load(), c.resent.Load())

	c.dropped.Range(func(uri, _ any) bool {
		if _, ok := upstream.seen.Load(uri); ok {
			t.Errorf("%s reached the upstream and was not answered", uri)
		}
		return true
	})
	if made := metric(t, g, issued) - issuedBefore; made != float64(c.issued.Load()) {
		t.Errorf("%v tokens were issued, and %d answered", made, c.issued.Load())
	}
	if c.calls.Load() < reloads || c.issued.Load() < reloads/10 || tunnels.Load() < 2 {
		t.Error("that is no load")
	}

	if _, err := c.form("/oauth/revoke", url.Values{"token": {streamed}}); err != nil {
		t.Fatal(err)
	}
	events.cut()
	const spare = 10 // Badger's and the runtime's own come and go
	var after holdings
	defer func() {
		if t.Failed() {
			t.Logf("before %+v, after %+v; the goroutines:\n%s", before, after,
				adminGet(t, g, "/debug/pprof/goroutine?debug=1").Body)
		}
	}()
	g.Eventually("as many goroutines and open files as before", func() bool {
		after = holdingsOf(t, g)
		return after.goroutines <= before.goroutines+spare && after.files <= before.files+spare
	})
	t.Logf("before %+v, after %+v", before, after)
}

// stream is an event stream or a tunnel.
type stream struct {
	t    *testing.T
	path string
	conn net.Conn
	in   *bufio.Reader
}

// open opens one.
func open(t *testing.T, g *gateway.Gateway, path, token string) *stream {
	t.Helper()
	s, err := tryOpen(g, path, token)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.conn.Close() })
	s.t = t
	return s
}

func tryOpen(g *gateway.Gateway, path, token string) (_ *stream, err error) {
	request := g.Request(http.MethodGet, path, "")
	request.Header = bearer(token)
	if path == "/chat" {
		request.Header.Set("Connection", "Upgrade")
		request.Header.Set("Upgrade", "websocket")
	}
	conn, err := net.Dial("tcp", "127.0.0.1:"+g.Port)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = conn.Close()
		}
	}()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	if err := request.Write(conn); err != nil {
		return nil, err
	}
	s := &stream{path: path, conn: conn, in: bufio.NewReader(conn)}
	resp, err := http.ReadResponse(s.in, request)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, io.EOF // as a client of net/http has it
	}
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusSwitchingProtocols {
		return nil, fmt.Errorf("%s: %s", path, resp.Status)
	}
	return s, nil
}

// alive waits for the next thing to come.
func (s *stream) alive() error {
	_ = s.conn.SetDeadline(time.Now().Add(time.Minute))
	if s.path == "/chat" {
		if _, err := io.WriteString(s.conn, "ping\n"); err != nil {
			return fmt.Errorf("%s: %w", s.path, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	if _, err := s.in.ReadString('\n'); err != nil {
		return fmt.Errorf("%s: %w", s.path, err)
	}
	return nil
}

// cut reads until the stream ends, which it has to.
func (s *stream) cut() {
	s.t.Helper()
	_ = s.conn.SetDeadline(time.Now().Add(time.Minute))
	if _, err := io.Copy(io.Discard, s.in); errors.Is(err, os.ErrDeadlineExceeded) {
		s.t.Errorf("%s goes on", s.path)
	}
}

// TestReloadAndStreams: when Caddy reloads, event streams go on, and tunnels such as WebSockets only where
// stream_close_delay says so. What goes on is cut when its token is revoked, though its config is over.
func TestReloadAndStreams(t *testing.T) {
	delayed := strings.Replace(reloadedSite, "flush_interval -1\n", "flush_interval -1\n\t\tstream_close_delay 1h\n", 1)
	for _, c := range []struct {
		name, caddyfile string
		goesOn          bool
	}{{"usual", reloadedSite, false}, {"stream_close_delay", delayed, true}} {
		t.Run(c.name, func(t *testing.T) {
			g, _ := startReloaded(t)
			replace(t, g, c.caddyfile)
			token := g.Token("demo", demoSecret, "read")
			events, chat := open(t, g, "/events", token), open(t, g, "/chat", token)
			for range 3 {
				replace(t, g, otherSite)
			}
			if !c.goesOn {
				chat.cut()
			}
			for range 100 {
				if err := events.alive(); err != nil {
					t.Fatal(err)
				}
				if !c.goesOn {
					continue
				}
				if err := chat.alive(); err != nil {
					t.Fatal(err)
				}
			}
			resp := g.Form("/oauth/revoke", "demo", demoSecret, url.Values{"token": {token}})
			if resp.Status != http.StatusOK {
				t.Fatalf("revoking: %d %s", resp.Status, resp.Body)
			}
			events.cut()
			chat.cut()
		})
	}
}
