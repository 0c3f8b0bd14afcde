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
func TestAccountsPage(t *testing.T) {
	const page = "docs/accounts.md"
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
	site = strings.Replace(site, "\napi.example.com {", "\nhttp://127.0.0.1:{$PORT} {", 1)
	g := gateway.Start(t, site, "ADA_HASH="+string(hash))
	walk.Run(t, g, page, []string{"https://api.example.com", g.URL}, "PATH="+g.Dir+string(filepath.ListSeparator)+os.Getenv("PATH"))
}
