//go:build linux

package main

import (
	"context"
	"fmt"
	"time"

	"github.com/oauth2-passport/caddy-passport/issuer/verify"
	"github.com/oauth2-passport/caddy-passport/store"
)

// somebody is a person who has signed in with a browser, and has a personal access token. The records are written
// before a gateway begins, as the issuer would write them.
type somebody struct {
	user     store.User
	personal string // the token
	cookie   string // of the session, over plain HTTP
}

var person = somebody{
	user:     store.User{ID: store.NewID(time.Now()), Name: "ann", Email: "ann@example.com"},
	personal: store.NewSecret(store.PersonalAccessToken),
	cookie:   store.NewSecret(store.SessionSecret),
}

// secret is what proves the session: that a cookie of plain HTTP has it, is a part of it.
func (p *somebody) secret() string { return "http " + p.cookie }

// put writes the person's records.
func (p *somebody) put(r *store.Records) error {
	now := r.Now()
	user := p.user
	if err := r.PutUser(&user); err != nil {
		return err
	}
	now = now.Add(time.Millisecond)
	err := r.PutToken(&store.Token{
		ID: store.NewID(now), ClientID: "personal_access", UserID: user.ID, Scopes: []string{"read", "write"},
		IssuedAt: now, ExpiresAt: now.Add(24 * time.Hour), Personal: true, Name: "bench", Hash: store.HashSecret(p.personal),
	})
	if err != nil {
		return err
	}
	return r.PutSession(&store.Session{
		ID: store.NewID(now), Hash: store.HashSecret(p.secret()), UserID: user.ID, CreatedAt: now, AuthenticatedAt: now,
		SeenAt: now, IdleUntil: now.Add(2 * time.Hour), ExpiresAt: now.Add(12 * time.Hour),
	})
}

// look is the request of a page's script for data, with the browser's cookies.
func (p *somebody) look(address string) []byte {
	return fmt.Appendf(nil, "GET /orders HTTP/1.1\r\nHost: %s\r\nSec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: cors\r\n"+
		"Cookie: passport_session=%s; XSRF-TOKEN=%s\r\n\r\n", address, p.cookie, verify.CSRFToken(p.secret()))
}

// people: what comes from a person's script, and from a person's browser.
func people(_ context.Context, _ *suite, g *gateway, _ *mint) ([]*leg, []*row, error) {
	look := func(name string, g *gateway, address string) *leg {
		return &leg{name: name, gateway: g, load: load{
			address: address, requests: [][]byte{person.look(address)}, clients: connections,
		}}
	}
	return []*leg{
			bareLeg("bare, token", g, person.personal), guardedLeg("token", g, person.personal),
			look("bare, session", g.plain, g.plain.bare), look("session", g, g.session),
		}, []*row{
			{
				Work: "personal access token, warm", leg: "token", base: "bare, token", bars: []bar{cpuAtMost(1.05)},
			},
			{
				Work: "browser session, warm", leg: "session", base: "bare, session", bars: []bar{cpuAtMost(1.07)},
			},
		}, nil
}
