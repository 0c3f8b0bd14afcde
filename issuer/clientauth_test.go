package issuer

import (
	"encoding/base64"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/oauth2-passport/caddy-passport/store"
)

func TestBasicCredentials(t *testing.T) {
	for _, test := range []struct {
		name  string
		plain string // before base64
		want  credentials
		ok    bool
	}{
		{"plain", "id:secret", credentials{id: "id", secret: "secret"}, true},
		{"percent", "a%3Ab:s%25t", credentials{id: "a:b", secret: "s%t", raw: "s%25t"}, true},
		{"percent in lower case", "a%2fb:x", credentials{id: "a/b", secret: "x"}, true},
		{"plus is a space", "id:a+b", credentials{id: "id", secret: "a b", raw: "a+b"}, true},
		{"encoded plus", "id:a%2Bb", credentials{id: "id", secret: "a+b", raw: "a%2Bb"}, true},
		{"secret not encoded", "id:100%", credentials{id: "id", secret: "100%"}, true},
		{"secret half encoded", "id:100%zz", credentials{id: "id", secret: "100%zz"}, true},
		{"colon in the secret", "id:a:b:c", credentials{id: "id", secret: "a:b:c"}, true},
		{"UTF-8", "id:gr%C3%BC%C3%9F", credentials{id: "id", secret: "grüß", raw: "gr%C3%BC%C3%9F"}, true},
		{"UTF-8 not encoded", "id:grüß", credentials{id: "id", secret: "grüß"}, true},
		{"not UTF-8", "id:\xff\xfe", credentials{id: "id", secret: "\xff\xfe"}, true},
		{"not UTF-8, encoded", "id:%FF", credentials{id: "id", secret: "\xff", raw: "%FF"}, true},
		{"empty secret", "id:", credentials{id: "id"}, true},
		{"NUL", "id:%00", credentials{id: "id", secret: "\x00", raw: "%00"}, true},
		{"empty ID", ":secret", credentials{}, false},
		{"broken ID", "i%d:secret", credentials{}, false},
		{"no colon", "secret", credentials{}, false},
		{"nothing", "", credentials{}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, ok := parseBasic(base64.StdEncoding.EncodeToString([]byte(test.plain)))
			if ok != test.ok || got != test.want {
				t.Errorf("got %+v, %v; want %+v, %v", got, ok, test.want, test.ok)
			}
		})
	}
	for _, token := range []string{
		"!", "aWQ6c2VjcmV0=", "aWQ6c2VjcmV0 ", "aWQ6c2Vj%3D", strings.Repeat("QUFB", maxBasic),
	} {
		if _, ok := parseBasic(token); ok {
			t.Errorf("takes %.40q", token)
		}
	}
}

func TestClientAuthentication(t *testing.T) {
	const odd = "p%41ss+word: 100% grüß, long enough for the rules"
	h := newHouse(t, func(c *Config) {
		hash, err := HashClientSecret(odd)
		if err != nil {
			t.Fatal(err)
		}
		c.Clients = append(c.Clients, store.Client{ID: "odd", SecretHash: hash, Grants: []string{"client_credentials"}})
	})
	raw := func(s string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(s)) }
	created, secret, err := h.issuer.CreateClient(t.Context(), store.Client{Name: "Orders"})
	if err != nil {
		t.Fatal(err)
	}
	if kind, ok := store.ParseSecret(secret); !ok || kind != store.ClientSecret {
		t.Errorf("the secret is of kind %q", kind)
	}
	for _, test := range []struct {
		name   string
		form   url.Values
		header []string
		status int
		code   string
	}{
		{"Basic", nil, []string{basic("orders-sync", testSecret)}, 200, ""},
		{"Basic in other case", nil, []string{"bASIC  " + basic("orders-sync", testSecret)[6:]}, 200, ""},
		{"Basic, ID with a colon, a plus and a percent sign", nil, []string{basic("a:b+%d", testSecret)}, 200, ""},
		{"Basic, encoded secret", nil, []string{basic("odd", odd)}, 200, ""},
		{"Basic, secret as it is", nil, []string{raw("odd:" + odd)}, 200, ""},
		{"Basic, stored client", nil, []string{basic(created.ID, secret)}, 200, ""},
		{"body", url.Values{"client_id": {"odd"}, "client_secret": {odd}}, nil, 200, ""},
		{"body, stored client", url.Values{"client_id": {created.ID}, "client_secret": {secret}}, nil, 200, ""},
		{"Basic and the same ID", url.Values{"client_id": {"odd"}}, []string{basic("odd", odd)}, 200, ""},
		{"Basic and another ID", url.Values{"client_id": {"all"}}, []string{basic("odd", odd)}, 400, "invalid_request"},
		{"both ways", url.Values{"client_id": {"odd"}, "client_secret": {odd}}, []string{basic("odd", odd)},
			400, "invalid_request"},
		{"both ways, one wrong", url.Values{"client_secret": {odd}}, []string{basic("odd", "wrong")},
			400, "invalid_request"},
		{"Basic and an assertion", url.Values{"client_assertion": {"a.b.c"}}, []string{basic("odd", odd)},
			400, "invalid_request"},
		{"two headers", nil, []string{basic("odd", odd), basic("odd", odd)}, 400, "invalid_request"},
		{"stored client, secret of another", nil, []string{basic(created.ID, testSecret)}, 401, "invalid_client"},
		{"secret with a wrong tail", nil, []string{basic(created.ID, secret[:len(secret)-1])}, 401, "invalid_client"},
		{"the hash of the secret", nil, []string{basic(created.ID, store.HashSecret(secret))}, 401, "invalid_client"},
		{"public client by Basic with a secret", nil, []string{basic("spa", "x")}, 401, "invalid_client"},
		{"public client by Basic", nil, []string{basic("spa", "")}, 400, "unauthorized_client"},
		{"broken base64", nil, []string{"Basic %%%"}, 401, "invalid_client"},
		{"no credentials", nil, []string{"Basic"}, 401, "invalid_client"},
		{"empty header", nil, []string{""}, 401, "invalid_client"},
		{"ID with a slash", nil, []string{basic("x/../orders-sync", testSecret)}, 401, "invalid_client"},
		{"ID with a control character", nil, []string{basic("orders-sync\x00", testSecret)}, 401, "invalid_client"},
		{"very long ID", nil, []string{basic(strings.Repeat("a", 2000), testSecret)}, 401, "invalid_client"},
	} {
		t.Run(test.name, func(t *testing.T) {
			form := url.Values{"grant_type": {"client_credentials"}}
			maps.Copy(form, test.form)
			r := request("/oauth/token", form)
			for _, header := range test.header {
				r.Header.Add("Authorization", header)
			}
			if test.status != http.StatusOK {
				h.t = t
				h.fault(r, test.status, test.code)
				return
			}
			if res := h.do(r); res.StatusCode != http.StatusOK {
				t.Errorf("%d %v", res.StatusCode, object(t, res))
			}
		})
	}
}

