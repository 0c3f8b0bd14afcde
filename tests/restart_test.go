package tests

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/oauth2-passport/caddy-passport/tests/internal/gateway"
)

// createClient makes a client as an operator does.
func createClient(t *testing.T, g *gateway.Gateway, flags ...string) (id, secret string) {
	t.Helper()
	args := append([]string{
		"passport", "client", "create", "--json", "--name", "Orders sync", "--grants", "client_credentials",
	}, flags...)
	out, faults, code := g.Caddy(args...)
	var client struct {
		ID     string `json:"client_id"`
		Secret string `json:"client_secret"`
	}
	if err := json.Unmarshal([]byte(out), &client); err != nil || code != 0 || client.ID == "" || client.Secret == "" {
		t.Fatalf("creating a client: exit code %d, %v, %s%s", code, err, out, faults)
	}
	g.Secret(client.Secret)
	return client.ID, client.Secret
}

// TestNothingIsForgotten ends Caddy in each way and expects what was answered with success before: a client, its token,
// a revocation, and the keys.
func TestNothingIsForgotten(t *testing.T) {
	for name, restart := range map[string]func(*gateway.Gateway){
		"restart": func(g *gateway.Gateway) { g.Restart() },
		"kill -9": func(g *gateway.Gateway) { g.Kill(); g.Restart() },
	} {
		t.Run(name, func(t *testing.T) {
			g, _ := start(t, site)
			id, secret := createClient(t, g, "--scopes", "read write")
			deleted, deletedSecret := createClient(t, g, "--scopes", "read")
			live, revoked := g.Token(id, secret, "read"), g.Token(id, secret, "read")
			ofConfig := g.Token("demo", demoSecret, "read write")
			ofDeleted := g.Token(deleted, deletedSecret, "read")
			keys := g.Get("/oauth/jwks", "").Body

			if out, faults, code := g.Caddy("passport", "client", "delete", deleted); code != 0 {
				t.Fatalf("deleting a client: %s%s", out, faults)
			}
			resp := g.Form("/oauth/revoke", id, secret, url.Values{"token": {revoked}})
			if resp.Status != http.StatusOK {
				t.Fatalf("revoking: %d %s", resp.Status, resp.Body)
			}

			restart(g)

			for what, token := range map[string]string{"a stored client": live, "a client of the config": ofConfig} {
				if resp := g.Get("/orders", token); resp.Status != http.StatusOK {
					t.Errorf("the token of %s: %d %s", what, resp.Status, resp.Body)
				}
			}
			refused(t, g.Get("/orders", revoked), http.StatusUnauthorized, "invalid_token", "revoked")
			refused(t, g.Get("/orders", ofDeleted), http.StatusUnauthorized, "invalid_token")
			if got := g.Get("/oauth/jwks", "").Body; got != keys {
				t.Errorf("the keys were %s\nand are %s", keys, got)
			}
			g.Token(id, secret, "write")
			if resp := g.Form("/oauth/token", deleted, deletedSecret,
				url.Values{"grant_type": {"client_credentials"}}); resp.String("error") != "invalid_client" {
				t.Errorf("the deleted client: %d %s", resp.Status, resp.Body)
			}
		})
	}
}

// formOfDemo is a form that the client demo posts.
func formOfDemo(g *gateway.Gateway, path string, form url.Values) *http.Request {
	req := g.Request(http.MethodPost, path, form.Encode())
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth("demo", demoSecret)
	return req
}

// TestKillLosesNoAnswer kills Caddy while clients get and revoke tokens: what was answered with success holds when it
// runs again.
func TestKillLosesNoAnswer(t *testing.T) {
	g, _ := start(t, site)
	type outcome struct{ live, revoked []string }
	const clients = 4
	outcomes := make([]outcome, clients)
	var answers atomic.Int64
	post := func(path string, form url.Values) (gateway.Response, error) {
		resp, err := g.Try(formOfDemo(g, path, form))
		if err == nil && resp.Status != http.StatusOK {
			err = fmt.Errorf("POST %s: %d %s", path, resp.Status, resp.Body)
		}
		return resp, err
	}
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			for n := 0; ; n++ {
				resp, err := post("/oauth/token", url.Values{"grant_type": {"client_credentials"}, "scope": {"read"}})
				if err != nil {
					return
				}
				token := resp.String("access_token")
				answers.Add(1)
				if n%2 == 0 {
					outcomes[i].live = append(outcomes[i].live, token)
					continue
				}
				if _, err := post("/oauth/revoke", url.Values{"token": {token}}); err != nil {
					return // killed in between: either is right
				}
				outcomes[i].revoked = append(outcomes[i].revoked, token)
			}
		})
	}
	g.Eventually("200 tokens were issued", func() bool { return answers.Load() >= 200 })
	g.Kill()
	wg.Wait()
	g.Restart()

	for _, o := range outcomes {
		for _, token := range o.live {
			if resp := g.Get("/orders", token); resp.Status != http.StatusOK {
				t.Fatalf("a token that was issued before kill -9: %d %s", resp.Status, resp.Body)
			}
		}
		for _, token := range o.revoked {
			refused(t, g.Get("/orders", token), http.StatusUnauthorized, "invalid_token", "revoked")
		}
	}
}
