package issuer

import (
	"testing"

	"github.com/oauth2-passport/caddy-passport/store"
)

// TestRedirectToUnregistered asks for redirect URIs that are nearly the registered ones.
func TestRedirectToUnregistered(t *testing.T) {
	web := []string{"https://app.example/cb?x=1", "https://app.example/other"}
	native := []string{"http://127.0.0.1/cb", "http://[::1]:1234/cb", "http://localhost:8080/cb?a=b", "com.example.app:/cb"}
	for _, test := range []struct {
		registered []string
		asked      string
		ok         bool
	}{
		{web, "https://app.example/cb?x=1", true},
		{web, "https://app.example/other", true},
		{web, "", false}, // which one?
		{web, "https://app.example/cb", false},
		{web, "https://app.example/cb?x=1&y=2", false},
		{web, "https://app.example/cb?x=1#", false},
		{web, "https://app.example/cb?x=1#f", false},
		{web, "https://app.example/cb/?x=1", false},
		{web, "https://app.example/CB?x=1", false},
		{web, "HTTPS://app.example/other", false},
		{web, "https://APP.example/other", false},
		{web, "https://app.example:443/other", false},
		{web, "http://app.example/other", false},
		{web, "https://app.example./other", false},
		{web, "https://app.example/./other", false},
		{web, "https://app.example/x/../other", false},
		{web, "https://app.example/%6fther", false},
		{web, "https://app.example/other ", false},
		{web, " https://app.example/other", false},
		{web, "https://app.example/other%00", false},
		{web, "https://app.example@evil.example/other", false},
		{web, "https://evil.example/https://app.example/other", false},
		{web, "https://app.example.evil.example/other", false},
		{web, "https://app.example\\@evil.example/other", false},
		{web, "//app.example/other", false},
		{web, "/other", false},
		{[]string{"https://app.example"}, "https://app.example.evil.example", false},
		{[]string{"https://app.example"}, "https://app.example:81", false},
		{[]string{"https://app.example"}, "", true},
		{nil, "", false},
		{nil, "https://app.example", false},

		{native, "http://127.0.0.1/cb", true},
		{native, "http://127.0.0.1:49152/cb", true},
		{native, "http://[::1]/cb", true},
		{native, "http://[::1]:49152/cb", true},
		{native, "http://localhost:3000/cb?a=b", true},
		{native, "com.example.app:/cb", true},
		{native, "http://127.0.0.1:49152/other", false},
		{native, "http://127.0.0.1:49152/cb?x", false},
		{native, "http://127.0.0.1:49152/cb#f", false},
		{native, "http://127.0.0.1:49152", false},
		{native, "http://127.0.0.1:0/cb", false},
		{native, "http://127.0.0.1:65536/cb", false},
		{native, "http://127.0.0.1:/cb", false},
		{native, "http://127.0.0.1:+80/cb", false},
		{native, "http://127.0.0.1:80@evil.example/cb", false},
		{native, "http://127.0.0.1@evil.example/cb", false},
		{native, "http://127.0.0.1.evil.example/cb", false},
		{native, "http://127.0.0.1:80.evil.example/cb", false},
		{native, "http://127.0.0.2:80/cb", false},
		{native, "http://127.1/cb", false},
		{native, "http://localhost/cb", false}, // it is not the address that is registered
		{native, "http://localhost.evil.example:3000/cb?a=b", false},
		{native, "http://LOCALHOST:3000/cb?a=b", false},
		{native, "https://127.0.0.1:49152/cb", false},
		{native, "com.example.app:/cb2", false},
		{native, "com.example.app://cb", false},
		{native, "com.example.app:80:/cb", false},
		{[]string{"https://localhost/cb"}, "https://localhost:8443/cb", false},
		{[]string{"javascript:alert(1)"}, "javascript:alert(1)", false}, // from a config of before the check
	} {
		got, ok := redirectURI(&store.Client{RedirectURIs: test.registered}, test.asked)
		if ok != test.ok || ok && test.asked != "" && got != test.asked {
			t.Errorf("%q of %q: %q, %t", test.asked, test.registered, got, ok)
		}
	}
}

func TestWithParams(t *testing.T) {
	params := [][2]string{{"code", "a b&c=d#e"}, {"state", "ü"}}
	const query = "code=a+b%26c%3Dd%23e&state=%C3%BC"
	for uri, want := range map[string]string{
		"https://app.example/cb":      "https://app.example/cb?" + query,
		"https://app.example":         "https://app.example?" + query,
		"https://app.example/cb?":     "https://app.example/cb?" + query,
		"https://app.example/cb?x=1":  "https://app.example/cb?x=1&" + query,
		"https://app.example/cb?x=1&": "https://app.example/cb?x=1&" + query,
		"com.example.app:/cb":         "com.example.app:/cb?" + query,
	} {
		if got := withParams(uri, params, false); got != want {
			t.Errorf("%s: %s", uri, got)
		}
	}
	if got := withParams("https://app.example/cb?x=1", params, true); got != "https://app.example/cb?x=1#"+query {
		t.Error(got)
	}
}