func TestClientThatChangesMeanwhile(t *testing.T) {
	h := newHouse(t)
	created, secret, err := h.issuer.CreateClient(t.Context(), store.Client{
		Name: "Orders", Scopes: []string{"read", "write"},
	})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(between func()) (*http.Response, map[string]any) {
		h.engine.beforeUpdate.Store(&between)
		form := url.Values{"grant_type": {"client_credentials"}, "scope": {"write"}}
		res := h.do(request("/oauth/token", form, "Authorization", basic(created.ID, secret)))
		return res, object(t, res)
	}
	change := func(c ClientChange) {
		if _, err := h.issuer.UpdateClient(t.Context(), created.ID, c); err != nil {
			t.Error(err)
		}
	}
	name := "New name"
	if res, o := ask(func() { change(ClientChange{Name: &name}) }); res.StatusCode != http.StatusOK {
		t.Errorf("renamed: %d %v", res.StatusCode, o)
	}
	if res, o := ask(func() { change(ClientChange{Scopes: &[]string{"read"}}) }); o["error"] != "invalid_scope" {
		t.Errorf("scope taken away: %d %v", res.StatusCode, o)
	}
	change(ClientChange{Scopes: &[]string{"write"}})
	_, o := ask(func() { change(ClientChange{Grants: &[]string{"device_code"}}) })
	if o["error"] != "unauthorized_client" {
		t.Errorf("grant taken away: %v", o)
	}
	change(ClientChange{Grants: &[]string{"client_credentials"}})
	disabled := true
	if res, o := ask(func() { change(ClientChange{Disabled: &disabled}) }); res.StatusCode != http.StatusUnauthorized {
		t.Errorf("disabled: %d %v", res.StatusCode, o)
	}
	disabled = false
	change(ClientChange{Disabled: &disabled})
	if res, o := ask(func() {
		if _, _, err := h.issuer.RotateSecret(t.Context(), created.ID); err != nil {
			t.Error(err)
		}
	}); res.StatusCode != http.StatusUnauthorized {
		t.Errorf("new secret: %d %v", res.StatusCode, o)
	}
	if n := h.tokens(); n != 1 {
		t.Errorf("%d tokens are recorded, want 1", n)
	}
}

func TestHashClientSecret(t *testing.T) {
	hash, err := HashClientSecret(testSecret)
	if err != nil || !store.SecretMatches(hash, testSecret) {
		t.Errorf("%q, %v", hash, err)
	}
	for _, bad := range []string{
		"", strings.Repeat("x", 31), strings.Repeat("x", 5000), testSecret + "\n", testSecret + "\xff",
	} {
		if _, err := HashClientSecret(bad); err == nil {
			t.Errorf("takes %.40q", bad)
		} else if bad != "" && strings.Contains(err.Error(), bad) {
			t.Errorf("the error has the secret: %v", err)
		}
	}
}

func FuzzBasicCredentials(f *testing.F) {
	for _, seed := range []string{"id:secret", "a%3Ab:s%25t", "id:a+b", ":", "", "id:%", "\xff:\x00", "%zz:x"} {
		f.Add("Basic " + base64.StdEncoding.EncodeToString([]byte(seed)))
	}
	f.Add("Bearer x")
	f.Add("basic   aWQ6eA")
	f.Fuzz(func(t *testing.T, header string) {
		r := httptest.NewRequest(http.MethodPost, "/oauth/token", nil)
		r.Header["Authorization"] = []string{header}
		c, fault := readCredentials(r, nil)
		if fault != nil {
			if fault.Status != http.StatusUnauthorized {
				t.Errorf("%q: %v", header, fault)
			}
			return
		}
		if c.id == "" || len(c.id)+len(c.secret)+len(c.raw) > 2*maxBasic {
			t.Errorf("%q: %+v", header, c)
		}
		// What is encoded as RFC 6749 §2.3.1 says has to come out again.
		again, ok := parseBasic(basic(c.id, c.secret)[len("Basic "):])
		if ok && (again.id != c.id || again.secret != c.secret) {
			t.Errorf("%+v became %+v", c, again)
		}
	})
}
