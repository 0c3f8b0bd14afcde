package store

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"
)

// plainRecord is a record that is read in nearly every grant, and so often that reflection would cost more than all
// else. It is JSON as every record; what is not written as this package writes it is left to encoding/json, which
// decides what it means.
type plainRecord interface {
	// member reads the value of a member, or lets p give up where it does not know the name.
	member(name string, p *plain)

	// clear makes the record empty.
	clear()
}

// plain reads a JSON object of text in plain ASCII, whole numbers, booleans and lists of text, without white space.
type plain struct {
	rest string
	odd  bool // it is something else
}

// readPlain reads value into record, which keeps parts of it. When it answers false, the record is empty.
func readPlain(value string, record plainRecord) bool {
	p := &plain{rest: value}
	p.take('{')
	for first := true; !p.odd && !p.is('}'); first = false {
		if !first {
			p.take(',')
		}
		name := p.text()
		p.take(':')
		if !p.odd {
			record.member(name, p)
		}
	}
	p.take('}')
	if p.odd || p.rest != "" {
		record.clear()
		return false
	}
	return true
}

func (p *plain) is(c byte) bool { return p.rest != "" && p.rest[0] == c }

func (p *plain) take(c byte) {
	if !p.is(c) {
		p.odd = true
		return
	}
	p.rest = p.rest[1:]
}

// isPlain tells the characters that stand for themselves in JSON as this package writes it.
func isPlain(c byte) bool {
	return c >= ' ' && c <= '~' && c != '"' && c != '\\' && c != '<' && c != '>' && c != '&'
}

func (p *plain) text() string {
	p.take('"')
	for i := 0; !p.odd && i < len(p.rest); i++ {
		if c := p.rest[i]; c == '"' {
			s := p.rest[:i]
			p.rest = p.rest[i+1:]
			return s
		} else if !isPlain(c) {
			break
		}
	}
	p.odd = true
	return ""
}

func (p *plain) list() []string {
	p.take('[')
	list := []string{}
	for !p.odd && !p.is(']') {
		if len(list) > 0 {
			p.take(',')
		}
		list = append(list, p.text())
	}
	p.take(']')
	return list
}

// number reads a number that is not below zero.
func (p *plain) number() int64 {
	end := 0
	for end < len(p.rest) && p.rest[end] >= '0' && p.rest[end] <= '9' {
		end++
	}
	n, err := strconv.ParseInt(p.rest[:end], 10, 64)
	if err != nil || end > 1 && p.rest[0] == '0' {
		p.odd = true
		return 0
	}
	p.rest = p.rest[end:]
	return n
}

func (p *plain) boolean() bool {
	rest, yes := strings.CutPrefix(p.rest, "true")
	if !yes {
		var no bool
		if rest, no = strings.CutPrefix(p.rest, "false"); !no {
			p.odd = true
		}
	}
	p.rest = rest
	return yes
}

func (p *plain) bytes() []byte {
	data, err := base64.StdEncoding.DecodeString(p.text())
	if err != nil {
		p.odd = true
	}
	return data
}

// time reads a time as [time.Time.MarshalJSON] writes it.
func (p *plain) time() (t time.Time) {
	var buf [len(time.RFC3339Nano)]byte
	if text := p.text(); p.odd || t.UnmarshalText(append(buf[:0], text...)) != nil {
		p.odd = true
	}
	return t
}

// writtenPlain is a record that is written as often.
type writtenPlain interface{ writeTo(w *plainWriter) }

// plainWriter writes what [encoding/json] would write of a record.
type plainWriter struct {
	out []byte
	err error
}

func (w *plainWriter) begin() { w.out, w.err = append(w.out[:0], '{'), nil }

func (w *plainWriter) name(name string) {
	if len(w.out) > 1 {
		w.out = append(w.out, ',')
	}
	w.out = append(w.out, '"')
	w.out = append(append(w.out, name...), '"', ':')
}

// text writes a member, the empty one too.
func (w *plainWriter) text(name, value string) {
	w.name(name)
	w.string(value)
}

func (w *plainWriter) string(s string) {
	for i := range len(s) {
		if !isPlain(s[i]) {
			quoted, err := json.Marshal(s)
			if err != nil {
				panic(err) // of text there is always JSON
			}
			w.out = append(w.out, quoted...)
			return
		}
	}
	w.out = append(w.out, '"')
	w.out = append(append(w.out, s...), '"')
}

// textUnlessEmpty, and what is named like it, leave out what is empty.
func (w *plainWriter) textUnlessEmpty(name, value string) {
	if value != "" {
		w.text(name, value)
	}
}

func (w *plainWriter) listUnlessEmpty(name string, list []string) {
	if len(list) == 0 {
		return
	}
	w.name(name)
	for i, s := range list {
		if i == 0 {
			w.out = append(w.out, '[')
		} else {
			w.out = append(w.out, ',')
		}
		w.string(s)
	}
	w.out = append(w.out, ']')
}

func (w *plainWriter) number(name string, n int64) {
	w.name(name)
	w.out = strconv.AppendInt(w.out, n, 10)
}

func (w *plainWriter) numberUnlessZero(name string, n int64) {
	if n != 0 {
		w.number(name, n)
	}
}

func (w *plainWriter) trueUnlessNot(name string, yes bool) {
	if yes {
		w.name(name)
		w.out = append(w.out, "true"...)
	}
}

func (w *plainWriter) bytesUnlessEmpty(name string, data []byte) {
	if len(data) > 0 {
		w.name(name)
		w.out = append(w.out, '"')
		w.out = append(base64.StdEncoding.AppendEncode(w.out, data), '"')
	}
}

// time writes a time as [time.Time.MarshalJSON] does.
func (w *plainWriter) time(name string, t time.Time) {
	w.name(name)
	out, err := t.AppendText(append(w.out, '"'))
	if err != nil {
		w.err = err
		return
	}
	out = append(out, '"')
	w.out = out
}

func (w *plainWriter) timeUnlessZero(name string, t time.Time) {
	if !t.IsZero() {
		w.time(name, t)
	}
}

// end is the record.
func (w *plainWriter) end() ([]byte, error) {
	w.out = append(w.out, '}')
	return w.out, w.err
}

// writers are those that nobody uses.
var writers = sync.Pool{New: func() any { return &plainWriter{out: make([]byte, 0, 2048)} }}

// putPlain writes a record.
func putPlain(tx Tx, key []byte, record writtenPlain, ttl time.Duration) error {
	w := writers.Get().(*plainWriter)
	defer writers.Put(w)
	w.begin()
	record.writeTo(w)
	value, err := w.end()
	if err != nil {
		return fmt.Errorf("store: encoding %q: %w", key, err)
	}
	return tx.Put(key, value, ttl)
}
