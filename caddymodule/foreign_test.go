package caddymodule

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwk"

	"github.com/oauth2-passport/caddy-passport/issuer/keys"
)

// idp is another issuer: it has keys, and an introspection endpoint that knows the token "opaque" and those in answers.
type idp struct {
	t      testing.TB
	url    string
	server *httptest.Server

	mu      sync.Mutex
	keys    []*keys.Key
	down    bool
	answers map[string]string
	asked   []string
	fetches atomic.Int64
}

func newIDP(t testing.TB) *idp {
	i := &idp{t: t}
	i.rotate()
	i.server = httptest.NewServer(i)
	t.Cleanup(i.server.Close)
	i.url = i.server.URL
	return i
}

func (i *idp) rotate() {
	key, err := keys.Generate(keys.ES256)
	if err != nil {
		i.t.Fatal(err)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys = append([]*keys.Key{key}, i.keys...)
}

func (i *idp) outage(down bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.down = down
}

func (i *idp) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	token := r.PostFormValue("token")
	if token != "" {
		i.asked = append(i.asked, token)
	}
	if i.down {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		_ = json.NewEncoder(w).Encode(map[string]string{"issuer": i.url, "jwks_uri": i.url + "/keys"})
	case "/keys":
		i.fetches.Add(1)
		set := jwk.NewSet()
		for _, k := range i.keys {
			key, err := jwk.FromRaw(k.Public())
			if err != nil {
				i.t.Error(err)
				return
			}
			_ = key.Set(jwk.KeyIDKey, k.ID())
			_ = set.AddKey(key)
		}
		_ = json.NewEncoder(w).Encode(set)
	case "/introspect":
		id, secret, _ := r.BasicAuth()
		answer := i.answers[token]
		if answer == "" && token == "opaque" {
			answer = `{"active":true,"sub":"u9","client_id":"demo","scope":"read","aud":"api"}`
		}
		if id != "gateway" || secret != "of-the-gateway" || answer == "" {
			answer = `{"active":false}`
		}
		_, _ = w.Write([]byte(answer))
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

// answer is what the introspection endpoint says of a token from now on.
func (i *idp) answer(token, text string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.answers == nil {
		i.answers = make(map[string]string)
	}
	i.answers[token] = text
}

// questions is how many the introspection endpoint has been asked.
func (i *idp) questions() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return len(i.asked)
}

func (i *idp) token(changes map[string]any) string {
	i.t.Helper()
	claims := map[string]any{"iss": i.url, "sub": "u1", "aud": "api", "client_id": "demo", "scope": "read", "jti": "j",
		"preferred_username": "ann", "exp": time.Now().Add(time.Hour).Unix()}
	maps.Copy(claims, changes)
	maps.DeleteFunc(claims, func(_ string, value any) bool { return value == nil })
	text, err := json.Marshal(claims)
	if err != nil {
		i.t.Fatal(err)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	token, err := i.keys[0].SignJWT("JWT", text)
	if err != nil {
		i.t.Fatal(err)
	}
	return token
}

// TestTokensOfOtherIssuers takes a route through all sources at once.
func TestTokensOfOtherIssuers(t *testing.T) {
	i := newIDP(t)
	foreign := `
			trust ` + i.url + ` {
				audience api
			}
			introspect ` + i.url + `/introspect {
				client_id gateway
				client_secret of-the-gateway
				audience api
			}`
	h := newHouse(t, `
		handle /all {
			passport_auth scopes read {
				`+foreign+`
			}
			reverse_proxy {$UPSTREAM}
		}
		handle /off {
			passport_auth {
				issuer off
				`+foreign+`
			}
			reverse_proxy {$UPSTREAM}
		}
		handle /clients {
			passport_auth {
				clients demo
				`+foreign+`
			}
			reverse_proxy {$UPSTREAM}
		}
		handle /person {
			passport_auth {
				subject user
				`+foreign+`
			}
			reverse_proxy {$UPSTREAM}
		}
		handle /svc {
			passport_auth {
				require `+"`client.id == \"demo\"`"+`
				`+foreign+`
			}
			reverse_proxy {$UPSTREAM}
		}
		handle /nobody {
			passport_auth {
				require `+"`user == null`"+`
				`+foreign+`
			}
			reverse_proxy {$UPSTREAM}
		}
		handle /claims {
			passport_auth {
				issuer off
				require `+"`claims.sub == \"u1\" && \"read\" in scopes`"+`
				`+foreign+`
			}
			reverse_proxy {$UPSTREAM}
		}
		handle /own {
			passport_auth
			reverse_proxy {$UPSTREAM}
		}
		@matched passport {
			`+foreign+`
		}
		handle @matched {
			respond "matched" 299
		}`)
	own, theirs := h.token("read"), i.token(nil)
	for _, test := range []struct {
		name, path, token string
		status            int
		issuer, subject   string
	}{
		{"own", "/all", own, 200, "http://" + h.addr, "demo"},
		{"trusted", "/all", theirs, 200, i.url, "u1"},
		{"introspected", "/all", "opaque", 200, i.url + "/introspect", "u9"},
		{"trusted, no other", "/off", theirs, 200, i.url, "u1"},
		{"introspected, no other", "/off", "opaque", 200, i.url + "/introspect", "u9"},
		{"own, where it is off", "/off", own, 401, "", ""},
		{"unknown opaque", "/all", "nonsense", 401, "", ""},
		{"other scope", "/all", i.token(map[string]any{"scope": "write"}), 403, "", ""},
		{"star is no scope of theirs", "/all", i.token(map[string]any{"scope": "*"}), 403, "", ""},
		{"other audience", "/all", i.token(map[string]any{"aud": "other"}), 401, "", ""},
		{"our audience is not theirs", "/all", i.token(map[string]any{"aud": "http://" + h.addr}), 401, "", ""},
		{"ID token", "/all", i.token(map[string]any{"aud": "demo", "nonce": "n"}), 401, "", ""},
		{"third issuer", "/all", i.token(map[string]any{"iss": "https://third.example"}), 401, "", ""},
		{"our issuer, their key", "/all", i.token(map[string]any{"iss": "http://" + h.addr}), 401, "", ""},
		{"their client has the name of ours", "/clients", theirs, 403, "", ""},
		{"introspected client has the name of ours", "/clients", "opaque", 403, "", ""},
		{"our client", "/clients", own, 200, "http://" + h.addr, "demo"},
		{"their client in an expression", "/svc", theirs, 403, "", ""},
		{"our client in an expression", "/svc", own, 200, "http://" + h.addr, "demo"},
		{"their claims in an expression", "/claims", theirs, 200, i.url, "u1"},
		{"their person is not nobody", "/nobody", theirs, 403, "", ""},
		{"person", "/person", theirs, 200, i.url, "u1"},
		{"their client for itself", "/person", i.token(map[string]any{"sub": "demo"}), 403, "", ""},
		{"route that trusts nobody", "/own", theirs, 401, "", ""},
		{"route that asks nobody", "/own", "opaque", 401, "", ""},
		{"matched", "/", theirs, 299, "", ""},
		{"matched own", "/", own, 299, "", ""},
		{"matched introspected", "/", "opaque", 299, "", ""},
		{"not matched", "/", "nonsense", 200, "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			h.upstream.last()
			resp := h.get(test.path, "Authorization", bearer(test.token), "X-Passport-Subject", "forged")
			if resp.status != test.status {
				t.Fatalf("%d %s, want %d", resp.status, resp.body, test.status)
			}
			got := h.upstream.last()
			if (got != nil) != (test.issuer != "") {
				t.Fatalf("the upstream got %v", got)
			}
			if got == nil {
				return
			}
			if s := got.header["X-Passport-Subject"]; len(s) != 1 || s[0] != test.subject {
				t.Errorf("subject %q", s)
			}
			if s := got.header["X-Passport-Issuer"]; len(s) != 1 || s[0] != test.issuer {
				t.Errorf("issuer %q", s)
			}
			if got.header["Authorization"] != nil {
				t.Error("the upstream got the token")
			}
		})
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, token := range i.asked {
		if token == own {
			t.Error("the other issuer was told our token")
		}
	}
}

// TestRefusesIntrospectedRefreshTokenAsAccessToken: a refresh token is active at its issuer, too.
func TestRefusesIntrospectedRefreshTokenAsAccessToken(t *testing.T) {
	i := newIDP(t)
	h := newHouse(t, `
		passport_auth {
			issuer off
			introspect `+i.url+`/introspect {
				client_id gateway
				client_secret of-the-gateway
			}
		}
		reverse_proxy {$UPSTREAM}`)
	for kind, status := range map[string]int{
		"":                                  http.StatusOK,
		`,"token_type":"Bearer"`:            http.StatusOK,
		`,"token_type":"refresh_token"`:     http.StatusUnauthorized,
		`,"token_type":"Refresh"`:           http.StatusUnauthorized,
		`,"token_use":"refresh_token"`:      http.StatusUnauthorized,
		`,"token_type":"N_A"`:               http.StatusUnauthorized,
		`,"token_type":"DPoP"`:              http.StatusUnauthorized,
		`,"token_type":"Bearer","cnf":{}`:   http.StatusUnauthorized,
		`,"token_type":"Bearer","typ":"ID"`: http.StatusUnauthorized,
	} {
		token := "t" + strconv.Itoa(len(kind)) // each kind is of another length
		i.answer(token, `{"active":true,"sub":"u1","client_id":"c","scope":"read"`+kind+`}`)
		h.upstream.last()
		resp := h.get("/", "Authorization", bearer(token))
		if resp.status != status {
			t.Errorf("%s: %d %s, want %d", kind, resp.status, resp.body, status)
		}
		if got := h.upstream.last(); (got != nil) != (status == http.StatusOK) {
			t.Errorf("%s: the upstream got %v", kind, got)
		}
	}
}

// TestRotationAndOutageOfATrustedIssuerUnderTraffic has requests run while keys change and the issuer is away, and the
// config has been reloaded in the outage.
func TestRotationAndOutageOfATrustedIssuerUnderTraffic(t *testing.T) {
	i := newIDP(t)
	site := "http://{$ADDR} {\npassport_auth {\nissuer off\ntrust " + i.url + " {\naudience api\n}\n}\nreverse_proxy {$UPSTREAM}\n}"
	h := newHouseOf(t, site)
	token := i.token(nil)
	if resp := h.get("/", "Authorization", bearer(token)); resp.status != http.StatusOK {
		t.Fatalf("%d %s", resp.status, resp.body)
	}
	i.outage(true)
	h.load(site + "\n# another config\nhttp://127.0.0.2:{$PORT} {\nrespond ok\n}")
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if resp := h.get("/", "Authorization", bearer(token)); resp.status != http.StatusOK {
					t.Errorf("%d %s", resp.status, resp.body)
					return
				}
			}
		})
	}
	i.outage(false)
	i.rotate()
	// The new key is fetched as soon as the last fetch is long enough ago.
	fresh, until := i.token(nil), time.Now().Add(patience)
	for h.get("/", "Authorization", bearer(fresh)).status != http.StatusOK {
		if time.Now().After(until) {
			t.Fatal("the new key is not known")
		}
		time.Sleep(50 * time.Millisecond)
	}
	close(stop)
	wg.Wait()
	if n := i.fetches.Load(); n != 2 {
		t.Errorf("the keys were fetched %d times", n)
	}
}

