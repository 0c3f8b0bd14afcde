package issuer

import (
	"reflect"
	"testing"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
)

// TestCodeForTokens: what a code gives, and what is kept and told of it.
func TestCodeForTokens(t *testing.T) {
	h, ann := newPeopledHouse(t)
	at := h.db.Now().Add(-time.Hour)
	code := h.code("app", ann, "write read", func(c *store.Code) { c.AuthenticatedAt = at })
	if kind, ok := store.ParseSecret(code); !ok || kind != store.AuthorizationCode {
		t.Errorf("code %q", code)
	}
	h.told()
	g := h.gives(h.askByCode("app", code))
	if kind, ok := store.ParseSecret(g.refresh); !ok || kind != store.RefreshToken || g.scope != "write read" {
		t.Errorf("%+v", g)
	}
	header, claims := decodeJWT(t, g.access)
	iat, _ := claims["iat"].(float64)
	want := map[string]any{
		"iss": testIdentifier, "sub": ann.ID, "aud": testIdentifier, "client_id": "app", "scope": "write read",
		"iat": iat, "exp": iat + 3600, "jti": claims["jti"], "preferred_username": "Ann",
		"auth_time": float64(at.Unix()), "grant_id": claims["grant_id"],
	}
	if !reflect.DeepEqual(claims, want) || header["typ"] != "at+jwt" {
		t.Errorf("%v\nwant %v", claims, want)
	}
	if !h.good(g.access) {
		t.Error("the token is not good")
	}
	events := h.told()
	if len(events) != 2 || events[0].Type != TokenIssued || events[1].Type != RefreshTokenCreated {
		t.Fatalf("%+v", events)
	}
	record, err := h.issuer.Token(t.Context(), claims["jti"].(string))
	if err != nil {
		t.Fatal(err)
	}
	if record.UserID != ann.ID || record.FamilyID != claims["grant_id"] || record.Grant != "authorization_code" {
		t.Errorf("%+v", record)
	}
	for _, e := range events {
		if e.UserID != ann.ID || e.ClientID != "app" || e.FamilyID != record.FamilyID || e.Grant != "authorization_code" {
			t.Errorf("%+v", e)
		}
	}
}

// TestRefreshTokensAreForClientsThatMayUseThem: a client whose grants do without gets none, and nobody does where the
// grant is off.
func TestRefreshTokensAreForClientsThatMayUseThem(t *testing.T) {
	h, ann := newPeopledHouse(t)
	if g := h.tokensOf("once", ann, "read"); g.refresh != "" {
		t.Error("a client that may not use a refresh token has one")
	}
	h, ann = newPeopledHouse(t, func(c *Config) { c.Grants = []string{"authorization_code"}; c.Clients = nil })
	client, secret, err := h.issuer.CreateClient(t.Context(), store.Client{
		Name: "x", Grants: []string{"authorization_code"}, RedirectURIs: []string{testRedirect},
	})
	if err != nil {
		t.Fatal(err)
	}
	r := h.askByCode(client.ID, h.code(client.ID, ann, "read"))
	r.Header.Set("Authorization", basic(client.ID, secret))
	if g := h.gives(r); g.refresh != "" {
		t.Error("the grant is off, and gives a refresh token")
	}
}

// TestRedirectURIMayBeLeftOut: where the authorization request did not have it, the token request need not either (RFC
// 6749 §4.1.3).
func TestRedirectURIMayBeLeftOut(t *testing.T) {
	h, ann := newPeopledHouse(t)
	notSent := func(c *store.Code) { c.RedirectSent = false }
	h.gives(h.ask("app", "authorization_code", "code", h.code("app", ann, "read", notSent), "code_verifier", testVerifier))
	h.gives(h.askByCode("app", h.code("app", ann, "read", notSent)))
	h.fault(h.ask("app", "authorization_code", "code", h.code("app", ann, "read", notSent), "code_verifier", testVerifier,
		"redirect_uri", testRedirect+"/"), 400, "invalid_grant")
}

// TestCodeWithoutChallenge: an issuer may do without PKCE for clients that have a secret.
func TestCodeWithoutChallenge(t *testing.T) {
	h, ann := newPeopledHouse(t)
	without := func(c *store.Code) { c.Challenge = "" }
	h.gives(h.ask("site", "authorization_code", "code", h.code("site", ann, "read", without), "redirect_uri", testRedirect))
}

// TestCodesResources: a token is for some of what the code was asked for (RFC 8707 §2.2).
func TestCodesResources(t *testing.T) {
	h, ann := newPeopledHouse(t)
	h.issuer.NameResources("urn:a", "urn:b", "urn:c")
	for _, test := range []struct {
		name, asked, resource string
		granted               []string
		want                  any
	}{
		{"all that was granted", "", "", []string{"urn:a", "urn:b"}, []any{"urn:a", "urn:b"}},
		{"one of it", "", "urn:b", []string{"urn:a", "urn:b"}, "urn:b"},
		{"another one", "", "urn:c", []string{"urn:a", "urn:b"}, nil},
		{"an unknown one", "", "urn:d", []string{"urn:a"}, nil},
		{"nothing was named", "", "urn:c", nil, "urn:c"},
		{"nothing at all", "", "", nil, testIdentifier},
	} {
		t.Run(test.name, func(t *testing.T) {
			h.t = t
			code := h.code("app", ann, "read", func(c *store.Code) { c.Audience = test.granted })
			ask := func(token ...string) any {
				r := h.ask("app", "authorization_code", "code", code, "redirect_uri", testRedirect, "code_verifier",
					testVerifier, "resource", test.resource)
				if token != nil {
					r = h.askByRefresh("app", token[0], "resource", test.resource)
				}
				if test.want == nil {
					h.fault(r, 400, "invalid_target")
					return nil
				}
				g := h.gives(r)
				_, claims := decodeJWT(t, g.access)
				if !reflect.DeepEqual(claims["aud"], test.want) {
					t.Errorf("aud %v, want %v", claims["aud"], test.want)
				}
				return g.refresh
			}
			if refresh, ok := ask().(string); ok {
				ask(refresh)
			}
		})
	}
}
