//go:build linux

package main

import (
	"context"
	"fmt"
	"math"
	"os"
	"slices"
	"time"
)

// leg is one variant of the works of a group: a load on a Caddy.
type leg struct {
	name    string
	gateway *gateway
	load    load

	// whole has every request of the load sent once before the first measurement.
	whole bool
	// fresh makes requests that no gateway has seen. The load's own are not used then.
	fresh func(n int) ([][]byte, error)
	// most bounds how many fresh requests a measurement has, where they are dear to make.
	most int
	// refused says that the gateway has to refuse every request.
	refused bool
	// beside runs at the same time; it belongs to the same gateway.
	beside *leg

	warmed bool
	rate   [3]float64 // requests a second as last seen, by how many legs ran at a time
}

// sample is what one measurement of a leg came to.
type sample struct {
	CPU      time.Duration `json:"cpu_ns"` // of the Caddy process, user and system, for a request
	Rate     float64       `json:"requests_per_second"`
	P50      time.Duration `json:"p50_ns"`
	P99      time.Duration `json:"p99_ns"`
	Requests int           `json:"requests"`
	Objects  float64       `json:"objects"` // allocated by Caddy for a request
	Bytes    float64       `json:"bytes"`   // of these
	Foreign  float64       `json:"foreign"` // share of the machine's CPU that went to others
	Beside   *sample       `json:"beside,omitempty"`

	total time.Duration // CPU time of all requests
}

// group is the legs and the rows that belong together. There are two of each leg, on two Caddy processes that have the
// same config; see [suite.pair]. What they are compared with runs on two bare ones.
type group struct {
	legs [2][]*leg
	rows []*row
	mint *mint // makes the signatures of the rows that have a floor
}

func (g *group) leg(twin int, name string) *leg {
	for _, l := range g.legs[twin] {
		if l.name == name {
			return l
		}
	}
	panic("bench: no leg " + name)
}

// tooBusy is the share of the machine above which others' work spoils a round: it is run again.
const tooBusy = 0.05

// measure runs the rounds of a group. In a round each leg runs alone, for its requests a second and its latencies, and
// each row that is a ratio runs in a pair, for its CPU time. Every other round goes backwards, on the other process, so
// that a machine that grows slower or faster is no gain for any. A round in which the machine had other things to do is
// run again, as long as no more rounds are lost than kept.
func (s *suite) measure(ctx context.Context, g *group) error {
	again := s.rounds
	for round := 0; round < s.rounds; {
		worst := 0.0
		solo := map[string]sample{}
		legs := slices.Clone(g.legs[round%2])
		rows := slices.Clone(g.rows)
		if round%2 == 1 {
			slices.Reverse(legs)
			slices.Reverse(rows)
		}
		for _, l := range legs {
			taken, err := s.together(ctx, s.length, l)
			if err != nil {
				return err
			}
			one := taken[0]
			solo[l.name] = one
			worst = max(worst, one.Foreign)
			fmt.Fprintf(s.progress, "  round %2d  %-34s %8.1f µs %9.0f/s  p99 %6.2f ms  others %4.1f %%\n", round+1, l.name,
				float64(one.CPU)/1e3, one.Rate, float64(one.P99)/1e6, 100*one.Foreign)
		}
		pairs := map[*row]pair{}
		for _, r := range rows {
			if r.base == "" {
				continue
			}
			p, err := s.pair(ctx, g, r)
			if err != nil {
				return fmt.Errorf("%s beside %s: %w", r.leg, r.base, err)
			}
			pairs[r] = p
			worst = max(worst, p.Foreign)
			fmt.Fprintf(s.progress, "  round %2d  %-34s %8.3f ×                            others %4.1f %%\n", round+1,
				r.leg+" to "+r.base, p.Ratio, 100*p.Foreign)
		}
		if worst > tooBusy && again > 0 {
			again--
			fmt.Fprintf(s.progress, "  round %2d  again: others used %.0f %% of the machine\n", round+1, 100*worst)
			continue
		}
		for _, r := range g.rows {
			r.add(solo, pairs)
		}
		round++
	}
	for _, r := range g.rows {
		r.settle()
	}
	g.rows = slices.DeleteFunc(g.rows, func(r *row) bool { return r.hidden })
	return nil
}

