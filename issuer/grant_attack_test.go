package issuer

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
)

// TestRefreshTokenRedeemedByAnotherClient: it is bound to the client that got it, which keeps it (RFC 6749 §6).
func TestRefreshTokenRedeemedByAnotherClient(t *testing.T) {
	h, ann := newPeopledHouse(t)
	for _, owner := range []string{"app", "site"} {
		g := h.tokensOf(owner, ann, "read")
		h.told()
		for _, thief := range []string{"app", "site", "other"} {
			if thief != owner {
				h.fault(h.askByRefresh(thief, g.refresh), 400, "invalid_grant")
			}
		}
		h.fault(h.askByRefresh("once", g.refresh), 400, "unauthorized_client")
		if got := h.toldOf(); strings.Contains(got, string(RefreshTokenReused)) {
			t.Errorf("told %s", got)
		}
		h.gives(h.askByRefresh(owner, g.refresh))
		// Nor can another client end the family with a token that has been replaced.
		h.pass(time.Minute)
		h.fault(h.askByRefresh("other", g.refresh), 400, "invalid_grant")
		if !h.good(g.access) {
			t.Error("another client has ended the family")
		}
	}
}

// TestRefreshTokenRedeemedWithoutTheSecret of the confidential client that it was given to.
func TestRefreshTokenRedeemedWithoutTheSecret(t *testing.T) {
	h, ann := newPeopledHouse(t)
	g := h.tokensOf("site", ann, "read")
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {g.refresh}}
	for name, r := range map[string]*http.Request{
		"nothing":      request("/oauth/token", form),
		"wrong secret": request("/oauth/token", form, "Authorization", basic("site", "wrong")),
		"empty secret": request("/oauth/token", form, "Authorization", basic("site", "")),
		"ID alone": request("/oauth/token", url.Values{
			"grant_type": {"refresh_token"}, "refresh_token": {g.refresh}, "client_id": {"site"},
		}),
	} {
		t.Run(name, func(t *testing.T) {
			h.t = t
			h.fault(r, 401, "invalid_client")
		})
	}
	h.t = t
	h.gives(h.askByRefresh("site", g.refresh))
}

// TestCodeRedeemedTwice: the second use is refused and revokes what the first gave, however late it comes (RFC 6749
// §4.1.2).
func TestCodeRedeemedTwice(t *testing.T) {
	for name, later := range map[string]time.Duration{"at once": 0, "after its minute": 10 * time.Minute} {
		t.Run(name, func(t *testing.T) {
			h, ann := newPeopledHouse(t)
			code := h.code("app", ann, "read")
			first := h.gives(h.askByCode("app", code))
			next := h.gives(h.askByRefresh("app", first.refresh))
			h.pass(later)
			h.told()
			h.fault(h.askByCode("app", code), 400, "invalid_grant")
			if got := h.toldOf(); !strings.HasPrefix(got, string(CodeReused)) {
				t.Errorf("told %s", got)
			}
			if h.good(first.access) || h.good(next.access) {
				t.Error("an access token of the first use is good")
			}
			h.fault(h.askByRefresh("app", next.refresh), 400, "invalid_grant")
			h.fault(h.askByCode("app", code), 400, "invalid_grant")
		})
	}
}

// TestCodeReplayedByAnotherClient ends nothing: the client's own tokens are none of its business.
func TestCodeReplayedByAnotherClient(t *testing.T) {
	h, ann := newPeopledHouse(t)
	code := h.code("app", ann, "read")
	g := h.gives(h.askByCode("app", code))
	h.fault(h.askByCode("other", code), 400, "invalid_grant")
	h.fault(h.ask("app", "authorization_code", "code", code, "redirect_uri", testRedirect), 400, "invalid_grant")
	if !h.good(g.access) {
		t.Error("the tokens have ended")
	}
}

