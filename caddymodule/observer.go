package caddymodule

import (
	"context"

	"go.uber.org/zap"

	"github.com/oauth2-passport/caddy-passport/issuer"
)

// observer writes what an issuer tells of to the log: who got, lost or was refused what. It names tokens by their `jti`
// and clients by their `client_id`; an event has no secrets.
type observer struct {
	logger *zap.Logger
}

// Observe implements [issuer.Observer]. Faults of callers are no faults of ours, so they are told at the same level.
func (o *observer) Observe(_ context.Context, e issuer.Event) {
	entry := o.logger.Check(zap.InfoLevel, string(e.Type))
	if entry == nil {
		return
	}
	fields := make([]zap.Field, 0, 6)
	for _, f := range []struct{ key, value string }{
		{"client_id", e.ClientID},
		{"user_id", e.UserID},
		{"jti", e.TokenID},
		{"grant_type", e.Grant},
		{"scope", e.Scope},
		{"error", e.Error},
	} {
		if f.value != "" {
			fields = append(fields, zap.String(f.key, f.value))
		}
	}
	entry.Write(fields...)
}

// Interface guards
var _ issuer.Observer = (*observer)(nil)
