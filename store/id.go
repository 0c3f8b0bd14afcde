package store

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"time"
)

// NewID returns a UUID of version 7 (RFC 9562 §5.7) for now: 36 characters that sort by time, to a 4096th of a
// millisecond (§6.2, method 3), with 62 random bits behind it. It names clients, tokens and users; it is no secret.
func NewID(now time.Time) string {
	var id [16]byte
	if _, err := rand.Read(id[8:]); err != nil {
		panic(err) // crypto/rand.Read never fails since Go 1.24
	}
	ms := uint64(now.UnixMilli())
	binary.BigEndian.PutUint16(id[0:], uint16(ms>>32))
	binary.BigEndian.PutUint32(id[2:], uint32(ms))
	fraction := uint16(now.Nanosecond() % int(time.Millisecond) * 4096 / int(time.Millisecond))
	binary.BigEndian.PutUint16(id[6:], 0x7000|fraction)
	id[8] = id[8]&0x3f | 0x80

	return formatID(id)
}

func formatID(id [16]byte) string {
	var out [36]byte
	hex.Encode(out[0:8], id[0:4])
	hex.Encode(out[9:13], id[4:6])
	hex.Encode(out[14:18], id[6:8])
	hex.Encode(out[19:23], id[8:10])
	hex.Encode(out[24:36], id[10:16])
	out[8], out[13], out[18], out[23] = '-', '-', '-', '-'
	return string(out[:])
}

// parseID returns the bytes of an ID that is written as NewID does, and false for any other.
func parseID(id string) (parsed [16]byte, ok bool) {
	if len(id) != 36 || id[8] != '-' || id[13] != '-' || id[18] != '-' || id[23] != '-' {
		return parsed, false
	}
	ok = unhex(parsed[0:4], id[0:8]) && unhex(parsed[4:6], id[9:13]) && unhex(parsed[6:8], id[14:18]) &&
		unhex(parsed[8:10], id[19:23]) && unhex(parsed[10:16], id[24:36])
	return parsed, ok
}

// idAt is the beginning that all IDs of a time share; no ID of an earlier time is greater.
func idAt(t time.Time) string { return NewID(t)[:13] }

// IDTime returns the time that an ID of [NewID] holds, and false when id is none.
func IDTime(id string) (time.Time, bool) {
	if len(id) != 36 || id[14] != '7' {
		return time.Time{}, false
	}
	var ms int64
	for i := range len(id) {
		digit := int64(-1)
		switch c := id[i]; {
		case '0' <= c && c <= '9':
			digit = int64(c - '0')
		case 'a' <= c && c <= 'f':
			digit = int64(c-'a') + 10
		}
		dash := i == 8 || i == 13 || i == 18 || i == 23
		if dash != (id[i] == '-') || !dash && digit < 0 {
			return time.Time{}, false
		}
		if i < 13 && !dash {
			ms = ms<<4 | digit
		}
	}
	return time.UnixMilli(ms), true
}
