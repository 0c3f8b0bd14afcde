//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// A round of what traffic keeps of its speed has so many pairs of turns. The speed of a machine wanders from one ten
// seconds to the next by more than what is measured, so that the turns are short, and the second of a pair comes first
// in every other one.
const (
	turnPairs  = 6
	turnLength = 2 // of [suite.length]
)

// keptInTurns is what a leg keeps of its speed beside something: the median of the pairs of a round. A mean would tell
// of the turns in which Badger happened to merge its tables, which takes a second or two of all cores.
func (s *suite) keptInTurns(ctx context.Context, l *leg, beside func(turn time.Duration) (sample, error)) (
	float64, error,
) {
	var ratios []float64
	turn := turnLength * s.length
	for pair := range turnPairs {
		var quiet, busy sample
		turns := []func() error{
			func() error {
				taken, err := s.together(ctx, turn, l)
				if err == nil {
					quiet = taken[0]
				}
				return err
			},
			func() (err error) { busy, err = beside(turn); return err },
		}
		for i := range turns {
			if err := turns[(i+pair)%2](); err != nil {
				return 0, err
			}
		}
		ratios = append(ratios, busy.Rate/quiet.Rate)
	}
	return spreadOf(ratios).Median, nil
}

// besideWork measures a leg for a turn while its gateway does work that is longer, which is ended with the turn.
func (s *suite) besideWork(ctx context.Context, l *leg, turn time.Duration, work func(context.Context) error) (
	sample, error,
) {
	working, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan error, 1)
	go func() { done <- work(working) }()
	taken, err := s.together(ctx, turn, l)
	stop()
	ended := <-done
	switch {
	case err != nil:
		return sample{}, err
	case ended == nil:
		return sample{}, errors.New("the work beside it was over before the end of the measurement")
	case !errors.Is(ended, context.Canceled):
		return sample{}, ended
	}
	return taken[0], nil
}

// keptRow is the row of the speed that traffic keeps beside something.
func keptRow(what string, speed spread) *row {
	return &row{
		Work: "the speed that " + what, Value: speed.Median,
		bars:     []bar{{"", func(r *row) float64 { return r.Value }, true, 0.9, " ×"}},
		Measured: fmt.Sprintf("%.2f × (%.2f–%.2f)", speed.Median, speed.Least, speed.Most),
	}
}
