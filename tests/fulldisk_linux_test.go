package tests

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sys/unix"

	"github.com/oauth2-passport/caddy-passport/store/pgstore/pgtest"
	"github.com/oauth2-passport/caddy-passport/tests/internal/gateway"
)

// disk is a disk of its own, so that a test can fill it: memory that is mounted, for which it takes root.
type disk struct {
	t   *testing.T
	dir string
}

func newDisk(t *testing.T, megabytes int) *disk {
	t.Helper()
	// Not t.TempDir(): the user that PostgreSQL runs as may not enter its parents.
	dir, err := os.MkdirTemp("", "disk")
	if err == nil {
		err = unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("mode=1777,size=%dm", megabytes))
	}
	if err != nil {
		t.Fatalf("mounting a small disk, which root may: %v", err)
	}
	t.Cleanup(func() {
		if err := errors.Join(unix.Unmount(dir, unix.MNT_DETACH), os.Remove(dir)); err != nil {
			t.Error(err)
		}
	})
	return &disk{t, dir}
}

// fill leaves so many megabytes free, by a file that is none of the program's.
func (d *disk) fill(free int64) {
	d.t.Helper()
	file, err := os.OpenFile(d.filler(), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		d.t.Fatal(err)
	}
	defer file.Close()
	for chunk := int64(64 << 20); chunk >= 4<<10; {
		var disk unix.Statfs_t
		if err := unix.Statfs(d.dir, &disk); err != nil {
			d.t.Fatal(err)
		}
		size, err := file.Seek(0, io.SeekEnd)
		if err != nil {
			d.t.Fatal(err)
		}
		left := int64(disk.Bavail)*disk.Bsize - free<<20
		if left <= 0 {
			return
		}
		switch err := unix.Fallocate(int(file.Fd()), 0, size, min(chunk, left)); {
		case errors.Is(err, unix.ENOSPC): // others write, too
			chunk /= 2
		case err != nil:
			d.t.Fatal(err)
		}
	}
}

func (d *disk) filler() string { return filepath.Join(d.dir, "filler") }

// makeRoom takes away what fill has made.
func (d *disk) makeRoom() {
	d.t.Helper()
	if err := os.Remove(d.filler()); err != nil {
		d.t.Fatal(err)
	}
}

// onDisk is a gateway whose storage is on a small disk, and the traffic on it.
type onDisk struct {
	*gateway.Gateway
	t       *testing.T
	early   string // a token from when there was room
	spare   string // another, that is revoked when there is none
	refused atomic.Int64
	issued  atomic.Int64

	mu      sync.Mutex
	answers []string // tokens that were answered with success
}

func watch(t *testing.T, g *gateway.Gateway) *onDisk {
	t.Helper()
	return &onDisk{Gateway: g, t: t, early: g.Token("demo", demoSecret, "read"),
		spare: g.Token("demo", demoSecret, "read")}
}

