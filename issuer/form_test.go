package issuer

import (
	"net/url"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestParseForm(t *testing.T) {
	for _, test := range []struct {
		body  string
		want  form
		fault *Error
	}{
		{"", form{}, nil},
		{"&&", form{}, nil},
		{"a=1&b=2", form{{"a", "1"}, {"b", "2"}}, nil},
		{"a", form{{"a", ""}}, nil},
		{"a=", form{{"a", ""}}, nil},
		{"a=b=c", form{{"a", "b=c"}}, nil},
		{"a=b;c=d", form{{"a", "b;c=d"}}, nil},
		{"a=x+y%20z%2B", form{{"a", "x y z+"}}, nil},
		{"%61=%C3%BC", form{{"a", "ü"}}, nil},
		{"a=\tb", form{{"a", "\tb"}}, nil},
		{"resource=a&resource=b", form{{"resource", "a"}, {"resource", "b"}}, nil},
		{"a=1&a=1", nil, errTwice},
		{"a=1&%61=2", nil, errTwice},
		{"a=&a=", nil, errTwice},
		{"=1", nil, errFormMalformed},
		{"a=%", nil, errFormMalformed},
		{"a=%4", nil, errFormMalformed},
		{"a%=1", nil, errFormMalformed},
		{"a=%00", nil, errCharacters},
		{"a=\x7f", nil, errCharacters},
		{"a=x%0d%0ay", nil, errCharacters},
		{"a%0a=1", nil, errCharacters},
		{"a=%C3", nil, errCharacters},
		{"a=\xff", nil, errCharacters},
		{"a=" + strings.Repeat("x", maxValue+1), nil, errTooLong},
		{strings.Repeat("x", maxValue+1), nil, errTooLong},
		{strings.Repeat("audience=x&", maxParams+1), nil, errFormMalformed},
	} {
		got, fault := parseForm(test.body)
		if fault != test.fault || !reflect.DeepEqual(got, test.want) {
			t.Errorf("%.40q: %v, %v; want %v, %v", test.body, got, fault, test.want, test.fault)
		}
	}
}

func FuzzForm(f *testing.F) {
	for _, seed := range []string{
		"grant_type=client_credentials&scope=read+write", "a=1&a=2", "a=%zz", "%61=%C3%BC&b", "=", "a=%00", "a;b=c",
		"resource=a&resource=b", "client_id=x&client_secret=y&grant_type=",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		got, fault := parseForm(body)
		if fault != nil {
			if fault.Code != "invalid_request" || got != nil {
				t.Errorf("%q: %v, %v", body, got, fault)
			}
			return
		}
		// What is taken is understood as net/url understands it. That refuses semicolons, which are only bytes here.
		want, err := url.ParseQuery(strings.ReplaceAll(body, ";", "%3B"))
		if err != nil {
			t.Fatalf("%q: net/url says %v", body, err)
		}
		delete(want, "")
		seen := url.Values{}
		for _, p := range got {
			seen.Add(p.name, p.value)
			if !utf8.ValidString(p.name+p.value) || strings.ContainsAny(p.name+p.value, "\x00\r\n") {
				t.Errorf("%q: %q", body, p)
			}
		}
		if !reflect.DeepEqual(seen, want) {
			t.Errorf("%q: %v, net/url says %v", body, seen, want)
		}
		for name, values := range seen {
			if len(values) > 1 && !repeatable(name) {
				t.Errorf("%q: %s comes twice", body, name)
			}
		}
		values := got.forLibrary()
		for name := range values {
			if values.Get(name) != got.get(name) {
				t.Errorf("%q: the library reads another %s", body, name)
			}
		}
	})
}
