package badgerstore

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/oauth2-passport/caddy-passport/store"
)

// wantModes checks that nobody else may touch the directory or a file in it.
func wantModes(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// TestFilesAreNotReadableByOthers makes every sort of file with a umask that takes nothing away.
func TestFilesAreNotReadableByOthers(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0))
	parent := filepath.Join(t.TempDir(), "a")
	dir := filepath.Join(parent, "b", "c")
	e := openEngine(t, Options{Dir: dir})
	wantModes(t, parent)
	value := make([]byte, 1000)
	for i := range 20 { // past the size of a log, so that tables and another log are made
		err := e.Update(t.Context(), func(tx store.Tx) error {
			for j := range 1000 {
				if err := tx.Put(fmt.Appendf(nil, "%d/%d", i, j), value, 0); err != nil {
					return err
				}
			}
			return tx.Put([]byte("large"), make([]byte, 4000), 0)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	logs, _ := filepath.Glob(filepath.Join(dir, "0000[2-9].mem"))
	for _, log := range logs {
		if info, err := os.Stat(log); err == nil && info.Mode().Perm() != 0o600 {
			t.Errorf("%s, made meanwhile, has mode %v", log, info.Mode())
		}
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	openEngine(t, Options{Dir: dir})
	wantModes(t, parent)
	if tables, _ := filepath.Glob(filepath.Join(dir, "*.sst")); len(tables) == 0 {
		t.Error("there is no table")
	}
}

func TestADirectoryOpenToOthersIsShut(t *testing.T) {
	dir := t.TempDir()
	e := openEngine(t, Options{Dir: dir})
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, "KEYREGISTRY"), 0o644); err != nil {
		t.Fatal(err)
	}
	core, logs := observer.New(zap.WarnLevel)
	openEngine(t, Options{Dir: dir, Logger: zap.New(core)})
	wantModes(t, dir)
	if logs.FilterMessageSnippet("open to others").Len() != 1 {
		t.Errorf("it logs %v", logs.All())
	}
}

func TestUnusableDirectories(t *testing.T) {
	dir := t.TempDir()
	write := func(path string) string {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("theirs"), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, test := range []struct {
		name, dir string
		key       int
		want      string
	}{
		{"none", "", 0, `storage directory "": no usable path`},
		{"a file", write("file"), 0, "it is not a directory"},
		{"below a file", filepath.Join(write("file"), "x"), 0, "not a directory"},
		{"somebody's", filepath.Dir(write("home/letter.txt")), 0, "it holds other files (letter.txt)"},
		{"damaged registry", filepath.Dir(write("bad/KEYREGISTRY")), 0, "KEYREGISTRY is damaged"},
		{"short key", filepath.Join(dir, "new"), 15, "the encryption key must have 16, 24 or 32 bytes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := contents(t, dir)
			_, err := Open(Options{Dir: test.dir, EncryptionKey: make([]byte, test.key)})
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), test.dir) {
				t.Errorf("%v, want %q and the path", err, test.want)
			}
			if after := contents(t, dir); after != before {
				t.Errorf("it has changed from\n%s\nto\n%s", before, after)
			}
		})
	}
}

