package caddymodule

import (
	"context"
	"strings"

	"go.uber.org/zap"

	"github.com/oauth2-passport/caddy-passport/issuer"
	"github.com/oauth2-passport/caddy-passport/issuer/keys"
)

// observer is told what has happened at an issuer, and tells the audit log, the metrics and Caddy's events of it. What
// is told names tokens by their `jti` and clients by their `client_id`; it has no secrets.
type observer struct {
	instance *instance
}

// Observe implements [issuer.Observer].
func (o *observer) Observe(ctx context.Context, e issuer.Event) {
	for _, text := range []*string{
		&e.ClientID, &e.UserID, &e.TokenID, &e.FamilyID, &e.KeyID, &e.Grant, &e.Scope, &e.Error,
	} {
		*text = bounded(*text)
	}
	countEvent(&e)
	// The log and the event app of a config end with it, and this may be its last request.
	now := o.instance.latest()
	from := originOf(ctx)
	now.audit(&e, from)
	now.events.emit(&e, from)
}

// tell tells of what the operator has done, to so many records, that the issuer itself does not tell of.
func (r *running) tell(ctx context.Context, what issuer.EventType, records int) {
	r.told.Observe(ctx, issuer.Event{Type: what, Time: r.db.Now(), Issuer: r.told.instance.name, Count: records})
}

// keysChanged is told of the keys.
func (o *observer) keysChanged(ctx context.Context, c keys.Change) {
	e := issuer.Event{Type: issuer.KeyRotated, Time: c.Time, Issuer: o.instance.name, KeyID: c.KeyID}
	if c.Retired {
		e.Type = issuer.KeyRetired
	}
	o.Observe(ctx, e)
}

// latest is the issuer of the config that is in force, as far as this one has heard of it.
func (i *instance) latest() *instance {
	for next := i.successor.Load(); next != nil; next = i.successor.Load() {
		i = next
	}
	return i
}

// maxText is the length of the longest text that is told, in bytes: what people name and ask for has other bounds, but
// a line of a log has to have one.
const maxText = 1 << 10

func bounded(text string) string {
	if len(text) <= maxText {
		return text
	}
	return strings.ToValidUTF8(text[:maxText], "") + "…"
}

// audit writes the line of the audit log.
func (i *instance) audit(e *issuer.Event, from origin) {
	entry := i.auditLog.Check(zap.InfoLevel, string(e.Type))
	if entry == nil {
		return
	}
	fields := make([]zap.Field, 0, 12)
	for name, value := range details(e, from) {
		fields = append(fields, zap.String(name, value))
	}
	if e.Count > 0 {
		fields = append(fields, zap.Int("count", e.Count))
	}
	entry.Write(fields...)
}

// details yields the texts that are told of an event, by their names, and leaves out what there is nothing to tell of.
func details(e *issuer.Event, from origin) func(yield func(name, value string) bool) {
	return func(yield func(string, string) bool) {
		for _, field := range []struct{ name, value string }{
			{"actor", from.actorOf(e)},
			{"identity", from.identity},
			{"remote_ip", from.remote},
			{"client_id", e.ClientID},
			{"user_id", e.UserID},
			{"jti", e.TokenID},
			{"family_id", e.FamilyID},
			{"kid", e.KeyID},
			{"grant_type", e.Grant},
			{"scope", e.Scope},
			{"error", e.Error},
		} {
			if field.value != "" && !yield(field.name, field.value) {
				return
			}
		}
	}
}

// Interface guards
var _ issuer.Observer = (*observer)(nil)
