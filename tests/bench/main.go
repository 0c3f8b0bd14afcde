//go:build linux

// Command bench measures caddy-passport: a Caddy with it against the same Caddy without, in one run, in rounds that
// take turns, and prints a table with the bar that each figure has to keep.
//
// The load comes from wrk, the upstream is a process of its own, and what counts is the CPU time of the Caddy process
// for a request, user and system, as the scheduler counted it: on a machine that also runs the load, requests a second
// say as much about wrk as about Caddy. A ratio is taken within a round, then the median of the rounds: the speed of a
// machine wanders from minute to minute by more than what is measured here.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"syscall"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard" // what every Caddy has

	_ "github.com/oauth2-passport/caddy-passport" // what is measured
)

// This program is also its own children: one file has all, built from the same sources.
const (
	hiddenUpstream = "internal-upstream"
	hiddenCaddy    = "internal-caddy"
)

func main() {
	beChild()
	command, args := run, os.Args[1:]
	if len(args) > 0 && args[0] == "soak" {
		command, args = runSoak, args[1:]
	}
	if err := command(args); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// beChild does not return when this process is a child.
func beChild() {
	if len(os.Args) < 2 {
		return
	}
	switch os.Args[1] {
	case hiddenUpstream:
		os.Exit(serveUpstream())
	case hiddenCaddy:
		os.Args = append([]string{"caddy"}, os.Args[2:]...)
		caddycmd.Main()
		os.Exit(0)
	}
}

func run(args []string) (err error) {
	s := &suite{progress: os.Stderr}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	quick := flags.Bool("quick", false, "about a minute: the main works, three short rounds")
	only := flags.String("only", "", "run the works whose `name` this regular expression matches; see --list")
	list := flags.Bool("list", false, "list the works and end")
	file := flags.String("json", "", "also write the figures to this `file` (-: standard output, instead of the table)")
	dir := flags.String("dir", "/var/tmp", "`folder`, on a disk, for everything that is written")
	quiet := flags.Bool("quiet", false, "no progress on standard error")
	check := flags.Bool("check", false, "end with code 1 when a bar is missed")
	limit := flags.Duration("timeout", 30*time.Minute, "give up after this long")
	flags.IntVar(&s.rounds, "rounds", 0, "rounds of each work (default 5, quick 3)")
	seconds := flags.Float64("seconds", 1, "how long each variant runs in a round")
	flags.StringVar(&s.caddy, "caddy", "", "`path` of another Caddy with the plugin, to be measured in place of this one")
	flags.StringVar(&s.profiles, "profiles", "", "`folder` for profiles of Caddy under each load")
	flags.IntVar(&s.live, "live", 100_000, "live tokens of the work memory")
	flags.IntVar(&s.million, "start", 1_000_000, "live tokens of the work start")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unknown argument %q", flags.Arg(0))
	}
	chosen, err := regexp.Compile("^(?:" + *only + ")$")
	if err != nil {
		return fmt.Errorf("--only: %w", err)
	}
	if s.rounds <= 0 {
		s.rounds = 5
		if *quick {
			s.rounds = 3
		}
	}
	s.length = time.Duration(*seconds * float64(time.Second))
	if s.length < 100*time.Millisecond || s.length > time.Minute {
		return errors.New("--seconds: from 0.1 to 60")
	}
	if *quiet {
		s.progress = io.Discard
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, *limit)
	defer cancel()

	if s.program, err = os.Executable(); err != nil {
		return err
	}
	if s.dir, err = os.MkdirTemp(*dir, "caddy-passport-bench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(s.dir)) }()
	defer s.close()
	works := s.works()
	if *list {
		for _, w := range works {
			fmt.Printf("%-12s %s\n", w.name, w.about)
		}
		return nil
	}
	if err := s.prepare(ctx); err != nil {
		return err
	}
	result := report{Host: s.host(), Rounds: s.rounds, Seconds: s.length.Seconds(), Began: time.Now()}
	for _, w := range works {
		if *only != "" && !chosen.MatchString(w.name) || *only == "" && *quick && !w.quick {
			continue
		}
		fmt.Fprintf(s.progress, "%s: %s\n", w.name, w.about)
		rows, err := w.run(ctx)
		s.endGateways()
		if err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			result.Failed = append(result.Failed, fmt.Sprintf("%s: %v", w.name, err))
			fmt.Fprintf(s.progress, "  failed: %v\n", err)
			continue
		}
		for _, r := range rows {
			r.Name = w.name
		}
		result.Rows = append(result.Rows, rows...)
	}
	result.Took = time.Since(result.Began).Round(time.Second).Seconds()
	if err := result.write(*file); err != nil {
		return err
	}
	if n := len(result.Failed); n > 0 {
		return fmt.Errorf("%d works could not be measured", n)
	}
	if missed := result.missed(); *check && missed > 0 {
		return fmt.Errorf("%d bars were missed", missed)
	}
	return nil
}

func (r *report) write(file string) error {
	if file != "-" {
		r.table(os.Stdout)
	}
	if file == "" {
		return nil
	}
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	data = append(data, '\n')
	if file == "-" {
		_, err = os.Stdout.Write(data)
		return err
	}
	return os.WriteFile(file, data, 0o600)
}
