//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"time"
)

// manyRoutes is how many routes there are where they are many.
const manyRoutes = 1000

// manyPath is the path of a request to one of them.
var manyPath = fmt.Sprintf("/api-%d/orders", manyRoutes/2)

// withRoutes has a gateway have many routes.
func withRoutes(g *gateway) { g.routes = manyRoutes }

// writeRoutes writes the site of many routes. Each has demands that no other has.
func (g *gateway) writeRoutes(b *strings.Builder, proxy string) {
	fmt.Fprintf(b, "http://%s {\n\tbind 127.0.0.1\n", g.many)
	if g.algorithm != "" {
		b.WriteString("\tpassport_server\n")
	}
	for i := range g.routes {
		fmt.Fprintf(b, "\thandle /api-%d/* {\n", i)
		if g.algorithm != "" {
			fmt.Fprintf(b, `		passport_auth scopes read {
			any_scope write admin-%[1]d
			clients %[2]s app-%[1]d
			require `+"`claims.sub != \"app-%[1]d\" && request.path.startsWith(\"/api-%[1]d/\")`"+`
		}
`, i, clientID)
		}
		b.WriteString(proxy + "\t}\n")
	}
	b.WriteString("}\n")
}

// routes: what a thousand routes beside it do to a site, and what passport_auth costs on one of them.
func routes(ctx context.Context, s *suite, g *gateway, m *mint) ([]*leg, []*row, error) {
	many, of, err := s.issuerGateway(ctx, filepath.Base(g.dir)+"-many", m.algorithm, withRoutes)
	if err != nil {
		return nil, nil, err
	}
	if many.plain, err = s.plainGateway(ctx, many, withRoutes); err != nil {
		return nil, nil, err
	}
	own, err := m.token()
	if err != nil {
		return nil, nil, err
	}
	token, err := of.token()
	if err != nil {
		return nil, nil, err
	}
	route := func(name string, g *gateway) *leg {
		return &leg{name: name, gateway: g, load: load{
			address: g.many, requests: [][]byte{getPath(g.many, manyPath, token)}, clients: connections,
		}}
	}
	without := &row{Work: "one token, warm, no other routes, to bare", leg: "alone", base: "bare alone"}
	return []*leg{
			bareLeg("bare alone", g, own), guardedLeg("alone", g, own),
			bareLeg("bare beside", many, token), guardedLeg("beside", many, token),
			route("bare route", many.plain), route("route", many),
		}, []*row{
			without,
			{
				Work: "one token, warm, beside 1,000 routes, to bare beside them", leg: "beside", base: "bare beside",
				bars: []bar{{"CPU, of the ratio without them,", func(r *row) float64 {
					return r.CPURatio.Median / without.CPURatio.Median
				}, false, 1.02, " ×"}},
			},
			{Work: "bare beside 1,000 routes, to without them", leg: "bare beside", base: "bare alone"},
			{Work: "one token, warm, beside 1,000 routes, to without them", leg: "beside", base: "alone"},
			{
				Work: "passport_auth with require on one of 1,000 routes", leg: "route", base: "bare route",
				bars: []bar{cpuAtMost(1.07)},
			},
		}, nil
}

// routesStart is how long it takes to start with many routes, each with a passport_auth of its own, and to reload them.
func (s *suite) routesStart(ctx context.Context) ([]*row, error) {
	m, err := newMint("ES256")
	if err != nil {
		return nil, err
	}
	plain, err := s.newGateway("routes-plain", "")
	if err != nil {
		return nil, err
	}
	g, err := s.newGateway("routes", "ES256")
	if err != nil {
		return nil, err
	}
	m.issuer, g.key = g.issuer, m.pem
	type times struct{ start, reload []float64 }
	var bare, guarded times
	for range min(s.rounds, 5) {
		for _, one := range []struct {
			gateway *gateway
			ready   func() (*http.Request, error)
			into    *times
		}{{plain, nil, &bare}, {g, m.ready, &guarded}} {
			withRoutes(one.gateway)
			if err := s.launch(ctx, one.gateway, one.ready); err != nil {
				return nil, err
			}
			one.into.start = append(one.into.start, one.gateway.took.Seconds())
			began := time.Now()
			if err := one.gateway.reload(ctx, one.gateway.caddyfile(s.address, s.other)); err != nil {
				return nil, err
			}
			one.into.reload = append(one.into.reload, time.Since(began).Seconds())
			one.gateway.stop()
		}
	}
	made := func(work string, guarded, bare []float64) *row {
		t := spreadOf(guarded)
		r := &row{
			Work: work, Value: t.Median, bars: []bar{valueAtMost("", 2, " s")},
			Measured: fmt.Sprintf("%.2f s (%.2f–%.2f); without passport_auth %.2f s", t.Median, t.Least, t.Most,
				spreadOf(bare).Median),
		}
		r.settle()
		return r
	}
	return []*row{
		made("start to the first request let through, 1,000 routes", guarded.start, bare.start),
		made("reload of 1,000 routes", guarded.reload, bare.reload),
	}, nil
}

// reload loads a Caddyfile as caddy reload does.
func (g *gateway) reload(ctx context.Context, caddyfile string) error {
	body := strings.NewReader(caddyfile)
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+g.admin+"/load", body)
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "text/caddyfile")
	request.Header.Set("Cache-Control", "must-revalidate") // nothing has changed
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	said, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("reloading: %s %s", response.Status, said)
	}
	return err
}
