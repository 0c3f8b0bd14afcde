package gateway

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	_ "github.com/oauth2-passport/caddy-passport" // so that go test's cache knows what these tests depend on
)

// Binary is the path of Caddy with this plugin, built from the sources as they are, with the race detector when the
// test has it. It is built once for all packages that run at a time, in .cache of the project.
func Binary(t testing.TB) string {
	t.Helper()
	path, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// Root is the folder of the project.
func Root(t testing.TB) string {
	t.Helper()
	dir, err := root()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

var root = sync.OnceValues(func() (string, error) {
	out, err := run(exec.Command("go", "list", "-m", "-f", "{{.Dir}}"))
	return strings.TrimSpace(out), err
})

var build = sync.OnceValues(func() (string, error) {
	dir, err := root()
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, ".cache", "caddy")
	args := []string{"build"}
	if raceEnabled {
		path += "-race"
		args = append(args, "-race")
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", err
	}

	// Test packages run side by side, each in its own process; whoever comes second finds the binary up to date.
	lock, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", err
	}
	cmd := exec.Command("go", append(args, "-o", path, "./tests/internal/caddy")...)
	cmd.Dir = dir
	_, err = run(cmd)
	return path, err
})

// run returns what the command prints; the error has what it says on standard error.
func run(cmd *exec.Cmd) (string, error) {
	var faults strings.Builder
	cmd.Stderr = &faults
	out, err := cmd.Output()
	if err != nil {
		return "", &buildError{strings.Join(cmd.Args, " "), err, faults.String()}
	}
	return string(out), nil
}

type buildError struct {
	command string
	err     error
	faults  string
}

func (e *buildError) Error() string { return e.command + ": " + e.err.Error() + "\n" + e.faults }
func (e *buildError) Unwrap() error { return e.err }