// TestStolenCode is one that somebody else has got hold of, or who lacks what belongs to it. The client that it was given
// to can still redeem it.
func TestStolenCode(t *testing.T) {
	h, ann := newPeopledHouse(t)
	otherVerifier := strings.Repeat("v", 43)
	for _, test := range []struct {
		name, owner, client, redirect, verifier string
		change                                  func(*store.Code)
	}{
		{name: "another client", owner: "app", client: "other", redirect: testRedirect, verifier: testVerifier},
		{name: "another public client", owner: "site", client: "app", redirect: testRedirect, verifier: testVerifier},
		{name: "another redirect URI", owner: "app", client: "app", redirect: "https://evil.example/cb",
			verifier: testVerifier},
		{name: "almost the redirect URI", owner: "app", client: "app", redirect: testRedirect + "/", verifier: testVerifier},
		{name: "the redirect URI in other case", owner: "app", client: "app", redirect: "https://APP.example/cb",
			verifier: testVerifier},
		{name: "no redirect URI", owner: "app", client: "app", verifier: testVerifier},
		{name: "no verifier", owner: "app", client: "app", redirect: testRedirect},
		{name: "no verifier, with the secret", owner: "site", client: "site", redirect: testRedirect},
		{name: "wrong verifier", owner: "app", client: "app", redirect: testRedirect, verifier: otherVerifier},
		{name: "the challenge as verifier", owner: "app", client: "app", redirect: testRedirect,
			verifier: s256(testVerifier)},
		{name: "short verifier", owner: "app", client: "app", redirect: testRedirect, verifier: testVerifier[:42],
			change: func(c *store.Code) { c.Challenge = s256(testVerifier[:42]) }},
		{name: "long verifier", owner: "app", client: "app", redirect: testRedirect, verifier: strings.Repeat("v", 129),
			change: func(c *store.Code) { c.Challenge = s256(strings.Repeat("v", 129)) }},
		{name: "challenge taken out (PKCE downgrade)", owner: "site", client: "site", redirect: testRedirect,
			verifier: testVerifier, change: func(c *store.Code) { c.Challenge = "" }},
		{name: "public client without challenge", owner: "app", client: "app", redirect: testRedirect,
			change: func(c *store.Code) { c.Challenge = "" }},
		{name: "at another issuer of ours", owner: "app", client: "app", redirect: testRedirect, verifier: testVerifier,
			change: func(c *store.Code) { c.Issuer = "https://other.example.com" }},
	} {
		t.Run(test.name, func(t *testing.T) {
			h.t = t
			change := test.change
			if change == nil {
				change = func(*store.Code) {}
			}
			code := h.code(test.owner, ann, "read", change)
			before := h.tokens()
			h.fault(h.ask(test.client, "authorization_code", "code", code, "redirect_uri", test.redirect, "code_verifier",
				test.verifier), 400, "invalid_grant")
			if h.tokens() != before {
				t.Error("a token has been made")
			}
			if test.change == nil {
				h.gives(h.askByCode(test.owner, code))
			}
		})
	}
}

func TestCodeAfterItsMinute(t *testing.T) {
	h, ann := newPeopledHouse(t)
	code := h.code("app", ann, "read")
	h.pass(60 * time.Second)
	h.fault(h.askByCode("app", code), 400, "invalid_grant")
	code = h.code("app", ann, "read")
	h.pass(59 * time.Second)
	h.gives(h.askByCode("app", code))
	for _, code := range []string{
		"x", store.NewSecret(store.AuthorizationCode), store.NewSecret(store.RefreshToken), code[:len(code)-1],
	} {
		h.fault(h.askByCode("app", code), 400, "invalid_grant")
	}
	h.fault(h.askByCode("app", ""), 400, "invalid_request")
	h.fault(h.askByRefresh("app", ""), 400, "invalid_request")
	h.fault(h.askByRefresh("app", store.NewSecret(store.RefreshToken)), 400, "invalid_grant")
	h.fault(h.askByRefresh("app", store.NewSecret(store.AuthorizationCode)), 400, "invalid_grant")
}

