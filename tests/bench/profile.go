//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// profile runs each leg of a group once more, beside the profilers of its Caddy (CPU time, allocations), when profiles
// are asked for.
func (s *suite) profile(ctx context.Context, g *group) error {
	if s.profiles == "" {
		return nil
	}
	for _, l := range g.legs[0] {
		// The profiles begin when the load does and end before it.
		name := filepath.Join(s.profiles, strings.ReplaceAll(filepath.Base(l.gateway.dir)+"-"+l.name, " ", "-"))
		taken := make(chan error, 1)
		time.AfterFunc(time.Second, func() {
			taken <- inParallel(2, 2, func(i int) error {
				kind := []string{"profile", "allocs"}[i]
				data, err := l.gateway.get(ctx, "/debug/pprof/"+kind+"?seconds=5")
				if err != nil {
					return err
				}
				return os.WriteFile(name+"."+kind, data, 0o600)
			})
		})
		one, err := s.together(ctx, 7*time.Second, l)
		if err := errors.Join(err, <-taken); err != nil {
			return fmt.Errorf("profile of %s: %w", l.name, err)
		}
		fmt.Fprintf(s.progress, "  profiled  %-34s %8.1f µs %9.0f/s\n", l.name, float64(one[0].CPU)/1e3, one[0].Rate)
	}
	return nil
}
