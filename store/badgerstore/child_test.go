package badgerstore

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/oauth2-passport/caddy-passport/store"
)

// childEnv names what this test binary does when a test has started it as a process of its own.
const childEnv = "BADGERSTORE_TEST_CHILD"

func TestMain(m *testing.M) {
	role, dir, ok := strings.Cut(os.Getenv(childEnv), " ")
	if !ok {
		os.Exit(m.Run())
	}
	if err := children[role](dir); err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
}

var children = map[string]func(dir string) error{
	"load":   childLoad,
	"order":  childOrder,
	"rotate": childRotate,
	"fault":  childFault,
	"open":   childOpen,
}

// child is a process that plays a role on a directory; prefix is the command that it is run by, if any.
func child(t *testing.T, role, dir string, prefix ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	args := append(slices.Clip(prefix), self)
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
	cmd.Env = append(os.Environ(), childEnv+"="+role+" "+dir)
	cmd.Stderr = os.Stderr
	return cmd
}

// childLoad writes for ever, and prints the key of each update that was acknowledged. Each writes its key twice, the
// second time beside a value of any size, so that a half of it would be seen.
func childLoad(dir string) error {
	e, err := Open(Options{Dir: dir})
	if err != nil {
		return err
	}
	var seen atomic.Int64
	err = e.View(background, func(tx store.Tx) error {
		return tx.Scan([]byte("a/"), nil, func([]byte, []byte) error {
			seen.Add(1)
			return nil
		})
	})
	if err != nil {
		return err
	}
	var print sync.Mutex
	var writers sync.WaitGroup
	for range 16 {
		writers.Go(func() {
			for {
				n := seen.Add(1)
				key := fmt.Sprintf("%d/%08d", os.Getpid(), n)
				err := e.Update(background, func(tx store.Tx) error {
					return errors.Join(
						tx.Put([]byte("a/"+key), nil, 0),
						tx.Put([]byte("b/"+key), make([]byte, n*7919%4000), 0))
				})
				if err != nil {
					fmt.Println("error:", err)
					os.Exit(1)
				}
				print.Lock()
				os.Stdout.WriteString(key + "\n")
				print.Unlock()
			}
		})
	}
	writers.Wait()
	return nil
}

// TestNothingAcknowledgedIsLostByKill kills a process that writes, at any moment, and looks for what it has said.
func TestNothingAcknowledgedIsLostByKill(t *testing.T) {
	dir := t.TempDir()
	var acknowledged []string
	for round := range 20 {
		cmd := child(t, "load", dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewReader(out)
		killAfter := 1 + round*round*10
		for n := 0; ; n++ {
			line, err := lines.ReadString('\n')
			if err != nil {
				break // dead; half a line is not an answer
			}
			if strings.HasPrefix(line, "error:") {
				t.Fatalf("round %d: %s", round, line)
			}
			acknowledged = append(acknowledged, strings.TrimSuffix(line, "\n"))
			if n == killAfter {
				cmd.Process.Kill()
			}
		}
		cmd.Wait()

		e := openEngine(t, Options{Dir: dir})
		err = e.View(t.Context(), func(tx store.Tx) error {
			for _, key := range acknowledged {
				if _, err := tx.Get([]byte("a/" + key)); err != nil {
					t.Errorf("round %d: %s was acknowledged: %v", round, key, err)
				}
			}
			count := map[string]int{}
			err := tx.Scan(nil, nil, func(key, _ []byte) error {
				count[string(key[2:])]++
				return nil
			})
			for key, n := range count {
				if n != 2 {
					t.Errorf("round %d: half of %s is there", round, key)
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		if t.Failed() {
			t.FailNow()
		}
	}
	t.Logf("%d acknowledged updates", len(acknowledged))
}

// childOpen opens the directory and says how it went.
func childOpen(dir string) error {
	e, err := Open(Options{Dir: dir})
	if err != nil {
		return err
	}
	return e.Close()
}

func TestASecondProcessIsRefused(t *testing.T) {
	dir := t.TempDir()
	e := openEngine(t, Options{Dir: dir})
	out, err := child(t, "open", dir).Output()
	if err == nil {
		t.Fatal("a second process has opened the directory")
	}
	want := fmt.Sprintf("error: storage directory %s: it is in use by another process (%d)\n", dir, os.Getpid())
	if string(out) != want {
		t.Errorf("it says %q, want %q", out, want)
	}
	err = e.Update(t.Context(), func(tx store.Tx) error { return tx.Put([]byte("a"), nil, 0) })
	if err != nil {
		t.Errorf("the first one then: %v", err)
	}
	if err := e.Close(); err != nil {
		t.Errorf("the first one then: %v", err)
	}
	if out, err := child(t, "open", dir).Output(); err != nil {
		t.Errorf("a process afterwards: %v: %s", err, out)
	}
}
