package tests

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwk"
	"github.com/lestrrat-go/jwx/v2/jwt"
	"golang.org/x/crypto/bcrypt"

	"github.com/oauth2-passport/caddy-passport/tests/internal/gateway"
	"github.com/oauth2-passport/caddy-passport/tests/internal/walk"
)

// The Caddyfiles of pages of docs, run as they stand there but for hosts, ports and paths.

// here is the site that the pages have on a name of their own.
const here = "http://127.0.0.1:{$PORT}"

// TestLegacyAPIBehindACredential runs the Caddyfiles of docs/basic-auth-upstream.md in front of APIs that take nothing
// but the credential that they know.
func TestLegacyAPIBehindACredential(t *testing.T) {
	const page, password, apiKey = "docs/basic-auth-upstream.md", "the password of the API", "the key of the legacy API"
	key := filepath.Join(t.TempDir(), "legacy_api_key")
	if err := os.WriteFile(key, []byte(apiKey), 0o600); err != nil {
		t.Fatal(err)
	}
	var g *gateway.Gateway
	for n, tc := range []struct {
		name     string
		replaced []string
		good     func(*http.Request) bool
		own      http.Header // what a caller who knows it would send
	}{
		{"Basic", []string{"legacy:8080", "{$UPSTREAM}"}, func(r *http.Request) bool {
			user, given, ok := r.BasicAuth()
			return ok && user == "legacy" && given == password
		}, http.Header{"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte("legacy:"+password))}}},
		{"an API key", []string{"legacy:8080", "{$UPSTREAM}", "/run/secrets/legacy_api_key", key},
			func(r *http.Request) bool { return r.Header.Get("X-Api-Key") == apiKey },
			http.Header{"X-Api-Key": {apiKey}}},
		{"a JWT", []string{"service:8080", "{$UPSTREAM}"}, func(r *http.Request) bool {
			set, err := jwk.Fetch(t.Context(), g.URL+"/oauth/jwks")
			if err != nil {
				t.Error(err)
				return false
			}
			_, err = jwt.ParseString(r.Header.Get("X-Internal-Token"), jwt.WithKeySet(set), jwt.WithAudience("internal"),
				jwt.WithIssuer(g.URL))
			return err == nil
		}, http.Header{"X-Internal-Token": {"eyJhbGciOiJub25lIn0.eyJhdWQiOiJpbnRlcm5hbCJ9."}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			came := make(chan string, 16)
			legacy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				came <- r.Header.Get("Authorization")
				if !tc.good(r) {
					w.Header().Set("Www-Authenticate", "Basic")
					w.WriteHeader(http.StatusUnauthorized)
					return
				}
				_, _ = w.Write([]byte("the orders"))
			}))
			defer legacy.Close()
			config := walk.Caddyfile(t, page, n+1, append(tc.replaced, "api.example.com", here)...)
			g = gateway.Start(t, config, "UPSTREAM="+legacy.Listener.Addr().String(), "LEGACY_PASSWORD="+password)
			g.Secret(password)
			g.Secret(apiKey)
			id, secret := createClient(t, g, "--scopes", "read")
			other, otherSecret := createClient(t, g)

			refused(t, g.Get("/orders", ""), 401, "")
			refused(t, g.Get("/orders", g.Token(other, otherSecret, "")), 403, "insufficient_scope")
			own := g.Request(http.MethodGet, "/orders", "")
			own.Header = tc.own
			if resp := g.Do(own); resp.Status != http.StatusUnauthorized ||
				!strings.HasPrefix(resp.Header.Get("Www-Authenticate"), "Bearer ") {
				t.Errorf("with the API's own credential: %d %v", resp.Status, resp.Header)
			}
			if len(came) > 0 {
				t.Errorf("the API was asked %d times", len(came))
			}
			token := g.Token(id, secret, "read")
			if resp := g.Get("/orders", token); resp.Status != http.StatusOK || resp.Body != "the orders" {
				t.Errorf("with a token: %d %s", resp.Status, resp.Body)
			}
			if len(came) == 0 || strings.Contains(<-came, token) {
				t.Error("the API has seen the token, or nothing")
			}
		})
	}
}

