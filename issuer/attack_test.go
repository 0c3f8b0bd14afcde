package issuer

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/oauth2-passport/caddy-passport/store"
)

var askForToken = url.Values{"grant_type": {"client_credentials"}}

// noToken asserts that no token has been issued, whatever was answered.
func (h *house) noToken() {
	h.t.Helper()
	if n := h.tokens(); n != 0 {
		h.t.Errorf("%d tokens have been issued", n)
	}
}

func TestRefusesScopeWiderThanTheClients(t *testing.T) {
	h := newHouse(t)
	for _, scope := range []string{"read", "write read", "admin", "*", "write *"} {
		form := url.Values{"grant_type": {"client_credentials"}, "scope": {scope}}
		h.fault(request("/oauth/token", form, "Authorization", basic("limited", testSecret)), 400, "invalid_scope")
	}
	h.noToken()
}

// TestRefusesRestrictedScopeThroughHierarchy asks for a scope that is free for all but includes one that is not.
func TestRefusesRestrictedScopeThroughHierarchy(t *testing.T) {
	h := newHouse(t)
	for _, scope := range []string{"admin", "manage", "read manage"} {
		form := url.Values{"grant_type": {"client_credentials"}, "scope": {scope}}
		h.fault(request("/oauth/token", form, "Authorization", basic("orders-sync", testSecret)), 400, "invalid_scope")
	}
	h.noToken()
}

func TestRefusesEveryScopeWhereTheClientDoesNotNameIt(t *testing.T) {
	h := newHouse(t)
	for _, client := range []string{"orders-sync", "limited", "boss"} {
		form := url.Values{"grant_type": {"client_credentials"}, "scope": {"*"}}
		h.fault(request("/oauth/token", form, "Authorization", basic(client, testSecret)), 400, "invalid_scope")
	}
	h.noToken()
}

// TestRefusesEveryScopeFromGrantsThatCannotGiveIt: * is for a few grants only, also for a client that names it.
func TestRefusesEveryScopeFromGrantsThatCannotGiveIt(t *testing.T) {
	h := newHouse(t)
	_, fault := h.issuer.scopes.load().scopesFor(h.issuer.clients["all"], []string{"*"}, false)
	if fault == nil || fault.Code != "invalid_scope" {
		t.Errorf("got %v", fault)
	}
}

func TestRefusesCredentialsInQuery(t *testing.T) {
	h := newHouse(t)
	credentials := url.Values{"client_id": {"orders-sync"}, "client_secret": {testSecret}}.Encode()
	for _, test := range []struct {
		query string
		form  url.Values
	}{
		{credentials, askForToken},
		{credentials + "&grant_type=client_credentials", nil},
		{"client_id=orders-sync", url.Values{"grant_type": {"client_credentials"}, "client_secret": {testSecret}}},
		{"client%5fsecret=" + testSecret, url.Values{"grant_type": {"client_credentials"}, "client_id": {"orders-sync"}}},
		{"x=1&client_secret=" + testSecret, url.Values{"grant_type": {"client_credentials"}, "client_id": {"orders-sync"}}},
		{"client_secret", askForToken},
		{"scope=admin", askForToken},
		{"refresh_token=x", askForToken},
		{"%zz", askForToken},
	} {
		h.fault(request("/oauth/token?"+test.query, test.form), 400, "invalid_request")
		h.fault(request("/oauth/token?"+test.query, test.form, "Authorization", basic("orders-sync", testSecret)),
			400, "invalid_request")
	}
	h.noToken()
}

func TestRefusesTwoWaysOfAuthentication(t *testing.T) {
	h := newHouse(t)
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {"orders-sync"}, "client_secret": {testSecret}}
	for _, path := range []string{"/oauth/token", "/oauth/revoke", "/oauth/introspect"} {
		for _, header := range []string{basic("orders-sync", testSecret), basic("all", testSecret), "Bearer x", "Basic"} {
			h.fault(request(path, form, "Authorization", header), 400, "invalid_request")
		}
		h.fault(request(path, askForToken, "Authorization", basic("orders-sync", testSecret),
			"Authorization", basic("orders-sync", testSecret)), 400, "invalid_request")
	}
	h.noToken()
}

