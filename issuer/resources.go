package issuer

import (
	"maps"
	"sync"
	"sync/atomic"
)

// resources are the audiences that routes know beside the issuer itself; a token can be asked for them (RFC 8707).
type resources struct {
	mu    sync.Mutex
	known atomic.Pointer[map[string]bool]
}

func (s *resources) has(resource string) bool {
	known := s.known.Load()
	return known != nil && (*known)[resource]
}

// NameResources makes resources exist that a route demands as audience.
func (i *Issuer) NameResources(names ...string) {
	s := &i.resources
	s.mu.Lock()
	defer s.mu.Unlock()
	known := make(map[string]bool)
	if old := s.known.Load(); old != nil {
		maps.Copy(known, *old)
	}
	for _, name := range names {
		known[name] = true
	}
	s.known.Store(&known)
}
