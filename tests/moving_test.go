package tests

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oauth2-passport/caddy-passport/store/pgstore/pgtest"
	"github.com/oauth2-passport/caddy-passport/tests/internal/gateway"
)

// TestMovingToPostgreSQLAndBack writes a backup of a gateway on Badger while it issues tokens, and restores it on one of
// two nodes: both go on with its clients, its keys and its tokens, and what was revoked stays so. A backup of theirs
// does as much for another gateway on Badger.
func TestMovingToPostgreSQLAndBack(t *testing.T) {
	upstream := gateway.NewUpstream(t)
	caddyfile := strings.Replace(node, "\t\tstorage postgres {env.DATABASE_URL}\n", "", 1)
	old := gateway.Start(t, caddyfile, "UPSTREAM="+upstream.Addr, "DEMO_SECRET="+demoSecret)
	id, secret := createClient(t, old, "--scopes", "read")
	live, revoked := old.Token(id, secret, "read"), old.Token(id, secret, "read")
	resp := old.Form("/oauth/revoke", id, secret, url.Values{"token": {revoked}})
	if resp.Status != http.StatusOK {
		t.Fatalf("revoking: %d %s", resp.Status, resp.Body)
	}

	file := filepath.Join(t.TempDir(), "backup")
	work := func() error {
		resp, err := issueOn(old)
		if err == nil && resp.Status != http.StatusOK {
			err = fmt.Errorf("a token: %d %s", resp.Status, resp.Body)
		}
		return err
	}
	tr := startTraffic(work, work)
	call := func(g *gateway.Gateway, args ...string) (records int) {
		t.Helper()
		args = append([]string{"passport"}, append(args, "--json", "--address", g.Admin)...)
		out, errs, code := g.Caddy(args...)
		var answer struct{ Records int }
		if err := json.Unmarshal([]byte(out), &answer); err != nil || code != 0 {
			t.Fatalf("%v: %d %v %s%s", args, code, err, out, errs)
		}
		return answer.Records
	}
	written := call(old, "backup", file)
	tr.stop(t)
	if info, err := os.Stat(file); err != nil || info.Mode() != 0o600 {
		t.Errorf("the file is %v: %v", info.Mode(), err)
	}
	if _, _, code := old.Caddy("passport", "backup", file, "--address", old.Admin); code == 0 {
		t.Error("a backup replaces another")
	}

	database := pgtest.Start(t).Database()
	a, b := startNode(t, database), startNode(t, database)
	if restored := call(a, "restore", file); restored != written {
		t.Errorf("%d records are restored, %d were written", restored, written)
	}
	goesOn := func(g *gateway.Gateway, live, revoked string) {
		t.Helper()
		g.Eventually("a token of before is good", func() bool { return callOn(g, live) == nil })
		g.Eventually("one that was revoked is not", func() bool {
			return g.Get("/orders", revoked).Status == http.StatusUnauthorized
		})
		g.Eventually("the client gets tokens", func() bool {
			form := url.Values{"grant_type": {"client_credentials"}}
			return g.Form("/oauth/token", id, secret, form).Status == http.StatusOK
		})
	}
	goesOn(a, live, revoked)
	goesOn(b, live, revoked)
	given, ended := a.Token(id, secret, "read"), a.Token(id, secret, "read")
	if err := callOn(b, given); err != nil {
		t.Error(err)
	}
	resp = b.Form("/oauth/revoke", id, secret, url.Values{"token": {ended}})
	if resp.Status != http.StatusOK {
		t.Fatalf("revoking: %d %s", resp.Status, resp.Body)
	}

	file = filepath.Join(t.TempDir(), "backup")
	written = call(b, "backup", file)
	alone := gateway.Start(t, caddyfile, "UPSTREAM="+upstream.Addr, "DEMO_SECRET="+demoSecret)
	if restored := call(alone, "restore", file); restored != written {
		t.Errorf("%d records are restored, %d were written", restored, written)
	}
	goesOn(alone, live, revoked)
	goesOn(alone, given, ended)
}
