package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"syscall"

	"github.com/oauth2-passport/caddy-passport/issuer"
	"github.com/oauth2-passport/caddy-passport/issuer/keys"
	"github.com/oauth2-passport/caddy-passport/store"
)

// fileRequest names a file on the machine that Caddy runs on.
type fileRequest struct {
	File string `json:"file"`           // an absolute path
	From string `json:"from,omitempty"` // the issuer that a backup is of; empty: the one into which it is restored
}

// backUp writes a backup to a new file that only Caddy's own user may read: it has private keys.
func backUp(r *http.Request, i *running) (any, error) {
	request, err := fileOf(r)
	if err != nil {
		return nil, err
	}
	info, err := writeBackup(r.Context(), i.db, request.File)
	if err != nil {
		return nil, err
	}
	i.tell(r.Context(), issuer.BackupWritten, info.Records)
	return info, nil
}

// writeBackup gives the file its name when it is whole: half a backup is none, whatever becomes of Caddy meanwhile.
func writeBackup(ctx context.Context, db *store.DB, path string) (info store.BackupInfo, err error) {
	if _, err := os.Lstat(path); err == nil {
		return info, errTaken(path)
	}
	part, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.part") // for Caddy's user only
	if err != nil {
		return info, badPath(err)
	}
	info, err = db.Backup(ctx, part)
	if err == nil {
		err = part.Sync()
	}
	if err = errors.Join(err, part.Close()); err == nil {
		err = name(part.Name(), path, os.Link)
	}
	if err != nil {
		return info, errors.Join(err, os.Remove(part.Name()))
	}
	if err := syncDir(filepath.Dir(path)); err != nil {
		return info, errors.Join(err, os.Remove(path))
	}
	return info, nil
}

// name gives a part its name, unless there is something of that name. link is [os.Link], which not every file system
// has: there the name is taken first, by an empty file, which is no backup.
func name(part, path string, link func(part, path string) error) error {
	err := link(part, path)
	if err == nil {
		_ = os.Remove(part) // a second name of what is whole
		return nil
	}
	if !errors.Is(err, fs.ErrExist) {
		var taken *os.File
		if taken, err = os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600); err == nil {
			if err = errors.Join(taken.Close(), os.Rename(part, path)); err != nil {
				return errors.Join(err, os.Remove(path))
			}
			return nil
		}
	}
	if errors.Is(err, fs.ErrExist) {
		return errTaken(path)
	}
	return err
}

func errTaken(path string) error {
	return statusError{http.StatusConflict, fmt.Errorf("%s exists already: name a new file", path)}
}

// badPath answers an error of opening a file that says that another one has to be named.
func badPath(err error) error {
	for _, fault := range []error{
		fs.ErrNotExist, fs.ErrPermission, fs.ErrInvalid, syscall.ENOTDIR, syscall.EISDIR, syscall.ENAMETOOLONG,
		syscall.ELOOP, syscall.EROFS,
	} {
		if errors.Is(err, fault) {
			return statusError{http.StatusBadRequest, err}
		}
	}
	return err
}

func openBackup(path string) (io.ReadCloser, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, badPath(err)
	}
	if info, err := file.Stat(); err == nil && info.IsDir() {
		return nil, errors.Join(badRequest("%s is a directory", path), file.Close())
	}
	return file, nil
}

// syncDir makes the name of a new file last.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// restore puts the records of a backup in the place of those that are there.
func restore(r *http.Request, i *running) (any, error) {
	request, err := fileOf(r)
	if err != nil {
		return nil, err
	}
	info, err := i.db.Restore(r.Context(), func() (io.ReadCloser, error) { return openBackup(request.File) },
		store.RestoreOptions{Issuer: request.From, Key: i.ring.Adopt})
	other, ofOther := errors.AsType[*store.OtherIssuerError](err)
	switch {
	case errors.Is(err, store.ErrRestoring):
		return nil, statusError{http.StatusConflict, err}
	case ofOther && request.From == "":
		return nil, statusError{http.StatusConflict, fmt.Errorf("%s: %w: say --from %s if it is to be put in force for %q",
			request.File, err, other.Of, other.Wanted)}
	case ofOther:
		return nil, statusError{http.StatusConflict, fmt.Errorf("%s: %w", request.File, err)}
	case errors.Is(err, keys.ErrSealed):
		return nil, statusError{http.StatusConflict, fmt.Errorf("%s: %w: give the one of its day as encryption_key or "+
			"former_encryption_key, and restore it again", request.File, err)}
	case err != nil:
		return nil, fmt.Errorf("%s: %w", request.File, err)
	}
	i.tell(r.Context(), issuer.BackupRestored, info.Records)
	return info, nil
}

func fileOf(r *http.Request) (request fileRequest, err error) {
	if err := readBody(r, &request); err != nil {
		return request, err
	}
	if !filepath.IsAbs(request.File) {
		return request, badRequest("file: %q is no absolute path", request.File)
	}
	request.File = filepath.Clean(request.File)
	return request, nil
}
