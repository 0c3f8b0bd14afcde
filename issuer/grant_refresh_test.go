package issuer

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
)

func TestRefresh(t *testing.T) {
	for _, client := range []string{"app", "site"} {
		h, ann := newPeopledHouse(t)
		first := h.tokensOf(client, ann, "read write")
		h.told()
		second := h.gives(h.askByRefresh(client, first.refresh))
		if second.refresh == first.refresh || second.access == first.access || second.scope != "read write" {
			t.Errorf("%+v after %+v", second, first)
		}
		_, before := decodeJWT(t, first.access)
		_, after := decodeJWT(t, second.access)
		for _, name := range []string{"sub", "aud", "grant_id", "auth_time", "preferred_username", "client_id", "iss"} {
			if before[name] != after[name] || after[name] == nil {
				t.Errorf("%s: %v, before %v", name, after[name], before[name])
			}
		}
		if !h.good(first.access) || !h.good(second.access) {
			t.Error("an access token ends with the refresh token that it came with")
		}
		if got := h.toldOf(); got != string(TokenIssued+" "+RefreshTokenRefreshed) {
			t.Errorf("told %s", got)
		}
		third := h.gives(h.askByRefresh(client, second.refresh, "scope", "read"))
		if third.scope != "read" {
			t.Errorf("narrowed to %q", third.scope)
		}
		if fourth := h.gives(h.askByRefresh(client, third.refresh)); fourth.scope != "read write" {
			t.Errorf("after a narrower one: %q", fourth.scope)
		}
	}
}

// TestRefreshLifetimes: a refresh token is over when it is not used, and all of them a year after the person was asked.
func TestRefreshLifetimes(t *testing.T) {
	h, ann := newPeopledHouse(t, func(c *Config) {
		c.Lifetimes.RefreshToken, c.Lifetimes.RefreshTokenAbsolute = 24*time.Hour, 60*time.Hour
	})
	idle := h.tokensOf("app", ann, "read")
	used := h.tokensOf("app", ann, "read")
	for range 2 {
		h.pass(23 * time.Hour)
		used = h.gives(h.askByRefresh("app", used.refresh))
	}
	h.fault(h.askByRefresh("app", idle.refresh), 400, "invalid_grant")
	h.pass(14*time.Hour - 30*time.Minute) // after 59.5 hours
	used = h.gives(h.askByRefresh("app", used.refresh))
	if _, claims := decodeJWT(t, used.access); claims["exp"].(float64)-claims["iat"].(float64) > 1801 {
		t.Errorf("an access token outlives what it is of: %v", claims)
	}
	h.pass(31 * time.Minute)
	h.fault(h.askByRefresh("app", used.refresh), 400, "invalid_grant")
}

// TestRefreshGrace: a refresh token that is used again at once gives the same successor, until somebody uses that.
func TestRefreshGrace(t *testing.T) {
	h, ann := newPeopledHouse(t)
	first := h.tokensOf("app", ann, "read write")
	second := h.gives(h.askByRefresh("app", first.refresh))
	h.pass(29 * time.Second)
	again := h.gives(h.askByRefresh("app", first.refresh, "scope", "read"))
	if again.refresh != second.refresh || again.access == second.access || again.scope != "read" {
		t.Errorf("%+v, before %+v", again, second)
	}
	h.told()
	third := h.gives(h.askByRefresh("app", second.refresh))
	h.fault(h.askByRefresh("app", first.refresh), 400, "invalid_grant")
	h.fault(h.askByRefresh("app", third.refresh), 400, "invalid_grant")
	if got := h.toldOf(); !strings.Contains(got, string(RefreshTokenReused)) {
		t.Errorf("told %s", got)
	}
}

func TestNoRefreshGrace(t *testing.T) {
	h, ann := newPeopledHouse(t, func(c *Config) { c.RefreshGrace = 1 })
	first := h.tokensOf("app", ann, "read")
	h.gives(h.askByRefresh("app", first.refresh))
	h.fault(h.askByRefresh("app", first.refresh), 400, "invalid_grant")
}

