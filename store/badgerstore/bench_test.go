package badgerstore

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
)

// BenchmarkUpdate commits durable updates of one 300-byte record each, from 1, 8 and 64 goroutines. CPU-µs/op is user
// and system time of the process.
func BenchmarkUpdate(b *testing.B) {
	for _, writers := range []int{1, 8, 64} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			e := openEngine(b, Options{Dir: b.TempDir()})
			value := make([]byte, 300)
			benchmarkParallel(b, writers, func(n int64) error {
				return e.Update(b.Context(), func(tx store.Tx) error { return tx.Put(benchKey(n), value, time.Hour) })
			})
		})
	}
}

// BenchmarkReadModifyWrite is an update that reads a record, scans a few and writes two, as redeeming a code does.
func BenchmarkReadModifyWrite(b *testing.B) {
	for _, writers := range []int{1, 64} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			e := openEngine(b, Options{Dir: b.TempDir()})
			fill(b, e, 1000)
			value := make([]byte, 300)
			benchmarkParallel(b, writers, func(n int64) error {
				return e.Update(b.Context(), func(tx store.Tx) error {
					if _, err := tx.Get(benchKey(n % 1000)); err != nil {
						return err
					}
					prefix := benchKey(n % 1000)
					if err := tx.Scan(prefix[:len(prefix)-1], nil, func(key, value []byte) error {
						return store.ErrStop
					}); err != nil {
						return err
					}
					if err := tx.Put(benchKey(n%1000), value, time.Hour); err != nil {
						return err
					}
					return tx.Put(benchKey(1000+n), value, time.Hour)
				})
			})
		})
	}
}

// BenchmarkView reads one record in a transaction of its own; with writers beside it, it may wait for their sync.
func BenchmarkView(b *testing.B) {
	for _, writers := range []int{0, 16} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			e := openEngine(b, Options{Dir: b.TempDir()})
			fill(b, e, 1000)
			ctx, stop := context.WithCancel(b.Context())
			var load sync.WaitGroup
			for range writers {
				load.Go(func() {
					for n := int64(0); ctx.Err() == nil; n++ {
						e.Update(ctx, func(tx store.Tx) error { return tx.Put(benchKey(n%1000), make([]byte, 300), 0) })
					}
				})
			}
			benchmarkParallel(b, 4, func(n int64) error {
				return e.View(ctx, func(tx store.Tx) error {
					_, err := tx.Get(benchKey(n % 1000))
					return err
				})
			})
			stop()
			load.Wait()
		})
	}
}

func benchKey(n int64) []byte {
	return binary.BigEndian.AppendUint64([]byte("bench/token/"), uint64(n))
}

// fill writes so many records of 300 bytes.
func fill(b *testing.B, e *Engine, records int64) {
	b.Helper()
	err := e.Update(b.Context(), func(tx store.Tx) error {
		for n := range records {
			if err := tx.Put(benchKey(n), make([]byte, 300), time.Hour); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
}

// benchmarkParallel calls fn with 0 to b.N-1 from so many goroutines.
func benchmarkParallel(b *testing.B, goroutines int, fn func(n int64) error) {
	b.Helper()
	var next atomic.Int64
	var group sync.WaitGroup
	b.ReportAllocs()
	b.ResetTimer()
	before := cpuTime()
	for range goroutines {
		group.Go(func() {
			for n := next.Add(1) - 1; n < int64(b.N); n = next.Add(1) - 1 {
				if err := fn(n); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	b.StopTimer()
	b.ReportMetric(float64((cpuTime()-before).Microseconds())/float64(b.N), "CPU-µs/op")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "op/s")
}

func cpuTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// BenchmarkBackup writes and restores a backup of 100,000 tokens; records/s counts the records of the backup.
func BenchmarkBackup(b *testing.B) {
	const tokens = 100_000
	open := func() *store.DB {
		db, err := store.Open(b.Context(), openEngine(b, Options{Dir: b.TempDir()}), "default", nil)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(db.Close)
		return db
	}
	db := open()
	now := time.Now()
	for first := 0; first < tokens; first += 1000 {
		err := db.Update(b.Context(), func(r *store.Records) error {
			for range 1000 {
				if err := r.PutToken(&store.Token{
					ID: store.NewID(now), ClientID: "orders-sync", Issuer: "https://api.example.com",
					Scopes: []string{"read", "write"}, Audience: []string{"https://api.example.com"},
					IssuedAt: now, ExpiresAt: now.Add(time.Hour),
				}); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	file, err := os.Create(filepath.Join(b.TempDir(), "backup"))
	if err != nil {
		b.Fatal(err)
	}
	defer file.Close()
	perSecond := func(b *testing.B) { b.ReportMetric(float64(tokens*b.N)/b.Elapsed().Seconds(), "records/s") }
	b.Run("backup", func(b *testing.B) {
		for b.Loop() {
			if _, err := db.Backup(b.Context(), file); err != nil {
				b.Fatal(err)
			}
		}
		perSecond(b)
	})
	b.Run("restore", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			other := open()
			b.StartTimer()
			_, err := other.Restore(b.Context(), func() (io.ReadCloser, error) { return os.Open(file.Name()) },
				store.RestoreOptions{})
			if err != nil {
				b.Fatal(err)
			}
		}
		perSecond(b)
	})
}
