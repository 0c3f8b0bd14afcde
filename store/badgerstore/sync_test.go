package badgerstore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/dgraph-io/badger/v4"
	"go.uber.org/zap"

	"github.com/oauth2-passport/caddy-passport/store"
)

var background = context.Background()

// childOrder makes updates one after the other, and says when each begins and when it was acknowledged.
func childOrder(dir string) error {
	e, err := Open(Options{Dir: dir})
	if err != nil {
		return err
	}
	for i := range 20 {
		os.Stdout.WriteString(fmt.Sprintf("begin %d\n", i))
		value := make([]byte, 3000*(i%2))
		if err := e.Update(background, func(tx store.Tx) error {
			return tx.Put(fmt.Appendf(nil, "key %d", i), value, 0)
		}); err != nil {
			return err
		}
		os.Stdout.WriteString(fmt.Sprintf("acknowledged %d\n", i))
	}
	return nil // without closing, which syncs too
}

// TestAnswersComeAfterTheSync watches a process by strace: between the beginning of an update and its answer lies a
// sync of the whole log; begun and ended, with success.
func TestAnswersComeAfterTheSync(t *testing.T) {
	trace := filepath.Join(t.TempDir(), "trace")
	dir := t.TempDir()
	strace := requireStrace(t)
	out, err := child(t, "order", dir, strace, "-f", "-y", "-o", trace,
		"-e", "trace=mmap,msync,fsync,fdatasync,write").Output()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	log, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	acknowledged := 0
	var synced []string // since the last beginning
	maps := map[string]string{}
	for _, call := range systemCalls(string(log)) {
		if m := regexp.MustCompile(`^mmap\(.*, (\d+), .*MAP_SHARED, \d+<.*/([^/>]+)>, 0\) += (0x\w+)$`).
			FindStringSubmatch(call); m != nil {
			maps[m[3]+", "+m[1]] = m[2] // address and length: the file
		}
		if m := regexp.MustCompile(`^msync\((0x\w+, \d+), MS_SYNC\) += 0$`).FindStringSubmatch(call); m != nil {
			synced = append(synced, maps[m[1]])
		}
		if m := regexp.MustCompile(`^write\(1<.*>, "(\w+) (\d+)\\n"`).FindStringSubmatch(call); m != nil {
			if m[1] == "begin" {
				synced = nil
				continue
			}
			if m[2] != fmt.Sprint(acknowledged) {
				t.Fatalf("answer %s comes after %d", m[2], acknowledged)
			}
			if !strings.Contains(fmt.Sprint(synced), "00001.mem") {
				t.Errorf("before answer %d only %v were synced", acknowledged, synced)
			}
			acknowledged++
		}
	}
	if acknowledged != 20 {
		t.Errorf("%d answers in the trace, want 20\n%s", acknowledged, log)
	}
}

