package caddymodule

import (
	"context"
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
	instance *instance // nil: tokens of our own are not taken
	foreign  *foreign  // nil: no others are

	scopes, anyScope []string
	subject          string
	audience         []string // empty: the issuer identifier that holds for the request
	clients          []string
	expressions      []string // CEL, all of which have to come out true
	trust            []*Trust
	introspect       *Introspect
	session          bool // a browser's session is an identity too

	require []*requirement // expressions, compiled
	enough  atomic.Pointer[enough]
}

// errNoIssuer is the answer to a route that could take no token at all.
var errNoIssuer = errors.New("issuer is off, and no other is named: give trust or introspect")

// errSessionOff is the answer to a route that takes sessions of no issuer.
var errSessionOff = errors.New("session: a session is our own issuer's, which is off here")

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
	identifier := ""
	if issuerName == issuerOff && g.session {
		return errSessionOff
	}
	if issuerName != issuerOff {
		if g.instance, err = app.instance(issuerName); err != nil {
			return err
		}
		identifier = g.instance.config.Identifier
	} else if len(g.trust) == 0 && g.introspect == nil {
		return errNoIssuer
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
	if g.foreign, err = app.provisionForeign(g.trust, g.introspect, g.audience, identifier); err != nil {
		return err
	}
	if g.instance != nil {
		g.instance.demand(slices.Concat(g.scopes, g.anyScope), g.audience)
	}
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
		if g.session {
			return g.identifySession(r, v)
		}
		return nil, nil, nil
	case sentTwice:
		return nil, nil, refusedTwice
	case sentMalformed:
		return nil, nil, refusedToken(verify.ErrMalformed)
	}
	var (
		open       *running
		verifier   *verify.Verifier
		identifier string
		err        error
	)
	if g.instance != nil {
		if open, err = g.instance.use(r.Context()); err != nil {
			return nil, nil, refusedUnavailable(err)
		}
		verifier, identifier = open.verifier, open.issuer.IdentifierFor(r)
	}
	id, err := v.verify(r.Context(), verifier, identifier, g.foreign)
	if err == nil {
		switch {
		case !id.Own():
			err = g.foreign.intended(id)
		case len(g.audience) > 0:
			err = id.IntendedFor(g.audience...)
		default:
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
	if !g.scoped(open, id) {
		return refusedScope
	}
	switch {
	case g.subject == "user" && !id.Person():
		return refusedUser
	case g.subject == "client" && id.Person():
		return refusedClient
	case len(g.clients) > 0 && (!id.Own() || !slices.Contains(g.clients, id.ClientID)):
		return refusedOtherClient
	}
	return g.meets(r, open, id)
}

// scoped tells whether the token has the scopes that are demanded. What a scope includes, our own issuer says of its
// tokens: those of others have what they name.
func (g *gate) scoped(open *running, id *verify.Identity) bool {
	if !id.Own() {
		for _, scope := range g.scopes {
			if !id.HasScope(scope) {
				return false
			}
		}
		return len(g.anyScope) == 0 || hasAny(id, g.anyScope)
	}
	e := g.enough.Load()
	if e == nil || e.issuer != open.issuer {
		e = g.findEnough(open.issuer)
	}
	for _, scopes := range e.all {
		if !hasAny(id, scopes) {
			return false
		}
	}
	return len(e.any) == 0 || hasAny(id, e.any)
}

// watch has the request end when the token does, or the session where there is none.
func (v *visit) watch(one *verify.Watch, open *running, id *verify.Identity, end context.CancelCauseFunc) {
	if source := id.External(); source != nil {
		source.Watch(one, id, &v.token, end)
	} else {
		open.verifier.Watch(one, id, end)
	}
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
