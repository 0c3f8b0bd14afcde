//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
	"github.com/oauth2-passport/caddy-passport/store/badgerstore"
)

// mb is bytes in megabytes.
func mb(bytes int64) float64 { return float64(bytes) / 1e6 }

// cacheMemory is what the heap grows by when the gateway sees many tokens for the first time.
func (s *suite) cacheMemory(ctx context.Context) ([]*row, error) {
	g, m, err := s.issuerGateway(ctx, "cache", "ES256")
	if err != nil {
		return nil, err
	}
	// Connections, buffers and pools are there before the first look.
	few, err := m.tokens(2000)
	if err != nil {
		return nil, err
	}
	trial := guardedLeg("few", g, few...)
	if err := s.checked(ctx, trial, pass(trial.load), nil); err != nil {
		return nil, err
	}
	before, err := g.heap(ctx)
	if err != nil {
		return nil, err
	}
	tokens, err := m.tokens(warmTokens)
	if err != nil {
		return nil, err
	}
	all := guardedLeg("all", g, tokens...)
	for range 2 {
		if err := s.checked(ctx, all, pass(all.load), nil); err != nil {
			return nil, err
		}
	}
	after, err := g.heap(ctx)
	if err != nil {
		return nil, err
	}
	perToken := float64(after-before) / warmTokens
	r := &row{
		Work: "memory of a token that has been seen, of 20,000", Value: math.Round(perToken),
		bars: []bar{valueAtMost("", 1000, " bytes")},
		Measured: fmt.Sprintf("%.0f bytes (heap %.1f MB before, %.1f MB after)", perToken, mb(before),
			mb(after)),
	}
	r.settle()
	return []*row{r}, nil
}

// pass is a load that sends each of its requests once.
func pass(l load) load {
	l.once = true
	return l
}

