// Package oidc has an issuer that others wrote, node-oidc-provider, issue the tokens of a route that trusts it.
package oidc

import (
	"bufio"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwk"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/oauth2-passport/caddy-passport/tests/internal/gateway"
	"github.com/oauth2-passport/caddy-passport/tests/internal/npm"
)

const (
	secret      = "the secret of the clients of these tests"
	redirectURI = "http://127.0.0.1:1/callback"

	orders       = "https://api.example/orders"
	ordersShort  = "https://api.example/orders?short" // tokens that live for a second
	ordersOpaque = "https://api.example/orders?opaque"
	stock        = "https://api.example/stock"
)

// site has no issuer of its own.
const site = `{
	default_bind 127.0.0.1
}

http://127.0.0.1:{$PORT} {
	passport_auth /orders* {
		issuer off
		scopes read
		trust {$ISSUER} {
			audience orders-api
		}
	}
	passport_auth /shop* {
		issuer off
		trust {$ISSUER} {
			audience shop
		}
	}
	reverse_proxy {$UPSTREAM}
}
`

// key is a key of the issuer.
type key struct {
	kid, alg string
	private  crypto.Signer
}

func newKey(t *testing.T, kid, alg string) *key {
	t.Helper()
	k := &key{kid: kid, alg: alg}
	var err error
	if alg == "ES256" {
		k.private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	} else {
		k.private, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// jwk is the private key as the issuer reads it.
func (k *key) jwk(t *testing.T) jwk.Key {
	t.Helper()
	made, err := jwk.FromRaw(k.private)
	for name, value := range map[string]string{"kid": k.kid, "alg": k.alg, "use": "sig"} {
		if err == nil {
			err = made.Set(name, value)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// sign makes a token with an ES256 key, also one that is forged.
func (k *key) sign(t *testing.T, header, claims map[string]any) string {
	t.Helper()
	input := encode(t, header) + "." + encode(t, claims)
	digest := sha256.Sum256([]byte(input))
	r, s, err := ecdsa.Sign(rand.Reader, k.private.(*ecdsa.PrivateKey), digest[:])
	if err != nil {
		t.Fatal(err)
	}
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return input + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func encode(t *testing.T, part map[string]any) string {
	t.Helper()
	text, err := json.Marshal(part)
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

// decode reads a part of a token: 0 is the header, 1 are the claims.
func decode(t *testing.T, token string, part int) map[string]any {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("the issuer's token is no JWT: %s", token)
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[part])
	var object map[string]any
	if err == nil {
		err = json.Unmarshal(text, &object)
	}
	if err != nil {
		t.Fatal(err)
	}
	return object
}

// with is a copy of a part of a token with other members.
func with(part map[string]any, other map[string]any) map[string]any {
	part = maps.Clone(part)
	maps.Copy(part, other)
	return part
}

// issuer is node-oidc-provider as a process of its own.
type issuer struct {
	t       *testing.T
	dir     string
	keys    string // the file
	port    string
	url     string
	cmd     *exec.Cmd
	lines   chan string
	fetches atomic.Int64 // how often its keys were asked for
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	port := gateway.FreePorts(t, 1)[0]
	i := &issuer{
		t: t, dir: npm.Install(t, "oidc", "issuer.mjs"), keys: filepath.Join(t.TempDir(), "keys.json"), port: port,
		url: "http://127.0.0.1:" + port,
	}
	t.Cleanup(i.stop)
	return i
}

// use writes the keys; it signs by the first.
func (i *issuer) use(keys ...*key) {
	i.t.Helper()
	var set struct {
		Keys []jwk.Key `json:"keys"`
	}
	for _, k := range keys {
		set.Keys = append(set.Keys, k.jwk(i.t))
	}
	text, err := json.Marshal(set)
	if err == nil {
		err = os.WriteFile(i.keys, text, 0o600)
	}
	if err != nil {
		i.t.Fatal(err)
	}
}

// start runs it, until stop or the end of the test.
func (i *issuer) start() {
	i.t.Helper()
	i.cmd = exec.Command("node", "issuer.mjs")
	i.cmd.Dir, i.cmd.Stderr = i.dir, i.t.Output()
	i.cmd.Env = append(os.Environ(), "PORT="+i.port, "KEYS="+i.keys, "CLIENT_SECRET="+secret, "REDIRECT_URI="+redirectURI)
	out, err := i.cmd.StdoutPipe()
	if err == nil {
		_, err = i.cmd.StdinPipe() // it ends with its input
	}
	if err == nil {
		err = i.cmd.Start()
	}
	if err != nil {
		i.t.Fatal(err)
	}
	lines := make(chan string, 16)
	i.lines = lines
	go func() {
		defer close(lines)
		for said := bufio.NewScanner(out); said.Scan(); {
			switch line := said.Text(); line {
			case "keys fetched":
				i.fetches.Add(1)
			case "ready", "reloaded":
				lines <- line
			}
		}
	}()
	i.await("ready")
}

// reload has it take the keys that it was given by use.
func (i *issuer) reload() {
	i.t.Helper()
	if err := i.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		i.t.Fatal(err)
	}
	i.await("reloaded")
}

func (i *issuer) await(line string) {
	i.t.Helper()
	select {
	case got, ok := <-i.lines:
		if !ok || got != line {
			i.t.Fatalf("the issuer says %q, want %q; what it wrote to standard error is above", got, line)
		}
	case <-time.After(time.Minute):
		i.t.Fatalf("the issuer does not say %q", line)
	}
}

// stop is the outage.
func (i *issuer) stop() {
	if i.cmd == nil || i.cmd.Process == nil {
		return
	}
	_ = i.cmd.Process.Kill()
	for range i.lines { // until its output ends
	}
	_ = i.cmd.Wait()
	i.cmd = nil
}

// noKeptConnections is what the issuer is asked by: Node ends a connection that nobody has used for five seconds, and a
// POST that goes out at that moment fails and is not sent again.
var noKeptConnections = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Minute}

// fetch gets a token for the client itself as a client that others wrote does; resource "" asks for none.
func (i *issuer) fetch(ctx context.Context, resource, scope string) (string, error) {
	ctx = context.WithValue(ctx, oauth2.HTTPClient, noKeptConnections)
	config := clientcredentials.Config{
		ClientID: "orders-sync", ClientSecret: secret, TokenURL: i.url + "/token",
		Scopes: strings.Fields(scope), EndpointParams: url.Values{}, AuthStyle: oauth2.AuthStyleInHeader,
	}
	if resource != "" {
		config.EndpointParams.Set("resource", resource)
	}
	token, err := config.Token(ctx)
	if err != nil {
		return "", err
	}
	return token.AccessToken, nil
}

// token is fetch, and the test ends when there is none.
func (i *issuer) token(g *gateway.Gateway, resource, scope string) string {
	i.t.Helper()
	token, err := i.fetch(i.t.Context(), resource, scope)
	if err != nil {
		i.t.Fatal(err)
	}
	g.Secret(token)
	return token
}

// signIn has a person sign in to the client shop, and returns her access token and her ID token.
func (i *issuer) signIn(g *gateway.Gateway) (access, id string) {
	i.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		i.t.Fatal(err)
	}
	browser := &http.Client{Jar: jar, Transport: noKeptConnections.Transport, CheckRedirect: func(req *http.Request, via []*http.Request) error {
		if strings.HasPrefix(req.URL.String(), redirectURI) || len(via) == 10 {
			return http.ErrUseLastResponse
		}
		return nil
	}}
	config := oauth2.Config{
		ClientID: "shop", ClientSecret: secret, RedirectURL: redirectURI, Scopes: []string{"openid", "read"},
		Endpoint: oauth2.Endpoint{AuthURL: i.url + "/auth", TokenURL: i.url + "/token",
			AuthStyle: oauth2.AuthStyleInHeader},
	}
	verifier, resource := oauth2.GenerateVerifier(), oauth2.SetAuthURLParam("resource", orders)
	resp, err := browser.Get(config.AuthCodeURL("state", oauth2.S256ChallengeOption(verifier), resource,
		oauth2.SetAuthURLParam("nonce", "n-0S6_WzA2Mj")))
	if err != nil {
		i.t.Fatal(err)
	}
	resp.Body.Close()
	back, err := resp.Location()
	if err != nil || back.Query().Get("code") == "" {
		i.t.Fatalf("signing in at the issuer: %s, back at %v, %v", resp.Status, back, err)
	}
	ctx := context.WithValue(i.t.Context(), oauth2.HTTPClient, noKeptConnections)
	token, err := config.Exchange(ctx, back.Query().Get("code"), oauth2.VerifierOption(verifier), resource)
	if err != nil {
		i.t.Fatal(err)
	}
	id, _ = token.Extra("id_token").(string)
	g.Secret(token.AccessToken)
	g.Secret(id)
	return token.AccessToken, id
}

func start(t *testing.T, i *issuer) (*gateway.Gateway, *gateway.Upstream) {
	t.Helper()
	upstream := gateway.NewUpstream(t)
	g := gateway.Start(t, site, "UPSTREAM="+upstream.Addr, "ISSUER="+i.url)
	g.Secret(secret)
	return g, upstream
}

func TestTokensOfOIDCProvider(t *testing.T) {
	i := newIssuer(t)
	own, foreign := newKey(t, "first", "ES256"), newKey(t, "first", "ES256")
	i.use(own)
	i.start()
	g, upstream := start(t, i)

	good := i.token(g, orders, "read")
	if header := decode(t, good, 0); header["kid"] != "first" || header["alg"] != "ES256" {
		t.Fatalf("the header of the issuer's token: %v", header)
	}
	t.Run("a client", func(t *testing.T) {
		if resp := g.Get("/orders/17", good); resp.Status != http.StatusOK {
			t.Fatalf("got %d %s", resp.Status, resp.Body)
		}
		got := upstream.Last()
		for name, want := range map[string]string{
			"X-Passport-Issuer": i.url, "X-Passport-Client": "orders-sync", "X-Passport-Subject": "orders-sync",
			"X-Passport-Scope": "read", "X-Passport-Username": "", "Authorization": "",
		} {
			if got.Header.Get(name) != want {
				t.Errorf("%s: %q, want %q", name, got.Header.Get(name), want)
			}
		}
	})

	person, idToken := i.signIn(g)
	t.Run("a person", func(t *testing.T) {
		if resp := g.Get("/orders/17", person); resp.Status != http.StatusOK {
			t.Fatalf("got %d %s", resp.Status, resp.Body)
		}
		got := upstream.Last()
		for name, want := range map[string]string{
			"X-Passport-Issuer": i.url, "X-Passport-Client": "shop", "X-Passport-Subject": "ada",
			"X-Passport-Scope": "read", "X-Passport-Username": "ada@shop.example",
		} {
			if got.Header.Get(name) != want {
				t.Errorf("%s: %q, want %q", name, got.Header.Get(name), want)
			}
		}
	})

	header, claims := decode(t, good, 0), decode(t, good, 1)
	if decode(t, idToken, 1)["aud"] != "shop" {
		t.Fatalf("the ID token: %v", decode(t, idToken, 1))
	}
	public, err := x509.MarshalPKIXPublicKey(own.private.Public())
	if err != nil {
		t.Fatal(err)
	}
	byPublicKey := func(header map[string]any) string {
		input := encode(t, header) + "." + encode(t, claims)
		mac := hmac.New(sha256.New, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}))
		mac.Write([]byte(input))
		return input + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
	}
	before := len(upstream.Requests())
	for _, test := range []struct {
		name, token       string
		status            int
		code, description string
	}{
		{"without the scope", i.token(g, orders, "write"), 403, "insufficient_scope", ""},
		{"without any scope", i.token(g, orders, ""), 403, "insufficient_scope", ""},
		{"for another API", i.token(g, stock, "read"), 401, "invalid_token", "audience"},
		{"for no API, which is opaque", i.token(g, "", "read"), 401, "invalid_token", "malformed"},
		{"none", "", 401, "", ""},
		{"garbage", "garbage", 401, "invalid_token", "malformed"},
		{"garbage in three parts", "eyJhbGciOiJFUzI1NiJ9.e30.AAAA", 401, "invalid_token", ""},
		{"the ID token", idToken, 401, "invalid_token", "no access token"},
		{"of another key of that name", foreign.sign(t, header, claims), 401, "invalid_token", "signature"},
		{"with other claims", strings.Join([]string{
			strings.Split(good, ".")[0], encode(t, with(claims, map[string]any{"scope": "read write"})),
			strings.Split(good, ".")[2],
		}, "."), 401, "invalid_token", "signature"},
		{"alg none", encode(t, with(header, map[string]any{"alg": "none"})) + "." + encode(t, claims) + ".",
			401, "invalid_token", ""},
		{"signed by the public key as a secret", byPublicKey(with(header, map[string]any{"alg": "HS256"})),
			401, "invalid_token", "signature"},
		{"of another issuer, by the same key",
			own.sign(t, header, with(claims, map[string]any{"iss": "http://127.0.0.1:1"})),
			401, "invalid_token", "another issuer"},
		{"that has expired", own.sign(t, header, with(claims, map[string]any{"exp": 1700000000})),
			401, "invalid_token", "expired"},
	} {
		t.Run("a token "+test.name, func(t *testing.T) {
			resp := g.Get("/orders", test.token)
			if resp.Status != test.status || resp.String("error") != test.code ||
				!strings.Contains(resp.String("error_description"), test.description) {
				t.Errorf("got %d %s, want %d %s %q", resp.Status, resp.Body, test.status, test.code, test.description)
			}
			if challenge := resp.Header.Get("Www-Authenticate"); !strings.HasPrefix(challenge, "Bearer ") {
				t.Errorf("the challenge: %q", challenge)
			}
		})
	}
	t.Run("the ID token where its client is the audience", func(t *testing.T) {
		resp := g.Get("/shop", idToken)
		if resp.Status != http.StatusUnauthorized || !strings.Contains(resp.String("error_description"), "no access token") {
			t.Errorf("got %d %s", resp.Status, resp.Body)
		}
	})
	if got := upstream.Requests()[before:]; len(got) > 0 {
		t.Errorf("the upstream received %+v", got)
	}

	t.Run("a token that expires", func(t *testing.T) {
		short := i.token(g, ordersShort, "read")
		g.Eventually("the token has expired", func() bool {
			resp := g.Get("/orders", short)
			if resp.Status != http.StatusOK && resp.Status != http.StatusUnauthorized {
				t.Fatalf("got %d %s", resp.Status, resp.Body)
			}
			return strings.Contains(resp.String("error_description"), "expired")
		})
	})
}

// traffic is callers whose every request has to succeed. The tokens are those of now, which may be added to.
type traffic struct {
	t      *testing.T
	tokens atomic.Pointer[[]string]
	served atomic.Int64
	fresh  atomic.Int64 // with a token that was got for it
	stop   func()       // waits for them
}

// callers is how many call with the tokens that there are; one more gets a token for each request.
const callers = 4

// send begins with traffic. The last caller gets a token for each request while fetch is true.
func send(t *testing.T, g *gateway.Gateway, i *issuer, fetch *atomic.Bool, tokens ...string) *traffic {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	tr := &traffic{t: t}
	tr.tokens.Store(&tokens)
	call := func(token, whose string) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, g.URL+"/orders", http.NoBody)
		if err != nil {
			return err
		}
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := g.Try(req)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		case resp.Status != http.StatusOK:
			return fmt.Errorf("with %s: %d %s", whose, resp.Status, resp.Body)
		}
		tr.served.Add(1)
		return nil
	}
	var all sync.WaitGroup
	run := func(step func(n int) error) {
		all.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				if err := step(n); err != nil {
					t.Errorf("while traffic runs: %v", err)
					return
				}
				select {
				case <-time.After(10 * time.Millisecond):
				case <-ctx.Done():
				}
			}
		})
	}
	for first := range callers {
		run(func(n int) error {
			now := *tr.tokens.Load()
			n = (first + n) % len(now)
			return call(now[n], fmt.Sprint("token ", n))
		})
	}
	run(func(int) error {
		if !fetch.Load() {
			return nil
		}
		token, err := i.fetch(ctx, orders, "read")
		if err != nil {
			if ctx.Err() != nil || !fetch.Load() {
				return nil
			}
			return err
		}
		g.Secret(token)
		if err := call(token, "a fresh token"); err != nil {
			return err
		}
		tr.fresh.Add(1)
		return nil
	})
	tr.stop = func() {
		cancel()
		all.Wait()
	}
	t.Cleanup(tr.stop)
	return tr
}

