//go:build linux

package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
)

// Clients of the issuers, kept in their config.
const (
	clientID      = "bench"
	clientSecret  = "bench-secret-0123456789abcdefghijklmnopqrstuv"
	serverID      = "resource-server" // may introspect every token
	appID         = "app"             // acts for people, and for itself
	appRedirect   = "https://app.example/cb"
	serverSecret  = "resource-secret-0123456789abcdefghijklmnopqrst"
	respondedBody = 850 // bytes: about what the answer of the token endpoint has
)

// gateway is one Caddy. A process has every variant of the guarded site, each on a port of its own, so that those share
// the binary's layout in memory, the heap and the pace of its collector: of two processes with the same config one is
// easily three per cent dearer than the other.
type gateway struct {
	*process
	dir       string
	algorithm string   // empty: Caddy without an issuer
	storage   string   // of the issuer, as the Caddyfile has it; empty: Badger
	options   string   // more lines of the global options
	foreign   bool     // another Caddy, which has nothing of this program
	plain     *gateway // bare Caddy: a process that has no issuer; nil where nothing is compared with it
	admin     string   // address of the admin endpoint

	bare       string // address of the site that has reverse_proxy only
	floor      string // address of the same site with one signature's verification; see [floor]
	headers    string // address of the same site with what an upstream is told, set by directives of Caddy
	guarded    string // address of the same site with an issuer and passport_auth
	require    string // the same with an expression
	report     string // the same with report_only
	trust      string // the same for the tokens of another issuer
	introspect string // the same for tokens that another issuer is asked about
	session    string // the same for browser sessions too
	internal   string // the same with a JWT for the upstream
	respond    string // address of the site that answers at once

	routes int    // how many routes there are beside these, each with a passport_auth of its own
	many   string // address of the site that has them

	whole string // the Caddyfile, where it is not the usual one

	issuer string // `iss`
	key    string // its private key, PEM
	took   time.Duration

	backups int // how many have been begun

	seed func(context.Context, *store.DB) error // puts more into the store before the start; nil: nothing
}

// headersAlone tells the upstream as much as passport_auth does, and of everybody the same: what that costs in Caddy is
// the least that a gateway can cost.
const headersAlone = "\trequest_header -Authorization\n\trequest_header X-Passport-Subject " + clientID +
	"\n\trequest_header X-Passport-Client " + clientID + "\n\trequest_header X-Passport-Scope read" +
	"\n\trequest_header X-Passport-Issuer http://127.0.0.1:12345\n"

// startUpstream starts the program behind the gateways.
func (s *suite) startUpstream(ctx context.Context) error {
	p, err := start(ctx, s.dir, "upstream", nil, s.program, hiddenUpstream)
	if err != nil {
		return err
	}
	line, err := p.stdout.ReadString('\n')
	if err != nil {
		return p.failure(err)
	}
	s.upstream, s.address = p, strings.TrimSpace(line)
	return nil
}

// newGateway makes a gateway that has not begun yet, with a store of its own. Without an algorithm it has no issuer.
func (s *suite) newGateway(name, algorithm string) (*gateway, error) {
	g := &gateway{dir: filepath.Join(s.dir, name), algorithm: algorithm, foreign: s.caddy != ""}
	if err := os.MkdirAll(g.dir, 0o700); err != nil {
		return nil, err
	}
	err := freeAddresses(&g.admin, &g.bare, &g.floor, &g.headers, &g.guarded, &g.require, &g.report, &g.trust,
		&g.introspect, &g.internal, &g.session, &g.respond, &g.many)
	if err != nil {
		return nil, err
	}
	g.issuer = "http://" + g.guarded
	return g, nil
}

// launch starts the process of a gateway, again if it has been ended, and returns when it answers the request that
// ready makes (nil: one to the bare site) with 200. [gateway.took] is the time from the start of the process till then.
func (s *suite) launch(ctx context.Context, g *gateway, ready func() (*http.Request, error)) error {
	if ready == nil {
		ready = func() (*http.Request, error) {
			return http.NewRequest(http.MethodGet, "http://"+g.bare+"/orders", nil)
		}
	}
	request, err := ready()
	if err != nil {
		return err
	}
	config := filepath.Join(g.dir, "Caddyfile")
	if err := os.WriteFile(config, []byte(g.caddyfile(s.address, s.other)), 0o600); err != nil {
		return err
	}
	program, args := s.program, []string{hiddenCaddy}
	if s.caddy != "" {
		program, args = s.caddy, nil
	}
	env := []string{"HOME=" + g.dir, "XDG_DATA_HOME=" + g.dir, "XDG_CONFIG_HOME=" + g.dir, "BENCH_KEY=" + g.key,
		"BENCH_CLIENT_SECRET=" + clientSecret, "BENCH_SERVER_SECRET=" + serverSecret}
	began := time.Now()
	g.process, err = start(ctx, g.dir, "caddy", env, program,
		append(args, "run", "--config", config, "--adapter", "caddyfile")...)
	if err != nil {
		return err
	}
	s.running = append(s.running, g.process)
	if err := g.wait(ctx, request); err != nil {
		g.stop()
		return g.failure(fmt.Errorf("starting Caddy (%s): %w", filepath.Base(g.dir), err))
	}
	g.took = time.Since(began)
	return nil
}

// wait asks until the gateway answers with 200.
func (g *gateway) wait(ctx context.Context, request *http.Request) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	var last string
	for {
		response, err := http.DefaultClient.Do(request.Clone(ctx))
		if err == nil {
			body, _ := io.ReadAll(io.LimitReader(response.Body, 300))
			_ = response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return nil
			}
			last = response.Status + " " + string(body)
		} else {
			last = err.Error()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not ready: %s", last)
		case <-g.exited:
			return fmt.Errorf("it ended: %s", last)
		case <-time.After(time.Millisecond):
		}
	}
}

