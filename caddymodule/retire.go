package caddymodule

import (
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
)

// linger is how long at least an issuer works on after another config has taken the place of its own. Caddy does not
// wait for the old config's requests when it reloads: those that have been accepted still come through the old
// handlers, up to five seconds later (net/http gives a new connection as long to send its first request).
const linger = 10 * time.Second

// retirees are the issuers of past configs that still have requests.
var retirees struct {
	mu   sync.Mutex
	done sync.WaitGroup
	stop chan struct{} // closed when nothing is left to wait for; nil when there are none
}

// activeApp returns the app of the config that is in force, nil if it has none. running tells whether any config is.
func activeApp() (app *App, running bool) {
	ctx := caddy.ActiveContext()
	if ctx.Context == nil {
		return nil, false
	}
	found, err := ctx.AppIfConfigured("passport")
	if err != nil {
		return nil, true
	}
	return found.(*App), true
}

// retire lets go what the issuers have acquired. When Caddy stops that is done when retire returns, and for those that
// were retired before, too. When a reload has put another config in force, or refused this one, they work on until
// their requests are over, which a token's lifetime bounds.
func retire(instances []*instance) {
	app, reloaded := activeApp()
	if !reloaded || caddy.Exiting() {
		for _, i := range instances {
			i.shut()
		}
		retirees.mu.Lock()
		defer retirees.mu.Unlock()
		if retirees.stop != nil {
			close(retirees.stop)
			retirees.stop = nil
		}
		retirees.done.Wait()
		return
	}
	retirees.mu.Lock()
	defer retirees.mu.Unlock()
	if retirees.stop == nil {
		retirees.stop = make(chan struct{})
	}
	stop := retirees.stop
	for _, i := range instances {
		if app != nil {
			if next := app.find(i.name); next != i {
				i.successor.Store(next)
			}
		}
		if i.retire() {
			retirees.done.Go(func() { i.fade(stop) })
		}
	}
}

// retire sees to it that the issuer is not opened any more, and tells whether it is open.
func (i *instance) retire() bool {
	i.opening <- struct{}{}
	defer func() { <-i.opening }()
	i.closed = true
	return i.ready()
}

// fade shuts the issuer when it has lingered and no request is left, or when stop is closed.
func (i *instance) fade(stop <-chan struct{}) {
	ticker := time.NewTicker(linger)
	defer ticker.Stop()
	for {
		select {
		case <-stop:
			i.shut()
			return
		case <-ticker.C:
			if r := i.running.Load(); r.verifier.Watching() == 0 {
				i.shut()
				return
			}
		}
	}
}

// shut lets go what the issuer has acquired, and keeps it from being opened again.
func (i *instance) shut() {
	i.opening <- struct{}{}
	defer func() { <-i.opening }()
	i.closed = true
	r := i.running.Swap(nil)
	if r == nil {
		return
	}
	if err := r.close(); err != nil {
		i.logger.Error("closing the issuer", zap.Error(err))
	}
}