// TestOutageFromTheStartFailsClosed has an issuer that never answers.
func TestOutageFromTheStartFailsClosed(t *testing.T) {
	i := newIDP(t)
	i.outage(true)
	h := newHouse(t, `passport_auth {
		trust `+i.url+` {
			audience api
		}
		introspect `+i.url+`/introspect {
			client_id gateway
			client_secret of-the-gateway
			audience api
		}
	}
	reverse_proxy {$UPSTREAM}`)
	for _, token := range []string{i.token(nil), "opaque"} {
		checkFailsClosed(t, h, token)
	}
	if resp := h.get("/", "Authorization", bearer(h.token("read"))); resp.status != http.StatusOK {
		t.Errorf("our own token: %d %s", resp.status, resp.body)
	}
}

// TestManyRoutesShareASource has a thousand routes that trust the same issuer.
func TestManyRoutesShareASource(t *testing.T) {
	i := newIDP(t)
	app := &App{}
	made := 0
	for range 1000 {
		f, err := app.provisionForeign([]*Trust{{Issuer: i.url}}, nil, []string{"api"}, "")
		if err != nil {
			t.Fatal(err)
		}
		if made++; f.Trusted[0] != app.sources[firstKey(app)] || len(app.sources) != 1 {
			t.Fatal("another source")
		}
		f.start()
	}
	users, _ := foreignSources.References(firstKey(app))
	if users != 1 {
		t.Errorf("%d users", users)
	}
	key := firstKey(app)
	app.retireSources()
	if users, ok := foreignSources.References(key); ok {
		t.Errorf("%d users are left", users)
	}
}

