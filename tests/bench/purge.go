//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
)

// purgedAtOnce is how many revoked tokens there are for each measurement beside a purge: more than it comes to.
const purgedAtOnce = 100_000

// purges is what traffic keeps of its speed, which is as much as the machine can bear, while revoked tokens are purged.
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
			ratio, err := s.keptInTurns(ctx, traffic.leg, func(turn time.Duration) (sample, error) {
				return s.besidePurge(ctx, traffic.leg, turn)
			})
			if err != nil {
				return nil, err
			}
			kept = append(kept, ratio)
			fmt.Fprintf(s.progress, "  round %2d  %s keep %.2f beside a purge\n", round+1, traffic.what, ratio)
		}
		rows = append(rows, keptRow(traffic.what+" keep beside a purge", spreadOf(kept)))
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

// besidePurge measures a leg for a turn while revoked tokens are purged, of which there are more.
func (s *suite) besidePurge(ctx context.Context, l *leg, turn time.Duration) (sample, error) {
	return s.besideWork(ctx, l, turn, func(ctx context.Context) error {
		_, err := l.gateway.purge(ctx)
		return err
	})
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
