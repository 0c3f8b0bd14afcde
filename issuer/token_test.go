package issuer

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
)

func decodeJWT(t *testing.T, token string) (header, claims map[string]any) {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("%q is no JWT", token)
	}
	for i, into := range []*map[string]any{&header, &claims} {
		b, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(b, into); err != nil {
			t.Fatalf("%s: %v", b, err)
		}
	}
	return header, claims
}

func TestTokenAnswer(t *testing.T) {
	h := newHouse(t)
	before := time.Now().Truncate(time.Second)
	res := h.do(request("/oauth/token", url.Values{"grant_type": {"client_credentials"}, "scope": {"write read write"}},
		"Authorization", basic("orders-sync", testSecret)))
	body, _ := io.ReadAll(res.Body)
	var o struct {
		AccessToken string `json:"access_token"`
		TokenType   string `json:"token_type"`
		ExpiresIn   int64  `json:"expires_in"`
		Scope       string `json:"scope"`
	}
	d := json.NewDecoder(strings.NewReader(string(body)))
	d.DisallowUnknownFields()
	if err := d.Decode(&o); err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%d %s: %v", res.StatusCode, body, err)
	}
	for name, want := range map[string]string{
		"Content-Type": "application/json", "Cache-Control": "no-store", "Pragma": "no-cache",
		"Access-Control-Allow-Origin": "*", "X-Content-Type-Options": "nosniff",
	} {
		if got := res.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if o.TokenType != "Bearer" || o.ExpiresIn != 3600 || o.Scope != "write read" {
		t.Errorf("answer %+v", o)
	}

	header, claims := decodeJWT(t, o.AccessToken)
	wantHeader := map[string]any{"alg": "ES256", "typ": "at+jwt", "kid": h.ring.Current().ID()}
	if !reflect.DeepEqual(header, wantHeader) {
		t.Errorf("header %v, want %v", header, wantHeader)
	}
	issuedAt, _ := claims["iat"].(float64)
	id, _ := claims["jti"].(string)
	want := map[string]any{
		"iss": testIdentifier, "sub": "orders-sync", "aud": testIdentifier, "client_id": "orders-sync",
		"scope": "write read", "iat": issuedAt, "exp": issuedAt + 3600, "jti": id,
	}
	if !reflect.DeepEqual(claims, want) {
		t.Errorf("claims %v, want %v", claims, want)
	}
	if at := time.Unix(int64(issuedAt), 0); at.Before(before) || at.After(time.Now()) {
		t.Errorf("iat %v", at)
	}
	record, err := h.issuer.Token(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if record.ClientID != "orders-sync" || record.ExpiresAt.Unix() != int64(issuedAt)+3600 ||
		!reflect.DeepEqual(record.Scopes, []string{"write", "read"}) || record.Issuer != testIdentifier {
		t.Errorf("record %+v", record)
	}
	if !h.good(o.AccessToken) {
		t.Error("the token is not good")
	}
	events := h.told()
	if len(events) != 1 || events[0].Type != TokenIssued || events[0].TokenID != id || events[0].Issuer != "default" ||
		events[0].Grant != "client_credentials" || events[0].Scope != "write read" {
		t.Errorf("events %+v", events)
	}
}

func TestTokenLifetimeOfTheClient(t *testing.T) {
	h := newHouse(t)
	_, claims := decodeJWT(t, h.tokenFor("limited", ""))
	if claims["exp"].(float64)-claims["iat"].(float64) != 300 {
		t.Errorf("claims %v", claims)
	}
	if _, ok := claims["scope"]; ok {
		t.Errorf("a token without scopes has the claim scope: %v", claims)
	}
	if got := h.issuer.LongestAccessToken(t.Context()); got != time.Hour {
		t.Errorf("longest %v", got)
	}
	_, _, err := h.issuer.CreateClient(t.Context(), store.Client{Name: "long", AccessTokenLifetime: 2 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	if got := h.issuer.LongestAccessToken(t.Context()); got != 2*time.Hour {
		t.Errorf("longest %v", got)
	}
}

// TestTokenErrors goes through RFC 6749 §5.2, and what HTTP adds to it.
func TestTokenErrors(t *testing.T) {
	h := newHouse(t)
	good := url.Values{"grant_type": {"client_credentials"}}
	auth := basic("orders-sync", testSecret)
	with := func(pairs ...string) url.Values {
		form := url.Values{"grant_type": {"client_credentials"}}
		for i := 0; i < len(pairs); i += 2 {
			form.Add(pairs[i], pairs[i+1])
		}
		return form
	}
	body := func(s string) *http.Request {
		r := httptest.NewRequest(http.MethodPost, "/oauth/token", strings.NewReader(s))
		r.Header.Set("Content-Type", formMedia)
		r.Header.Set("Authorization", auth)
		return r
	}
	media := func(types ...string) *http.Request {
		r := request("/oauth/token", good, "Authorization", auth)
		r.Header["Content-Type"] = types
		return r
	}
	for _, test := range []struct {
		name   string
		r      *http.Request
		status int
		code   string
	}{
		{"no client", request("/oauth/token", good), 401, "invalid_client"},
		{"unknown client", request("/oauth/token", good, "Authorization", basic("nobody", testSecret)),
			401, "invalid_client"},
		{"wrong secret", request("/oauth/token", good, "Authorization", basic("orders-sync", "wrong")),
			401, "invalid_client"},
		{"empty secret", request("/oauth/token", good, "Authorization", basic("orders-sync", "")), 401, "invalid_client"},
		{"ID without secret", request("/oauth/token", with("client_id", "orders-sync")), 401, "invalid_client"},
		{"secret without ID", request("/oauth/token", with("client_secret", testSecret)), 401, "invalid_client"},
		{"wrong secret in the body", request("/oauth/token", with("client_id", "orders-sync", "client_secret", "wrong")),
			401, "invalid_client"},
		{"public client with a secret", request("/oauth/token", with("client_id", "spa", "client_secret", "x")),
			401, "invalid_client"},
		{"unsupported scheme", request("/oauth/token", good, "Authorization", "Bearer abc"), 401, "invalid_client"},
		{"unsupported assertion", request("/oauth/token", with("client_assertion", "a.b.c", "client_assertion_type",
			"urn:ietf:params:oauth:client-assertion-type:jwt-bearer")), 401, "invalid_client"},
		{"no grant type", request("/oauth/token", url.Values{}, "Authorization", auth), 400, "invalid_request"},
		{"empty grant type", body("grant_type="), 400, "invalid_request"},
		{"unknown grant type", body("grant_type=fortune"), 400, "unsupported_grant_type"},
		{"grant type of go-oauth2 only", body("grant_type=password&username=a&password=b"), 400, "unsupported_grant_type"},
		{"implicit", body("grant_type=__implicit"), 400, "unsupported_grant_type"},
		{"grant type in other case", body("grant_type=Client_Credentials"), 400, "unsupported_grant_type"},
		{"grant not allowed", request("/oauth/token", good, "Authorization", basic("web", testSecret)),
			400, "unauthorized_client"},
		{"public client", request("/oauth/token", with("client_id", "spa")), 400, "unauthorized_client"},
		{"unknown scope", request("/oauth/token", with("scope", "read fly"), "Authorization", auth), 400, "invalid_scope"},
		{"malformed scope", request("/oauth/token", with("scope", `re"ad`), "Authorization", auth), 400, "invalid_scope"},
		{"scope with a tab", request("/oauth/token", with("scope", "read\twrite"), "Authorization", auth),
			400, "invalid_scope"},
		{"restricted scope", request("/oauth/token", with("scope", "admin"), "Authorization", auth), 400, "invalid_scope"},
		{"scope not listed", request("/oauth/token", with("scope", "read"), "Authorization", basic("limited", testSecret)),
			400, "invalid_scope"},
		{"unknown resource", request("/oauth/token", with("resource", "https://other.example"), "Authorization", auth),
			400, "invalid_target"},
		{"JSON body", media("application/json"), 400, "invalid_request"},
		{"no content type", media(), 400, "invalid_request"},
		{"two content types", media(formMedia, formMedia), 400, "invalid_request"},
		{"multipart", media("multipart/form-data; boundary=x"), 400, "invalid_request"},
		{"other charset", media(formMedia + "; charset=utf-16"), 400, "invalid_request"},
		{"broken escape", body("grant_type=client_credentials&scope=%zz"), 400, "invalid_request"},
		{"no name", body("grant_type=client_credentials&=x"), 400, "invalid_request"},
		{"not UTF-8", body("grant_type=client_credentials&scope=%ff"), 400, "invalid_request"},
		{"NUL", body("grant_type=client_credentials%00"), 400, "invalid_request"},
		{"line feed", body("grant_type=client_credentials&scope=read%0aadmin"), 400, "invalid_request"},
		{"very long value", body("grant_type=client_credentials&scope=" + strings.Repeat("a", maxValue+1)),
			400, "invalid_request"},
		{"very long scope", body("grant_type=client_credentials&scope=" + strings.Repeat("a", maxScopeName+1)),
			400, "invalid_scope"},
		{"too many scopes", body("grant_type=client_credentials&scope=" + manyScopes()), 400, "invalid_scope"},
		{"too many parameters", body("grant_type=client_credentials" + strings.Repeat("&resource=a", maxParams)),
			400, "invalid_request"},
		{"other path", request("/oauth/tokenz", good, "Authorization", auth), 404, "not_found"},
		{"slash at the end", request("/oauth/token/", good, "Authorization", auth), 404, "not_found"},
	} {
		t.Run(test.name, func(t *testing.T) {
			h.t = t
			h.fault(test.r, test.status, test.code)
		})
	}
	h.t = t
	if n := h.tokens(); n != 0 {
		t.Errorf("%d tokens have been recorded", n)
	}
}

func manyScopes() string {
	var b strings.Builder
	for i := range maxTokenScopes + 1 {
		b.WriteByte(byte('A' + i%26))
		b.WriteByte(byte('A' + i/26))
		b.WriteByte('+')
	}
	return b.String()
}

func TestTokenTakesTheForm(t *testing.T) {
	h := newHouse(t)
	for _, test := range []struct{ name, media, body string }{
		{"charset", formMedia + "; charset=UTF-8", "grant_type=client_credentials"},
		{"other case", "Application/X-WWW-Form-Urlencoded", "grant_type=client_credentials"},
		{"empty parameters are not there", formMedia, "grant_type=client_credentials&scope=&resource=&client_secret="},
		{"unknown parameters are ignored", formMedia, "grant_type=client_credentials&shade=green&shape"},
		{"escaped name", formMedia, "%67rant_type=client%5Fcredentials&&"},
		{"the client's ID beside Basic", formMedia, "grant_type=client_credentials&client_id=orders-sync"},
		{"two spaces in scope", formMedia, "grant_type=client_credentials&scope=+read++write"},
		{"the issuer as resource", formMedia,
			"grant_type=client_credentials&resource=https://api.example.com&resource=https://api.example.com"},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, chunked := range []bool{false, true} {
				r := httptest.NewRequest(http.MethodPost, "/oauth/token?trace=1", strings.NewReader(test.body))
				r.Header.Set("Content-Type", test.media)
				r.Header.Set("Authorization", basic("orders-sync", testSecret))
				if chunked {
					r.ContentLength = -1
				}
				res := h.do(r)
				if o := object(t, res); res.StatusCode != http.StatusOK {
					t.Errorf("%d %v", res.StatusCode, o)
				}
			}
		})
	}
}

func TestResources(t *testing.T) {
	h := newHouse(t)
	h.issuer.NameResources("https://api.example.com/mcp", "urn:orders")
	form := url.Values{
		"grant_type": {"client_credentials"},
		"resource":   {"https://api.example.com/mcp", "urn:orders", "https://api.example.com/mcp"},
	}
	o := object(t, h.do(request("/oauth/token", form, "Authorization", basic("orders-sync", testSecret))))
	_, claims := decodeJWT(t, o["access_token"].(string))
	if !reflect.DeepEqual(claims["aud"], []any{"https://api.example.com/mcp", "urn:orders"}) {
		t.Errorf("aud %v", claims["aud"])
	}
}

// TestLargestToken asks for as much as one may: what is issued has to be taken.
func TestLargestToken(t *testing.T) {
	id := "https://" + strings.Repeat("a", maxIdentifier-len("https://"))
	client := strings.Repeat("c", maxClientID)
	h := newHouse(t, func(c *Config) {
		c.Identifier = id
		c.Clients = append(c.Clients, store.Client{
			ID: client, SecretHash: store.HashSecret(testSecret), Grants: []string{"client_credentials"},
		})
	})
	resource := "urn:" + strings.Repeat("r", maxAudience/2-len("urn:"))
	h.issuer.NameResources(resource, resource[:len(resource)-1]+"s", "urn:more")
	var names []string
	for i := range maxTokenScopes {
		name := fmt.Sprintf("%02d", i) + strings.Repeat("s", maxTokenScope/maxTokenScopes-3)
		names = append(names, name)
	}
	if err := h.issuer.NameScopes(names...); err != nil {
		t.Fatal(err)
	}
	form := url.Values{
		"grant_type": {"client_credentials"}, "scope": {strings.Join(names, " ")},
		"resource": {resource, resource[:len(resource)-1] + "s"},
	}
	o := object(t, h.do(request("/oauth/token", form, "Authorization", basic(client, testSecret))))
	token, _ := o["access_token"].(string)
	if _, err := h.verifier.Verify(t.Context(), token, id); err != nil {
		t.Errorf("%d bytes: %v %v", len(token), o, err)
	}
	form.Add("resource", "urn:more")
	h.fault(request("/oauth/token", form, "Authorization", basic(client, testSecret)), 400, "invalid_target")
	form.Del("resource")
	form.Set("scope", strings.Repeat("a ", maxTokenScope/2+1))
	h.fault(request("/oauth/token", form, "Authorization", basic(client, testSecret)), 400, "invalid_scope")
}

func TestUnavailableStorage(t *testing.T) {
	h := newHouse(t)
	token := h.tokenFor("orders-sync", "")
	created, secret, err := h.issuer.CreateClient(t.Context(), store.Client{Name: "stored"})
	if err != nil {
		t.Fatal(err)
	}
	const detail = "/var/lib/passport: no space left on device"
	for _, broken := range []error{
		errors.Join(store.ErrUnavailable, errors.New(detail)), store.ErrClosed, errors.New(detail),
	} {
		h.engine.broken.Store(&broken)
		auth, configured := basic(created.ID, secret), basic("orders-sync", testSecret)
		for name, r := range map[string]*http.Request{
			"token":             request("/oauth/token", askForToken, "Authorization", auth),
			"token, configured": request("/oauth/token", askForToken, "Authorization", configured),
			"unknown client":    request("/oauth/token", askForToken, "Authorization", basic("nobody", testSecret)),
			"revoke":            request("/oauth/revoke", url.Values{"token": {token}}, "Authorization", configured),
			"introspect":        request("/oauth/introspect", url.Values{"token": {token}}, "Authorization", auth),
		} {
			res := h.do(r)
			raw, _ := io.ReadAll(res.Body)
			if res.StatusCode != http.StatusServiceUnavailable || !strings.Contains(string(raw), `"temporarily_unavailable"`) ||
				res.Header.Get("Retry-After") == "" || res.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s: %d %s %v", name, res.StatusCode, raw, res.Header)
			}
			if strings.Contains(string(raw), "/var/lib") {
				t.Errorf("%s tells of what is inside: %s", name, raw)
			}
		}
	}
	h.engine.broken.Store(nil)
	if o := h.introspect("orders-sync", token); o["active"] != true {
		t.Errorf("after the fault: %v", o)
	}
}

