package tests

import (
	"io"
	"net/http"
	"testing"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/oauth2-passport/caddy-passport/tests/internal/gateway"
)

// TestGoOAuth2Client lets the OAuth client of the Go project get a token and call through the gateway. The client's
// name and secret hold every character that RFC 6749 section 2.3.1 wants encoded in HTTP Basic.
func TestGoOAuth2Client(t *testing.T) {
	const id, secret = "orders:sync+100%", "a+b c/d%e:f&g=h?i#j\"k'l@m~n_ü-0123456789"
	upstream := gateway.NewUpstream(t)
	g := gateway.Start(t, `{
	default_bind 127.0.0.1
	passport {
		client `+id+` {
			secret {env.CLIENT_SECRET}
			grants client_credentials
			scopes read
		}
	}
}

http://127.0.0.1:{$PORT} {
	passport_server
	passport_auth scopes read
	reverse_proxy {$UPSTREAM}
}
`, "UPSTREAM="+upstream.Addr, "CLIENT_SECRET="+secret)
	g.Secret(secret)

	for name, style := range map[string]oauth2.AuthStyle{
		"HTTP Basic":  oauth2.AuthStyleInHeader,
		"in the form": oauth2.AuthStyleInParams,
		"detected":    oauth2.AuthStyleAutoDetect,
	} {
		t.Run(name, func(t *testing.T) {
			config := clientcredentials.Config{
				ClientID: id, ClientSecret: secret, Scopes: []string{"read"},
				TokenURL: g.URL + "/oauth/token", AuthStyle: style,
			}
			token, err := config.Token(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			g.Secret(token.AccessToken)
			if token.Type() != "Bearer" || token.Extra("scope") != "read" || !token.Valid() {
				t.Errorf("the token's type %q, scope %v, expiry %v", token.Type(), token.Extra("scope"), token.Expiry)
			}
			resp, err := config.Client(t.Context()).Get(g.URL + "/orders")
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != http.StatusOK {
				t.Errorf("calling: %d %s %v", resp.StatusCode, body, err)
			}
			if got := upstream.Last().Header.Get("X-Passport-Client"); got != id {
				t.Errorf("the upstream was told of client %q", got)
			}
		})
	}
}
