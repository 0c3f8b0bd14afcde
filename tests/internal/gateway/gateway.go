// Package gateway runs Caddy with this plugin as its own process, for tests that speak to it as its users do: over
// HTTP, by its admin endpoint, by its command line and by signals.
//
// Begin at [Start]. A test's Caddyfile is a whole one; it finds in its environment what differs from run to run:
//
//	{
//		default_bind 127.0.0.1
//	}
//
//	http://127.0.0.1:{$PORT} {
//		passport_server
//		passport_auth scopes read
//		reverse_proxy {$UPSTREAM}
//	}
package gateway

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// How long a Caddy may take to start or to stop, on a machine that is busy with other tests.
const patience = time.Minute

// Gateway is a Caddy that a test started. It is stopped when the test ends; the test fails when it has panicked, raced,
// or logged a secret that it was told of.
type Gateway struct {
	URL   string // of the site: http://127.0.0.1:{$PORT}
	Port  string
	Admin string       // host:port of its admin endpoint
	Dir   string       // its home: XDG_DATA_HOME is in data, XDG_CONFIG_HOME in config; its working directory
	HTTP  *http.Client // follows no redirects

	t         testing.TB
	binary    string
	caddyfile string
	env       []string
	log       *log

	mu      sync.Mutex
	secrets []string

	cmd    *exec.Cmd
	exited chan struct{} // closed when cmd has ended
	err    error         // how it ended; read after exited
}

// Start runs Caddy with that Caddyfile and waits until it serves. The variables are added to its environment, as in
// "UPSTREAM=127.0.0.1:1234"; PORT and CADDY_ADMIN are there already. The test ends when it doesn't start.
func Start(t testing.TB, caddyfile string, env ...string) *Gateway {
	t.Helper()
	g := New(t, caddyfile, env...)
	if err := g.Run(); err != nil {
		t.Fatalf("starting Caddy: %v\n%s", err, g.Log())
	}
	return g
}

// New prepares what [Start] starts: for tests of what happens before Caddy runs, or when it fails to.
func New(t testing.TB, caddyfile string, env ...string) *Gateway {
	t.Helper()
	ports := FreePorts(t, 2)
	g := &Gateway{
		URL:       "http://127.0.0.1:" + ports[0],
		Port:      ports[0],
		Admin:     "127.0.0.1:" + ports[1],
		Dir:       t.TempDir(),
		HTTP:      newClient(),
		t:         t,
		binary:    Binary(t),
		caddyfile: caddyfile,
		log:       &log{},
	}
	g.env = append([]string{
		"PATH=" + os.Getenv("PATH"),
		"HOME=" + g.Dir,
		"XDG_DATA_HOME=" + filepath.Join(g.Dir, "data"),
		"XDG_CONFIG_HOME=" + filepath.Join(g.Dir, "config"),
		"CADDY_ADMIN=" + g.Admin,
		"PORT=" + g.Port,
	}, env...)
	t.Cleanup(g.end)
	return g
}

// Run starts Caddy and waits until it serves. The error is that it ended instead; its log says why.
func (g *Gateway) Run() error {
	config := filepath.Join(g.Dir, "Caddyfile")
	if err := os.WriteFile(config, []byte(g.caddyfile), 0o600); err != nil {
		return err
	}
	g.cmd = g.Command("run", "--config", config, "--adapter", "caddyfile")
	g.cmd.Stdout, g.cmd.Stderr = g.log, g.log
	if err := g.cmd.Start(); err != nil {
		return err
	}
	g.exited = make(chan struct{})
	go func(cmd *exec.Cmd, exited chan struct{}) {
		g.err = cmd.Wait()
		close(exited)
	}(g.cmd, g.exited)

	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for !g.loaded(ctx) {
		select {
		case <-g.exited:
			return fmt.Errorf("caddy run ended: %w", cmp.Or(g.err, errors.New("exit status 0")))
		case <-ctx.Done():
			return fmt.Errorf("not ready after %s", patience)
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}

// loaded tells whether the config is in force: the admin endpoint answers this only once all apps have started.
func (g *Gateway) loaded(ctx context.Context) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+g.Admin+"/config/", nil)
	if err != nil {
		return false
	}
	resp, err := g.HTTP.Do(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return err == nil && resp.StatusCode == http.StatusOK && strings.TrimSpace(string(body)) != "null"
}

// Command is a command of the same binary in the same environment: caddy <args>.
func (g *Gateway) Command(args ...string) *exec.Cmd {
	cmd := exec.Command(g.binary, args...)
	cmd.Env, cmd.Dir = g.env, g.Dir
	dieWithParent(cmd)
	return cmd
}

// Caddy runs such a command and returns what it printed and its exit code.
func (g *Gateway) Caddy(args ...string) (stdout, stderr string, code int) {
	g.t.Helper()
	var out, faults bytes.Buffer
	cmd := g.Command(args...)
	cmd.Stdout, cmd.Stderr = &out, &faults
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		g.t.Fatalf("caddy %s: %v", strings.Join(args, " "), err)
	}
	return out.String(), faults.String(), cmd.ProcessState.ExitCode()
}