func TestRefusesParameterSentTwice(t *testing.T) {
	h := newHouse(t)
	for _, body := range []string{
		"grant_type=client_credentials&grant_type=client_credentials",
		"grant_type=client_credentials&scope=read&scope=admin",
		"grant_type=client_credentials&scope=&scope=admin",
		"grant_type=client_credentials&scope=read&%73cope=admin",
		"grant_type=client_credentials&client_id=orders-sync&client_id=all",
		"grant_type=client_credentials&unknown=1&unknown=2",
	} {
		r := request("/oauth/token", nil, "Authorization", basic("orders-sync", testSecret))
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
		h.fault(r, 400, "invalid_request")
	}
	h.noToken()
}

func TestRefusesGrantThatTheClientMayNotUse(t *testing.T) {
	h := newHouse(t)
	for _, client := range []string{"web", "api"} {
		h.issuer.clients[client].Grants = []string{"authorization_code"}
		h.fault(request("/oauth/token", askForToken, "Authorization", basic(client, testSecret)), 400, "unauthorized_client")
	}
	h.noToken()
}

func TestRefusesGrantThatIsOff(t *testing.T) {
	h := newHouse(t, func(c *Config) {
		c.Grants, c.Clients = []string{"refresh_token"}, c.Clients[5:6]
		c.Clients[0].Grants = nil
	})
	h.fault(request("/oauth/token", askForToken, "Authorization", basic("web", testSecret)), 400, "unsupported_grant_type")
	h.noToken()
}

// TestRefusesClientCredentialsForPublicClients: whoever knows the ID of a public client would have its token.
func TestRefusesClientCredentialsForPublicClients(t *testing.T) {
	h := newHouse(t)
	app := store.Client{Name: "App", Public: true, Grants: []string{"client_credentials"}}
	var refused *InvalidError
	if _, _, err := h.issuer.CreateClient(t.Context(), app); !errors.As(err, &refused) || refused.Field != "grant_types" {
		t.Errorf("it is registered: %v", err)
	}
	stored := store.Client{ID: store.NewID(time.Now()), Name: "App", Public: true, Grants: app.Grants}
	h.update(func(r *store.Records) error { return r.PutClient(&stored) }) // by a program that did not look
	for _, id := range []string{"spa", stored.ID} {
		form := url.Values{"grant_type": {"client_credentials"}, "client_id": {id}}
		h.fault(request("/oauth/token", form), 400, "unauthorized_client")
		h.fault(request("/oauth/token", askForToken, "Authorization", basic(id, "")), 400, "unauthorized_client")
	}
	h.noToken()
}

// TestRefusesClientAsPerson: the token of a client for itself is nobody's else (RFC 9700 §4.15).
func TestRefusesClientAsPerson(t *testing.T) {
	h := newHouse(t)
	form := url.Values{
		"grant_type": {"client_credentials"}, "username": {"demo"}, "sub": {"demo"}, "user_id": {"demo"},
	}
	o := object(t, h.do(request("/oauth/token", form, "Authorization", basic("orders-sync", testSecret))))
	token := o["access_token"].(string)
	_, claims := decodeJWT(t, token)
	id, err := h.verifier.Verify(t.Context(), token, testIdentifier)
	if err != nil || id.Person() || claims["sub"] != "orders-sync" || claims["client_id"] != "orders-sync" {
		t.Errorf("%v, %v, %v", claims, id, err)
	}
	if o := h.introspect("orders-sync", token); o["username"] != nil || o["sub"] != o["client_id"] {
		t.Errorf("introspected %v", o)
	}
}

// TestTellsNobodyWhichClientsExist compares what is answered, and the work that it takes, for all who are not let in.
func TestTellsNobodyWhichClientsExist(t *testing.T) {
	h := newHouse(t)
	stored, _, err := h.issuer.CreateClient(t.Context(), store.Client{Name: "stored"})
	if err != nil {
		t.Fatal(err)
	}
	disabled, secret, err := h.issuer.CreateClient(t.Context(), store.Client{Name: "disabled"})
	if err != nil {
		t.Fatal(err)
	}
	yes := true
	if _, err := h.issuer.UpdateClient(t.Context(), disabled.ID, ClientChange{Disabled: &yes}); err != nil {
		t.Fatal(err)
	}
	type who struct{ id, secret string }
	attempts := 0
	for _, path := range []string{"/oauth/token", "/oauth/revoke", "/oauth/introspect"} {
		var first string
		for name, who := range map[string]who{
			"unknown":              {"nobody", testSecret},
			"unknown, of our form": {store.NewID(h.db.Now()), testSecret},
			"no possible ID":       {"no body", testSecret},
			"configured":           {"orders-sync", "wrong"},
			"stored":               {stored.ID, "wrong"},
			"disabled":             {disabled.ID, secret},
			"disabled, wrong":      {disabled.ID, "wrong"},
			"public, with secret":  {"spa", "wrong"},
		} {
			for _, inBody := range []bool{false, true} {
				form := url.Values{"grant_type": {"client_credentials"}, "token": {"x"}}
				r := request(path, form, "Authorization", basic(who.id, who.secret))
				if inBody {
					form.Set("client_id", who.id)
					form.Set("client_secret", who.secret)
					r = request(path, form)
				}
				attempts++
				r.RemoteAddr = fmt.Sprintf("192.0.2.%d:1234", attempts) // none of them has guessed before
				before := h.engine.views.Load()
				res := h.do(r)
				body, _ := io.ReadAll(res.Body)
				got := fmt.Sprintf("%d %v %s, %d views", res.StatusCode, res.Header, body, h.engine.views.Load()-before)
				if first == "" {
					first = got
				}
				if got != first || res.StatusCode != http.StatusUnauthorized {
					t.Errorf("%s, %s: %s\nothers get %s", path, name, got, first)
				}
			}
		}
	}
}

