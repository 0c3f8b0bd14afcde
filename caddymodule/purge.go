package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/oauth2-passport/caddy-passport/issuer"
	"github.com/oauth2-passport/caddy-passport/store"
)

// Purge says for how long the records of revoked tokens are kept. Records of what has expired vanish by themselves.
type Purge struct {
	// After is how long a revoked token's record is kept; the token stays refused when it is gone. Default: 168h.
	After caddy.Duration `json:"after,omitempty"`

	// Off keeps every record until its token expires, or the command purge removes it. Default: false.
	Off bool `json:"off,omitempty"`
}

const (
	defaultPurgeAfter = 7 * 24 * time.Hour
	purgeEvery        = time.Hour
	purgeLook         = 10 * time.Minute // between two looks whether it is time
	purgeDuty         = "purge"
)

func (p *Purge) after() time.Duration {
	if p == nil || p.After == 0 {
		return defaultPurgeAfter
	}
	return time.Duration(p.After)
}

func (p *Purge) validate() error {
	switch {
	case p == nil:
		return nil
	case p.After < 0:
		return errors.New("after is below zero")
	case p.Off && p.After != 0:
		return errors.New("it is off, and after is given: remove one")
	}
	return nil
}

// parsePurge reads the option purge. Syntax:
//
//	purge <duration>|off
func (c *Issuer) parsePurge(d *caddyfile.Dispenser) error {
	var value string
	if err := parseText(d, &value); err != nil {
		return err
	}
	c.Purge = new(Purge)
	if value == "off" {
		c.Purge.Off = true
		return nil
	}
	after, err := caddy.ParseDuration(value)
	if err != nil || after <= 0 {
		return d.Errf("%q is neither off nor a duration above zero: that looks like 90d, 12h, 30m or 60s", value)
	}
	c.Purge.After = caddy.Duration(after)
	return nil
}

// purgeBySchedule purges each hour, on one of the nodes that share the storage, until ctx is done.
func (i *instance) purgeBySchedule(ctx context.Context, r *running) {
	if i.config.Purge != nil && i.config.Purge.Off {
		return
	}
	for {
		// Not all nodes at once, nor all issuers of one.
		wait := purgeLook/2 + rand.N(purgeLook/2) //nolint:gosec // it spreads, and guards nothing
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		if i.successor.Load() != nil {
			return
		}
		if _, err := i.purgeIfDue(ctx, r); err != nil && ctx.Err() == nil {
			i.logger.Error("purging", zap.Error(err))
		}
	}
}

// purgeIfDue purges unless that has been done within the hour, by whichever node, and returns how many records it has
// removed.
func (i *instance) purgeIfDue(ctx context.Context, r *running) (int, error) {
	due := false
	err := r.db.Update(ctx, func(rec *store.Records) (err error) {
		due, err = rec.Take(purgeDuty, rec.Now().Add(purgeEvery))
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("taking the duty: %w", err)
	}
	if !due {
		return 0, nil
	}
	return r.issuer.Purge(ctx, issuer.PurgeFilter{Revoked: true, Age: i.config.Purge.after()})
}
