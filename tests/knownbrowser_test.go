package tests

import (
	"net/http"
	"strings"
	"testing"
)

// TestStrangerKeepsNobodyWaitingAtTheGateway: a browser in which a person has signed in before does so again while a
// stranger guesses at the account. Its cookies reach the issuer, and of them no upstream gets any but the one that the
// site's scripts read.
func TestStrangerKeepsNobodyWaitingAtTheGateway(t *testing.T) {
	s := startSessions(t, sessionSite, "")
	tries := func(password string) int {
		b := s.g.Browser()
		return b.Send("/id/login", b.Open("/id/login").Form("username", "ada", "password", password)).Status
	}
	status := 0
	for range 20 {
		if status = tries("no password of hers"); status != http.StatusUnauthorized {
			break
		}
	}
	if status != http.StatusTooManyRequests {
		t.Fatalf("the stranger does not wait: %d", status)
	}
	form := s.Open("/id/login?return=/open").Form("username", "ada", "password", s.password)
	if page := s.Send("/id/login", form); page.Status != http.StatusOK || page.Path != "/open" {
		t.Fatalf("ada is kept waiting: %d at %s", page.Status, page.Path)
	}

	for _, name := range []string{"passport_session", "passport_form", "passport_browser", "XSRF-TOKEN"} {
		if s.Cookie(name) == "" {
			t.Errorf("the browser has no cookie %s", name)
		}
	}
	s.want(s.Browser, http.StatusOK, "GET", "/app/1")
	for _, r := range s.upstream.Requests() {
		if cookie := strings.Join(r.Header["Cookie"], "; "); strings.Contains(cookie, "passport_") {
			t.Errorf("the upstream got %s at %s", cookie, r.URI)
		} else if strings.HasPrefix(r.URI, "/app") && !strings.Contains(cookie, "XSRF-TOKEN=") {
			t.Errorf("the upstream got no XSRF-TOKEN at %s: %q", r.URI, cookie)
		}
	}
}
