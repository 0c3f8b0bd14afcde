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

// TestGrantsPage runs the commands of docs/grants.md, which go through every grant, against the site that it shows.
func TestGrantsPage(t *testing.T) {
	const page = "docs/grants.md"
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
	env := []string{
		"ADA_HASH=" + string(hash), "SHOP_SECRET=" + appSecret, "TERMINAL_SECRET=" + appSecret + "-of-the-terminal",
	}
	g := gateway.Start(t, site, env...)
	walk.Run(t, g, page, []string{"https://api.example.com", g.URL}, append(env, "ADA_PASSWORD="+personPassword,
		"PATH="+g.Dir+string(filepath.ListSeparator)+os.Getenv("PATH"))...)
}
