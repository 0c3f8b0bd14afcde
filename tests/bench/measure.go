//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// leg is one variant of a group: a load on a Caddy. The legs of a group run in turn, again in each round.
type leg struct {
	name    string
	gateway *gateway
	load    load

	// whole has the warm-up send every request of the load once, instead of some of them for a while.
	whole bool
	// fresh makes requests that no gateway has seen, for one round. The load's own are not used then.
	fresh func(n int) ([][]byte, error)
	// most bounds how many fresh requests a round has, where they are dear to make.
	most int
	// refused says that the gateway has to refuse every request.
	refused bool
	// beside runs at the same time; it belongs to the same gateway.
	beside *leg
	// inProcess measures work of this program instead: the CPU time of one operation.
	inProcess func() (time.Duration, error)

	rate float64 // requests a second, as last seen
}

// sample is what one round of a leg came to.
type sample struct {
	CPU      time.Duration `json:"cpu_ns"` // of the Caddy process, user and system, for a request
	Rate     float64       `json:"requests_per_second"`
	P50      time.Duration `json:"p50_ns"`
	P99      time.Duration `json:"p99_ns"`
	Requests int           `json:"requests"`
	Foreign  float64       `json:"foreign"` // share of the machine's CPU that went to others
	Beside   *sample       `json:"beside,omitempty"`

	total time.Duration // CPU time of all requests
}

// group is legs that are compared with each other, and the rows of the table that tell of them.
type group struct {
	legs []*leg
	rows []*row
}

// tooBusy is the share of the machine above which others' work spoils a round: it is run again.
const tooBusy = 0.05

// measure runs the legs of a group in turn, as many rounds as asked for, every other one backwards so that a machine
// that grows slower or faster is no gain for any. A round in which the machine had other things to do is run again, as
// long as no more rounds are lost than kept.
func (s *suite) measure(ctx context.Context, g *group) error {
	samples := map[string][]sample{}
	again := s.rounds
	for round := 0; round < s.rounds; {
		order := slices.Clone(g.legs)
		if round%2 == 1 {
			slices.Reverse(order)
		}
		one := map[string]sample{}
		worst := 0.0
		for _, l := range order {
			taken, err := s.sample(ctx, l)
			if err != nil {
				return fmt.Errorf("%s: %w", l.name, err)
			}
			one[l.name] = taken
			worst = max(worst, taken.Foreign)
			fmt.Fprintf(s.progress, "  round %2d  %-22s %8.1f µs %9.0f/s  p99 %6.2f ms  others %4.1f %%\n", round+1, l.name,
				float64(taken.CPU)/1e3, taken.Rate, float64(taken.P99)/1e6, 100*taken.Foreign)
		}
		if worst > tooBusy && again > 0 {
			again--
			fmt.Fprintf(s.progress, "  round %2d  again: others used %.0f %% of the machine\n", round+1, 100*worst)
			continue
		}
		for name, taken := range one {
			samples[name] = append(samples[name], taken)
		}
		round++
	}
	for _, r := range g.rows {
		r.evaluate(samples)
	}
	return nil
}

// profile runs each leg once more, beside the CPU profiler of its Caddy, when profiles are asked for.
func (s *suite) profile(ctx context.Context, g *group) error {
	if s.profiles == "" {
		return nil
	}
	for _, l := range g.legs {
		if l.inProcess != nil {
			continue
		}
		// The sample begins with a warm-up; the profile begins after it, and ends before the load does.
		taken := make(chan error, 1)
		time.AfterFunc(time.Second, func() {
			data, err := l.gateway.get(ctx, "/debug/pprof/profile?seconds=3")
			if err == nil {
				file := strings.ReplaceAll(filepath.Base(l.gateway.dir)+"-"+l.name, " ", "-") + ".pprof"
				err = os.WriteFile(filepath.Join(s.profiles, file), data, 0o600)
			}
			taken <- err
		})
		length := s.length
		s.length = 5 * time.Second
		_, err := s.sample(ctx, l)
		s.length = length
		if err := errors.Join(err, <-taken); err != nil {
			return fmt.Errorf("profile of %s: %w", l.name, err)
		}
	}
	return nil
}

