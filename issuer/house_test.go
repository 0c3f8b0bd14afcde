package issuer

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oauth2-passport/caddy-passport/issuer/keys"
	"github.com/oauth2-passport/caddy-passport/issuer/verify"
	"github.com/oauth2-passport/caddy-passport/store"
	"github.com/oauth2-passport/caddy-passport/store/badgerstore"
)

const (
	testIdentifier = "https://api.example.com"
	testSecret     = "a-secret-of-the-configuration-0123456789"
	formMedia      = "application/x-www-form-urlencoded"
)

// house is an issuer with all that it stands on.
type house struct {
	t        testing.TB
	engine   *testEngine
	db       *store.DB
	ring     *keys.Ring
	verifier *verify.Verifier
	issuer   *Issuer
	handler  http.Handler
	ahead    atomic.Int64 // nanoseconds that the clock of the house is ahead

	mu     sync.Mutex
	events []Event
}

// testEngine is Badger with a switch to break it.
type testEngine struct {
	store.Engine
	broken       atomic.Pointer[error]
	beforeUpdate atomic.Pointer[func()]
	updates      atomic.Int64
	views        atomic.Int64
}

func (e *testEngine) View(ctx context.Context, fn func(store.Tx) error) error {
	if err := e.broken.Load(); err != nil {
		return *err
	}
	e.views.Add(1)
	return e.Engine.View(ctx, fn)
}

func (e *testEngine) Update(ctx context.Context, fn func(store.Tx) error) error {
	if err := e.broken.Load(); err != nil {
		return *err
	}
	if before := e.beforeUpdate.Swap(nil); before != nil {
		(*before)()
	}
	e.updates.Add(1)
	return e.Engine.Update(ctx, fn)
}

func (h *house) Observe(_ context.Context, e Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, e)
}

// told returns what the observer has been told since the last call.
func (h *house) told() []Event {
	h.mu.Lock()
	defer h.mu.Unlock()
	events := h.events
	h.events = nil
	return events
}

// wantTold wants to have been told of these events alone.
func (h *house) wantTold(want ...Event) {
	h.t.Helper()
	told := h.told()
	for i := range told {
		told[i].Time, told[i].Issuer = time.Time{}, ""
	}
	if !slices.Equal(told, want) {
		h.t.Errorf("told %+v, want %+v", told, want)
	}
}

// testConfig is the configuration of a house, before DB and Ring.
func testConfig() Config {
	return Config{
		Identifier: testIdentifier,
		Scopes: []Scope{
			{Name: "read", Description: "See your orders"},
			{Name: "write", Description: "Place and change orders"},
			{Name: "admin", Description: "Everything", Includes: []string{"read", "write"}, Restricted: true},
			{Name: "manage", Description: "Manage", Includes: []string{"admin"}},
		},
		DefaultScopes: []string{"read", "admin"},
		Clients: []store.Client{
			{ID: "orders-sync", SecretHash: store.HashSecret(testSecret), Grants: []string{"client_credentials"}},
			{
				ID: "limited", SecretHash: store.HashSecret(testSecret), Grants: []string{"client_credentials"},
				Scopes: []string{"write", "own"}, AccessTokenLifetime: 5 * time.Minute,
			},
			{
				ID: "boss", SecretHash: store.HashSecret(testSecret), Grants: []string{"client_credentials"},
				Scopes: []string{"admin"},
			},
			{
				ID: "all", SecretHash: store.HashSecret(testSecret), Grants: []string{"client_credentials"},
				Scopes: []string{"*"},
			},
			{ID: "spa", Public: true, Grants: []string{"authorization_code", "client_credentials"}},
			{ID: "web", SecretHash: store.HashSecret(testSecret), Grants: []string{"authorization_code"}},
			{ID: "api", SecretHash: store.HashSecret(testSecret), ResourceServer: true},
			{ID: "a:b+%d", SecretHash: store.HashSecret(testSecret), Grants: []string{"client_credentials"}},
		},
	}
}

func newHouse(t testing.TB, change ...func(*Config)) *house {
	t.Helper()
	badger, err := badgerstore.Open(badgerstore.Options{Dir: t.TempDir(), MinFree: -1})
	if err != nil {
		t.Fatal(err)
	}
	return newHouseOn(t, badger, change...)
}