// TestRefreshOfLessThanWasGranted: what client or person may not have any more is left out, and comes back with it.
func TestRefreshOfLessThanWasGranted(t *testing.T) {
	h, ann := newPeopledHouse(t)
	g := h.tokensOf("app", ann, "read write")
	setScopes := func(limited bool, scopes ...string) {
		h.update(func(r *store.Records) error {
			u, err := r.User(ann.ID)
			if err != nil {
				return err
			}
			u.Limited, u.Scopes = limited, scopes
			return r.PutUser(u)
		})
	}
	setScopes(true, "write")
	if g = h.gives(h.askByRefresh("app", g.refresh)); g.scope != "write" {
		t.Errorf("scope %q", g.scope)
	}
	h.fault(h.askByRefresh("app", g.refresh, "scope", "read"), 400, "invalid_scope")
	setScopes(true)
	h.fault(h.askByRefresh("app", g.refresh), 400, "invalid_grant")
	setScopes(false)
	if g = h.gives(h.askByRefresh("app", g.refresh)); g.scope != "read write" {
		t.Errorf("scope %q", g.scope)
	}
	h.issuer.clients["app"].Scopes = []string{"read"}
	if g = h.gives(h.askByRefresh("app", g.refresh)); g.scope != "read" {
		t.Errorf("scope %q", g.scope)
	}
}

func TestRevokeRefreshToken(t *testing.T) {
	h, ann := newPeopledHouse(t)
	first := h.tokensOf("site", ann, "read")
	second := h.gives(h.askByRefresh("site", first.refresh))
	for _, hint := range []string{"refresh_token", "access_token", ""} {
		other := h.tokensOf("site", ann, "read")
		third := h.gives(h.askByRefresh("site", second.refresh))
		h.told()
		h.revokes("site", third.refresh, hint)
		if got := h.toldOf(); got != string(RefreshTokenRevoked) {
			t.Errorf("told %s", got)
		}
		for name, token := range map[string]string{"first": first.access, "second": second.access, "third": third.access} {
			if h.good(token) {
				t.Errorf("the %s access token is good", name)
			}
		}
		h.fault(h.askByRefresh("site", third.refresh), 400, "invalid_grant")
		if !h.good(other.access) {
			t.Error("the other family has ended too")
		}
		h.revokes("site", third.refresh, hint) // again
		first, second = other, h.gives(h.askByRefresh("site", other.refresh))
	}
	// also by one that has been replaced
	h.revokes("site", first.refresh, "")
	h.fault(h.askByRefresh("site", second.refresh), 400, "invalid_grant")
}

func (h *house) revokes(client, token, hint string) {
	h.t.Helper()
	r := h.ask(client, "", "token", token, "token_type_hint", hint)
	r.URL.Path = "/oauth/revoke"
	if res := h.do(r); res.StatusCode != http.StatusOK {
		h.t.Errorf("%d %v", res.StatusCode, object(h.t, res))
	}
}

// TestAccessTokenRevokedAlone: a client that revokes an access token keeps its refresh token.
func TestAccessTokenRevokedAlone(t *testing.T) {
	h, ann := newPeopledHouse(t)
	g := h.tokensOf("site", ann, "read")
	h.revokes("site", g.access, "")
	if h.good(g.access) {
		t.Error("it is good")
	}
	h.gives(h.askByRefresh("site", g.refresh))
}

func TestIntrospectRefreshToken(t *testing.T) {
	h, ann := newPeopledHouse(t)
	g := h.tokensOf("site", ann, "read write")
	for _, client := range []string{"site", "api"} {
		o := h.introspect(client, g.refresh)
		if o["active"] != true || o["client_id"] != "site" || o["sub"] != ann.ID || o["scope"] != "read write" ||
			o["username"] != "Ann" || o["iss"] != testIdentifier || o["token_type"] != nil ||
			o["token_use"] != "refresh_token" ||
			o["exp"].(float64)-o["iat"].(float64) != 30*24*3600 {
			t.Errorf("%s: %v", client, o)
		}
	}
	next := h.gives(h.askByRefresh("site", g.refresh))
	for name, test := range map[string]struct {
		client, token string
		active        bool
	}{
		"used": {"site", g.refresh, false}, "its successor": {"site", next.refresh, true},
		"another client's": {"other", next.refresh, false},
		"unknown":          {"site", store.NewSecret(store.RefreshToken), false},
	} {
		if o := h.introspect(test.client, test.token); o["active"] != test.active || !test.active && len(o) != 1 {
			t.Errorf("%s: %v", name, o)
		}
	}
	h.update(func(r *store.Records) error {
		u, err := r.User(ann.ID)
		if err != nil {
			return err
		}
		u.Disabled = true
		return r.PutUser(u)
	})
	if o := h.introspect("site", next.refresh); o["active"] != false {
		t.Errorf("of somebody disabled: %v", o)
	}
}