// contents describes all files below dir: names, modes, hashes.
func contents(t *testing.T, dir string) string {
	t.Helper()
	var out strings.Builder
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		var data []byte
		if entry.Type().IsRegular() {
			if data, err = os.ReadFile(path); err != nil {
				return err
			}
		}
		fmt.Fprintf(&out, "%s %v %x\n", path, info.Mode(), sha256.Sum256(data))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// TestWrongKeys opens directories with every key but theirs. That harms nothing, and names the directory.
func TestWrongKeys(t *testing.T) {
	keys := map[string][]byte{
		"none":       nil,
		"16 bytes":   bytes.Repeat([]byte("a"), 16),
		"24 bytes":   bytes.Repeat([]byte("a"), 24),
		"32 bytes":   bytes.Repeat([]byte("a"), 32),
		"32 other":   bytes.Repeat([]byte("b"), 32),
		"one bit on": append(bytes.Repeat([]byte("a"), 31), 'c'),
	}
	for own, key := range keys {
		t.Run("begun with "+own, func(t *testing.T) {
			dir := t.TempDir()
			e := openEngine(t, Options{Dir: dir, EncryptionKey: key})
			secret := []byte("a secret that must not be seen")
			err := e.Update(t.Context(), func(tx store.Tx) error {
				return tx.Put(secret, bytes.Repeat(secret, 100), 0)
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := e.Close(); err != nil {
				t.Fatal(err)
			}
			before := contents(t, dir)
			for name, other := range keys {
				if name == own {
					continue
				}
				want := errKeyWrong
				switch "none" {
				case own:
					want = errKeyPlain
				case name:
					want = errKeyMissing
				}
				_, err := Open(Options{Dir: dir, EncryptionKey: other})
				if err == nil || err.Error() != "storage directory "+dir+": "+want.Error() {
					t.Errorf("opened with %s: %v, want %v", name, err, want)
				}
			}
			if after := contents(t, dir); after != before {
				t.Errorf("it has changed from\n%s\nto\n%s", before, after)
			}
			if found := grep(t, dir, secret); found != (key == nil) {
				t.Errorf("the text is found in the files: %v", found)
			}
			e = openEngine(t, Options{Dir: dir, EncryptionKey: key})
			if err := e.View(t.Context(), func(tx store.Tx) error {
				_, err := tx.Get(secret)
				return err
			}); err != nil {
				t.Errorf("opened with its own key: %v", err)
			}
		})
	}
}

// grep tells whether text is in a file of dir.
func grep(t *testing.T, dir string, text []byte) (found bool) {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(filepath.Join(dir, file.Name()))
		if err != nil {
			t.Fatal(err)
		}
		found = found || bytes.Contains(data, text)
	}
	return found
}

func TestParseKey(t *testing.T) {
	key := make([]byte, 32)
	for i := range key {
		key[i] = byte(i*37 + 250)
	}
	for _, length := range []int{16, 24, 32} {
		want := key[:length]
		for name, text := range map[string]string{
			"hexadecimal":   hex.EncodeToString(want),
			"upper case":    strings.ToUpper(hex.EncodeToString(want)),
			"base64":        base64.StdEncoding.EncodeToString(want),
			"unpadded":      base64.RawStdEncoding.EncodeToString(want),
			"base64url":     base64.URLEncoding.EncodeToString(want),
			"unpadded url":  base64.RawURLEncoding.EncodeToString(want),
			"with new line": base64.StdEncoding.EncodeToString(want) + "\r\n",
			"as it is":      string(want),
		} {
			if got, err := ParseKey(text); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%d bytes, %s: %x, %v", length, name, got, err)
			}
		}
	}
	for _, bad := range []string{"", " \n", "short", strings.Repeat("x", 31), strings.Repeat("x", 33), "00ff"} {
		key, err := ParseKey(bad)
		if err == nil {
			t.Errorf("%q is taken for the key %x", bad, key)
			continue
		}
		if s := strings.TrimSpace(bad); s != "" && strings.Contains(err.Error(), s) {
			t.Errorf("the error repeats the key: %v", err)
		}
		if !strings.Contains(err.Error(), "openssl rand -base64 32") {
			t.Errorf("the error does not help: %v", err)
		}
	}
}

// TestSettle checks that a change of the directory is dealt with once, but never missed.
func TestSettle(t *testing.T) {
	dir := &directory{path: t.TempDir(), log: zap.NewNop()}
	file := filepath.Join(dir.path, "00001.mem")
	other := filepath.Join(dir.path, "notes.txt")
	for _, path := range []string{file, other} {
		if err := os.WriteFile(path, nil, 0o666); err != nil {
			t.Fatal(err)
		}
		os.Chmod(path, 0o666)
	}
	if err := dir.settle(); err != nil {
		t.Fatal(err)
	}
	if !dir.settled.IsZero() {
		t.Error("a change of just now counts as the last of its time")
	}
	if info, _ := os.Stat(file); info.Mode().Perm() != 0o600 {
		t.Errorf("Badger's file: %v", info.Mode())
	}
	if info, _ := os.Stat(other); info.Mode().Perm() != 0o666 {
		t.Errorf("somebody else's file: %v", info.Mode())
	}
	past := time.Now().Add(-time.Minute)
	if err := os.Chtimes(dir.path, past, past); err != nil {
		t.Fatal(err)
	}
	if err := dir.settle(); err != nil || dir.settled.IsZero() {
		t.Errorf("a change of a minute ago: %v, %v", dir.settled, err)
	}
	os.RemoveAll(dir.path)
	if err := dir.settle(); err == nil {
		t.Error("no error for a directory that is gone")
	}
}
