package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
	"unsafe"
)

// Records are the typed records of an issuer within one transaction. They are valid until the function that received
// them returns.
type Records struct {
	db     *DB
	tx     Tx
	prefix []byte // the issuer's, and the epoch's: one engine may serve more than one issuer
	now    time.Time

	retired *int // see KeyRetirements; nil: not read yet

	revoked []Revocation // to be told to the set in memory once the transaction is on disk
}

// Now is the one time of this transaction.
func (r *Records) Now() time.Time { return r.now }

// Kinds of keys. A key is the issuer's name, a slash, the kind, a slash, and what identifies the record.
const (
	kindSchema        = "schema"
	kindClient        = "client"
	kindToken         = "token"
	kindTokenByClient = "token-client"
	kindTokenByUser   = "token-user"
	kindRevocation    = "revoked"
	kindKey           = "key"

	kindClientByUser   = "client-user"
	kindUser           = "user"
	kindUserByLogin    = "user-login"
	kindUserBySource   = "user-source"
	kindSession        = "session"
	kindSessionByUser  = "session-user"
	kindConsent        = "consent"
	kindDisconnected   = "disconnected"
	kindGone           = "gone"
	kindRequest        = "request"
	kindRequestsOf     = "request-session"
	kindCode           = "code"
	kindFamily         = "family"
	kindFamilyByUser   = "family-user"
	kindRefresh        = "refresh"
	kindPersonal       = "personal"
	kindPersonalByUser = "personal-user"
	kindDevice         = "device"
	kindDeviceByCode   = "device-code"
	kindGuesses        = "guesses"
	kindDecoyKey       = "decoy-key"
	kindBrowser        = "browser"
	kindBrowserByUser  = "browser-user"
	kindDuty           = "duty"
)

// key builds a key. Parts come from outside (client identifiers do), and a slash in one must not make it another
// record's key: parts after the kind are escaped. The issuer's name is too, and so never looks like a key that an
// engine keeps for itself.
func (r *Records) key(kind string, parts ...string) []byte {
	size := len(r.prefix) + len(kind) + 1 // for list
	for _, part := range parts {
		size += 1 + len(part)
	}
	k := make([]byte, 0, size)
	k = append(k, r.prefix...)
	k = append(k, kind...)
	for _, part := range parts {
		k = append(k, '/')
		k = appendEscaped(k, part)
	}
	return k
}

// list is the prefix of all keys of a kind, narrowed to those that begin with parts.
func (r *Records) list(kind string, parts ...string) []byte {
	return append(r.key(kind, parts...), '/')
}

func appendEscaped(dst []byte, s string) []byte {
	for i := range len(s) {
		switch c := s[i]; c {
		case '/':
			dst = append(dst, "%2F"...)
		case '%':
			dst = append(dst, "%25"...)
		case '!':
			dst = append(dst, "%21"...)
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

// unescape is the inverse of appendEscaped.
func unescape(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	return unescaper.Replace(s)
}

var unescaper = strings.NewReplacer("%2F", "/", "%25", "%", "%21", "!")

// lastPart is the last part of a key.
func lastPart(key []byte) string { return unescape(string(key[bytes.LastIndexByte(key, '/')+1:])) }

func (r *Records) get(key []byte, into any) error {
	value, err := r.tx.Get(key)
	if err != nil {
		return err
	}
	if record, ok := into.(packable); ok && isPacked(value) {
		return damaged(key, unpack(asText(value), record)) // the record keeps the value, which is ours
	}
	return decode(key, value, into)
}

// asText is what is in value, to which nobody writes any more.
func asText(value []byte) string { return unsafe.String(unsafe.SliceData(value), len(value)) }

func (r *Records) put(key []byte, record any, expires time.Time) error {
	ttl, err := r.ttl(expires)
	if err != nil {
		return err
	}
	if record, ok := record.(packable); ok && record.keptPacked() {
		return putPacked(r.tx, key, record, ttl)
	}
	value, err := json.Marshal(record)
	if err != nil {
		return fmt.Errorf("store: encoding %q: %w", key, err)
	}
	return r.tx.Put(key, value, ttl)
}

// Faults of a record that is to be written.
var (
	errExpired = errors.New("store: the record has expired")
	errBadID   = errors.New("store: the record has no ID, or one that is no text")
)

// ErrTaken says that a name, an email or a code is another record's.
var ErrTaken = errors.New("store: taken")

// usable tells whether an ID can be read as it was written: JSON holds text.
func usable(id string) bool { return id != "" && utf8.ValidString(id) }

// ttl is how long a record lives that expires then; engines count whole seconds, and a record must not vanish before
// its time.
func (r *Records) ttl(expires time.Time) (time.Duration, error) {
	if expires.IsZero() {
		return 0, nil
	}
	ttl := expires.Sub(r.now)
	if ttl <= 0 {
		return 0, errExpired
	}
	return ttl.Truncate(time.Second) + time.Second, nil
}

func decode(key, value []byte, into any) error {
	return damaged(key, unmarshal(value, into))
}

// damaged says of which record err is, if it is one.
func damaged(key []byte, err error) error {
	if err != nil {
		return fmt.Errorf("store: the record %q is damaged: %w", key, err)
	}
	return nil
}

// following is where a scan begins that goes on after the record with that ID; nil for the empty one.
func following(prefix []byte, after string) []byte {
	if after == "" {
		return nil
	}
	return append(appendEscaped(bytes.Clone(prefix), after), 0)
}

// scan calls fn with each record under prefix whose key comes after the one that the ID after names (empty: all).
func scan[T any](r *Records, prefix []byte, after string, fn func(T) error) error {
	return r.tx.Scan(prefix, following(prefix, after), func(key, value []byte) error {
		var record T
		if err := decode(key, value, &record); err != nil {
			return err
		}
		return fn(record)
	})
}
