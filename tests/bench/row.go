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
	floor bool   // the base has a signature more
	flood *row   // the pair of the flood that runs beside and the base: its cost is taken off
	// signatureOf is the row whose signatures are this row's figure.
	signatureOf *row

	hidden bool // is measured for another row
	bars   []bar

	// Measured is what stands in the table of a row that is no load on a gateway, Value what its bar is about.
	Measured string  `json:"measured,omitempty"`
	Value    float64 `json:"value,omitempty"`

	CPU       spread    `json:"cpu_microseconds,omitzero"`
	CPURatio  spread    `json:"cpu_ratio,omitzero"`
	Rate      spread    `json:"requests_per_second,omitzero"`
	RateRatio spread    `json:"requests_ratio,omitzero"`
	P50       spread    `json:"p50_milliseconds,omitzero"`
	P99       spread    `json:"p99_milliseconds,omitzero"`
	Objects   spread    `json:"allocations,omitzero"`
	Bytes     spread    `json:"allocated_bytes,omitzero"`
	Missed    []string  `json:"missed,omitempty"`
	Samples   []sample  `json:"samples,omitempty"`
	Pairs     []pair    `json:"pairs,omitempty"`
	rates     []float64 // ratios of requests a second, by round
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

// add takes the row's figures from a round.
func (r *row) add(solo map[string]sample, pairs map[*row]pair) {
	if r.signatureOf != nil {
		return
	}
	one := solo[r.leg]
	r.Samples = append(r.Samples, one)
	if r.base == "" {
		return
	}
	r.rates = append(r.rates, one.Rate/solo[r.base].Rate)
	p := pairs[r]
	if r.flood != nil {
		p.Ratio -= p.Beside * pairs[r.flood].Ratio
	}
	r.Pairs = append(r.Pairs, p)
}

// settle takes the medians of the rounds and compares them with the bars.
func (r *row) settle() {
	if len(r.Samples) > 0 {
		r.CPU = median(r.Samples, func(one sample) float64 { return float64(one.CPU) / 1e3 })
		r.Rate = median(r.Samples, func(one sample) float64 { return one.Rate })
		r.P50 = median(r.Samples, func(one sample) float64 { return float64(one.P50) / 1e6 })
		r.P99 = median(r.Samples, func(one sample) float64 { return float64(one.P99) / 1e6 })
		r.Objects = median(r.Samples, func(one sample) float64 { return one.Objects })
		r.Bytes = median(r.Samples, func(one sample) float64 { return one.Bytes })
		r.CPURatio = median(r.Pairs, func(p pair) float64 { return p.Ratio })
		r.RateRatio = spreadOf(r.rates)
	}
	if r.signatureOf != nil {
		r.CPU = median(r.signatureOf.Pairs, func(p pair) float64 { return float64(p.Floor) / 1e3 })
	}
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

func median[T any](of []T, figure func(T) float64) spread {
	values := make([]float64, len(of))
	for i, one := range of {
		values[i] = figure(one)
	}
	return spreadOf(values)
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
