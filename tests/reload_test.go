package tests

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/oauth2-passport/caddy-passport/tests/internal/gateway"
)

// TestReloadUnderLoad reloads the config, accepted and refused at every stage, while clients get tokens and call: no
// request fails, and no token is forgotten.
func TestReloadUnderLoad(t *testing.T) {
	g, _ := start(t, site)
	old := g.Token("demo", demoSecret, "read")

	done := make(chan struct{})
	faults := make(chan error, 64)
	var wg sync.WaitGroup
	work := func(step func() error) {
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-done:
					if n == 0 {
						faults <- fmt.Errorf("nothing was done in the meantime")
					}
					return
				default:
				}
				if err := step(); err != nil {
					faults <- err
					return
				}
			}
		})
	}
	call := func(token string) error {
		req := g.Request(http.MethodGet, "/orders", "")
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := g.Try(req)
		if err == nil && resp.Status != http.StatusOK {
			err = fmt.Errorf("GET /orders: %d %s", resp.Status, resp.Body)
		}
		return err
	}
	for range 2 {
		work(func() error { return call(old) })
		work(func() error {
			token, err := tryToken(g)
			if err != nil {
				return err
			}
			return call(token)
		})
	}
	work(func() error {
		token, err := tryToken(g)
		if err != nil {
			return err
		}
		if _, err = tryForm(g, "/oauth/revoke", url.Values{"token": {token}}); err != nil {
			return err
		}
		if err = call(token); err == nil {
			return fmt.Errorf("a revoked token is good")
		}
		return nil
	})

	bad := map[string]string{
		"at adapting": strings.Replace(site, "passport_server", "passport_server {\n\t\tnonsense\n\t}", 1),
		"at provisioning": strings.Replace(site, "passport_auth /orders* scopes read",
			"passport_auth /orders* {\n\t\tissuer nobody\n\t}", 1),
		"at starting": strings.Replace(site, "passport {", "passport {\n\t\tstorage badger /dev/null/nowhere\n", 1),
	}
	for range 4 {
		for _, accepted := range []string{
			site, strings.Replace(site, "See the orders", "Look", 1),
		} {
			if err := g.Reload(accepted); err != nil {
				t.Errorf("a good config was refused: %v", err)
			}
			for stage, caddyfile := range bad {
				if err := g.Reload(caddyfile); err == nil {
					t.Errorf("a config that is bad %s was accepted", stage)
				}
			}
		}
	}
	close(done)
	wg.Wait()
	close(faults)
	for err := range faults {
		t.Error(err)
	}
}

// TestRefusesTokensOfClientThatLeftTheConfig takes a client out of the config and puts it back.
func TestRefusesTokensOfClientThatLeftTheConfig(t *testing.T) {
	g, _ := start(t, site)
	token := g.Token("demo", demoSecret, "read")
	without := strings.Replace(site, "client demo {", "client another {", 1)
	if err := g.Reload(without); err != nil {
		t.Fatal(err)
	}
	refused(t, g.Get("/orders", token), http.StatusUnauthorized, "invalid_token", `error="invalid_token"`)
	resp := g.Form("/oauth/token", "demo", demoSecret, url.Values{"grant_type": {"client_credentials"}})
	if resp.Status != http.StatusUnauthorized || resp.String("error") != "invalid_client" {
		t.Errorf("a token for it: %d %s", resp.Status, resp.Body)
	}
	if err := g.Reload(site); err != nil {
		t.Fatal(err)
	}
	if resp := g.Get("/orders", token); resp.Status != http.StatusOK {
		t.Errorf("back again: %d %s", resp.Status, resp.Body)
	}
}

// TestReloadChangesWhatARouteAsks: what is remembered of a token is who it is, not what it may do.
func TestReloadChangesWhatARouteAsks(t *testing.T) {
	g, _ := start(t, site)
	token := g.Token("demo", demoSecret, "read")
	if resp := g.Get("/orders", token); resp.Status != http.StatusOK {
		t.Fatalf("before: %d %s", resp.Status, resp.Body)
	}
	if err := g.Reload(strings.Replace(site, "scopes read\n\tpassport", "scopes read write\n\tpassport", 1)); err != nil {
		t.Fatal(err)
	}
	refused(t, g.Get("/orders", token), http.StatusForbidden, "insufficient_scope", `scope="read write"`)
}

// TestRunNamesStorageThatDoesNotOpen: the gateway does not run without its memory.
func TestRunNamesStorageThatDoesNotOpen(t *testing.T) {
	g := gateway.New(t, strings.Replace(site, "passport {", "passport {\n\t\tstorage badger /dev/null/nowhere\n", 1),
		"UPSTREAM=127.0.0.1:1", "DEMO_SECRET="+demoSecret)
	if err := g.Run(); err == nil || !strings.Contains(err.Error(), "exit status 1") {
		t.Errorf("caddy run: %v", err)
	}
	if !strings.Contains(g.Log(), "/dev/null/nowhere") {
		t.Error("the log does not name the path")
	}
}
