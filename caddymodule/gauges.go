package caddymodule

import (
	"maps"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/oauth2-passport/caddy-passport/issuer/verify"
)

// gauges tell of the issuers that work now, at the moment at which somebody asks.
var gauges = new(gaugeCollector)

// gaugeCollector looks at the config that is in force whenever metrics are read, so that nothing has to be kept up to
// date, or taken back when a config goes.
type gaugeCollector struct{}

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName(metricsNamespace, metricsSubsystem, name), help, labels, nil)
}

var (
	verificationsDesc = describe("verifications_total",
		"Access tokens that were verified: hit is good and was remembered, miss is good and was new.", "issuer", "result")
	cacheDesc = describe("cache_entries",
		"Access tokens that are remembered.", "issuer")
	revocationsDesc = describe("revocations",
		"Revocations in memory, of tokens that have not expired yet and of clients, people and keys.", "issuer")
	lagDesc = describe("revocation_lag_seconds",
		"For how long nothing has been heard of what other nodes revoke; 0 where there are none.", "issuer")
	outOfSightDesc = describe("revocations_out_of_sight",
		"1 while that is longer than revocation_lag, else 0.", "issuer")
	watchedDesc = describe("watched_requests",
		"Requests that are running now and end with their token.", "issuer")
	keyDesc = describe("signing_key_activated_timestamp_seconds",
		"Since when the key signs that does now, in seconds since 1970.", "issuer")
)

// Describe implements [prometheus.Collector].
func (*gaugeCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		verificationsDesc, cacheDesc, revocationsDesc, lagDesc, outOfSightDesc, watchedDesc, keyDesc,
	} {
		ch <- d
	}
}

// Collect implements [prometheus.Collector].
func (*gaugeCollector) Collect(ch chan<- prometheus.Metric) {
	for name, counts := range verifications.all() {
		for _, outcome := range verify.Outcomes() {
			ch <- prometheus.MustNewConstMetric(verificationsDesc, prometheus.CounterValue,
				float64(counts.Of(outcome)), name, outcome.String())
		}
	}
	app, _ := activeApp()
	if app == nil {
		return
	}
	cached := app.remembered()
	for _, i := range app.all() {
		r := i.running.Load()
		if r == nil {
			continue
		}
		gauge := func(d *prometheus.Desc, value float64) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, i.name)
		}
		cached[i.name] += r.verifier.Remembered()
		behind, out := r.db.Behind(r.db.Now()), 0.0
		if behind > i.config.RevocationLag.limit() {
			out = 1
		}
		gauge(revocationsDesc, float64(r.db.Revocations().Len()))
		gauge(lagDesc, behind.Seconds())
		gauge(outOfSightDesc, out)
		gauge(watchedDesc, float64(r.verifier.Watching()))
		if since := r.ring.Since(); !since.IsZero() {
			gauge(keyDesc, float64(since.UnixMilli())/1e3)
		}
	}
	for name, n := range cached {
		ch <- prometheus.MustNewConstMetric(cacheDesc, prometheus.GaugeValue, float64(n), name)
	}
}

// remembered is how many tokens of other issuers are remembered, by these issuers' names.
func (a *App) remembered() map[string]int {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := make(map[string]int)
	for _, s := range a.sources {
		n[s.Name()] += s.Remembered()
	}
	return n
}

// verifications are the counts of each issuer, ours and others, by their names. They stay when a config goes: a reload
// must not set a counter back.
var verifications countsByIssuer

type countsByIssuer struct {
	mu sync.Mutex
	of map[string]*verify.Counts
}

// ofIssuer returns the counts of the issuer of that name.
func (c *countsByIssuer) ofIssuer(name string) *verify.Counts {
	c.mu.Lock()
	defer c.mu.Unlock()
	counts := c.of[name]
	if counts == nil {
		counts = new(verify.Counts)
		if c.of == nil {
			c.of = make(map[string]*verify.Counts)
		}
		c.of[name] = counts
	}
	return counts
}

func (c *countsByIssuer) all() map[string]*verify.Counts {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.of)
}
