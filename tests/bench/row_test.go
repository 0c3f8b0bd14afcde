//go:build linux

package main

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestSpread(t *testing.T) {
	for _, tc := range []struct {
		name   string
		values []float64
		want   spread
	}{
		{"none", nil, spread{}},
		{"one", []float64{3}, spread{3, 3, 3}},
		{"odd", []float64{9, 1, 2}, spread{2, 1, 9}},
		{"even", []float64{4, 1, 2, 9}, spread{3, 1, 9}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := spreadOf(tc.values); got != tc.want {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

func us(n int) time.Duration { return time.Duration(n) * time.Microsecond }

func TestRow(t *testing.T) {
	// The machine is twice as slow in the second round: a ratio of medians would not be one of the same round.
	rounds := []map[string]sample{
		{"bare": {CPU: us(50), Rate: 20_000}, "guarded": {CPU: us(55), Rate: 19_000, P99: 4 * time.Millisecond}},
		{"bare": {CPU: us(100), Rate: 10_000}, "guarded": {CPU: us(110), Rate: 9500, P99: 8 * time.Millisecond}},
		{"bare": {CPU: us(50), Rate: 20_000}, "guarded": {CPU: us(60), Rate: 18_000, P99: 5 * time.Millisecond}},
	}
	forged := &row{leg: "guarded", base: "bare"}
	for _, tc := range []struct {
		name   string
		row    row
		pairs  []pair
		cpu    spread
		rate   spread
		missed []string
	}{
		{
			name:  "ratios are of a round",
			row:   row{leg: "guarded", base: "bare", bars: []bar{cpuAtMost(1.1), rateAtLeast(0.95)}},
			pairs: []pair{{Ratio: 1.25}, {Ratio: 1}, {Ratio: 1.1}},
			cpu:   spread{1.1, 1, 1.25}, rate: spread{0.95, 0.9, 0.95},
		},
		{
			name:  "bars that are missed",
			row:   row{leg: "guarded", base: "bare", bars: []bar{cpuAtMost(1.05), rateAtLeast(0.96)}},
			pairs: []pair{{Ratio: 1.25}, {Ratio: 1}, {Ratio: 1.1}},
			cpu:   spread{1.1, 1, 1.25}, rate: spread{0.95, 0.9, 0.95},
			missed: []string{"CPU ≤ 1.05 ×", "req/s ≥ 0.96 ×"},
		},
		{
			name:  "what a flood costs is taken off",
			row:   row{leg: "guarded", base: "bare", flood: forged, bars: []bar{cpuAtMost(1)}},
			pairs: []pair{{Ratio: 1.5, Beside: 0.25}, {Ratio: 1.5, Beside: 0.25}, {Ratio: 2, Beside: 0.5}},
			cpu:   spread{1, 1, 1}, rate: spread{0.95, 0.9, 0.95},
		},
		{
			name: "a row without a base has no ratios",
			row:  row{leg: "guarded", bars: []bar{p99AtMost(5 * time.Millisecond)}},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := &tc.row
			for i, solo := range rounds {
				pairs := map[*row]pair{forged: {Ratio: 2}}
				if r.base != "" {
					pairs[r] = tc.pairs[i]
				}
				r.add(solo, pairs)
			}
			r.settle()
			if r.CPURatio != tc.cpu {
				t.Errorf("CPU: got %v, want %v", r.CPURatio, tc.cpu)
			}
			if r.RateRatio != tc.rate {
				t.Errorf("requests a second: got %v, want %v", r.RateRatio, tc.rate)
			}
			if want := (spread{5, 4, 8}); r.P99 != want {
				t.Errorf("p99: got %v, want %v", r.P99, want)
			}
			if !slices.Equal(r.Missed, tc.missed) {
				t.Errorf("missed: got %q, want %q", r.Missed, tc.missed)
			}
		})
	}
}

func TestReport(t *testing.T) {
	good := &row{Work: "good", leg: "x", bars: []bar{p99AtMost(30 * time.Millisecond)}}
	good.add(map[string]sample{"x": {CPU: us(50), Rate: 1000, P99: 20 * time.Millisecond}}, nil)
	good.settle()
	bad := &row{Work: "bad", Measured: "120 MB", Value: 120, bars: []bar{valueAtMost("", 100, " MB")}}
	bad.settle()
	r := report{Rows: []*row{good, bad}, Failed: []string{"start: no disk"}}
	var out strings.Builder
	r.table(&out)
	for _, want := range []string{
		"| good | p99 ≤ 30 ms |", " pass |", "| bad  | ≤ 100 MB | 120 MB   | MISSED |", "NOT MEASURED: start: no disk",
		"1 bars missed",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, out.String())
		}
	}
}

func TestClocks(t *testing.T) {
	before, err := cpuTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for used := time.Duration(0); used < time.Millisecond; { // the clock of a process that works goes on
		after, err := cpuTime(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		used = after - before
	}
	m, err := memoryOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if m.RSS < m.Anon || m.Anon == 0 || m.Pss == 0 {
		t.Errorf("memory of this process: %+v", m)
	}
}

func TestDiskUse(t *testing.T) {
	dir := t.TempDir()
	file, err := os.Create(dir + "/sparse")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := file.Truncate(1 << 30); err != nil {
		t.Fatal(err)
	}
	apparent, onDisk, err := diskUse(dir)
	if err != nil {
		t.Fatal(err)
	}
	if apparent != 1<<30 || onDisk > 1<<20 {
		t.Errorf("got %d bytes apparent and %d on disk, want %d and next to none", apparent, onDisk, 1<<30)
	}
}

func TestTokens(t *testing.T) {
	for _, algorithm := range []string{"ES256", "RS256", "EdDSA"} {
		t.Run(algorithm, func(t *testing.T) {
			m, err := newMint(algorithm)
			if err != nil {
				t.Fatal(err)
			}
			m.issuer = "https://issuer.example"
			good, err := m.tokens(10)
			if err != nil {
				t.Fatal(err)
			}
			forged, err := m.forged(10)
			if err != nil {
				t.Fatal(err)
			}
			seen := map[string]bool{}
			for _, token := range append(good, forged...) {
				if strings.Count(token, ".") != 2 || seen[token] {
					t.Errorf("no new token: %s", token)
				}
				seen[token] = true
			}
		})
	}
}
