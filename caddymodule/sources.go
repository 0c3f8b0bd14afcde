package caddymodule

import (
	"crypto/sha256"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/oauth2-passport/caddy-passport/issuer/verify"
)

// foreignSources are the sources of other issuers' tokens that are in use, by what their config says: any number of
// routes share one, and so do the config that goes and the one that comes, so that a reload in an outage of the other
// issuer loses no keys. pools guards giving back.
var foreignSources = caddy.NewUsagePool() // of *pooledSource, by sourceKey

type sourceKey [sha256.Size]byte

type pooledSource struct{ *verify.External }

// Destruct ends what works in the background.
func (s *pooledSource) Destruct() error {
	s.Close()
	return nil
}

// source returns the source of that content, which is made if nobody uses it yet. The app gives it back by Cleanup.
func (a *App) source(content []any, made func() (*verify.External, error)) (*verify.External, error) {
	digest, err := contentKey(content)
	if err != nil {
		return nil, err
	}
	key := sourceKey(digest)
	a.mu.Lock()
	defer a.mu.Unlock()
	if s := a.sources[key]; s != nil {
		return s, nil
	}
	shared, _, err := foreignSources.LoadOrNew(key, func() (caddy.Destructor, error) {
		x, err := made()
		if err != nil {
			return nil, err
		}
		x.Count(verifications.ofIssuer(x.Name()))
		return &pooledSource{x}, nil
	})
	if err != nil {
		return nil, err
	}
	if a.sources == nil {
		a.sources = make(map[sourceKey]*verify.External)
	}
	s := shared.(*pooledSource).External
	a.sources[key] = s
	return s, nil
}

// startSources has the sources of the config work.
func (a *App) startSources() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, s := range a.sources {
		s.Start()
	}
}

// retireSources gives the sources back: at once when Caddy stops or the config was refused, else when no request needs
// them any more, as issuers are.
func (a *App) retireSources() {
	a.mu.Lock()
	sources := a.sources
	a.sources = nil
	a.mu.Unlock()
	if len(sources) == 0 {
		return
	}
	retirees.mu.Lock()
	defer retirees.mu.Unlock()
	if retirees.stop == nil {
		giveBack(sources, a.ctx.Logger(), true)
		return
	}
	stop := retirees.stop
	retirees.done.Go(func() {
		ticker := time.NewTicker(linger)
		defer ticker.Stop()
		for len(sources) > 0 {
			select {
			case <-stop:
				giveBack(sources, a.ctx.Logger(), true)
				return
			case <-ticker.C:
				giveBack(sources, a.ctx.Logger(), false)
			}
		}
	})
}

// giveBack gives those sources back that others use too, or that no request needs; all of them in any case if all is
// set. What is given back is taken from the map.
func giveBack(sources map[sourceKey]*verify.External, logger *zap.Logger, all bool) {
	pools.Lock()
	defer pools.Unlock()
	for key, s := range sources {
		users, _ := foreignSources.References(key)
		if !all && users == 1 && s.Watching() > 0 {
			continue
		}
		delete(sources, key)
		if _, err := foreignSources.Delete(key); err != nil {
			logger.Error("closing a source of tokens", zap.Error(err))
		}
	}
}
