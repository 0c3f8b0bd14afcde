package caddymodule

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/oauth2-passport/caddy-passport/store"
	"github.com/oauth2-passport/caddy-passport/store/badgerstore"
)

const (
	keyA = "000102030405060708090a0b0c0d0e0f"
	keyB = "f0e0d0c0b0a090807060504030201000"
)

// life is Caddy in this process, for tests of what it does between its configs.
type life struct {
	t    *testing.T
	addr string // of the site
	dir  string // for storage
}

func newLife(t *testing.T) *life {
	l := &life{t, freeAddr(t), t.TempDir()}
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
		engines.Range(func(key, _ any) bool {
			t.Errorf("storage is open after the end: %v", key)
			return true
		})
	})
	return l
}

// caddyfile makes a config of options for the block of the default issuer, further global options, and sites. There is
// a site always, of which /guarded wants a token and /open does not.
func (l *life) caddyfile(issuer, global string) string {
	return strings.NewReplacer("{$ADDR}", l.addr, "{$DIR}", l.dir).Replace(`{
	admin off
	persist_config off
	auto_https off
	default_bind 127.0.0.1
	log {
		output discard
	}
	passport {
		client demo {
			secret "` + testSecret + `"
			grants client_credentials
		}
		` + issuer + `
	}
	` + global + `
}

http://{$ADDR} {
	passport_server
	passport_auth /guarded
	respond "ok"
}
`)
}

func (l *life) load(caddyfile string) error {
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(caddyfile), nil)
	if err != nil {
		return err
	}
	return caddy.Load(config, true)
}

func (l *life) mustLoad(caddyfile string) {
	l.t.Helper()
	if err := l.load(caddyfile); err != nil {
		l.t.Fatal(err)
	}
}

func (l *life) stop() {
	l.t.Helper()
	if err := caddy.Stop(); err != nil {
		l.t.Fatal(err)
	}
}

// instance is the issuer of the config that is in force.
func (l *life) instance(name string) *instance {
	l.t.Helper()
	app, _ := activeApp()
	i := app.find(name)
	if i == nil {
		l.t.Fatalf("no issuer %q", name)
	}
	return i
}

