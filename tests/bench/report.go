//go:build linux

package main

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

// report is all figures of a run.
type report struct {
	Host    host      `json:"host"`
	Began   time.Time `json:"began"`
	Took    float64   `json:"took_seconds"`
	Rounds  int       `json:"rounds"`
	Seconds float64   `json:"seconds_per_round"`
	Rows    []*row    `json:"rows"`
	Failed  []string  `json:"failed,omitempty"`
}

func (r *report) missed() int {
	n := 0
	for _, row := range r.Rows {
		if len(row.Missed) > 0 {
			n++
		}
	}
	return n
}

// table prints the report as a person reads it.
func (r *report) table(w io.Writer) {
	fmt.Fprintf(w, "%s\n%d rounds of %g s; medians (least–most); ratios are to bare Caddy, a process without an issuer, "+
		"unless the work says otherwise\n\n", r.Host, r.Rounds, r.Seconds)
	lines := [][]string{{
		"work", "bar", "CPU ratio", "CPU µs", "req/s ratio", "req/s", "p50 ms", "p99 ms", "allocs", "bytes", "",
	}}
	var other []*row
	for _, row := range r.Rows {
		if row.Measured != "" {
			other = append(other, row)
			continue
		}
		lines = append(lines, []string{
			row.Work, row.Bar, row.CPURatio.text("%.2f"), number("%.1f", row.CPU.Median), row.RateRatio.text("%.2f"),
			number("%.0f", row.Rate.Median), number("%.2f", row.P50.Median), number("%.2f", row.P99.Median),
			number("%.0f", row.Objects.Median), number("%.0f", row.Bytes.Median), row.verdict(),
		})
	}
	columns(w, lines)
	lines = [][]string{{"work", "bar", "measured", ""}}
	for _, row := range other {
		lines = append(lines, []string{row.Work, row.Bar, row.Measured, row.verdict()})
	}
	columns(w, lines)
	for _, failed := range r.Failed {
		fmt.Fprintf(w, "NOT MEASURED: %s\n", failed)
	}
	busy := 0.0
	for _, row := range r.Rows {
		for _, one := range row.Samples {
			busy = max(busy, one.Foreign)
		}
	}
	if busy > tooBusy {
		fmt.Fprintf(w, "Others used up to %.0f %% of the machine: the figures are not to be relied on.\n", 100*busy)
	}
	fmt.Fprintf(w, "%d bars missed; took %s\n", r.missed(), time.Duration(r.Took*float64(time.Second)))
}

// text is the median with the least and the most of the rounds; nothing for a figure that was not measured.
func (s spread) text(format string) string {
	if s.Median == 0 {
		return ""
	}
	return fmt.Sprintf(format+" ("+format+"–"+format+")", s.Median, s.Least, s.Most)
}

func number(format string, value float64) string {
	if value == 0 {
		return ""
	}
	return fmt.Sprintf(format, value)
}

// columns sets lines in columns, as Markdown does.
func columns(w io.Writer, lines [][]string) {
	if len(lines) < 2 {
		return
	}
	widths := make([]int, len(lines[0]))
	for _, line := range lines {
		for i, cell := range line {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for n, line := range lines {
		for i, cell := range line {
			fmt.Fprintf(w, "| %s%s ", cell, strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)))
		}
		fmt.Fprintln(w, "|")
		if n == 0 {
			for _, width := range widths {
				fmt.Fprintf(w, "|%s", strings.Repeat("-", width+2))
			}
			fmt.Fprintln(w, "|")
		}
	}
	fmt.Fprintln(w)
}
