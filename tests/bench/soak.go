//go:build linux

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"
)

// soak lets a gateway work for long under a moderate load of every kind, and looks whether it grows: what it holds of
// memory, goroutines, files and disk has to be level, and no request may fail.
type soak struct {
	suite    *suite
	length   time.Duration
	lifetime time.Duration // of access tokens; nothing else that the load leaves behind lasts for more than twice that
	every    time.Duration // between two samples
	lines    int           // of the table, about
	profiles string        // folder for profiles of the heap and the goroutines; empty: none
	out      io.Writer

	g       *gateway
	pool    tokenPool
	samples []soakSample

	mu       sync.Mutex
	jobs     map[string]int // how often each was done
	late     int            // jobs that took so long that their token may have ended under way
	failed   int
	failures []string // the first of them
}

// newSoak is a soak of that length. Tokens are so short-lived that records expire, are purged and make room many times
// in a third of it.
func newSoak(s *suite, length time.Duration, out io.Writer) *soak {
	return &soak{
		suite: s, length: length, out: out,
		lifetime: soakLifetime(length),
		every:    max(500*time.Millisecond, length/240),
		lines:    30,
		jobs:     map[string]int{},
	}
}

func soakLifetime(length time.Duration) time.Duration {
	return min(time.Minute, max(5*time.Second, (length/40).Round(time.Second)))
}

// runSoak is the command `soak`.
func runSoak(args []string) (err error) {
	s := &suite{progress: os.Stderr}
	flags := flag.NewFlagSet("bench soak", flag.ContinueOnError)
	length := flags.Duration("length", time.Hour, "how long the load lasts, from a minute up")
	dir := flags.String("dir", "/var/tmp", "`folder`, on a disk, for everything that is written")
	flags.StringVar(&s.caddy, "caddy", "", "`path` of another Caddy with the plugin, to be used in place of this one")
	profiles := flags.String("profiles", "", "`folder` for profiles of the heap and the goroutines, from each quarter")
	if err := flags.Parse(args); err != nil {
		return err
	}
	switch {
	case flags.NArg() > 0:
		return fmt.Errorf("unknown argument %q", flags.Arg(0))
	case *length < time.Minute || *length > 24*time.Hour:
		return errors.New("-length: from 1m to 24h")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if s.program, err = os.Executable(); err != nil {
		return err
	}
	if s.dir, err = os.MkdirTemp(*dir, "caddy-passport-soak-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(s.dir)) }()
	defer s.close()
	k := newSoak(s, *length, os.Stdout)
	k.profiles = *profiles
	return k.run(ctx)
}

// run is the whole soak. The error tells what was not level, or failed.
func (k *soak) run(ctx context.Context) error {
	upstream, err := newSoakUpstream()
	if err != nil {
		return err
	}
	defer upstream.close()
	if err := k.launch(ctx, upstream.address); err != nil {
		return err
	}
	// What is made by the first request and stays, is there.
	if err := k.tokens(ctx); err != nil {
		return err
	}
	k.atRest()
	rest, err := k.sample(ctx)
	if err != nil {
		return err
	}
	cpu, err := cpuTime(k.g.pid())
	if err != nil {
		return err
	}
	load, stop := context.WithCancel(ctx)
	defer stop()
	var workers sync.WaitGroup
	k.start(load, &workers)
	err = k.watch(load)
	after, cpuErr := cpuTime(k.g.pid())
	stop()
	workers.Wait()
	if err = errors.Join(err, cpuErr); err != nil {
		return k.g.failure(err)
	}
	fmt.Fprintf(k.out, "\n%d jobs in %s: %s\nCaddy used %.1f %% of one core; %d jobs came late\n",
		k.done(), k.length, k.counted(), 100*float64(after-cpu)/float64(k.length), k.late)
	var faults []error
	if k.failed > 0 {
		faults = append(faults, fmt.Errorf("%d requests failed; the first:\n%s", k.failed, strings.Join(k.failures, "\n")))
	}
	if n := k.done(); k.late > n/20 {
		faults = append(faults, fmt.Errorf("%d of %d jobs came so late that they tell nothing: the machine is too busy",
			k.late, n))
	}
	fmt.Fprintln(k.out, "\nthe last third beside the one before:")
	faults = append(faults, levels(k.samples, k.length, k.out), k.settles(ctx, rest))
	return errors.Join(faults...)
}

// watch takes samples until the load has lasted as long as it is to.
func (k *soak) watch(ctx context.Context) error {
	began := time.Now()
	each := max(1, int(k.length/k.every)/k.lines)
	fmt.Fprintln(k.out, soakHeading)
	ticker := time.NewTicker(k.every)
	defer ticker.Stop()
	quarter := 1
	for n := 1; time.Since(began) < k.length; n++ {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-k.g.exited:
			return errors.New("the gateway has ended")
		case <-ticker.C:
		}
		one, err := k.sample(ctx)
		if err != nil {
			return err
		}
		one.at = time.Since(began)
		k.samples = append(k.samples, one)
		if n%each == 0 {
			fmt.Fprintln(k.out, one)
		}
		if int(4*one.at/k.length) >= quarter {
			if err := k.profile(ctx, quarter); err != nil {
				return err
			}
			quarter++
		}
	}
	return nil
}

// settles waits until the gateway, which has nothing to do any more, has given back its goroutines and connections.
func (k *soak) settles(ctx context.Context, rest soakSample) error {
	// A few that come and go by themselves: Badger compacts, Go's own collect garbage.
	const spare = 5
	var last soakSample
	for deadline := time.Now().Add(3 * time.Minute); time.Now().Before(deadline); time.Sleep(time.Second) {
		k.atRest()
		var err error
		if last, err = k.sample(ctx); err != nil {
			return err
		}
		if last.goroutines <= rest.goroutines+spare && last.sockets <= rest.sockets+spare {
			fmt.Fprintf(k.out, "at rest again: goroutines %.0f, before the load %.0f; connections %.0f, before %.0f\n",
				last.goroutines, rest.goroutines, last.sockets, rest.sockets)
			return nil
		}
	}
	return fmt.Errorf("minutes after the load there are %.0f goroutines and %.0f connections, before it %.0f and %.0f",
		last.goroutines, last.sockets, rest.goroutines, rest.sockets)
}

// atRest lets go the connections that this program keeps.
func (k *soak) atRest() { http.DefaultClient.CloseIdleConnections() }

// failure notes what has gone wrong.
func (k *soak) failure(job string, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	const told = 10
	if k.failed++; len(k.failures) < told {
		k.failures = append(k.failures, fmt.Sprintf("%s %s: %v", time.Now().Format(time.TimeOnly), job, err))
	}
}
