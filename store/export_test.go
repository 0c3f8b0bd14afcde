package store

import "time"

// Sweep is what a [DB] does each minute.
func (s *Revocations) Sweep(now time.Time) { s.sweep(now) }

// Apply is what a [DB] does after a commit.
func (s *Revocations) Apply(revoked ...Revocation) { s.apply(revoked) }

// RecordKey is the key of a record.
func RecordKey(prefix, kind string, parts ...string) []byte {
	return (&Records{prefix: []byte(prefix)}).key(kind, parts...)
}

// Escape is how a part of a key is written.
func Escape(s string) string { return string(appendEscaped(nil, s)) }

// Unescape is its inverse.
func Unescape(s string) string { return unescape(s) }

// Decode reads a record as it is kept.
func Decode[T any](data []byte) (record T, err error) {
	err = decode([]byte("key"), data, &record)
	return record, err
}
