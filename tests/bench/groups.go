//go:build linux

package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
)

// connections is how many clients there are at a time where nothing else is said.
const connections = 64

// warmTokens is how many tokens are in use where it is more than one.
const warmTokens = 20_000

// registered is a client that the store keeps; the others are in the config.
var registered = store.Client{
	ID: store.NewID(time.Now()), Name: "Registered", SecretHash: store.HashSecret(clientSecret),
	Grants: []string{"client_credentials"}, Scopes: []string{"read", "write"},
}

// issuerGateway starts a gateway with an issuer, and waits until it lets a token through.
func (s *suite) issuerGateway(ctx context.Context, name, algorithm string) (*gateway, *mint, error) {
	m, err := newMint(algorithm)
	if err != nil {
		return nil, nil, err
	}
	g, err := s.newGateway(name, algorithm)
	if err != nil {
		return nil, nil, err
	}
	m.issuer = g.issuer
	g.key = m.pem
	err = inStore(ctx, g.store(), func(db *store.DB) error {
		return db.Update(ctx, func(r *store.Records) error {
			client := registered
			return r.PutClient(&client)
		})
	})
	if err != nil {
		return nil, nil, err
	}
	return g, m, s.launch(ctx, g, m.ready)
}

// ready is a request with a new token: what the gateway has to let through when it is there.
func (m *mint) ready() (*http.Request, error) {
	token, err := m.token()
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequest(http.MethodGet, m.issuer+"/orders", nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+token)
	return request, nil
}

// bareLeg is the site with reverse_proxy alone. It gets the requests that the guarded site gets, tokens included.
func bareLeg(name string, g *gateway, token string) *leg {
	return &leg{name: name, gateway: g, load: load{
		address: g.bare, requests: [][]byte{get(g.bare, token)}, clients: connections,
	}}
}

func guardedLeg(name string, g *gateway, tokens ...string) *leg {
	return &leg{name: name, gateway: g, load: load{
		address: g.guarded, requests: gets(g.guarded, tokens), clients: connections,
	}}
}

// policies: demands beside scopes.
func (s *suite) policies(ctx context.Context) (*group, error) {
	g, m, err := s.issuerGateway(ctx, "policies", "ES256")
	if err != nil {
		return nil, err
	}
	token, err := m.token()
	if err != nil {
		return nil, err
	}
	at := func(name, address, token string) *leg {
		return &leg{name: name, gateway: g, load: load{
			address: address, requests: [][]byte{get(address, token)}, clients: connections,
		}}
	}
	return &group{
		legs: []*leg{
			bareLeg("bare", g, token), guardedLeg("scopes", g, token),
			at("require", g.require, token), at("report_only", g.report, token), at("reported", g.report, "nonsense"),
		},
		rows: []*row{
			{Work: "passport_auth, scopes alone", leg: "scopes", base: "bare"},
			{Work: "require with three claims and the path", leg: "require", base: "bare", bars: []bar{cpuAtMost(1.07)}},
			{Work: "report_only, good token", leg: "report_only", base: "bare", bars: []bar{cpuAtMost(1.06)}},
			{Work: "report_only, what would be refused", leg: "reported", base: "bare"},
		},
	}, nil
}

// freshLeg sends tokens that nobody has seen.
func freshLeg(name string, g *gateway, m *mint, most int) *leg {
	l := guardedLeg(name, g)
	l.most = most
	l.fresh = func(n int) ([][]byte, error) {
		tokens, err := m.tokens(n)
		return gets(g.guarded, tokens), err
	}
	return l
}

