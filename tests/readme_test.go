package tests

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/oauth2-passport/caddy-passport/tests/internal/gateway"
	"github.com/oauth2-passport/caddy-passport/tests/internal/walk"
)

// documents are the files whose examples must work.
func documents(t *testing.T) []string {
	t.Helper()
	root := gateway.Root(t)
	docs, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	files := []string{"README.md"}
	for _, doc := range docs {
		file, err := filepath.Rel(root, doc)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	return files
}

// TestDocumentedCaddyfiles: each is whole, adapts without a warning, and stays as it is under caddy fmt.
func TestDocumentedCaddyfiles(t *testing.T) {
	type example struct{ name, text string }
	text, err := os.ReadFile(filepath.Join(gateway.Root(t), "Caddyfile.example"))
	if err != nil {
		t.Fatal(err)
	}
	examples := []example{{"Caddyfile.example", string(text)}}
	for _, file := range documents(t) {
		for _, b := range walk.Blocks(t, file) {
			if b.Language == "caddyfile" {
				examples = append(examples, example{fmt.Sprintf("%s:%d", file, b.Line), b.Text})
			}
		}
	}
	if len(examples) < 5 {
		t.Errorf("only %d examples were found", len(examples))
	}
	for _, e := range examples {
		t.Run(strings.ReplaceAll(e.name, "/", " "), func(t *testing.T) {
			if formatted := caddyfile.Format([]byte(e.text)); string(formatted) != e.text {
				t.Errorf("caddy fmt makes of it:\n%s", formatted)
			}
			g := gateway.New(t, e.text)
			path := filepath.Join(g.Dir, "Caddyfile")
			if err := os.WriteFile(path, []byte(e.text), 0o600); err != nil {
				t.Fatal(err)
			}
			out, faults, code := g.Caddy("adapt", "--config", path)
			if code != 0 || !json.Valid([]byte(out)) {
				t.Errorf("caddy adapt: exit code %d\n%s", code, faults)
			}
			if strings.Contains(faults, `"level":"warn"`) || strings.Contains(faults, "WARN") {
				t.Errorf("caddy adapt warns:\n%s", faults)
			}
		})
	}
}

// TestDocumentedJSON: what is a config is one that caddy validate accepts, everything else is JSON at least.
func TestDocumentedJSON(t *testing.T) {
	for _, file := range documents(t) {
		for _, b := range walk.Blocks(t, file) {
			if b.Language != "json" {
				continue
			}
			var object struct {
				Apps json.RawMessage `json:"apps"`
			}
			if err := json.Unmarshal([]byte(b.Text), &object); err != nil {
				t.Errorf("%s:%d: %v", file, b.Line, err)
			}
			if object.Apps == nil {
				continue
			}
			g := gateway.New(t, "", "ORDERS_SECRET=a-secret-that-has-32-characters-or-more")
			path := filepath.Join(g.Dir, "config.json")
			if err := os.WriteFile(path, []byte(b.Text), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, faults, code := g.Caddy("validate", "--config", path); code != 0 {
				t.Errorf("%s:%d: caddy validate: exit code %d\n%s", file, b.Line, code, faults)
			}
		}
	}
}

// TestWalk runs the commands of the README's walk in their order, in one shell, against Caddyfile.example. What a
// command prints must be what the README shows. There, "…" is any text within a line, and alone on a line any lines.
func TestWalk(t *testing.T) {
	// The same with other ports: those of the README may be taken here.
	example, err := os.ReadFile(filepath.Join(gateway.Root(t), "Caddyfile.example"))
	if err != nil {
		t.Fatal(err)
	}
	legacy := gateway.FreePorts(t, 1)[0]
	config := strings.NewReplacer(":8080", ":{$PORT}", ":8081", ":"+legacy).Replace(string(example))
	g := gateway.Start(t, config)
	walk.Run(t, g, "README.md", []string{":8080", ":" + g.Port, ":8081", ":" + legacy})
}
