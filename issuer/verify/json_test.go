package verify

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"unicode/utf8"
)

var jsonTexts = map[string]bool{
	`{}`:                             true,
	" {\t\r\n} ":                     true,
	`{"a":1}`:                        true,
	`{"a":{"b":[1,"x"]}}`:            true,
	`{"a":"\u00e4\n\/\\\"\b\f\r\t"}`: true,
	`{"a":"\ud83d\ude00"}`:           true, // a surrogate pair
	`{"a":-0.5e+10,"b":0,"c":1E2,"d":true,"e":false,"f":null}`: true,
	`{"a":1,"A":2}`:        true,
	`{"a":{"b":1,"b":2}}`:  true, // only names at the top are compared
	``:                     false,
	`{`:                    false,
	`}`:                    false,
	`[]`:                   false,
	`"a"`:                  false,
	`null`:                 false,
	`{}{}`:                 false,
	`{} x`:                 false,
	"\ufeff{}":             false,
	`{"a"}`:                false,
	`{"a":}`:               false,
	`{"a":1,}`:             false,
	`{,"a":1}`:             false,
	`{"a":1 "b":2}`:        false,
	`{a:1}`:                false,
	`{'a':1}`:              false,
	`{"a":01}`:             false,
	`{"a":+1}`:             false,
	`{"a":-}`:              false,
	`{"a":1.}`:             false,
	`{"a":.5}`:             false,
	`{"a":1e}`:             false,
	`{"a":1e+}`:            false,
	`{"a":0x10}`:           false,
	`{"a":NaN}`:            false,
	`{"a":Infinity}`:       false,
	`{"a":tru}`:            false,
	`{"a":True}`:           false,
	`{"a":[1,]}`:           false,
	`{"a":[}`:              false,
	`{"a":[1 2]}`:          false,
	`{"a":"x}`:             false,
	`{"a":"\x"}`:           false,
	`{"a":"\u12"}`:         false,
	`{"a":"\u12G4"}`:       false,
	`{"a":"\ud800"}`:       false, // half a surrogate pair
	`{"a":"\udc00"}`:       false,
	`{"a":"\ud800\ud800"}`: false,
	`{"a":"\ud800x"}`:      false,
	"{\"a\":\"\n\"}":       false,
	"{\"a\":\"\x00\"}":     false,
	"{\"a\":\"\xff\"}":     false,
	"{\"\xc0\x80\":1}":     false,
	`{"a":1,"a":2}`:        false,
	`{"a":1,"\u0061":2}`:   false,
	`{"a":1}//`:            false,
	`{/**/"a":1}`:          false,
	strings.Repeat(`{"a":`, maxDepth) + `1` + strings.Repeat("}", maxDepth):     true,
	strings.Repeat(`{"a":`, maxDepth+1) + `1` + strings.Repeat("}", maxDepth+1): false,
	strings.Repeat(`{"a":`, 4000): false,
}

func TestObjectReadsJSONStrictly(t *testing.T) {
	for text, want := range jsonTexts {
		if got := object(text, func(string, string) bool { return true }); got != want {
			t.Errorf("%.60q: %v, want %v", text, got, want)
		}
	}
}

func TestObjectTellsNamesAndValues(t *testing.T) {
	var got []string
	ok := object(` { "a" : 1 , "b\u0063":"x\ny", "c" : [ {"d": 2} ] } `, func(name, value string) bool {
		got = append(got, name+"="+value)
		return true
	})
	if want := `[a=1 bc="x\ny" c=[ {"d": 2} ]]`; !ok || fmt.Sprint(got) != want {
		t.Errorf("%v %s, want %s", ok, got, want)
	}
	calls := 0
	if object(`{"a":1,"b":2}`, func(string, string) bool { calls++; return false }) || calls != 1 {
		t.Errorf("a refused member does not end it: %d calls", calls)
	}
}

func TestObjectBoundsItsMembers(t *testing.T) {
	for n, want := range map[int]bool{maxMembers: true, maxMembers + 1: false} {
		var members []string
		for i := range n {
			members = append(members, fmt.Sprintf(`"%d":%[1]d`, i))
		}
		if got := object("{"+strings.Join(members, ",")+"}", func(string, string) bool { return true }); got != want {
			t.Errorf("%d members: %v, want %v", n, got, want)
		}
	}
}

