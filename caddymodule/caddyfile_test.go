package caddymodule

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// FuzzCaddyfile gives our parsers whatever the Caddyfile's tokenizer takes. Each answers an error that names the file,
// or a config that survives JSON.
func FuzzCaddyfile(f *testing.F) {
	files, err := filepath.Glob("../tests/adapt/testdata/*.caddyfile")
	if err != nil || len(files) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for _, name := range []string{"passport", "passport_server", "passport_auth", "@admin"} {
			for _, segment := range segments(string(text), name) {
				f.Add(segment)
			}
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		tokens, err := caddyfile.Tokenize([]byte(text), "Caddyfile")
		if err != nil || len(tokens) == 0 {
			return
		}
		for name, parse := range map[string]func(d *caddyfile.Dispenser) (any, error){
			"passport": func(d *caddyfile.Dispenser) (any, error) {
				option, err := parseGlobalOption(d, nil)
				if err != nil {
					return nil, err
				}
				app := new(App)
				return app, caddy.StrictUnmarshalJSON(option.(httpcaddyfile.App).Value, app)
			},
			"passport_server": unmarshal(new(Server)),
			"passport_auth":   unmarshal(new(Auth)),
			"matcher":         unmarshal(new(Matcher)),
			"badger":          unmarshal(new(Badger)),
		} {
			// The parser gets its own copy: it may change the tokens.
			parsed, err := parse(caddyfile.NewDispenser(append([]caddyfile.Token(nil), tokens...)))
			if err != nil {
				if !strings.Contains(err.Error(), "at Caddyfile:") {
					t.Errorf("%s: the error does not say where: %v", name, err)
				}
				continue
			}
			survivesJSON(t, name, parsed)
		}
	})
}

func unmarshal[T caddyfile.Unmarshaler](into T) func(d *caddyfile.Dispenser) (any, error) {
	return func(d *caddyfile.Dispenser) (any, error) { return into, into.UnmarshalCaddyfile(d) }
}

// survivesJSON checks that a config says the same after it has become JSON and been read again.
func survivesJSON[T any](t *testing.T, name string, config T) {
	t.Helper()
	first, err := json.Marshal(config)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if err := caddy.StrictUnmarshalJSON(first, config); err != nil {
		t.Fatalf("%s: %v: %s", name, err, first)
	}
	again, err := json.Marshal(config)
	if err != nil || !bytes.Equal(first, again) {
		t.Errorf("%s: %v\n%s\nand then\n%s", name, err, first, again)
	}
}

// segments returns the pieces of a Caddyfile that begin with a name: its line and, if that opens a block, the block.
func segments(text, name string) (found []string) {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		indent := line[:len(line)-len(strings.TrimLeft(line, "\t"))]
		first, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		if first != name {
			continue
		}
		end := i
		if strings.HasSuffix(line, "{") {
			for end+1 < len(lines) && lines[end] != indent+"}" {
				end++
			}
		}
		found = append(found, strings.Join(lines[i:end+1], "\n"))
	}
	return found
}

// TestWarnsOfSecretsWrittenOut: a key in the Caddyfile is in the adapted config, too.
func TestWarnsOfSecretsWrittenOut(t *testing.T) {
	const key = "000102030405060708090a0b0c0d0e0f"
	for text, warned := range map[string]bool{
		"badger {\n\tencryption_key " + key + "\n}":                        true,
		"badger {\n\tencryption_key {env.PASSPORT_ENCRYPTION_KEY}\n}":      false,
		"badger {\n\tencryption_key {file./run/secrets/encryption_key}\n}": false,
	} {
		tokens, err := caddyfile.Tokenize([]byte(text), "Caddyfile")
		if err != nil {
			t.Fatal(err)
		}
		log := captureLog(t)
		if err := new(Badger).UnmarshalCaddyfile(caddyfile.NewDispenser(tokens)); err != nil {
			t.Fatal(err)
		}
		said := log()
		if strings.Contains(said, key) {
			t.Errorf("the warning has the key: %s", said)
		}
		got := strings.Contains(said, "{env.PASSPORT_ENCRYPTION_KEY}") && strings.Contains(said, `"line":2`)
		if got != warned {
			t.Errorf("%s\nwarned: %v, %s", text, got, said)
		}
	}
}

// captureLog keeps what goes to Caddy's default log until the returned function is called, which tells it.
func captureLog(t *testing.T) (said func() string) {
	t.Helper()
	_, original, kept := caddy.BufferedLog()
	return func() string {
		var text bytes.Buffer
		encoder := zapcore.NewJSONEncoder(zapcore.EncoderConfig{MessageKey: "msg", LevelKey: "level"})
		kept.FlushTo(zap.New(zapcore.NewCore(encoder, zapcore.AddSync(&text), zapcore.DebugLevel)))
		caddy.UnbufferDefaultLogger(original)
		return text.String()
	}
}