// Reload loads another Caddyfile as `caddy reload` does, and waits until one alone is in force. The error is what
// Caddy says of one that it refuses.
func (g *Gateway) Reload(caddyfile string) error {
	defer g.settle()
	return g.Load(caddyfile)
}

// Load is Reload without the wait, for tests of what happens meanwhile.
func (g *Gateway) Load(caddyfile string) error {
	req, err := http.NewRequest(http.MethodPost, "http://"+g.Admin+"/load", strings.NewReader(caddyfile))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "text/caddyfile")
	req.Header.Set("Cache-Control", "must-revalidate") // also when nothing has changed
	resp, err := g.HTTP.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return errors.New(strings.TrimSpace(string(body)))
	}
	g.caddyfile = caddyfile
	return nil
}

// settle waits until the config that goes, or has been refused, has closed its listeners. Who connects before may get
// to it, and is dropped with the rest that it has not accepted; and it closes connections that nobody uses, on which a
// POST may be on its way. No HTTP client may send that again by itself (RFC 9110 section 9.2.2).
func (g *Gateway) settle() {
	_, admin, _ := net.SplitHostPort(g.Admin)
	defer g.HTTP.CloseIdleConnections()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if listeners(g.Port) <= 1 && listeners(admin) <= 1 {
			return
		}
	}
	g.t.Errorf("old listeners are open %s after a reload", patience)
}

// Stop ends Caddy as `kill` does and waits for it; it must end by itself, with success.
func (g *Gateway) Stop() {
	g.t.Helper()
	if !g.Running() {
		return
	}
	g.HTTP.CloseIdleConnections()
	_ = g.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-g.exited:
		if g.err != nil {
			g.t.Errorf("caddy run ended with %v", g.err)
		}
	case <-time.After(patience):
		g.t.Errorf("Caddy did not stop within %s of SIGTERM", patience)
		g.Kill()
	}
}

// Kill ends Caddy as `kill -9` does.
func (g *Gateway) Kill() {
	if g.Running() {
		_ = g.cmd.Process.Kill()
		<-g.exited
	}
	g.HTTP.CloseIdleConnections()
}

// Restart starts a Caddy that was stopped or killed, with the config that was in force, ports and data as before.
func (g *Gateway) Restart() {
	g.t.Helper()
	g.Stop()
	if err := g.Run(); err != nil {
		g.t.Fatalf("starting Caddy again: %v\n%s", err, g.Log())
	}
}

// Running tells whether the process lives.
func (g *Gateway) Running() bool {
	if g.exited == nil {
		return false
	}
	select {
	case <-g.exited:
		return false
	default:
		return true
	}
}

// PID is the process that runs.
func (g *Gateway) PID() int { return g.cmd.Process.Pid }

// Log is all that Caddy has written to its standard output and error.
func (g *Gateway) Log() string { return g.log.String() }

// Secret names something that must not be in the log. Tokens and secrets that the helpers see are named already.
func (g *Gateway) Secret(s string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(s) >= 16 { // what is shorter might stand in a log by chance
		g.secrets = append(g.secrets, s)
	}
}

// HasNoSecret checks that a text, such as another log, has none of the secrets.
func (g *Gateway) HasNoSecret(text string) {
	g.t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, secret := range g.secrets {
		if strings.Contains(text, secret) {
			g.t.Errorf("the log tells a secret, %q", secret)
		}
	}
}

// end is the end of the test.
func (g *Gateway) end() {
	g.Stop()
	text := g.Log()
	for _, fault := range []string{"panic:", "panic serving", "WARNING: DATA RACE", "fatal error:"} {
		if strings.Contains(text, fault) {
			g.t.Errorf("the log says %q", fault)
		}
	}
	g.HasNoSecret(text)
	if g.t.Failed() {
		g.t.Logf("Caddy's log:\n%s", tail(text, 16<<10))
	}
}

func tail(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return "…" + s[len(s)-n:]
}

// FreePorts finds ports of 127.0.0.1 that nobody listens on. They are below those that the kernel gives to outgoing
// connections (32768 and up), so that a port is still free when a gateway starts a second time.
func FreePorts(t testing.TB, n int) []string {
	t.Helper()
	var ports []string
	for range 1000 {
		port := strconv.Itoa(20000 + rand.IntN(12000))
		ln, err := net.Listen("tcp", "127.0.0.1:"+port)
		if err != nil {
			continue
		}
		defer ln.Close() // after the last one was chosen, so that no two are the same
		if ports = append(ports, port); len(ports) == n {
			return ports
		}
	}
	t.Fatal("no free port on 127.0.0.1")
	return nil
}

// log is what a process writes, readable while it does.
type log struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}
