package tests

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/oauth2-passport/caddy-passport/tests/internal/gateway"
)

// block is a fenced block of a Markdown file.
type block struct {
	language string
	line     int
	indent   string // of the fence, in a list
	text     string
}

func blocks(t *testing.T, file string) []block {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(gateway.Root(t), file))
	if err != nil {
		t.Fatal(err)
	}
	var list []block
	var open *block
	for i, line := range strings.SplitAfter(string(text), "\n") {
		indent, language, fence := strings.Cut(strings.TrimSuffix(line, "\n"), "```")
		fence = fence && strings.TrimSpace(indent) == ""
		switch {
		case fence && open == nil:
			open = &block{language: language, line: i + 1, indent: indent}
		case fence:
			list, open = append(list, *open), nil
		case open != nil:
			open.text += strings.TrimPrefix(line, open.indent)
		}
	}
	if open != nil {
		t.Fatalf("%s:%d: the block does not end", file, open.line)
	}
	return list
}

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
		for _, b := range blocks(t, file) {
			if b.language == "caddyfile" {
				examples = append(examples, example{fmt.Sprintf("%s:%d", file, b.line), b.text})
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
		for _, b := range blocks(t, file) {
			if b.language != "json" {
				continue
			}
			var object struct {
				Apps json.RawMessage `json:"apps"`
			}
			if err := json.Unmarshal([]byte(b.text), &object); err != nil {
				t.Errorf("%s:%d: %v", file, b.line, err)
			}
			if object.Apps == nil {
				continue
			}
			g := gateway.New(t, "", "ORDERS_SECRET=a-secret-that-has-32-characters-or-more")
			path := filepath.Join(g.Dir, "config.json")
			if err := os.WriteFile(path, []byte(b.text), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, faults, code := g.Caddy("validate", "--config", path); code != 0 {
				t.Errorf("%s:%d: caddy validate: exit code %d\n%s", file, b.line, code, faults)
			}
		}
	}
}

// TestWalk runs the commands of the README's walk in their order, in one shell, against Caddyfile.example. What a
// command prints must be what the README shows. There, "…" is any text within a line, and alone on a line any lines.
func TestWalk(t *testing.T) {
	var commands []step
	for _, b := range blocks(t, "README.md") {
		if b.language == "console" {
			commands = append(commands, steps(t, b)...)
		}
	}
	if len(commands) < 10 {
		t.Fatalf("the walk has %d commands only", len(commands))
	}

	// The same with other ports: those of the README may be taken here.
	example, err := os.ReadFile(filepath.Join(gateway.Root(t), "Caddyfile.example"))
	if err != nil {
		t.Fatal(err)
	}
	legacy := gateway.FreePorts(t, 1)[0]
	config := strings.NewReplacer(":8080", ":{$PORT}", ":8081", ":"+legacy).Replace(string(example))
	g := gateway.Start(t, config)
	theirs := strings.NewReplacer(":8080", ":"+g.Port, ":8081", ":"+legacy)
	ours := strings.NewReplacer(":"+g.Port, ":8080", ":"+legacy, ":8081")
	if err := os.Symlink(gateway.Binary(t), filepath.Join(g.Dir, "caddy")); err != nil {
		t.Fatal(err)
	}

	const mark = "\x01--- end of a command ---"
	var script strings.Builder
	for _, c := range commands {
		fmt.Fprintf(&script, "%s\nprintf '%%s' '%s'\n", theirs.Replace(c.command), mark)
	}
	var out bytes.Buffer
	bash := exec.Command("bash", "-c", script.String())
	bash.Env, bash.Dir = g.Command().Env, g.Dir
	bash.Stdout, bash.Stderr = &out, &out
	if err := bash.Run(); err != nil {
		t.Errorf("the shell: %v", err)
	}
	outputs := strings.Split(out.String(), mark)
	if len(outputs) != len(commands)+1 {
		t.Fatalf("%d commands ended, of %d:\n%s", len(outputs)-1, len(commands), out.String())
	}
	for i, c := range commands {
		got := strings.TrimSpace(ours.Replace(strings.ReplaceAll(outputs[i], "\r", "")))
		if !c.output.MatchString(got) {
			t.Errorf("README.md:%d: $ %s\nprints\n%s\nbut the README shows\n%s", c.line, c.command, got, c.shown)
		}
	}
}

// step is a command of the walk.
type step struct {
	line    int
	command string
	shown   string
	output  *regexp.Regexp // what shown means
}

// steps takes a console block apart: a line that begins with "$ " is a command, which goes on after a backslash; what
// follows is its output.
func steps(t *testing.T, b block) []step {
	t.Helper()
	var list []step
	continued := false
	for i, line := range strings.Split(strings.TrimSuffix(b.text, "\n"), "\n") {
		command, isCommand := strings.CutPrefix(line, "$ ")
		switch {
		case continued:
			list[len(list)-1].command += "\n" + line
			continued = strings.HasSuffix(line, `\`)
		case isCommand:
			list = append(list, step{line: b.line + i + 1, command: command})
			continued = strings.HasSuffix(line, `\`)
		case len(list) == 0:
			t.Fatalf("README.md:%d: output without a command", b.line+i+1)
		default:
			list[len(list)-1].shown += line + "\n"
		}
	}
	for i := range list {
		list[i].output = pattern(strings.TrimSpace(list[i].shown))
	}
	return list
}

func pattern(shown string) *regexp.Regexp {
	var expr strings.Builder
	expr.WriteString(`\A`)
	for i, line := range strings.Split(shown, "\n") {
		if line == "…" {
			expr.WriteString(`(\n.*|\A.*)*`)
			continue
		}
		if i > 0 {
			expr.WriteString(`\n`)
		}
		expr.WriteString(strings.ReplaceAll(regexp.QuoteMeta(line), "…", ".*"))
	}
	expr.WriteString(`\z`)
	return regexp.MustCompile(expr.String())
}

func TestPattern(t *testing.T) {
	for _, tc := range []struct {
		name, shown, printed string
		match                bool
	}{
		{"the same", "a.c\nd", "a.c\nd", true},
		{"not the same", "a.c", "abc", false},
		{"more than is shown", "a", "a\nb", false},
		{"less than is shown", "a\nb", "a", false},
		{"nothing", "", "", true},
		{"something for nothing", "", "a", false},
		{"any text", `{"id":"…"}`, `{"id":"17"}`, true},
		{"any text is within a line", "a…b", "a\nb", false},
		{"any lines between", "a\n…\nb", "a\nc\nd\nb", true},
		{"no lines between", "a\n…\nb", "a\nb", true},
		{"any lines at the end", "a\n…", "a\nc\nd", true},
		{"any lines at the beginning", "…\nb", "a\nc\nb", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := pattern(tc.shown).MatchString(tc.printed); got != tc.match {
				t.Errorf("got %v by %s", got, pattern(tc.shown))
			}
		})
	}
}
