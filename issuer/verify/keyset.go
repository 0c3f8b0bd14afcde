package verify

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// When the keys of another issuer are fetched.
const (
	keepDefault = 10 * time.Minute // where the answer does not say how long it may be kept
	keepLeast   = time.Minute
	keepMost    = time.Hour
	// betweenFetches is the shortest time between two attempts: tokens with a kid that nobody knows can be made up.
	betweenFetches = 10 * time.Second
	retryFetch     = 30 * time.Second // after a failure, when nobody asks
	// keepThroughOutage is how long keys are relied upon that could not be fetched again.
	keepThroughOutage = 24 * time.Hour
)

// keySet is the keys of another issuer at one time. It does not change, except for when it was seen last.
type keySet struct {
	keys    []*publicKey
	fetched atomic.Int64 // in nanoseconds since 1970; zero: they were given, and last
}

// candidates are the keys that may have signed a token of that kid: those of that name, and those without any. Without
// a kid all may have.
func (s *keySet) candidates(kid, alg string) []*publicKey {
	var found []*publicKey
	for _, k := range s.keys {
		if k.fits(alg) && (k.kid == kid || kid == "" || k.kid == "") {
			found = append(found, k)
		}
	}
	if len(found) > maxCandidates {
		found = found[:maxCandidates]
	}
	return found
}

// maxCandidates is how many signatures a token that names no key may cost.
const maxCandidates = 8

func (s *keySet) has(id string) bool {
	return slices.ContainsFunc(s.keys, func(k *publicKey) bool { return k.id == id })
}

// keySource fetches the keys of another issuer, and keeps them.
type keySource struct {
	issuer  string // empty: keys that were given
	jwksURI string // empty: by discovery
	client  *http.Client
	now     func() time.Time
	logger  *zap.Logger
	spawn   func(func(context.Context)) bool // runs it until the source is closed; false: it is

	set atomic.Pointer[keySet] // nil until the first are there

	mu      sync.Mutex
	running chan struct{} // closed when the fetch that runs is over; nil when none does
	tried   time.Time     // when the last one ended; zero: none has
	err     error         // its outcome
	next    time.Duration // how long until the next one, when nobody asks
	found   string        // the URL that discovery has given
}

// current returns the keys as they are known, nil when there are none, or they are too old.
func (s *keySource) current(now time.Time) *keySet {
	set := s.set.Load()
	if set == nil {
		return nil
	}
	if at := set.fetched.Load(); at != 0 && now.Sub(time.Unix(0, at)) > keepThroughOutage {
		return nil
	}
	return set
}

// refresh fetches the keys, unless somebody has just tried: then the outcome of that counts. Those who come while a
// fetch runs wait for it.
func (s *keySource) refresh(ctx context.Context) error {
	s.mu.Lock()
	if s.running == nil {
		if age := s.now().Sub(s.tried); !s.tried.IsZero() && age >= 0 && age < betweenFetches {
			defer s.mu.Unlock()
			return s.err
		}
		done := make(chan struct{})
		if !s.spawn(func(ctx context.Context) { s.fetch(ctx, done) }) {
			defer s.mu.Unlock()
			return errClosed
		}
		s.running = done
	}
	running := s.running
	s.mu.Unlock()
	select {
	case <-running:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// fetch fetches the keys once.
func (s *keySource) fetch(ctx context.Context, done chan<- struct{}) {
	ctx, cancel := context.WithTimeout(ctx, 2*fetchTimeout)
	defer cancel()
	keep, err := s.load(ctx)

	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err != nil && ctx.Err() != nil && errors.Is(ctx.Err(), context.Canceled): // closed
	case err != nil:
		s.logger.Error("the keys of another issuer can't be fetched", zap.String("trust", s.issuer), zap.Error(err),
			zap.Bool("known", s.current(s.now()) != nil))
		s.found = "" // it may have moved
	case s.err != nil:
		s.logger.Info("the keys of another issuer can be fetched again", zap.String("trust", s.issuer))
	}
	s.tried, s.err, s.running = s.now(), err, nil
	if s.next = retryFetch; err == nil {
		s.next = keep
	}
	close(done)
}

// load fetches the keys and puts them in the place of those that are known.
func (s *keySource) load(ctx context.Context) (keep time.Duration, err error) {
	from := s.jwksURI
	if from == "" {
		s.mu.Lock()
		from = s.found
		s.mu.Unlock()
	}
	if from == "" {
		if from, err = s.discover(ctx); err != nil {
			return 0, err
		}
		s.mu.Lock()
		s.found = from
		s.mu.Unlock()
	}
	body, keep, err := get(ctx, s.client, from)
	if err != nil {
		return 0, err
	}
	list, err := parseJWKS(body)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", from, err)
	}
	set := &keySet{keys: list}
	if old := s.set.Load(); old != nil {
		if slices.EqualFunc(old.keys, list, sameKey) {
			set = old
		}
		keepTables(old.keys, list)
	}
	set.fetched.Store(s.now().UnixNano())
	s.set.Store(set)
	if keep == 0 {
		return keepDefault, nil
	}
	return min(max(keep, keepLeast), keepMost), nil
}

