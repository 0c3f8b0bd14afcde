//go:build linux

package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
)

// nodeRounds is how many pairs of processes a round of the suite has, where a node is compared with a gateway on
// Badger.
const nodeRounds = 4

// nodeOptions have a node on PostgreSQL write its audit log to a file.
const nodeOptions = "\tlog audit {\n\t\toutput file audit.log\n\t\tinclude passport.audit\n\t}\n"

// eventOptions have somebody be told of each event.
const eventOptions = "\tevents {\n\t\ton * bench_ignore\n\t}\n"

// warmNode compares a node on PostgreSQL that has its audit log in a file, whose metrics are read and whose events
// somebody hears, with a gateway on Badger that has nothing of that: a token that has been seen asks none of them.
//
// The two can't be sites of one process, and of two processes one is easily three per cent dearer than the other for no
// reason but where its memory lies. So there are many, each pair for a moment: a node beside a gateway on Badger, at
// the same time, started in turns before and after it. Two gateways on Badger beside each other tell what is left of
// that.
func (s *suite) warmNode(ctx context.Context) (rows []*row, err error) {
	var tb serverTB
	defer tb.end(&err)
	server := s.postgres(&tb)
	badger := &row{Work: "passport_auth, one token, warm, Badger", leg: "badger"}
	again := &row{Work: "the same on Badger in another process, to that", leg: "again"}
	node := &row{
		Work: "the same on PostgreSQL with metrics, audit log and events, to that", leg: "postgres",
		bars: []bar{cpuAtMost(1.02)},
	}
	for n := range nodeRounds * s.rounds {
		taken, err := s.nodePairs(ctx, n, server.Database())
		s.endGateways()
		if err != nil {
			return nil, err
		}
		badger.Samples = append(badger.Samples, taken[1], taken[3])
		node.compare(taken[0], taken[1])
		again.compare(taken[2], taken[3])
		fmt.Fprintf(s.progress, "  pair %2d  postgres to badger %.3f ×  badger to badger %.3f ×  others %4.1f %%\n", n+1,
			node.Pairs[n].Ratio, again.Pairs[n].Ratio, 100*max(taken[0].Foreign, taken[2].Foreign))
	}
	rows = []*row{badger, again, node}
	for _, r := range rows {
		r.settle()
	}
	return rows, nil
}

// compare adds a sample and what it is to another that was taken at the same time.
func (r *row) compare(one, base sample) {
	r.Samples = append(r.Samples, one)
	r.Pairs = append(r.Pairs, pair{
		Ratio: float64(one.CPU) / float64(base.CPU), Leg: one.CPU, Base: base.CPU, Foreign: one.Foreign,
	})
	r.rates = append(r.rates, one.Rate/base.Rate)
}

// nodePairs starts gateways, and measures at the same time: a node on PostgreSQL and a gateway on Badger, then two of
// the latter, the second of which is the same.
func (s *suite) nodePairs(ctx context.Context, n int, database string) ([]sample, error) {
	names := []string{"postgres", "badger", "again"}
	if n%2 == 1 {
		slices.Reverse(names)
	}
	legs := make(map[string]*leg)
	for _, name := range names {
		l, err := s.startNodeLeg(ctx, fmt.Sprintf("warm-node-%d-%s", n, name), name == "postgres", database)
		if err != nil {
			return nil, err
		}
		legs[name] = l
	}
	// Once in a while, as Prometheus does: once a second would be fifteen times as often.
	if _, err := legs["postgres"].gateway.get(ctx, "/metrics"); err != nil {
		return nil, err
	}
	// What a process does for the first time is dearer.
	for _, name := range names {
		if _, err := s.together(ctx, s.length/4, legs[name]); err != nil {
			return nil, err
		}
	}
	var all []sample
	for _, pair := range [][]*leg{{legs["postgres"], legs["badger"]}, {legs["again"], legs["badger"]}} {
		taken, err := s.together(ctx, s.length, pair...)
		if err != nil {
			return nil, err
		}
		all = append(all, taken...)
	}
	return all, nil
}

// startNodeLeg starts a gateway, with all that is to be seen when it is on PostgreSQL.
func (s *suite) startNodeLeg(ctx context.Context, name string, postgres bool, database string) (*leg, error) {
	m, err := newMint("ES256")
	if err != nil {
		return nil, err
	}
	g, err := s.newGateway(name, "ES256")
	if err != nil {
		return nil, err
	}
	g.key, m.issuer = m.pem, g.issuer
	if postgres {
		g.storage, g.options = "postgres "+database, nodeOptions
		if s.caddy == "" { // another one does not know the handler
			g.options += eventOptions
		}
	}
	if err := s.launch(ctx, g, func() (*http.Request, error) { return readyAt(g, m) }); err != nil {
		return nil, err
	}
	token, err := m.token()
	if err != nil {
		return nil, err
	}
	return guardedLeg(name, g, token), nil
}