// warm: tokens that the gateway has seen before.
func (s *suite) warm(ctx context.Context) (*group, error) {
	g, m, err := s.issuerGateway(ctx, "warm", "ES256")
	if err != nil {
		return nil, err
	}
	plain, err := s.newGateway("plain", "")
	if err != nil {
		return nil, err
	}
	if err := s.launch(ctx, plain, nil); err != nil {
		return nil, err
	}
	tokens, err := m.tokens(warmTokens)
	if err != nil {
		return nil, err
	}
	many := guardedLeg("20,000 tokens", g, tokens...)
	many.whole = true
	return &group{
		legs: []*leg{
			bareLeg("bare", g, tokens[0]),
			guardedLeg("one token", g, tokens[0]),
			many,
			bareLeg("bare, no issuer", plain, tokens[0]),
		},
		rows: []*row{
			{Work: "bare reverse_proxy", leg: "bare"},
			{Work: "bare reverse_proxy, Caddy without issuer", leg: "bare, no issuer", base: "bare"},
			{Work: "passport_auth, one token, warm", leg: "one token", base: "bare",
				bars: []bar{cpuAtMost(1.05), rateAtLeast(0.95)}},
			{Work: "passport_auth, 20,000 tokens, warm", leg: "20,000 tokens", base: "bare",
				bars: []bar{cpuAtMost(1.12)}},
		},
	}, nil
}

// fresh: tokens that have to be verified, good and bad ones.
func (s *suite) fresh(ctx context.Context) (*group, error) {
	g, m, err := s.issuerGateway(ctx, "fresh", "ES256")
	if err != nil {
		return nil, err
	}
	token, err := m.token()
	if err != nil {
		return nil, err
	}
	forged, err := m.forged(warmTokens)
	if err != nil {
		return nil, err
	}
	revoked, err := g.revoked(ctx, 1000)
	if err != nil {
		return nil, err
	}
	forgedLeg := guardedLeg("forged", g, forged...)
	forgedLeg.refused = true
	revokedLeg := guardedLeg("revoked", g, revoked...)
	revokedLeg.refused = true
	return &group{
		legs: []*leg{bareLeg("bare", g, token), freshLeg("never seen", g, m, 1<<20), forgedLeg, revokedLeg},
		rows: []*row{
			{Work: "ES256, every token never seen", leg: "never seen", base: "bare", bars: []bar{cpuAtMost(1.75)}},
			{Work: "ES256, forged tokens, to good ones never seen", leg: "forged", base: "never seen",
				bars: []bar{cpuAtMost(1)}},
			{Work: "ES256, revoked tokens, to good ones never seen", leg: "revoked", base: "never seen",
				bars: []bar{cpuAtMost(1)}},
		},
	}, nil
}

// flood: good tokens beside forged ones, of which there come a thousand a second.
func (s *suite) flood(ctx context.Context) (*group, error) {
	g, m, err := s.issuerGateway(ctx, "flood", "ES256")
	if err != nil {
		return nil, err
	}
	tokens, err := m.tokens(warmTokens)
	if err != nil {
		return nil, err
	}
	forged, err := m.forged(warmTokens)
	if err != nil {
		return nil, err
	}
	revoked, err := g.revoked(ctx, 1000)
	if err != nil {
		return nil, err
	}
	alone := guardedLeg("alone", g, tokens...)
	alone.whole = true
	made := &group{legs: []*leg{alone}}
	for _, bad := range []struct {
		name   string
		tokens []string
	}{{"forged", forged}, {"revoked", revoked}} {
		flood := func() *leg {
			l := guardedLeg(bad.name, g, bad.tokens...)
			l.refused = true
			l.load.clients = 16
			return l
		}
		beside := guardedLeg("beside "+bad.name, g, tokens...)
		beside.beside = flood()
		beside.beside.load.pause = 12 * time.Millisecond // 16 connections: up to 1,300 a second
		made.legs = append(made.legs, beside, flood())
		made.rows = append(made.rows, &row{
			Work: "good tokens beside 1,000 " + bad.name + " a second, to alone", leg: beside.name,
			base: "alone", flood: bad.name, bars: []bar{cpuAtMost(1.05), rateAtLeast(0.9)},
		})
	}
	return made, nil
}

