// Package caddymodule makes Caddy modules of the issuers: the app, the handlers, the matcher, the storage modules,
// their Caddyfile, the admin API and the command. It is the only room that knows Caddy.
//
// Begin at [App], which holds the issuers of a config; an instance is one of them while it works, from the first who
// needs it until no request does any more. [Server] serves its endpoints and [Auth] enforces its tokens.
package caddymodule

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/oauth2-passport/caddy-passport/issuer/verify"
)

func init() {
	caddy.RegisterModule(new(App))
}

// DefaultIssuer is the name of the issuer that a directive means when it names none.
const DefaultIssuer = "default"

// App is the Caddy app passport: the named issuers, each with its own storage, keys, clients and scopes. The handlers
// passport_server and passport_auth name the one they work for.
type App struct {
	// Issuers are the issuers by their names. Default: none; a handler that names no issuer then gets one that is
	// called "default", with the defaults of every option.
	Issuers map[string]*Issuer `json:"issuers,omitempty"`

	ctx       caddy.Context
	events    *events
	mu        sync.Mutex
	instances map[string]*instance
	sources   map[sourceKey]*verify.External // of the tokens of other issuers
}

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "passport",
		New: func() caddy.Module { return new(App) },
	}
}

// Provision sets the defaults of each issuer and resolves its placeholders. It opens nothing: a config is provisioned
// beside a running server, too.
func (a *App) Provision(ctx caddy.Context) error {
	a.ctx = ctx
	if err := registerMetrics(ctx); err != nil {
		return err
	}
	var err error
	if a.events, err = newEvents(a); err != nil {
		return fmt.Errorf("events: %w", err)
	}
	a.instances = make(map[string]*instance, len(a.Issuers))
	for _, name := range slices.Sorted(maps.Keys(a.Issuers)) {
		if a.Issuers[name] == nil {
			a.Issuers[name] = new(Issuer)
		}
		if _, err := a.provision(name, a.Issuers[name]); err != nil {
			return err
		}
	}
	return nil
}

func (a *App) provision(name string, config *Issuer) (*instance, error) {
	if err := config.provision(a.ctx); err != nil {
		return nil, fmt.Errorf("issuer %q: %w", name, err)
	}
	i := newInstance(name, config, a.ctx.Logger().With(zap.String("issuer", name)), a.events)
	a.instances[name] = i
	return i, nil
}

// Validate checks the config of each issuer.
func (a *App) Validate() error {
	for _, name := range slices.Sorted(maps.Keys(a.Issuers)) {
		if err := a.Issuers[name].validate(name); err != nil {
			return fmt.Errorf("issuer %q: %w", name, err)
		}
	}
	return nil
}

// Start opens the storage of each issuer, unless a request that came first has done so, begins to fetch the keys of
// others, and warns of what is hardly meant.
func (a *App) Start() error {
	for _, i := range a.all() {
		if err := i.open(a.ctx); err != nil {
			return err
		}
	}
	a.startSources()
	a.events.start()
	a.warn()
	return nil
}

// Stop has the events handled that have happened. Requests that are still running need their issuer: Cleanup lets it
// go.
func (a *App) Stop() error {
	a.events.end()
	return nil
}

// Cleanup lets go what the issuers of this config have acquired. What the next config has acquired too stays open.
func (a *App) Cleanup() error {
	retire(a.all())
	a.retireSources()
	return nil
}

// instance returns the issuer of that name; the empty name is [DefaultIssuer], which is made with its defaults when the
// config has no issuer at all. Handlers call it when they are provisioned.
func (a *App) instance(name string) (*instance, error) {
	if name == "" {
		name = DefaultIssuer
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if i, ok := a.instances[name]; ok {
		return i, nil
	}
	if err := a.lacks(name); err != nil {
		return nil, err
	}
	config := new(Issuer)
	i, err := a.provision(name, config)
	if err != nil {
		return nil, err
	}
	return i, config.validate(name)
}

// lacks answers an error when the config has no issuer of that name and none is made for it.
func (a *App) lacks(name string) error {
	if name == "" {
		name = DefaultIssuer
	}
	if _, ok := a.Issuers[name]; ok || len(a.Issuers) == 0 && name == DefaultIssuer {
		return nil
	}
	if len(a.Issuers) == 0 {
		return fmt.Errorf("there is no issuer %q: define it by the global option \"passport %[1]s\"", name)
	}
	return fmt.Errorf("there is no issuer %q: the config has %s", name, knownKeys(a.Issuers))
}

// find returns the issuer of that name, nil if there is none.
func (a *App) find(name string) *instance {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.instances[name]
}

// all returns the issuers in the order of their names.
func (a *App) all() []*instance {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := make([]*instance, 0, len(a.instances))
	for _, name := range slices.Sorted(maps.Keys(a.instances)) {
		all = append(all, a.instances[name])
	}
	return all
}

// appOf returns the app of the config that ctx belongs to, provisioned.
func appOf(ctx caddy.Context) (*App, error) {
	app, err := ctx.App("passport")
	if err != nil {
		return nil, err
	}
	return app.(*App), nil
}

// Interface guards
var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.Validator    = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
