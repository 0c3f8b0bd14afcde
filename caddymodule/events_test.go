package caddymodule

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

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
		config["apps"].(map[string]any)["events"] = map[string]any{
			"subscriptions": []any{map[string]any{"handlers": []any{map[string]any{"handler": "keep"}}}},
		}
		text, err := json.Marshal(config)
		if err != nil {
			t.Fatal(err)
		}
		if err := caddy.Load(text, true); err != nil {
			t.Fatal(err)
		}
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
