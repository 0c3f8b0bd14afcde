// Package script holds the command line to what it says: each script of testdata is a session of an operator with a
// Caddy of its own.
package script

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/oauth2-passport/caddy-passport/tests/internal/gateway"
)

// TestScripts runs the scripts. Beside testscript's own commands they have
//
//	start Caddyfile     prepares and runs Caddy; $ADMIN, $URL and $PORT say where
//	prepare Caddyfile   only prepares it: `caddy` then finds the same environment
//	run                 runs what was prepared
//	stop                ends it
//	member NAME PATH    sets $NAME to the member PATH (a.b) of the JSON on the standard output of the last command
//	leaks NAME...       fails when the log, or a file below the home, has the value of one of these variables
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	binary := gateway.Binary(t)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			s := &session{t: t}
			testscript.Run(t, testscript.Params{
				Files: []string{file},
				Setup: func(env *testscript.Env) error {
					bin := filepath.Join(env.WorkDir, ".bin")
					if err := os.Mkdir(bin, 0o755); err != nil {
						return err
					}
					env.Setenv("PATH", bin+string(os.PathListSeparator)+env.Getenv("PATH"))
					return os.Symlink(binary, filepath.Join(bin, "caddy"))
				},
				Cmds: map[string]func(*testscript.TestScript, bool, []string){
					"start":   s.start,
					"prepare": s.prepare,
					"run":     s.run,
					"stop":    s.stop,
					"member":  s.member,
					"leaks":   s.leaks,
				},
			})
		})
	}
}

// session is the Caddy of one script.
type session struct {
	t       *testing.T
	gateway *gateway.Gateway
}

func (s *session) start(ts *testscript.TestScript, neg bool, args []string) {
	s.prepare(ts, neg, args)
	s.run(ts, neg, nil)
}

func (s *session) prepare(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: prepare Caddyfile")
	}
	s.gateway = gateway.New(s.t, ts.ReadFile(args[0]))
	ts.Setenv("HOME", s.gateway.Dir)
	ts.Setenv("XDG_DATA_HOME", filepath.Join(s.gateway.Dir, "data"))
	ts.Setenv("XDG_CONFIG_HOME", filepath.Join(s.gateway.Dir, "config"))
	ts.Setenv("CADDY_ADMIN", s.gateway.Admin)
	ts.Setenv("ADMIN", s.gateway.Admin)
	ts.Setenv("PORT", s.gateway.Port)
	ts.Setenv("URL", s.gateway.URL)
}

func (s *session) run(ts *testscript.TestScript, neg bool, _ []string) {
	err := s.gateway.Run()
	if failed := err != nil; failed != neg {
		ts.Fatalf("running Caddy: %v\n%s", err, s.gateway.Log())
	}
}

func (s *session) stop(*testscript.TestScript, bool, []string) { s.gateway.Stop() }

func (s *session) member(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: member NAME PATH")
	}
	var v any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &v))
	for name := range strings.SplitSeq(args[1], ".") {
		switch at := v.(type) {
		case map[string]any:
			v = at[name]
		case []any:
			if len(at) == 0 {
				ts.Fatalf("%s: the list is empty", args[1])
			}
			v = at[0] // lists have numbers for names; the first is all that scripts need
		default:
			ts.Fatalf("%s: there is no %s", args[1], name)
		}
	}
	text, ok := v.(string)
	if !ok || text == "" {
		ts.Fatalf("%s is no text: %v", args[1], v)
	}
	ts.Setenv(args[0], text)
}

func (s *session) leaks(ts *testscript.TestScript, _ bool, names []string) {
	log := s.gateway.Log()
	for _, name := range names {
		secret := ts.Getenv(name)
		if len(secret) < 16 {
			ts.Fatalf("$%s is no secret: %q", name, secret)
		}
		if strings.Contains(log, secret) {
			ts.Fatalf("the log has the value of %s", name)
		}
		err := filepath.WalkDir(s.gateway.Dir, func(path string, entry os.DirEntry, err error) error {
			if err != nil || !entry.Type().IsRegular() {
				return err
			}
			content, err := os.ReadFile(path)
			if err == nil && strings.Contains(string(content), secret) {
				ts.Fatalf("%s has the value of %s", path, name)
			}
			return err
		})
		ts.Check(err)
	}
}