// add has the callers use more tokens.
func (tr *traffic) add(tokens ...string) {
	all := append(append([]string(nil), *tr.tokens.Load()...), tokens...)
	tr.tokens.Store(&all)
}

// flows waits until a good part of requests has come through since, with each of the tokens.
func (tr *traffic) flows(g *gateway.Gateway, counter *atomic.Int64, n int64) {
	tr.t.Helper()
	from := counter.Load()
	g.Eventually("requests come through", func() bool { return tr.t.Failed() || counter.Load()-from >= n })
	if tr.t.Failed() {
		tr.t.FailNow()
	}
}

// unknown is a token that says a key which the issuer does not have.
func unknown(t *testing.T, i *issuer, kid string) string {
	t.Helper()
	now := time.Now().Unix()
	return newKey(t, kid, "ES256").sign(t, map[string]any{"alg": "ES256", "typ": "at+jwt", "kid": kid}, map[string]any{
		"iss": i.url, "aud": "orders-api", "sub": "mallory", "client_id": "mallory", "scope": "read", "jti": kid,
		"iat": now, "exp": now + 600,
	})
}

// TestKeyRotationAndOutage has the issuer announce a key, sign by it, fail, and come back with all other keys
// withdrawn, while callers go on.
func TestKeyRotationAndOutage(t *testing.T) {
	i := newIssuer(t)
	first, second, third := newKey(t, "first", "ES256"), newKey(t, "second", "RS256"), newKey(t, "third", "ES256")
	i.use(first)
	i.start()
	began := time.Now()
	g, _ := start(t, i)
	kid := func(token string) any { return decode(t, token, 0)["kid"] }
	take := func(n int) (tokens []string) {
		for range n {
			tokens = append(tokens, i.token(g, orders, "read"))
		}
		return tokens
	}

	ofFirst, unseenOfFirst := take(4), take(20)
	var fetch atomic.Bool
	fetch.Store(true)
	tr := send(t, g, i, &fetch, ofFirst...)
	tr.flows(g, &tr.served, 100)
	tr.flows(g, &tr.fresh, 5)

	// The key is published before it signs. Forged tokens with made-up names have the gateway look, once in a while.
	i.use(first, second)
	i.reload()
	known := i.fetches.Load()
	forged := 0
	g.Eventually("the keys are fetched again", func() bool {
		forged++
		resp := g.Get("/orders", unknown(t, i, fmt.Sprint("made-up-", forged)))
		if resp.Status != http.StatusUnauthorized || resp.String("error") != "invalid_token" {
			t.Fatalf("a forged token: %d %s", resp.Status, resp.Body)
		}
		return i.fetches.Load() > known
	})
	if got := kid(i.token(g, orders, "read")); got != "first" {
		t.Fatalf("the issuer signs by %v already", got)
	}

	i.use(second, first)
	i.reload()
	ofSecond, unseenOfSecond := take(4), take(20)
	if got := kid(ofSecond[0]); got != "second" {
		t.Fatalf("the issuer signs by %v still", got)
	}
	tr.add(ofSecond...)
	tr.flows(g, &tr.fresh, 20)
	tr.flows(g, &tr.served, 100)
	if got, most := i.fetches.Load(), 1+int64(time.Since(began)/(10*time.Second)); got > most {
		t.Errorf("the keys were fetched %d times for %d forged tokens, want at most %d", got, forged, most)
	}

	// The outage. What is known goes on being verified, also of tokens that were not seen before.
	fetch.Store(false)
	i.stop()
	g.Eventually("the issuer is gone", func() bool { // a connection that was on its way may end first
		_, err := i.fetch(t.Context(), orders, "read")
		return errors.Is(err, syscall.ECONNREFUSED)
	})
	g.Eventually("the outage is noticed", func() bool {
		resp := g.Get("/orders", unknown(t, i, "made-up-in-the-outage"))
		if resp.Status != http.StatusUnauthorized && resp.Status != http.StatusServiceUnavailable {
			t.Fatalf("a forged token: %d %s", resp.Status, resp.Body)
		}
		return resp.Status == http.StatusServiceUnavailable
	})
	g.Eventually("the log tells of the outage", func() bool { // it comes by another way than the answer
		return strings.Contains(g.Log(), "the keys of another issuer can't be fetched")
	})
	tr.add(append(unseenOfFirst, unseenOfSecond...)...)
	tr.flows(g, &tr.served, 400)
	for name, token := range map[string]string{"first": unseenOfFirst[0], "second": unseenOfSecond[0]} {
		if resp := g.Get("/orders", token); resp.Status != http.StatusOK {
			t.Errorf("in the outage, with a token of the key %s: %d %s", name, resp.Status, resp.Body)
		}
	}
	if t.Failed() {
		t.FailNow()
	}
	tr.stop()

	// It returns with all that was known withdrawn, say, since it was broken into.
	i.use(third)
	i.start()
	ofThird := take(4)
	g.Eventually("tokens of the new key are good", func() bool {
		resp := g.Get("/orders", ofThird[0])
		if resp.Status != http.StatusOK && resp.Status != http.StatusServiceUnavailable {
			t.Fatalf("with a token of the new key: %d %s", resp.Status, resp.Body)
		}
		return resp.Status == http.StatusOK
	})
	fetch.Store(true)
	tr = send(t, g, i, &fetch, ofThird...)
	for _, token := range append(append(unseenOfFirst, unseenOfSecond...), append(ofFirst, ofSecond...)...) {
		resp := g.Get("/orders", token)
		if resp.Status != http.StatusUnauthorized || !strings.Contains(resp.String("error_description"), "signature") {
			t.Errorf("with a token of the withdrawn key %v: %d %s", kid(token), resp.Status, resp.Body)
		}
	}
	tr.flows(g, &tr.served, 100)
	tr.flows(g, &tr.fresh, 5)
	tr.stop()
	g.Eventually("the log tells of the end of the outage", func() bool {
		return strings.Contains(g.Log(), "the keys of another issuer can be fetched again")
	})
}
