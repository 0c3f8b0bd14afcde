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
// keeps: backups are written one after the other meanwhile. Each measurement has one without them beside, first in
// every other round. The traffic is as much as the machine can bear.
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
		var beside []moved
		for round := range s.rounds {
			var quiet, busy sample
			length := max(3*last/2, 3*s.length) // there are more and more tokens, and the last one beside is to be whole
			works := []func() error{
				func() (err error) { quiet, err = s.besideBackups(ctx, traffic.leg, length, nil); return err },
				func() (err error) { busy, err = s.besideBackups(ctx, traffic.leg, length, &beside); return err },
			}
			for i := range works {
				if err := works[(i+round)%2](); err != nil {
					return nil, err
				}
			}
			last = beside[len(beside)-1].took
			kept = append(kept, busy.Rate/quiet.Rate)
			fmt.Fprintf(s.progress, "  round %2d  %s: %.0f/s, beside backups %.0f/s, which write %.0f records/s\n", round+1,
				traffic.what, quiet.Rate, busy.Rate, beside[len(beside)-1].rate())
		}
		for _, one := range beside {
			rates = append(rates, one.rate())
		}
		written, speed := spreadOf(rates), spreadOf(kept)
		rows = append(rows, &row{
			Work: "backup beside " + traffic.what, Value: written.Median, bars: []bar{{
				"records a second", func(r *row) float64 { return r.Value }, true, 100_000, "",
			}},
			Measured: fmt.Sprintf("%.0f records a second (%.0f–%.0f)", written.Median, written.Least, written.Most),
		}, &row{
			Work: "the speed that " + traffic.what + " keep beside it", Value: speed.Median, bars: []bar{{
				"", func(r *row) float64 { return r.Value }, true, 0.9, " ×",
			}},
			Measured: fmt.Sprintf("%.2f × (%.2f–%.2f)", speed.Median, speed.Least, speed.Most),
		})
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

// besideBackups measures a leg; with backups, while such are written, which it adds.
func (s *suite) besideBackups(ctx context.Context, l *leg, length time.Duration, backups *[]moved) (sample, error) {
	if backups == nil {
		taken, err := s.together(ctx, length, l)
		if err != nil {
			return sample{}, err
		}
		return taken[0], nil
	}
	before := len(*backups)
	stop := make(chan struct{})
	done := make(chan error, 1)
	go func() {
		for {
			one, err := l.gateway.backup(ctx)
			select {
			case <-stop: // it had less beside it than it should
				done <- err
				return
			default:
			}
			if err != nil {
				done <- err
				return
			}
			*backups = append(*backups, one)
		}
	}()
	taken, err := s.together(ctx, length, l)
	close(stop)
	if err := errors.Join(err, <-done); err != nil {
		return sample{}, err
	}
	if len(*backups) == before {
		return sample{}, fmt.Errorf("no backup was written within %v", length)
	}
	return taken[0], nil
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
	return g.move(ctx, "backup")
}

func (g *gateway) restore(ctx context.Context) (moved, error) { return g.move(ctx, "restore") }

func (g *gateway) backupFile() string { return filepath.Join(g.dir, "backup") }

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