// TestMoveOffLaravelPassport runs the Caddyfile of docs/laravel-passport.md: tokens by the key of a Laravel application,
// and those of the gateway that take their place.
func TestMoveOffLaravelPassport(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	file := filepath.Join(t.TempDir(), "oauth-public.key")
	if err == nil {
		err = os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	upstream := gateway.NewUpstream(t)
	g := gateway.Start(t, walk.Caddyfile(t, "docs/laravel-passport.md", 1, "api.example.com", here,
		"legacy:8080", "{$UPSTREAM}", "/etc/passport/oauth-public.key", file), "UPSTREAM="+upstream.Addr)

	// As league/oauth2-server makes them by lcobucci/jwt: times have fractions.
	issued := func(key *rsa.PrivateKey, age time.Duration, scopes ...string) string {
		t.Helper()
		at := float64(time.Now().Add(-age).UnixMicro()) / 1e6
		claims, err := json.Marshal(map[string]any{
			"aud": "9d3b1c52-6f0e-4c9e-9f5e-0a1c2b3d4e5f", "jti": "5e2c4f0b9a", "iat": at, "nbf": at,
			"exp": at + (365 * 24 * time.Hour).Seconds(), "sub": "7", "scopes": scopes,
		})
		if err != nil {
			t.Fatal(err)
		}
		input := base64.RawURLEncoding.EncodeToString([]byte(`{"typ":"JWT","alg":"RS256"}`)) + "." +
			base64.RawURLEncoding.EncodeToString(claims)
		digest := sha256.Sum256([]byte(input))
		signature, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, digest[:])
		if err != nil {
			t.Fatal(err)
		}
		token := input + "." + base64.RawURLEncoding.EncodeToString(signature)
		g.Secret(token)
		return token
	}
	const day = 24 * time.Hour
	refused(t, g.Get("/api/orders", ""), 401, "")
	refused(t, g.Get("/api/orders", issued(stranger, day, "orders")), 401, "invalid_token")
	refused(t, g.Get("/api/orders", issued(key, 366*day, "orders")), 401, "invalid_token", "expired")
	refused(t, g.Get("/api/orders", issued(key, day, "invoices")), 403, "insufficient_scope")
	if came := upstream.Requests(); len(came) > 0 {
		t.Errorf("the upstream got %v", came)
	}
	for _, scope := range []string{"orders", "*"} {
		if resp := g.Get("/api/orders", issued(key, 300*day, scope)); resp.Status != http.StatusOK {
			t.Fatalf("a token with %q of Laravel Passport: %d %s", scope, resp.Status, resp.Body)
		}
	}
	got := upstream.Last().Header
	for name, want := range map[string]string{
		"X-Passport-Issuer": "laravel", "X-Passport-Client": "9d3b1c52-6f0e-4c9e-9f5e-0a1c2b3d4e5f",
		"X-Passport-Subject": "7", "Authorization": "",
	} {
		if got.Get(name) != want {
			t.Errorf("%s: %q, want %q", name, got.Get(name), want)
		}
	}
	id, secret := createClient(t, g, "--scopes", "orders")
	if resp := g.Get("/api/orders", g.Token(id, secret, "orders")); resp.Status != http.StatusOK {
		t.Errorf("a token of the gateway: %d %s", resp.Status, resp.Body)
	}
	if got := upstream.Last().Header; got.Get("X-Passport-Issuer") != g.URL || got.Get("X-Passport-Client") != id {
		t.Errorf("the upstream got %v", got)
	}
}

// TestWebAppOfYourOwn runs the Caddyfile of docs/web-apps.md: a person comes to a page, signs in, is back, and what the
// page asks for is hers.
func TestWebAppOfYourOwn(t *testing.T) {
	const password = "correct horse battery staple"
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	upstream := gateway.NewUpstream(t)
	g := gateway.Start(t, walk.Caddyfile(t, "docs/web-apps.md", 1, "shop.example.com", here, "legacy:8080", "{$UPSTREAM}"),
		"UPSTREAM="+upstream.Addr, "ADA_HASH="+string(hash))
	refused(t, g.Get("/api/orders", ""), 401, "")

	b := g.Browser()
	link := g.Request(http.MethodGet, "/app/orders?page=2", "") // as a browser follows one
	for name, value := range map[string]string{
		"Accept": "text/html", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Sec-Fetch-Site": "none",
	} {
		link.Header.Set(name, value)
	}
	page := b.Do(link)
	if !strings.HasPrefix(page.Path, "/oauth/login?") || len(upstream.Requests()) > 0 {
		t.Fatalf("a page without a session: %d at %s, the upstream got %v", page.Status, page.Path, upstream.Requests())
	}
	if page = b.SignIn(page, "ada", password); page.Status != http.StatusOK || page.Path != "/app/orders?page=2" {
		t.Fatalf("signing in leads to %s: %d %s", page.Path, page.Status, page.Body)
	}
	call := func(method string, fields map[string]string) int {
		t.Helper()
		req := g.Request(method, "/api/orders", "")
		req.Header.Set("Sec-Fetch-Site", "same-origin")
		for name, value := range fields {
			req.Header.Set(name, value)
		}
		return b.Do(req).Status
	}
	if got := call(http.MethodGet, nil); got != http.StatusOK {
		t.Errorf("the API, for the page: %d", got)
	}
	got := upstream.Last().Header
	if got.Get("X-Passport-Username") != "ada" || got.Get("X-Passport-Scope") != "read write" ||
		got.Values("X-Passport-Client") != nil || strings.Contains(got.Get("Cookie"), "session") {
		t.Errorf("the upstream got %v", got)
	}
	before := len(upstream.Requests())
	if got := call(http.MethodPost, nil); got != http.StatusForbidden || len(upstream.Requests()) != before {
		t.Errorf("a change without X-XSRF-TOKEN: %d", got)
	}
	if got := call(http.MethodPost, map[string]string{"X-XSRF-TOKEN": b.Cookie("XSRF-TOKEN")}); got != http.StatusOK {
		t.Errorf("a change: %d", got)
	}
}
