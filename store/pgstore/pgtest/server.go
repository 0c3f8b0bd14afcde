// Package pgtest runs a PostgreSQL server for tests: Debian's, with a new cluster that is gone after the test.
package pgtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// patience is how long a server may take to start or to stop on a busy machine.
const patience = time.Minute

// Server is a PostgreSQL server on the loopback interface.
type Server struct {
	Port int

	t         testing.TB
	settings  []string
	dir       string
	bin       string
	owner     *syscall.Credential // PostgreSQL refuses to run as root
	process   *exec.Cmd
	databases atomic.Int64
}

// Start makes a cluster and runs a server on it, with more settings, such as "fsync=on". The test fails when PostgreSQL
// is not installed.
func Start(t testing.TB, settings ...string) *Server {
	t.Helper()
	s := newServer(t)
	s.settings = settings
	s.command("initdb", "-D", s.dir, "-U", "passport", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C")
	s.Run()
	return s
}

// Standby makes a server that follows s, and is ready to take its place. From then on s answers no commit before the
// other has it.
func (s *Server) Standby() *Server {
	s.t.Helper()
	other := newServer(s.t)
	other.command("pg_basebackup", "-D", other.dir, "-h", "127.0.0.1", "-p", strconv.Itoa(s.Port), "-U", "passport",
		"-R", "-X", "stream", "--checkpoint=fast", "--no-sync")
	other.Run()
	for _, statement := range []string{"ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()"} {
		if err := s.exec(statement); err != nil {
			s.t.Fatal(err)
		}
	}
	return other
}

// Promote lets a standby take the place of the server that it follows.
func (s *Server) Promote() {
	s.t.Helper()
	if err := s.exec("SELECT pg_promote(true, 60)"); err != nil {
		s.t.Fatal(err)
	}
}

// newServer makes the folder and chooses the port of a server.
func newServer(t testing.TB) *Server {
	t.Helper()
	s := &Server{t: t, bin: binaries(t)}
	// Not t.TempDir(): the owner of the cluster may not enter its parents.
	dir, err := os.MkdirTemp("", "pgtest")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Stop()
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	s.dir = filepath.Join(dir, "data")
	if os.Geteuid() == 0 {
		s.owner = postgresUser(t)
		if err := os.Chown(dir, int(s.owner.Uid), int(s.owner.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.Port = listener.Addr().(*net.TCPAddr).Port
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	return s
}

// Run starts the server that Start made, after [Server.Stop] or [Server.Kill].
func (s *Server) Run() {
	s.t.Helper()
	args := []string{
		"-D", s.dir, "-p", strconv.Itoa(s.Port),
		"-c", "fsync=off", // it outlives a killed server, and no test cuts the power
		"-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "max_connections=200",
	}
	for _, setting := range s.settings {
		args = append(args, "-c", setting)
	}
	cmd := exec.Command(s.Program("postgres"), args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.owner}
	log, err := os.OpenFile(s.dir+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = log.Close() }() // the server has it
	cmd.Stdout, cmd.Stderr, cmd.Dir = log, log, filepath.Dir(s.dir)
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.process = cmd
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		err := s.exec("SELECT 1")
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			text, _ := os.ReadFile(s.dir + ".log")
			s.t.Fatalf("PostgreSQL does not start: %v\n%s", err, text)
		}
	}
}

// URL is how to connect to a database of one of the servers, whichever takes writes.
func URL(database string, servers ...*Server) string {
	hosts := make([]string, len(servers))
	for i, s := range servers {
		hosts[i] = "127.0.0.1:" + strconv.Itoa(s.Port)
	}
	return "postgres://passport@" + strings.Join(hosts, ",") + "/" + database +
		"?sslmode=disable&target_session_attrs=read-write"
}

// Stop ends the server as its operator does: running transactions are rolled back.
func (s *Server) Stop() { s.end(syscall.SIGINT) }

// Kill ends the server at once, as when its machine fails.
func (s *Server) Kill() { s.end(syscall.SIGQUIT) }

func (s *Server) end(signal syscall.Signal) {
	if s.process == nil {
		return
	}
	_ = s.process.Process.Signal(signal)
	_ = s.process.Wait() // its exit code tells which signal it was
	s.process = nil
}

// Database makes an empty database and returns how to connect to it.
func (s *Server) Database() string {
	s.t.Helper()
	name := fmt.Sprintf("test%d", s.databases.Add(1))
	if err := s.exec("CREATE DATABASE " + name); err != nil {
		s.t.Fatal(err)
	}
	return s.url(name)
}

func (s *Server) url(database string) string {
	return fmt.Sprintf("postgres://passport@127.0.0.1:%d/%s?sslmode=disable", s.Port, database)
}

func (s *Server) exec(statement string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.url("postgres"))
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, statement)
	return errors.Join(err, conn.Close(ctx))
}

func (s *Server) command(name string, args ...string) {
	s.t.Helper()
	cmd := exec.Command(s.Program(name), args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.owner}
	cmd.Dir = filepath.Dir(s.dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		s.t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

// Program is where a program of PostgreSQL is, such as pgbench.
func (s *Server) Program(name string) string { return filepath.Join(s.bin, name) }

// binaries is the folder with the server's programs: on Debian they are not on the PATH.
func binaries(t testing.TB) string {
	t.Helper()
	if path, err := exec.LookPath("initdb"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil { // the others are where it is, not the link
			return filepath.Dir(path)
		}
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(found) == 0 {
		t.Fatal("PostgreSQL is not installed: on Debian, apt-get install postgresql")
	}
	return filepath.Dir(found[len(found)-1])
}

func postgresUser(t testing.TB) *syscall.Credential {
	t.Helper()
	owner, err := user.Lookup("postgres")
	if err != nil {
		t.Fatal(err)
	}
	uid, _ := strconv.ParseUint(owner.Uid, 10, 32)
	gid, _ := strconv.ParseUint(owner.Gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}
