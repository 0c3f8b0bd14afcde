package issuer

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/oauth2-passport/caddy-passport/store"
)

// Scope is a permission that a token may carry.
type Scope struct {
	Name        string   // RFC 6749 §3.3: visible ASCII without quotation mark and backslash
	Description string   // what people read; default: the name
	Includes    []string // a token that has this scope may do what those allow, and what they include
	Restricted  bool     // only for clients (and people) that name it, or one that includes it
}

// AnyScope stands for every scope, as in Laravel Passport. Only some grants give it, only to a client that names it.
const AnyScope = "*"

// scopeSet is the scopes that exist. Defined ones are fixed; clients and routes may name more.
type scopeSet struct {
	mu       sync.Mutex
	snapshot atomic.Pointer[scopes]
}

// scopes is an immutable state of a [scopeSet].
type scopes struct {
	list     []Scope
	byName   map[string]*scope
	defaults []string
}

type scope struct {
	reach      map[string]bool // itself and all that it includes, directly or not
	restricted bool            // it, or one that it includes, is
}

func (s *scopeSet) load() *scopes { return s.snapshot.Load() }

// define sets the scopes of the configuration.
func (s *scopeSet) define(list []Scope, defaults []string) error {
	seen := make(map[string]bool, len(list))
	for _, scope := range list {
		if err := checkScopeName(scope.Name); err != nil {
			return err
		}
		if seen[scope.Name] {
			return fmt.Errorf("scope %s is defined twice", scope.Name)
		}
		seen[scope.Name] = true
		for _, included := range scope.Includes {
			if err := checkScopeName(included); err != nil {
				return fmt.Errorf("scope %s includes: %w", scope.Name, err)
			}
		}
		if hasControl(scope.Description) {
			return fmt.Errorf("the description of scope %s has control characters", scope.Name)
		}
	}
	for _, name := range defaults {
		if err := checkScopeName(name); err != nil {
			return fmt.Errorf("default_scopes: %w", err)
		}
	}
	if len(defaults) > maxTokenScopes || len(strings.Join(defaults, " ")) > maxTokenScope {
		return fmt.Errorf("default_scopes: a token takes up to %d scopes of %d bytes in all", maxTokenScopes, maxTokenScope)
	}
	built, err := buildScopes(slices.Clone(list), slices.Compact(slices.Clone(defaults)))
	if err != nil {
		return err
	}
	s.snapshot.Store(built)
	s.add(defaults)
	for _, scope := range list {
		s.add(scope.Includes)
	}
	return nil
}

// add makes scopes exist that somebody names. Those that exist stay what they are.
func (s *scopeSet) add(names []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.load()
	list := old.list
	for _, name := range names {
		known := func(s Scope) bool { return s.Name == name }
		if name != AnyScope && !slices.ContainsFunc(list, known) {
			list = append(slices.Clip(list), Scope{Name: name})
		}
	}
	if len(list) == len(old.list) {
		return
	}
	built, err := buildScopes(list, old.defaults)
	if err != nil {
		return // scopes that include nothing cannot make a circle
	}
	s.snapshot.Store(built)
}

func buildScopes(list []Scope, defaults []string) (*scopes, error) {
	s := &scopes{list: list, byName: make(map[string]*scope, len(list)), defaults: defaults}
	defined := make(map[string]*Scope, len(list))
	for i := range list {
		if list[i].Description == "" {
			list[i].Description = list[i].Name
		}
		defined[list[i].Name] = &list[i]
	}
	for i := range list {
		reached := &scope{reach: make(map[string]bool)}
		todo := []string{list[i].Name}
		for len(todo) > 0 {
			name := todo[len(todo)-1]
			todo = todo[:len(todo)-1]
			if reached.reach[name] {
				continue
			}
			reached.reach[name] = true
			if d := defined[name]; d != nil {
				if slices.Contains(d.Includes, list[i].Name) {
					return nil, fmt.Errorf("scope %s includes itself", list[i].Name)
				}
				reached.restricted = reached.restricted || d.Restricted
				todo = append(todo, d.Includes...)
			}
		}
		s.byName[list[i].Name] = reached
	}
	return s, nil
}