// token gets a token of the client demo below that prefix.
func (l *life) token(prefix string) string {
	l.t.Helper()
	status, body := l.post(prefix + "/token")
	var answer struct {
		Token string `json:"access_token"`
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil || status != http.StatusOK {
		l.t.Fatalf("token: %d %s", status, body)
	}
	return answer.Token
}

func (l *life) post(path string) (status int, body string) {
	l.t.Helper()
	req, _ := http.NewRequest(http.MethodPost, "http://"+l.addr+path, strings.NewReader("grant_type=client_credentials"))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth("demo", url.QueryEscape(testSecret))
	return l.do(req)
}

func (l *life) get(path, token string) (status int, body string) {
	l.t.Helper()
	req, _ := http.NewRequest(http.MethodGet, "http://"+l.addr+path, nil)
	if token != "" {
		req.Header.Set("Authorization", bearer(token))
	}
	return l.do(req)
}

// do sends a request. When a config is refused at its start, Caddy closes the listener that it had by then, and with it
// connections that the system had given to that one (SO_REUSEPORT): such a request is sent again.
func (l *life) do(req *http.Request) (status int, body string) {
	l.t.Helper()
	resp, err := http.DefaultClient.Do(req)
	for tries := 0; tries < 3 && (errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)); tries++ {
		if req.GetBody != nil {
			req.Body, _ = req.GetBody()
		}
		resp, err = http.DefaultClient.Do(req)
	}
	if err != nil {
		l.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		l.t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

func (l *life) wantStatus(path, token string, want int) {
	l.t.Helper()
	if status, body := l.get(path, token); status != want {
		l.t.Errorf("GET %s: %d %s, want %d", path, status, body, want)
	}
}

// revoke revokes a token of the default issuer.
func (l *life) revoke(token string) {
	l.t.Helper()
	r := l.instance(DefaultIssuer).running.Load()
	id, err := r.verifier.Verify(l.t.Context(), token, "http://"+l.addr)
	if err != nil {
		l.t.Fatal(err)
	}
	if err := r.issuer.RevokeToken(l.t.Context(), id.TokenID); err != nil {
		l.t.Fatal(err)
	}
}

// TestReload reloads the config, with success and without. The database stays open, what has been revoked stays
// revoked, and tokens stay good.
func TestReload(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	const storage = "storage badger {$DIR}/db {\nencryption_key " + keyA + "\n}\n"
	tests := []struct {
		name           string
		issuer, global string
		key, site      string // of one more site
		refused        string // what the error has; empty: accepted
	}{
		{name: "the same", issuer: storage},
		{name: "path written differently", issuer: strings.Replace(storage, "/db", "/./x/../db/", 1)},
		{name: "other options", issuer: storage + "scope read\nkeys RS256\nlifetime access_token 2h"},
		{name: "refused at adapting", issuer: storage + "nonsense", refused: "nonsense"},
		{name: "refused at provisioning", issuer: storage + "client a {\nsecret {env.NOT_SET}\n}", refused: "NOT_SET"},
		{name: "refused at provisioning of another handler", issuer: storage,
			key: "http://other.example", site: "@odd expression `nonsense(`\nrespond @odd \"odd\"", refused: "CEL"},
		{name: "refused at starting, by storage", issuer: storage,
			global: "passport other {\nstorage badger " + file + "\n}", refused: file},
		{name: "refused at starting, by the encryption key", issuer: strings.Replace(storage, keyA, keyB, 1),
			refused: "encryption_key"},
		{name: "refused at starting, by a listener", issuer: storage,
			key: "http://" + busy.Addr().String(), refused: "in use"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			l := newLife(t)
			l.mustLoad(l.caddyfile(storage, ""))
			db := l.instance(DefaultIssuer).running.Load().db
			good, revoked := l.token("/oauth"), l.token("/oauth")
			l.revoke(revoked)
			l.wantStatus("/guarded", good, http.StatusOK)
			l.wantStatus("/guarded", revoked, http.StatusUnauthorized)

			caddyfile := l.caddyfile(test.issuer, test.global)
			if test.key != "" {
				caddyfile += "\n" + test.key + " {\n" + test.site + "\n}\n"
			}
			err := l.load(caddyfile)
			switch {
			case test.refused == "" && err != nil:
				t.Fatal(err)
			case test.refused != "" && err == nil:
				t.Fatal("accepted")
			case test.refused != "" && !strings.Contains(err.Error(), test.refused):
				t.Errorf("the error does not say %q: %v", test.refused, err)
			}
			for range 2 {
				if now := l.instance(DefaultIssuer).running.Load(); now == nil || now.db != db {
					t.Error("the database was closed, or opened anew")
				}
				l.wantStatus("/guarded", good, http.StatusOK)
				l.wantStatus("/guarded", revoked, http.StatusUnauthorized)
				l.wantStatus("/guarded", l.token("/oauth"), http.StatusOK)
				if test.refused == "" {
					break
				}
				l.mustLoad(l.caddyfile(storage, "")) // after the refused one, a good one is accepted
			}
		})
	}
}

// TestOldConfigServesWhatItAccepted: Caddy does not wait for requests of the old config.
func TestOldConfigServesWhatItAccepted(t *testing.T) {
	l := newLife(t)
	l.mustLoad(l.caddyfile("storage badger {$DIR}/db\nclient gone {\nsecret "+strings.Repeat("x", 32)+"\n}", ""))
	old := l.instance(DefaultIssuer)
	if !old.configured("demo") || !old.configured("gone") || old.configured("new") {
		t.Error("before: the clients are not those of the config")
	}
	l.mustLoad(l.caddyfile("storage badger {$DIR}/elsewhere\nclient new {\nsecret "+strings.Repeat("y", 32)+"\n}", ""))
	if now := l.instance(DefaultIssuer); now == old {
		t.Fatal("the new config has the old one's issuer")
	}
	r, err := old.use(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := r.db.Ping(t.Context()); err != nil {
		t.Errorf("the old config's storage: %v", err)
	}
	if !old.configured("demo") || old.configured("gone") || !old.configured("new") {
		t.Error("after: the clients are not those of the config that is in force")
	}
	l.stop()
	if old.ready() {
		t.Error("the old config's issuer outlives Caddy")
	}
	if _, err := old.use(t.Context()); !errors.Is(err, errClosed) {
		t.Errorf("after the end: %v", err)
	}
	if err := r.db.Ping(t.Context()); !errors.Is(err, store.ErrClosed) {
		t.Errorf("the storage after the end: %v", err)
	}
}

// TestRefusedConfigOpensNothingAnyMore: a request may still hold a handler of a config that was refused.
func TestRefusedConfigOpensNothingAnyMore(t *testing.T) {
	l := newLife(t)
	l.mustLoad(l.caddyfile("storage badger {$DIR}/db", ""))
	var cfg caddy.Config
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt(
		[]byte(l.caddyfile("storage badger {$DIR}/new", "")), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(config, &cfg); err != nil {
		t.Fatal(err)
	}
	ctx, err := caddy.ProvisionContext(&cfg)
	if err != nil {
		t.Fatal(err)
	}
	app, err := appOf(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := app.Cleanup(); err != nil {
		t.Fatal(err)
	}
	if _, err := app.find(DefaultIssuer).use(t.Context()); !errors.Is(err, errClosed) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(filepath.Join(l.dir, "new")); !os.IsNotExist(err) {
		t.Errorf("the refused config has made its folder: %v", err)
	}
	l.wantStatus("/guarded", l.token("/oauth"), http.StatusOK)
}

// TestValidateTouchesNoStorage validates configs beside a running server, and without one.
func TestValidateTouchesNoStorage(t *testing.T) {
	l := newLife(t)
	validate := func(issuer string) {
		t.Helper()
		config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(l.caddyfile(issuer, "")), nil)
		if err != nil {
			t.Fatal(err)
		}
		var cfg caddy.Config
		if err := json.Unmarshal(config, &cfg); err != nil {
			t.Fatal(err)
		}
		if err := caddy.Validate(&cfg); err != nil {
			t.Error(err)
		}
	}
	validate("storage badger {$DIR}/db")
	if _, err := os.Stat(filepath.Join(l.dir, "db")); !os.IsNotExist(err) {
		t.Fatalf("validating has made the folder: %v", err)
	}
	l.mustLoad(l.caddyfile("storage badger {$DIR}/db", ""))
	token := l.token("/oauth")
	validate("storage badger {$DIR}/db")
	validate("storage badger {$DIR}/db {\nencryption_key " + keyA + "\n}")
	validate("storage badger {$DIR}/other")
	l.wantStatus("/guarded", token, http.StatusOK)
	if _, err := os.Stat(filepath.Join(l.dir, "other")); !os.IsNotExist(err) {
		t.Fatalf("validating has made the folder: %v", err)
	}
}

// TestStartNamesWhatIsWrongWithStorage: Caddy does not run without its storage, and leaves nothing open.
func TestStartNamesWhatIsWrongWithStorage(t *testing.T) {
	tests := []struct {
		name    string
		prepare func(path string) error
	}{
		{"a file", func(path string) error { return os.WriteFile(path, []byte("x"), 0o600) }},
		{"a folder with other files", func(path string) error {
			return errors.Join(os.Mkdir(path, 0o700), os.WriteFile(filepath.Join(path, "a.txt"), nil, 0o600))
		}},
		{"another key", func(path string) error {
			key, err := badgerstore.ParseKey(keyB)
			if err != nil {
				return err
			}
			e, err := badgerstore.Open(badgerstore.Options{Dir: path, EncryptionKey: key})
			if err != nil {
				return err
			}
			return e.Close()
		}},
		{"open elsewhere", nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			l := newLife(t)
			path := filepath.Join(l.dir, "db")
			if test.prepare == nil {
				e, err := badgerstore.Open(badgerstore.Options{Dir: path})
				if err != nil {
					t.Fatal(err)
				}
				defer e.Close()
			} else if err := test.prepare(path); err != nil {
				t.Fatal(err)
			}
			err := l.load(l.caddyfile("storage badger "+path+" {\nencryption_key "+keyA+"\n}", ""))
			if err == nil {
				t.Fatal("Caddy runs")
			}
			if !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), `issuer "default"`) {
				t.Errorf("the error names neither issuer nor path: %v", err)
			}
			if strings.Contains(err.Error(), keyA) {
				t.Errorf("the error has the key: %v", err)
			}
		})
	}
}

