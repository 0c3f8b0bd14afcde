package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"golang.org/x/crypto/bcrypt"

	"github.com/oauth2-passport/caddy-passport/issuer"
)

func init() {
	caddy.RegisterModule(eventKeeper{})
}

// eventKeeper is a handler of Caddy's events that keeps what it gets.
type eventKeeper struct{}

var keptEvents struct {
	mu   sync.Mutex
	list []caddy.Event
	slow chan struct{} // each event waits until it can be read from; nil: none does
}

func (eventKeeper) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "events.handlers.keep", New: func() caddy.Module { return new(eventKeeper) }}
}

func (eventKeeper) Handle(_ context.Context, e caddy.Event) error {
	if !strings.HasPrefix(e.Name(), eventPrefix) {
		return nil // Caddy's own
	}
	keptEvents.mu.Lock()
	slow := keptEvents.slow
	keptEvents.mu.Unlock()
	if slow != nil {
		<-slow
	}
	keptEvents.mu.Lock()
	defer keptEvents.mu.Unlock()
	keptEvents.list = append(keptEvents.list, e)
	return nil
}

// kept are the events of that name.
func kept(name string) (list []caddy.Event) {
	keptEvents.mu.Lock()
	defer keptEvents.mu.Unlock()
	for _, e := range keptEvents.list {
		if e.Name() == name {
			list = append(list, e)
		}
	}
	return list
}

// withEvents is a house whose config has a handler of all events.
func withEvents(t *testing.T, slow chan struct{}) (h *house, load func()) {
	t.Helper()
	return subscribed(t, slow, func(*App) {})
}

// subscribed is a house whose config has a handler of the events of those names, of all when there is none, and what
// change adds to it.
func subscribed(t *testing.T, slow chan struct{}, change func(*App), names ...string) (h *house, load func()) {
	t.Helper()
	keptEvents.mu.Lock()
	keptEvents.list, keptEvents.slow = nil, slow
	keptEvents.mu.Unlock()
	const sites = "http://{$ADDR} {\npassport_server\npassport_auth\nrespond ok\n}"
	h = newHouseOf(t, sites)
	load = func() {
		t.Helper()
		var config map[string]any
		if err := json.Unmarshal(h.adapt(sites), &config); err != nil {
			t.Fatal(err)
		}
		apps := config["apps"].(map[string]any)
		subscription := map[string]any{"handlers": []any{map[string]any{"handler": "keep"}}}
		if len(names) > 0 {
			subscription["events"] = names
		}
		apps["events"] = map[string]any{"subscriptions": []any{subscription}}
		var app App
		text, err := json.Marshal(apps["passport"])
		if err = errors.Join(err, json.Unmarshal(text, &app)); err != nil {
			t.Fatal(err)
		}
		change(&app)
		apps["passport"] = &app
		text, err = json.Marshal(config)
		if err != nil {
			t.Fatal(err)
		}
		h.loadJSON(text)
		h.http.CloseIdleConnections() // Caddy closes those of the old config when it likes
	}
	load()
	return h, load
}

// latest is the issuer of the config in force.
func (h *house) latest() *instance {
	app, _ := activeApp()
	return app.find(DefaultIssuer)
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if condition() {
			return
		}
	}
	t.Fatalf("not within %v: %s", patience, what)
}

func TestEvents(t *testing.T) {
	h, load := withEvents(t, nil)
	token := h.token("read write")
	h.revoke(token)
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {"demo"}, "client_secret": {"a-wrong-secret"}}
	req, _ := http.NewRequest(http.MethodPost, "http://"+h.addr+"/oauth/token", strings.NewReader(form.Encode()))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	h.do(req)
	if err := h.instance().ring.Rotate(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]map[string]string{
		"passport.access_token_created": {
			"issuer": "default", "client_id": "demo", "scope": "read write", "remote_ip": "127.0.0.1", "actor": "client",
			"grant_type": "client_credentials", "jti": "",
		},
		"passport.access_token_revoked": {"client_id": "demo", "jti": ""},
		"passport.access_token_refused": {"client_id": "demo", "error": "invalid_client"},
		"passport.key_rotated":          {"kid": "", "actor": "system"},
	} {
		eventually(t, name, func() bool { return len(kept(name)) > 0 })
		data := kept(name)[0].Data
		for field, value := range want {
			if got, ok := data[field].(string); !ok || value != "" && got != value {
				t.Errorf("%s: %s is %v, want %q", name, field, data[field], value)
			}
		}
		text := fmt.Sprint(data)
		for _, secret := range []string{token, testSecret, "a-wrong-secret"} {
			if strings.Contains(text, secret) {
				t.Errorf("%s has a secret: %s", name, text)
			}
		}
		if origin := kept(name)[0].Origin(); origin == nil || origin.CaddyModule().ID != "passport" {
			t.Errorf("%s comes from %v", name, origin)
		}
	}

	// What an issuer of an old config still does is told to the config in force.
	old, _ := activeApp()
	load()
	last := old.find(DefaultIssuer)
	for _, told := range []*observer{{last}, {h.latest()}} {
		told.Observe(t.Context(), issuer.Event{Type: issuer.ClientCreated, Issuer: DefaultIssuer, ClientID: "x"})
	}
	eventually(t, "the events after a reload", func() bool { return len(kept("passport.client_created")) == 2 })
	if last.latest() != h.latest() {
		t.Error("the old config does not know of the new one")
	}
}

