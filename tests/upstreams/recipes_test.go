//go:build linux

package upstreams

import (
	"os"
	"testing"

	"github.com/oauth2-passport/caddy-passport/tests/internal/gateway"
	"github.com/oauth2-passport/caddy-passport/tests/internal/walk"
)

// TestRecipes runs the commands of the pages that are about an upstream, against that upstream.
func TestRecipes(t *testing.T) {
	run := func(t *testing.T, g *gateway.Gateway, page string, env ...string) {
		t.Helper()
		walk.Run(t, g, "docs/"+page, []string{"https://api.example.com", g.URL},
			append(env, "PATH="+g.Dir+":"+os.Getenv("PATH"))...)
	}
	t.Run("nginx and PHP", func(t *testing.T) {
		n := startNginx(t)
		run(t, start(t, recipe(t, "nginx-php.md"), n.plain), "nginx-php.md")
	})
	t.Run("WebSockets", func(t *testing.T) {
		upstream, _ := echo(t)
		run(t, start(t, recipe(t, "websocket.md"), upstream), "websocket.md")
	})
	t.Run("gRPC", func(t *testing.T) {
		upstream, _ := startGRPC(t)
		g, roots := startGRPCGateway(t, upstream)
		run(t, g, "grpc.md", "CURL_CA_BUNDLE="+roots)
	})
}
