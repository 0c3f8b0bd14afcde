package issuer

import (
	"strings"
	"testing"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
)

func TestConfigErrors(t *testing.T) {
	h := newHouse(t)
	client := func(change func(*store.Client)) func(*Config) {
		return func(c *Config) {
			one := store.Client{ID: "x", SecretHash: store.HashSecret(testSecret)}
			change(&one)
			c.Clients = []store.Client{one}
		}
	}
	for _, test := range []struct {
		name   string
		change func(*Config)
		says   string
	}{
		{"no database", func(c *Config) { c.DB = nil }, "database"},
		{"no keys", func(c *Config) { c.Ring = nil }, "keys"},
		{"identifier without scheme", func(c *Config) { c.Identifier = "api.example.com" }, "https://"},
		{"identifier of another scheme", func(c *Config) { c.Identifier = "ftp://api.example.com" }, "https://"},
		{"identifier with a query", func(c *Config) { c.Identifier = "https://a.example?x" }, "query"},
		{"identifier with a fragment", func(c *Config) { c.Identifier = "https://a.example#" }, "fragment"},
		{"identifier with a user", func(c *Config) { c.Identifier = "https://u@a.example" }, "user"},
		{"identifier with a space", func(c *Config) { c.Identifier = "https://a.example/a b" }, "characters"},
		{"no identifier at all", func(c *Config) { c.Identifier = "https://%zz" }, "not a URL"},
		{"unknown grant", func(c *Config) { c.Grants = []string{"magic"} }, "client_credentials"},
		{"name of a scope", func(c *Config) { c.Scopes = []Scope{{Name: "a b"}} }, `"a b"`},
		{"every scope defined", func(c *Config) { c.Scopes = []Scope{{Name: "*"}} }, "*"},
		{"scope twice", func(c *Config) { c.Scopes = []Scope{{Name: "a"}, {Name: "a"}} }, "twice"},
		{"description", func(c *Config) { c.Scopes = []Scope{{Name: "a", Description: "x\n"}} }, "control"},
		{"included name", func(c *Config) { c.Scopes = []Scope{{Name: "a", Includes: []string{"b c"}}} }, `"b c"`},
		{"scope that includes itself", func(c *Config) {
			c.Scopes = []Scope{{Name: "a", Includes: []string{"a"}}}
		}, "itself"},
		{"circle of scopes", func(c *Config) {
			c.Scopes = []Scope{
				{Name: "a", Includes: []string{"b"}}, {Name: "b", Includes: []string{"c"}},
				{Name: "c", Includes: []string{"a"}},
			}
		}, "itself"},
		{"every scope by default", func(c *Config) { c.DefaultScopes = []string{"*"} }, "default_scopes"},
		{"too much by default", func(c *Config) { c.DefaultScopes = strings.Fields(strings.Repeat("a ", 100)) }, "up to"},
		{"very long identifier", func(c *Config) {
			c.Identifier = "https://a.example/" + strings.Repeat("a", maxIdentifier)
		}, "more than"},
		{"short lifetime", func(c *Config) { c.Lifetimes.AccessToken = time.Millisecond }, "access_token"},
		{"negative lifetime", func(c *Config) { c.Lifetimes.Session = -time.Hour }, "session"},
		{"client without ID", client(func(c *store.Client) { c.ID = "" }), "ID"},
		{"client with a space in its ID", client(func(c *store.Client) { c.ID = "a b" }), `"a b"`},
		{"client without secret", client(func(c *store.Client) { c.SecretHash = "" }), "secret"},
		{"public client with a secret", client(func(c *store.Client) { c.Public = true }), "public"},
		{"client with an unknown grant", client(func(c *store.Client) { c.Grants = []string{"magic"} }), "magic"},
		{"client with a grant that is off", client(func(c *store.Client) { c.Grants = []string{"password"} }), "is off"},
		{"client with a bad scope", client(func(c *store.Client) { c.Scopes = []string{`a"`} }), "scope"},
		{"client with a bad lifetime", client(func(c *store.Client) { c.AccessTokenLifetime = 1 }), "lifetime"},
		{"client with a bad redirect", client(func(c *store.Client) { c.RedirectURIs = []string{"/x"} }), "absolute"},
		{"client twice", func(c *Config) { c.Clients = append(c.Clients, c.Clients[0]) }, "twice"},
		{"public resource server", client(func(c *store.Client) {
			c.Public, c.ResourceServer, c.SecretHash = true, true, ""
		}), "resource_server"},
	} {
		t.Run(test.name, func(t *testing.T) {
			config := testConfig()
			config.DB, config.Ring = h.db, h.ring
			test.change(&config)
			_, err := New(config)
			if err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("got %v, want something about %s", err, test.says)
			}
		})
	}
}

func TestGrantsThatSuitAClient(t *testing.T) {
	h := newHouse(t)
	for _, test := range []struct {
		client store.Client
		want   string
	}{
		{store.Client{}, "client_credentials"},
		{store.Client{Public: true}, "device_code refresh_token"},
		{store.Client{RedirectURIs: []string{"https://a.example/cb"}}, "authorization_code refresh_token"},
		{store.Client{Grants: []string{"device_code"}}, "device_code"},
	} {
		if err := h.issuer.checkClient(&test.client); err != nil {
			t.Error(err)
		}
		if got := strings.Join(test.client.Grants, " "); got != test.want {
			t.Errorf("%+v: got %s, want %s", test.client, got, test.want)
		}
	}
}

func TestRedirectURIs(t *testing.T) {
	for uri, good := range map[string]bool{
		"https://app.example/cb":           true,
		"https://app.example/cb?tenant=1":  true,
		"https://app.example:8443/":        true,
		"http://localhost/cb":              true,
		"http://localhost:3000/cb":         true,
		"http://127.0.0.1/cb":              true,
		"http://[::1]:4711/cb":             true,
		"com.example.app:/cb":              true,
		"com.example.app:cb":               true,
		"cursor://anysphere.mcp/callback":  true,
		"":                                 false,
		"/cb":                              false,
		"//app.example/cb":                 false,
		"app.example/cb":                   false,
		"http://app.example/cb":            false,
		"http://localhost.evil.example/cb": false,
		"https://app.example/cb#x":         false,
		"https://app.example/cb#":          false,
		"https://u:p@app.example/cb":       false,
		"https://*.app.example/cb":         false,
		"https://app.example/*":            false,
		"https://app.example/a/../cb":      false,
		"https://app.example/%2e%2e/cb":    false,
		"https:///cb":                      false,
		"https://app.example/a b":          false,
		"https://app.example\\@evil":       false,
		"https://app.example/\r\nX: y":     false,
		"javascript:alert(1)":              false,
		"JavaScript:alert(1)":              false,
		"data:text/html,x":                 false,
		"file:///etc/passwd":               false,
		"https://ä.example/":               false,
		"https://a.example/" + strings.Repeat("a", maxRedirectURI): false,
	} {
		if err := checkRedirectURI(uri); (err == nil) != good {
			t.Errorf("%.60q: %v", uri, err)
		}
	}
}
