package pages

import (
	"strings"
	"unicode"
)

// How much of what others have written a page shows, in characters.
const (
	maxShownName = 80
	maxShownLong = 500
	maxMarks     = 4 // accents on one letter: more are there to cover the lines around
)

func cleanName(s any) string { return clean(toString(s), maxShownName) }
func cleanLong(s any) string { return clean(toString(s), maxShownLong) }

// toString takes what templates pass: strings, and values of kinds of strings.
func toString(s any) string {
	if text, ok := s.(string); ok {
		return text
	}
	return joinKey(s)
}

// clean is s without what nobody sees and what changes the text around: control characters, those that change the
// direction of writing or have no width, and heaps of accents. What is longer than limit is clipped.
func clean(s string, limit int) string {
	var b strings.Builder
	shown, marks, space := 0, 0, false
	for _, r := range s {
		switch {
		case unicode.IsSpace(r):
			space = b.Len() > 0
			continue
		case unicode.Is(unicode.Mn, r), unicode.Is(unicode.Me, r):
			if marks++; marks > maxMarks || b.Len() == 0 {
				continue
			}
		case r == '\u200c' || r == '\u200d': // joiners are part of words in some languages
			if b.Len() == 0 || marks >= maxMarks {
				continue
			}
			marks++
		case !unicode.IsGraphic(r) || isBlank(r):
			continue
		default:
			marks = 0
		}
		if shown >= limit {
			b.WriteRune('…')
			break
		}
		if space {
			b.WriteByte(' ')
			shown, space = shown+1, false
		}
		b.WriteRune(r)
		shown++
	}
	if b.Len() == 0 && s != "" {
		return "?" // a name that nobody sees
	}
	return b.String()
}

// isBlank tells the letters and symbols that look like nothing.
func isBlank(r rune) bool {
	switch r {
	case '\u115f', '\u1160', '\u3164', '\uffa0', '\u2800', '\ufffc', '\ufffd':
		return true
	}
	return unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r)
}
