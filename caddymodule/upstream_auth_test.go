package caddymodule

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/oauth2-passport/caddy-passport/issuer/keys"
	"github.com/oauth2-passport/caddy-passport/issuer/verify"
)

const legacyPassword = `a "legacy" pass{word}: ü`

func basicOf(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

func TestUpstreamAuth(t *testing.T) {
	t.Setenv("LEGACY_PASSWORD", legacyPassword)
	t.Setenv("LEGACY_API_KEY", "{passport.client_id} is no placeholder here")
	for _, test := range []struct{ name, options, field, want string }{
		{"basic", "upstream_auth basic legacy {env.LEGACY_PASSWORD}", "Authorization", basicOf("legacy", legacyPassword)},
		{"basic for each client", "upstream_auth basic {passport.client_id} {env.LEGACY_PASSWORD}", "Authorization",
			basicOf(testClient, legacyPassword)},
		{"basic written out", "upstream_auth basic legacy se{cret:", "Authorization", basicOf("legacy", "se{cret:")},
		{"basic without a person", "upstream_auth basic {passport.username} {env.LEGACY_PASSWORD}", "Authorization", ""},
		{"basic with a colon from outside", "upstream_auth basic {http.request.header.X-Name} {env.LEGACY_PASSWORD}",
			"Authorization", ""},
		{"header", "upstream_auth header X-Api-Key {env.LEGACY_API_KEY}", "X-Api-Key",
			"{passport.client_id} is no placeholder here"},
		{"header with more", `upstream_auth header x-api-key "v1 {env.LEGACY_API_KEY} {passport.scope}"`, "X-Api-Key",
			"v1 {passport.client_id} is no placeholder here read"},
		{"header Authorization", "upstream_auth header Authorization \"ApiKey {env.LEGACY_PASSWORD}\"", "Authorization",
			"ApiKey " + legacyPassword},
		{"header with nothing", "upstream_auth header X-Api-Key {passport.username}", "X-Api-Key", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHouse(t, "passport_auth {\n"+test.options+"\n}\nreverse_proxy {$UPSTREAM}")
			answer := h.get("/", "Authorization", bearer(h.token("read")), "X-Name", "root:x", "X-Api-Key", "mine")
			got := h.upstream.last()
			if answer.status != http.StatusOK || got == nil {
				t.Fatal(answer)
			}
			if fields := got.header[test.field]; strings.Join(fields, "|") != test.want {
				t.Errorf("%s: %q, want %q", test.field, fields, test.want)
			}
			if strings.Contains(h.logged(), "legacy\\\" pass") {
				t.Error("the log has the credential")
			}
		})
	}
}

// TestRefusesUpstreamCredentialWithoutIdentity: what the upstream trusts is never handed to a request that nobody has
// been let through for, and no caller brings it himself.
func TestRefusesUpstreamCredentialWithoutIdentity(t *testing.T) {
	t.Setenv("LEGACY_PASSWORD", legacyPassword)
	mine := basicOf("legacy", legacyPassword)
	for kind, field := range map[string]string{
		"upstream_auth basic legacy {env.LEGACY_PASSWORD}":            "authorization",
		"upstream_auth header X-Api-Key {env.LEGACY_PASSWORD}":        "x-api-key",
		"upstream_auth header Authorization {env.LEGACY_PASSWORD}":    "authorization",
		"upstream_auth jwt {\naudience internal\n}":                   "authorization",
		"upstream_auth jwt {\naudience internal\nheader X-Api-Key\n}": "x-api-key",
	} {
		t.Run(strings.Fields(kind)[1]+" in "+field, func(t *testing.T) {
			h := newHouse(t, "passport_auth {\noptional\npreflight\n"+kind+"\n}\nreverse_proxy {$UPSTREAM}")
			good := h.token("read")
			preflight := []string{"Origin", "https://a.example", "Access-Control-Request-Method", "GET"}
			for _, request := range []struct {
				name, method string
				fields       []string
				status       int
			}{
				{"anonymous", "GET", nil, 200},
				{"his own Basic", "GET", []string{"Authorization", mine}, 200},
				{"his own key", "GET", []string{"X-Api-Key", legacyPassword}, 200},
				{"his own key, spelled otherwise", "GET", []string{"x_api_KEY", legacyPassword, "X.Api.Key", "x"}, 200},
				{"preflight", "OPTIONS", append([]string{"Authorization", mine, "X-Api-Key", legacyPassword}, preflight...), 200},
				{"bad token", "GET", []string{"Authorization", "Bearer x"}, 401},
				{"forged token", "GET", []string{"Authorization", "Bearer " + forge(good)}, 401},
				{"Basic beside a token", "GET", []string{"Authorization", bearer(good), "Authorization", mine}, 400},
			} {
				answer := h.send(request.method, "/", request.fields...)
				got := h.upstream.last()
				if answer.status != request.status || (request.status == 200) != (got != nil) {
					t.Fatalf("%s: %v %v", request.name, answer, got)
				}
				if got == nil {
					continue
				}
				for name, values := range got.header {
					if fold(name) == field {
						t.Errorf("%s: the upstream got %s %q", request.name, name, values)
					}
				}
			}
			// A connection option that would have the proxy remove it.
			h.get("/", "Authorization", bearer(good), "Connection", "authorization, X-Api-Key", "X-Api-Key", "mine")
			got := h.upstream.last()
			credential := got.header.Get(field)
			if credential == "" || strings.Contains(credential, good) || credential == "mine" {
				t.Errorf("the upstream got the credential %q", credential)
			}
		})
	}
}