// TestEventsOfPeople has handlers of three events alone, as an operator has who wants to hear of thieves: they get those
// with what the audit log says, and nothing else of what happens.
func TestEventsOfPeople(t *testing.T) {
	const password, wrong = "correct horse battery staple", "another horse battery staple"
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	const created, reused, failed = "passport.refresh_token_created", "passport.refresh_token_reused",
		"passport.sign_in_failed"
	h, load := subscribed(t, nil, func(app *App) {
		i := app.Issuers[DefaultIssuer]
		i.Grants = []string{"client_credentials", "password", "refresh_token"}
		i.Users = []User{{Name: "ann", PasswordHash: string(hash)}}
		i.Clients = append(i.Clients, Client{
			ID: "app", Secret: testSecret, Grants: []string{"password", "refresh_token"}, Scopes: []string{"read"},
		})
	}, created, reused, failed)
	secrets := []string{password, wrong, testSecret}
	ask := func(status int, form url.Values) (refresh string) {
		t.Helper()
		req, _ := http.NewRequest(http.MethodPost, "http://"+h.addr+"/oauth/token", strings.NewReader(form.Encode()))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.SetBasicAuth("app", url.QueryEscape(testSecret))
		resp := h.do(req)
		if resp.status != status {
			t.Fatalf("%v: %d %s", form, resp.status, resp.body)
		}
		for _, name := range []string{"access_token", "refresh_token"} {
			if secret, ok := resp.json()[name].(string); ok {
				secrets = append(secrets, secret)
			}
		}
		refresh, _ = resp.json()["refresh_token"].(string)
		return refresh
	}
	signIn := func(status int, password string) string {
		t.Helper()
		return ask(status, url.Values{"grant_type": {"password"}, "username": {"ann"}, "password": {password}})
	}
	refresh := func(status int, token string) string {
		t.Helper()
		return ask(status, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}})
	}

	first := signIn(http.StatusOK, password)
	signIn(http.StatusBadRequest, wrong)
	second := refresh(http.StatusOK, first)
	refresh(http.StatusOK, second)
	refresh(http.StatusBadRequest, first)
	eventually(t, "the last event", func() bool { return len(kept(reused)) > 0 })

	for name, want := range map[string]map[string]any{
		created: {"grant_type": "password"},
		reused:  {"grant_type": "password", "error": "invalid_grant"},
		failed:  {"error": "wrong_login"},
	} {
		told := kept(name)
		if len(told) != 1 {
			t.Fatalf("%s: %d events", name, len(told))
		}
		want["issuer"], want["actor"], want["remote_ip"], want["client_id"] = "default", "user", "127.0.0.1", "app"
		want["user_id"] = kept(created)[0].Data["user_id"]
		if name != failed {
			want["family_id"] = kept(created)[0].Data["family_id"]
		}
		if !maps.Equal(told[0].Data, want) || want["user_id"] == nil || want["user_id"] == "" || want["family_id"] == "" {
			t.Errorf("%s has %v, want %v", name, told[0].Data, want)
		}
		for _, secret := range secrets {
			if strings.Contains(fmt.Sprint(told[0].Data), secret) {
				t.Errorf("%s has a secret: %v", name, told[0].Data)
			}
		}
	}
	keptEvents.mu.Lock()
	all := len(keptEvents.list)
	keptEvents.mu.Unlock()
	if all != 3 {
		t.Errorf("%d events were handled, of which 3 were subscribed to", all)
	}

	// The config that comes has subscribers, too.
	load()
	signIn(http.StatusBadRequest, wrong)
	eventually(t, "an event after a reload", func() bool { return len(kept(failed)) == 2 })
}

// TestEventsDoNotDelayRequests has a handler that hangs: requests are answered, and what there is no room for is
// counted.
func TestEventsDoNotDelayRequests(t *testing.T) {
	slow := make(chan struct{})
	h, _ := withEvents(t, slow)
	var release sync.Once
	t.Cleanup(func() { release.Do(func() { close(slow) }) }) // before Caddy stops
	told := &observer{h.latest()}
	before := droppedEvents()
	for range maxEvents + 100 {
		told.Observe(t.Context(), issuer.Event{Type: issuer.ClientCreated, Issuer: DefaultIssuer, ClientID: "x"})
	}
	if n := droppedEvents() - before; n < 90 {
		t.Errorf("%v events were dropped", n)
	}
	if resp := h.get("/", "Authorization", bearer(h.token("read"))); resp.status != http.StatusOK {
		t.Errorf("a request: %d", resp.status)
	}
	release.Do(func() { close(slow) })
}

func droppedEvents() float64 {
	var m dto.Metric
	if err := eventsDropped.With(prometheus.Labels{"issuer": DefaultIssuer}).Write(&m); err != nil {
		panic(err)
	}
	return m.GetCounter().GetValue()
}