// keepTables gives keys that were known what their verification has learned.
func keepTables(old, list []*publicKey) {
	for _, k := range list {
		if at := slices.IndexFunc(old, func(o *publicKey) bool { return o.id == k.id }); at >= 0 && k.es != nil {
			k.es = cmp.Or(old[at].es, k.es)
		}
	}
}

func sameKey(a, b *publicKey) bool { return a.id == b.id && a.kid == b.kid && a.alg == b.alg }

// discover finds the URL of the keys in the issuer's metadata: of an authorization server (RFC 8414 §3) or an OpenID
// provider (OpenID Connect Discovery 1.0 §4).
func (s *keySource) discover(ctx context.Context) (string, error) {
	var faults []error
	for _, from := range metadataURLs(s.issuer) {
		body, _, err := get(ctx, s.client, from)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		var document struct {
			Issuer  string `json:"issuer"`
			JWKSURI string `json:"jwks_uri"`
		}
		switch err := json.Unmarshal(body, &document); {
		case err != nil:
			faults = append(faults, fmt.Errorf("%s: it is no metadata in JSON", from))
		case document.Issuer != s.issuer: // RFC 8414 §3.3
			faults = append(faults, fmt.Errorf("%s: it is the metadata of another issuer, %.200q", from, document.Issuer))
		case CheckURL(document.JWKSURI) != nil:
			faults = append(faults, fmt.Errorf("%s: its jwks_uri: %w", from, CheckURL(document.JWKSURI)))
		case strings.HasPrefix(s.issuer, "https:") && !strings.HasPrefix(document.JWKSURI, "https:"):
			faults = append(faults, fmt.Errorf("%s: its jwks_uri is no https URL", from))
		default:
			return document.JWKSURI, nil
		}
	}
	return "", fmt.Errorf("discovery of %s: %w", s.issuer, errors.Join(faults...))
}

// metadataURLs are where the metadata of an issuer may be.
func metadataURLs(issuer string) []string {
	u, err := url.Parse(issuer)
	if err != nil {
		return nil // not reached: it was checked
	}
	path := strings.TrimSuffix(u.EscapedPath(), "/")
	base := u.Scheme + "://" + u.Host
	return []string{
		base + "/.well-known/oauth-authorization-server" + path, // RFC 8414 §3.1
		base + path + "/.well-known/openid-configuration",
	}
}

// run fetches the keys whenever they are due, until ctx is done.
func (s *keySource) run(ctx context.Context) {
	if s.client == nil {
		return // they were given
	}
	for ctx.Err() == nil {
		_ = s.refresh(ctx) // it has been logged
		s.mu.Lock()
		due := s.next - s.now().Sub(s.tried)
		s.mu.Unlock()
		pause(ctx, max(due, betweenFetches))
	}
}
