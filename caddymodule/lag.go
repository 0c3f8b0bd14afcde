package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/oauth2-passport/caddy-passport/store"
)

// RevocationLag says what a node does with tokens when it has not heard of other nodes' revocations for a while, as
// when the database is out of reach. It has no effect with a storage that other nodes don't share.
type RevocationLag struct {
	// Limit is how long that may be, at least a second. Default: 30s.
	Limit caddy.Duration `json:"limit,omitempty"`

	// Then is what it does after that: "refuse" answers requests that have a token of the issuer with 503, until the node
	// has caught up; "allow" goes on by what the node knows. Default: refuse.
	Then string `json:"then,omitempty"`
}

// What a node may do when other nodes' revocations are out of sight.
const (
	lagRefuse = "refuse"
	lagAllow  = "allow"

	defaultLag = 30 * time.Second
	leastLag   = time.Second
)

func (l *RevocationLag) limit() time.Duration {
	if l == nil || l.Limit == 0 {
		return defaultLag
	}
	return time.Duration(l.Limit)
}

func (l *RevocationLag) refuses() bool { return l == nil || l.Then != lagAllow }

// bound is the limit after which tokens are refused; 0: they never are.
func (l *RevocationLag) bound() time.Duration {
	if l.refuses() {
		return l.limit()
	}
	return 0
}

func (l *RevocationLag) validate() error {
	switch {
	case l == nil:
		return nil
	case l.Limit != 0 && time.Duration(l.Limit) < leastLag:
		return errors.New("the limit is less than a second")
	case l.Then != "" && l.Then != lagRefuse && l.Then != lagAllow:
		return fmt.Errorf("unknown %q: there is %s, %s", l.Then, lagAllow, lagRefuse)
	}
	return nil
}

// parseLag reads the option revocation_lag. Syntax:
//
//	revocation_lag <duration> [refuse|allow]
func (c *Issuer) parseLag(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) != 1 && len(args) != 2 {
		return d.ArgErr()
	}
	limit, err := caddy.ParseDuration(args[0])
	if err != nil {
		return d.Errf("%q is no duration: it looks like 90d, 12h, 30m or 60s", args[0])
	}
	if limit < leastLag {
		return d.Errf("the duration %q is less than a second", args[0])
	}
	c.RevocationLag = &RevocationLag{Limit: caddy.Duration(limit)}
	if len(args) == 2 {
		c.RevocationLag.Then = args[1]
	}
	if err := c.RevocationLag.validate(); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

// watchLag tells once when other nodes' revocations go out of sight, and once when they are back, until ctx is done.
func (i *instance) watchLag(ctx context.Context, db *store.DB) {
	if !db.Shared() {
		return
	}
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	out := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		behind := db.Behind(db.Now())
		if out == (behind > i.config.RevocationLag.limit()) {
			continue
		}
		out = !out
		if i.successor.Load() != nil {
			continue // it tells
		}
		switch {
		case !out:
			i.logger.Info("what other nodes revoke is in sight again")
		case i.config.RevocationLag.refuses():
			i.logger.Error("what other nodes revoke is out of sight: tokens are refused with 503 until it is back",
				zap.Duration("for", behind))
		default:
			i.logger.Error("what other nodes revoke is out of sight: tokens are verified by what this node knows",
				zap.Duration("for", behind))
		}
	}
}
