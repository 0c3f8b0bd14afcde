// Package walk runs the commands that a page of the documentation shows, and compares what they print with what the
// page says that they do.
package walk

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/oauth2-passport/caddy-passport/tests/internal/gateway"
)

// Block is a fenced block of a Markdown file.
type Block struct {
	Language string
	Line     int // of its fence
	Text     string

	indent string // of the fence, in a list
}

// Blocks reads the blocks of a file, which is named as seen from the root of the project.
func Blocks(t testing.TB, file string) []Block {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(gateway.Root(t), file))
	if err != nil {
		t.Fatal(err)
	}
	var list []Block
	var open *Block
	for i, line := range strings.SplitAfter(string(text), "\n") {
		indent, language, fence := strings.Cut(strings.TrimSuffix(line, "\n"), "```")
		fence = fence && strings.TrimSpace(indent) == ""
		switch {
		case fence && open == nil:
			open = &Block{Language: language, Line: i + 1, indent: indent}
		case fence:
			list, open = append(list, *open), nil
		case open != nil:
			open.Text += strings.TrimPrefix(line, open.indent)
		}
	}
	if open != nil {
		t.Fatalf("%s:%d: the block does not end", file, open.Line)
	}
	return list
}

// Caddyfile is the n-th Caddyfile of a file, from 1, as it is run on 127.0.0.1. ours is as for [Run]; each of its
// texts has to stand there, so that a test runs no other Caddyfile than the page has.
func Caddyfile(t testing.TB, file string, n int, ours ...string) string {
	t.Helper()
	blocks := slices.DeleteFunc(Blocks(t, file), func(b Block) bool { return b.Language != "caddyfile" })
	if len(blocks) < n {
		t.Fatalf("%s has %d Caddyfiles, not %d", file, len(blocks), n)
	}
	text := blocks[n-1].Text
	for i := 0; i < len(ours); i += 2 {
		if !strings.Contains(text, ours[i]) {
			t.Fatalf("%s:%d: there is no %q", file, blocks[n-1].Line, ours[i])
		}
	}
	text = strings.NewReplacer(ours...).Replace(text)
	if options, ok := strings.CutPrefix(text, "{\n"); ok {
		return "{\n\tdefault_bind 127.0.0.1\n" + options
	}
	return "{\n\tdefault_bind 127.0.0.1\n}\n\n" + text
}

// Run runs the commands of the blocks "console" of a file in their order, in one shell, in the folder of a gateway.
// What a command prints must be what the file shows. There, "…" is any text within a line, and alone on a line any
// lines.
//
// ours has pairs of texts: what stands in the file, and what it is in this run. The variables are added to the shell's.
func Run(t testing.TB, g *gateway.Gateway, file string, ours []string, env ...string) {
	t.Helper()
	var commands []step
	for _, b := range Blocks(t, file) {
		if b.Language == "console" {
			commands = append(commands, steps(t, file, b)...)
		}
	}
	if len(commands) == 0 {
		t.Fatalf("%s has no commands", file)
	}
	var theirs []string
	for i := 0; i < len(ours); i += 2 {
		theirs = append(theirs, ours[i+1], ours[i])
	}
	here, there := strings.NewReplacer(ours...), strings.NewReplacer(theirs...)
	if err := os.Symlink(gateway.Binary(t), filepath.Join(g.Dir, "caddy")); err != nil {
		t.Fatal(err)
	}

	const mark = "\x01--- end of a command ---"
	var script strings.Builder
	for _, c := range commands {
		fmt.Fprintf(&script, "%s\nprintf '%%s' '%s'\n", here.Replace(c.command), mark)
	}
	var out bytes.Buffer
	bash := exec.Command("bash", "-c", script.String())
	bash.Env, bash.Dir = slices.Concat(g.Command().Env, env), g.Dir
	bash.Stdout, bash.Stderr = &out, &out
	if err := bash.Run(); err != nil {
		t.Errorf("the shell: %v", err)
	}
	outputs := strings.Split(out.String(), mark)
	if len(outputs) != len(commands)+1 {
		t.Fatalf("%d commands ended, of %d:\n%s", len(outputs)-1, len(commands), out.String())
	}
	for i, c := range commands {
		got := strings.TrimSpace(there.Replace(strings.ReplaceAll(outputs[i], "\r", "")))
		if !c.output.MatchString(got) {
			t.Errorf("%s:%d: $ %s\nprints\n%s\nbut the page shows\n%s", file, c.line, c.command, got, c.shown)
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
func steps(t testing.TB, file string, b Block) []step {
	t.Helper()
	var list []step
	continued := false
	for i, line := range strings.Split(strings.TrimSuffix(b.Text, "\n"), "\n") {
		command, isCommand := strings.CutPrefix(line, "$ ")
		switch {
		case continued:
			list[len(list)-1].command += "\n" + line
			continued = strings.HasSuffix(line, `\`)
		case isCommand:
			list = append(list, step{line: b.Line + i + 1, command: command})
			continued = strings.HasSuffix(line, `\`)
		case len(list) == 0:
			t.Fatalf("%s:%d: output without a command", file, b.Line+i+1)
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
