package caddymodule

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	"github.com/oauth2-passport/caddy-passport/store"
)

// patience is how long a test waits for what has to happen.
const patience = 20 * time.Second

const (
	testClient = "demo"
	testSecret = "the secret of the demo client, for these tests"
)

// house is Caddy in this process, with a site of which a test writes the directives, and an upstream behind it that
// keeps what it gets.
type house struct {
	t        testing.TB
	addr     string
	upstream *upstream
	log      string
	headers  string // options of the servers: which odd header fields they let in
	http     *http.Client
	loads    int       // how many configs have been loaded
	loaded   time.Time // when the last one was
}

// newHouseOf takes Caddyfile site blocks, in which {$ADDR} is where they listen and {$UPSTREAM} the upstream's address.
func newHouseOf(t testing.TB, sites string, headers ...string) *house {
	t.Helper()
	h := &house{t: t, addr: freeAddr(t), upstream: newUpstream(t), log: filepath.Join(t.TempDir(), "log")}
	h.headers = strings.Join(headers, "\n")
	h.http = &http.Client{
		Transport:     &http.Transport{DisableCompression: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       patience,
	}
	t.Cleanup(h.http.CloseIdleConnections)
	h.load(sites)
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Errorf("stopping Caddy: %v", err)
		}
	})
	return h
}

// newHouse is newHouseOf for the directives of one site that also issues tokens.
func newHouse(t testing.TB, directives string) *house {
	t.Helper()
	return newHouseOf(t, "http://{$ADDR} {\npassport_server\n"+directives+"\n}")
}

func (h *house) load(sites string) {
	h.t.Helper()
	h.loadJSON(h.adapt(sites))
}

func (h *house) loadJSON(config []byte) {
	h.t.Helper()
	if err := caddy.Load(config, true); err != nil {
		h.t.Fatal(err)
	}
	h.loads++
	h.loaded = time.Now()
}

// dropped tells whether a connection was lost because the config has just been replaced: the old server may accept it
// still, and closes it then (caddy v2.11.9, App.Stop of module http). The request has reached nobody, and is sent again.
func (h *house) dropped(err error) bool {
	lost := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) ||
		err != nil && strings.Contains(err.Error(), "server closed idle connection")
	return lost && h.loads > 1 && time.Since(h.loaded) < patience
}

func (h *house) adapt(sites string) []byte {
	h.t.Helper()
	variables := strings.NewReplacer(
		"{$ADDR}", h.addr, "{$PORT}", strings.Split(h.addr, ":")[1], "{$UPSTREAM}", h.upstream.addr)
	caddyfile := variables.Replace(`{
		admin off
		persist_config off
		auto_https off
		default_bind 127.0.0.1
		storage file_system ` + filepath.Dir(h.log) + `
		servers {
			protocols h1 h2c
			` + h.headers + `
		}
		log {
			output file ` + h.log + `
			level DEBUG
		}
		passport {
			storage badger ` + filepath.Join(filepath.Dir(h.log), "db") + `
			client ` + testClient + ` {
				secret "` + testSecret + `"
				grants client_credentials
				scopes read write admin *
			}
			client brief {
				secret "` + testSecret + `"
				grants client_credentials
				scopes read
				lifetime access_token 3s
			}
		}
	}
	` + sites)
	config, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(caddyfile), nil)
	if err != nil {
		h.t.Fatal(err)
	}
	for _, w := range warnings {
		if !strings.Contains(w.Message, "not formatted") {
			h.t.Log(w)
		}
	}
	return config
}

// freeAddr finds an address to listen at. Its port is none of those that connections get: another one could take it
// before Caddy does.
func freeAddr(t testing.TB) string {
	t.Helper()
	for range 100 {
		ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 10000+rand.IntN(20000)))
		if err == nil {
			defer ln.Close()
			return ln.Addr().String()
		}
	}
	t.Fatal("there is no free port")
	return ""
}

// tokenOf gets a token for a client of the config.
func (h *house) tokenOf(client, scope string) string {
	h.t.Helper()
	form := url.Values{"grant_type": {"client_credentials"}}
	if scope != "" {
		form.Set("scope", scope)
	}
	req, _ := http.NewRequest(http.MethodPost, "http://"+h.addr+"/oauth/token", strings.NewReader(form.Encode()))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(url.QueryEscape(client), url.QueryEscape(testSecret))
	resp := h.do(req)
	if resp.status != http.StatusOK {
		h.t.Fatalf("token: %d %s", resp.status, resp.body)
	}
	token, _ := resp.json()["access_token"].(string)
	if token == "" {
		h.t.Fatalf("token: %s", resp.body)
	}
	return token
}