// TestReplayedRefreshToken: one that has been replaced is used after its grace; the family dies, whoever asks next (RFC
// 9700 §4.14.2).
func TestReplayedRefreshToken(t *testing.T) {
	for name, test := range map[string]struct {
		uses int           // of the successors before the old one comes again
		wait time.Duration // before it does
	}{
		"after the grace": {1, 31 * time.Second}, "at the end of the grace": {1, 30 * time.Second},
		"at once, but its successor has been used": {2, 0}, "the oldest of many": {5, time.Hour / 2},
	} {
		t.Run(name, func(t *testing.T) {
			h, ann := newPeopledHouse(t)
			first := h.tokensOf("app", ann, "read")
			other := h.tokensOf("app", ann, "read")
			last := first
			for range test.uses {
				last = h.gives(h.askByRefresh("app", last.refresh))
			}
			h.pass(test.wait)
			h.told()
			h.fault(h.askByRefresh("app", first.refresh, "scope", "admin"), 400, "invalid_grant")
			events := h.told()
			if len(events) != 2 || events[0].Type != RefreshTokenReused || events[0].ClientID != "app" ||
				events[0].UserID != ann.ID || events[0].FamilyID == "" {
				t.Errorf("told %+v", events)
			}
			h.fault(h.askByRefresh("app", last.refresh), 400, "invalid_grant")
			if h.good(first.access) || h.good(last.access) {
				t.Error("an access token of the family is good")
			}
			if !h.good(other.access) {
				t.Error("another family has ended")
			}
			h.gives(h.askByRefresh("app", other.refresh))
		})
	}
}

// TestScopeWiderThanWasGranted: by a refresh, by a hierarchy, by `*`.
func TestScopeWiderThanWasGranted(t *testing.T) {
	h, ann := newPeopledHouse(t)
	boss := h.person("Boss", "admin", "read", "write")
	for _, test := range []struct {
		name, client   string
		user           *store.User
		granted, asked string
		want           string // the scope of the answer; "": refused
	}{
		{"another one", "app", ann, "read", "write", ""},
		{"one more", "app", ann, "read", "read write", ""},
		{"an unknown one", "app", ann, "read", "fly", ""},
		{"every one", "wide", ann, "read", "*", ""},
		{"the one that includes it", "wide", boss, "read", "admin", ""},
		{"the same", "app", ann, "read write", "write read", "write read"},
		{"one that it includes", "wide", boss, "admin", "read", "read"},
		{"malformed", "app", ann, "read", `re"ad`, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			h.t = t
			g := h.tokensOf(test.client, test.user, test.granted)
			r := h.askByRefresh(test.client, g.refresh, "scope", test.asked)
			if test.want == "" {
				h.fault(r, 400, "invalid_scope")
				h.gives(h.askByRefresh(test.client, g.refresh)) // it is not used up
				return
			}
			if got := h.gives(r); got.scope != test.want {
				t.Errorf("scope %q", got.scope)
			}
		})
	}
}

// TestScopeWiderThanThePersonHas: what the authorization endpoint has written is held against client and person once
// more when the code is redeemed.
func TestScopeWiderThanThePersonHas(t *testing.T) {
	h, ann := newPeopledHouse(t)
	cat := h.person("Cat", "write")
	nobody := h.person("Nobody", []string{}...)
	nobody.Limited = true
	h.update(func(r *store.Records) error { return r.PutUser(nobody) })
	for _, test := range []struct {
		name, client, granted string
		user                  *store.User
		want                  string // "-": refused
	}{
		{"a restricted one", "wide", "read admin", ann, "read"},
		{"one that includes a restricted one", "wide", "manage write", ann, "write"},
		{"every one", "wide", "*", ann, "-"},
		{"one of others", "app", "read write", cat, "write"},
		{"only of others", "app", "read", cat, "-"},
		{"none at all", "app", "read", nobody, "-"},
		{"more than the client has", "narrow", "read write", ann, "read"},
		{"nothing was asked for", "app", "", nobody, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			h.t = t
			r := h.askByCode(test.client, h.code(test.client, test.user, test.granted))
			if test.want == "-" {
				h.fault(r, 400, "invalid_grant")
				return
			}
			if g := h.gives(r); g.scope != test.want {
				t.Errorf("scope %q, want %q", g.scope, test.want)
			}
		})
	}
}

