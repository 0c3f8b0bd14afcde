package issuer

import (
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/oauth2-passport/caddy-passport/store"
)

// TestScopeRules uses the scopes of testConfig: read, write, admin (restricted; includes both) and manage, which is not
// restricted but includes admin. The default is read and admin.
func TestScopeRules(t *testing.T) {
	h := newHouse(t)
	if err := h.issuer.NameScopes("invoices"); err != nil {
		t.Fatal(err)
	}
	stored, secret, err := h.issuer.CreateClient(t.Context(), store.Client{Name: "x", Scopes: []string{"read", "private"}})
	if err != nil {
		t.Fatal(err)
	}
	const refused = "!"
	for _, test := range []struct {
		name, client, asked, want string
	}{
		{"what is asked for", "orders-sync", "write", "write"},
		{"in the order of asking", "orders-sync", "write read", "write read"},
		{"nothing: what it may have of the default", "orders-sync", "", "read"},
		{"nothing: the default includes what it names", "boss", "", "read admin"},
		{"nothing: the default is not for it", "limited", "", ""},
		{"nothing: * may have the default", "all", "", "read admin"},
		{"unknown", "orders-sync", "fly", refused},
		{"in other case", "orders-sync", "Read", refused},
		{"one of two unknown", "orders-sync", "read fly", refused},
		{"restricted, not named", "orders-sync", "admin", refused},
		{"restricted by what it includes", "orders-sync", "manage", refused},
		{"restricted, named", "boss", "admin", "admin"},
		{"included in what it names", "boss", "read", "read"},
		{"includes what it names", "boss", "manage", refused},
		{"not named", "limited", "read", refused},
		{"named by the client only", "limited", "own", "own"},
		{"named by another client", "orders-sync", "own", "own"},
		{"named by a route", "orders-sync", "invoices", "invoices"},
		{"* not named", "orders-sync", "*", refused},
		{"* not named, but others", "boss", "*", refused},
		{"* named", "all", "*", "*"},
		{"everything, with *", "all", "admin manage own", "admin manage own"},
		{"unknown, with *", "all", "fly", refused},
		{"named by a stored client", stored.ID, "private", "private"},
		{"named by a stored client only", "orders-sync", "private", refused},
	} {
		t.Run(test.name, func(t *testing.T) {
			form := url.Values{"grant_type": {"client_credentials"}, "scope": {test.asked}}
			password := testSecret
			if test.client == stored.ID {
				password = secret
			}
			r := request("/oauth/token", form, "Authorization", basic(test.client, password))
			if test.want == refused {
				h.t = t
				h.fault(r, 400, "invalid_scope")
				return
			}
			o := object(t, h.do(r))
			if got, _ := o["scope"].(string); got != test.want || o["access_token"] == nil {
				t.Errorf("got %v, want %q", o, test.want)
			}
		})
	}
}

func TestScopesThatAllow(t *testing.T) {
	h := newHouse(t)
	for name, want := range map[string]string{
		"read":   "read admin manage *",
		"admin":  "admin manage *",
		"manage": "manage *",
		"other":  "other *",
	} {
		if got := strings.Join(h.issuer.ScopesThatAllow(name), " "); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
}

func TestScopesOf(t *testing.T) {
	h := newHouse(t)
	for have, want := range map[string]string{
		"":             "",
		"read":         "read",
		"admin":        "admin read write",
		"manage other": "manage other read write admin",
		"*":            "* read write admin manage",
	} {
		got := h.issuer.ScopesOf(strings.Fields(have))
		if names := strings.Join(got, " "); !strings.HasPrefix(names, want) || have != "*" && names != want {
			t.Errorf("%q: got %s, want %s", have, names, want)
		}
		for _, name := range []string{"read", "write", "admin", "manage", "other", "nothing"} {
			includes := slices.ContainsFunc(strings.Fields(have), func(has string) bool {
				return has == "*" || h.issuer.ScopeIncludes(has, name)
			})
			if known := name != "other" && name != "nothing"; slices.Contains(got, name) != includes && (known || have != "*") {
				t.Errorf("%q: %s included: %v, but got %v", have, name, includes, got)
			}
		}
	}
}

// TestScopeCirclesAreErrors: in a circle each scope would allow all of them, which nobody means.
func TestScopeCirclesAreErrors(t *testing.T) {
	for name, list := range map[string][]Scope{
		"itself": {{Name: "a", Includes: []string{"a"}}},
		"of two": {{Name: "a", Includes: []string{"b"}}, {Name: "b", Includes: []string{"a"}}},
		"of three": {
			{Name: "x", Includes: []string{"a"}}, {Name: "a", Includes: []string{"b"}},
			{Name: "b", Includes: []string{"c"}}, {Name: "c", Includes: []string{"a"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var s scopeSet
			if err := s.define(list, nil); err == nil || !strings.Contains(err.Error(), "includes itself") {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestNamedScopesExist(t *testing.T) {
	h := newHouse(t, func(c *Config) {
		c.Scopes = []Scope{{Name: "a", Includes: []string{"included"}}}
		c.DefaultScopes = []string{"default"}
		c.Clients = []store.Client{{ID: "x", Public: true, Scopes: []string{"client", "*"}}}
	})
	if err := h.issuer.NameScopes("route", "a"); err != nil {
		t.Fatal(err)
	}
	if err := h.issuer.NameScopes("a b"); err == nil {
		t.Error("takes a scope with a space")
	}
	var names []string
	for _, scope := range h.issuer.Scopes() {
		names = append(names, scope.Name)
		if scope.Description != scope.Name {
			t.Errorf("%+v", scope)
		}
	}
	if want := []string{"a", "default", "included", "client", "route"}; !slices.Equal(names, want) {
		t.Errorf("got %v, want %v", names, want)
	}
}