func firstKey(app *App) (key sourceKey) {
	for key = range app.sources {
	}
	return key
}

func TestTokensOfLaravelPassport(t *testing.T) {
	i := newIDP(t)
	key, err := keys.Generate(keys.RS256)
	if err != nil {
		t.Fatal(err)
	}
	i.keys = []*keys.Key{key}
	public, err := jwk.FromRaw(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	text, err := jwk.Pem(public)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "oauth-public.key")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	h := newHouse(t, `passport_auth scopes read {
		trust laravel {
			public_key_file `+file+`
		}
	}
	reverse_proxy {$UPSTREAM}`)
	laravelToken := func(scopes ...string) string {
		return i.token(map[string]any{"iss": nil, "client_id": nil, "scope": nil, "preferred_username": nil,
			"aud": "9c5f", "sub": "7", "scopes": scopes})
	}
	for token, status := range map[string]int{
		laravelToken("read"): 200, laravelToken("*"): 200, laravelToken("write"): 403, laravelToken(): 403,
		h.token("read"): 200,
	} {
		if resp := h.get("/", "Authorization", bearer(token)); resp.status != status {
			t.Errorf("%d %s, want %d", resp.status, resp.body, status)
		}
	}
	h.get("/", "Authorization", bearer(laravelToken("read")))
	got := h.upstream.last()
	for name, want := range map[string]string{
		"X-Passport-Subject": "7", "X-Passport-Client": "9c5f", "X-Passport-Scope": "read", "X-Passport-Issuer": "laravel",
	} {
		if v := got.header.Get(name); v != want {
			t.Errorf("%s: %q, want %q", name, v, want)
		}
	}
}
