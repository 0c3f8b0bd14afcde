//go:build linux

package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"
)

const (
	revocations   = 300             // how many the lag is measured with
	lagOfInterest = 5 * time.Second // longer than any that a bar allows
)

// nodes measures how long a revocation on one node takes to hold on another, while both issue tokens.
func (s *suite) nodes(ctx context.Context) (rows []*row, err error) {
	var tb serverTB
	defer tb.end(&err)
	database := s.postgres(&tb).Database()
	m, err := newMint("ES256")
	if err != nil {
		return nil, err
	}
	var two [2]*gateway
	for n := range two {
		g, err := s.newGateway(fmt.Sprintf("nodes-%d", n+1), "ES256")
		if err != nil {
			return nil, err
		}
		g.storage, g.key = "postgres "+database, m.pem
		if n > 0 {
			g.issuer = two[0].issuer
		}
		m.issuer = g.issuer
		if err := s.launch(ctx, g, func() (*http.Request, error) { return readyAt(g, m) }); err != nil {
			return nil, err
		}
		two[n] = g
	}
	idle, err := idleCPU(ctx, two[1])
	if err != nil {
		return nil, err
	}
	load, stop := context.WithCancel(ctx)
	defer stop()
	for _, g := range two {
		go func() {
			for load.Err() == nil {
				_, _ = g.issue(load) // what becomes of it is not measured
			}
		}()
	}
	var lags []float64
	for range revocations {
		lag, err := lagOf(ctx, two[0], two[1])
		if err != nil {
			return nil, err
		}
		lags = append(lags, lag.Seconds())
	}
	slices.Sort(lags)
	at := func(q float64) float64 { return lags[int(q*float64(len(lags)-1))] }
	r := &row{
		Work: "a revocation on another node, PostgreSQL, both issue tokens", Value: at(0.99),
		bars: []bar{
			valueAtMost("p99", 1, " s"),
			{"median", func(*row) float64 { return 1e3 * at(0.5) }, false, 100, " ms"},
		},
		Measured: fmt.Sprintf("p99 %.0f ms, median %.0f ms, most %.0f ms of %d",
			1e3*at(0.99), 1e3*at(0.5), 1e3*at(1), len(lags)),
	}
	r.settle()
	return []*row{r, {
		Work: "a node on PostgreSQL that has nothing to do", Measured: fmt.Sprintf("%.1f ms of CPU a second", 1e3*idle),
	}}, nil
}

// idleCPU is how much of a second of the CPU a node uses in one when nobody asks it for anything.
func idleCPU(ctx context.Context, g *gateway) (float64, error) {
	const length = 3 * time.Second
	before, err := cpuTime(g.pid())
	if err != nil {
		return 0, err
	}
	select {
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-time.After(length):
	}
	after, err := cpuTime(g.pid())
	return (after - before).Seconds() / length.Seconds(), err
}

// lagOf is how long after the answer to its revocation on a node a token was let through by another.
func lagOf(ctx context.Context, a, b *gateway) (time.Duration, error) {
	token, err := a.issue(ctx)
	if err != nil {
		return 0, err
	}
	if err := expect(ctx, b, token, http.StatusOK); err != nil {
		return 0, err
	}
	if err := a.call(ctx, "/oauth/revoke", url.Values{"token": {token}}, clientID, clientSecret, nil); err != nil {
		return 0, err
	}
	began := time.Now()
	for time.Since(began) < lagOfInterest {
		status, err := b.present(ctx, token)
		switch {
		case err != nil:
			return 0, err
		case status == http.StatusUnauthorized:
			return time.Since(began), nil
		}
		time.Sleep(time.Millisecond)
	}
	return 0, fmt.Errorf("a revoked token is good on another node after %v", lagOfInterest)
}

// readyAt is a request with a new token to a node: the issuer's identifier is the first node's address.
func readyAt(g *gateway, m *mint) (*http.Request, error) {
	token, err := m.token()
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequest(http.MethodGet, "http://"+g.guarded+"/orders", nil)
	if err == nil {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	return request, err
}