// pair is the CPU time of a leg against that of its base, from both running at the same time, each on its own process.
type pair struct {
	Ratio   float64       `json:"ratio"`
	Leg     time.Duration `json:"leg_ns"`
	Base    time.Duration `json:"base_ns"`
	Floor   time.Duration `json:"floor_ns,omitempty"` // a signature
	Beside  float64       `json:"beside,omitempty"`   // requests of the flood for each request of the leg
	Foreign float64       `json:"foreign"`
}

// pair measures a leg and its base at the same time, on two processes, and once more on their twins; the ratio is the
// geometric mean of both.
//
// The speed of a processor that other machines share wanders by a fifth from one second to the next, so that the ratio
// of two measurements in turn says little. Two processes that run side by side are as fast or slow as each other at
// each moment. That one of two equal processes is a little dearer, for its memory lies otherwise, is evened out by
// the twins.
//
// A bare Caddy has a smaller heap than one with an issuer and collects garbage more often, which takes a few per cent
// of its time. That is so for whoever puts passport_auth into a Caddy, and is part of the ratio; how passport_auth
// compares with a bare site of its own process is a row of its own.
func (s *suite) pair(ctx context.Context, g *group, r *row) (pair, error) {
	p := pair{Ratio: 1}
	for twin := range 2 {
		stop := make(chan struct{})
		signature := make(chan time.Duration, 1)
		go func() {
			if r.floor {
				signature <- g.mint.signature(stop)
			} else {
				signature <- 0
			}
		}()
		taken, err := s.together(ctx, s.length, g.leg(twin, r.leg), g.leg(1-twin, r.base))
		close(stop)
		floor := <-signature
		if err != nil {
			return p, err
		}
		one, base := taken[0], taken[1]
		p.Ratio *= math.Sqrt(float64(one.CPU) / float64(base.CPU+floor))
		p.Leg += one.CPU / 2
		p.Base += base.CPU / 2
		p.Floor += floor / 2
		p.Foreign = max(p.Foreign, one.Foreign)
		if one.Beside != nil {
			p.Beside += float64(one.Beside.Requests) / float64(one.Requests) / 2
		}
	}
	return p, nil
}

// together measures legs at the same time, each on a gateway of its own.
func (s *suite) together(ctx context.Context, length time.Duration, legs ...*leg) ([]sample, error) {
	loads := make([]load, len(legs))
	for i, l := range legs {
		var err error
		if loads[i], err = s.prepareLeg(ctx, l, length, len(legs)); err != nil {
			return nil, fmt.Errorf("%s: %w", l.name, err)
		}
	}
	if err := s.warmUp(ctx, legs); err != nil {
		return nil, err
	}
	samples := make([]sample, len(legs))
	busy, own, err := s.clocks()
	if err != nil {
		return nil, err
	}
	began := time.Now()
	err = inParallel(len(legs), len(legs), func(i int) error {
		if err := s.checked(ctx, legs[i], loads[i], &samples[i]); err != nil {
			return fmt.Errorf("%s: %w", legs[i].name, err)
		}
		legs[i].rate[len(legs)] = samples[i].Rate
		return nil
	})
	if err != nil {
		return nil, err
	}
	wall := time.Since(began)
	busyAfter, ownAfter, err := s.clocks()
	if err != nil {
		return nil, err
	}
	foreign := (busyAfter - busy) - (ownAfter - own)
	for i := range samples {
		samples[i].Foreign = max(0, float64(foreign)/float64(wall)/float64(s.cores))
	}
	return samples, nil
}

