package issuer

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

func get(path string, header ...string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, path, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return r
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	var b bytes.Buffer
	if err := json.Indent(&b, got, "", "  "); err != nil {
		t.Fatalf("%s: %v", got, err)
	}
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b.Bytes(), want) {
		t.Errorf("%s: got\n%s\nwant\n%s", name, b.Bytes(), want)
	}
}

func TestMetadata(t *testing.T) {
	for _, test := range []struct {
		golden, prefix, path string
		change               func(*Config)
	}{
		{"metadata.json", "", "https://elsewhere.example" + wellKnown, func(*Config) {}},
		{"metadata_path.json", "/tenant/oauth/", wellKnown + "/tenant", func(c *Config) {
			c.Identifier = "https://api.example.com/tenant"
		}},
		{"metadata_path.json", "/tenant/oauth", wellKnown, func(c *Config) {
			c.Identifier = "https://api.example.com/tenant"
		}},
		{"metadata_host.json", "/", "https://API.example.com:443" + wellKnown, func(c *Config) {
			c.Identifier, c.Scopes, c.DefaultScopes, c.Clients = "", nil, nil, nil
		}},
		{"metadata_nothing.json", "", "http://localhost:8080" + wellKnown, func(c *Config) {
			c.Identifier, c.Grants, c.Clients = "", []string{"authorization_code"}, nil
		}},
	} {
		t.Run(test.golden, func(t *testing.T) {
			h := newHouse(t, test.change)
			h.handler = h.issuer.Handler(test.prefix)
			r := get(test.path)
			res := h.do(r)
			body, _ := io.ReadAll(res.Body)
			if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != "application/json" ||
				res.Header.Get("Access-Control-Allow-Origin") != "*" {
				t.Fatalf("%d %v %s", res.StatusCode, res.Header, body)
			}
			golden(t, test.golden, body)
		})
	}
}

// TestMetadataKeepsUp names a scope after the document has been asked for.
func TestMetadataKeepsUp(t *testing.T) {
	h := newHouse(t)
	first := h.do(get(wellKnown))
	if err := h.issuer.NameScopes("invoices"); err != nil {
		t.Fatal(err)
	}
	second := h.do(get(wellKnown))
	body, _ := io.ReadAll(second.Body)
	if !strings.Contains(string(body), `"invoices"`) || first.Header.Get("ETag") == second.Header.Get("ETag") {
		t.Errorf("%s: %s", second.Header.Get("ETag"), body)
	}
}

func TestDocumentsMayBeKept(t *testing.T) {
	h := newHouse(t)
	for _, path := range []string{wellKnown, "/oauth/jwks"} {
		res := h.do(get(path))
		etag := res.Header.Get("ETag")
		if res.StatusCode != http.StatusOK || len(etag) < 10 || etag[0] != '"' || etag[len(etag)-1] != '"' ||
			res.Header.Get("Cache-Control") != "public, max-age=300" {
			t.Fatalf("%s: %d %v", path, res.StatusCode, res.Header)
		}
		for header, status := range map[string]int{
			etag: 304, "W/" + etag: 304, `"x", ` + etag: 304, "*": 304, `"x"`: 200, "": 200, etag[1:]: 200,
		} {
			res := h.do(get(path, "If-None-Match", header))
			body, _ := io.ReadAll(res.Body)
			if res.StatusCode != status || (status == 304) != (len(body) == 0) || res.Header.Get("ETag") != etag {
				t.Errorf("%s with %s: %d, %d bytes", path, header, res.StatusCode, len(body))
			}
		}
	}
}

func TestJWKS(t *testing.T) {
	h := newHouse(t)
	res := h.do(get("/oauth/jwks"))
	o := object(t, res)
	list, _ := o["keys"].([]any)
	if len(list) < 2 || res.Header.Get("Content-Type") != "application/jwk-set+json" {
		t.Fatalf("%v %v", res.Header, o)
	}
	found := false
	for _, key := range list {
		key := key.(map[string]any)
		found = found || key["kid"] == h.ring.Current().ID()
		for name := range key {
			if name == "d" || name == "p" || name == "q" {
				t.Errorf("the key %v shows %s", key["kid"], name)
			}
		}
	}
	if !found {
		t.Errorf("the current key is not among %v", list)
	}
}

