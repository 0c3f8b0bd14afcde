//go:build linux

package main

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
)

const (
	grantsEach  = 4000   // codes, and refresh tokens, of one measurement
	grantsStock = 64_000 // of each that a gateway has in stock
	grantsUsers = 5_000  // people whose they are
	verifier    = "a-code-verifier-of-the-benchmarks-0123456789abcdef"
)

// stock is codes and refresh tokens that are in a gateway's store, each good for one request.
type stock struct{ codes, refresh [][]byte }

// take takes requests out of a stock.
func take(from *[][]byte, n int) ([][]byte, error) {
	if n > len(*from) {
		return nil, errors.New("the stock is used up: run fewer rounds")
	}
	taken := (*from)[:n]
	*from = (*from)[n:]
	return taken, nil
}

// grants is what codes and refresh tokens cost, beside a token of the same client for itself.
func (s *suite) grants(ctx context.Context) ([]*row, error) {
	var g group
	for twin := range g.legs {
		var stock stock
		one, m, err := s.issuerGateway(ctx, fmt.Sprintf("grants-%d", twin+1), "ES256", func(g *gateway) {
			g.seed = func(ctx context.Context, db *store.DB) error { return stock.fill(ctx, g, db) }
		})
		if err != nil {
			return nil, err
		}
		g.mint = m
		at := load{address: one.guarded, clients: connections}
		base := &leg{name: "client_credentials", gateway: one, load: at}
		base.load.requests = [][]byte{post(one.guarded, "/oauth/token", credentialsGrant, appID, clientSecret)}
		g.legs[twin] = []*leg{
			base,
			{
				name: "code", gateway: one, load: at, most: grantsEach,
				fresh: func(n int) ([][]byte, error) { return take(&stock.codes, n) },
			},
			{
				name: "refresh", gateway: one, load: at, most: grantsEach,
				fresh: func(n int) ([][]byte, error) { return take(&stock.refresh, n) },
			},
		}
	}
	g.rows = []*row{
		{Work: "ES256 token for the client itself, 64 clients", leg: "client_credentials"},
		{
			Work: "code for tokens, to that", leg: "code", base: "client_credentials", bars: []bar{cpuAtMost(1.3)},
		},
		{
			Work: "refresh token for the next, to that", leg: "refresh", base: "client_credentials", bars: []bar{cpuAtMost(1.3)},
		},
	}
	if err := s.measure(ctx, &g); err != nil {
		return nil, err
	}
	return g.rows, s.profile(ctx, &g)
}

// fill puts people, codes and refresh tokens into the store of a gateway. Each refresh token has been refreshed once,
// as nearly all have in life.
func (k *stock) fill(ctx context.Context, g *gateway, db *store.DB) error {
	people := make([]string, grantsUsers)
	sum := sha256.Sum256([]byte(verifier))
	challenge := base64.RawURLEncoding.EncodeToString(sum[:])
	k.codes, k.refresh = make([][]byte, grantsStock), make([][]byte, grantsStock)
	request := func(form url.Values) []byte { return post(g.guarded, "/oauth/token", form, appID, clientSecret) }

	err := inBatches(ctx, db, grantsUsers, func(r *store.Records, i int) error {
		people[i] = store.NewID(r.Now())
		return r.PutUser(&store.User{ID: people[i], Name: fmt.Sprintf("Person %d", i), PasswordHash: challenge})
	})
	if err != nil {
		return err
	}
	err = inBatches(ctx, db, grantsStock, func(r *store.Records, i int) error {
		code := store.NewSecret(store.AuthorizationCode)
		k.codes[i] = request(url.Values{
			"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {appRedirect}, "code_verifier": {verifier},
		})
		return r.PutCode(store.HashSecret(code), &store.Code{
			ID: store.NewID(r.Now()), ClientID: appID, UserID: people[i%len(people)], Issuer: g.issuer,
			RedirectURI: appRedirect, RedirectSent: true, Scopes: []string{"read"}, Challenge: challenge,
			AuthenticatedAt: r.Now(), IssuedAt: r.Now(), ExpiresAt: r.Now().Add(time.Hour),
		})
	})
	if err != nil {
		return err
	}
	return inBatches(ctx, db, grantsStock, func(r *store.Records, i int) error {
		f := &store.Family{
			ID: store.NewID(r.Now()), ClientID: appID, UserID: people[i%len(people)], Issuer: g.issuer,
			Grant: "authorization_code", Scopes: []string{"read"}, AuthenticatedAt: r.Now(),
			ExpiresAt: r.Now().Add(30 * 24 * time.Hour),
		}
		first := f.NewRefreshToken()
		if err := r.PutFamily(f, first, 24*time.Hour); err != nil {
			return err
		}
		next, _, err := r.Rotate(f, first, 24*time.Hour, time.Minute)
		k.refresh[i] = request(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {next}})
		return err
	})
}

// inBatches calls do for each of n, some in one transaction.
func inBatches(ctx context.Context, db *store.DB, n int, do func(r *store.Records, i int) error) error {
	const batch = 500
	return inParallel((n+batch-1)/batch, 8, func(b int) error {
		return db.Update(ctx, func(r *store.Records) error {
			for i := b * batch; i < min(n, (b+1)*batch); i++ {
				if err := do(r, i); err != nil {
					return err
				}
			}
			return nil
		})
	})
}
