//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// suite is a run of the benchmarks.
type suite struct {
	dir      string        // temporary, on a disk
	program  string        // this program, which is also Caddy and the upstream
	caddy    string        // another Caddy, when one was given
	rounds   int           // of each group
	length   time.Duration // of each leg in a round
	million  int           // how many tokens the start is measured with
	live     int           // how many tokens the memory is measured with
	profiles string        // folder for CPU profiles; empty: none
	progress io.Writer

	cores    int
	sync     syncTimes
	upstream *process
	address  string // of the upstream
	other    *otherIssuer
	running  []*process
}

// work is a part of the suite that can be chosen by its name.
type work struct {
	name  string
	about string
	quick bool // part of a quick run
	run   func(context.Context) ([]*row, error)
}

func (s *suite) works() []work {
	return []work{
		{"verify", "a token that has been seen, in process", true, s.verifyHit},
		{"warm", "tokens that have been seen, through the gateway", true, s.grouped("warm", "ES256", warm)},
		{"require", "an expression, in process", true, s.requireInProcess},
		{"pages", "the pages that people see, in process", true, s.pagesInProcess},
		{"policies", "require and report_only", true, s.grouped("policies", "ES256", policies)},
		{"people", "personal access tokens and browser sessions", true, s.grouped("people", "ES256", people)},
		{"sign-ins", "calls beside a flood of sign-ins", false, s.signIns},
		{"others", "tokens of other issuers, and a JWT for the upstream", true, s.grouped("others", "ES256", others)},
		{"routes", "1,000 routes, each with a passport_auth of its own", false, s.grouped("routes", "ES256", routes)},
		{"routes-start", "start and reload with 1,000 routes", true, s.routesStart},
		{"fresh", "tokens never seen, forged and revoked ones", true, s.grouped("fresh", "ES256", fresh)},
		{"flood", "good tokens beside forged ones", false, s.grouped("flood", "ES256", flood)},
		{"rs256", "the gateway with RS256", false, s.grouped("rs256", "RS256", gateOf(1500))},
		{"eddsa", "the gateway with EdDSA", false, s.grouped("eddsa", "EdDSA", gateOf(1<<20))},
		{"token", "tokens a second, ES256", true, s.grouped("token", "ES256", tokens)},
		{"token-rs256", "tokens a second, RS256", false, s.grouped("token-rs256", "RS256", tokens)},
		{"token-eddsa", "tokens a second, EdDSA", false, s.grouped("token-eddsa", "EdDSA", tokens)},
		{"grants", "codes and refresh tokens, ES256", true, s.grants},
		{"warm-node", "tokens that have been seen, on PostgreSQL", false, s.warmNode},
		{"token-node", "tokens a second on PostgreSQL, and pgbench", false, s.tokenNode},
		{"nodes", "how soon a revocation holds on another node", true, s.nodes},
		{"introspect", "questions about live tokens", true, s.grouped("introspect", "ES256", introspect)},
		{"cache", "memory of a token that has been seen", true, s.cacheMemory},
		{"memory", "memory and files with many live tokens", false, s.liveMemory},
		{"backup", "backup and restore of a million tokens, traffic beside", false, s.backups},
		{"purge", "purge of revoked tokens, traffic beside", false, s.purges},
		{"start", "start with a million live tokens", false, s.startTime},
	}
}

// variants makes the legs of a work for one of the two processes that have them.
type variants func(ctx context.Context, s *suite, g *gateway, m *mint) ([]*leg, []*row, error)

// grouped is a work that is measured in rounds: on two processes with an issuer of that algorithm.
func (s *suite) grouped(name, algorithm string, prepare variants) func(context.Context) ([]*row, error) {
	return func(ctx context.Context) ([]*row, error) {
		var g group
		for twin := range g.legs {
			one, m, err := s.issuerGateway(ctx, fmt.Sprintf("%s-%d", name, twin+1), algorithm)
			if err != nil {
				return nil, err
			}
			g.mint = m
			if one.plain, err = s.plainGateway(ctx, one); err != nil {
				return nil, err
			}
			if g.legs[twin], g.rows, err = prepare(ctx, s, one, m); err != nil {
				return nil, err
			}
		}
		if err := s.measure(ctx, &g); err != nil {
			return nil, err
		}
		return g.rows, s.profile(ctx, &g)
	}
}

// prepare starts what every work needs.
func (s *suite) prepare(ctx context.Context) error {
	s.cores = runtime.NumCPU()
	var err error
	if s.sync, err = syncTime(s.dir); err != nil {
		return err
	}
	if err := os.WriteFile(s.script(), wrkScript, 0o600); err != nil {
		return err
	}
	if s.other, err = newOtherIssuer(); err != nil {
		return err
	}
	return s.startUpstream(ctx)
}

// close ends every child that still runs.
func (s *suite) close() {
	s.endGateways()
	if s.other != nil {
		_ = s.other.server.Close()
	}
	if s.upstream != nil {
		s.upstream.stop()
	}
}

func (s *suite) endGateways() {
	for _, p := range s.running {
		p.stop()
	}
	s.running = nil
	entries, _ := os.ReadDir(s.dir)
	for _, entry := range entries { // gateways have their folders, and the next work has others
		if entry.IsDir() {
			_ = os.RemoveAll(filepath.Join(s.dir, entry.Name()))
		}
	}
}

// host is what the figures depend on.
type host struct {
	CPU    string    `json:"cpu"`
	Cores  int       `json:"cores"`
	Kernel string    `json:"kernel"`
	Go     string    `json:"go"`
	Dir    string    `json:"dir"`
	Sync   syncTimes `json:"fdatasync"`
}

func (s *suite) host() host {
	h := host{Cores: s.cores, Go: runtime.Version(), Dir: s.dir, Sync: s.sync, CPU: runtime.GOARCH}
	if data, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(data)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				h.CPU = strings.TrimSpace(value)
				break
			}
		}
	}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		h.Kernel = unix.ByteSliceToString(u.Release[:])
	}
	return h
}

func (h host) String() string {
	disk := fmt.Sprintf("fdatasync of 4 kB: %.2f ms over what is there, %.2f ms appended (medians)",
		h.Sync.Over.Seconds()*1e3, h.Sync.Appended.Seconds()*1e3)
	if h.Sync.Memory {
		disk += "; " + h.Dir + " is memory and no disk, choose another with --dir"
	}
	return fmt.Sprintf("%s, %d cores, Linux %s, %s\n%s", h.CPU, h.Cores, h.Kernel, h.Go, disk)
}
