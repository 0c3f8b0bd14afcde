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
	"os"
	"path/filepath"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
)

// backups is how fast a gateway writes a backup of many tokens while it has traffic, and what of its speed the traffic
// keeps, which is as much as the machine can bear.
func (s *suite) backups(ctx context.Context) ([]*row, error) {
	n := s.million
	g, m, err := s.issuerGateway(ctx, "backup", "ES256", func(g *gateway) {
		g.seed = func(ctx context.Context, db *store.DB) error { return fill(ctx, db, &mint{issuer: g.issuer}, n) }
	})
	if err != nil {
		return nil, err
	}
	token, err := m.token()
	if err != nil {
		return nil, err
	}
	first, err := g.backup(ctx)
	if err != nil {
		return nil, err
	}
	alone := &row{
		Work:     fmt.Sprintf("backup of %d tokens, nothing beside", n),
		Measured: fmt.Sprintf("%.0f records a second", first.rate()),
	}
	rows := []*row{alone}
	issuing := &leg{name: "tokens", gateway: g, load: load{address: g.guarded, clients: connections, requests: [][]byte{
		post(g.guarded, "/oauth/token", credentialsGrant, clientID, clientSecret),
	}}}
	last := first.took
	for _, traffic := range []struct {
		what string
		leg  *leg
	}{{"calls of the API", guardedLeg("calls", g, token)}, {"tokens being issued", issuing}} {
		var kept, rates []float64
		for round := range s.rounds {
			whole, err := s.besideTraffic(ctx, traffic.leg, 3*last/2)
			if err != nil {
				return nil, err
			}
			last = whole.took
			rates = append(rates, whole.rate())
			ratio, err := s.keptInTurns(ctx, traffic.leg, func(turn time.Duration) (sample, error) {
				return s.besideBackup(ctx, traffic.leg, turn)
			})
			if err != nil {
				return nil, err
			}
			kept = append(kept, ratio)
			fmt.Fprintf(s.progress, "  round %2d  %s keep %.2f beside a backup, which writes %.0f records/s\n", round+1,
				traffic.what, ratio, whole.rate())
		}
		written, speed := spreadOf(rates), spreadOf(kept)
		rows = append(rows, &row{
			Work: "backup beside " + traffic.what, Value: written.Median, bars: []bar{{
				"records a second", func(r *row) float64 { return r.Value }, true, 100_000, "",
			}},
			Measured: fmt.Sprintf("%.0f records a second (%.0f–%.0f)", written.Median, written.Least, written.Most),
		}, keptRow(traffic.what+" keep beside it", speed))
	}
	if _, err := g.backup(ctx); err != nil { // the last one was ended
		return nil, err
	}
	restored, err := g.restore(ctx)
	if err != nil {
		return nil, err
	}
	rows = append(rows, &row{Work: "restore of it", Measured: fmt.Sprintf("%.0f records a second", restored.rate())})
	for _, r := range rows {
		r.settle()
	}
	return rows, nil
}

// besideTraffic writes a whole backup while a leg runs for that long.
func (s *suite) besideTraffic(ctx context.Context, l *leg, length time.Duration) (moved, error) {
	var one moved
	done := make(chan error, 1)
	go func() {
		var err error
		one, err = l.gateway.backup(ctx)
		done <- err
	}()
	began := time.Now()
	_, err := s.together(ctx, length, l)
	wall := time.Since(began)
	if err := errors.Join(err, <-done); err != nil {
		return one, err
	}
	if one.took > wall {
		return one, fmt.Errorf("the backup took %v, the traffic beside it %v", one.took, wall)
	}
	return one, nil
}

// besideBackup measures a leg for a turn while a backup is written, which is longer and ended with the turn.
func (s *suite) besideBackup(ctx context.Context, l *leg, turn time.Duration) (sample, error) {
	return s.besideWork(ctx, l, turn, func(ctx context.Context) error {
		_, err := l.gateway.backup(ctx)
		return err
	})
}

// moved is a backup that was written, or restored.
type moved struct {
	records int
	took    time.Duration
}

func (m moved) rate() float64 { return float64(m.records) / m.took.Seconds() }

// backup writes one to a file and removes the one before.
func (g *gateway) backup(ctx context.Context) (moved, error) {
	if err := os.Remove(g.backupFile()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return moved{}, err
	}
	g.backups++ // the gateway may be about to remove one that was ended
	return g.move(ctx, "backup")
}

func (g *gateway) restore(ctx context.Context) (moved, error) { return g.move(ctx, "restore") }

func (g *gateway) backupFile() string {
	return filepath.Join(g.dir, fmt.Sprintf("backup-%d", g.backups))
}

// move has the gateway write the backup, or restore it.
func (g *gateway) move(ctx context.Context, what string) (moved, error) {
	body, err := json.Marshal(map[string]string{"file": g.backupFile()})
	if err != nil {
		return moved{}, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+g.admin+"/passport/default/"+what,
		bytes.NewReader(body))
	if err != nil {
		return moved{}, err
	}
	request.Header.Set("Content-Type", "application/json")
	began := time.Now()
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return moved{}, err
	}
	defer func() { _ = response.Body.Close() }()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		return moved{}, err
	}
	if response.StatusCode != http.StatusOK {
		return moved{}, fmt.Errorf("%s: %s: %s", what, response.Status, data)
	}
	var info store.BackupInfo
	err = json.Unmarshal(data, &info)
	return moved{info.Records, time.Since(began)}, err
}