// TestReportOnlyGivesNoUpstreamCredential: a request that would have been refused gets none. Its own Authorization is
// left to it, for the API is open to who knows that; a field that only the gateway may set is not.
func TestReportOnlyGivesNoUpstreamCredential(t *testing.T) {
	t.Setenv("LEGACY_PASSWORD", legacyPassword)
	mine := basicOf("old", "caller")
	for kind, field := range map[string]string{
		"upstream_auth basic legacy {env.LEGACY_PASSWORD}":            "Authorization",
		"upstream_auth header X-Api-Key {env.LEGACY_PASSWORD}":        "X-Api-Key",
		"upstream_auth jwt {\naudience internal\n}":                   "Authorization",
		"upstream_auth jwt {\naudience internal\nheader X-Api-Key\n}": "X-Api-Key",
	} {
		t.Run(strings.Fields(kind)[1]+" in "+field, func(t *testing.T) {
			h := newHouse(t, "passport_auth scopes read {\nreport_only\n"+kind+"\n}\nreverse_proxy {$UPSTREAM}")
			for _, request := range []struct {
				name          string
				authorization string
				left          string // of it
			}{
				{"anonymous", "", ""},
				{"his own Basic", mine, mine},
				{"another's token", "Bearer x", "Bearer x"},
				{"a token that lacks a scope", bearer(h.token("write")), ""},
			} {
				fields := []string{"X-Api-Key", "mine", "x_api_KEY", "mine"}
				if request.authorization != "" {
					fields = append(fields, "Authorization", request.authorization)
				}
				answer := h.get("/", fields...)
				got := h.upstream.last()
				if answer.status != http.StatusOK || got == nil || got.header.Get("Authorization") != request.left {
					t.Fatalf("%s: %v, the upstream got %v", request.name, answer, got)
				}
				for name := range got.header {
					if field == "X-Api-Key" && fold(name) == "x-api-key" {
						t.Errorf("%s: the upstream got %s", request.name, name)
					}
				}
			}
			h.get("/", "Authorization", bearer(h.token("read")))
			if got := h.upstream.last().header.Get(field); got == "" || got == mine {
				t.Errorf("a good token: the upstream got %q", got)
			}
		})
	}
}

// forge changes the signature of a token.
func forge(token string) string {
	at := strings.LastIndexByte(token, '.') + 3
	c := "A"
	if token[at] == 'A' {
		c = "B"
	}
	return token[:at] + c + token[at+1:]
}

// TestRefusesUpstreamCredentialOnOtherRoutes: the header of the credential is the gateway's on the whole site, and
// Authorization is the caller's own where another route has no credential.
func TestRefusesUpstreamCredentialOnOtherRoutes(t *testing.T) {
	t.Setenv("LEGACY_API_KEY", "k")
	h := newHouse(t, "passport_auth /guarded* {\nupstream_auth header X-Api-Key {env.LEGACY_API_KEY}\n}\n"+
		"reverse_proxy {$UPSTREAM}")
	h.get("/open", "X-Api-Key", "k", "X_api_key", "k", "Authorization", "Basic eDp5")
	got := h.upstream.last()
	if got.header.Get("X-Api-Key") != "" || got.header.Get("X_api_key") != "" || got.header.Get("Authorization") == "" {
		t.Errorf("%v", got.header)
	}
}

