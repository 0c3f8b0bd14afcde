package caddymodule

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/oauth2-passport/caddy-passport/store"
	"github.com/oauth2-passport/caddy-passport/store/storetest"
)

// watchedEngine calls during while a backup is made.
type watchedEngine struct {
	*storetest.Engine
	during func()
}

func (e *watchedEngine) View(ctx context.Context, fn func(store.Tx) error) error {
	return e.Engine.View(ctx, func(tx store.Tx) error {
		err := fn(tx)
		if e.during != nil {
			e.during()
		}
		return err
	})
}

func newWatched(t *testing.T) (*watchedEngine, *store.DB) {
	t.Helper()
	e := &watchedEngine{Engine: new(storetest.Engine)}
	db, err := store.Open(t.Context(), e, DefaultIssuer, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	return e, db
}

func namesIn(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

// TestBackupHasItsNameWhenItIsWhole: who finds a file of that name may rely on it, though Caddy was killed meanwhile.
// What such a one has left is in nobody's way.
func TestBackupHasItsNameWhenItIsWhole(t *testing.T) {
	engine, db := newWatched(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "saved")
	left := []string{"saved.1.part", "saved.part"}
	for _, name := range left {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	engine.during = func() {
		if names := namesIn(t, dir); slices.Contains(names, "saved") || len(names) != len(left)+1 {
			t.Errorf("while it is written there are %q", names)
		}
	}
	if _, err := writeBackup(t.Context(), db, path); err != nil {
		t.Fatal(err)
	}
	if names := namesIn(t, dir); !slices.Equal(names, append([]string{"saved"}, left...)) {
		t.Errorf("then there are %q", names)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 || info.Size() == 0 {
		t.Errorf("it is %v, %v", info, err)
	}
	engine.Fail(store.ErrUnavailable)
	if _, err := writeBackup(t.Context(), db, path+"2"); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	if names := namesIn(t, dir); len(names) != len(left)+1 {
		t.Errorf("one that failed leaves %q", names)
	}
}

// TestBackupReplacesNothing, not even what is written beside it.
func TestBackupReplacesNothing(t *testing.T) {
	engine, db := newWatched(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "saved")
	engine.during = func() {
		if err := os.WriteFile(path, []byte("other"), 0o600); err != nil {
			t.Error(err)
		}
	}
	for range 2 {
		if _, err := writeBackup(t.Context(), db, path); err == nil || adminStatus(err) != http.StatusConflict {
			t.Errorf("got %v", err)
		}
		if data, err := os.ReadFile(path); string(data) != "other" || err != nil {
			t.Errorf("now it has %q, %v", data, err)
		}
		if names := namesIn(t, dir); len(names) != 1 {
			t.Errorf("there are %q", names)
		}
		engine.during = func() { t.Error("it begins, though the name is taken") }
	}
}

// TestBackupOnADiskWithoutLinks, such as FAT.
func TestBackupOnADiskWithoutLinks(t *testing.T) {
	dir := t.TempDir()
	part, path := filepath.Join(dir, "part"), filepath.Join(dir, "saved")
	noLinks := func(string, string) error { return &os.LinkError{Op: "link", Old: part, New: path, Err: syscall.EPERM} }
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(part, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("one")
	if err := name(part, path, noLinks); err != nil {
		t.Error(err)
	}
	write("two")
	if err := name(part, path, noLinks); err == nil || adminStatus(err) != http.StatusConflict {
		t.Errorf("a second time: %v", err)
	}
	if data, err := os.ReadFile(path); string(data) != "one" || err != nil {
		t.Errorf("it has %q, %v", data, err)
	}
	if err := name(filepath.Join(dir, "none"), path+"2", noLinks); err == nil {
		t.Error("there is no such part")
	}
	if names := namesIn(t, dir); !slices.Equal(names, []string{"part", "saved"}) {
		t.Errorf("there are %q", names)
	}
}