func TestScopesDocument(t *testing.T) {
	h := newHouse(t)
	body, _ := io.ReadAll(h.do(get("/oauth/scopes")).Body)
	const want = `[{"id":"read","description":"See your orders"},` +
		`{"id":"write","description":"Place and change orders"},{"id":"admin","description":"Everything"},` +
		`{"id":"manage","description":"Manage"},{"id":"own","description":"own"}]` + "\n"
	if string(body) != want {
		t.Errorf("got %s", body)
	}
	h = newHouse(t, func(c *Config) { c.Scopes, c.DefaultScopes, c.Clients = nil, nil, nil })
	if body, _ := io.ReadAll(h.do(get("/oauth/scopes")).Body); string(body) != "[]\n" {
		t.Errorf("got %s", body)
	}
}

func TestCORS(t *testing.T) {
	h := newHouse(t)
	for _, test := range []struct {
		method, path string
		open         bool
	}{
		{"POST", "/oauth/token", true},
		{"POST", "/oauth/revoke", true},
		{"GET", "/oauth/jwks", true},
		{"GET", wellKnown, true},
		{"POST", "/oauth/introspect", false},
		{"GET", "/oauth/scopes", false},
	} {
		preflight := httptest.NewRequest(http.MethodOptions, test.path, nil)
		preflight.Header.Set("Origin", "https://app.example")
		preflight.Header.Set("Access-Control-Request-Method", test.method)
		preflight.Header.Set("Access-Control-Request-Headers", "authorization,content-type")
		res := h.do(preflight)
		if body, _ := io.ReadAll(res.Body); res.StatusCode != http.StatusNoContent || len(body) > 0 {
			t.Errorf("preflight of %s: %d %s", test.path, res.StatusCode, body)
		}
		actual := httptest.NewRequest(test.method, test.path, nil)
		actual.Header.Set("Origin", "https://app.example")
		for name, res := range map[string]*http.Response{"preflight": res, "request": h.do(actual)} {
			if open := res.Header.Get("Access-Control-Allow-Origin") == "*"; open != test.open {
				t.Errorf("%s of %s: %v", name, test.path, res.Header)
			}
			if res.Header.Get("Access-Control-Allow-Credentials") != "" {
				t.Errorf("%s of %s allows credentials", name, test.path)
			}
		}
		allowed := res.Header.Get("Access-Control-Allow-Methods")
		if test.open != strings.Contains(allowed, test.method) ||
			test.open != strings.Contains(res.Header.Get("Access-Control-Allow-Headers"), "Authorization") {
			t.Errorf("preflight of %s: %v", test.path, res.Header)
		}
	}
}

func TestIdentifier(t *testing.T) {
	h := newHouse(t, func(c *Config) { c.Identifier = "" })
	for _, test := range []struct {
		host string
		tls  bool
		want string
	}{
		{"api.example.com", true, "https://api.example.com"},
		{"API.Example.com:443", true, "https://api.example.com"},
		{"api.example.com:8443", true, "https://api.example.com:8443"},
		{"api.example.com:80", true, "https://api.example.com:80"},
		{"localhost:8080", false, "http://localhost:8080"},
		{"localhost:80", false, "http://localhost"},
		{"[::1]:9000", false, "http://[::1]:9000"},
		{"", true, ""},
		{`a"b`, true, ""},
		{"a/b", true, ""},
		{"a\x00b", true, ""},
		{"a@b", true, ""},
		{"höst", true, ""},
		{strings.Repeat("a", 300), true, ""},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Host = test.host
		if test.tls {
			r.TLS = &tls.ConnectionState{}
		}
		for range 2 { // computed, then remembered
			if got := h.issuer.IdentifierFor(r); got != test.want {
				t.Errorf("%q, %v: %q, want %q", test.host, test.tls, got, test.want)
			}
		}
		if test.want == "" {
			h.fault(func() *http.Request { r.URL.Path = wellKnown; return r }(), 400, "invalid_request")
		}
	}
}

