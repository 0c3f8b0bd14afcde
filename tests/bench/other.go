//go:build linux

package main

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwk"
)

const (
	otherAudience  = "orders-api" // `aud` of the other issuer's tokens
	introspectPath = "/introspect"
	opaqueToken    = "an-opaque-token-of-the-other-issuer-0123456789"
)

// otherIssuer is the issuer of tokens that are not our own: it publishes its key, and answers who asks about
// [opaqueToken]. It is in this process, and has nothing to do while a gateway remembers what it said.
type otherIssuer struct {
	mint   *mint
	url    string
	server *http.Server
}

func newOtherIssuer() (*otherIssuer, error) {
	m, err := newMint("ES256")
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	o := &otherIssuer{mint: m, url: "http://" + l.Addr().String()}
	m.issuer, m.audience = o.url, otherAudience
	key, err := jwk.FromRaw(m.signer.Public())
	if err == nil {
		err = jwk.AssignKeyID(key)
	}
	if err != nil {
		return nil, err
	}
	answers := map[string]any{
		"/.well-known/openid-configuration": map[string]any{"issuer": o.url, "jwks_uri": o.url + "/keys"},
		"/keys":                             map[string]any{"keys": []jwk.Key{key}},
		introspectPath: map[string]any{
			"active": true, "sub": "u-17", "client_id": clientID, "scope": "read write", "aud": otherAudience,
			"username": "ann", "exp": time.Now().Add(2 * time.Hour).Unix(),
		},
	}
	o.server = &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(
		func(w http.ResponseWriter, r *http.Request) {
			answer, ok := answers[r.URL.Path]
			if !ok {
				http.NotFound(w, r)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(answer)
		})}
	go func() { _ = o.server.Serve(l) }()
	return o, nil
}

// others: tokens of other issuers, and what the upstream gets in their place.
func others(_ context.Context, s *suite, g *gateway, m *mint) ([]*leg, []*row, error) {
	own, err := m.token()
	if err != nil {
		return nil, nil, err
	}
	foreign, err := s.other.mint.token()
	if err != nil {
		return nil, nil, err
	}
	at := func(name, address, token string) *leg {
		return &leg{name: name, gateway: g, load: load{
			address: address, requests: [][]byte{get(address, token)}, clients: connections,
		}}
	}
	return []*leg{
			bareLeg("bare", g, own), guardedLeg("own", g, own), at("trust", g.trust, foreign),
			at("introspect", g.introspect, opaqueToken), at("internal", g.internal, own),
		}, []*row{
			{Work: "trust, one token of another issuer, warm", leg: "trust", base: "bare", bars: []bar{cpuAtMost(1.05)}},
			{Work: "introspect, one token, the answer remembered", leg: "introspect", base: "bare",
				bars: []bar{cpuAtMost(1.05)}},
			{Work: "trust, to a token of our own", leg: "trust", base: "own"},
			{Work: "introspect, to a token of our own", leg: "introspect", base: "own"},
			{Work: "upstream_auth jwt, to a token of our own without it", leg: "internal", base: "own",
				bars: []bar{cpuAtMost(1.08)}},
		}, nil
}
