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

func writeBackup(ctx context.Context, db *store.DB, path string) (info store.BackupInfo, err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return info, statusError{http.StatusConflict, fmt.Errorf("%s exists already: name a new file", path)}
	}
	if err != nil {
		return info, err
	}
	defer func() {
		if err = errors.Join(err, file.Close()); err != nil {
			err = errors.Join(err, os.Remove(path)) // half a backup is none
		}
	}()
	if info, err = db.Backup(ctx, file); err != nil {
		return info, err
	}
	if err = file.Sync(); err != nil {
		return info, err
	}
	return info, syncDir(filepath.Dir(path))
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
	info, err := i.db.Restore(r.Context(), func() (io.ReadCloser, error) { return os.Open(request.File) },
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
		return request, fmt.Errorf("file: %q is no absolute path", request.File)
	}
	request.File = filepath.Clean(request.File)
	return request, nil
}
