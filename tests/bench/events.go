//go:build linux

package main

import (
	"context"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
)

func init() { caddy.RegisterModule(ignoreEvents{}) }

// ignoreEvents hears events and does nothing.
type ignoreEvents struct{}

func (ignoreEvents) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "events.handlers.bench_ignore", New: func() caddy.Module { return new(ignoreEvents) }}
}

func (ignoreEvents) Handle(context.Context, caddy.Event) error { return nil }

func (*ignoreEvents) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	return nil
}

// Interface guards
var (
	_ caddyevents.Handler   = (*ignoreEvents)(nil)
	_ caddyfile.Unmarshaler = (*ignoreEvents)(nil)
)