// jwtOf reads a token that the upstream got.
func jwtOf(t testing.TB, token string) (header, claims map[string]any) {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("%q is no JWT", token)
	}
	for i, into := range []*map[string]any{&header, &claims} {
		text, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err == nil {
			err = json.Unmarshal(text, into)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return header, claims
}

const jwtRoutes = `passport_auth /internal* {
	upstream_auth jwt {
		audience internal
	}
}
passport_auth /field* {
	upstream_auth jwt {
		audience a b
		header X-Internal-Token
		lifetime 1m
	}
	upstream_header X-User {passport.subject}
}
passport_auth /api*
reverse_proxy {$UPSTREAM}`

func TestUpstreamJWT(t *testing.T) {
	h := newHouse(t, jwtRoutes)
	access := h.token("read write")
	get := func(path, field string) string {
		t.Helper()
		h.get(path, "Authorization", bearer(access))
		got := h.upstream.last()
		if got == nil || len(got.header[field]) != 1 {
			t.Fatal(got)
		}
		return got.header[field][0]
	}
	authorization := get("/internal", "Authorization")
	token, ok := strings.CutPrefix(authorization, "Bearer ")
	if !ok || token == access {
		t.Fatal(authorization)
	}
	if again := get("/internal", "Authorization"); again != authorization {
		t.Error("it is made for each request")
	}
	header, claims := jwtOf(t, token)
	key := h.instance().ring.Current()
	signed := token[:strings.LastIndexByte(token, '.')]
	signature, _ := base64.RawURLEncoding.DecodeString(token[len(signed)+1:])
	if header["typ"] != "JWT" || header["kid"] != key.ID() || !key.Verify([]byte(signed), signature) {
		t.Errorf("header %v", header)
	}
	_, accessClaims := jwtOf(t, access)
	if life := claims["exp"].(float64) - claims["iat"].(float64); life != 300 {
		t.Errorf("it lives for %v seconds", life)
	}
	if id, _ := claims["jti"].(string); id == "" || id == accessClaims["jti"] {
		t.Errorf("jti %v", claims["jti"])
	}
	for name, want := range map[string]any{
		"iss": "http://" + h.addr, "sub": testClient, "aud": "internal", "client_id": testClient, "scope": "read write",
	} {
		if claims[name] != want {
			t.Errorf("%s %v, want %v", name, claims[name], want)
		}
	}
	if _, ok := claims["username"]; ok {
		t.Errorf("a client has a user's name: %v", claims)
	}
	other := get("/field", "X-Internal-Token")
	_, claims = jwtOf(t, other)
	if fmt.Sprint(claims["aud"]) != "[a b]" || claims["exp"].(float64)-claims["iat"].(float64) != 60 {
		t.Errorf("%v", claims)
	}
	h.get("/field", "Authorization", bearer(access))
	if got := h.upstream.last(); got.header.Get("Authorization") != "" || got.header.Get("X-User") != testClient {
		t.Errorf("%v", got.header)
	}

	// A new key: the old one may be out of the key set soon.
	if err := h.instance().ring.Rotate(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	header, _ = jwtOf(t, strings.TrimPrefix(get("/internal", "Authorization"), "Bearer "))
	if header["kid"] == key.ID() || header["kid"] != h.instance().ring.Current().ID() {
		t.Errorf("after a rotation it is signed by %v", header["kid"])
	}
}

// TestRefusesInternalTokenAsAccessToken: what an upstream is given is no key to the gateway.
func TestRefusesInternalTokenAsAccessToken(t *testing.T) {
	h := newHouse(t, jwtRoutes)
	access := h.token("read")
	for path, field := range map[string]string{"/internal": "Authorization", "/field": "X-Internal-Token"} {
		h.get(path, "Authorization", bearer(access))
		token := strings.TrimPrefix(h.upstream.last().header.Get(field), "Bearer ")
		for _, path := range []string{"/api", "/internal", "/field"} {
			answer := h.get(path, "Authorization", bearer(token))
			if answer.status != http.StatusUnauthorized || h.upstream.last() != nil {
				t.Errorf("%s: %v", path, answer)
			}
		}
		// Nor by a gateway whose own identifier somebody made its audience: the type alone refuses it.
		r := h.instance()
		header, claims := jwtOf(t, token)
		claims["aud"] = claims["iss"]
		text, _ := json.Marshal(claims)
		typ, _ := header["typ"].(string)
		again, err := r.ring.Current().SignJWT(typ, text)
		if err != nil {
			t.Fatal(err)
		}
		if answer := h.get("/api", "Authorization", bearer(again)); answer.status != http.StatusUnauthorized {
			t.Errorf("%v", answer)
		}
		if _, err := r.verifier.Verify(t.Context(), again, "http://"+h.addr); err != verify.ErrType {
			t.Errorf("%v", err)
		}
	}
}

func TestInternalTokenEndsWithAccessToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key, err := keys.Generate(keys.ES256)
		if err != nil {
			t.Fatal(err)
		}
		u := &UpstreamJWT{Audience: []string{"internal"}, Lifetime: caddy.Duration(5 * time.Minute)}
		now := time.Now()
		for _, test := range []struct {
			left, life, renew time.Duration
		}{
			{time.Hour, 5 * time.Minute, 225 * time.Second},
			{4 * time.Minute, 4 * time.Minute, 225 * time.Second},
			{time.Minute, time.Minute, time.Minute},
		} {
			id := &verify.Identity{Issuer: "https://a", Subject: "s", ClientID: "c", ExpiresAt: now.Add(test.left)}
			made, err := u.make(id, key, "https://a", now)
			if err != nil {
				t.Fatal(err)
			}
			_, claims := jwtOf(t, strings.TrimPrefix(made.value, "Bearer "))
			if life := time.Unix(int64(claims["exp"].(float64)), 0).Sub(time.Unix(int64(claims["iat"].(float64)), 0)); life != test.life {
				t.Errorf("%s left: it lives for %s", test.left, life)
			}
			if renew := made.renew.Sub(now.Truncate(time.Second)); renew != test.renew {
				t.Errorf("%s left: it is renewed after %s", test.left, renew)
			}
		}
	})
}

