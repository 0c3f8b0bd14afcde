//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// soakSample is what the gateway holds at a moment.
type soakSample struct {
	at         time.Duration
	memory     float64 // bytes of its own; pages of files that it maps are the kernel's to take back
	heap       float64 // bytes of its heap that are alive
	goroutines float64
	sockets    float64 // open files that are connections or listeners
	files      float64 // the other open files
	disk       float64 // bytes that the storage takes on disk
	records    float64 // tokens that are recorded
	remembered float64 // tokens that have been seen
	revoked    float64 // revocations in memory
}

const soakHeading = "    time    memory MB   heap MB  goroutines  connections  files  disk MB  records  remembered" +
	"  revoked"

func (s soakSample) String() string {
	return fmt.Sprintf("%8s  %11.1f  %8.1f  %10.0f  %11.0f  %5.0f  %7.1f  %7.0f  %10.0f  %7.0f",
		s.at.Round(time.Second), s.memory/1e6, s.heap/1e6, s.goroutines, s.sockets, s.files, s.disk/1e6, s.records,
		s.remembered, s.revoked)
}

// sample looks at the gateway. The memory is read before the collector runs, as the load has made it.
func (k *soak) sample(ctx context.Context) (one soakSample, err error) {
	held, err := memoryOf(k.g.pid())
	if err != nil {
		return one, err
	}
	one.memory = float64(held.Anon)
	if one.sockets, one.files, err = openFiles(k.g.pid()); err != nil {
		return one, err
	}
	_, onDisk, err := diskUse(k.g.store())
	if err != nil {
		return one, err
	}
	one.disk = float64(onDisk)
	metrics, err := k.g.get(ctx, "/metrics")
	if err != nil {
		return one, err
	}
	for line := range strings.Lines(string(metrics)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		into := map[string]*float64{
			"go_goroutines": &one.goroutines,
			`caddy_passport_cache_entries{issuer="default"}`: &one.remembered,
			`caddy_passport_revocations{issuer="default"}`:   &one.revoked,
		}[name]
		if into == nil {
			continue
		}
		if *into, err = strconv.ParseFloat(value, 64); err != nil {
			return one, err
		}
	}
	if one.goroutines == 0 {
		return one, errors.New("no goroutines in Caddy's metrics")
	}
	data, err := k.g.get(ctx, "/passport/default/tokens?limit=10000")
	if err != nil {
		return one, err
	}
	var list struct {
		Tokens []json.RawMessage `json:"tokens"`
		More   bool              `json:"more"`
	}
	if err := json.Unmarshal(data, &list); err != nil {
		return one, err
	}
	if list.More {
		return one, errors.New("there are more tokens than can be listed")
	}
	one.records = float64(len(list.Tokens))
	heap, err := k.g.heap(ctx)
	one.heap = float64(heap)
	return one, err
}

// openFiles counts the open files of a process, connections and listeners apart.
func openFiles(pid int) (sockets, files float64, err error) {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0, 0, err
	}
	for _, entry := range entries {
		to, err := os.Readlink(filepath.Join(dir, entry.Name()))
		switch {
		case err != nil: // closed meanwhile
		case strings.HasPrefix(to, "socket:"):
			sockets++
		default:
			files++
		}
	}
	return sockets, files, nil
}

// soakBar is something that has to be level: in the last third of the time no more than in the one before, but for a
// share and so much beside. The first third is not looked at: caches fill, and Badger merges its tables for the first
// time. In an hour a third is about as long as it takes Badger until the next time, so that each has seen one.
type soakBar struct {
	name   string
	of     func(soakSample) float64
	unit   float64
	share  float64
	beside float64
	in     func(spread) float64 // which of a third's figures counts; nil: the median

	// unsettled is so much more beside in a run of less than ten minutes.
	unsettled float64

	// rate is how many of it the load makes in a second when nothing holds it up, and stays how many seconds they stay
	// when their tokens are over. That many are no growth, for a busy machine has fewer at one time than at another.
	rate, stays float64
}

