//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"

	"github.com/jackc/pgx/v5"

	"github.com/oauth2-passport/caddy-passport/store/pgstore/pgtest"
)

// The row that pgbench inserts, as short as a row can be that has a key.
const (
	pgbenchTable  = "CREATE TABLE bench (id bigserial PRIMARY KEY, at timestamptz NOT NULL)"
	pgbenchScript = "INSERT INTO bench (at) VALUES (now());\n"
)

// tokenNode is how many tokens a node on PostgreSQL gives out, each on disk before it is answered, beside how many
// transactions of one short row pgbench gets out of the same server: in turns, each first in every other round.
func (s *suite) tokenNode(ctx context.Context) (rows []*row, err error) {
	var tb serverTB
	defer tb.end(&err)
	server := s.postgres(&tb)
	m, err := newMint("ES256")
	if err != nil {
		return nil, err
	}
	g, err := s.newGateway("token-node", "ES256")
	if err != nil {
		return nil, err
	}
	g.storage, g.key, m.issuer = "postgres "+server.Database(), m.pem, g.issuer
	if err := s.launch(ctx, g, func() (*http.Request, error) { return readyAt(g, m) }); err != nil {
		return nil, err
	}
	inserts, err := s.newInserts(ctx, server)
	if err != nil {
		return nil, err
	}
	issuing := &leg{name: "64 clients", gateway: g, load: load{address: g.guarded, clients: connections}}
	issuing.load.requests = [][]byte{post(g.guarded, "/oauth/token", credentialsGrant, clientID, clientSecret)}
	r := &row{
		Work: "ES256 tokens on PostgreSQL, 64 clients, to one-row inserts by pgbench", bars: []bar{rateAtLeast(0.5)},
	}
	var rates []float64
	for round := range 2 * s.rounds {
		var one sample
		var rate float64
		works := []func() error{
			func() error {
				taken, err := s.together(ctx, s.length, issuing)
				if err == nil {
					one = taken[0]
				}
				return err
			},
			func() (err error) { rate, err = inserts.run(ctx, s.length.Seconds()); return err },
		}
		for i := range works {
			if err := works[(i+round)%2](); err != nil {
				return nil, err
			}
		}
		ratio := one.Rate / rate
		r.Samples, r.rates, rates = append(r.Samples, one), append(r.rates, ratio), append(rates, rate)
		fmt.Fprintf(s.progress, "  round %2d  tokens %6.0f/s  pgbench %6.0f/s  %.2f ×\n", round+1, one.Rate, rate, ratio)
	}
	r.settle()
	t := spreadOf(rates)
	rows = []*row{r, {
		Work: "pgbench, one row in each transaction, 64 clients, the same server",
		Rate: t, Measured: fmt.Sprintf("%.0f (%.0f–%.0f) a second", t.Median, t.Least, t.Most),
	}}
	return rows, s.profile(ctx, &group{legs: [2][]*leg{{issuing}}})
}

// inserts is pgbench on a database of its own.
type inserts struct{ program, script, database string }

func (s *suite) newInserts(ctx context.Context, server *pgtest.Server) (*inserts, error) {
	i := &inserts{server.Program("pgbench"), filepath.Join(s.dir, "insert.sql"), server.Database()}
	conn, err := pgx.Connect(ctx, i.database)
	if err != nil {
		return nil, err
	}
	_, err = conn.Exec(ctx, pgbenchTable)
	return i, errors.Join(err, conn.Close(ctx), os.WriteFile(i.script, []byte(pgbenchScript), 0o600))
}

var tps = regexp.MustCompile(`(?m)^tps = ([0-9.]+) \(without initial connection time\)$`)

// run returns the transactions a second, the time to connect left out.
func (i *inserts) run(ctx context.Context, seconds float64) (float64, error) {
	cmd := exec.CommandContext(ctx, i.program, "-n", "-M", "prepared", "-c", strconv.Itoa(connections), "-j", "2",
		"-T", strconv.Itoa(int(math.Ceil(seconds))), "-f", i.script, i.database)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("pgbench: %w: %s", err, out)
	}
	found := tps.FindSubmatch(out)
	if found == nil {
		return 0, fmt.Errorf("pgbench: no figures: %s", out)
	}
	return strconv.ParseFloat(string(found[1]), 64)
}
