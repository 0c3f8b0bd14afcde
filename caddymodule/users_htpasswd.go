package caddymodule

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/oauth2-passport/caddy-passport/issuer"
	"github.com/oauth2-passport/caddy-passport/store"
)

func init() {
	caddy.RegisterModule(new(Htpasswd))
}

// Htpasswd is a source of people: a file as `htpasswd -B` makes it, a line for each person with name and hash,
// separated by a colon. Empty lines and those that begin with # are left out. The file is read again when it has
// changed, within a second; who has no line any more is gone: the person's sessions and tokens are good no more.
type Htpasswd struct {
	// File is the path of the file. Placeholders {env.*} and {file.*} are replaced. Required.
	File string `json:"file"`

	// SourceName is what people of the file are kept by: keep it when the file moves. It has to be given where two
	// sources would have the same. Default: htpasswd.
	SourceName string `json:"name,omitempty"`

	logger  *zap.Logger
	state   atomic.Pointer[htpasswdFile]
	checked atomic.Int64 // when the file was looked at, in nanoseconds since 1970
}

// htpasswdFile is what a file had in it. It is never changed.
type htpasswdFile struct {
	info   fs.FileInfo // nil: there was none
	people map[string]htpasswdLine
	hashes []string
	fault  string // of the file as it is now, when people are those of before
}

type htpasswdLine struct{ name, hash string }

// CaddyModule returns the Caddy module information.
func (*Htpasswd) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "passport.users.htpasswd",
		New: func() caddy.Module { return new(Htpasswd) },
	}
}

// Provision reads the file.
func (h *Htpasswd) Provision(ctx caddy.Context) error {
	h.logger = ctx.Logger()
	h.SourceName = cmp.Or(h.SourceName, "htpasswd")
	var err error
	if h.File, err = replace(h.File); err != nil {
		return fmt.Errorf("file: %w", err)
	}
	if h.File == "" {
		return errors.New("the file is missing")
	}
	h.checked.Store(time.Now().UnixNano())
	read, err := readHtpasswd(h.File)
	if err != nil {
		return err
	}
	h.state.Store(read)
	return nil
}

// Validate checks the name.
func (h *Htpasswd) Validate() error { return checkSourceName(h.SourceName) }

// UnmarshalCaddyfile reads the module. Syntax:
//
//	htpasswd <file> {
//	    name <name>     # default: htpasswd
//	}
func (h *Htpasswd) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the module's name
	if err := parseText(d, &h.File); err != nil {
		return err
	}
	return parseBlock(d, "users htpasswd", map[string]option{"name": sourceName(&h.SourceName)})
}

// Name implements [issuer.Source].
func (h *Htpasswd) Name() string { return h.SourceName }

// Check implements [issuer.Source].
func (h *Htpasswd) Check(ctx context.Context, login, password string) (issuer.Profile, error) {
	line, ok := h.current().people[store.FoldLogin(login)]
	if !ok {
		return issuer.Profile{}, issuer.ErrUnknownPerson
	}
	right, err := issuer.PasswordMatches(ctx, line.hash, password)
	if err != nil {
		return issuer.Profile{}, err
	}
	if !right {
		return issuer.Profile{}, issuer.ErrWrongPassword
	}
	return line.profile(), nil
}

// Find implements [issuer.Finder].
func (h *Htpasswd) Find(login string) (issuer.Profile, bool) {
	line, ok := h.current().people[store.FoldLogin(login)]
	if !ok {
		return issuer.Profile{}, false
	}
	return line.profile(), true
}

// Hashes implements [issuer.Finder].
func (h *Htpasswd) Hashes() []string { return h.current().hashes }

func (l htpasswdLine) profile() issuer.Profile {
	return issuer.Profile{ID: store.FoldLogin(l.name), Username: l.name}
}

// lookEvery is how often the file is looked at, at most.
const lookEvery = time.Second

// current is what the file has, as it was not longer than a second before the last request. Requests look at the file,
// one of them each second, so that nothing runs beside them.
func (h *Htpasswd) current() *htpasswdFile {
	now, last := time.Now().UnixNano(), h.checked.Load()
	if now-last >= int64(lookEvery) || now < last {
		if h.checked.CompareAndSwap(last, now) {
			h.look()
		}
	}
	return h.state.Load()
}

// look reads the file again when it has changed. One that cannot be read, or has a fault, changes nothing, as with a
// config; where there is no file any more, nobody is left.
func (h *Htpasswd) look() {
	old := h.state.Load()
	info, err := os.Stat(h.File)
	if err == nil && old.info != nil && old.fault == "" && os.SameFile(info, old.info) &&
		info.ModTime().Equal(old.info.ModTime()) && info.Size() == old.info.Size() {
		return
	}
	read, err := readHtpasswd(h.File)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if old.info != nil || old.fault != "" {
			h.logger.Error("the file of people is gone, and so are they", zap.String("file", h.File))
		}
		h.state.Store(new(htpasswdFile))
	case err != nil:
		if err.Error() != old.fault {
			h.logger.Error("the file of people cannot be read, those of before are kept", zap.Error(err))
		}
		h.state.Store(&htpasswdFile{info: old.info, people: old.people, hashes: old.hashes, fault: err.Error()})
	default:
		h.logger.Info("the file of people has been read again", zap.String("file", h.File),
			zap.Int("people", len(read.people)))
		h.state.Store(read)
	}
}

// maxHtpasswd bounds a file, in bytes.
const maxHtpasswd = 16 << 20

// readHtpasswd reads a file. Errors name file and line, but no hash.
func readHtpasswd(name string) (*htpasswdFile, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // it was only read
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(io.LimitReader(file, maxHtpasswd+1))
	if err != nil {
		return nil, err
	}
	if len(content) > maxHtpasswd {
		return nil, fmt.Errorf("%s has more than %d bytes", name, maxHtpasswd)
	}
	read := &htpasswdFile{info: info, people: make(map[string]htpasswdLine)}
	lines := bufio.NewScanner(bytes.NewReader(content))
	for n := 1; lines.Scan(); n++ {
		text := strings.TrimSpace(lines.Text())
		if text == "" || text[0] == '#' {
			continue
		}
		line, err := parseHtpasswd(text)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, n, err)
		}
		folded := store.FoldLogin(line.name)
		if _, ok := read.people[folded]; ok {
			return nil, fmt.Errorf("%s:%d: %q has a line already; case does not count", name, n, line.name)
		}
		read.people[folded] = line
		read.hashes = append(read.hashes, line.hash)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return read, nil
}

func parseHtpasswd(text string) (htpasswdLine, error) {
	name, hash, ok := strings.Cut(text, ":")
	if !ok {
		return htpasswdLine{}, errors.New("there is no colon between a name and a hash")
	}
	if err := issuer.CheckUserName(name); err != nil {
		return htpasswdLine{}, err
	}
	if err := issuer.CheckPasswordHash(hash); err != nil {
		return htpasswdLine{}, fmt.Errorf("the hash of %q can't be used, %w; make the line by `htpasswd -B`", name, err)
	}
	return htpasswdLine{name, hash}, nil
}

// Interface guards
var (
	_ UserSource            = (*Htpasswd)(nil)
	_ issuer.Finder         = (*Htpasswd)(nil)
	_ caddy.Provisioner     = (*Htpasswd)(nil)
	_ caddy.Validator       = (*Htpasswd)(nil)
	_ caddyfile.Unmarshaler = (*Htpasswd)(nil)
)
