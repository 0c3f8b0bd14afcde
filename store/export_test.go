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

// PackedAgrees tells whether records that are read from data, as JSON, are packed and read as what they were.
func PackedAgrees(data []byte) error {
	return errors.Join(packedAgrees[keptFamily](data), packedAgrees[Code](data), packedAgrees[User](data),
		packedAgrees[Token](data))
}

func packedAgrees[T any, P interface {
	*T
	packable
}](data []byte) error {
	var record, again T
	if json.Unmarshal(data, &record) != nil {
		return nil
	}
	value := new(packer).write(P(&record))
	if err := unmarshal(value, P(&again)); err != nil {
		return fmt.Errorf("%s is packed as %x: %w", data, value, err)
	}
	asPacked(&record)
	if !reflect.DeepEqual(again, record) {
		return fmt.Errorf("%s is packed and read as %+v, is %+v", data, again, record)
	}
	return nil
}

// asPacked makes of a record what packing it makes: no list for an empty one, and times of the years that
// [time.Time.UnixNano] knows, in UTC.
func asPacked(record any) {
	for kind, value := range reflect.ValueOf(record).Elem().Fields() {
		if !kind.IsExported() {
			continue
		}
		switch field := value.Addr().Interface().(type) {
		case *[]string:
			if len(*field) == 0 {
				*field = nil
			}
		case *[]byte:
			if len(*field) == 0 {
				*field = nil
			}
		case *time.Time:
			*field = timeAt(nanoseconds(*field))
		}
	}
}

// Unpack reads data as each kind of record that is kept packed, and tells which it is, and how many bytes it takes when
// it is packed again.
func Unpack(data []byte) (sizes map[string]int) {
	sizes = make(map[string]int)
	for name, record := range map[string]packable{
		kindFamily: new(keptFamily), kindCode: new(Code), kindUser: new(User), kindToken: new(Token),
	} {
		if isPacked(data) && unpack(string(data), record) == nil {
			sizes[name] = len(new(packer).write(record))
		}
	}
	return sizes
}

// IsPacked tells whether a value is a packed record.
func IsPacked(value []byte) bool { return isPacked(value) }
