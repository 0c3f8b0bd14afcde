package badgerstore

import (
	"encoding/binary"
	"fmt"
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
				key := binary.BigEndian.AppendUint64([]byte("bench/token/"), uint64(n))
				return e.Update(b.Context(), func(tx store.Tx) error { return tx.Put(key, value, time.Hour) })
			})
		})
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
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
}

func cpuTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