func TestRefusesToRevokeAnothersToken(t *testing.T) {
	h := newHouse(t)
	token := h.tokenFor("orders-sync", "")
	h.told()
	for _, client := range []string{"all", "api"} {
		res := h.do(request("/oauth/revoke", url.Values{"token": {token}}, "Authorization", basic(client, testSecret)))
		if res.StatusCode != http.StatusOK {
			t.Errorf("%s: %d", client, res.StatusCode)
		}
	}
	res := h.do(request("/oauth/revoke", url.Values{"token": {token}, "client_id": {"spa"}}))
	if res.StatusCode != http.StatusOK {
		t.Errorf("public client: %d", res.StatusCode)
	}
	if !h.good(token) || len(h.told()) != 0 {
		t.Error("another client has revoked the token")
	}
}

func TestRefusesToIntrospectAnothersToken(t *testing.T) {
	h := newHouse(t)
	token := h.tokenFor("orders-sync", "")
	for _, client := range []string{"all", "limited"} {
		if o := h.introspect(client, token); o["active"] != false || len(o) != 1 {
			t.Errorf("%s: %v", client, o)
		}
	}
	for _, r := range []*http.Request{
		request("/oauth/introspect", url.Values{"token": {token}, "client_id": {"spa"}}),
		request("/oauth/introspect", url.Values{"token": {token}}, "Authorization", basic("spa", "")),
		request("/oauth/introspect", url.Values{"token": {token}}, "Authorization", "Bearer "+token),
	} {
		h.fault(r, 401, "invalid_client")
	}
}

// TestLeaksNoSecret looks for secrets and tokens in what is logged and told, in good and in bad times.
func TestLeaksNoSecret(t *testing.T) {
	var log bytes.Buffer
	encoder := zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig())
	h := newHouse(t, func(c *Config) {
		c.Logger = zap.New(zapcore.NewCore(encoder, zapcore.Lock(zapcore.AddSync(&log)), zapcore.DebugLevel))
	})
	token := h.tokenFor("orders-sync", "read")
	h.introspect("orders-sync", token)
	post := func(path string, form url.Values, header ...string) {
		res := h.do(request(path, form, header...))
		if strings.Contains(fmt.Sprint(res.Header), testSecret) || strings.Contains(fmt.Sprint(res.Header), token) {
			t.Errorf("%s: %v", path, res.Header)
		}
		if body, _ := io.ReadAll(res.Body); bytes.Contains(body, []byte(testSecret)) || bytes.Contains(body, []byte(token)) {
			t.Errorf("%s: %s", path, body)
		}
	}
	requests := func() {
		post("/oauth/token", askForToken, "Authorization", basic("nobody", testSecret))
		post("/oauth/token", askForToken, "Authorization", "Basic "+testSecret)
		post("/oauth/token", url.Values{"client_id": {testSecret}, "client_secret": {testSecret}})
		post("/oauth/token?client_secret="+testSecret, askForToken)
		post("/oauth/revoke", url.Values{"token": {token}}, "Authorization", basic("all", testSecret))
		post("/oauth/introspect", url.Values{"token": {token}}, "Authorization", basic("nobody", testSecret))
	}
	requests()
	broken := store.ErrUnavailable
	h.engine.broken.Store(&broken)
	requests()
	post("/oauth/token", askForToken, "Authorization", basic("orders-sync", testSecret))
	h.engine.broken.Store(nil)
	post("/oauth/revoke", url.Values{"token": {token}}, "Authorization", basic("orders-sync", testSecret))

	if log.Len() == 0 {
		t.Error("the faults of the storage are not logged")
	}
	for name, text := range map[string]string{"log": log.String(), "events": fmt.Sprintf("%+v", h.told())} {
		signature := token[strings.LastIndexByte(token, '.'):]
		for what, secret := range map[string]string{
			"secret": testSecret, "token": signature, "hash": store.HashSecret(testSecret),
		} {
			// Who gives a secret for the ID has told it to everybody already.
			allowed := strings.Count(text, `client_id":"`+secret) + strings.Count(text, "ClientID:"+secret)
			if strings.Count(text, secret) > allowed {
				t.Errorf("the %s has the %s: %s", name, what, text)
			}
		}
	}
}