// TestWrongEncryptionKeyHarmsNothing starts with the right key, a wrong one, none, and the right one.
func TestWrongEncryptionKeyHarmsNothing(t *testing.T) {
	l := newLife(t)
	with := func(key string) string {
		if key == "" {
			return l.caddyfile("storage badger {$DIR}/db", "")
		}
		return l.caddyfile("storage badger {$DIR}/db {\nencryption_key "+key+"\n}", "")
	}
	l.mustLoad(with(keyA))
	token := l.token("/oauth")
	l.stop()
	for _, key := range []string{keyB, ""} {
		if err := l.load(with(key)); err == nil || !strings.Contains(err.Error(), l.dir) {
			t.Errorf("with the key %q: %v", key, err)
		}
	}
	l.mustLoad(with(keyA))
	l.wantStatus("/guarded", token, http.StatusOK)
}

// TestTwoIssuers: each has its own clients, keys and tokens, in storage of its own or in one for both.
func TestTwoIssuers(t *testing.T) {
	for name, storage := range map[string]string{"apart": "{$DIR}/other", "in one folder": "{$DIR}/db"} {
		t.Run(name, func(t *testing.T) {
			l := newLife(t)
			caddyfile := l.caddyfile("storage badger {$DIR}/db", "passport other {\nstorage badger "+storage+
				"\nclient demo {\nsecret \""+testSecret+"\"\n}\n}")
			caddyfile = strings.Replace(caddyfile, "passport_auth /guarded", "passport_auth /guarded\n"+
				"passport_server other {\nprefix /other\n}\npassport_auth /others {\nissuer other\n}", 1)
			l.mustLoad(strings.ReplaceAll(caddyfile, "{$DIR}", l.dir))
			a, b := l.token("/oauth"), l.token("/other")
			l.wantStatus("/guarded", a, http.StatusOK)
			l.wantStatus("/guarded", b, http.StatusUnauthorized)
			l.wantStatus("/others", b, http.StatusOK)
			l.wantStatus("/others", a, http.StatusUnauthorized)
			one, two := l.instance(DefaultIssuer).running.Load(), l.instance("other").running.Load()
			if one.db == two.db || one.ring.Current().ID() == two.ring.Current().ID() {
				t.Error("the issuers share a database or keys")
			}
		})
	}
}

