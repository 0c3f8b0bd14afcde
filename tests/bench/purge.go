//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
)

// purgedAtOnce is how many revoked tokens there are for each measurement beside a purge: more than it comes to.
const purgedAtOnce = 100_000

// purges is what traffic keeps of its speed while revoked tokens are purged. Each measurement has one
// without a purge beside it, first in every other round. The traffic is as much as the machine can bear.
func (s *suite) purges(ctx context.Context) ([]*row, error) {
	g, m, err := s.issuerGateway(ctx, "purge", "ES256", func(g *gateway) {
		g.seed = func(ctx context.Context, db *store.DB) error {
			m := &mint{issuer: g.issuer}
			if err := fillWith(ctx, db, m, 2*s.rounds*purgedAtOnce, true); err != nil {
				return err
			}
			return fill(ctx, db, m, s.million/2)
		}
	})
	if err != nil {
		return nil, err
	}
	token, err := m.token()
	if err != nil {
		return nil, err
	}
	issuing := &leg{name: "tokens", gateway: g, load: load{address: g.guarded, clients: connections, requests: [][]byte{
		post(g.guarded, "/oauth/token", credentialsGrant, clientID, clientSecret),
	}}}
	var rows []*row
	for _, traffic := range []struct {
		what string
		leg  *leg
	}{{"calls of the API", guardedLeg("calls", g, token)}, {"tokens being issued", issuing}} {
		var kept []float64
		for round := range s.rounds {
			var quiet, busy sample
			alone := func() error {
				taken, err := s.together(ctx, 3*s.length, traffic.leg)
				if err == nil {
					quiet = taken[0]
				}
				return err
			}
			beside := func() (err error) { busy, err = s.besidePurge(ctx, traffic.leg); return err }
			works := []func() error{alone, beside}
			for i := range works {
				if err := works[(i+round)%2](); err != nil {
					return nil, err
				}
			}
			kept = append(kept, busy.Rate/quiet.Rate)
			fmt.Fprintf(s.progress, "  round %2d  %s: %.0f/s, beside a purge %.0f/s\n", round+1, traffic.what, quiet.Rate,
				busy.Rate)
		}
		speed := spreadOf(kept)
		rows = append(rows, &row{
			Work: "the speed that " + traffic.what + " keep beside a purge", Value: speed.Median, bars: []bar{{
				"", func(r *row) float64 { return r.Value }, true, 0.9, " ×",
			}},
			Measured: fmt.Sprintf("%.2f × (%.2f–%.2f)", speed.Median, speed.Least, speed.Most),
		})
	}
	began := time.Now()
	n, err := g.purge(ctx)
	if err != nil {
		return nil, err
	}
	rows = append(rows, &row{
		Work:     fmt.Sprintf("purge of the %d that are left among the live ones, nothing beside", n),
		Measured: fmt.Sprintf("%.0f a second", float64(n)/time.Since(began).Seconds()),
	})
	for _, r := range rows {
		r.settle()
	}
	return rows, nil
}

// besidePurge measures a leg while revoked tokens are purged.
func (s *suite) besidePurge(ctx context.Context, l *leg) (sample, error) {
	purging, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan error, 1)
	go func() { _, err := l.gateway.purge(purging); done <- err }()
	taken, err := s.together(ctx, 3*s.length, l)
	stop()
	ended := <-done
	switch {
	case err != nil:
		return sample{}, err
	case ended == nil:
		return sample{}, errors.New("all was purged before the end of the measurement")
	case !errors.Is(ended, context.Canceled):
		return sample{}, ended
	}
	return taken[0], nil
}

// purge removes the records of all revoked tokens.
func (g *gateway) purge(ctx context.Context) (removed int, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+g.admin+"/passport/default/purge",
		bytes.NewReader([]byte(`{"revoked":true}`)))
	if err != nil {
		return 0, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	defer func() { _ = response.Body.Close() }()
	data, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("purge: %s: %s", response.Status, data)
	}
	var answer struct{ Purged int }
	if err == nil {
		err = json.Unmarshal(data, &answer)
	}
	return answer.Purged, err
}