// gateOf is the gateway's work for another algorithm.
func (s *suite) gateOf(algorithm string, most int) func(context.Context) (*group, error) {
	return func(ctx context.Context) (*group, error) {
		g, m, err := s.issuerGateway(ctx, "gate-"+algorithm, algorithm)
		if err != nil {
			return nil, err
		}
		token, err := m.token()
		if err != nil {
			return nil, err
		}
		forged, err := m.forged(warmTokens)
		if err != nil {
			return nil, err
		}
		forgedLeg := guardedLeg("forged", g, forged...)
		forgedLeg.refused = true
		return &group{
			legs: []*leg{
				bareLeg("bare", g, token), guardedLeg("one token", g, token), freshLeg("never seen", g, m, most),
				forgedLeg,
			},
			rows: []*row{
				{Work: algorithm + ", one token, warm", leg: "one token", base: "bare",
					bars: []bar{cpuAtMost(1.05), rateAtLeast(0.95)}},
				{Work: algorithm + ", every token never seen", leg: "never seen", base: "bare"},
				{Work: algorithm + ", forged tokens, to good ones never seen", leg: "forged", base: "never seen",
					bars: []bar{cpuAtMost(1)}},
			},
		}, nil
	}
}

// tokenOf is what the token endpoint does, with every token on disk before it is answered.
func (s *suite) tokenOf(algorithm string) func(context.Context) (*group, error) {
	return func(ctx context.Context) (*group, error) {
		g, m, err := s.issuerGateway(ctx, "token-"+algorithm, algorithm)
		if err != nil {
			return nil, err
		}
		asked := func(name string, clients int, id string) *leg {
			return &leg{name: name, gateway: g, load: load{address: g.guarded, clients: clients, requests: [][]byte{
				post(g.guarded, "/oauth/token", credentialsGrant, id, clientSecret),
			}}}
		}
		row64 := &row{
			Work: algorithm + " tokens, 64 clients, to respond + a signature", leg: "64 clients",
			base: "respond", floor: "signature",
		}
		rowStored := &row{
			Work: algorithm + " tokens, 64 clients, the client in the store", leg: "64 clients, stored",
			base: "respond", floor: "signature",
		}
		row1 := &row{Work: algorithm + " tokens, one after the other", leg: "1 client"}
		if algorithm == "ES256" {
			row64.bars = []bar{cpuAtMost(2.2), p99AtMost(30 * time.Millisecond)}
			rowStored.bars = row64.bars
			// A thousand a second where a sync takes 0.25 ms: 0.75 ms are left for all else.
			row1.bars = []bar{absoluteRateAtLeast(1 / (0.75e-3 + max(s.sync.Over.Seconds(), 0.25e-3)))}
		}
		return &group{
			legs: []*leg{
				{name: "respond", gateway: g, load: load{address: g.respond, clients: connections, requests: [][]byte{
					post(g.respond, "/oauth/token", credentialsGrant, clientID, clientSecret),
				}}},
				{name: "signature", inProcess: m.signature},
				asked("64 clients", connections, clientID), asked("64 clients, stored", connections, registered.ID),
				asked("8 clients", 8, clientID), asked("1 client", 1, clientID),
			},
			rows: []*row{
				{Work: "respond to the same POST", leg: "respond"},
				{Work: "one " + algorithm + " signature of the standard library", leg: "signature"},
				row64, rowStored,
				{Work: algorithm + " tokens, 8 clients", leg: "8 clients"},
				row1,
			},
		}, nil
	}
}

// introspect asks the issuer about live tokens.
func (s *suite) introspect(ctx context.Context) (*group, error) {
	g, _, err := s.issuerGateway(ctx, "introspect", "ES256")
	if err != nil {
		return nil, err
	}
	tokens, err := g.issueMany(ctx, 1000, func(token string) error {
		var answer struct{ Active bool }
		err := g.call(ctx, "/oauth/introspect", url.Values{"token": {token}}, serverID, serverSecret, &answer)
		if err == nil && !answer.Active {
			err = fmt.Errorf("a live token is said not to be active")
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	asked := func(name, address string) *leg {
		l := &leg{name: name, gateway: g, load: load{address: address, clients: connections}}
		for _, token := range tokens {
			l.load.requests = append(l.load.requests,
				post(address, "/oauth/introspect", url.Values{"token": {token}}, serverID, serverSecret))
		}
		return l
	}
	return &group{
		legs: []*leg{asked("respond", g.respond), asked("introspect", g.guarded)},
		rows: []*row{
			{Work: "introspection, 1,000 live tokens, to respond", leg: "introspect", base: "respond",
				bars: []bar{cpuAtMost(2.5)}},
		},
	}, nil
}
