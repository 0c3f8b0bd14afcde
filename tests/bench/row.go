//go:build linux

package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// row is a line of the table: a work, its bar, and what was measured of it.
type row struct {
	Name string `json:"name"` // of the work
	Work string `json:"work"`
	Bar  string `json:"bar"` // empty: told for comparison, without a bar

	leg   string
	base  string // the leg that the ratios are to; empty: none
	floor string // a leg whose CPU time is added to the base's
	bars  []bar

	flood string // the leg that ran beside: its cost is taken off

	// Measured is what stands in the table of a row that is no load on a gateway, Value what its bar is about.
	Measured string  `json:"measured,omitempty"`
	Value    float64 `json:"value,omitempty"`

	CPU       spread         `json:"cpu_microseconds,omitzero"`
	CPURatio  spread         `json:"cpu_ratio,omitzero"`
	Rate      spread         `json:"requests_per_second,omitzero"`
	RateRatio spread         `json:"requests_ratio,omitzero"`
	P50       spread         `json:"p50_milliseconds,omitzero"`
	P99       spread         `json:"p99_milliseconds,omitzero"`
	Values    map[string]any `json:"values,omitempty"`
	Missed    []string       `json:"missed,omitempty"`
	Samples   []sample       `json:"samples,omitempty"`
}

// bar is one demand: the median over the rounds of a figure, against a limit.
type bar struct {
	what    string // as it stands in the table
	figure  func(*row) float64
	atLeast bool
	limit   float64
	unit    string
}

func cpuAtMost(limit float64) bar {
	return bar{"CPU", func(r *row) float64 { return r.CPURatio.Median }, false, limit, " ×"}
}

func rateAtLeast(limit float64) bar {
	return bar{"req/s", func(r *row) float64 { return r.RateRatio.Median }, true, limit, " ×"}
}

func absoluteRateAtLeast(limit float64) bar {
	return bar{"a second", func(r *row) float64 { return r.Rate.Median }, true, math.Round(limit), ""}
}

func p99AtMost(limit time.Duration) bar {
	return bar{"p99", func(r *row) float64 { return r.P99.Median }, false, limit.Seconds() * 1e3, " ms"}
}

func valueAtMost(what string, limit float64, unit string) bar {
	return bar{what, func(r *row) float64 { return r.Value }, false, limit, unit}
}

func (b bar) String() string {
	sign := "≤"
	if b.atLeast {
		sign = "≥"
	}
	return strings.TrimSpace(fmt.Sprintf("%s %s %g%s", b.what, sign, b.limit, b.unit))
}

func (b bar) holds(r *row) bool {
	if b.atLeast {
		return b.figure(r) >= b.limit
	}
	return b.figure(r) <= b.limit
}

// spread is the median of the rounds, with the least and the most.
type spread struct {
	Median float64 `json:"median"`
	Least  float64 `json:"least"`
	Most   float64 `json:"most"`
}

func spreadOf(values []float64) spread {
	if len(values) == 0 {
		return spread{}
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	median := sorted[middle]
	if len(sorted)%2 == 0 {
		median = (sorted[middle-1] + sorted[middle]) / 2
	}
	return spread{median, sorted[0], sorted[len(sorted)-1]}
}

// evaluate takes the row's figures from the samples. A ratio is of two legs of the same round; the median is of those.
func (r *row) evaluate(samples map[string][]sample) {
	r.Samples = samples[r.leg]
	figure := func(of func(i int, one sample) float64) spread {
		var values []float64
		for i, one := range r.Samples {
			values = append(values, of(i, one))
		}
		return spreadOf(values)
	}
	cpu := func(i int, one sample) float64 {
		if r.flood == "" {
			return float64(one.CPU)
		}
		flood := samples[r.flood][i].CPU * time.Duration(one.Beside.Requests)
		return float64(one.total-flood) / float64(one.Requests)
	}
	r.CPU = figure(func(i int, one sample) float64 { return cpu(i, one) / 1e3 })
	r.Rate = figure(func(_ int, one sample) float64 { return one.Rate })
	r.P50 = figure(func(_ int, one sample) float64 { return float64(one.P50) / 1e6 })
	r.P99 = figure(func(_ int, one sample) float64 { return float64(one.P99) / 1e6 })
	if r.base != "" {
		base := samples[r.base]
		r.CPURatio = figure(func(i int, one sample) float64 {
			denominator := base[i].CPU
			if r.floor != "" {
				denominator += samples[r.floor][i].CPU
			}
			return cpu(i, one) / float64(denominator)
		})
		r.RateRatio = figure(func(i int, one sample) float64 { return one.Rate / base[i].Rate })
	}
	r.settle()
}

// settle compares the figures with the bars.
func (r *row) settle() {
	var texts []string
	for _, b := range r.bars {
		texts = append(texts, b.String())
		if !b.holds(r) {
			r.Missed = append(r.Missed, b.String())
		}
	}
	if r.Bar == "" {
		r.Bar = strings.Join(texts, ", ")
	}
}

func (r *row) verdict() string {
	switch {
	case len(r.bars) == 0:
		return ""
	case len(r.Missed) > 0:
		return "MISSED"
	}
	return "pass"
}
