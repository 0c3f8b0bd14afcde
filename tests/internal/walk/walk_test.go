package walk

import "testing"

func TestPattern(t *testing.T) {
	for _, tc := range []struct {
		name, shown, printed string
		match                bool
	}{
		{"the same", "a.c\nd", "a.c\nd", true},
		{"not the same", "a.c", "abc", false},
		{"more than is shown", "a", "a\nb", false},
		{"less than is shown", "a\nb", "a", false},
		{"nothing", "", "", true},
		{"something for nothing", "", "a", false},
		{"any text", `{"id":"…"}`, `{"id":"17"}`, true},
		{"any text is within a line", "a…b", "a\nb", false},
		{"any lines between", "a\n…\nb", "a\nc\nd\nb", true},
		{"no lines between", "a\n…\nb", "a\nb", true},
		{"any lines at the end", "a\n…", "a\nc\nd", true},
		{"any lines at the beginning", "…\nb", "a\nc\nb", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := pattern(tc.shown).MatchString(tc.printed); got != tc.match {
				t.Errorf("got %v by %s", got, pattern(tc.shown))
			}
		})
	}
}