// liveMemory is what Caddy holds, and what lies on the disk, after it has given out many tokens and rests; beside a
// bare Caddy that has answered as many requests.
func (s *suite) liveMemory(ctx context.Context) ([]*row, error) {
	g, _, err := s.issuerGateway(ctx, "memory", "ES256")
	if err != nil {
		return nil, err
	}
	plain, err := s.newGateway("memory-plain", "")
	if err != nil {
		return nil, err
	}
	if err := s.launch(ctx, plain, nil); err != nil {
		return nil, err
	}
	rate := 0.0
	for _, one := range []struct {
		gateway *gateway
		address string
	}{{plain, plain.respond}, {g, g.guarded}} {
		request := post(one.address, "/oauth/token", credentialsGrant, clientID, clientSecret)
		l := &leg{gateway: one.gateway, load: load{address: one.address, clients: connections, once: true}}
		for range s.live {
			l.load.requests = append(l.load.requests, request)
		}
		var one sample
		if err := s.checked(ctx, l, l.load, &one); err != nil {
			return nil, err
		}
		rate = one.Rate
	}
	peak, err := memoryOf(g.pid())
	if err != nil {
		return nil, err
	}
	// Go collects what is garbage two minutes after the last time at the latest, and gives the memory back to the system
	// after that: until then a process that rests holds what its load needed. What comes first may be no more than what is
	// left to do for the load.
	select {
	case <-time.After(270 * time.Second):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	with, err := memoryOf(g.pid())
	if err != nil {
		return nil, err
	}
	without, err := memoryOf(plain.pid())
	if err != nil {
		return nil, err
	}
	apparent, onDisk, err := diskUse(g.store())
	if err != nil {
		return nil, err
	}
	live, err := g.heap(ctx)
	if err != nil {
		return nil, err
	}
	n := fmt.Sprintf("%d live tokens", s.live)
	more := mb(with.RSS - without.RSS)
	memoryRow := &row{
		Work: "memory at rest, " + n + ", more than bare Caddy", Value: more, bars: []bar{valueAtMost("", 100, " MB")},
		Measured: fmt.Sprintf("%.0f MB: resident %.0f against %.0f MB, anonymous %.0f against %.0f MB, "+
			"Pss %.0f against %.0f MB; heap alive %.0f MB; resident %.0f MB right after %.0f tokens/s", more, mb(with.RSS),
			mb(without.RSS), mb(with.Anon), mb(without.Anon),
			mb(with.Pss), mb(without.Pss), mb(live), mb(peak.RSS), rate),
	}
	files := &row{
		Work: "Badger's files, " + n, Value: mb(onDisk), bars: []bar{valueAtMost("on disk", 150, " MB")},
		Measured: fmt.Sprintf("%.0f MB on disk, %.0f MB apparent", mb(onDisk), mb(apparent)),
	}
	sparse := &row{
		Work: "Badger's files, apparent", Value: mb(apparent),
		bars: []bar{valueAtMost("", 1000, " MB")}, Measured: fmt.Sprintf("%.0f MB", mb(apparent)),
	}
	rows := []*row{memoryRow, files, sparse}
	for _, r := range rows {
		r.settle()
	}
	return rows, nil
}

// startTime is how long it takes from the start of the process to the first request that is let through, with many live
// tokens in the store; then again after the process was killed.
func (s *suite) startTime(ctx context.Context) ([]*row, error) {
	m, err := newMint("ES256")
	if err != nil {
		return nil, err
	}
	plain, err := s.newGateway("start-plain", "")
	if err != nil {
		return nil, err
	}
	g, err := s.newGateway("start", "ES256")
	if err != nil {
		return nil, err
	}
	m.issuer, g.key = g.issuer, m.pem
	began := time.Now()
	err = inStore(ctx, g.store(), func(db *store.DB) error { return fill(ctx, db, m, s.million) })
	if err != nil {
		return nil, fmt.Errorf("filling the store: %w", err)
	}
	fmt.Fprintf(s.progress, "  start      %d tokens stored in %.1f s\n", s.million, time.Since(began).Seconds())

	var bare, closed, killed []float64
	for range min(s.rounds, 5) {
		for _, one := range []struct {
			gateway *gateway
			end     func()
			into    *[]float64
		}{
			{plain, func() { plain.stop() }, &bare},
			{g, func() { g.kill() }, &closed}, // opened after it has been closed, ended by SIGKILL
			{g, func() { g.stop() }, &killed}, // so that this one opens what was left as it was
		} {
			ready := m.ready
			if one.gateway == plain {
				ready = nil
			}
			if err := s.launch(ctx, one.gateway, ready); err != nil {
				return nil, err
			}
			*one.into = append(*one.into, one.gateway.took.Seconds())
			if one.gateway == g {
				if err := s.leaveMuch(ctx, g); err != nil {
					return nil, err
				}
			}
			one.end()
		}
	}
	made := func(work string, times []float64) *row {
		t := spreadOf(times)
		r := &row{
			Work: work, Value: t.Median, bars: []bar{valueAtMost("", 1, " s")},
			Measured: fmt.Sprintf("%.2f s (%.2f–%.2f); bare Caddy %.2f s", t.Median, t.Least, t.Most, spreadOf(bare).Median),
		}
		r.settle()
		return r
	}
	return []*row{
		made(fmt.Sprintf("start to the first request let through, %d live tokens", s.million), closed),
		made("the same after kill -9", killed),
	}, nil
}

// leaveMuch issues tokens for a while, so that the log is long of what is in no table yet, and revokes some.
func (s *suite) leaveMuch(ctx context.Context, g *gateway) error {
	_, err := s.run(ctx, load{
		address: g.guarded, clients: connections, length: 4 * time.Second,
		requests: [][]byte{post(g.guarded, "/oauth/token", credentialsGrant, clientID, clientSecret)},
	})
	if err != nil {
		return err
	}
	_, err = g.revoked(ctx, 200)
	return err
}

// inStore opens the store of a gateway that does not run.
func inStore(ctx context.Context, dir string, do func(*store.DB) error) error {
	engine, err := badgerstore.Open(badgerstore.Options{Dir: dir})
	if err != nil {
		return err
	}
	db, err := store.Open(ctx, engine, "default", nil)
	if err == nil {
		err = do(db)
		db.Close()
	}
	return errors.Join(err, engine.Close())
}

// fill records n live tokens.
func fill(ctx context.Context, db *store.DB, m *mint, n int) error {
	return fillWith(ctx, db, m, n, false)
}

// fillWith records n tokens, live or revoked ones.
func fillWith(ctx context.Context, db *store.DB, m *mint, n int, revoked bool) error {
	const batch = 500
	return inParallel((n+batch-1)/batch, 8, func(i int) error {
		return db.Update(ctx, func(r *store.Records) error {
			for range min(batch, n-i*batch) {
				record := m.record()
				err := r.PutToken(&record)
				if err == nil && revoked {
					err = r.RevokeToken(record.ID)
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
	})
}
