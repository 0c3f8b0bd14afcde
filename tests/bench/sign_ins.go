//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/oauth2-passport/caddy-passport/issuer/verify"
)

// trustedProxy lets the sender say whom a request is from.
const trustedProxy = "\tservers {\n\t\ttrusted_proxies static 127.0.0.0/8\n\t}\n"

// savedUp is for how long a flood of sign-ins lives on what was saved up before it; afterwards it has its share.
const savedUp = 4 * time.Second

// signIns is what calls of the API keep of their speed beside a flood of sign-ins, for names that are nobody's, from as
// many addresses as there are requests, and how much memory Caddy has had in the end. Each measurement has one without
// the flood, first in every other round. The calls are as many as the machine can bear.
func (s *suite) signIns(ctx context.Context) ([]*row, error) {
	g, m, err := s.issuerGateway(ctx, "sign-ins", "ES256", func(g *gateway) { g.options = trustedProxy })
	if err != nil {
		return nil, err
	}
	token, err := m.token()
	if err != nil {
		return nil, err
	}
	calls := guardedLeg("calls", g, token)
	flood := &leg{name: "sign-ins", gateway: g, refused: true, load: load{
		address: g.guarded, requests: wrongSignIns(g.guarded, warmTokens), clients: connections,
	}}
	length := 5 * s.length
	var kept, attempts []float64
	for round := range s.rounds {
		var quiet, busy float64
		alone := func() error {
			taken, err := s.together(ctx, length, calls)
			if err == nil {
				quiet = taken[0].Rate
			}
			return err
		}
		beside := func() error {
			many := flood.load
			many.length = savedUp + length + savedUp
			var signIns answers
			done := make(chan error, 1)
			go func() {
				var err error
				if signIns, err = s.run(ctx, many); err == nil {
					err = flood.judge(signIns)
				}
				done <- err
			}()
			time.Sleep(savedUp)
			taken, err := s.together(ctx, length, calls)
			if err := errors.Join(err, <-done); err != nil {
				return err
			}
			time.Sleep(savedUp) // until none waits any more
			busy = taken[0].Rate
			attempts = append(attempts, float64(signIns.Answered)/many.length.Seconds())
			return nil
		}
		works := []func() error{alone, beside}
		for i := range works {
			if err := works[(i+round)%2](); err != nil {
				return nil, err
			}
		}
		kept = append(kept, busy/quiet)
		fmt.Fprintf(s.progress, "  round %2d  calls of the API: %.0f/s, beside %.0f sign-ins/s %.0f/s\n", round+1, quiet,
			attempts[len(attempts)-1], busy)
	}
	memory, err := memoryOf(g.pid())
	if err != nil {
		return nil, err
	}
	speed := spreadOf(kept)
	flooded := keptRow("calls of the API keep beside a flood of sign-ins", speed)
	flooded.Measured += fmt.Sprintf(", beside %.0f sign-ins a second over %d connections", spreadOf(attempts).Median,
		connections)
	rows := []*row{flooded, {
		Work:  "the most memory that Caddy has had then",
		Value: float64(memory.Most) / 1e6, bars: []bar{valueAtMost("", 300, " MB")},
		Measured: fmt.Sprintf("%.0f MB", float64(memory.Most)/1e6),
	}}
	for _, r := range rows {
		r.settle()
	}
	return rows, nil
}

// wrongSignIns are sign-ins of as many names from as many addresses.
func wrongSignIns(address string, n int) [][]byte {
	const secret = "bench"
	requests := make([][]byte, n)
	for i := range requests {
		body := url.Values{
			"username": {fmt.Sprintf("name%d", i)}, "password": {"a wrong password"}, "_token": {verify.CSRFToken(secret)},
		}.Encode()
		requests[i] = fmt.Appendf(nil, "POST /oauth/login HTTP/1.1\r\nHost: %s\r\nCookie: passport_form=%s\r\n"+
			"X-Forwarded-For: 10.%d.%d.%d\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s",
			address, secret, i>>16&255, i>>8&255, i&255, len(body), body)
	}
	return requests
}