func TestMethods(t *testing.T) {
	h := newHouse(t)
	for _, test := range []struct {
		method, path string
		status       int
		allow        string
	}{
		{"GET", "/oauth/token", 405, "POST, OPTIONS"},
		{"HEAD", "/oauth/token", 405, "POST, OPTIONS"},
		{"PUT", "/oauth/revoke", 405, "POST, OPTIONS"},
		{"GET", "/oauth/introspect", 405, "POST, OPTIONS"},
		{"POST", "/oauth/jwks", 405, "GET, HEAD, OPTIONS"},
		{"DELETE", wellKnown, 405, "GET, HEAD, OPTIONS"},
		{"OPTIONS", "/oauth/introspect", 204, "POST, OPTIONS"},
		{"OPTIONS", "/oauth/scopes", 204, "GET, HEAD, OPTIONS"},
		{"HEAD", "/oauth/jwks", 200, ""},
		{"HEAD", wellKnown, 200, ""},
		{"GET", "/oauth/scopes", 200, ""},
		{"GET", "/oauth", 404, ""},
		{"GET", "/oauth/", 404, ""},
		{"GET", "/elsewhere", 404, ""},
	} {
		res := h.do(httptest.NewRequest(test.method, test.path, nil))
		if res.StatusCode != test.status || res.Header.Get("Allow") != test.allow {
			t.Errorf("%s %s: %d, Allow %q", test.method, test.path, res.StatusCode, res.Header.Get("Allow"))
		}
		if body, _ := io.ReadAll(res.Body); test.method == "HEAD" && len(body) > 0 {
			t.Errorf("HEAD %s has a body: %s", test.path, body)
		}
	}
}
