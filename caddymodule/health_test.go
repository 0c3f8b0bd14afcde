package caddymodule

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
)

// TestHealthTellsOfKeysThatCannotBeLoaded: those in memory are used on, and nobody would notice otherwise. Where none
// are in memory, nothing passes.
func TestHealthTellsOfKeysThatCannotBeLoaded(t *testing.T) {
	h := newHouse(t, "passport_auth scopes read\nreverse_proxy {$UPSTREAM}")
	token := h.token("read")
	app, _ := activeApp()
	i, err := app.instance("")
	if err != nil {
		t.Fatal(err)
	}
	waitFor := func(ok bool) issuerHealth {
		t.Helper()
		for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
			found := i.health(t.Context())
			if found.Keys.OK == ok {
				return found
			}
			if time.Now().After(end) {
				t.Fatalf("the keys: %+v", *found.Keys)
			}
		}
	}
	before := waitFor(true)
	tear := func(r *store.Records) error {
		return r.PutKey(&store.Key{
			ID: "torn", Algorithm: "ES256", Private: []byte("no key"), State: store.KeyRetired, CreatedAt: r.Now(),
			RetiredAt: r.Now(), ExpiresAt: r.Now().Add(time.Hour),
		})
	}
	h.update(tear)
	torn := waitFor(false)
	if resp := h.get("/orders", "Authorization", bearer(token)); resp.status != http.StatusOK || h.upstream.last() == nil {
		t.Errorf("by the keys in memory: %v", resp)
	}
	if torn.Keys.Error == "" || torn.Status != failing || !torn.Storage.OK || torn.Keys.KeyID != before.Keys.KeyID {
		t.Errorf("%+v, keys %+v", torn, *torn.Keys)
	}
	h.update(func(r *store.Records) error { return r.DeleteKey("torn") })
	if after := waitFor(true); after.Status != healthy || after.Keys.Error != "" {
		t.Errorf("%+v, keys %+v", after, *after.Keys)
	}
	h.update(tear)
	if err := i.running.Swap(nil).close(); err != nil {
		t.Fatal(err)
	}
	checkFailsClosed(t, h, token)
}

// checkFailsClosed expects that a token cannot be checked: the answer is 503, the upstream gets nothing, and the log
// tells.
func checkFailsClosed(t *testing.T, h *house, token string) {
	t.Helper()
	const line = `"request refused","status":503`
	before := strings.Count(h.logged(), line)
	resp := h.get("/orders", "Authorization", bearer(token))
	if resp.status != http.StatusServiceUnavailable || resp.header.Get("Retry-After") == "" || h.upstream.last() != nil {
		t.Errorf("%d %s", resp.status, resp.body)
	}
	log := h.logged()
	if strings.Count(log, line)-before != 1 {
		t.Fatalf("the log does not tell of it:\n%s", log)
	}
	start := strings.LastIndex(log[:strings.LastIndex(log, line)], "\n") + 1
	if !strings.Contains(log[start:], `"level":"error"`) || strings.Contains(log[start:], token) {
		t.Errorf("the log tells of it by %s", log[start:])
	}
}
