package store

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"
)

// A backup is a text of lines, each a JSON object: a [BackupInfo], then one line for each record, then how many there
// were and the SHA-256 of all lines before. It has no word of the engine that it comes from, so that any other takes
// it.
//
//	{"format":"caddy-passport backup","version":1,"schema":2,"issuer":"default","created_at":"2026-11-22T10:00:00Z"}
//	{"kind":"client","id":"01900000-…","record":{"id":"01900000-…","name":"Orders",…}}
//	{"kind":"end","records":1,"sha256":"…"}
const (
	backupFormat  = "caddy-passport backup"
	backupVersion = 1
	kindEnd       = "end"
	maxBackupLine = 4 << 20 // bytes; a record has a megabyte at most
)

// BackupInfo says what a backup is of.
type BackupInfo struct {
	Format    string    `json:"format"`
	Version   int       `json:"version"` // of the format
	Schema    int       `json:"schema"`  // of the records, see SchemaVersion
	Issuer    string    `json:"issuer"`  // its name
	CreatedAt time.Time `json:"created_at"`

	Records int `json:"records,omitempty"` // how many there are, known at the end
}

// backupLine is a line of a backup but for the first.
type backupLine struct {
	Kind    string          `json:"kind"`
	ID      string          `json:"id,omitempty"`
	Record  json.RawMessage `json:"record,omitempty"`
	Records int             `json:"records,omitempty"`
	SHA256  string          `json:"sha256,omitempty"`
}

// BackupFile is what a backup is written to; [os.File] is one.
type BackupFile interface {
	io.WriteSeeker
	Truncate(size int64) error
}

// Backup writes all that an issuer needs to go on elsewhere to file: clients, people, consents, keys, and what has been
// given out and ended. It is consistent, and nobody waits for it, [DB.Close] neither: that ends it with [ErrClosed].
// The backup has private keys: whoever reads it can make tokens.
func (db *DB) Backup(ctx context.Context, file BackupFile) (BackupInfo, error) {
	info := BackupInfo{
		Format: backupFormat, Version: backupVersion, Schema: SchemaVersion, Issuer: unescape(string(db.name)),
	}
	ctx, cancel := context.WithTimeout(ctx, maxBackupTime) // or the engine would take it for a short read
	defer cancel()
	defer context.AfterFunc(db.background, cancel)()
	err := db.View(ctx, func(r *Records) error { // may be called again
		if _, err := file.Seek(0, io.SeekStart); err != nil {
			return err
		}
		if err := file.Truncate(0); err != nil {
			return err
		}
		info.CreatedAt, info.Records = r.now, 0
		w := newBackupWriter(file)
		if err := w.object(info); err != nil {
			return err
		}
		for i := range kinds {
			if err := r.raw(&kinds[i], nil, func(_ []byte, id string, value []byte) error {
				if w.records%backupStep == 0 {
					if err := w.rest(ctx); err != nil {
						return err
					}
				}
				value, err := kinds[i].asJSON(value)
				if err != nil {
					return fmt.Errorf("the %s %q: %w", kinds[i].name, id, err)
				}
				return w.record(kinds[i].name, id, value)
			}); err != nil {
				return err
			}
		}
		info.Records = w.records
		return w.end()
	})
	if err != nil && db.background.Err() != nil {
		err = fmt.Errorf("the backup was ended with the storage: %w", ErrClosed)
	}
	return info, err
}

// A backup is written no faster than this, so that what else there is to do goes on. A step takes a few milliseconds.
// What it is behind, because the machine is busy, it catches up with, but no more than a little.
const (
	backupRate   = 110_000 // records a second
	backupStep   = 500     // records
	backupBehind = 50 * time.Millisecond

	maxBackupTime = 24 * time.Hour
)

// backupWriter writes the lines of a backup.
type backupWriter struct {
	began   time.Time     // or as much later as it has stood still
	out     *bufio.Writer // of the file and sum
	sum     hash.Hash     // of what has been flushed
	records int
}

func newBackupWriter(file io.Writer) *backupWriter {
	sum := sha256.New()
	return &backupWriter{began: time.Now(), out: bufio.NewWriterSize(io.MultiWriter(file, sum), 1<<16), sum: sum}
}

// rest waits where the backup is ahead of its time.
func (w *backupWriter) rest(ctx context.Context) error {
	due := w.began.Add(time.Duration(w.records) * time.Second / backupRate)
	ahead := time.Until(due)
	switch {
	case ahead > time.Millisecond:
		pause(ctx, ahead)
	case ahead < -backupBehind:
		w.began = w.began.Add(-ahead - backupBehind)
	}
	return ctx.Err()
}

func (w *backupWriter) object(v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = w.out.Write(append(line, '\n'))
	return err
}