// prepareLeg readies the load of a leg that is to run beside so many others.
func (s *suite) prepareLeg(ctx context.Context, l *leg, length time.Duration, beside int) (load, error) {
	ready := l.load
	ready.length = length
	if l.whole && !l.warmed {
		all := ready
		all.once = true
		if err := s.checked(ctx, l, all, nil); err != nil {
			return ready, err
		}
	}
	if l.fresh == nil {
		l.warmed = true
		return ready, nil
	}
	ready.once = true
	rate := l.rate[beside]
	if rate == 0 { // how many are needed? It also warms up.
		trial := ready
		var err error
		if trial.requests, err = l.fresh(min(1000, l.most)); err != nil {
			return ready, err
		}
		var one sample
		if err := s.checked(ctx, l, trial, &one); err != nil {
			return ready, err
		}
		rate = one.Rate
	}
	l.warmed = true
	n := min(l.most, max(500, int(1.3*rate*length.Seconds())))
	var err error
	ready.requests, err = l.fresh(n)
	return ready, err
}

// warmUp sends something of each leg's load for a moment, so that connections, code and data are where they are needed.
func (s *suite) warmUp(ctx context.Context, legs []*leg) error {
	return inParallel(len(legs), len(legs), func(i int) error {
		l := legs[i]
		if l.fresh != nil {
			return nil
		}
		warm := l.load
		warm.length = 150 * time.Millisecond
		if err := s.checked(ctx, l, warm, nil); err != nil {
			return fmt.Errorf("%s: %w", l.name, err)
		}
		return nil
	})
}

// checked runs a load of a leg, reads the CPU clock of its Caddy around it, and fails when an answer was not as it has
// to be.
func (s *suite) checked(ctx context.Context, l *leg, load load, into *sample) error {
	type outcome struct {
		answers answers
		err     error
	}
	var beside chan outcome
	memory, err := l.gateway.memstats(ctx)
	if err != nil {
		return l.gateway.failure(err)
	}
	cpu, err := cpuTime(l.gateway.pid())
	if err != nil {
		return l.gateway.failure(err)
	}
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
	var other outcome
	if beside != nil {
		other = <-beside
	}
	if err != nil {
		return err
	}
	if err := l.judge(a); err != nil {
		return err
	}
	// What was sent and not waited for is work too, and is done by now.
	time.Sleep(10 * time.Millisecond)
	after, err := cpuTime(l.gateway.pid())
	if err != nil {
		return l.gateway.failure(err)
	}
	memoryAfter, err := l.gateway.memstats(ctx)
	if err != nil {
		return l.gateway.failure(err)
	}
	if into == nil {
		return nil
	}
	if a.Answered == 0 {
		return fmt.Errorf("no request was answered within %s", load.length)
	}
	into.take(a)
	into.total = after - cpu
	into.CPU = into.total / time.Duration(a.Sent)
	into.Objects = float64(memoryAfter.Mallocs-memory.Mallocs) / float64(a.Sent)
	into.Bytes = float64(memoryAfter.TotalAlloc-memory.TotalAlloc) / float64(a.Sent)
	if beside == nil {
		return nil
	}
	if other.err != nil {
		return other.err
	}
	if err := l.beside.judge(other.answers); err != nil {
		return fmt.Errorf("beside it: %w", err)
	}
	into.Beside = &sample{}
	into.Beside.take(other.answers)
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

// clocks are the time that the machine has been busy, and what of it is ours: this program, its children that run, and
// those that it has waited for.
func (s *suite) clocks() (busy, own time.Duration, err error) {
	if busy, err = machineBusy(); err != nil {
		return 0, 0, err
	}
	pids := []int{os.Getpid(), s.upstream.pid()}
	for _, p := range s.running {
		pids = append(pids, p.pid())
	}
	for _, pid := range pids {
		used, err := cpuTime(pid)
		if err != nil {
			return 0, 0, err
		}
		own += used
	}
	children, err := childrenTime()
	return busy, own + children, err
}
