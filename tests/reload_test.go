package tests

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/oauth2-passport/caddy-passport/tests/internal/gateway"
)

// badAt are configs that Caddy refuses, by the step at which it finds out. says is what its error tells of the step.
var badAt = map[string]struct{ caddyfile, says string }{
	"adapting": {
		strings.Replace(site, "passport_server", "passport_server {\n\t\tnonsense\n\t}", 1),
		"adapting config",
	},
	"provisioning": {
		strings.Replace(site, "passport {", "passport {\n\t\tclient other {\n\t\t\tsecret {env.NOT_SET}\n\t\t}\n", 1),
		"provision passport: ",
	},
	"starting": {
		strings.Replace(site, "passport {", "passport {\n\t\tstorage badger /dev/null/nowhere\n", 1),
		"passport app module: start: ",
	},
}

// reload loads configs that are accepted and configs that are refused, in turns.
func reload(t *testing.T, g *gateway.Gateway) {
	t.Helper()
	for _, accepted := range []string{site, strings.Replace(site, "See the orders", "Look", 1)} {
		if err := g.Reload(accepted); err != nil {
			t.Errorf("a good config was refused: %v", err)
		}
		for step, bad := range badAt {
			if err := g.Reload(bad.caddyfile); err == nil || !strings.Contains(err.Error(), bad.says) {
				t.Errorf("a config that is bad at %s: %v", step, err)
			}
		}
	}
}

// callers call a gateway while it is reloaded. Caddy itself drops some requests then, with a plugin or without: those
// on connections that nobody has accepted when it closes the old socket, and those that it has not read when it closes
// the connection. Such a request has reached nobody, and is sent again.
type callers struct {
	g       *gateway.Gateway
	calls   atomic.Int64
	issued  atomic.Int64 // tokens that they have got
	dropped sync.Map     // the URIs of requests that were sent and not answered
	resent  atomic.Int64 // how many
}

func (c *callers) send(request func() *http.Request) (gateway.Response, error) {
	for {
		req := request()
		resp, err := c.g.Try(req)
		if err == nil || !droppedByCaddy(err) {
			return resp, err
		}
		c.dropped.Store(req.URL.RequestURI(), true)
		c.resent.Add(1)
	}
}

func droppedByCaddy(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
		strings.Contains(err.Error(), "server closed idle connection")
}

func bearer(token string) http.Header { return http.Header{"Authorization": {"Bearer " + token}} }

// call calls the API and wants that status.
func (c *callers) call(header http.Header, want int) error {
	var uri string
	resp, err := c.send(func() *http.Request {
		uri = fmt.Sprintf("/orders?call=%d", c.calls.Add(1))
		req := c.g.Request(http.MethodGet, uri, "")
		req.Header = header.Clone()
		return req
	})
	if err == nil && resp.Status != want {
		err = fmt.Errorf("GET %s: %d, want %d: %s", uri, resp.Status, want, resp.Body)
	}
	return err
}

func (c *callers) form(path string, values url.Values) (gateway.Response, error) {
	resp, err := c.send(func() *http.Request { return formOfDemo(c.g, path, values) })
	if err == nil && resp.Status != http.StatusOK {
		err = fmt.Errorf("POST %s: %d %s", path, resp.Status, resp.Body)
	}
	return resp, err
}

func (c *callers) newToken() (string, error) {
	resp, err := c.form("/oauth/token", url.Values{"grant_type": {"client_credentials"}, "scope": {"read"}})
	if err == nil {
		c.issued.Add(1)
	}
	return resp.String("access_token"), err
}

func (c *callers) useNewToken() error {
	token, err := c.newToken()
	if err == nil {
		err = c.call(bearer(token), http.StatusOK)
	}
	return err
}

func (c *callers) useRevokedToken() error {
	token, err := c.newToken()
	if err == nil {
		_, err = c.form("/oauth/revoke", url.Values{"token": {token}})
	}
	if err == nil {
		err = c.call(bearer(token), http.StatusUnauthorized)
	}
	return err
}

// work does each of what it is given again and again, until it fails or stop is called, which returns the faults.
func (c *callers) work(works ...func() error) (stop func() []error) {
	var done atomic.Bool
	faults := make(chan error, len(works))
	var group sync.WaitGroup
	for _, work := range works {
		group.Go(func() {
			for !done.Load() {
				if err := work(); err != nil {
					faults <- err
					return
				}
			}
		})
	}
	return func() (all []error) {
		done.Store(true)
		group.Wait()
		close(faults)
		for err := range faults {
			all = append(all, err)
		}
		return all
	}
}

// TestReloadUnderLoad reloads while clients get tokens, call and revoke: no request is answered wrongly, none is lost
// on its way, and no token is forgotten.
func TestReloadUnderLoad(t *testing.T) {
	g, upstream := start(t, site)
	old := g.Token("demo", demoSecret, "read")

	c := &callers{g: g}
	stop := c.work(
		func() error { return c.call(bearer(old), http.StatusOK) },
		func() error { return c.call(bearer(old), http.StatusOK) },
		c.useNewToken, c.useRevokedToken,
	)
	for range 5 {
		reload(t, g)
	}
	for _, err := range stop() {
		t.Error(err)
	}

	for _, received := range upstream.Requests() {
		if _, ok := c.dropped.Load(received.URI); ok {
			t.Errorf("%s reached the upstream and was not answered", received.URI)
		}
	}
}

// TestReloadKeepsRunningRequests holds a request at the upstream while the config is replaced, more than once.
func TestReloadKeepsRunningRequests(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(arrived)
		<-release
		_, _ = io.WriteString(w, "at last")
	}))
	t.Cleanup(upstream.Close)
	g := gateway.Start(t, site, "UPSTREAM="+upstream.Listener.Addr().String(), "DEMO_SECRET="+demoSecret)
	req := g.Request(http.MethodGet, "/orders", "")
	req.Header.Set("Authorization", "Bearer "+g.Token("demo", demoSecret, "read"))

	var resp gateway.Response
	var err error
	var wg sync.WaitGroup
	wg.Go(func() { resp, err = g.Try(req) })
	<-arrived
	for range 3 {
		reload(t, g)
	}
	close(release)
	wg.Wait()
	if err != nil || resp.Status != http.StatusOK || resp.Body != "at last" {
		t.Errorf("the request that was running: %d %q, %v", resp.Status, resp.Body, err)
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
