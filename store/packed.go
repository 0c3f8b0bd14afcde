package store

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"sync"
	"time"
)

// Records that are read and written in nearly every grant of a person are kept packed: without names, and with IDs and
// hashes as bytes. What a grant writes is copied again and again, into the log, into tables and from table to table, so
// that each byte costs. All other records are JSON, and so are these in databases from before, and in backups.
//
// A packed record begins with a byte that JSON does not begin with. A record with other fields begins with another one.
const packedMark = 1

// packable is a record that can be kept packed.
type packable interface {
	// keptPacked tells whether it is, when it is written.
	keptPacked() bool

	// pack tells its fields, always in the same order.
	pack(p *packer)
}

// packer writes the fields that it is told, or reads them.
type packer struct {
	out []byte

	reading bool
	rest    string // fields keep parts of it
	odd     bool   // it is nothing that was packed
}

func isPacked(value []byte) bool { return len(value) > 0 && value[0] == packedMark }

// packers are those that write and that nobody uses.
var packers = sync.Pool{New: func() any { return &packer{out: make([]byte, 0, 2048)} }}

// putPacked writes a record.
func putPacked(tx Tx, key []byte, record packable, ttl time.Duration) error {
	p := packers.Get().(*packer)
	defer packers.Put(p)
	return tx.Put(key, p.write(record), ttl)
}

// write is the record as it is kept, until the next one is written.
func (p *packer) write(record packable) []byte {
	p.out = append(p.out[:0], packedMark)
	record.pack(p)
	return p.out
}

var errPacked = errors.New("it does not have the fields that it should have")

// unpack reads a packed record, which keeps parts of the value.
func unpack(value string, record packable) error {
	p := &packer{reading: true, rest: value[1:]}
	record.pack(p)
	if p.odd || p.rest != "" {
		return errPacked
	}
	return nil
}

// unmarshal reads a record, packed or JSON, which keeps nothing of the value.
func unmarshal(value []byte, into any) error {
	if record, ok := into.(packable); ok && isPacked(value) {
		return unpack(string(value), record)
	}
	return json.Unmarshal(value, into)
}

// number is for numbers that are large, or 0.
func (p *packer) number(n *int64) {
	if !p.reading {
		p.out = binary.AppendVarint(p.out, *n)
		return
	}
	unsigned := p.unsigned()
	*n = int64(unsigned >> 1)
	if unsigned&1 != 0 {
		*n = ^*n
	}
}

func (p *packer) boolean(yes *bool) {
	var n int64
	if *yes {
		n = 1
	}
	p.number(&n)
	*yes = n != 0
}

func (p *packer) time(t *time.Time) {
	n := nanoseconds(*t)
	if p.number(&n); p.reading {
		*t = timeAt(n)
	}
}

// A text begins with twice its length, or with one of these where it is written in fewer bytes.
const (
	textID   = 1 // 16 bytes, see formatID
	textHash = 3 // 32 bytes, in hexadecimal
)

func (p *packer) text(s *string) {
	if p.reading {
		*s = p.readText()
		return
	}
	if id, ok := parseID(*s); ok {
		p.out = append(append(p.out, textID), id[:]...)
		return
	}
	var hash [32]byte
	if len(*s) == 2*len(hash) && unhex(hash[:], *s) {
		p.out = append(append(p.out, textHash), hash[:]...)
		return
	}
	p.out = append(binary.AppendUvarint(p.out, uint64(len(*s))<<1), *s...)
}

func (p *packer) readText() string {
	switch n := p.unsigned(); {
	case n == textID:
		var id [16]byte
		copy(id[:], p.take(16))
		return formatID(id)
	case n == textHash:
		return hex.EncodeToString([]byte(p.take(32)))
	case n%2 == 0:
		return p.take(n >> 1)
	}
	p.odd = true
	return ""
}

func (p *packer) bytes(b *[]byte) {
	s := asText(*b)
	p.text(&s)
	if p.reading && s != "" {
		*b = []byte(s)
	}
}

func (p *packer) list(list *[]string) {
	if !p.reading {
		p.out = binary.AppendUvarint(p.out, uint64(len(*list)))
		for i := range *list {
			p.text(&(*list)[i])
		}
		return
	}
	n := p.unsigned()
	if n > uint64(len(p.rest)) { // each has a byte at least
		p.odd = true
	}
	if p.odd || n == 0 {
		return
	}
	*list = make([]string, n)
	for i := range *list {
		p.text(&(*list)[i])
	}
}

func (p *packer) unsigned() (n uint64) {
	for i := range min(len(p.rest), binary.MaxVarintLen64) {
		c := p.rest[i]
		n |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			p.rest = p.rest[i+1:]
			return n
		}
	}
	p.odd = true
	return 0
}

func (p *packer) take(n uint64) string {
	if n > uint64(len(p.rest)) {
		p.odd = true
		return ""
	}
	taken := p.rest[:n]
	p.rest = p.rest[n:]
	return taken
}

// unhex reads hexadecimal digits as [hex.Encode] writes them.
func unhex(dst []byte, s string) bool {
	for i := range dst {
		high, low := digits[s[2*i]], digits[s[2*i+1]]
		if high|low > 15 {
			return false
		}
		dst[i] = high<<4 | low
	}
	return true
}

// digits are the values of hexadecimal digits; above 15: it is none.
var digits = func() (digits [256]byte) {
	for c := range digits {
		digits[c] = 255
	}
	for value, c := range []byte("0123456789abcdef") {
		digits[c] = byte(value)
	}
	return digits
}()