// TestDefaultIssuerNeedsNoConfig: a site with our directives and nothing else.
func TestDefaultIssuerNeedsNoConfig(t *testing.T) {
	l := newLife(t)
	t.Setenv("XDG_DATA_HOME", l.dir)
	l.mustLoad("{\nadmin off\npersist_config off\nauto_https off\ndefault_bind 127.0.0.1\nlog {\noutput discard\n}\n}\n" +
		"http://" + l.addr + " {\npassport_server\npassport_auth /orders scopes read\nrespond ok\n}\n")
	l.wantStatus("/orders", "", http.StatusUnauthorized)
	l.wantStatus("/oauth/jwks", "", http.StatusOK)
	info, err := os.Stat(filepath.Join(l.dir, "caddy", "passport", "default"))
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder of the storage: %v, %v", info, err)
	}
	if _, body := l.get("/oauth/scopes", ""); !strings.Contains(body, `"read"`) {
		t.Errorf("the scope that only the route names does not exist: %s", body)
	}
}

// stuckStorage does not open as long as it has an error.
type stuckStorage struct {
	Storage
	err   error
	opens atomic.Int32
}

func (*stuckStorage) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "passport.storage.stuck"}
}
func (*stuckStorage) Resource(string) string          { return "/stuck" }
func (*stuckStorage) Settings() (s [sha256.Size]byte) { return s }
func (s *stuckStorage) Open(ctx context.Context, issuer string) (store.Engine, error) {
	s.opens.Add(1)
	if s.err != nil {
		return nil, s.err
	}
	return s.Storage.Open(ctx, issuer)
}

