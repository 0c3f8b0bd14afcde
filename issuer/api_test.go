package issuer

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
)

// managed adds the scope of the JSON API.
func managed(c *Config) {
	c.Scopes = append(c.Scopes,
		Scope{Name: ManageScope, Description: "Manage your tokens and apps"},
		Scope{Name: "everything", Includes: []string{"read", ManageScope}})
}

// call is a call of the JSON API with the session and the header that a page's script takes from the cookie.
func (b *browser) call(method, path, body string, header ...string) seen {
	b.h.t.Helper()
	return b.h.call(method, path, body, func(r *http.Request) seen {
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		r.Header.Set("X-XSRF-TOKEN", b.cookie("XSRF-TOKEN"))
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		return b.do(r)
	})
}

// with is a call of the JSON API with a token.
func (h *house) with(token, method, path, body string) seen {
	h.t.Helper()
	return h.call(method, path, body, func(r *http.Request) seen {
		r.Header.Set("Authorization", "Bearer "+token)
		return h.browser().do(r)
	})
}

func (h *house) call(method, path, body string, do func(*http.Request) seen) seen {
	h.t.Helper()
	r := httptest.NewRequest(method, "https://api.example.com/oauth"+path, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	return do(r)
}

// answers asserts the status, and decodes the answer.
func (s seen) answers(t testing.TB, status int) map[string]any {
	t.Helper()
	var o map[string]any
	s.decode(t, status, &o)
	return o
}

func (s seen) list(t testing.TB) []map[string]any {
	t.Helper()
	list := []map[string]any{}
	s.decode(t, http.StatusOK, &list)
	if list == nil {
		t.Errorf("%s answers null", s.at)
	}
	return list
}

func (s seen) decode(t testing.TB, status int, into any) {
	t.Helper()
	if s.StatusCode != status {
		t.Errorf("%s: %d %s, want %d", s.at, s.StatusCode, s.text, status)
	}
	if status == http.StatusNoContent {
		if s.text != "" {
			t.Errorf("%s: a body with 204: %s", s.at, s.text)
		}
		return
	}
	if err := json.Unmarshal([]byte(s.text), into); err != nil || s.Header.Get("Content-Type") != "application/json" {
		t.Errorf("%s: %s: %v", s.at, s.text, err)
	}
}

// members asserts that an object has those members, and no others but optional ones.
func members(t testing.TB, o map[string]any, names ...string) {
	t.Helper()
	got := slices.Sorted(maps.Keys(o))
	slices.Sort(names)
	if !slices.Equal(got, names) {
		t.Errorf("the members are %v, want %v", got, names)
	}
}

var clientMembers = []string{
	"id", "user_id", "name", "provider", "redirect", "redirect_uris", "grant_types", "personal_access_client",
	"password_client", "confidential", "revoked", "created_at", "updated_at",
}

func TestClientsOfThePersonAsJSON(t *testing.T) {
	h := signInHouse(t)
	b, u := h.member("carol")
	if list := b.call("GET", "/clients", "").list(t); len(list) != 0 {
		t.Errorf("there are clients: %v", list)
	}
	made := b.call("POST", "/clients", `{"name":"My app","redirect":"`+testRedirect+`","confidential":true}`).answers(t, 201)
	members(t, made, append(slices.Clone(clientMembers), "secret", "plainSecret")...)
	id, _ := made["id"].(string)
	secret, _ := made["secret"].(string)
	if kind, ok := store.ParseSecret(secret); !ok || kind != store.ClientSecret || made["plainSecret"] != secret {
		t.Errorf("the secret is %q", secret)
	}
	if made["user_id"] != u.ID || made["redirect"] != testRedirect || made["confidential"] != true ||
		made["revoked"] != false || made["personal_access_client"] != false || made["password_client"] != false {
		t.Errorf("%v", made)
	}
	if _, err := time.Parse(time.RFC3339Nano, fmt.Sprint(made["created_at"])); err != nil {
		t.Error(err)
	}
	public := b.call("POST", "/clients",
		`{"name":"SPA","redirect_uris":["https://a.example/","https://b.example/"],"confidential":false}`).answers(t, 201)
	if public["secret"] != nil || public["redirect"] != "https://a.example/,https://b.example/" {
		t.Errorf("%v", public)
	}

	list := b.call("GET", "/clients", "").list(t)
	if len(list) != 2 {
		t.Fatalf("%v", list)
	}
	members(t, list[0], clientMembers...)

	changed := b.call("PUT", "/clients/"+id, `{"name":"New","redirect":"https://new.example/"}`).answers(t, 200)
	members(t, changed, clientMembers...)
	if changed["name"] != "New" || changed["redirect"] != "https://new.example/" {
		t.Errorf("%v", changed)
	}
	b.call("DELETE", "/clients/"+id, "").answers(t, 204)
	b.call("DELETE", "/clients/"+id, "").answers(t, 404)
	b.call("PUT", "/clients/"+id, `{"name":"New","redirect":"https://new.example/"}`).answers(t, 404)
	if list := b.call("GET", "/clients", "").list(t); len(list) != 1 {
		t.Errorf("%v", list)
	}
}

func TestPersonalAccessTokensAsJSON(t *testing.T) {
	h := signInHouse(t)
	b, u := h.member("carol")
	answer := b.call("POST", "/personal-access-tokens", `{"name":"backup","scopes":["read"]}`).answers(t, 200)
	members(t, answer, "accessToken", "token")
	secret, _ := answer["accessToken"].(string)
	token, _ := answer["token"].(map[string]any)
	common := []string{
		"id", "user_id", "client_id", "name", "scopes", "revoked", "created_at", "updated_at", "expires_at",
	}
	members(t, token, common...)
	if token["name"] != "backup" || token["user_id"] != u.ID || token["revoked"] != false ||
		fmt.Sprint(token["scopes"]) != "[read]" || !h.good(secret) {
		t.Errorf("%v", answer)
	}
	list := b.call("GET", "/personal-access-tokens", "").list(t)
	if len(list) != 1 || list[0]["id"] != token["id"] {
		t.Fatalf("%v", list)
	}
	members(t, list[0], append(common, "client")...)
	if client, _ := list[0]["client"].(map[string]any); client["personal_access_client"] != true {
		t.Errorf("%v", client)
	}
	if list := b.call("GET", "/tokens", "").list(t); len(list) != 0 {
		t.Errorf("it is among the authorized ones: %v", list)
	}
	b.call("DELETE", fmt.Sprint("/personal-access-tokens/", token["id"]), "").answers(t, 204)
	b.call("DELETE", "/personal-access-tokens/nothing", "").answers(t, 404)
	if h.good(secret) || len(b.call("GET", "/personal-access-tokens", "").list(t)) != 0 {
		t.Error("it is good, or listed, after it was revoked")
	}
	form := url.Values{"name": {"by form"}, "scopes[]": {"read", "write"}, "expires_in": {"x"}}
	b.call("POST", "/personal-access-tokens", form.Encode(), "Content-Type", formMedia).answers(t, 422)
	form.Del("expires_in")
	answer = b.call("POST", "/personal-access-tokens", form.Encode(), "Content-Type", formMedia).answers(t, 200)
	if token, _ := answer["token"].(map[string]any); fmt.Sprint(token["scopes"]) != "[read write]" {
		t.Errorf("%v", answer)
	}
	answer = b.call("POST", "/personal-access-tokens", `{"name":"short","expires_in":3600}`).answers(t, 200)
	id, err := h.verifier.Verify(t.Context(), fmt.Sprint(answer["accessToken"]), testIdentifier)
	if err != nil || time.Until(id.ExpiresAt) > time.Hour {
		t.Errorf("%v %v", id, err)
	}
}

func TestAuthorizedTokensAsJSON(t *testing.T) {
	h := signInHouse(t)
	b, _ := h.member("carol")
	access, refresh := b.connect("app", "read")
	list := b.call("GET", "/tokens", "").list(t)
	if len(list) != 1 || list[0]["client_id"] != "app" || fmt.Sprint(list[0]["scopes"]) != "[read]" || list[0]["name"] != nil {
		t.Fatalf("%v", list)
	}
	if client, _ := list[0]["client"].(map[string]any); client["id"] != "app" || client["secret"] != nil {
		t.Errorf("%v", list[0]["client"])
	}
	byToken := fmt.Sprint(list[0]["id"])

	// The access token expires, what it can be refreshed by does not: the app has still access.
	h.ahead.Add(int64(90 * time.Minute))
	list = b.call("GET", "/tokens", "").list(t)
	if len(list) != 1 || list[0]["id"] == byToken {
		t.Fatalf("%v", list)
	}
	byFamily := fmt.Sprint(list[0]["id"])
	other, _ := h.member("mallory")
	other.call("DELETE", "/tokens/"+byFamily, "").answers(t, 404)
	b.call("DELETE", "/tokens/"+byToken, "").answers(t, 404)
	b.call("DELETE", "/tokens/"+byFamily, "").answers(t, 204)
	b.call("DELETE", "/tokens/"+byFamily, "").answers(t, 404)
	h.fault(request("/oauth/token", url.Values{
		"grant_type": {"refresh_token"}, "client_id": {"app"}, "refresh_token": {refresh},
	}), 400, "invalid_grant")
	if h.good(access) || len(b.call("GET", "/tokens", "").list(t)) != 0 {
		t.Error("something is good after all was revoked")
	}
	b.get(asks("app")).has(t, http.StatusOK, `value="approve"`)
}

func TestRevokingOneOfTwoAuthorizations(t *testing.T) {
	h := signInHouse(t)
	b, _ := h.member("carol")
	first, _ := b.connect("app", "read")
	if _, err := h.issuer.Client(t.Context(), "app"); err != nil {
		t.Fatal(err)
	}
	h.ahead.Add(int64(time.Second))                                    // or nobody knows which is listed first
	second := b.get(asks("app")).answered(t, testRedirect).Get("code") // remembered
	object(t, h.do(request("/oauth/token", url.Values{
		"grant_type": {"authorization_code"}, "client_id": {"app"}, "code": {second}, "redirect_uri": {testRedirect},
		"code_verifier": {testVerifier},
	})))
	list := b.call("GET", "/tokens", "").list(t)
	if len(list) != 2 {
		t.Fatalf("%v", list)
	}
	b.call("DELETE", fmt.Sprint("/tokens/", list[0]["id"]), "").answers(t, 204)
	if h.good(first) {
		t.Error("the revoked one is good")
	}
	if b.get(asks("app")).StatusCode != http.StatusSeeOther {
		t.Error("the consent is gone with the first of two")
	}
}

func TestFirstPartyAppsAreNoAuthorizedOnes(t *testing.T) {
	h := signInHouse(t)
	b, _ := h.member("carol")
	code := b.get(asks("first")).answered(t, testRedirect).Get("code")
	res := h.do(request("/oauth/token", url.Values{
		"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {testRedirect},
		"code_verifier": {testVerifier},
	}, "Authorization", basic("first", testSecret)))
	if res.StatusCode != http.StatusOK {
		t.Fatal(res.Status)
	}
	if list := b.call("GET", "/tokens", "").list(t); len(list) != 0 {
		t.Errorf("%v", list)
	}
	b.get(account).has(t, http.StatusOK, "An app of this site") // but people see it
}

func TestInvalidCallsOfTheAPI(t *testing.T) {
	h := signInHouse(t)
	b, _ := h.member("carol")
	long := strings.Repeat("x", 256)
	for _, test := range []struct {
		name, method, path, body string
		status                   int
		fields                   []string
	}{
		{"no name", "POST", "/clients", `{"redirect":"https://a.example/"}`, 422, []string{"name"}},
		{"nothing", "POST", "/clients", `{}`, 422, []string{"name", "redirect"}},
		{"name is a number", "POST", "/clients", `{"name":7,"redirect":"https://a.example/"}`, 422, []string{"name"}},
		{"long name", "POST", "/clients", `{"name":"` + long + `","redirect":"https://a.example/"}`, 422, []string{"name"}},
		{"control characters", "POST", "/clients", `{"name":"a\u0007","redirect":"https://a.example/"}`, 422, []string{"name"}},
		{"script", "POST", "/clients", `{"name":"x","redirect":"javascript:alert(1)"}`, 422, []string{"redirect"}},
		{"redirect_uris is no list", "POST", "/clients", `{"name":"x","redirect_uris":"https://a.example/"}`, 422, []string{"redirect_uris"}},
		{"redirect_uris of numbers", "POST", "/clients", `{"name":"x","redirect_uris":[1]}`, 422, []string{"redirect", "redirect_uris.0"}},
		{"confidential is a word", "POST", "/clients", `{"name":"x","redirect":"https://a.example/","confidential":"yes"}`, 422, []string{"confidential"}},
		{"no JSON", "POST", "/clients", `{"name"`, 400, nil},
		{"a list", "POST", "/clients", `[]`, 400, nil},
		{"null", "POST", "/clients", `null`, 400, nil},
		{"large", "POST", "/clients", `{"name":"` + strings.Repeat("x", maxBody) + `"}`, 413, nil},
		{"token without a name", "POST", "/personal-access-tokens", `{}`, 422, []string{"name"}},
		{"unknown scope", "POST", "/personal-access-tokens", `{"name":"x","scopes":["fly"]}`, 422, []string{"scopes"}},
		{"restricted scope", "POST", "/personal-access-tokens", `{"name":"x","scopes":["admin"]}`, 422, []string{"scopes"}},
		{"every scope", "POST", "/personal-access-tokens", `{"name":"x","scopes":["*"]}`, 422, []string{"scopes"}},
		{"scopes is a string", "POST", "/personal-access-tokens", `{"name":"x","scopes":"read"}`, 422, []string{"scopes"}},
		{"long life", "POST", "/personal-access-tokens", `{"name":"x","expires_in":4000000000}`, 422, []string{"expires_in"}},
		{"past", "POST", "/personal-access-tokens", `{"name":"x","expires_in":-1}`, 422, []string{"expires_in"}},
		{"half a second", "POST", "/personal-access-tokens", `{"name":"x","expires_in":1.5}`, 422, []string{"expires_in"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			answer := b.call(test.method, test.path, test.body).answers(t, test.status)
			if message, _ := answer["message"].(string); message == "" {
				t.Errorf("no message: %v", answer)
			}
			errs, _ := answer["errors"].(map[string]any)
			if got := slices.Sorted(maps.Keys(errs)); !slices.Equal(got, test.fields) {
				t.Errorf("errors in %v, want %v", got, test.fields)
			}
			for name, problems := range errs {
				if list, ok := problems.([]any); !ok || len(list) != 1 {
					t.Errorf("%s: %v", name, problems)
				}
			}
		})
	}
	if got := b.call("POST", "/clients", "x", "Content-Type", "text/plain"); got.StatusCode != http.StatusUnsupportedMediaType {
		t.Errorf("text: %d", got.StatusCode)
	}
	b.call("POST", "/tokens", "{}").answers(t, 405)
	b.call("GET", "/clients/x", "").answers(t, 405)
	if own := b.call("GET", "/clients", "").list(t); len(own) != 0 {
		t.Errorf("something was made: %v", own)
	}
	broken := errors.New("no disk")
	h.engine.broken.Store(&broken)
	if got := b.call("GET", "/clients", ""); got.StatusCode != http.StatusServiceUnavailable || got.Header.Get("Retry-After") == "" {
		t.Errorf("without storage: %d %v", got.StatusCode, got.Header)
	}
	h.engine.broken.Store(nil)
}

func TestAPIWithoutItsGrants(t *testing.T) {
	h := signInHouse(t, func(c *Config) { c.Grants, c.Clients = []string{"client_credentials"}, nil })
	b := h.browser()
	b.signIn("ada")
	b.get(account)
	b.call("POST", "/personal-access-tokens", `{"name":"x"}`).answers(t, 403)
	b.call("POST", "/clients", `{"name":"x","redirect":"https://a.example/"}`).answers(t, 403)
	b.call("GET", "/personal-access-tokens", "").list(t)
}

// apiWrites are calls that change something.
var apiWrites = [][3]string{
	{"POST", "/clients", `{"name":"x","redirect":"https://a.example/"}`},
	{"PUT", "/clients/x", `{"name":"x","redirect":"https://a.example/"}`},
	{"DELETE", "/clients/x", ""},
	{"DELETE", "/tokens/x", ""},
	{"POST", "/personal-access-tokens", `{"name":"x"}`},
	{"DELETE", "/personal-access-tokens/x", ""},
}

var apiReads = []string{"/clients", "/tokens", "/personal-access-tokens"}

// TestAPICalledByAnotherSite: a session alone changes nothing.
func TestAPICalledByAnotherSite(t *testing.T) {
	h := signInHouse(t)
	b, u := h.member("carol")
	stranger, _ := h.member("mallory")
	for _, test := range []struct {
		name   string
		header []string
	}{
		{"no header", []string{"X-XSRF-TOKEN", ""}},
		{"another's", []string{"X-XSRF-TOKEN", stranger.cookie("XSRF-TOKEN")}},
		{"from another site", []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"}},
		{"from another host of the site", []string{"Sec-Fetch-Site", "same-site"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, call := range apiWrites {
				answer := b.call(call[0], call[1], call[2], test.header...).answers(t, 419)
				if answer["message"] != "CSRF token mismatch." {
					t.Errorf("%v", answer)
				}
			}
		})
	}
	own, err := h.issuer.ownClients(t.Context(), u.ID)
	if tokens, _ := h.issuer.PersonalTokens(t.Context(), u.ID); len(own)+len(tokens) > 0 || err != nil {
		t.Errorf("something was made: %v %v %v", own, tokens, err)
	}
}

// TestAPIWithoutAPerson: nobody, a client for itself, and tokens without the scope learn and change nothing.
func TestAPIWithoutAPerson(t *testing.T) {
	h := signInHouse(t, managed, func(c *Config) {
		c.Clients = append(c.Clients, store.Client{
			ID: "robot", SecretHash: store.HashSecret(testSecret), Grants: []string{"client_credentials"},
			Scopes: []string{ManageScope},
		})
	})
	_, u := h.member("carol")
	token := func(scopes ...string) string {
		secret, _, err := h.issuer.CreatePersonalToken(t.Context(), u.ID, "x", scopes, 0)
		if err != nil {
			t.Fatal(err)
		}
		return secret
	}
	disabledBrowser, disabled := h.member("dave")
	gone, _, err := h.issuer.CreatePersonalToken(t.Context(), disabled.ID, "x", []string{ManageScope}, 0)
	if err != nil {
		t.Fatal(err)
	}
	yes := true
	if _, err := h.issuer.UpdateUser(t.Context(), disabled.ID, UserChange{Disabled: &yes}); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, token string
		status      int
		code        string
	}{
		{"nobody", "", 401, ""},
		{"nonsense", "nonsense", 401, "invalid_token"},
		{"without the scope", token("read"), 403, "insufficient_scope"},
		{"a client for itself", h.tokenFor("robot", ManageScope), 403, ""},
		{"somebody disabled", gone, 401, "invalid_token"},
	} {
		t.Run(test.name, func(t *testing.T) {
			call := func(method, path, body string) {
				got := h.with(test.token, method, path, body)
				if test.token == "" {
					got = h.browser().call(method, path, body)
				}
				got.answers(t, test.status)
				challenge := got.Header.Get("WWW-Authenticate")
				if test.status == 401 && !strings.HasPrefix(challenge, "Bearer ") || !strings.Contains(challenge, test.code) {
					t.Errorf("WWW-Authenticate: %q", challenge)
				}
			}
			for _, path := range apiReads {
				call("GET", path, "")
			}
			for _, w := range apiWrites {
				call(w[0], w[1], w[2])
			}
		})
	}
	disabledBrowser.call("GET", "/clients", "").answers(t, 401)
}

func TestAPIWithAToken(t *testing.T) {
	h := signInHouse(t, managed)
	b, u := h.member("carol")
	token, _, err := h.issuer.CreatePersonalToken(t.Context(), u.ID, "manager", []string{"read", ManageScope}, 0)
	if err != nil {
		t.Fatal(err)
	}
	including, _, err := h.issuer.CreatePersonalToken(t.Context(), u.ID, "manager", []string{"everything"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, token := range []string{token, including} {
		made := h.with(token, "POST", "/personal-access-tokens", `{"name":"x","scopes":["read"]}`).answers(t, 200)
		child, _ := made["token"].(map[string]any)
		h.with(token, "DELETE", fmt.Sprint("/personal-access-tokens/", child["id"]), "").answers(t, 204)
		if n := len(h.with(token, "GET", "/personal-access-tokens", "").list(t)); n != 2 {
			t.Errorf("%d tokens", n)
		}
		client := h.with(token, "POST", "/clients", `{"name":"x","redirect":"https://a.example/"}`).answers(t, 201)
		h.with(token, "PUT", fmt.Sprint("/clients/", client["id"]), `{"name":"y","redirect":"https://a.example/"}`).answers(t, 200)
		h.with(token, "DELETE", fmt.Sprint("/clients/", client["id"]), "").answers(t, 204)
	}
	b.connect("app", "read")
	list := h.with(token, "GET", "/tokens", "").list(t)
	if len(list) != 1 {
		t.Fatalf("%v", list)
	}
	h.with(token, "DELETE", fmt.Sprint("/tokens/", list[0]["id"]), "").answers(t, 204)
}

// TestTokenThatMakesItselfMorePowerful: by a token nothing is made that can do more, or that lives on and makes others.
func TestTokenThatMakesItselfMorePowerful(t *testing.T) {
	h := signInHouse(t, managed)
	_, u := h.member("carol")
	token, _, err := h.issuer.CreatePersonalToken(t.Context(), u.ID, "manager", []string{"read", ManageScope}, 0)
	if err != nil {
		t.Fatal(err)
	}
	alone, _, err := h.issuer.CreatePersonalToken(t.Context(), u.ID, "manager", []string{ManageScope}, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, scope := range []string{"write", "admin", "*", ManageScope, "everything"} {
		h.with(token, "POST", "/personal-access-tokens", `{"name":"x","scopes":["`+scope+`"]}`).answers(t, 422)
	}
	client := h.with(token, "POST", "/clients", `{"name":"x","redirect":"`+testRedirect+`","confidential":false}`).answers(t, 201)
	info, err := h.issuer.Client(t.Context(), fmt.Sprint(client["id"]))
	if err != nil || !slices.Equal(info.Scopes, []string{"read"}) {
		t.Errorf("the client may have %v, %v", info.Scopes, err)
	}
	h.with(alone, "POST", "/clients", `{"name":"x","redirect":"`+testRedirect+`"}`).answers(t, 403)
	tokens, err := h.issuer.PersonalTokens(t.Context(), u.ID)
	if err != nil || len(tokens) != 2 {
		t.Errorf("there are %d tokens, %v", len(tokens), err)
	}
}

// TestOwnClientThatCallsItselfFirstParty: what only the operator decides cannot be said.
func TestOwnClientThatCallsItselfFirstParty(t *testing.T) {
	h := signInHouse(t)
	b, u := h.member("carol")
	extra := `"first_party":true,"firstParty":true,"resource_server":true,"personal_access_client":true,` +
		`"password_client":true,"grant_types":["client_credentials","password"],"scopes":["admin","*"],"scope":"admin",` +
		`"user_id":"","id":"app","secret":"x","disabled":false,"access_token_lifetime":99999999`
	made := b.call("POST", "/clients", `{"name":"x","redirect":"`+testRedirect+`",`+extra+`}`).answers(t, 201)
	id := fmt.Sprint(made["id"])
	b.call("PUT", "/clients/"+id, `{"name":"y","redirect":"`+testRedirect+`",`+extra+`}`).answers(t, 200)
	info, err := h.issuer.Client(t.Context(), id)
	if err != nil || info.FirstParty || info.ResourceServer || info.UserID != u.ID || len(info.Scopes) != 0 ||
		info.AccessTokenLifetime != 0 || id == "app" || !slices.Equal(info.Grants, []string{"authorization_code", "refresh_token"}) {
		t.Errorf("%+v %v", info, err)
	}
}

// TestAPIForSomebodyElse: IDs of another person's things are unknown.
func TestAPIForSomebodyElse(t *testing.T) {
	h := signInHouse(t)
	b, u := h.member("carol")
	access, _ := b.connect("app", "read")
	client := b.call("POST", "/clients", `{"name":"Carol's","redirect":"`+testRedirect+`"}`).answers(t, 201)
	secret, pat, err := h.issuer.CreatePersonalToken(t.Context(), u.ID, "x", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	authorized := b.call("GET", "/tokens", "").list(t)[0]
	mallory, _ := h.member("mallory")
	change := `{"name":"Mallory's","redirect":"https://evil.example/"}`
	for _, id := range []any{client["id"], "app", "orders-sync"} {
		mallory.call("PUT", fmt.Sprint("/clients/", id), change).answers(t, 404)
		mallory.call("DELETE", fmt.Sprint("/clients/", id), "").answers(t, 404)
	}
	mallory.call("DELETE", "/personal-access-tokens/"+pat.ID, "").answers(t, 404)
	mallory.call("DELETE", "/tokens/"+pat.ID, "").answers(t, 404)
	mallory.call("DELETE", fmt.Sprint("/tokens/", authorized["id"]), "").answers(t, 404)
	mallory.call("DELETE", fmt.Sprint("/personal-access-tokens/", authorized["id"]), "").answers(t, 404)
	for _, path := range apiReads {
		if list := mallory.call("GET", path, "").list(t); len(list) != 0 {
			t.Errorf("%s: %v", path, list)
		}
	}
	if !h.good(access) || !h.good(secret) || len(b.call("GET", "/clients", "").list(t)) != 1 {
		t.Error("something is gone")
	}
}
