// Package mcp has clients and servers of the Model Context Protocol that others wrote speak through the gateway.
package mcp

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/oauth2-passport/caddy-passport/tests/internal/gateway"
	"github.com/oauth2-passport/caddy-passport/tests/internal/npm"
	"github.com/oauth2-passport/caddy-passport/tests/internal/walk"
)

const secret = "the secret of the client, 40 characters long"

// files are what the tests need of this folder: two lines of an SDK that others wrote, and what runs on each.
var files = []string{"sdk-1.mjs", "sdk-2.mjs", "server-1.mjs", "server-2.mjs", "client.mjs", "person.mjs"}

// start runs the Caddyfile of docs/mcp.md in front of a server.
func start(t *testing.T, upstream string) *gateway.Gateway {
	t.Helper()
	site := walk.Caddyfile(t, "docs/mcp.md", 1, "https://mcp.example.com", "http://127.0.0.1:{$PORT}",
		"mcp.example.com", "http://127.0.0.1:{$PORT}", "localhost:3000", "{$UPSTREAM}")
	g := gateway.Start(t, site, "UPSTREAM="+upstream, "AGENT_SECRET="+secret)
	g.Secret(secret)
	return g
}

// serve runs a server of the SDK, until the end of the test, and returns its host and port.
func serve(t *testing.T, dir, script string) string {
	t.Helper()
	server := exec.CommandContext(t.Context(), "node", script)
	server.Dir, server.Stderr = dir, t.Output()
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
	return "127.0.0.1:" + strings.TrimSpace(port)
}

// inOrder fails the test unless each of the steps is among the requests, after the one before.
func inOrder(t *testing.T, requests []string, steps ...string) {
	t.Helper()
	at := 0
	for _, step := range steps {
		found := slices.Index(requests[at:], step)
		if found < 0 {
			t.Fatalf("%q is missing, or too early, in %q", step, requests)
		}
		at += found + 1
	}
}

// TestTypeScriptSDK sends a client of the SDK, which knows its ID and secret and the URL of an MCP server, from the 401
// through both metadata documents to the call of a tool of the SDK's server behind the gateway, by the revision of the
// protocol that both speak.
func TestTypeScriptSDK(t *testing.T) {
	dir := npm.Install(t, "mcp", files...)
	for _, tc := range []struct{ name, client, server, revision string }{
		{"the first line", "1", "1", "2025-11-25"},
		{"the second line", "2", "2", "2026-07-28"},
		{"a server that is older than the client", "2", "1", "2025-11-25"},
		{"a client that is older than the server", "1", "2", "2025-11-25"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g := start(t, serve(t, dir, "server-"+tc.server+".mjs"))
			client := exec.CommandContext(t.Context(), "node", "client.mjs")
			client.Dir, client.Stderr = dir, t.Output()
			client.Env = append(os.Environ(), "SDK=./sdk-"+tc.client+".mjs", "MCP_URL="+g.URL+"/mcp", "ISSUER="+g.URL,
				"CLIENT_ID=agent", "CLIENT_SECRET="+secret, "SCOPE=mcp")
			said, err := client.Output()
			if err != nil {
				t.Fatalf("%v\n%s\n%s", err, said, g.Log())
			}
			var got struct {
				Requests       []string
				Revision, Text string
			}
			if err := json.Unmarshal(said, &got); err != nil {
				t.Fatalf("%v: %s", err, said)
			}
			if got.Text != "order 17 for agent, token none, by "+tc.revision || got.Revision != tc.revision {
				t.Errorf("the tool answered %q, the client has agreed on %s", got.Text, got.Revision)
			}
			inOrder(t, got.Requests,
				"POST /mcp 401",
				"GET /.well-known/oauth-protected-resource/mcp 200",
				"GET /.well-known/oauth-authorization-server 200",
				"POST /oauth/token 200",
				"POST /mcp 200",
			)
		})
	}
}

// TestTypeScriptSDKForAPerson is the same for a person, who signs in and allows the client, and for whom it gets a new
// token later by itself.
func TestTypeScriptSDKForAPerson(t *testing.T) {
	dir := npm.Install(t, "mcp", files...)
	for line, revision := range map[string]string{"1": "2025-11-25", "2": "2026-07-28"} {
		t.Run(revision, func(t *testing.T) { forAPerson(t, dir, line, revision) })
	}
}

func forAPerson(t *testing.T, dir, line, revision string) {
	t.Helper()
	g := start(t, serve(t, dir, "server-"+line+".mjs"))
	made, faults, code := g.Caddy("passport", "user", "create", "ada", "--json")
	var ada struct {
		Password string `json:"password"`
	}
	if err := json.Unmarshal([]byte(made), &ada); err != nil || code != 0 {
		t.Fatalf("%v: %s", err, faults)
	}
	client := exec.CommandContext(t.Context(), "node", "person.mjs")
	client.Dir, client.Stderr = dir, t.Output()
	client.Env = append(os.Environ(), "SDK=./sdk-"+line+".mjs", "MCP_URL="+g.URL+"/mcp", "ISSUER="+g.URL,
		"CLIENT_ID=desk", "REDIRECT_URI=http://127.0.0.1:49152/callback")
	in, err := client.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := client.StdoutPipe()
	if err == nil {
		err = client.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Process.Kill() }()
	lines := bufio.NewReader(out)
	asked, err := lines.ReadString('\n')
	if err != nil {
		t.Fatalf("%v: %s", err, asked)
	}
	b := g.Browser()
	page := b.SignIn(b.Open(strings.TrimSpace(asked)), "ada", ada.Password)
	if !strings.Contains(page.Body, `value="approve"`) {
		t.Fatalf("there is no page of consent: %d at %s: %s", page.Status, page.Path, page.Body)
	}
	if page = b.Send("/oauth/authorize", page.Form("decision", "approve")); page.Left == nil {
		t.Fatalf("the consent leads to %s: %d %s", page.Path, page.Status, page.Body)
	}
	if _, err := io.WriteString(in, page.Left.String()+"\n"); err != nil {
		t.Fatal(err)
	}
	said, err := io.ReadAll(lines)
	if err == nil {
		err = client.Wait()
	}
	var got struct {
		Requests              []string
		Revision, Text, Again string
		Refreshed             int
	}
	if err == nil {
		err = json.Unmarshal(said, &got)
	}
	if err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	if got.Revision != revision {
		t.Errorf("the client has agreed on %s", got.Revision)
	}
	want := "order 17 for desk, token none, by " + revision
	if got.Text != want || got.Again != want || got.Refreshed != 1 {
		t.Errorf("the tool answered %q, then %q, and the token was refreshed %d times", got.Text, got.Again, got.Refreshed)
	}
	inOrder(t, got.Requests,
		"POST /mcp 401",
		"GET /.well-known/oauth-protected-resource/mcp 200",
		"GET /.well-known/oauth-authorization-server 200",
		"POST /oauth/token 200",
		"POST /mcp 200",
		"POST /mcp 401",
		"POST /oauth/token 200",
		"POST /mcp 200",
	)
}
