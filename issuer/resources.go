package issuer

import (
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// resources are the audiences that routes know beside the issuer itself; a token can be asked for them (RFC 8707).
type resources struct {
	mu     sync.Mutex
	known  atomic.Pointer[map[string]bool]
	routes atomic.Pointer[[]Route] // nil as long as none has a resource
	plain  []Route                 // those without one, until there is one that has
}

// Route is what a route of the gateway demands of a token, as far as the token endpoint decides by it what a token is
// for whose client does not say so.
type Route struct {
	Resource string   // whose protected resource it is (RFC 9728 §1.2); empty: it demands the issuer identifier
	Scopes   []string // every one
	AnyScope []string // at least one
}

func (s *resources) has(resource string) bool {
	known := s.known.Load()
	return known != nil && (*known)[resource]
}

// find returns the resource that a client asks for, as the route has it. Clients that have a URL parsed ask for
// https://api.example.com/ where the route says https://api.example.com, and for hosts in any case (RFC 3986 §6.2.2.1,
// §6.2.3).
func (s *resources) find(asked, issuer string) (string, bool) {
	if asked == issuer || s.has(asked) {
		return asked, true
	}
	normal := normalized(asked)
	if normal == normalized(issuer) {
		return issuer, true
	}
	if known := s.known.Load(); known != nil {
		for _, resource := range slices.Sorted(maps.Keys(*known)) {
			if normalized(resource) == normal {
				return resource, true
			}
		}
	}
	return "", false
}

// normalized is a URL with scheme and host in lower case and without the path "/"; everything else is as it was.
func normalized(resource string) string {
	u, err := url.Parse(resource)
	if err != nil || u.Host == "" {
		return resource
	}
	u.Scheme, u.Host = strings.ToLower(u.Scheme), strings.ToLower(u.Host)
	if u.Path == "/" {
		u.Path, u.RawPath = "", ""
	}
	return u.String()
}

// NameResources makes resources exist that a route demands as audience.
func (i *Issuer) NameResources(names ...string) {
	s := &i.resources
	s.mu.Lock()
	defer s.mu.Unlock()
	s.name(names...)
}

func (s *resources) name(names ...string) {
	known := make(map[string]bool)
	if old := s.known.Load(); old != nil {
		maps.Copy(known, *old)
	}
	for _, name := range names {
		known[name] = true
	}
	s.known.Store(&known)
}

// NameRoutes tells what the routes of the gateway demand, and makes their resources exist.
func (i *Issuer) NameRoutes(routes ...Route) {
	s := &i.resources
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.plain
	if known := s.routes.Load(); known != nil {
		all = *known
	}
	all = slices.Clone(all)
	bound := s.routes.Load() != nil
	for _, r := range routes {
		same := func(other Route) bool {
			return other.Resource == r.Resource && slices.Equal(other.Scopes, r.Scopes) &&
				slices.Equal(other.AnyScope, r.AnyScope)
		}
		if slices.ContainsFunc(all, same) {
			continue
		}
		all = append(all, r)
		if r.Resource != "" {
			bound = true
			s.name(r.Resource)
		}
	}
	if bound {
		s.plain = nil
		s.routes.Store(&all)
		return
	}
	s.plain = all
}

// defaultAudience is what a token is for whose client did not say it: all for which its scopes are enough (RFC 9068 §3
// has the scopes tell). Where they are enough for nothing, or for more than fits, it is for the issuer itself, and so
// is every token as long as no route has a resource.
//
// No client gets more by silence than it would get by naming every resource, so that this gives nothing away; and a
// client that names one gets a token for that alone.
func (i *Issuer) defaultAudience(identifier string, scopes []string) []string {
	routes := i.resources.routes.Load()
	if routes == nil {
		return []string{identifier}
	}
	allowed := i.ScopesOf(scopes)
	enough := func(scope string) bool { return slices.Contains(allowed, scope) }
	var audience []string
	length := 0
	for _, r := range *routes {
		if slices.ContainsFunc(r.Scopes, func(s string) bool { return !enough(s) }) ||
			len(r.AnyScope) > 0 && !slices.ContainsFunc(r.AnyScope, enough) {
			continue
		}
		resource := r.Resource
		if resource == "" {
			resource = identifier
		}
		if !slices.Contains(audience, resource) {
			audience = append(audience, resource)
			length += len(resource)
		}
	}
	if len(audience) == 0 || length > maxAudience {
		return []string{identifier}
	}
	return audience
}