// instanceOn makes an issuer on that storage.
func instanceOn(t *testing.T, storage Storage) *instance {
	t.Helper()
	config := &Issuer{storage: storage, Keys: new(Keys), Lifetimes: new(Lifetimes)}
	i := newInstance(DefaultIssuer, config, zap.NewNop(), new(events))
	t.Cleanup(i.shut)
	return i
}

// TestOpenIsTriedAgainInTime: a flood of requests does not try to open the storage more than once a second.
func TestOpenIsTriedAgainInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		storage := &stuckStorage{err: errors.New("the disk is gone")}
		i := instanceOn(t, storage)
		for range 3 {
			var all sync.WaitGroup
			before := storage.opens.Load()
			for range 100 {
				all.Go(func() {
					err := i.open(t.Context())
					if !errors.Is(err, storage.err) || !strings.Contains(err.Error(), "/stuck") {
						t.Errorf("got %v", err)
					}
				})
			}
			all.Wait()
			if n := storage.opens.Load() - before; n != 1 {
				t.Errorf("the storage was opened %d times", n)
			}
			time.Sleep(retryAfter)
		}
	})
}

// TestOpenOnce: many who come at once open the issuer once, and one who does not want to wait need not.
func TestOpenOnce(t *testing.T) {
	storage := &stuckStorage{Storage: &Badger{Path: filepath.Join(t.TempDir(), "db")}}
	i := instanceOn(t, storage)
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if r, err := i.use(t.Context()); err != nil || r == nil {
				t.Errorf("got %v, %v", r, err)
			}
		})
	}
	all.Wait()
	if n := storage.opens.Load(); n != 1 || !i.ready() {
		t.Errorf("the storage was opened %d times", n)
	}
	i.shut()
	i.opening <- struct{}{} // somebody is at it
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := i.open(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	<-i.opening
}

// TestServerFailsClosedWithoutStorage: what may be for the issuer is answered by nobody else.
func TestServerFailsClosedWithoutStorage(t *testing.T) {
	for _, test := range []struct {
		prefix, path string
		served       bool
	}{
		{"/oauth", "/oauth/token", true},
		{"/oauth", "/oauth", true},
		{"/oauth", "/oauth/", true},
		{"/oauth", "/.well-known/oauth-authorization-server", true},
		{"/oauth", "/.well-known/oauth-authorization-server/tenant", true},
		{"/oauth", "/oauthority", false},
		{"/oauth", "/orders", false},
		{"/", "/token", true},
	} {
		t.Run(test.prefix+" "+test.path, func(t *testing.T) {
			s := &Server{
				Prefix:   test.prefix,
				instance: instanceOn(t, &stuckStorage{err: errors.New("the disk is gone")}),
				logger:   zap.NewNop(),
			}
			passed := false
			w := httptest.NewRecorder()
			err := s.ServeHTTP(w, httptest.NewRequest(http.MethodPost, test.path, nil),
				caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { passed = true; return nil }))
			switch {
			case err != nil:
				t.Fatal(err)
			case passed == test.served:
				t.Errorf("passed on: %v", passed)
			case test.served && (w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" ||
				strings.Contains(w.Body.String(), "disk")):
				t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
			}
		})
	}
}

// TestStreamOfOldConfigIsCut: a stream that began under a config which has been replaced ends with its token.
func TestStreamOfOldConfigIsCut(t *testing.T) {
	h := newHouse(t, "passport_auth /stream\nreverse_proxy {$UPSTREAM} {\nflush_interval -1\n}")
	h.upstream.handler = func(w http.ResponseWriter, r *http.Request) {
		w.Write([]byte("begun"))
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}
	token := h.token("read")
	req, _ := http.NewRequest(http.MethodGet, "http://"+h.addr+"/stream", nil)
	req.Header.Set("Authorization", bearer(token))
	resp, err := h.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.ReadFull(resp.Body, make([]byte, len("begun"))); err != nil {
		t.Fatal(err)
	}
	h.load("http://{$ADDR} {\npassport_server\nrespond \"new\"\n}")
	if resp := h.get("/stream"); resp.body != "new" {
		t.Fatalf("the new config is not in force: %s", resp.body)
	}
	h.revoke(token)
	rest, err := io.ReadAll(resp.Body)
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() || len(rest) > 0 {
		t.Errorf("the stream goes on: %q, %v", rest, err)
	}
}

