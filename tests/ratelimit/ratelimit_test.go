// Package ratelimit holds what docs/rate-limits.md says against the plugin that it is about.
package ratelimit

import (
	"encoding/json"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/oauth2-passport/caddy-passport/tests/internal/gateway"
	"github.com/oauth2-passport/caddy-passport/tests/internal/walk"
)

const page = "docs/rate-limits.md"

// start runs the Caddyfile of the page, with other numbers: pairs of texts as for [walk.Caddyfile].
func start(t *testing.T, numbers ...string) *gateway.Gateway {
	t.Helper()
	site := walk.Caddyfile(t, page, 1, append(numbers, "api.example.com", "http://127.0.0.1:{$PORT}",
		"legacy:8080", "{$UPSTREAM}")...)
	return gateway.Start(t, site, "UPSTREAM="+gateway.NewUpstream(t).Addr)
}

// made is what a command of the operator has made.
func made(t *testing.T, g *gateway.Gateway, args ...string) map[string]string {
	t.Helper()
	out, faults, code := g.Caddy(append(append([]string{"passport"}, args...), "--json")...)
	var all map[string]any
	if err := json.Unmarshal([]byte(out), &all); err != nil || code != 0 {
		t.Fatalf("caddy passport %s: exit code %d\n%s", strings.Join(args, " "), code, faults)
	}
	texts := map[string]string{}
	for name, value := range all {
		texts[name], _ = value.(string)
	}
	return texts
}

// client makes one that acts for itself, and returns what gets a token for it.
func client(t *testing.T, g *gateway.Gateway, name string) func() string {
	t.Helper()
	c := made(t, g, "client", "create", "--name", name, "--scopes", "read")
	return func() string { return g.Token(c["client_id"], c["client_secret"], "read") }
}

// want sends a request for each status, with one token after the other.
func want(t *testing.T, g *gateway.Gateway, who string, tokens []string, statuses ...int) {
	t.Helper()
	for i, status := range statuses {
		resp := g.Get("/", tokens[i%len(tokens)])
		if resp.Status != status {
			t.Errorf("%s, request %d: %d, want %d", who, i, resp.Status, status)
		}
		if resp.Status == http.StatusTooManyRequests && resp.Header.Get("Retry-After") == "" {
			t.Errorf("%s, request %d: the answer has no Retry-After", who, i)
		}
	}
}

// TestLimitsPerClient uses up what one client has; another still has all of its own, and who has no token none.
func TestLimitsPerClient(t *testing.T) {
	g := start(t, "events 600", "events 3")
	a, b := client(t, g, "a"), client(t, g, "b")
	want(t, g, "a", []string{a(), a()}, 200, 200, 200, 429, 429) // another token of the same client shares its limit
	want(t, g, "no token", []string{""}, 401, 401, 401, 401, 401)
	want(t, g, "b", []string{b()}, 200, 200, 200, 429)
}

// TestLimitsPerPerson uses up what one person has, by her session and two tokens of hers; another person with a token of
// the same client still has all of his own, and clients that act for themselves are none of them.
func TestLimitsPerPerson(t *testing.T) {
	g := start(t, "events 120", "events 3", "passport_auth scopes read", "passport_auth {\n\t\tscopes read\n\t\tsession\n\t}")
	personal := func(who, name string) string {
		t.Helper()
		token := made(t, g, "token", "create", "--user", who, "--name", name, "--scopes", "read")["access_token"]
		g.Secret(token)
		return token
	}
	password := made(t, g, "user", "create", "ada")["password"]
	g.Secret(made(t, g, "user", "create", "ben")["password"])
	browser := g.Browser()
	browser.SignIn(browser.Open("/oauth/login"), "ada", password)
	shown := browser.Open("/")
	if shown.Status != http.StatusOK {
		t.Fatalf("ada, in a browser: %d %s", shown.Status, shown.Body)
	}
	want(t, g, "ada", []string{personal("ada", "a script"), personal("ada", "another")}, 200, 200, 429, 429)
	if shown = browser.Open("/"); shown.Status != http.StatusTooManyRequests {
		t.Errorf("ada, in a browser: %d %s", shown.Status, shown.Body)
	}
	want(t, g, "ada, by a token that she makes then", []string{personal("ada", "a third")}, 429)
	want(t, g, "no token", []string{""}, 401, 401, 401, 401, 401)
	want(t, g, "ben", []string{personal("ben", "a script")}, 200, 200, 200, 429)
	want(t, g, "a client", []string{client(t, g, "sync")()}, 200, 200, 200, 200, 200)
}

// TestBuildWithTheLimiter builds Caddy by the command of the page; what comes out has the limiter beside this plugin,
// and takes the Caddyfile of the page.
func TestBuildWithTheLimiter(t *testing.T) {
	blocks := walk.Blocks(t, page)
	at := slices.IndexFunc(blocks, func(b walk.Block) bool { return b.Language == "sh" })
	if at < 0 {
		t.Fatalf("%s has no command", page)
	}
	command := strings.TrimSpace(blocks[at].Text)
	if !strings.HasPrefix(command, "./xcaddy.sh build --with ") || strings.Contains(command, "\n") {
		t.Fatalf("%s has another command: %s", page, command)
	}
	binary := filepath.Join(t.TempDir(), "caddy") // not the one that the project's folder may have
	build := exec.CommandContext(t.Context(), "bash", "-c", command+` --output "$1"`, "bash", binary)
	build.Dir = gateway.Root(t)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
	out, err := exec.CommandContext(t.Context(), binary, "list-modules").CombinedOutput()
	if err != nil {
		t.Fatalf("caddy list-modules: %v\n%s", err, out)
	}
	modules := strings.Fields(string(out))
	for _, module := range []string{"http.handlers.rate_limit", "http.handlers.passport_auth"} {
		if !slices.Contains(modules, module) {
			t.Errorf("%s is not in it", module)
		}
	}
	adapt := exec.CommandContext(t.Context(), binary, "adapt", "--config", "-", "--adapter", "caddyfile")
	adapt.Stdin = strings.NewReader(walk.Caddyfile(t, page, 1))
	if out, err := adapt.CombinedOutput(); err != nil {
		t.Errorf("caddy adapt: %v\n%s", err, out)
	}
}
