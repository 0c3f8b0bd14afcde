package caddymodule

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/oauth2-passport/caddy-passport/issuer/verify"
)

func TestMatcherMatchesGoodTokensOnly(t *testing.T) {
	h := newHouse(t, `
		@admin passport scopes admin
		@any passport any_scope admin write
		@person passport subject user
		@brief passport clients brief
		@elsewhere passport audience https://other.example
		@token passport
		@both {
			passport {
				scopes read write
				subject client
				clients demo
			}
		}
		header @admin +X-Is admin
		header @any +X-Is any
		header @person +X-Is person
		header @brief +X-Is brief
		header @elsewhere +X-Is elsewhere
		header @token +X-Is token
		header @both +X-Is both
		header X-Who "<{passport.subject}>"
		respond ok`)
	read, both, admin := h.token("read"), h.token("read write"), h.token("admin")
	revoked := h.token("admin")
	h.revoke(revoked)
	tests := map[string]struct {
		fields []string
		want   string
	}{
		"no token":      {nil, ""},
		"read":          {[]string{bearer(read)}, "token"},
		"read, write":   {[]string{bearer(both)}, "any token both"},
		"admin":         {[]string{bearer(admin)}, "admin any token"},
		"all":           {[]string{bearer(h.token("*"))}, "admin any token both"},
		"brief":         {[]string{bearer(h.tokenOf("brief", "read"))}, "brief token"},
		"revoked":       {[]string{bearer(revoked)}, ""},
		"forged":        {[]string{bearer(admin[:len(admin)-4] + "AAAA")}, ""},
		"malformed":     {[]string{"Bearer"}, ""},
		"two":           {[]string{bearer(admin), bearer(admin)}, ""},
		"anothe scheme": {[]string{"Basic YTpi"}, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			h.t = t
			var fields []string
			for _, f := range test.fields {
				fields = append(fields, "Authorization", f)
			}
			resp := h.get("/", append(fields, "X-Passport-Scope", "admin", "X-Passport-Subject", "root")...)
			if got := strings.Join(resp.header["X-Is"], " "); resp.status != http.StatusOK || got != test.want {
				t.Errorf("%d, matches %q, want %q", resp.status, got, test.want)
			}
			if resp.header.Get("X-Who") != "<>" {
				t.Errorf("a match made somebody of the caller: %s", resp.header.Get("X-Who"))
			}
		})
	}
}

// TestMatcherSeesTokenThatHasBeenTaken: passport_auth takes the token from the request, and a matcher comes after it.
func TestMatcherSeesTokenThatHasBeenTaken(t *testing.T) {
	h := newHouse(t, `
		route {
			passport_auth
			@admin passport scopes admin
			respond @admin "admin {passport.subject}"
			respond "other {passport.subject}"
		}`)
	for scope, want := range map[string]string{"admin": "admin demo", "read": "other demo"} {
		if resp := h.get("/", "Authorization", bearer(h.token(scope))); resp.body != want {
			t.Errorf("%d %s, want %s", resp.status, resp.body, want)
		}
	}
}

// TestMatcherMatchesSessions: where passport_auth lets a person pass, a matcher can tell what the person may do.
func TestMatcherMatchesSessions(t *testing.T) {
	h := newHouse(t, "")
	read := h.token("read")
	_, cookie := h.person()
	csrf := verify.CSRFToken("http " + cookie)
	for name, directives := range map[string]string{
		"beside passport_auth": "passport_auth {\n session\n optional\n}", "alone": "",
	} {
		h.load("http://{$ADDR} {\n" + directives + `
			@write passport {
				session
				scopes write
			}
			@client passport session {
				subject client
			}
			@token passport scopes write
			header @write +X-Is write
			header @client +X-Is client
			header @token +X-Is token
			respond ok
		}`)
		for _, test := range []struct {
			name, method string
			fields       []string
			want         string
		}{
			{"nobody", "GET", nil, ""},
			{"looks", "GET", []string{"Cookie", "passport_session=" + cookie}, "write"},
			{"another cookie", "GET", []string{"Cookie", "passport_session=x"}, ""},
			{"forged", "POST", []string{"Cookie", "passport_session=" + cookie}, ""},
			{"of another site", "GET", []string{
				"Cookie", "passport_session=" + cookie, "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors",
			}, ""},
			{"with the token against forgery", "POST", []string{
				"Cookie", "passport_session=" + cookie, "X-Xsrf-Token", csrf,
			}, "write"},
			{"a bearer token wins", "GET", []string{
				"Cookie", "passport_session=" + cookie, "Authorization", bearer(read),
			}, "client"},
		} {
			t.Run(name+", "+test.name, func(t *testing.T) {
				resp := h.send(test.method, "/", test.fields...)
				if got := strings.Join(resp.header["X-Is"], " "); got != test.want {
					t.Errorf("%d matches %q, want %q", resp.status, got, test.want)
				}
			})
		}
	}
}

func TestMatcherCaddyfile(t *testing.T) {
	tests := map[string]struct{ in, want string }{
		"alone":    {`passport`, `{}`},
		"one line": {`passport scopes a b`, `{"scopes":["a","b"]}`},
		"another":  {`passport subject user`, `{"subject":"user"}`},
		"line and block": {"passport scopes a {\n subject client\n issuer x\n}",
			`{"issuer":"x","scopes":["a"],"subject":"client"}`},
		"block": {"passport {\n any_scope a b\n audience u v\n clients c d\n}",
			`{"any_scope":["a","b"],"audience":["u","v"],"clients":["c","d"]}`},
		"session":           {"passport session {\n scopes a\n}", `{"scopes":["a"],"session":true}`},
		"session twice":     {"passport session {\n session\n}", `repeated`},
		"session of a name": {`passport session ada`, `wrong argument count`},
		"unknown":           {`passport scope a`, `unknown option "scope"`},
		"unknown in block":  {"passport {\n realm x\n}", `unknown option "realm"`},
		"no value":          {`passport scopes`, `wrong argument count`},
		"surplus":           {`passport subject user client`, `wrong argument count`},
		"bad subject":       {`passport subject robot`, `unknown subject "robot"`},
		"repeated":          {"passport scopes a {\n scopes b\n}", `repeated`},
		"repeated in block": {"passport {\n clients a\n clients b\n}", `repeated`},
		"value twice":       {`passport scopes a a`, `repeated`},
		"two matchers":      {"passport scopes a\npassport scopes b", `repeated`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var m Matcher
			var got string
			if err := m.UnmarshalCaddyfile(caddyfile.NewTestDispenser(test.in)); err != nil {
				got = err.Error()
			} else {
				text, err := json.Marshal(&m)
				if err != nil {
					t.Fatal(err)
				}
				got = string(text)
			}
			if !strings.Contains(got, test.want) {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}