// soakBars are as wide as what comes and goes by itself, and narrower than what an hour of a leak comes to. From one
// third of an hour to the next, the load of [soak.work] is more than two hundred thousand requests, seventy thousand
// tokens and two thousand streams: one goroutine or connection for each hundredth stream, or for each four thousandth
// token, is out of bounds, and so is a heap with forty bytes more for each request. In the minute that CI has, it takes
// a goroutine for every other stream, or some kilobytes for each request; that all goroutines and connections are given
// back in the end is looked at apart, however short the run was, see [soak.settles].
var soakBars = []soakBar{
	// It has the teeth of the disk, see there: Badger has read blocks of its new tables in memory, up to 64 MB, until it
	// merges them. So it is what is left between two teeth that is compared. In its first minute the cache of tokens only
	// fills, for it is swept once in one.
	{
		name: "heap alive, least", of: func(s soakSample) float64 { return s.heap }, unit: 1e6, share: 0.03, beside: 3e6,
		in: least, unsettled: 4e6,
	},
	// The collector lets garbage come to the size of what is alive, and the kernel gets pages back in its own time. For
	// minutes after its start a process holds more and more of what it uses, most of all with the race detector.
	{
		name: "memory, least", of: func(s soakSample) float64 { return s.memory }, unit: 1e6, share: 0.05, beside: 10e6,
		in: least, unsettled: 40e6,
	},
	// A tooth is as high as the merge at its end is late, which has all that it reads and writes in memory for a moment.
	{
		name: "memory, most", of: func(s soakSample) float64 { return s.memory }, unit: 1e6, share: 0.2, beside: 10e6,
		in: most, unsettled: 40e6,
	},
	{name: "goroutines", of: func(s soakSample) float64 { return s.goroutines }, unit: 1, beside: 10},
	{name: "connections", of: func(s soakSample) float64 { return s.sockets }, unit: 1, beside: 10},
	// Badger has up to five new tables before it merges them.
	{name: "other open files", of: func(s soakSample) float64 { return s.files }, unit: 1, beside: 5},
	// Its files come in teeth: the log is 16 MB long before it becomes a table, and five tables are gathered before they
	// are merged and what has expired in them makes room. So it is the highest teeth that are compared, and two thirds
	// may be a log and two tables apart. A run of a minute does not come to the end of the first tooth, and says no more
	// than that nothing runs away; that records go says the next line.
	{name: "disk", of: func(s soakSample) float64 { return s.disk }, unit: 1e6, beside: 24e6, in: most},
	{
		name: "records of tokens", of: func(s soakSample) float64 { return s.records }, unit: 1, share: 0.1,
		rate: 80, stays: 5,
	},
	{
		name: "tokens remembered", of: func(s soakSample) float64 { return s.remembered }, unit: 1, share: 0.1,
		rate: 80, stays: 60, // until they are swept out
	},
	{
		name: "revocations in memory", of: func(s soakSample) float64 { return s.revoked }, unit: 1, share: 0.1,
		rate: 10, stays: 60, // the same
	},
}

// levels compares the last third of the samples with the one before. The error names what is not level.
func levels(samples []soakSample, length time.Duration, out io.Writer) error {
	n := len(samples)
	if n < 8 {
		return fmt.Errorf("%d samples tell nothing", n)
	}
	var grown []error
	for _, b := range soakBars {
		early, late := thirdOf(samples[n/3:n*2/3], b), thirdOf(samples[n*2/3:], b)
		limit := max(early*(1+b.share)+b.beside, b.rate*(soakLifetime(length).Seconds()+b.stays))
		if length < 10*time.Minute {
			limit += b.unsettled
		}
		verdict := "level"
		if late > limit {
			verdict = "GROWN"
			grown = append(grown, fmt.Errorf("%s: %.1f in the last third, %.1f in the one before: more than %.1f", b.name,
				late/b.unit, early/b.unit, limit/b.unit))
		}
		fmt.Fprintf(out, "  %-22s %9.1f  then %9.1f  at most %9.1f  %s\n", b.name, early/b.unit, late/b.unit,
			limit/b.unit, verdict)
	}
	return errors.Join(grown...)
}

func least(of spread) float64 { return of.Least }
func most(of spread) float64  { return of.Most }

// thirdOf is the figure of a third.
func thirdOf(samples []soakSample, b soakBar) float64 {
	of := median(samples, b.of)
	if b.in != nil {
		return b.in(of)
	}
	return of.Median
}

// profile keeps what is in the heap and what the goroutines do, after a quarter of the time.
func (k *soak) profile(ctx context.Context, quarter int) error {
	if k.profiles == "" {
		return nil
	}
	for name, path := range map[string]string{
		"heap": "/debug/pprof/heap?gc=1", "goroutine": "/debug/pprof/goroutine",
	} {
		data, err := k.g.get(ctx, path)
		if err == nil {
			err = os.WriteFile(filepath.Join(k.profiles, fmt.Sprintf("%s-%d.pprof", name, quarter)), data, 0o600)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