// TestGrantOfSomebodyGone: of a person who is disabled, deleted, or has ended everything since.
func TestGrantOfSomebodyGone(t *testing.T) {
	change := func(id string, fn func(*store.Records, *store.User) error) func(*store.Records) error {
		return func(r *store.Records) error {
			u, err := r.User(id)
			if err != nil {
				return err
			}
			return fn(r, u)
		}
	}
	for name, end := range map[string]func(*store.Records, *store.User) error{
		"disabled": func(r *store.Records, u *store.User) error { u.Disabled = true; return r.PutUser(u) },
		"disabled and enabled again": func(r *store.Records, u *store.User) error {
			u.Disabled = true
			if err := r.PutUser(u); err != nil {
				return err
			}
			u.Disabled = false
			return r.PutUser(u)
		},
		"deleted":   func(r *store.Records, u *store.User) error { return r.DeleteUser(u.ID) },
		"ended all": func(r *store.Records, u *store.User) error { return r.EndUser(u) },
	} {
		t.Run(name, func(t *testing.T) {
			h, ann := newPeopledHouse(t)
			g := h.tokensOf("app", ann, "read")
			code := h.code("app", ann, "read")
			device, _ := h.device("app", "read")
			h.answer(device, ann, store.DeviceApproved)
			pat, _, err := h.issuer.CreatePersonalToken(t.Context(), ann.ID, "x", nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			h.update(change(ann.ID, end))
			h.fault(h.askByRefresh("app", g.refresh), 400, "invalid_grant")
			h.fault(h.askByCode("app", code), 400, "invalid_grant")
			h.fault(h.askByDevice("app", device), 400, "invalid_grant")
			if h.good(g.access) || h.good(pat) {
				t.Error("a token is good")
			}
		})
	}
}

// TestGrantsSecretsInQuery: what a grant takes belongs into the body, for URLs end up in logs.
func TestGrantsSecretsInQuery(t *testing.T) {
	h, ann := newPeopledHouse(t)
	g := h.tokensOf("app", ann, "read")
	code := h.code("app", ann, "read")
	device, _ := h.device("app", "read")
	h.answer(device, ann, store.DeviceApproved)
	for query, r := range map[string]*http.Request{
		"code=" + code:                              h.askByCode("app", code),
		"code_verifier=" + testVerifier:             h.askByCode("app", code),
		"redirect_uri=" + testRedirect:              h.askByCode("app", code),
		"refresh_token=" + g.refresh:                h.askByRefresh("app", g.refresh),
		"device_code=" + device:                     h.askByDevice("app", device),
		"password=" + url.QueryEscape(bensPassword): h.askByPassword("app", "ann", bensPassword),
		"username=ann":                              h.askByPassword("app", "ann", bensPassword),
	} {
		name, _, _ := strings.Cut(query, "=")
		t.Run(name, func(t *testing.T) {
			h.t = t
			r.URL.RawQuery = query
			h.fault(r, 400, "invalid_request")
			_ = r.ParseForm()
			form := r.PostForm
			form.Del(name) // the query alone
			h.fault(request("/oauth/token?"+query, form), 400, "invalid_request")
		})
	}
	h.t = t
	h.gives(h.askByCode("app", code))
}

// TestGrantsParameterSentTwice: which of the two counts is nobody's guess (RFC 6749 §3.2).
func TestGrantsParameterSentTwice(t *testing.T) {
	h, ann := newPeopledHouse(t)
	g := h.tokensOf("app", ann, "read")
	code := h.code("app", ann, "read")
	for _, r := range []*http.Request{h.askByCode("app", code), h.askByRefresh("app", g.refresh, "scope", "read")} {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		for pair := range strings.SplitSeq(string(body), "&") {
			twice := request("/oauth/token", nil)
			text := string(body) + "&" + pair
			twice.Body, twice.ContentLength = io.NopCloser(strings.NewReader(text)), int64(len(text))
			h.fault(twice, 400, "invalid_request")
		}
	}
	h.gives(h.askByCode("app", code))
	h.gives(h.askByRefresh("app", g.refresh))
}

// TestClientThatMayNotUseTheGrant, nor one that is off.
func TestClientThatMayNotUseTheGrant(t *testing.T) {
	h, ann := newPeopledHouse(t)
	g := h.tokensOf("site", ann, "read")
	code := h.code("orders-sync", ann, "read")
	for _, r := range []*http.Request{
		h.askByCode("orders-sync", code), h.askByRefresh("orders-sync", g.refresh),
		h.askByDevice("orders-sync", store.NewSecret(store.DeviceCode)),
		h.askByPassword("orders-sync", "ann", bensPassword), h.askByRefresh("once", g.refresh),
	} {
		h.fault(r, 400, "unauthorized_client")
	}
	h.fault(h.ask("once", "implicit"), 400, "unsupported_grant_type")
	h.fault(h.ask("app", "personal_access"), 400, "unsupported_grant_type")
	h.gives(h.askByRefresh("site", g.refresh))

	off := newHouse(t, func(c *Config) {
		peopled(c)
		c.Grants = []string{"client_credentials"}
		for i := range c.Clients {
			c.Clients[i].Grants = []string{"client_credentials"}
		}
	})
	for _, grantType := range []string{"authorization_code", "refresh_token", deviceCode.wire, "password", "implicit"} {
		off.fault(off.ask("site", grantType, "code", code, "refresh_token", g.refresh), 400, "unsupported_grant_type")
	}
}

// TestAnothersRefreshTokenRevoked: only the client that has it can (RFC 7009 §2.1), and a personal access token is
// nobody's but its person's.
func TestAnothersRefreshTokenRevoked(t *testing.T) {
	h, ann := newPeopledHouse(t)
	g := h.tokensOf("site", ann, "read")
	pat, _, err := h.issuer.CreatePersonalToken(t.Context(), ann.ID, "x", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	h.told()
	for _, client := range []string{"other", "app", "api", "site"} {
		if client != "site" {
			h.revokes(client, g.refresh, "refresh_token")
			h.revokes(client, g.access, "access_token")
		}
		h.revokes(client, pat, "")
	}
	if !h.good(pat) || !h.good(g.access) || h.toldOf() != "" {
		t.Error("another client has revoked it")
	}
	h.gives(h.askByRefresh("site", g.refresh))
}

// TestAnothersRefreshTokenIntrospected: nobody else hears of it (RFC 7662 §4).
func TestAnothersRefreshTokenIntrospected(t *testing.T) {
	h, ann := newPeopledHouse(t)
	g := h.tokensOf("site", ann, "read")
	pat, _, err := h.issuer.CreatePersonalToken(t.Context(), ann.ID, "x", []string{"read"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, client := range []string{"other", "orders-sync"} {
		for _, token := range []string{g.refresh, g.access, pat} {
			if o := h.introspect(client, token); o["active"] != false || len(o) != 1 {
				t.Errorf("%s: %v", client, o)
			}
		}
	}
	if o := h.introspect("api", pat); o["active"] != true || o["sub"] != ann.ID || o["scope"] != "read" ||
		o["client_id"] != PersonalAccessClient || o["username"] != "Ann" {
		t.Errorf("the resource server hears %v", o)
	}
}

// TestGrantAsAccessToken: neither code nor refresh token nor device code opens anything.
func TestGrantAsAccessToken(t *testing.T) {
	h, ann := newPeopledHouse(t)
	g := h.tokensOf("app", ann, "read")
	device, _ := h.device("app", "read")
	h.answer(device, ann, store.DeviceApproved)
	for _, secret := range []string{g.refresh, h.code("app", ann, "read"), device} {
		if h.good(secret) {
			t.Errorf("%.12s is taken for an access token", secret)
		}
	}
}
