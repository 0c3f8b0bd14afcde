//go:build linux

package main

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
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
	for _, cores := range []int{1, s.cores} {
		for _, of := range []struct {
			name   string
			tokens []string
		}{{"one token", tokens[:1]}, {"20,000 tokens", tokens}} {
			var cpu, rate, allocations []float64
			for range s.rounds {
				one, err := hits(ctx, v, m.issuer, of.tokens, cores)
				if err != nil {
					return nil, err
				}
				cpu = append(cpu, one.cpu)
				rate = append(rate, one.rate)
				allocations = append(allocations, one.allocations)
			}
			t := spreadOf(cpu)
			r := &row{
				Work:  fmt.Sprintf("verify in process, %s, seen before, on %d of %d cores", of.name, cores, s.cores),
				Value: t.Median,
				Rate:  spreadOf(rate),
				bars: []bar{
					valueAtMost("", 1000, " ns"),
					{"allocations", func(*row) float64 { return spreadOf(allocations).Median }, false, 0, ""},
				},
				Measured: fmt.Sprintf("%.0f ns of CPU (%.0f–%.0f), %.2g allocations, %.2f million a second", t.Median, t.Least,
					t.Most, spreadOf(allocations).Median, spreadOf(rate).Median/1e6),
			}
			if cores > 1 {
				r.Measured += fmt.Sprintf(", %.2f times as many as on one core", r.Rate.Median/rows[len(rows)-2].Rate.Median)
			}
			r.settle()
			rows = append(rows, r)
		}
	}
	return rows, nil
}

type hit struct {
	cpu         float64 // nanoseconds of an operation
	rate        float64 // operations a second, of the clock on the wall
	allocations float64 // of an operation
}

// hits verifies the tokens in turn on so many cores for half a second.
func hits(ctx context.Context, v *verify.Verifier, issuer string, tokens []string, cores int) (hit, error) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(cores))
	var stop atomic.Bool
	var operations atomic.Int64
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	cpu, err := cpuTime(os.Getpid())
	if err != nil {
		return hit{}, err
	}
	began := time.Now()
	time.AfterFunc(500*time.Millisecond, func() { stop.Store(true) })
	err = inParallel(cores, cores, func(worker int) error {
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
	if err != nil {
		return hit{}, err
	}
	took := time.Since(began)
	cpuAfter, err := cpuTime(os.Getpid())
	runtime.ReadMemStats(&after)
	n := float64(operations.Load())
	return hit{
		cpu: float64(cpuAfter-cpu) / n, rate: n / took.Seconds(),
		allocations: math.Round(10*float64(after.Mallocs-before.Mallocs)/n) / 10,
	}, err
}