// record writes a record: JSON without line breaks.
func (w *backupWriter) record(kind, id string, value []byte) error {
	line := append(w.out.AvailableBuffer(), `{"kind":"`...)
	line = append(append(line, kind...), `","id":`...)
	if isBare(id) {
		line = append(append(append(line, '"'), id...), '"')
	} else {
		encoded, err := json.Marshal(id)
		if err != nil {
			return err
		}
		line = append(line, encoded...)
	}
	line = append(line, `,"record":`...)
	line = append(append(line, value...), "}\n"...)
	w.records++
	_, err := w.out.Write(line)
	return err
}

// isBare tells whether a text is in JSON as it is, as nearly all IDs are.
func isBare(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ', c > '~', c == '"', c == '\\', c == '<', c == '>', c == '&':
			return false
		}
	}
	return true
}

func (w *backupWriter) end() error {
	if err := w.out.Flush(); err != nil {
		return err
	}
	sum := hex.EncodeToString(w.sum.Sum(nil))
	if err := w.object(backupLine{Kind: kindEnd, Records: w.records, SHA256: sum}); err != nil {
		return err
	}
	return w.out.Flush()
}

// BackupError says why a backup is none, or none that can be restored here. Where it wraps [ErrUnavailable] that
// counts: a record could not be written.
type BackupError struct{ err error }

func (e *BackupError) Error() string { return e.err.Error() }
func (e *BackupError) Unwrap() error { return e.err }

func badBackup(format string, args ...any) error { return &BackupError{fmt.Errorf(format, args...)} }

// unless answers what is wrong with a backup, unless it can't be read.
func unless(reading, wrong error) error {
	if reading == nil || errors.Is(reading, bufio.ErrTooLong) {
		return &BackupError{errors.Join(wrong, reading)}
	}
	return errors.Join(wrong, reading)
}

// errNoBackup says that a file is none.
var errNoBackup = errors.New("it is no backup of caddy-passport")

// readBackup reads a backup and calls each with every record. It answers an error for one that is damaged, cut short,
// or newer than this program; what has been passed to each by then is worth nothing.
func readBackup(ctx context.Context, from io.Reader, each func(k *kind, id string, record []byte) error) (
	BackupInfo, error,
) {
	var info BackupInfo
	lines := bufio.NewScanner(from)
	lines.Buffer(make([]byte, 1<<16), maxBackupLine)
	if !lines.Scan() || json.Unmarshal(lines.Bytes(), &info) != nil || info.Format != backupFormat {
		return info, unless(lines.Err(), errNoBackup)
	}
	if info.Version > backupVersion || info.Schema > SchemaVersion {
		return info, badBackup("the backup has version %d of records of version %d, this program knows up to %d and %d: "+
			"run a newer one", info.Version, info.Schema, backupVersion, SchemaVersion)
	}
	sum := sha256.New()
	var order recordOrder
	for number := 1; ; number++ {
		sum.Write(lines.Bytes())
		sum.Write([]byte{'\n'})
		if err := ctx.Err(); err != nil {
			return info, err
		}
		if !lines.Scan() {
			return info, unless(lines.Err(), fmt.Errorf("the backup is cut short after line %d", number))
		}
		var line backupLine
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return info, badBackup("line %d of the backup is damaged: %w", number+1, err)
		}
		if line.Kind == kindEnd {
			if line.Records != info.Records || line.SHA256 != hex.EncodeToString(sum.Sum(nil)) {
				return info, badBackup("the backup is damaged: it does not have what it had when it was written")
			}
			return info, atEnd(lines)
		}
		k := kindOf(line.Kind)
		if k == nil {
			return info, badBackup("line %d of the backup: there are no records of the kind %q", number+1, line.Kind)
		}
		if !order.next(k, line.ID) {
			return info, badBackup("line %d of the backup: the %s %q comes twice, or is not where it was written",
				number+1, line.Kind, line.ID)
		}
		info.Records++
		if err := each(k, line.ID, bytes.Clone(line.Record)); err != nil {
			return info, fmt.Errorf("line %d of the backup: %w", number+1, err)
		}
	}
}

// recordOrder is the order of a backup's records: each kind in one piece, and in it the IDs as their keys go. So none
// comes twice, and one that did could leave a place in an index that it had the first time.
type recordOrder struct {
	kind *kind
	last []byte
	over map[*kind]bool
}

// next tells whether a record may come now.
func (o *recordOrder) next(k *kind, id string) bool {
	key := appendEscaped(nil, id)
	if k == o.kind {
		ascends := bytes.Compare(o.last, key) < 0 || k.name == kindConsent // of which the ID is a part of the key
		o.last = key
		return ascends
	}
	if o.over == nil {
		o.over = make(map[*kind]bool, len(kinds))
	}
	o.over[o.kind] = true
	o.kind, o.last = k, key
	return !o.over[k]
}

func atEnd(lines *bufio.Scanner) error {
	if lines.Scan() {
		return badBackup("the backup is damaged: there is something behind its end")
	}
	return lines.Err()
}