// childRotate makes updates that are more than one file of the log has room for, and says when each was acknowledged.
func childRotate(dir string) error {
	e, err := Open(Options{Dir: dir})
	if err != nil {
		return err
	}
	value := make([]byte, 1000)
	for i := range 40 {
		if err := e.Update(background, func(tx store.Tx) error {
			for n := range 800 {
				if err := tx.Put(fmt.Appendf(nil, "key %d %d", i, n), value, 0); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			return err
		}
		os.Stdout.WriteString(fmt.Sprintf("acknowledged %d\n", i))
	}
	return nil
}

// TestNewFilesAreInTheirFolderBeforeTheAnswer: a file of the log whose name is lost in a power cut is lost with all that
// was synced in it.
func TestNewFilesAreInTheirFolderBeforeTheAnswer(t *testing.T) {
	trace := filepath.Join(t.TempDir(), "trace")
	dir := t.TempDir()
	strace := requireStrace(t)
	out, err := child(t, "rotate", dir, strace, "-f", "-y", "-o", trace, "-e", "trace=mmap,fsync,write").Output()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	log, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	mapped := regexp.MustCompile(`^mmap\(.*MAP_SHARED, \d+<(.*)/([^/>]+\.(?:mem|vlog))>, 0\) += 0x`)
	synced := regexp.MustCompile(`^fsync\(\d+<(.*)>\) += 0$`)
	known := map[string]bool{}
	fresh := "" // a file whose name may be lost
	answers := 0
	for _, call := range systemCalls(string(log)) {
		if m := mapped.FindStringSubmatch(call); m != nil && !known[m[2]] {
			known[m[2]], fresh = true, m[2]
		}
		if m := synced.FindStringSubmatch(call); m != nil && m[1] == dir {
			fresh = ""
		}
		if strings.HasPrefix(call, "write(1<") && strings.Contains(call, "acknowledged") {
			if answers++; fresh != "" {
				t.Errorf("answer %d came before the folder with %s was synced", answers, fresh)
			}
		}
	}
	if answers != 40 || !known["00002.mem"] {
		t.Errorf("%d answers, and the files %v", answers, known)
	}
}

// childFault makes an update and says how it went.
func childFault(dir string) error {
	e, err := Open(Options{Dir: dir})
	if err != nil {
		return err
	}
	err = e.Update(background, func(tx store.Tx) error { return tx.Put([]byte("a"), []byte("1"), 0) })
	fmt.Printf("unavailable: %v\n%v\n", errors.Is(err, store.ErrUnavailable), err)
	err = e.Update(background, func(tx store.Tx) error { return nil })
	fmt.Printf("unavailable: %v\n", errors.Is(err, store.ErrUnavailable))
	err = e.View(background, func(tx store.Tx) error { return nil })
	fmt.Printf("unavailable: %v\n", errors.Is(err, store.ErrUnavailable))
	return nil
}

// TestNoAnswerWhenTheSyncFails lets every sync of mapped memory fail: no update may be acknowledged.
func TestNoAnswerWhenTheSyncFails(t *testing.T) {
	strace := requireStrace(t)
	out, err := child(t, "fault", t.TempDir(), strace, "-f", "-o", filepath.Join(t.TempDir(), "trace"),
		"-e", "trace=msync", "-e", "inject=msync:error=EIO").Output()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if strings.Count(string(out), "unavailable: true") != 3 || !strings.Contains(string(out), "input/output error") {
		t.Errorf("it says %s", out)
	}
}

// requireStrace returns the path of strace. It may be missing where somebody tries the tests, not where they count.
func requireStrace(t *testing.T) string {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("strace is a program for Linux")
	}
	path, err := exec.LookPath("strace")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("strace is not installed")
		}
		t.Skip("strace is not installed")
	}
	return path
}

// systemCalls returns the calls of a trace of many threads, in the order in which they ended.
func systemCalls(trace string) []string {
	var calls []string
	begun := map[string]string{}
	for line := range strings.Lines(trace) {
		thread, call, _ := strings.Cut(strings.TrimSpace(line), " ")
		call = strings.TrimSpace(call)
		if head, ok := strings.CutSuffix(call, "<unfinished ...>"); ok {
			begun[thread] = head
			continue
		}
		if m := regexp.MustCompile(`^<\.\.\. \w+ resumed>(.*)$`).FindStringSubmatch(call); m != nil {
			call = strings.TrimSpace(begun[thread]) + m[1]
		}
		calls = append(calls, call)
	}
	return calls
}

// TestASyncFaultThatBadgerOnlyLogsIsNoticed holds Badger's source to what syncFaults relies on.
func TestASyncFaultThatBadgerOnlyLogsIsNoticed(t *testing.T) {
	var faults syncFaults
	logger := newLogger(zap.NewNop(), &faults)
	logger.Errorf("Error while curlf sync: %v\n", errors.New("input/output error"))
	logger.Errorf("another error")
	if faults.count() != 1 {
		t.Errorf("%d faults, want 1", faults.count())
	}

	open := reflect.ValueOf(badger.Open).Pointer()
	file, _ := runtime.FuncForPC(open).FileLine(open)
	source, err := os.ReadFile(filepath.Join(filepath.Dir(file), "value.go"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(source), `vlog.opt.Errorf("Error while curlf sync: %v\n", err)`) {
		t.Error("Badger's value log says something else when a sync fails, or returns it: see syncFaults")
	}
}

func TestCommitFailsWhenTheValueLogDidNotSync(t *testing.T) {
	e := openEngine(t, Options{Dir: t.TempDir()})
	e.commit = func(txn *badger.Txn) error {
		e.opts.Logger.Errorf("Error while curlf sync: %v\n", errors.New("input/output error"))
		return txn.Commit()
	}
	err := e.Update(t.Context(), func(tx store.Tx) error { return tx.Put([]byte("a"), nil, 0) })
	if !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("Update: %v", err)
	}
}