// issue asks for a token. It is answered, or refused with 503 and Retry-After.
func (o *onDisk) issue() error {
	resp, err := issueOn(o.Gateway)
	switch {
	case err != nil:
		return err
	case resp.Status == http.StatusServiceUnavailable && resp.Header.Get("Retry-After") != "":
		o.refused.Add(1)
		return nil
	case resp.Status != http.StatusOK:
		return fmt.Errorf("a token: %d %v %s", resp.Status, resp.Header, resp.Body)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.answers = append(o.answers, resp.String("access_token"))
	o.issued.Add(1)
	return nil
}

// use calls the API with a token that is out.
func (o *onDisk) use() error { return callOn(o.Gateway, o.early) }

// full checks what is answered while the disk is full.
func (o *onDisk) full() {
	o.t.Helper()
	before := o.refused.Load()
	o.Eventually("issuing is refused", func() bool { return o.refused.Load() > before+3 })
	if err := o.use(); err != nil {
		o.t.Errorf("a token that is out: %v", err)
	}
	if resp := adminGet(o.t, o.Gateway, "/passport/health"); resp.Status != http.StatusServiceUnavailable {
		o.t.Errorf("health: %d %s", resp.Status, resp.Body)
	}
	switch resp := o.revoke(); {
	case resp.Status == http.StatusServiceUnavailable && resp.Header.Get("Retry-After") != "":
	case resp.Status == http.StatusOK: // PostgreSQL may have had room for it in its files
		if resp := o.Get("/orders", o.spare); resp.Status != http.StatusUnauthorized {
			o.t.Errorf("a token that is revoked: %d", resp.Status)
		}
	default:
		o.t.Errorf("revoking: %d %v %s", resp.Status, resp.Header, resp.Body)
	}
}

func (o *onDisk) revoke() gateway.Response {
	o.t.Helper()
	return o.Form("/oauth/revoke", "demo", demoSecret, url.Values{"token": {o.spare}})
}

// well checks that all is as it was before, and looks for what was answered with success meanwhile.
func (o *onDisk) well() {
	o.t.Helper()
	o.Eventually("the gateway is healthy", func() bool {
		return adminGet(o.t, o.Gateway, "/passport/health").Status == http.StatusOK
	})
	if resp := o.revoke(); resp.Status != http.StatusOK {
		o.t.Errorf("revoking: %d %s", resp.Status, resp.Body)
	}
	if resp := o.Get("/orders", o.spare); resp.Status != http.StatusUnauthorized {
		o.t.Errorf("a token that is revoked: %d", resp.Status)
	}
	o.spare = o.Token("demo", demoSecret, "read")
	for _, token := range o.answers {
		if resp := adminGet(o.t, o.Gateway, "/passport/default/tokens/"+tokenID(o.t, token)); resp.Status != http.StatusOK {
			o.t.Fatalf("a token that was answered with success: %d %s", resp.Status, resp.Body)
		}
	}
	o.t.Logf("%d tokens issued, %d refused", len(o.answers), o.refused.Load())
}

// tokenID is the jti of a token.
func tokenID(t *testing.T, token string) string {
	t.Helper()
	var claims struct{ JTI string }
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err == nil {
		err = json.Unmarshal(payload, &claims)
	}
	if err != nil {
		t.Fatal(err)
	}
	return claims.JTI
}

// issuesAgain waits until tokens of the traffic are issued, with nobody having told the gateway of the room.
func (o *onDisk) issuesAgain() {
	o.t.Helper()
	before := o.issued.Load()
	o.Eventually("tokens are issued again", func() bool { return o.issued.Load() > before+3 })
}

// TestFullDisk fills the disk of Badger under traffic, to the last byte: issuing and revoking are refused, tokens that
// are out stay good, Caddy lives. When there is room again all is well by itself, and nothing is forgotten.
func TestFullDisk(t *testing.T) {
	d := newDisk(t, 400)
	upstream := gateway.NewUpstream(t)
	caddyfile := strings.Replace(site, "\tpassport {\n", "\tpassport {\n\t\tstorage badger {env.DISK}/db\n", 1)
	g := gateway.Start(t, caddyfile, "UPSTREAM="+upstream.Addr, "DEMO_SECRET="+demoSecret, "DISK="+d.dir)
	o := watch(t, g)
	for range 2 {
		tr := startTraffic(o.issue, o.issue, o.use)
		d.fill(100)
		o.full()
		d.fill(0)
		o.full()
		d.makeRoom()
		o.issuesAgain()
		tr.stop(t)
		o.well()
	}
	g.Kill()
	g.Restart()
	o.well()
}

// TestFullDiskOfTheDatabase fills the disk of PostgreSQL under traffic. First its tables have no room. Then its log has
// none, at which it ends, until somebody makes room and starts it. The gateway needs nobody.
func TestFullDiskOfTheDatabase(t *testing.T) {
	d := newDisk(t, 400)
	others := os.TempDir()
	t.Setenv("TMPDIR", d.dir)
	server := pgtest.Start(t)
	t.Setenv("TMPDIR", others)
	database := server.Database()
	o := watch(t, startNode(t, database))

	// There is room in the log: it has a new file, made by the first that is written to it.
	for _, sql := range []string{"SELECT pg_switch_wal()", "SELECT pg_logical_emit_message(true, '', 'x')"} {
		if err := statement(t, database, sql); err != nil {
			t.Fatal(err)
		}
	}
	tr := startTraffic(o.issue, o.use)
	d.fill(0)
	o.full()
	d.makeRoom()
	o.issuesAgain()
	tr.stop(t)
	o.well()

	tr = startTraffic(o.issue, o.use)
	d.fill(0)
	o.full()
	o.Eventually("PostgreSQL ends", func() bool {
		return statement(t, database, "SELECT pg_logical_emit_message(false, '', repeat('x', 1000000))") != nil
	})
	o.full()
	d.makeRoom()
	server.Kill() // should it live yet
	server.Run()
	o.issuesAgain()
	tr.stop(t)
	o.well()
}

// statement runs a statement of SQL.
func statement(t *testing.T, database, sql string) error {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), database)
	if err != nil {
		return err
	}
	_, err = conn.Exec(t.Context(), sql)
	return errors.Join(err, conn.Close(t.Context()))
}