// checkScopeName holds a name against RFC 6749 §3.3, scope-token.
func checkScopeName(name string) error {
	if name == AnyScope {
		return errors.New("the scope * stands for all others and cannot be defined, included or given by default")
	}
	if !isScopeToken(name) {
		return fmt.Errorf(`%q is no name for a scope: it takes visible ASCII without space, " and \`, name)
	}
	return nil
}

const maxScopeName = 128

func isScopeToken(name string) bool { return isVisible(name) && len(name) <= maxScopeName }

// isVisible tells whether s is something, all of visible ASCII without quotation mark and backslash.
func isVisible(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return s != ""
}

// Scopes lists the scopes that exist: those of the configuration in its order, then those that somebody names.
func (i *Issuer) Scopes() []Scope { return slices.Clone(i.scopes.load().list) }

// NameScopes makes scopes exist that a route demands. It answers an error for what is no name of a scope.
func (i *Issuer) NameScopes(names ...string) error {
	for _, name := range names {
		if err := checkScopeName(name); err != nil {
			return err
		}
	}
	i.scopes.add(names)
	return nil
}

// ScopesThatAllow lists the scopes of which a token of ours needs one to do what the scope name allows: that itself,
// those that include it, and [AnyScope].
func (i *Issuer) ScopesThatAllow(name string) []string {
	names := []string{name}
	s := i.scopes.load()
	for _, defined := range s.list {
		if defined.Name != name && s.byName[defined.Name].reach[name] {
			names = append(names, defined.Name)
		}
	}
	return append(names, AnyScope)
}

// ScopeIncludes tells whether the scope has is what, or includes it, directly or not. It reads memory only.
func (i *Issuer) ScopeIncludes(has, what string) bool {
	if has == what {
		return true
	}
	known := i.scopes.load().byName[has]
	return known != nil && known.reach[what]
}

// ScopesOf lists all that the scopes of a token allow: themselves and what they include, and every scope that exists
// where [AnyScope] is among them.
func (i *Issuer) ScopesOf(names []string) []string {
	s := i.scopes.load()
	all := slices.Clone(names)
	every := slices.Contains(names, AnyScope)
	for _, defined := range s.list {
		included := func(has string) bool { return s.byName[has] != nil && s.byName[has].reach[defined.Name] }
		if !slices.Contains(all, defined.Name) && (every || slices.ContainsFunc(names, included)) {
			all = append(all, defined.Name)
		}
	}
	return all
}

// Bounds of what a token's claim scope holds: a token has to fit into a header.
const (
	maxTokenScopes = 64
	maxTokenScope  = 3 << 10 // bytes
)

// parseScope splits the parameter scope. A scope that is asked for twice counts once. RFC 6749 §3.3 has one space
// between two scopes; more do no harm.
func parseScope(value string) ([]string, *Error) {
	if value == "" {
		return nil, nil
	}
	if len(value) > maxTokenScope {
		return nil, errScopeMalformed
	}
	var names []string
	for name := range strings.SplitSeq(value, " ") {
		switch {
		case name == "", slices.Contains(names, name):
		case !isScopeToken(name), len(names) == maxTokenScopes:
			return nil, errScopeMalformed
		default:
			names = append(names, name)
		}
	}
	return names, nil
}

// scopesFor decides what a token of the client holds when asked is asked for: that, or an error; never less, so that
// nobody has to look what was left of the wish. anyScope says whether the grant can give [AnyScope].
func (s *scopes) scopesFor(c *store.Client, asked []string, anyScope bool) ([]string, *Error) {
	if len(asked) == 0 {
		var given []string
		for _, name := range s.defaults {
			if s.mayHave(c, name) {
				given = append(given, name)
			}
		}
		return given, nil
	}
	for _, name := range asked {
		switch {
		case name == AnyScope:
			if !anyScope || !slices.Contains(c.Scopes, AnyScope) {
				return nil, errScopeNotAllowed.about("The client may not have the scope ", name, ".")
			}
		case s.byName[name] == nil && !slices.Contains(c.Scopes, name):
			return nil, errScopeUnknown.about("The scope ", name, " is unknown.")
		case !s.mayHave(c, name):
			return nil, errScopeNotAllowed.about("The client may not have the scope ", name, ".")
		}
	}
	return asked, nil
}

// scopesForUser decides what a token of the client in a person's name holds: what is asked for, the client may have and
// the person may have. To ask for more than the client may have is an error, as in scopesFor. What the person may not
// have is left out, and it is an error when nothing remains (RFC 6749 §3.3).
func (s *scopes) scopesForUser(c *store.Client, u *store.User, asked []string, anyScope bool) ([]string, *Error) {
	names, fault := s.scopesFor(c, asked, anyScope)
	if fault != nil {
		return nil, fault
	}
	given := s.narrowed(names, u)
	if len(asked) > 0 && len(given) == 0 {
		return nil, errScopeOfPerson
	}
	return given, nil
}

// narrowed are those of the names that the person may have.
func (s *scopes) narrowed(names []string, u *store.User) []string {
	var given []string
	for _, name := range names {
		if s.personMayHave(u, name) {
			given = append(given, name)
		}
	}
	return given
}

// stillAllowed are those of the scopes that have been granted that client and person may have today.
func (s *scopes) stillAllowed(c *store.Client, u *store.User, granted []string) []string {
	var given []string
	for _, name := range granted {
		if s.mayHave(c, name) && s.personMayHave(u, name) {
			given = append(given, name)
		}
	}
	return given
}

// within tells whether the scope name is no more than the scopes has allow.
func (s *scopes) within(has []string, name string) bool {
	for _, one := range has {
		if one == name || one == AnyScope {
			return true
		}
		if known := s.byName[one]; known != nil && known.reach[name] {
			return true
		}
	}
	return false
}

// mayHave tells whether a client may have a scope: it names it, one that includes it, or *; or it names none at all,
// and the scope is not restricted and includes none that is.
func (s *scopes) mayHave(c *store.Client, name string) bool {
	if len(c.Scopes) == 0 {
		return s.isFree(name)
	}
	return s.within(c.Scopes, name)
}

// personMayHave tells whether a person may have a scope: as a client, but that a person may be limited to no scope at
// all.
func (s *scopes) personMayHave(u *store.User, name string) bool {
	if !u.Limited {
		return s.isFree(name)
	}
	return s.within(u.Scopes, name)
}

// isFree tells whether the scope is for all who name none.
func (s *scopes) isFree(name string) bool {
	known := s.byName[name]
	return known != nil && !known.restricted
}
