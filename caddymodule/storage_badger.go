package caddymodule

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/oauth2-passport/caddy-passport/store"
	"github.com/oauth2-passport/caddy-passport/store/badgerstore"
)

func init() {
	caddy.RegisterModule(Badger{})
}

// Badger is the storage module badger: a folder on a local disk, for a single node.
type Badger struct {
	// Path is the folder, which is made with mode 0700 if it is missing. Placeholders {env.*} and {file.*} are replaced.
	// Default: passport/<name of the issuer> in Caddy's data directory.
	Path string `json:"path,omitempty"`

	// EncryptionKey encrypts what is written to the folder: 16, 24 or 32 bytes, in base64 or hexadecimal. A folder stays
	// as it began: with its key, or without one. Placeholders {env.*} and {file.*} are replaced: better one of them than
	// the key itself. Default: none, nothing is encrypted.
	EncryptionKey string `json:"encryption_key,omitempty"`

	key []byte
}

// CaddyModule returns the Caddy module information.
func (Badger) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "passport.storage.badger",
		New: func() caddy.Module { return new(Badger) },
	}
}

// Provision replaces placeholders.
func (b *Badger) Provision(caddy.Context) error {
	var err error
	if b.Path, err = replace(b.Path); err != nil {
		return fmt.Errorf("path: %w", err)
	}
	if b.EncryptionKey == "" {
		return nil
	}
	key, err := reveal(b.EncryptionKey)
	if err != nil {
		return fmt.Errorf("encryption_key: %w", err)
	}
	if b.key, err = badgerstore.ParseKey(key); err != nil {
		return fmt.Errorf("encryption_key: %w", err)
	}
	return nil
}

// UnmarshalCaddyfile reads the module. Syntax:
//
//	badger [<path>] {
//	    encryption_key <key>    # better {env.*} or {file.*}
//	}
func (b *Badger) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the module's name
	if d.NextArg() {
		if b.Path = d.Val(); b.Path == "" {
			return d.Err("the path is empty")
		}
	}
	if d.NextArg() {
		return d.ArgErr()
	}
	key := secretText(&b.EncryptionKey, "the encryption key", encryptionEnv, checkEncryptionKey)
	return parseBlock(d, "storage badger", map[string]option{"encryption_key": key})
}

// encryptionEnv is where warnings say that an encryption key could be.
const encryptionEnv = "PASSPORT_ENCRYPTION_KEY"

func checkEncryptionKey(key string) error {
	_, err := badgerstore.ParseKey(key)
	return err
}

// Resource implements [Storage]: the cleaned absolute path.
func (b *Badger) Resource(issuer string) string {
	path := cmp.Or(b.Path, filepath.Join(caddy.AppDataDir(), "passport", issuer))
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return filepath.Clean(path)
}

// Settings implements [Storage].
func (b *Badger) Settings() [sha256.Size]byte { return sha256.Sum256(b.key) }

// otherSettings says what [Badger.Settings] is of.
func (b *Badger) otherSettings() string { return "another encryption_key, which" }

// Open implements [Storage].
func (b *Badger) Open(_ context.Context, issuer string) (store.Engine, error) {
	dir := b.Resource(issuer)
	engine, err := badgerstore.Open(badgerstore.Options{
		Dir:           dir,
		EncryptionKey: b.key,
		Logger:        zap.New(currentCore{}).Named(string(b.CaddyModule().ID)),
	})
	if err != nil {
		return nil, withRemedy(err, dir)
	}
	return engine, nil
}

// withRemedy adds to an error what helps against it, when the folder is not Caddy's own: that happens when it was made
// by root, or is to be made where only root may.
func withRemedy(err error, dir string) error {
	if !errors.Is(err, fs.ErrPermission) && !strings.Contains(err.Error(), syscall.EACCES.Error()) {
		return err
	}
	who := "caddy"
	if u, err := user.Current(); err == nil {
		who = u.Username
	}
	remedy := fmt.Sprintf("sudo chown -R %s %s", who, dir)
	if _, missing := os.Stat(dir); errors.Is(missing, fs.ErrNotExist) {
		remedy = fmt.Sprintf("sudo install -d -m 0700 -o %s %s", who, dir)
	}
	return fmt.Errorf("%w; the folder has to belong to the user that Caddy runs as: %s", err, remedy)
}

// currentCore writes to Caddy's default logger as it is at the moment. What outlives the config that opened it logs
// there: the config's own logs are closed with it.
type currentCore struct{ fields []zapcore.Field }

func (c currentCore) now() zapcore.Core { return caddy.Log().Core() }

// Enabled implements [zapcore.Core].
func (c currentCore) Enabled(level zapcore.Level) bool { return c.now().Enabled(level) }

// With implements [zapcore.Core].
func (c currentCore) With(fields []zapcore.Field) zapcore.Core {
	return currentCore{append(slices.Clip(c.fields), fields...)}
}

// Check implements [zapcore.Core].
func (c currentCore) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	return c.now().With(c.fields).Check(entry, checked)
}

// Write implements [zapcore.Core].
func (c currentCore) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	return c.now().With(c.fields).Write(entry, fields)
}

// Sync implements [zapcore.Core].
func (c currentCore) Sync() error { return c.now().Sync() }

// Interface guards
var (
	_ Storage               = (*Badger)(nil)
	_ caddy.Provisioner     = (*Badger)(nil)
	_ caddyfile.Unmarshaler = (*Badger)(nil)
	_ zapcore.Core          = currentCore{}
)
