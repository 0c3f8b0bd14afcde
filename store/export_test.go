package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"time"
)

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

// PlainAgrees tells whether what is read and written by hand is what [encoding/json] makes of it.
func PlainAgrees(data []byte) error {
	return errors.Join(plainAgrees[keptFamily](data), plainAgrees[refreshToken](data), plainAgrees[Code](data),
		plainAgrees[User](data))
}

func plainAgrees[T any, P interface {
	*T
	plainRecord
}](data []byte) error {
	var byHand, reflected T
	err := json.Unmarshal(data, &reflected)
	if readPlain(string(data), P(&byHand)) && (err != nil || !reflect.DeepEqual(byHand, reflected)) {
		return fmt.Errorf("%s is read by hand as %+v, is %+v (%w)", data, byHand, reflected, err)
	}
	plain, ok := any(&reflected).(writtenPlain)
	if !ok || err != nil {
		return nil
	}
	want, wantErr := json.Marshal(&reflected)
	w := new(plainWriter)
	w.begin()
	plain.writeTo(w)
	got, gotErr := w.end()
	if string(got) != string(want) && wantErr == nil || (gotErr == nil) != (wantErr == nil) {
		return fmt.Errorf("%s is written by hand (%v), not %s (%v)", got, gotErr, want, wantErr)
	}
	return nil
}

// ReadPlain tells whether a family, code or person is read without reflection.
func ReadPlain(data []byte) bool {
	return readPlain(string(data), new(keptFamily)) || readPlain(string(data), new(refreshToken)) ||
		readPlain(string(data), new(Code)) || readPlain(string(data), new(User))
}
