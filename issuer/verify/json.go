package verify

import (
	"encoding/json"
	"slices"
	"strings"
	"unicode/utf8"
)

// What a JSON object of a token may be. Its length is bounded by the token's.
const (
	maxMembers = 128 // names at the top
	maxDepth   = 32  // objects and arrays within each other
)

// object reads text as one JSON object (RFC 8259) and calls member with each of its names, decoded, and the text of
// its value, as far as the object is sound. It answers false when text is anything else, a name appears twice
// (RFC 7515 §4, RFC 7519 §4), a string is no Unicode, the object is larger or deeper than the bounds, or member answers
// false.
//
// It is written out because encoding/json takes the last of two equal names, names in any case, and an allocation for
// each step, before the signature has been looked at.
func object(text string, member func(name, value string) bool) bool {
	if !utf8.ValidString(text) {
		return false
	}
	s := scanner{text: text}
	s.space()
	var (
		names [maxMembers]string
		count int
	)
	ok := s.object(1, func(name, value string) bool {
		if strings.IndexByte(name, '\\') >= 0 {
			decoded, ok := unquote(name)
			if !ok {
				return false
			}
			name = decoded
		} else {
			name = name[1 : len(name)-1]
		}
		if count == maxMembers || slices.Contains(names[:count], name) {
			return false
		}
		names[count] = name
		count++
		return member(name, value)
	})
	s.space()
	return ok && s.pos == len(s.text)
}

// unquote decodes the text of a JSON string; it answers false when value is the text of something else.
func unquote(value string) (string, bool) {
	if len(value) < 2 || value[0] != '"' {
		return "", false
	}
	if strings.IndexByte(value, '\\') < 0 {
		return value[1 : len(value)-1], true
	}
	var s string
	if err := json.Unmarshal([]byte(value), &s); err != nil {
		return "", false
	}
	return s, true
}

// scanner walks over JSON text. Its methods answer false where the text is not what they read; then it is left as is.
type scanner struct {
	text string
	pos  int
}

func (s *scanner) space() {
	for s.pos < len(s.text) {
		switch s.text[s.pos] {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return
		}
	}
}

// next takes c, if it comes next.
func (s *scanner) next(c byte) bool {
	if s.pos < len(s.text) && s.text[s.pos] == c {
		s.pos++
		return true
	}
	return false
}

func (s *scanner) value(depth int) bool {
	if s.pos == len(s.text) {
		return false
	}
	switch s.text[s.pos] {
	case '{':
		return s.object(depth+1, nil)
	case '[':
		return s.array(depth+1, nil)
	case '"':
		return s.string()
	case 't':
		return s.literal("true")
	case 'f':
		return s.literal("false")
	case 'n':
		return s.literal("null")
	}
	return s.number()
}

// object calls member, unless it is nil, with the text of each name and of each value.
func (s *scanner) object(depth int, member func(name, value string) bool) bool {
	if depth > maxDepth || !s.next('{') {
		return false
	}
	s.space()
	if s.next('}') {
		return true
	}
	for {
		start := s.pos
		if !s.string() {
			return false
		}
		name := s.text[start:s.pos]
		s.space()
		if !s.next(':') {
			return false
		}
		s.space()
		start = s.pos
		if !s.value(depth) {
			return false
		}
		if member != nil && !member(name, s.text[start:s.pos]) {
			return false
		}
		s.space()
		if s.next('}') {
			return true
		}
		if !s.next(',') {
			return false
		}
		s.space()
	}
}

// array calls element, unless it is nil, with the text of each element.
func (s *scanner) array(depth int, element func(value string) bool) bool {
	if depth > maxDepth || !s.next('[') {
		return false
	}
	s.space()
	if s.next(']') {
		return true
	}
	for {
		start := s.pos
		if !s.value(depth) {
			return false
		}
		if element != nil && !element(s.text[start:s.pos]) {
			return false
		}
		s.space()
		if s.next(']') {
			return true
		}
		if !s.next(',') {
			return false
		}
		s.space()
	}
}

func (s *scanner) literal(word string) bool {
	if !strings.HasPrefix(s.text[s.pos:], word) {
		return false
	}
	s.pos += len(word)
	return true
}

func (s *scanner) string() bool {
	if !s.next('"') {
		return false
	}
	for s.pos < len(s.text) {
		c := s.text[s.pos]
		s.pos++
		switch {
		case c == '"':
			return true
		case c < ' ':
			return false
		case c == '\\':
			if !s.escape() {
				return false
			}
		}
	}
	return false
}

// escape reads what comes after a backslash. Half a surrogate pair stands for no character: decoders turn it into
// U+FFFD, so that different strings would become one.
func (s *scanner) escape() bool {
	if s.pos == len(s.text) {
		return false
	}
	c := s.text[s.pos]
	s.pos++
	switch c {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return true
	case 'u':
		switch unit := s.hex(); {
		case unit < 0, unit >= 0xdc00 && unit < 0xe000:
			return false
		case unit >= 0xd800 && unit < 0xdc00:
			if !s.next('\\') || !s.next('u') {
				return false
			}
			low := s.hex()
			return low >= 0xdc00 && low < 0xe000
		}
		return true
	}
	return false
}

// hex reads four hexadecimal digits, or answers -1.
func (s *scanner) hex() int {
	if len(s.text)-s.pos < 4 {
		return -1
	}
	unit := 0
	for range 4 {
		c := s.text[s.pos]
		s.pos++
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return -1
		}
		unit = unit<<4 | int(c)
	}
	return unit
}

func (s *scanner) number() bool {
	s.next('-')
	if !s.next('0') && !s.digits() {
		return false
	}
	if s.next('.') && !s.digits() {
		return false
	}
	if s.next('e') || s.next('E') {
		if !s.next('+') {
			s.next('-')
		}
		return s.digits()
	}
	return true
}

func (s *scanner) digits() bool {
	start := s.pos
	for s.pos < len(s.text) && s.text[s.pos] >= '0' && s.text[s.pos] <= '9' {
		s.pos++
	}
	return s.pos > start
}