// newHouseOn makes a house on an engine, and closes that with it.
func newHouseOn(t testing.TB, engine store.Engine, change ...func(*Config)) *house {
	t.Helper()
	h := &house{t: t, engine: &testEngine{Engine: engine}}
	var err error
	h.db, err = store.Open(t.Context(), h.engine, "default", func() time.Time {
		return time.Now().Add(time.Duration(h.ahead.Load()))
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		h.db.Close()
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
	})
	h.ring, err = keys.Open(t.Context(), keys.Config{DB: h.db, Retain: func() time.Duration { return time.Hour }})
	if err != nil {
		t.Fatal(err)
	}
	config := testConfig()
	config.DB, config.Ring, config.Observer = h.db, h.ring, h
	for _, fn := range change {
		fn(&config)
	}
	h.issuer, err = New(config)
	if err != nil {
		t.Fatal(err)
	}
	h.verifier = h.issuer.verifier
	h.handler = h.issuer.Handler("")
	return h
}

// request is a form POST to the host of the house.
func request(path string, form url.Values, header ...string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "https://api.example.com"+path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", formMedia)
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	return r
}

func basic(id, secret string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(id)+":"+url.QueryEscape(secret)))
}

func (h *house) do(r *http.Request) *http.Response {
	w := httptest.NewRecorder()
	h.handler.ServeHTTP(w, r)
	return w.Result()
}

// object decodes an answer and checks what every answer has.
func object(t testing.TB, res *http.Response) map[string]any {
	t.Helper()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	var o map[string]any
	if err := json.Unmarshal(body, &o); err != nil {
		t.Fatalf("%d %q: %v", res.StatusCode, body, err)
	}
	if got := res.Header.Get("X-Content-Type-Options"); got != "nosniff" {
		t.Errorf("X-Content-Type-Options: %q", got)
	}
	return o
}

// fault asserts an error answer.
func (h *house) fault(r *http.Request, status int, code string) *http.Response {
	h.t.Helper()
	res := h.do(r)
	o := object(h.t, res)
	if res.StatusCode != status || o["error"] != code {
		h.t.Errorf("got %d %v, want %d %s", res.StatusCode, o, status, code)
	}
	if res.Header.Get("Cache-Control") != "no-store" {
		h.t.Errorf("Cache-Control: %q", res.Header.Get("Cache-Control"))
	}
	if description, _ := o["error_description"].(string); description == "" || strings.ContainsAny(description, "\"\\\n") {
		h.t.Errorf("error_description %q", description)
	}
	if challenge := res.Header.Get("WWW-Authenticate"); (status == 401) != strings.HasPrefix(challenge, "Basic realm=") {
		h.t.Errorf("WWW-Authenticate: %q with %d", challenge, status)
	}
	return res
}

// tokenFor gets a token for a client of the configuration.
func (h *house) tokenFor(client, scope string) string {
	h.t.Helper()
	form := url.Values{"grant_type": {"client_credentials"}}
	if scope != "" {
		form.Set("scope", scope)
	}
	res := h.do(request("/oauth/token", form, "Authorization", basic(client, testSecret)))
	o := object(h.t, res)
	token, _ := o["access_token"].(string)
	if res.StatusCode != http.StatusOK || token == "" {
		h.t.Fatalf("no token: %d %v", res.StatusCode, o)
	}
	return token
}

func (h *house) introspect(client, token string) map[string]any {
	h.t.Helper()
	res := h.do(request("/oauth/introspect", url.Values{"token": {token}}, "Authorization", basic(client, testSecret)))
	o := object(h.t, res)
	if res.StatusCode != http.StatusOK {
		h.t.Fatalf("introspection: %d %v", res.StatusCode, o)
	}
	return o
}

func (h *house) good(token string) bool {
	h.t.Helper()
	_, err := h.verifier.Verify(h.t.Context(), token, testIdentifier)
	return err == nil
}

// tokens is how many tokens are recorded.
func (h *house) tokens() int {
	h.t.Helper()
	list, err := h.issuer.Tokens(h.t.Context(), TokenFilter{})
	if err != nil {
		h.t.Fatal(err)
	}
	return len(list)
}