func TestNumericDate(t *testing.T) {
	tests := map[string]struct {
		nanoseconds int64
		ok          bool
	}{
		`0`:                       {0, true},
		`1767225600`:              {1767225600e9, true},
		`1767225600.5`:            {1767225600.5e9, true},
		`1.7672256e9`:             {1767225600e9, true},
		`1e0`:                     {1e9, true},
		`253402300800`:            {0, false},
		`253402300799.5`:          {0, false},
		`9223372036854775808`:     {0, false},
		`1e400`:                   {0, false},
		`1e99`:                    {0, false},
		`-1`:                      {0, false},
		`-0`:                      {0, false},
		`"1767225600"`:            {0, false},
		`true`:                    {0, false},
		`null`:                    {0, false},
		`[1]`:                     {0, false},
		`{}`:                      {0, false},
		strings.Repeat("9", 6000): {0, false},
	}
	for text, test := range tests {
		got, ok := numericDate(text)
		if ok != test.ok || ok && got.UnixNano() != test.nanoseconds {
			t.Errorf("%.40s: %v, %v", text, got, ok)
		}
	}
	if last, ok := numericDate(`253402300799`); !ok || last.UTC().Year() != 9999 {
		t.Errorf("the last second: %v, %v", last, ok)
	}
}

func TestParseScope(t *testing.T) {
	tests := map[string]struct {
		want string
		ok   bool
	}{
		"":                       {"[]", true},
		"read":                   {`["read"]`, true},
		"read write orders:read": {`["read" "write" "orders:read"]`, true},
		"*":                      {`["*"]`, true},
		" read":                  {"[]", false},
		"read ":                  {"[]", false},
		"read  write":            {"[]", false},
		"read\twrite":            {"[]", false},
		`re"ad`:                  {"[]", false},
		`re\ad`:                  {"[]", false},
		"lesen\u00e4":            {"[]", false},
		"\x7f":                   {"[]", false},
	}
	for scope, test := range tests {
		got, ok := parseScope(scope)
		if ok != test.ok || ok && fmt.Sprintf("%q", got) != test.want {
			t.Errorf("%q: %q, %v", scope, got, ok)
		}
	}
}

func TestParseAudience(t *testing.T) {
	tests := map[string]struct {
		want string
		ok   bool
	}{
		`"a"`:            {`["a"]`, true},
		`"a,b"`:          {`["a,b"]`, true},
		`["a"]`:          {`["a"]`, true},
		`[ "a" , "b,c"]`: {`["a" "b,c"]`, true},
		`["\u0061"]`:     {`["a"]`, true},
		``:               {"", false},
		`""`:             {"", false},
		`[]`:             {"", false},
		`[""]`:           {"", false},
		`["a",""]`:       {"", false},
		`["a",null]`:     {"", false},
		`["a",["b"]]`:    {"", false},
		`null`:           {"", false},
		`1`:              {"", false},
		`{"a":"b"}`:      {"", false},
	}
	for value, test := range tests {
		got, ok := parseAudience(value)
		if ok != test.ok || ok && fmt.Sprintf("%q", got) != test.want {
			t.Errorf("%s: %q, %v", value, got, ok)
		}
	}
}

// FuzzObject compares with encoding/json: object takes what that takes, but for what it is meant to refuse.
func FuzzObject(f *testing.F) {
	for text := range jsonTexts {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got := make(map[string]string)
		ok := object(text, func(name, value string) bool {
			got[name] = value
			return true
		})
		var want map[string]json.RawMessage
		err := json.Unmarshal([]byte(text), &want)
		if !ok {
			if err == nil && want != nil && !refusedOnPurpose(text, len(want)) {
				t.Fatalf("%q is refused", text)
			}
			return
		}
		if err != nil || len(want) != len(got) {
			t.Fatalf("%q is taken: %v, %d names for %d", text, err, len(got), len(want))
		}
		for name, value := range want {
			if got[name] != string(value) {
				t.Fatalf("%q: %q is %q, want %q", text, name, got[name], value)
			}
		}
	})
}

// refusedOnPurpose tells whether a JSON object has what encoding/json takes and object does not.
func refusedOnPurpose(text string, names int) bool {
	if !utf8.ValidString(text) || names > maxMembers || strings.Contains(text, `\u`) { // surrogates
		return true
	}
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	depth, deepest, count, atName := 0, 0, 0, false
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return deepest > maxDepth || count > names
		}
		if err != nil {
			return true
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			depth++
			deepest = max(deepest, depth)
			atName = depth == 1
			continue
		case json.Delim('}'), json.Delim(']'):
			depth--
		default:
			if depth == 1 && atName {
				count++
				atName = false
				continue
			}
		}
		if depth == 1 {
			atName = true
		}
	}
}