// store is the folder of the gateway's records.
func (g *gateway) store() string { return filepath.Join(g.dir, "store") }

// caddyfile is the config of a gateway. The idle connections to the upstream are as many as the load has: by default
// Caddy keeps 32, and the others would be opened anew all the time, at the cost of both sides of the comparison.
// The rest is Caddy's default; logs go where they go by default.
func (g *gateway) caddyfile(upstream string, other *otherIssuer) string {
	if g.whole != "" {
		return g.whole
	}
	var b strings.Builder
	fmt.Fprintf(&b, "{\n\tadmin %s\n\tauto_https off\n\tpersist_config off\n\tgrace_period 2s\n%s", g.admin, g.options)
	if g.algorithm != "" {
		fmt.Fprintf(&b, `	passport {
		issuer %s
		storage %s
		keys %s {
			private_key {env.BENCH_KEY}
		}
		scope read "See your orders"
		scope write "Place and change orders"
		client %s {
			secret {env.BENCH_CLIENT_SECRET}
			grants client_credentials
			scopes read write
		}
		client %s {
			secret {env.BENCH_SERVER_SECRET}
			grants client_credentials
			resource_server
		}
		client %s {
			secret {env.BENCH_CLIENT_SECRET}
			grants authorization_code refresh_token client_credentials
			redirect_uris %s
		}
	}
`, g.issuer, cmp.Or(g.storage, "badger "+g.store()), g.algorithm, clientID, serverID, appID, appRedirect)
	}
	b.WriteString("}\n")
	proxy := "\treverse_proxy " + upstream +
		" {\n\t\ttransport http {\n\t\t\tkeepalive_idle_conns_per_host 256\n\t\t}\n\t}\n"
	fmt.Fprintf(&b, "http://%s {\n\tbind 127.0.0.1\n%s}\n", g.bare, proxy)
	fmt.Fprintf(&b, "http://%s {\n\tbind 127.0.0.1\n\trespond `{\"access_token\":\"%s\"}`\n}\n", g.respond,
		strings.Repeat("a", respondedBody-19))
	if g.algorithm != "" && !g.foreign {
		fmt.Fprintf(&b, "http://%s {\n\tbind 127.0.0.1\n\t%s\n%s}\n", g.floor, floorDirective, proxy)
	}
	fmt.Fprintf(&b, "http://%s {\n\tbind 127.0.0.1\n%s%s}\n", g.headers, headersAlone, proxy)
	if g.algorithm != "" {
		fmt.Fprintf(&b, "http://%s {\n\tbind 127.0.0.1\n\tpassport_server\n\tpassport_auth scopes read\n%s}\n", g.guarded,
			proxy)
		for _, site := range []struct{ address, option string }{
			{g.require, "require `" + expression + "`"},
			{g.report, "report_only"},
			{g.trust, "issuer off\n\t\ttrust " + other.url + " {\n\t\t\taudience " + otherAudience + "\n\t\t}"},
			{g.introspect, "issuer off\n\t\tintrospect " + other.url + introspectPath + " {\n\t\t\tclient_id " + clientID +
				"\n\t\t\tclient_secret {env.BENCH_CLIENT_SECRET}\n\t\t\taudience " + otherAudience + "\n\t\t}"},
			{g.session, "session"},
			{g.internal, "upstream_auth jwt {\n\t\t\taudience internal\n\t\t}"},
		} {
			fmt.Fprintf(&b,
				"http://%s {\n\tbind 127.0.0.1\n\tpassport_server\n\tpassport_auth scopes read {\n\t\t%s\n\t}\n%s}\n",
				site.address, site.option, proxy)
		}
	}
	if g.routes > 0 {
		g.writeRoutes(&b, proxy)
	}
	return b.String()
}

// expression looks at three claims and the path.
const expression = `claims.sub == "` + clientID + `" && claims.client_id == client.id && ` +
	`claims.scope.contains("read") && request.path.startsWith("/orders")`

// heap is how many bytes of the gateway's heap are alive. It runs the collector first.
func (g *gateway) heap(ctx context.Context) (int64, error) {
	for range 2 { // the second takes what the first left to finalizers and pools
		if _, err := g.get(ctx, "/debug/pprof/heap?gc=1"); err != nil {
			return 0, err
		}
	}
	stats, err := g.memstats(ctx)
	return stats.HeapAlloc, err
}

// memstats are some of Go's own figures, see [runtime.MemStats].
type memstats struct {
	HeapAlloc, Mallocs, TotalAlloc int64
}

func (g *gateway) memstats(ctx context.Context) (memstats, error) {
	var vars struct{ Memstats memstats }
	data, err := g.get(ctx, "/debug/vars")
	if err == nil {
		err = json.Unmarshal(data, &vars)
	}
	return vars.Memstats, err
}

// get asks the admin endpoint.
func (g *gateway) get(ctx context.Context, path string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+g.admin+path, nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	data, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("admin endpoint: %s %s: %s", path, response.Status, data)
	}
	return data, err
}

// kill ends the gateway as a power cut would.
func (g *gateway) kill() { g.end(syscall.SIGKILL) }

// freeAddresses finds addresses that nobody listens at, no two of which are the same.
func freeAddresses(addresses ...*string) error {
	for _, address := range addresses {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		defer func() { _ = l.Close() }() // after the last one was found
		*address = l.Addr().String()
	}
	return nil
}
