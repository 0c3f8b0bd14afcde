//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"path/filepath"
	"runtime"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"golang.org/x/sys/unix"
)

// requireInProcess is what an expression costs without HTTP: requests go through a whole server of Caddy, but over no
// network and to no upstream, with the expression and without it; the difference is the figure.
func (s *suite) requireInProcess(ctx context.Context) ([]*row, error) {
	m, err := newMint("ES256")
	if err != nil {
		return nil, err
	}
	var without, with string
	if err := freeAddresses(&without, &with); err != nil {
		return nil, err
	}
	m.issuer = "http://" + without
	site := "http://%s {\n\tbind 127.0.0.1\n\tpassport_auth scopes read {\n\t\t%s\n\t}\n\trespond 204\n}\n"
	caddyfile := fmt.Sprintf("{\n\tadmin off\n\tauto_https off\n\tpersist_config off\n\tlog {\n\t\toutput discard\n\t}\n"+
		"\tpassport {\n\t\tissuer %s\n\t\tstorage badger %s\n\t\tkeys ES256 {\n\t\t\tprivate_key `%s`\n\t\t}\n"+
		"\t\tclient %s {\n\t\t\tsecret %s\n\t\t}\n\t}\n}\n", m.issuer, filepath.Join(s.dir, "require"), m.pem, clientID,
		clientSecret) +
		fmt.Sprintf(site, without, "realm bench") + fmt.Sprintf(site, with, "require `"+expression+"`")
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(caddyfile), nil)
	if err == nil {
		err = caddy.Load(config, true)
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = caddy.Stop() }()
	token, err := m.token()
	if err != nil {
		return nil, err
	}
	var times, allocations []float64
	for range 2 * s.rounds {
		plain, err := serveInProcess(ctx, without, token)
		if err != nil {
			return nil, err
		}
		required, err := serveInProcess(ctx, with, token)
		if err != nil {
			return nil, err
		}
		times = append(times, required.cpu-plain.cpu)
		allocations = append(allocations, required.allocations-plain.allocations)
	}
	t, objects := spreadOf(times), spreadOf(allocations)
	r := &row{
		Work: "require with three claims and the path, in process", Value: t.Median,
		bars: []bar{
			valueAtMost("", 3000, " ns"), {"allocations", func(*row) float64 { return objects.Median }, false, 4, ""},
		},
		Measured: fmt.Sprintf("%.0f ns of CPU (%.0f–%.0f), %.2g allocations", t.Median, t.Least, t.Most, objects.Median),
	}
	r.settle()
	return []*row{r}, nil
}

// nowhere is a response that goes nowhere, but for its status.
type nowhere struct {
	header http.Header
	status int
}

func (w *nowhere) Header() http.Header         { return w.header }
func (w *nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (w *nowhere) WriteHeader(status int)      { w.status = status }

// serveInProcess gives requests with a token to the server of this process that has the address, for a moment.
func serveInProcess(ctx context.Context, address, token string) (hit, error) {
	app, err := caddy.ActiveContext().App("http")
	if err != nil {
		return hit{}, err
	}
	var server *caddyhttp.Server
	for _, one := range app.(*caddyhttp.App).Servers {
		for _, listen := range one.Listen {
			if parsed, err := caddy.ParseNetworkAddress(listen); err == nil && parsed.JoinHostPort(0) == address {
				server = one
			}
		}
	}
	if server == nil {
		return hit{}, errors.New("no server has the address " + address)
	}
	first, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/orders/17", http.NoBody)
	if err != nil {
		return hit{}, err
	}
	first.RemoteAddr, first.RequestURI = "127.0.0.1:1234", "/orders/17"
	header := http.Header{"User-Agent": {"bench"}, "Accept": {"*/*"}, "Authorization": {"Bearer " + token}}
	serve := func() int {
		r := first.WithContext(ctx)
		r.Header = maps.Clone(header)
		w := &nowhere{header: make(http.Header)}
		server.ServeHTTP(w, r)
		return w.status
	}
	if status := serve(); status != http.StatusNoContent {
		return hit{}, fmt.Errorf("a good token was answered with %d", status)
	}
	return onOneThread(func() { serve() })
}

// onOneThread is what it takes to do something, over and over for a moment.
func onOneThread(do func()) (hit, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	runtime.GC()
	var before, after runtime.MemStats
	var from, until unix.Timespec
	runtime.ReadMemStats(&before)
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &from); err != nil {
		return hit{}, err
	}
	n := 0
	for began := time.Now(); time.Since(began) < 200*time.Millisecond; n++ {
		do()
	}
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &until); err != nil {
		return hit{}, err
	}
	runtime.ReadMemStats(&after)
	return hit{
		cpu:         float64(until.Nano()-from.Nano()) / float64(n),
		allocations: math.Round(10*float64(after.Mallocs-before.Mallocs)/float64(n)) / 10,
	}, nil
}