func (h *house) token(scope string) string {
	h.t.Helper()
	return h.tokenOf(testClient, scope)
}

// revoke revokes a token at the token endpoint.
func (h *house) revoke(token string) {
	h.t.Helper()
	form := url.Values{"token": {token}}
	req, _ := http.NewRequest(http.MethodPost, "http://"+h.addr+"/oauth/revoke", strings.NewReader(form.Encode()))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(url.QueryEscape(testClient), url.QueryEscape(testSecret))
	if resp := h.do(req); resp.status != http.StatusOK {
		h.t.Fatalf("revoke: %d %s", resp.status, resp.body)
	}
}

// instance is the open issuer of the house.
func (h *house) instance() *running {
	h.t.Helper()
	app, _ := activeApp()
	i, err := app.instance("")
	if err != nil {
		h.t.Fatal(err)
	}
	r, err := i.use(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	return r
}

func (h *house) update(fn func(*store.Records) error) {
	h.t.Helper()
	if err := h.instance().db.Update(h.t.Context(), fn); err != nil {
		h.t.Fatal(err)
	}
}

// answer is a response, read.
type answer struct {
	status int
	header http.Header
	body   string
}

func (a answer) json() map[string]any {
	var m map[string]any
	_ = json.Unmarshal([]byte(a.body), &m)
	return m
}

func (h *house) do(req *http.Request) answer {
	h.t.Helper()
	resp, err := h.http.Do(req)
	for h.dropped(err) {
		again := req.Clone(req.Context())
		if req.GetBody != nil {
			again.Body, _ = req.GetBody()
		}
		resp, err = h.http.Do(again)
	}
	if err != nil {
		h.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(body)}
}

// get sends a GET with header fields, given as name and value in turn.
func (h *house) get(path string, fields ...string) answer {
	h.t.Helper()
	return h.send(http.MethodGet, path, fields...)
}

func (h *house) send(method, path string, fields ...string) answer {
	h.t.Helper()
	req, err := http.NewRequest(method, "http://"+h.addr+path, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	for i := 0; i < len(fields); i += 2 {
		req.Header[fields[i]] = append(req.Header[fields[i]], fields[i+1])
	}
	return h.do(req)
}

// plain sends a request of which nothing is made better than it is: the target, and lines of the header, as they are.
func (h *house) plain(method, target string, lines ...string) answer {
	h.t.Helper()
	head := append([]string{method + " " + target + " HTTP/1.1", "Host: " + h.addr}, lines...)
	return h.raw(strings.Join(head, "\n") + "\nConnection: close\n\n")
}

// raw sends bytes as they are and reads one response.
func (h *house) raw(request string) answer {
	h.t.Helper()
	resp, err := h.tryRaw(request)
	for h.dropped(err) {
		resp, err = h.tryRaw(request)
	}
	if err != nil {
		h.t.Fatalf("%v, to %q", err, request)
	}
	return resp
}

func (h *house) tryRaw(request string) (answer, error) {
	conn, err := net.DialTimeout("tcp", h.addr, patience)
	if err != nil {
		return answer{}, err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(conn, strings.ReplaceAll(request, "\n", "\r\n")); err != nil {
		return answer{}, err
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, string(body)}, nil
}

// logged is what Caddy has logged.
func (h *house) logged() string {
	h.t.Helper()
	text, err := os.ReadFile(h.log)
	if err != nil {
		h.t.Fatal(err)
	}
	return string(text)
}

// upstream is a server that keeps what it gets.
type upstream struct {
	addr    string
	handler http.HandlerFunc // answers what it has kept; nil: 200

	mu   sync.Mutex
	seen []*seen
}

// seen is a request that the upstream got.
type seen struct {
	method, uri string
	header      http.Header
	trailer     http.Header
	body        string
}

func newUpstream(t testing.TB) *upstream {
	u := new(upstream)
	server := httptest.NewUnstartedServer(u)
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetHTTP1(true)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	u.addr = server.Listener.Addr().String()
	return u
}

func (u *upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if u.handler != nil {
		u.handler(w, r)
		return
	}
	u.keep(r)
	fmt.Fprint(w, "upstream")
}

func (u *upstream) keep(r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	u.mu.Lock()
	defer u.mu.Unlock()
	u.seen = append(u.seen, &seen{r.Method, r.RequestURI, r.Header.Clone(), maps.Clone(r.Trailer), string(body)})
}

// last returns the last request that the upstream got, and forgets all; nil if it got none.
func (u *upstream) last() *seen {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.seen) == 0 {
		return nil
	}
	s := u.seen[len(u.seen)-1]
	u.seen = nil
	return s
}

func bearer(token string) string { return "Bearer " + token }
