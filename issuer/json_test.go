package issuer

import (
	"encoding/json"
	"testing"
)

func FuzzJSONString(f *testing.F) {
	for _, seed := range []string{
		"", "plain", `"quoted" \ back`, "a\x00\x1f\x7f\n", "grüß 日本 🎉", "\xff\xc3(", "<script>&", "\u2028",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		text := appendJSONString(nil, s)
		var got string
		if err := json.Unmarshal(text, &got); err != nil {
			t.Fatalf("%q became %s: %v", s, text, err)
		}
		if want := string([]rune(s)); got != want {
			t.Errorf("%q became %q", s, got)
		}
	})
}

func TestAppendScope(t *testing.T) {
	got := string(append(appendScope([]byte{'{'}, []string{"read", "a&b", "write"}), '}'))
	if want := `{"scope":"read a&b write"}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
