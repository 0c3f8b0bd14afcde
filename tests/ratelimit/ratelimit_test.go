// Package ratelimit holds what docs/rate-limits.md says against the plugin that it is about.
package ratelimit

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	_ "github.com/mholt/caddy-ratelimit"

	_ "github.com/oauth2-passport/caddy-passport"
)

const secret = "the secret of the clients, 40 characters"

// directive is the rate_limit of the page.
func directive(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile("../../docs/rate-limits.md")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?s)\trate_limit \{.*?\n\t\}\n`).Find(page)
	if found == nil {
		t.Fatal("the page has no rate_limit")
	}
	return string(found)
}

// TestLimitsPerClient uses up what one client has; another still has all of its own, and who has no token none.
func TestLimitsPerClient(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	_ = ln.Close()
	limit := strings.ReplaceAll(directive(t), "events 600", "events 3")
	if !strings.Contains(limit, "events 3") {
		t.Fatalf("the page has other limits: %s", limit)
	}
	caddyfile := fmt.Sprintf(`{
	admin off
	persist_config off
	storage file_system %[1]q
	order rate_limit after passport_auth
	passport {
		storage badger %[2]q
		client a {
			secret %[3]q
			grants client_credentials
		}
		client b {
			secret %[3]q
			grants client_credentials
		}
	}
}

http://%[4]s {
	passport_server
	passport_auth
%[5]s
	respond "ok"
}
`, t.TempDir(), t.TempDir(), secret, addr, limit)
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(caddyfile), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := caddy.Load(config, true); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = caddy.Stop() })
	client := &http.Client{Timeout: 20 * time.Second}
	token := func(id string) string {
		form := url.Values{"grant_type": {"client_credentials"}, "client_id": {id}, "client_secret": {secret}}
		res, err := client.PostForm("http://"+addr+"/oauth/token", form)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		var answer struct {
			AccessToken string `json:"access_token"`
		}
		if err := json.NewDecoder(res.Body).Decode(&answer); err != nil || answer.AccessToken == "" {
			t.Fatalf("%d %v", res.StatusCode, err)
		}
		return answer.AccessToken
	}
	get := func(token string) int {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr+"/", nil)
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode == http.StatusTooManyRequests && res.Header.Get("Retry-After") == "" {
			t.Error("the answer has no Retry-After")
		}
		return res.StatusCode
	}
	a, another, b := token("a"), token("a"), token("b")
	for i, want := range []int{200, 200, 200, 429, 429} {
		bearer := a
		if i%2 == 1 {
			bearer = another // another token of the same client shares its limit
		}
		if got := get(bearer); got != want {
			t.Errorf("a, request %d: %d, want %d", i, got, want)
		}
	}
	for range 5 {
		if got := get(""); got != http.StatusUnauthorized {
			t.Errorf("no token: %d", got)
		}
	}
	for i, want := range []int{200, 200, 200, 429} {
		if got := get(b); got != want {
			t.Errorf("b, request %d: %d, want %d", i, got, want)
		}
	}
}