// sample runs one round of a leg.
func (s *suite) sample(ctx context.Context, l *leg) (sample, error) {
	if l.inProcess != nil {
		cpu, err := l.inProcess()
		return sample{CPU: cpu}, err
	}
	load := l.load
	load.length = s.length
	if l.fresh != nil {
		load.once = true
		n := l.most
		if l.rate == 0 { // how many are needed for a round? It also warms up.
			requests, err := l.fresh(min(2000, l.most))
			if err != nil {
				return sample{}, err
			}
			trial := load
			trial.requests = requests
			if err := s.checked(ctx, l, trial, nil); err != nil {
				return sample{}, err
			}
		}
		n = min(n, max(500, int(l.rate*s.length.Seconds())))
		var err error
		if load.requests, err = l.fresh(n); err != nil {
			return sample{}, err
		}
	} else {
		warm := load
		warm.length = 300 * time.Millisecond
		warm.once = l.whole
		if err := s.checked(ctx, l, warm, nil); err != nil {
			return sample{}, err
		}
	}
	var one sample
	err := s.checked(ctx, l, load, &one)
	return one, err
}

// checked runs a load of a leg, reads the clocks around it, and fails when an answer was not as it has to be.
func (s *suite) checked(ctx context.Context, l *leg, load load, into *sample) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	type outcome struct {
		answers answers
		err     error
	}
	var beside chan outcome
	cpu, err := cpuTime(l.gateway.pid())
	if err != nil {
		return l.gateway.failure(err)
	}
	busy, own, err := s.clocks(l.gateway)
	if err != nil {
		return err
	}
	began := time.Now()
	if l.beside != nil && into != nil {
		beside = make(chan outcome, 1)
		other := l.beside.load
		other.length = load.length
		go func() {
			a, err := s.run(ctx, other)
			beside <- outcome{a, err}
		}()
	}
	a, err := s.run(ctx, load)
	if err != nil {
		return err
	}
	if err := l.judge(a); err != nil {
		return err
	}
	var other *sample
	if beside != nil {
		o := <-beside
		if o.err != nil {
			return o.err
		}
		if err := l.beside.judge(o.answers); err != nil {
			return fmt.Errorf("beside it: %w", err)
		}
		other = &sample{}
		other.take(o.answers)
	}
	wall := time.Since(began)
	// What was sent and not waited for is work too, and is done by now.
	time.Sleep(10 * time.Millisecond)
	cpuAfter, err := cpuTime(l.gateway.pid())
	if err != nil {
		return l.gateway.failure(err)
	}
	busyAfter, ownAfter, err := s.clocks(l.gateway)
	if err != nil {
		return err
	}
	l.rate = float64(a.Answered) / (float64(a.Micros) / 1e6)
	if into == nil {
		return nil
	}
	if a.Answered == 0 || other != nil && other.Requests == 0 {
		return fmt.Errorf("no request was answered within %s", load.length)
	}
	into.take(a)
	into.total = cpuAfter - cpu
	into.CPU = into.total / time.Duration(a.Sent)
	into.Beside = other
	foreign := (busyAfter - busy) - (ownAfter - own)
	into.Foreign = max(0, float64(foreign)/float64(wall)/float64(s.cores))
	return nil
}

// judge fails when answers are not what they have to be.
func (l *leg) judge(a answers) error {
	switch {
	case a.Broken > 0:
		return fmt.Errorf("%d of %d requests had no answer", a.Broken, a.Sent)
	case !l.refused && a.Refused > 0:
		return fmt.Errorf("%d of %d requests were refused", a.Refused, a.Answered)
	case l.refused && a.Refused != a.Answered:
		return fmt.Errorf("%d of %d requests were let through", a.Answered-a.Refused, a.Answered)
	}
	return nil
}

func (one *sample) take(a answers) {
	one.Rate = float64(a.Answered) / (float64(a.Micros) / 1e6)
	one.P50 = time.Duration(a.P50) * time.Microsecond
	one.P99 = time.Duration(a.P99) * time.Microsecond
	one.Requests = a.Sent
}

// clocks are the time that the machine has been busy, and what of it is ours: Caddy, the upstream, this program, and
// the children that it has waited for.
func (s *suite) clocks(g *gateway) (busy, own time.Duration, err error) {
	if busy, err = machineBusy(); err != nil {
		return 0, 0, err
	}
	for _, pid := range []int{g.pid(), s.upstream.pid(), os.Getpid()} {
		used, err := cpuTime(pid)
		if err != nil {
			return 0, 0, err
		}
		own += used
	}
	children, err := childrenTime()
	return busy, own + children, err
}
