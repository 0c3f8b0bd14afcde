package gateway

import (
	"net/http"
	"strings"
	"testing"
)

const plain = `{
	default_bind 127.0.0.1
}

http://127.0.0.1:{$PORT} {
	respond /which "{$GREETING}"
	reverse_proxy {$UPSTREAM}
}
`

func TestGateway(t *testing.T) {
	upstream := NewUpstream(t)
	g := Start(t, plain, "UPSTREAM="+upstream.Addr, "GREETING=first")

	if resp := g.Get("/which", ""); resp.Status != http.StatusOK || resp.Body != "first" {
		t.Fatalf("got %d %q", resp.Status, resp.Body)
	}
	if resp := g.Get("/orders?a=b", "token"); resp.String("path") != "/orders" {
		t.Errorf("the upstream answered %q", resp.Body)
	}
	if got := upstream.Last(); got.URI != "/orders?a=b" || got.Header.Get("Authorization") != "Bearer token" {
		t.Errorf("the upstream received %+v", got)
	}

	if err := g.Reload(strings.Replace(plain, "{$GREETING}", "second", 1)); err != nil {
		t.Fatal(err)
	}
	if err := g.Reload("http://127.0.0.1:{$PORT} {\n\tnonsense\n}\n"); err == nil ||
		!strings.Contains(err.Error(), "nonsense") {
		t.Errorf("a bad Caddyfile: %v", err)
	}
	for name, restart := range map[string]func(){
		"stopped": func() { g.Stop(); g.Restart() },
		"killed":  func() { g.Kill(); g.Restart() },
		"running": g.Restart,
	} {
		restart()
		if resp := g.Get("/which", ""); resp.Body != "second" {
			t.Errorf("%s, then started again: got %q", name, resp.Body)
		}
	}

	if out, faults, code := g.Caddy("version"); code != 0 || !strings.HasPrefix(out, "v2.") {
		t.Errorf("caddy version: exit code %d, %q, %q", code, out, faults)
	}
}

func TestRunTellsThatCaddyEnded(t *testing.T) {
	g := New(t, "http://127.0.0.1:{$PORT} {\n\tnonsense\n}\n")
	if err := g.Run(); err == nil || !strings.Contains(err.Error(), "exit status 1") {
		t.Errorf("got %v", err)
	}
	if !strings.Contains(g.Log(), "nonsense") {
		t.Errorf("the log: %q", g.Log())
	}
	if g.Running() {
		t.Error("it is said to run")
	}
}
