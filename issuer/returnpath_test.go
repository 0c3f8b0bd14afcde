package issuer

import "testing"

// TestOpenRedirect tries what a return path can look like that leads to another host, or that some reader of URLs takes
// for one that does.
func TestOpenRedirect(t *testing.T) {
	for _, evil := range []string{
		"", "evil.example", "https://evil.example", "http://evil.example/", "HTTPS://evil.example", "https:evil.example",
		"https:/evil.example", "https:///evil.example", "//evil.example", "///evil.example", "////evil.example",
		"/\\evil.example", "\\\\evil.example", "\\/evil.example", "/\\/evil.example", "//\\evil.example",
		"/\t/evil.example", "/\n/evil.example", "/\r/evil.example", "\t//evil.example", " //evil.example",
		"/ /evil.example", "\x00//evil.example", "/\x00/evil.example", "/\x0b/evil.example", "/\u00a0/evil.example",
		"/\u3002/evil.example", "/\uff0f/evil.example", "/\u2215/evil.example", "javascript:alert(1)",
		"JavaScript:alert(1)", "java\nscript:alert(1)", "data:text/html,x", "vbscript:x", "file:///etc/passwd",
		"/%2fevil.example", "/%2Fevil.example", "/%5cevil.example", "/%5Cevil.example", "/%2f%2fevil.example",
		"/%252fevil.example", "/%255cevil.example", "/%09/evil.example", "/%0a/evil.example", "/%0d%0aLocation:x",
		"/%00/evil.example", "/.//evil.example", "/..//evil.example", "/../evil", "/%2e%2e//evil.example",
		"/oauth/..//evil.example", "/oauth/%2e%2e/%2e%2e/evil", "/oauth/../../evil", "@evil.example", ".evil.example",
		"/@evil.example//", "?next=/", "#/oauth", "/oauth#//evil.example", "/oauth\\..\\evil", "/oauth//evil.example",
		"///", "//", "/\\", "https://api.example.com.evil.example", "https://api.example.com@evil.example",
		"//api.example.com:80@evil.example", "/%", "/%zz", "/<script>", "/\"onload=", "/\xff\xfe", "/\x7f",
	} {
		if isOwnPath(evil) {
			t.Errorf("%q is taken for an own path", evil)
		}
	}
	for _, good := range []string{
		"/", "/oauth/account", "/oauth/authorize?client_id=x&redirect_uri=https%3A%2F%2Fapp.example%2Fcb&state=%0A%5C",
		"/oauth/authorize?redirect_uri=https://app.example/cb", "/orders/17?full=1", "/a%20b", "/caf%C3%A9", "/a:b", "/?",
		"/oauth/device?user_code=BCDF-GHJK", "/100%25",
	} {
		if !isOwnPath(good) {
			t.Errorf("%q is refused", good)
		}
	}
}
