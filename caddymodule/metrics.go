package caddymodule

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/oauth2-passport/caddy-passport/issuer"
	"github.com/oauth2-passport/caddy-passport/store"
)

const (
	metricsNamespace = "caddy"
	metricsSubsystem = "passport"
)

// What is counted. Each is made once, and counts on over reloads: each config has a registry of its own, in which it is
// registered anew. Labels have few values: names of issuers, grants, events, the codes of errors.
var (
	// refusedTotal counts what passport_auth refuses, and what it would refuse where it only reports.
	refusedTotal = counter("refused_total",
		"Requests that passport_auth has refused or, with report_only, would have refused.", "reason", "report_only")

	// tokensTotal counts what the token endpoint answers.
	tokensTotal = counter("tokens_total",
		"Access tokens that were issued, or refused for the error that is the result.", "issuer", "grant", "result")

	eventsTotal = counter("events_total",
		"Security-relevant acts, as the audit log has them.", "issuer", "event")

	eventsDropped = counter("events_dropped_total",
		"Events that Caddy's event app did not get, because its handlers were too slow.", "issuer")

	storeSeconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: metricsNamespace,
		Subsystem: metricsSubsystem,
		Name:      "store_duration_seconds",
		Help:      "How long transactions of the storage took, views and updates.",
		Buckets:   []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10},
	}, []string{"issuer", "operation"})

	storeFailures = counter("store_failures_total",
		"Transactions that the storage was not available for.", "issuer", "operation")
)

func counter(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: metricsNamespace, Subsystem: metricsSubsystem, Name: name, Help: help,
	}, labels)
}

// metrics are all of ours.
func metrics() []prometheus.Collector {
	return []prometheus.Collector{
		refusedTotal, tokensTotal, eventsTotal, eventsDropped, storeSeconds, storeFailures, gauges,
	}
}

// registerMetrics registers what is counted with the registry of the config that is being provisioned.
func registerMetrics(ctx caddy.Context) error {
	registry := ctx.GetMetricsRegistry()
	if registry == nil {
		return nil
	}
	for _, m := range metrics() {
		err := registry.Register(m)
		if known, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok && known.ExistingCollector == m {
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// countFromZero makes what is counted of an issuer's events be there before the first of them: or nobody could see that
// a count has risen.
func countFromZero(issuerName string) {
	for _, what := range issuer.EventTypes() {
		eventsTotal.WithLabelValues(issuerName, string(what))
	}
	eventsDropped.WithLabelValues(issuerName)
}

// countEvent counts what an issuer tells of.
func countEvent(e *issuer.Event) {
	eventsTotal.WithLabelValues(e.Issuer, string(e.Type)).Inc()
	grant := e.Grant
	if grant == "" {
		grant = "unknown"
	}
	switch e.Type {
	case issuer.TokenIssued:
		tokensTotal.WithLabelValues(e.Issuer, grant, "issued").Inc()
	case issuer.TokenRefused:
		tokensTotal.WithLabelValues(e.Issuer, grant, e.Error).Inc()
	}
}

// measureStore is told of the transactions of an issuer's records.
func measureStore(issuerName string) func(context.Context, store.Transaction) {
	type operation struct {
		seconds  prometheus.Observer
		failures prometheus.Counter
	}
	of := func(name string) operation {
		return operation{
			storeSeconds.WithLabelValues(issuerName, name), storeFailures.WithLabelValues(issuerName, name),
		}
	}
	view, update := of("view"), of("update")
	return func(ctx context.Context, t store.Transaction) {
		op := view
		if t.Update {
			op = update
		}
		op.seconds.Observe(time.Since(t.Began).Seconds())
		if errors.Is(t.Err, store.ErrUnavailable) {
			op.failures.Inc()
		}
		traceTransaction(ctx, t)
	}
}

// count counts a refusal.
func (n *refusal) count(reportOnly bool) {
	refusedTotal.WithLabelValues(n.label(), strconv.FormatBool(reportOnly)).Inc()
}

// label says in one word why a request is refused. There are as many as stand here.
func (n *refusal) label() string {
	switch {
	case n == refusedAnonymous:
		return "no_token"
	case n == refusedUser, n == refusedClient:
		return "subject"
	case n == refusedOtherClient:
		return "clients"
	case n == refusedForgery, n == refusedCrossSite:
		return "forgery"
	case n == refusedMistakable:
		return "ambiguous_target"
	case n.status == http.StatusServiceUnavailable:
		return "unavailable"
	case n.code == "access_denied":
		return "require"
	case n.code == "invalid_token", n.code == "insufficient_scope", n.code == "invalid_request":
		return n.code
	}
	return "other"
}