// TestRefusesForeignSubjectAsOurs: an identity of another issuer never has the names of ours in the internal token.
func TestRefusesForeignSubjectAsOurs(t *testing.T) {
	key, err := keys.Generate(keys.ES256)
	if err != nil {
		t.Fatal(err)
	}
	u := &UpstreamJWT{Audience: []string{"internal"}, Lifetime: caddy.Duration(time.Minute)}
	id := &verify.Identity{Issuer: "https://idp", Subject: "admin", ClientID: "admin", UserID: "admin", Username: "ann"}
	made, err := u.make(id, key, "https://api", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	_, claims := jwtOf(t, strings.TrimPrefix(made.value, "Bearer "))
	if claims["iss"] != "https://api" || claims["sub"] != "https://idp#admin" || claims["client_id"] != nil ||
		fmt.Sprint(claims["sub_id"]) != "map[format:iss_sub iss:https://idp sub:admin]" {
		t.Errorf("%v", claims)
	}
}

func TestInternalTokensAreBounded(t *testing.T) {
	m := newInternalTokens()
	now := time.Now()
	for range 3 * internalSets * internalWays {
		m.put(&internalToken{id: new(verify.Identity), renew: now.Add(time.Minute)}, now)
	}
	id := new(verify.Identity)
	m.put(&internalToken{id: id, value: "1", renew: now}, now)
	m.put(&internalToken{id: id, value: "2", renew: now}, now)
	if got := m.get(id); got == nil || got.value != "2" {
		t.Errorf("%v", got)
	}
}

func TestRefusesBadUpstreamAuth(t *testing.T) {
	t.Setenv("COLON", "a:b")
	t.Setenv("LINE", "a\nb")
	for name, text := range map[string]string{
		"nothing":           `{}`,
		"two":               `{"basic": {"username": "a", "password": "b"}, "jwt": {"audience": ["x"]}}`,
		"no user":           `{"basic": {"password": "b"}}`,
		"no password":       `{"basic": {"username": "a"}}`,
		"unset":             `{"basic": {"username": "a", "password": "{env.NO_SUCH_VARIABLE}"}}`,
		"colon":             `{"basic": {"username": "{env.COLON}", "password": "b"}}`,
		"two lines":         `{"header": {"name": "X-Key", "value": "{env.LINE}"}}`,
		"no name":           `{"header": {"value": "x"}}`,
		"no value":          `{"header": {"name": "X-Key"}}`,
		"connection":        `{"header": {"name": "Connection", "value": "x"}}`,
		"identity":          `{"header": {"name": "x-passport-subject", "value": "x"}}`,
		"upstream_header":   `{"header": {"name": "x-user", "value": "x"}}`,
		"no audience":       `{"jwt": {}}`,
		"empty audience":    `{"jwt": {"audience": [""]}}`,
		"repeated audience": `{"jwt": {"audience": ["a", "a"]}}`,
		"gateway's own":     `{"jwt": {"audience": ["https://api.example.com"]}}`,
		"too short":         `{"jwt": {"audience": ["a"], "lifetime": "1s"}}`,
		"too long":          `{"jwt": {"audience": ["a"], "lifetime": "90d"}}`,
	} {
		t.Run(name, func(t *testing.T) {
			config := `{"admin": {"disabled": true}, "apps": {
				"passport": {"issuers": {"default": {"issuer": "https://api.example.com",
					"storage": {"module": "badger", "path": "` + t.TempDir() + `"}}}},
				"http": {"servers": {"s": {"listen": [], "routes": [{"handle": [
					{"handler": "passport_auth", "upstream_headers": {"X-User": "x"}, "upstream_auth": ` + text + `}
			]}]}}}}}`
			var c caddy.Config
			if err := json.Unmarshal([]byte(config), &c); err != nil {
				t.Fatal(err)
			}
			if err := caddy.Validate(&c); err == nil {
				t.Error("it is accepted")
			} else if strings.Contains(err.Error(), "a:b") {
				t.Errorf("the error has a secret: %v", err)
			}
		})
	}
}

func TestWarnsOfUpstreamSecretsWrittenOut(t *testing.T) {
	for text, want := range map[string]string{
		"passport_auth {\n upstream_auth basic legacy geheim\n}":                     "{env.LEGACY_PASSWORD}",
		"passport_auth {\n upstream_auth header X-Key geheim\n}":                     "{env.LEGACY_API_KEY}",
		"passport_auth {\n upstream_auth basic legacy {env.LEGACY_PASSWORD}\n}":      "",
		"passport_auth {\n upstream_auth basic legacy {file./run/secrets/legacy}\n}": "",
		"passport_auth {\n upstream_auth header X-User {passport.username}\n}":       "",
	} {
		tokens, err := caddyfile.Tokenize([]byte(text), "Caddyfile")
		if err != nil {
			t.Fatal(err)
		}
		log := captureLog(t)
		if err := new(Auth).UnmarshalCaddyfile(caddyfile.NewDispenser(tokens)); err != nil {
			t.Fatal(err)
		}
		said := log()
		if (want == "") != (said == "") || !strings.Contains(said, want) || strings.Contains(said, "geheim") {
			t.Errorf("%s\n%s", text, said)
		}
	}
}

// BenchmarkUpstreamAuth is what the credential costs a request whose identity is known.
func BenchmarkUpstreamAuth(b *testing.B) {
	b.Setenv("LEGACY_PASSWORD", legacyPassword)
	for name, option := range map[string]string{
		"none":  "",
		"basic": "upstream_auth basic legacy {env.LEGACY_PASSWORD}",
		"jwt":   "upstream_auth jwt {\naudience internal\n}",
	} {
		b.Run(name, func(b *testing.B) {
			h := newHouse(b, "passport_auth {\n"+option+"\n}\nrespond 204")
			server := serverOf(b)
			header := http.Header{"Authorization": {bearer(h.token("read"))}}
			first := httptest.NewRequest(http.MethodGet, "http://"+h.addr+"/", nil)
			b.ReportAllocs()
			for b.Loop() {
				r := first.WithContext(b.Context())
				r.Header = header.Clone()
				server.ServeHTTP(nowhere{make(http.Header)}, r)
			}
		})
	}
}
