package tests

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"github.com/oauth2-passport/caddy-passport/tests/internal/gateway"
	"github.com/oauth2-passport/caddy-passport/tests/internal/walk"
)

// TestAccountsPage runs the commands of docs/accounts.md against the site that it shows.
func TestAccountsPage(t *testing.T) { walkPage(t, "docs/accounts.md") }

// TestGrantsPage runs the commands of docs/grants.md, which go through every grant.
func TestGrantsPage(t *testing.T) {
	walkPage(t, "docs/grants.md", "SHOP_SECRET="+appSecret, "TERMINAL_SECRET="+appSecret+"-of-the-terminal")
}

// walkPage runs the commands of a page against the last site that it shows, whose person is ada. The variables are for
// both.
func walkPage(t *testing.T, page string, env ...string) {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(personPassword), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	site := ""
	for _, b := range walk.Blocks(t, page) {
		if b.Language == "caddyfile" {
			site = b.Text
		}
	}
	site = "{\n\tdefault_bind 127.0.0.1\n" + strings.TrimPrefix(site, "{\n")
	site = strings.Replace(site, "\napi.example.com {", "\nhttp://127.0.0.1:{$PORT} {", 1)
	env = append(env, "ADA_HASH="+string(hash))
	g := gateway.Start(t, site, env...)
	walk.Run(t, g, page, []string{"https://api.example.com", g.URL}, append(env, "ADA_PASSWORD="+personPassword,
		"PATH="+g.Dir+string(filepath.ListSeparator)+os.Getenv("PATH"))...)
}
