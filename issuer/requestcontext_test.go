package issuer

import (
	"net/http"
	"strings"
	"testing"
)

// FuzzCookie: the gateway finds the cookies that net/http does.
func FuzzCookie(f *testing.F) {
	for _, text := range []string{
		"passport_session=a", "a=b; passport_session=c; d=e", "passport_session=a; passport_session=a",
		"passport_session=a; passport_session=b", "passport_session=a\npassport_session=b", " passport_session = a ;b",
		`passport_session="a"`, `passport_session="`, `passport_session=""; passport_session=a`, `passport_session=a"b`,
		"passport_session", "passport_session=", "passport_session=; passport_session=a", "passport_session=a=b",
		"passport_session=a,b c", "passport_session=\u00e4; passport_session=a", "passport_session=\x00",
		"Passport_session=a", "xpassport_session=a", ";;passport_session=a;;", "passport_session=" + strings.Repeat("a", 257),
		"passport_session=a; passport_session=" + strings.Repeat("a", 257), "passport session=a", "=a",
		"\tpassport_session=a\t",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		fields := strings.Split(text, "\n")
		want := ""
		for _, c := range (&http.Request{Header: http.Header{"Cookie": fields}}).CookiesNamed(plainSessionCookie) {
			if want != "" && c.Value != want || len(c.Value) > maxCookie {
				want = ""
				break
			}
			want = c.Value
		}
		if got := onlyCookieIn(fields, plainSessionCookie); got != want && strings.Count(text, ";") < 1000 {
			t.Errorf("%q: %q, and not %q", text, got, want)
		}
	})
}
