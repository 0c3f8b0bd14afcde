package caddymodule

import (
	"errors"
	"net/http"
	"strconv"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"
)

// refusedTotal counts what passport_auth refuses, and what it would refuse where it only reports. It is made once, and
// counts on over reloads: each config has a registry of its own, in which it is registered anew.
var refusedTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
	Namespace: "caddy",
	Subsystem: "passport",
	Name:      "refused_total",
	Help:      "Requests that passport_auth has refused or, with report_only, would have refused.",
}, []string{"reason", "report_only"})

// registerMetrics registers what is counted with the registry of the config that is being provisioned.
func registerMetrics(ctx caddy.Context) error {
	registry := ctx.GetMetricsRegistry()
	if registry == nil {
		return nil
	}
	err := registry.Register(refusedTotal)
	if known, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok && known.ExistingCollector == refusedTotal {
		return nil // by another handler of the config
	}
	return err
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
