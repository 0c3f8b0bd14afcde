package badgerstore

import (
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dgraph-io/badger/v4"
	"go.uber.org/zap"
)

// directory is where Badger's files are.
type directory struct {
	path string
	log  *zap.Logger

	settled time.Time // the time of its last change, when that has been dealt with
}

// prepare makes the directory or checks it: that it is ours, that nobody else can read it, that key is the one that it
// was begun with. It changes nothing before it knows.
func (d *directory) prepare(key []byte) error {
	info, err := os.Stat(d.path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := checkKey(d.path, key); err != nil {
			return err
		}
		return makeDir(d.path)
	}
	if err != nil {
		return plain(err)
	}
	if !info.IsDir() {
		return errors.New("it is not a directory")
	}
	if err := d.checkFiles(); err != nil {
		return err
	}
	if err := checkKey(d.path, key); err != nil {
		return err
	}
	return d.tighten(info)
}

// checkFiles refuses a directory that somebody uses for other things: its mode would be changed.
func (d *directory) checkFiles() error {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return plain(err)
	}
	for _, entry := range entries {
		if entry.Name() == badger.ManifestFilename {
			return nil
		}
	}
	for _, entry := range entries {
		if name := entry.Name(); !badgerFile(name) && name != "lost+found" {
			return fmt.Errorf("it holds other files (%s): name a directory that is empty or does not exist", name)
		}
	}
	return nil
}

// badgerFile tells whether Badger makes files of that name.
func badgerFile(name string) bool {
	switch filepath.Ext(name) {
	case ".mem", ".vlog", ".sst":
		return true
	}
	return slices.Contains([]string{
		badger.ManifestFilename, "MANIFEST-REWRITE", "KEYREGISTRY", "REWRITE-KEYREGISTRY", "DISCARD", "LOCK",
	}, name)
}

// tighten takes the rights of others away, from the directory and from the files in it.
func (d *directory) tighten(info fs.FileInfo) error {
	if info.Mode().Perm()&0o077 == 0 {
		return nil
	}
	if !owned(info) {
		d.log.Warn("the storage directory belongs to somebody else and is open to others",
			zap.String("dir", d.path), zap.Stringer("mode", info.Mode().Perm()))
		return nil
	}
	if err := os.Chmod(d.path, info.Mode().Perm()&0o700); err != nil {
		return plain(err)
	}
	d.log.Warn("the storage directory was open to others and is no longer",
		zap.String("dir", d.path), zap.Stringer("was", info.Mode().Perm()))
	return nil
}

// settle makes the names of new files durable, and the files ours alone. Badger makes files with the mode 0666 less the
// umask, and syncs what it writes to a new log but not the directory that names it. The directory's time tells whether
// there is something to do; one of just now may be the time of a later change too.
func (d *directory) settle() error {
	info, err := os.Stat(d.path)
	if err != nil {
		return plain(err)
	}
	changed := info.ModTime()
	if changed.Equal(d.settled) {
		return nil
	}
	const granularity = 100 * time.Millisecond
	recent := time.Since(changed) < granularity
	if err := syncDir(d.path); err != nil {
		return plain(err)
	}
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return plain(err)
	}
	for _, entry := range entries {
		if !badgerFile(entry.Name()) || !entry.Type().IsRegular() {
			continue
		}
		// A file that is gone meanwhile, or somebody else's, is no reason to fail: the directory shuts others out.
		info, err := entry.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			_ = os.Chmod(filepath.Join(d.path, entry.Name()), info.Mode().Perm()&0o700)
		}
	}
	if !recent {
		d.settled = changed
	}
	return nil
}

// makeDir makes the directory and its missing parents, and their names durable.
func makeDir(path string) error {
	missing := []string{path}
	for {
		parent := filepath.Dir(missing[len(missing)-1])
		if _, err := os.Stat(parent); !errors.Is(err, fs.ErrNotExist) || parent == filepath.Dir(parent) {
			break
		}
		missing = append(missing, parent)
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return plain(err)
	}
	for _, made := range missing {
		if err := syncDir(filepath.Dir(made)); err != nil {
			return plain(err)
		}
	}
	return nil
}

// Faults of the encryption key.
var (
	errKeyLength  = errors.New("the encryption key must have 16, 24 or 32 bytes")
	errKeyMissing = errors.New("it is encrypted, and no encryption key is given")
	errKeyWrong   = errors.New("it is encrypted with another encryption key")
	errKeyPlain   = errors.New("it is not encrypted, and an encryption key is given: encryption begins with a new " +
		"directory")
)

// checkKey checks key against the directory before Badger does, which leaves goroutines behind when it fails. Its file
// of keys begins with an initialization vector and a known text, encrypted by AES in counter mode or not (v4.9.6,
// key_registry.go).
func checkKey(dir string, key []byte) error {
	const known = "Hello Badger"
	if len(key) != 0 && !validKey(len(key)) {
		return errKeyLength
	}
	file, err := os.Open(filepath.Join(dir, badger.KeyRegistryFileName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // new
	}
	if err != nil {
		return plain(err)
	}
	defer func() { _ = file.Close() }() // it was only read
	var head [aes.BlockSize + len(known)]byte
	if _, err := io.ReadFull(file, head[:]); err != nil {
		return fmt.Errorf("%s is damaged: %w", badger.KeyRegistryFileName, err)
	}
	text := head[aes.BlockSize:]
	switch isPlain := string(text) == known; {
	case isPlain && len(key) > 0:
		return errKeyPlain
	case isPlain:
		return nil
	case len(key) == 0:
		return errKeyMissing
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return errKeyLength
	}
	cipher.NewCTR(block, head[:aes.BlockSize]).XORKeyStream(text, text)
	if string(text) != known {
		return errKeyWrong
	}
	return nil
}

// ErrInUse is in the chain of what [Open] answers while another process has the directory.
var ErrInUse = errors.New("it is in use by another process")

// explain says what Badger's errors mean to an operator.
func (d *directory) explain(err error) error {
	if !strings.Contains(err.Error(), "Cannot acquire directory lock") {
		return err
	}
	text, err := os.ReadFile(filepath.Join(d.path, "LOCK"))
	pid := strings.TrimSpace(string(text))
	switch {
	case err != nil || pid == "" || len(pid) > 20:
		return ErrInUse
	case pid == strconv.Itoa(os.Getpid()):
		return errors.New("it is in use by this process already")
	}
	return fmt.Errorf("%w (%s)", ErrInUse, pid)
}

// plain drops the path from an error of the file system: ours name the directory anyway.
func plain(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return fmt.Errorf("%s: %w", e.Op, e.Err)
	}
	return err
}
