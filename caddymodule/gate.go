package caddymodule

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"

	"github.com/oauth2-passport/caddy-passport/issuer"
	"github.com/oauth2-passport/caddy-passport/issuer/verify"
)

// gate tells who calls, and whether that is enough for what a route demands. It keeps nothing of a request: who a token
// is, is remembered by the verifier; what it may do here is found out each time.
type gate struct {
	instance *instance

	scopes, anyScope []string
	subject          string
	audience         []string // empty: the issuer identifier that holds for the request
	clients          []string
	expressions      []string // CEL, all of which have to come out true

	require []*requirement // expressions, compiled
	enough  atomic.Pointer[enough]
}

// enough is what the demanded scopes are satisfied by: for each, those that allow it. Which these are is known when the
// issuer is open.
type enough struct {
	issuer *issuer.Issuer
	all    [][]string
	any    []string
}

// provision finds the issuer and tells it what it has to know of the route.
func (g *gate) provision(ctx caddy.Context, issuerName string) error {
	app, err := appOf(ctx)
	if err != nil {
		return err
	}
	if g.instance, err = app.instance(issuerName); err != nil {
		return err
	}
	for _, list := range []*[]string{&g.audience, &g.clients} {
		*list = slices.Clone(*list)
		for i, value := range *list {
			if (*list)[i], err = replace(value); err != nil {
				return err
			}
		}
	}
	if g.require, err = compileRequirements(g.expressions); err != nil {
		return err
	}
	g.instance.demand(slices.Concat(g.scopes, g.anyScope), g.audience)
	return nil
}

// validate checks what is demanded.
func (g *gate) validate() error {
	for _, list := range []struct {
		name   string
		values []string
	}{
		{"scopes", g.scopes}, {"any_scope", g.anyScope}, {"audience", g.audience}, {"clients", g.clients},
	} {
		for i, value := range list.values {
			if value == "" {
				return fmt.Errorf("%s: one is empty", list.name)
			}
			if slices.Contains(list.values[:i], value) {
				return fmt.Errorf("%s: %q is repeated", list.name, value)
			}
		}
	}
	for _, scope := range slices.Concat(g.scopes, g.anyScope) {
		if err := issuer.CheckScope(scope); err != nil {
			return err
		}
	}
	switch g.subject {
	case "", "user", "client":
		return nil
	}
	return fmt.Errorf("unknown subject %q: there is client, user", g.subject)
}

// wanted is the `scope` of answers: all scopes that the route needs.
func (g *gate) wanted() string {
	all := slices.Clone(g.scopes)
	for _, scope := range g.anyScope {
		if !slices.Contains(all, scope) {
			all = append(all, scope)
		}
	}
	return strings.Join(all, " ")
}

// identify finds out who calls. A request without a token is nobody's: no identity, and no refusal.
func (g *gate) identify(r *http.Request, v *visit) (*running, *verify.Identity, *refusal) {
	switch v.bearer(r) {
	case sentNone:
		return nil, nil, nil
	case sentTwice:
		return nil, nil, refusedTwice
	case sentMalformed:
		return nil, nil, refusedToken(verify.ErrMalformed)
	}
	open, err := g.instance.use(r.Context())
	if err != nil {
		return nil, nil, refusedUnavailable(err)
	}
	identifier := open.issuer.IdentifierFor(r)
	id, err := v.verify(r.Context(), open.verifier, identifier)
	if err == nil {
		if len(g.audience) > 0 {
			err = id.IntendedFor(g.audience...)
		} else {
			err = id.IntendedFor(identifier)
		}
	}
	if err == nil {
		return open, id, nil
	}
	if bad, ok := errors.AsType[*verify.Error](err); ok {
		return nil, id, refusedToken(bad)
	}
	return nil, nil, refusedUnavailable(err)
}

// check tells whether who calls may pass: nil if so.
func (g *gate) check(r *http.Request, open *running, id *verify.Identity) *refusal {
	e := g.enough.Load()
	if e == nil || e.issuer != open.issuer {
		e = g.findEnough(open.issuer)
	}
	for _, scopes := range e.all {
		if !hasAny(id, scopes) {
			return refusedScope
		}
	}
	if len(e.any) > 0 && !hasAny(id, e.any) {
		return refusedScope
	}
	switch {
	case g.subject == "user" && !id.Person():
		return refusedUser
	case g.subject == "client" && id.Person():
		return refusedClient
	case len(g.clients) > 0 && !slices.Contains(g.clients, id.ClientID):
		return refusedOtherClient
	}
	return g.meets(r, open, id)
}

func (g *gate) findEnough(i *issuer.Issuer) *enough {
	found := &enough{issuer: i}
	for _, scope := range g.scopes {
		found.all = append(found.all, i.ScopesThatAllow(scope))
	}
	for _, scope := range g.anyScope {
		found.any = append(found.any, i.ScopesThatAllow(scope)...)
	}
	g.enough.Store(found)
	return found
}

func hasAny(id *verify.Identity, scopes []string) bool {
	return slices.ContainsFunc(scopes, id.HasScope)
}