func TestServes(t *testing.T) {
	host := newHouse(t, func(c *Config) { c.Identifier = "" }).issuer
	path := newHouse(t, func(c *Config) { c.Identifier = "https://api.example.com/tenant/" }).issuer
	for _, test := range []struct {
		issuer       *Issuer
		prefix, path string
		want         bool
	}{
		{host, "", "/oauth/token", true},
		{host, "/oauth", "/oauth", true},
		{host, "/oauth/", "/oauth/", true},
		{host, "oauth", "/oauth/whatever", true},
		{host, "/oauth", "/oauth/../orders", true},
		{host, "/oauth", "/oauthx", false},
		{host, "/oauth", "/OAuth/token", false},
		{host, "/oauth", "//oauth/token", false},
		{host, "/oauth", "/orders/oauth/token", false},
		{host, "/oauth", "/", false},
		{host, "/", "/token", true},
		{host, "/", "/orders", false},
		{host, "/", "/", false},
		{host, "/oauth", wellKnown, true},
		{host, "/oauth", wellKnown + "/", false},
		{host, "/oauth", wellKnown + "/tenant", false},
		{host, "/oauth", "/.well-known/openid-configuration", false},
		{path, "/oauth", wellKnown, true},
		{path, "/oauth", wellKnown + "/tenant", true},
		{path, "/oauth", wellKnown + "/tenant/", false},
		{path, "/oauth", wellKnown + "/other", false},
	} {
		if got := test.issuer.Serves(test.prefix, test.path); got != test.want {
			t.Errorf("prefix %q, path %q: %v", test.prefix, test.path, got)
		}
	}
}

func TestHostsAreIssuersOfTheirOwn(t *testing.T) {
	h := newHouse(t, func(c *Config) { c.Identifier = "" })
	ask := func(host, path string, form map[string][]string) map[string]any {
		r := request(path, form, "Authorization", basic("orders-sync", testSecret))
		r.Host = host
		return object(t, h.do(r))
	}
	token := ask("a.example", "/oauth/token", map[string][]string{"grant_type": {"client_credentials"}})["access_token"]
	_, claims := decodeJWT(t, token.(string))
	if claims["iss"] != "https://a.example" || claims["aud"] != "https://a.example" {
		t.Errorf("claims %v", claims)
	}
	query := map[string][]string{"token": {token.(string)}}
	if o := ask("a.example", "/oauth/introspect", query); o["active"] != true {
		t.Errorf("on its host: %v", o)
	}
	if o := ask("b.example", "/oauth/introspect", query); o["active"] != false || len(o) != 1 {
		t.Errorf("on another host: %v", o)
	}
	// It is revoked wherever its client says so.
	r := request("/oauth/revoke", query, "Authorization", basic("orders-sync", testSecret))
	r.Host = "b.example"
	if res := h.do(r); res.StatusCode != http.StatusOK {
		t.Error(res.StatusCode)
	}
	if o := ask("a.example", "/oauth/introspect", query); o["active"] != false {
		t.Errorf("revoked: %v", o)
	}
}

// TestRefusesToRememberEveryHost floods the issuer with hosts.
func TestRefusesToRememberEveryHost(t *testing.T) {
	h := newHouse(t, func(c *Config) { c.Identifier = "" })
	for i := range 3 * maxHosts {
		r := get(wellKnown)
		r.Host = fmt.Sprintf("host-%d.example", i)
		o := object(t, h.do(r))
		if o["issuer"] != "http://"+r.Host {
			t.Fatalf("%s: %v", r.Host, o)
		}
	}
	if n := len(*h.issuer.hosts.known[0].Load()); n > maxHosts {
		t.Errorf("%d hosts are remembered", n)
	}
	if n := len(*h.handler.(*endpoints).documents.known.Load()); n > maxHosts {
		t.Errorf("%d documents are remembered", n)
	}
}