// TestLogHasNoSecrets: what is told of a token is its jti and its client.
func TestLogHasNoSecrets(t *testing.T) {
	h := newHouse(t, "passport_auth\nrespond ok")
	token := h.token("read")
	h.get("/", "Authorization", bearer(token))
	req, _ := http.NewRequest(http.MethodPost, "http://"+h.addr+"/oauth/token",
		strings.NewReader("grant_type=client_credentials&client_id=demo&client_secret=a-wrong-secret"))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	h.do(req)
	h.revoke(token)
	log := h.logged()
	for _, want := range []string{"access_token_created", "access_token_revoked", "access_token_refused", `"client_id":"demo"`, `"jti":"`} {
		if !strings.Contains(log, want) {
			t.Errorf("the log does not tell %s", want)
		}
	}
	for _, secret := range []string{token, token[strings.LastIndex(token, ".")+1:], testSecret, "a-wrong-secret"} {
		if strings.Contains(log, secret) {
			t.Errorf("the log has the secret %q:\n%s", secret, log)
		}
	}
}

// TestConfigEndpointShowsNoSecret asks Caddy's admin endpoint for the config that is in force.
func TestConfigEndpointShowsNoSecret(t *testing.T) {
	l := newLife(t)
	admin := freeAddr(t)
	t.Setenv("ENCRYPTION_KEY", keyA)
	l.mustLoad(strings.Replace(l.caddyfile("storage badger {$DIR}/db {\nencryption_key {env.ENCRYPTION_KEY}\n}", ""),
		"admin off", "admin "+admin, 1))
	resp, err := http.Get("http://" + admin + "/config/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(body), "secret_hash") {
		t.Fatalf("the config has no client: %s", body)
	}
	for _, secret := range []string{testSecret, keyA} {
		if strings.Contains(string(body), secret) {
			t.Errorf("the config has %q: %s", secret, body)
		}
	}
}

// TestUnknownIssuers: an issuer is made only where nothing else can be meant.
func TestUnknownIssuers(t *testing.T) {
	for _, test := range []struct {
		name, config, issuer, want string
	}{
		{"none configured, default", `{}`, "", ""},
		{"none configured, default by name", `{}`, "default", ""},
		{"none configured, another", `{}`, "staff", `"passport staff"`},
		{"others configured, default", `{"issuers":{"staff":{},"guests":{}}}`, "", "guests, staff"},
		{"null", `{"issuers":{"staff":null}}`, "staff", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx, err := caddy.ProvisionContext(&caddy.Config{Admin: &caddy.AdminConfig{Disabled: true}})
			if err != nil {
				t.Fatal(err)
			}
			app := new(App)
			if err := json.Unmarshal([]byte(test.config), app); err != nil {
				t.Fatal(err)
			}
			if err := app.Provision(ctx); err != nil {
				t.Fatal(err)
			}
			_, err = app.instance(test.issuer)
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestRemedyForStorageThatIsNotOurs(t *testing.T) {
	there := t.TempDir()
	missing := filepath.Join(there, "db")
	denied := &fs.PathError{Op: "mkdir", Path: missing, Err: syscall.EACCES}
	for name, test := range map[string]struct {
		err  error
		dir  string
		want string
	}{
		"a folder of somebody else":       {denied, there, "sudo chown -R "},
		"a folder that may not be made":   {fmt.Errorf("mkdir: %w", denied.Err), missing, "sudo install -d -m 0700 -o "},
		"a file, by the text of an error": {errors.New("while opening 1.vlog: permission denied"), there, "sudo chown -R "},
		"another fault":                   {errors.New("it is not a directory"), there, ""},
	} {
		t.Run(name, func(t *testing.T) {
			err := withRemedy(test.err, test.dir)
			if !errors.Is(err, test.err) {
				t.Errorf("%v has lost its cause", err)
			}
			if test.want == "" && err != test.err || test.want != "" &&
				(!strings.Contains(err.Error(), test.want) || !strings.HasSuffix(err.Error(), " "+test.dir)) {
				t.Errorf("%v, want %s… %s", err, test.want, test.dir)
			}
		})
	}
}
