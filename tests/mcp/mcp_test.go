// Package mcp has clients and servers of the Model Context Protocol that others wrote speak through the gateway.
package mcp

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/oauth2-passport/caddy-passport/tests/internal/gateway"
)

const secret = "the secret of the client, 40 characters long"

const caddyfile = `{
	default_bind 127.0.0.1
	passport {
		client agent {
			secret {env.AGENT_SECRET}
			grants client_credentials
			scopes mcp
		}
	}
}

http://127.0.0.1:{$PORT} {
	passport_server
	passport_auth /mcp* {
		resource http://127.0.0.1:{$PORT}/mcp
		scopes mcp
	}
	reverse_proxy {$UPSTREAM}
}
`

// install puts the packages and the scripts of this folder into .cache, and returns where.
func install(t *testing.T) string {
	t.Helper()
	lock, err := os.ReadFile("package-lock.json")
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(lock)
	dir := filepath.Join(gateway.Root(t), ".cache", "mcp-"+hex.EncodeToString(sum[:8]))
	done := filepath.Join(dir, "installed")
	_, err = os.Stat(done)
	installed := err == nil
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"package.json", "package-lock.json", "server.mjs", "client.mjs"} {
		text, err := os.ReadFile(name)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), text, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if installed {
		return dir
	}
	cmd := exec.CommandContext(t.Context(), "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("npm ci: %v (Debian has it in the packages nodejs and npm)\n%s", err, out)
	}
	if err := os.WriteFile(done, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestTypeScriptSDK sends the client of the SDK, which knows its ID and secret and the URL of an MCP server, from the
// 401 through both metadata documents to the call of a tool of the SDK's server behind the gateway.
func TestTypeScriptSDK(t *testing.T) {
	dir := install(t)
	server := exec.CommandContext(t.Context(), "node", "server.mjs")
	server.Dir, server.Stderr = dir, os.Stderr
	out, err := server.StdoutPipe()
	if err == nil {
		err = server.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait()
	})
	port, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}

	g := gateway.Start(t, caddyfile, "UPSTREAM=127.0.0.1:"+strings.TrimSpace(port), "AGENT_SECRET="+secret)
	client := exec.CommandContext(t.Context(), "node", "client.mjs")
	client.Dir, client.Stderr = dir, os.Stderr
	client.Env = append(os.Environ(), "MCP_URL="+g.URL+"/mcp", "ISSUER="+g.URL, "CLIENT_ID=agent", "CLIENT_SECRET="+secret,
		"SCOPE=mcp")
	said, err := client.Output()
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, said, g.Log())
	}
	var got struct {
		Requests []string `json:"requests"`
		Text     string   `json:"text"`
	}
	if err := json.Unmarshal(said, &got); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	if got.Text != "order 17 for agent, token none" {
		t.Errorf("the tool answered %q", got.Text)
	}
	want := []string{
		"POST /mcp 401",
		"GET /.well-known/oauth-protected-resource/mcp 200",
		"GET /.well-known/oauth-authorization-server 200",
		"POST /oauth/token 200",
		"POST /mcp 200",
	}
	at := 0
	for _, step := range want {
		found := slices.Index(got.Requests[at:], step)
		if found < 0 {
			t.Fatalf("%q is missing, or too early, in %q", step, got.Requests)
		}
		at += found + 1
	}
}
