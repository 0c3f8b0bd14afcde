//go:build linux

package main

import (
	"io"
	"os"
	"strings"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	beChild()
	os.Exit(m.Run())
}

// TestSoak is the soak in short: the same load, on Caddy as this test was built.
func TestSoak(t *testing.T) {
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s := &suite{progress: io.Discard, program: program, dir: t.TempDir()}
	t.Cleanup(s.close)
	k := newSoak(s, 40*time.Second, t.Output())
	if err := k.run(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestSoakTellsGrowth: what grows is told, though little at a time; what comes and goes is not.
func TestSoakTellsGrowth(t *testing.T) {
	steady := soakSample{
		memory: 90e6, heap: 33e6, goroutines: 70, sockets: 20, files: 16, disk: 30e6, records: 2000, remembered: 2500,
		revoked: 400,
	}
	for _, c := range []struct {
		name  string
		hour  func(s *soakSample, part float64) // what becomes of it after that part of an hour
		grown string                            // empty: nothing
	}{
		{"nothing", func(*soakSample, float64) {}, ""},
		{"one goroutine a minute", func(s *soakSample, part float64) { s.goroutines += 60 * part }, "goroutines"},
		{"one connection a minute", func(s *soakSample, part float64) { s.sockets += 60 * part }, "connections"},
		{"one file in two minutes", func(s *soakSample, part float64) { s.files += 30 * part }, "other open files"},
		{"40 bytes of the heap a request", func(s *soakSample, part float64) { s.heap += 720e3 * 40 * part }, "heap alive, least"},
		{"memory beside the heap", func(s *soakSample, part float64) { s.memory += 80e6 * part }, "memory, least"},
		{"a file that is not removed", func(s *soakSample, part float64) { s.disk += 120e6 * part }, "disk"},
		{"one of eight records stays", func(s *soakSample, part float64) { s.records += 27e3 * part }, "records of tokens"},
		{"revocations that stay", func(s *soakSample, part float64) { s.revoked += 14400 * part }, "revocations in memory"},
		{"tokens that stay", func(s *soakSample, part float64) { s.remembered += 100e3 * part }, "tokens remembered"},
		{"growth that ends in the first third", func(s *soakSample, part float64) {
			s.heap += 120e6 * min(part, 0.33)
			s.goroutines += 100 * min(part, 0.33)
		}, ""},
		{"teeth of tables that are merged", func(s *soakSample, part float64) {
			tooth := 3.1*part - float64(int(3.1*part)) // one in twenty minutes, or a little less
			s.disk += 40e6 * tooth
			s.heap += 65e6 * tooth
			s.memory += 100e6 * tooth
		}, ""},
		{"a merge at its most, in one sample", func(s *soakSample, part float64) {
			if part > 0.8 && part < 0.803 {
				s.heap += 140e6
				s.memory += 25e6
			}
		}, ""},
		{"peaks that grow", func(s *soakSample, part float64) {
			if int(240*part)%20 == 0 {
				s.memory += 300e6 * part
			}
		}, "memory, most"},
		{"goroutines up and down", func(s *soakSample, part float64) { s.goroutines += float64(int(1000*part) % 17) }, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			samples := make([]soakSample, 240)
			for i := range samples {
				samples[i] = steady
				c.hour(&samples[i], float64(i)/float64(len(samples)))
			}
			err := levels(samples, time.Hour, t.Output())
			if c.grown == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.HasPrefix(err.Error(), c.grown+":") || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v, want that of %s", err, c.grown)
			}
		})
	}
}
