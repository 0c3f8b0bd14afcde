package issuer

import (
	"net/url"
	"strings"
	"testing"
)

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

// FuzzOwnPath: whatever is taken for an own path stays on this host, as a browser resolves it.
func FuzzOwnPath(f *testing.F) {
	for _, seed := range []string{"/", "/oauth/authorize?a=b", "//evil.example", `/\evil.example`, "/%2f/x", "/a/../b"} {
		f.Add(seed)
	}
	base := &url.URL{Scheme: "https", Host: "api.example.com", Path: "/oauth/login"}
	f.Fuzz(func(t *testing.T, s string) {
		if !isOwnPath(s) {
			return
		}
		u, err := base.Parse(s)
		if err != nil || u.Host != base.Host || u.Scheme != base.Scheme || strings.HasPrefix(u.Path, "//") {
			t.Errorf("%q leads to %v, %v", s, u, err)
		}
	})
}

// TestReturnToWhatWasAsked: a request comes back as it was, whatever its characters are.
func TestReturnToWhatWasAsked(t *testing.T) {
	h := signInHouse(t)
	b := h.browser()
	state := `a\b "c" <d> ü | {e} 100% + //f`
	login := b.get(asks("first", "state", state)).location(t)
	back := b.post("/oauth/login", b.get(login.String()).form("username", "ada", "password", testPassword)).location(t)
	if got := b.get(back.String()).answered(t, testRedirect); got.Get("state") != state {
		t.Errorf("%v", got)
	}
	r := get("https://api.example.com/oauth/authorize")
	r.URL.RawQuery = strings.TrimPrefix(asks("first"), "/oauth/authorize?") + `&x=a\b"c`
	if back := b.do(r); back.Header.Get("Location") == "" || !isOwnPath(ownRequest(r)) {
		t.Errorf("%q", ownRequest(r))
	}
}