func TestAnswersWithSecretsAreNotKept(t *testing.T) {
	h := newHouse(t)
	auth := []string{"Authorization", basic("orders-sync", testSecret)}
	token := h.tokenFor("orders-sync", "")
	for _, r := range []*http.Request{
		request("/oauth/token", askForToken, auth...),
		request("/oauth/introspect", url.Values{"token": {token}}, auth...),
		request("/oauth/introspect", url.Values{"token": {"x"}}, auth...),
		request("/oauth/revoke", url.Values{"token": {"x"}}, auth...),
		request("/oauth/token", nil),
		get("/oauth/token"),
	} {
		if got := h.do(r).Header.Get("Cache-Control"); got != "no-store" {
			t.Errorf("%s: %q", r.URL, got)
		}
	}
}

// endless is a body without end that counts what is read of it.
type endless struct{ read int }

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = "a=1&"[(e.read+i)%4]
	}
	e.read += len(p)
	return len(p), nil
}

func TestRefusesBodiesOfAnySize(t *testing.T) {
	h := newHouse(t)
	for _, path := range []string{"/oauth/token", "/oauth/revoke", "/oauth/introspect"} {
		for _, length := range []int64{-1, maxBody + 1, 1 << 40} {
			body := new(endless)
			r := request(path, nil, "Authorization", basic("orders-sync", testSecret))
			r.Body, r.ContentLength = io.NopCloser(body), length
			h.fault(r, http.StatusRequestEntityTooLarge, "invalid_request")
			if body.read > 2*maxBody {
				t.Errorf("%s: %d bytes of an endless body have been read", path, body.read)
			}
		}
	}
	short := request("/oauth/token", nil, "Authorization", basic("orders-sync", testSecret))
	short.ContentLength = 100 // of which none comes
	h.fault(short, 400, "invalid_request")
	h.noToken()
}

func TestRefusesFormsOfAnyShape(t *testing.T) {
	h := newHouse(t)
	for _, body := range []string{
		strings.Repeat("&", maxBody),
		strings.Repeat("a&", maxBody/2),
		strings.Repeat("=", maxBody),
		strings.Repeat("resource=&", maxBody/10),
		strings.Repeat("%", maxBody),
		strings.Repeat("%41", maxBody/3),
		"grant_type=client_credentials&scope=" + strings.Repeat("+", maxBody/2),
		"\x00\x01\x02",
	} {
		r := httptest.NewRequest(http.MethodPost, "/oauth/token", strings.NewReader(body))
		r.Header.Set("Content-Type", formMedia)
		r.Header.Set("Authorization", basic("orders-sync", testSecret))
		h.fault(r, 400, "invalid_request")
	}
	h.noToken()
}

// TestIssuesOneTokenPerAnswer races for tokens: each answer has one of its own, from one transaction.
func TestIssuesOneTokenPerAnswer(t *testing.T) {
	h := newHouse(t)
	const many = 64
	before := h.engine.updates.Load()
	var mu sync.Mutex
	seen := make(map[string]bool)
	var all sync.WaitGroup
	for range many {
		all.Go(func() {
			w := httptest.NewRecorder()
			h.handler.ServeHTTP(w, request("/oauth/token", askForToken, "Authorization", basic("orders-sync", testSecret)))
			mu.Lock()
			defer mu.Unlock()
			seen[w.Body.String()] = true
			if w.Code != http.StatusOK {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		})
	}
	all.Wait()
	if got := h.engine.updates.Load() - before; len(seen) != many || got != many || h.tokens() != many {
		t.Errorf("%d answers, %d updates, %d records", len(seen), got, h.tokens())
	}
}
