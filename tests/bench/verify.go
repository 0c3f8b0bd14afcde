//go:build linux

package main

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oauth2-passport/caddy-passport/issuer/keys"
	"github.com/oauth2-passport/caddy-passport/issuer/verify"
	"github.com/oauth2-passport/caddy-passport/store"
	"github.com/oauth2-passport/caddy-passport/store/badgerstore"
)

// verifyHit is the verification of tokens that have been seen, without HTTP: of many, so that neither the cache of the
// processor nor one line of memory has them all.
func (s *suite) verifyHit(ctx context.Context) ([]*row, error) {
	m, err := newMint("ES256")
	if err != nil {
		return nil, err
	}
	m.issuer = "http://127.0.0.1"
	engine, err := badgerstore.Open(badgerstore.Options{Dir: filepath.Join(s.dir, "verify")})
	if err != nil {
		return nil, err
	}
	defer func() { _ = engine.Close() }()
	db, err := store.Open(ctx, engine, "default", nil)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	key, err := keys.Parse([]byte(m.pem), "")
	if err != nil {
		return nil, err
	}
	ring, err := keys.Open(ctx, keys.Config{Private: key, DB: db})
	if err != nil {
		return nil, err
	}
	v := verify.New(verify.Config{Keys: ring, DB: db, Client: func(id string) bool { return id == clientID }})
	tokens, err := m.tokens(warmTokens)
	if err != nil {
		return nil, err
	}
	for _, token := range tokens {
		if _, err := v.Verify(ctx, token, m.issuer); err != nil {
			return nil, fmt.Errorf("verifying a good token: %w", err)
		}
	}

	var rows []*row
	for i, cores := range []int{1, runtime.NumCPU()} {
		for _, of := range []struct {
			name   string
			tokens []string
		}{{"one token", tokens[:1]}, {"20,000 tokens", tokens}} {
			var nanoseconds, allocations []float64
			for range s.rounds {
				result := hits(ctx, v, m.issuer, of.tokens, cores)
				nanoseconds = append(nanoseconds, float64(result.T.Nanoseconds())/float64(result.N)*float64(cores))
				allocations = append(allocations, float64(result.AllocsPerOp()))
			}
			t := spreadOf(nanoseconds)
			r := &row{
				Work: fmt.Sprintf("verify in process, %s, seen before, %d core(s)", of.name, cores), Value: t.Median,
				bars: []bar{
					valueAtMost("", 1000, " ns"),
					{"allocations", func(*row) float64 { return spreadOf(allocations).Median }, false, 0, ""},
				},
				Measured: fmt.Sprintf("%.0f ns of a core (%.0f–%.0f), %.0f allocations", t.Median, t.Least, t.Most,
					spreadOf(allocations).Median),
			}
			if i == 1 {
				r.Measured += fmt.Sprintf("; %d cores do %.2f times the work of one", cores,
					float64(cores)*rows[len(rows)-2].Value/t.Median)
			}
			r.settle()
			rows = append(rows, r)
		}
	}
	return rows, nil
}

// hits verifies the tokens in turn on so many cores for half a second. Its time is that of the wall.
func hits(ctx context.Context, v *verify.Verifier, issuer string, tokens []string, cores int) testing.BenchmarkResult {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(cores))
	var stop atomic.Bool
	time.AfterFunc(500*time.Millisecond, func() { stop.Store(true) })
	var operations atomic.Int64
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	began := time.Now()
	_ = inParallel(cores, cores, func(worker int) error {
		n := 0
		at := worker * len(tokens) / cores
		for ; !stop.Load(); n++ {
			if at == len(tokens) {
				at = 0
			}
			if _, err := v.Verify(ctx, tokens[at], issuer); err != nil {
				return err
			}
			at++
		}
		operations.Add(int64(n))
		return nil
	})
	took := time.Since(began)
	runtime.ReadMemStats(&after)
	return testing.BenchmarkResult{
		N: int(operations.Load()), T: took, MemAllocs: after.Mallocs - before.Mallocs,
		MemBytes: after.TotalAlloc - before.TotalAlloc,
	}
}
