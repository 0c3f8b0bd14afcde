//go:build linux

// Package upstreams has real upstreams stand behind the gateway, unchanged: nginx with PHP, WebSockets, gRPC, event
// streams, and files of 2 GiB.
package upstreams

import (
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/oauth2-passport/caddy-passport/tests/internal/gateway"
)

const (
	clientID     = "orders-sync"
	clientSecret = "the secret of the client of these tests"

	patience = 3 * time.Minute // on a machine that is busy with other tests
)

// issuer is the global option of the sites here.
const issuer = `{
	default_bind 127.0.0.1
	passport {
		client ` + clientID + ` {
			secret {env.CLIENT_SECRET}
			grants client_credentials
			scopes read write
		}
	}
}
`

// start runs a gateway with such a site, which finds its upstream in UPSTREAM.
func start(t *testing.T, site, upstream string) *gateway.Gateway {
	t.Helper()
	return gateway.Start(t, issuer+"\n"+site, "UPSTREAM="+upstream, "CLIENT_SECRET="+clientSecret)
}

// token gets a token for the client.
func token(g *gateway.Gateway) string { return g.Token(clientID, clientSecret, "read write") }

// revoke has the client revoke its token.
func revoke(t *testing.T, g *gateway.Gateway, token string) {
	t.Helper()
	resp := g.Form("/oauth/revoke", clientID, clientSecret, url.Values{"token": {token}})
	if resp.Status != http.StatusOK {
		t.Fatalf("revoking: %d %s", resp.Status, resp.Body)
	}
}

// refused tells whether a token is needed, or the one that was sent is good no more.
func refused(t *testing.T, what string, resp gateway.Response, code string) {
	t.Helper()
	if resp.Status != http.StatusUnauthorized || resp.String("error") != code ||
		!strings.HasPrefix(resp.Header.Get("Www-Authenticate"), "Bearer ") {
		t.Errorf("%s: %d %q %s", what, resp.Status, resp.Header.Get("Www-Authenticate"), resp.Body)
	}
}

// eventually waits for what another process does in its own time.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if condition() {
			return
		}
	}
	t.Fatalf("not within %s: %s", patience, what)
}

// nginx is Debian's, with its own configuration of FastCGI and its php-fpm.
type nginx struct {
	dir string
	fpm string // the socket of its php-fpm

	plain    string // host:port of the server that is set up as Debian's default site
	pathInfo string // of the one that gives programs the rest of the path, and merges no slashes
	caseless string // of the one for which the case of letters does not count
	twice    string // of one in front of plain, which decodes paths a second time
}

// startNginx runs it, until the end of the test.
func startNginx(t *testing.T) *nginx {
	t.Helper()
	n := &nginx{dir: t.TempDir()}
	if err := os.CopyFS(n.dir, os.DirFS("testdata")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"mime.types", "fastcgi.conf", "snippets/fastcgi-php.conf"} {
		text, err := os.ReadFile("/etc/nginx/" + name)
		if err != nil {
			t.Fatalf("%v (Debian has it in the package nginx-light)", err)
		}
		path := filepath.Join(n.dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	n.fpm = n.startFPM(t)
	var places []string
	for _, server := range []struct {
		name string
		addr *string
	}{{"DEFAULT", &n.plain}, {"PATHINFO", &n.pathInfo}, {"CASELESS", &n.caseless}, {"TWICE", &n.twice}} {
		*server.addr = "127.0.0.1:" + gateway.FreePorts(t, 1)[0]
		places = append(places, "{"+server.name+"}", *server.addr)
	}
	config := filepath.Join(n.dir, "nginx.conf")
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	text = []byte(strings.NewReplacer(append(places, "{FPM}", n.fpm)...).Replace(string(text)))
	if os.Getuid() == 0 { // whose files the workers read
		text = append([]byte("user root;\n"), text...)
	}
	if err := os.WriteFile(config, text, 0o644); err != nil {
		t.Fatal(err)
	}
	run(t, program(t, "nginx", "nginx-light"), "-p", n.dir, "-c", config, "-e", filepath.Join(n.dir, "error.log"))
	for _, addr := range []string{n.plain, n.pathInfo, n.caseless, n.twice} {
		listens(t, "tcp", addr)
	}
	return n
}

// startFPM runs php-fpm and returns its socket.
func (n *nginx) startFPM(t *testing.T) string {
	t.Helper()
	socket := filepath.Join(n.dir, "fpm.sock")
	if len(socket) > 100 { // sockets have short names
		dir, err := os.MkdirTemp("/tmp", "fpm-")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		socket = filepath.Join(dir, "fpm.sock")
	}
	config := filepath.Join(n.dir, "fpm.conf")
	text := "[global]\nerror_log = " + filepath.Join(n.dir, "fpm.log") + "\n" +
		"[www]\nlisten = " + socket + "\npm = static\npm.max_children = 4\n" +
		"php_admin_value[upload_max_filesize] = 64M\nphp_admin_value[post_max_size] = 64M\n"
	args := []string{"--nodaemonize", "--fpm-config", config}
	if os.Getuid() == 0 {
		text += "user = root\ngroup = root\n"
		args = append(args, "--allow-to-run-as-root")
	}
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	run(t, program(t, "php-fpm*", "php-fpm"), args...)
	listens(t, "unix", socket)
	return socket
}

// program finds a server of Debian's, which are not on everybody's path.
func program(t *testing.T, pattern, debian string) string {
	t.Helper()
	found, err := filepath.Glob("/usr/sbin/" + pattern)
	if err != nil || len(found) == 0 {
		t.Fatalf("there is no /usr/sbin/%s: Debian has it in the package %s", pattern, debian)
	}
	return slices.Max(found)
}

// run runs a server until the end of the test.
func run(t *testing.T, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
}

// listens waits until somebody does.
func listens(t *testing.T, network, addr string) {
	t.Helper()
	eventually(t, addr+" listens", func() bool {
		conn, err := net.Dial(network, addr)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
}

// file reads one of nginx's own files.
func (n *nginx) file(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(n.dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// recipe is the first Caddyfile of a page in docs, as a site for start: with the address of the test and its upstream.
func recipe(t *testing.T, page string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(gateway.Root(t), "docs", page))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "```caddyfile\n")
	site, _, ok := strings.Cut(rest, "```\n")
	if !ok {
		t.Fatalf("%s has no Caddyfile", page)
	}
	upstream := regexp.MustCompile(`(reverse_proxy (?:h2c://)?)localhost:\d+`)
	if !strings.HasPrefix(site, "api.example.com {\n") || !upstream.MatchString(site) {
		t.Fatalf("%s has another Caddyfile: %s", page, site)
	}
	site = "http://127.0.0.1:{$PORT}" + strings.TrimPrefix(site, "api.example.com")
	return upstream.ReplaceAllString(site, "${1}{$$UPSTREAM}")
}
