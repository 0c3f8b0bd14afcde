package keys

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/oauth2-passport/caddy-passport/store"
)

// PublishedBefore is how long a key is published, as next, before it signs: whoever keeps a copy of the JWK set looks
// for news at least as often.
const PublishedBefore = 5 * time.Minute

// retainMargin is how long a retired key verifies beyond its last token's life: another node may sign with it for a
// moment more, and a clock may be late.
const retainMargin = time.Minute

// defaultRetain is the lifetime of an access token when the configuration names none.
const defaultRetain = time.Hour

// Config is what a [Ring] needs.
type Config struct {
	// Algorithm of new keys. Default: that of Private, else ES256. Keys of another algorithm that are stored already
	// are rotated out.
	Algorithm Algorithm

	// Rotate is how long a key signs before the next takes over. Default: for good, until [Ring.Rotate].
	Rotate time.Duration

	// Private is a key that the operator gives. It signs, does not rotate and is never stored; stored keys verify
	// until their last token is over. Default: none, the ring makes its own keys and stores them.
	Private *Key

	// Retain is the longest lifetime of an access token that is given out now. A key that stops signing verifies for as
	// long as the longest that was answered while it signed, and a minute more. It is not called within a transaction.
	// Default: one hour.
	Retain func() time.Duration

	// Changed is told, after it is on disk, when another key signs and when one is retired at once, by the ring that has
	// done it. Default: nobody is told.
	Changed func(context.Context, Change)

	// Secrets encrypt the private parts of the stored keys, each at least 16 bytes: the first one does, the others are
	// former ones. Stored keys that are not encrypted with the first one are when the ring is opened. Default: none, the
	// keys are stored in the clear.
	Secrets [][]byte

	DB     *store.DB   // where the keys are; needed
	Logger *zap.Logger // default: none
}

// Ring is the keys of an issuer: one that signs, one that will, and those that did and still verify. All nodes on the
// same store have the same. Its methods may be called from any goroutine.
type Ring struct {
	cfg Config
	db  *store.DB
	log *zap.Logger

	seals seals

	now   atomic.Pointer[snapshot]
	mu    sync.Mutex            // held while the snapshot is replaced
	fault atomic.Pointer[error] // of the last look at what is stored, see [Ring.Fault]
}

// snapshot is the ring at one moment. It does not change.
type snapshot struct {
	generation uint64 // of the store's keys, read before they were
	shelf      shelf
	current    *Key
	keys       map[string]entry
	jwks       []byte
	etag       string
}

type entry struct {
	key     *Key
	expires time.Time // zero: not yet known
}

// Open loads the keys of an issuer, and makes them when there are none: one that signs and the next. When several nodes
// start at once, one of them makes the keys and all use them.
func Open(ctx context.Context, cfg Config) (*Ring, error) {
	if cfg.DB == nil {
		return nil, errors.New("keys: no database")
	}
	if cfg.Rotate < 0 {
		return nil, fmt.Errorf("keys: rotation every %v is not possible", cfg.Rotate)
	}
	if cfg.Private != nil {
		cfg.Algorithm = cmp.Or(cfg.Algorithm, cfg.Private.alg)
		if cfg.Algorithm != cfg.Private.alg {
			return nil, fmt.Errorf("keys: the given key is for %s, but %s is asked for", cfg.Private.alg, cfg.Algorithm)
		}
	}
	alg, err := ParseAlgorithm(string(cfg.Algorithm))
	if err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	cfg.Algorithm = alg
	if cfg.Retain == nil {
		cfg.Retain = func() time.Duration { return defaultRetain }
	}
	if cfg.Logger == nil {
		cfg.Logger = zap.NewNop()
	}
	if cfg.Changed == nil {
		cfg.Changed = func(context.Context, Change) {}
	}
	r := &Ring{cfg: cfg, db: cfg.DB, log: cfg.Logger}
	if r.seals, err = newSeals(cfg.Secrets); err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.reload(ctx, true); err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	return r, nil
}

// Current is the key that signs.
func (r *Ring) Current() *Key { return r.now.Load().current }

// Since is when the key that signs began to; zero when the operator gives it.
func (r *Ring) Since() time.Time {
	s := r.now.Load()
	if s.shelf.current == nil || s.current.id != s.shelf.current.ID {
		return time.Time{}
	}
	return s.shelf.current.ActivatedAt
}

// Fault is why [Ring.Run] could not bring the keys up to date the last time; nil when it could.
func (r *Ring) Fault() error {
	if fault := r.fault.Load(); fault != nil {
		return *fault
	}
	return nil
}

// Key is the key with that ID, as long as it verifies; nil when there is none.
func (r *Ring) Key(kid string) *Key {
	e, ok := r.now.Load().keys[kid]
	if !ok || !e.expires.IsZero() && !r.db.Now().Before(e.expires) {
		return nil
	}
	return e.key
}

// JWKS is the set of the public keys (RFC 7517 §5) and its entity tag, quoted. The caller does not write to the body.
func (r *Ring) JWKS() (body []byte, etag string) {
	s := r.now.Load()
	return s.jwks, s.etag
}

// reload replaces the snapshot by what is stored now, after putting that in order where it is not. opening is whether
// this is the ring's first look; later on, what is stored is taken even when it cannot be put in order. The caller
// holds mu.
func (r *Ring) reload(ctx context.Context, opening bool) error {
	retain := r.cfg.Retain()
	var fault error
	for tries := 0; ; tries++ {
		generation := r.db.Revocations().KeyGeneration() // before the keys are read, so that no change is overlooked
		found, err := r.read(ctx)
		if err != nil {
			return errors.Join(fault, err)
		}
		if opening && tries == 0 {
			// Before anything is written: who has not got the secret changes nothing.
			asWanted, err := r.seals.check(&found)
			if err != nil {
				return err
			}
			if !asWanted {
				if err := r.update(ctx, r.seals.reseal); err != nil {
					return err
				}
				continue
			}
		}
		if fault == nil && tries < 3 && r.unsettled(&found, r.db.Now(), retain, opening) {
			fault = r.update(ctx, func(c *change) error { return r.settle(c, opening) })
			if fault != nil && opening {
				return fault
			}
			continue
		}
		s, err := r.snapshot(found)
		if err != nil {
			return errors.Join(fault, err)
		}
		s.generation = generation
		r.now.Store(s)
		return fault
	}
}

func (r *Ring) read(ctx context.Context) (found shelf, err error) {
	err = r.db.View(ctx, func(rec *store.Records) error {
		found, err = readShelf(rec)
		return err
	})
	if err != nil {
		return shelf{}, fmt.Errorf("reading the stored keys: %w", err)
	}
	return found, nil
}

// snapshot makes a snapshot of what is stored. Keys that the last one had are taken from there.
func (r *Ring) snapshot(found shelf) (*snapshot, error) {
	s := &snapshot{shelf: found, keys: make(map[string]entry)}
	var published []*Key
	if r.cfg.Private != nil {
		s.current = r.cfg.Private
		s.keys[s.current.id] = entry{key: s.current}
		published = append(published, s.current)
	}
	last := r.now.Load()
	for rec := range found.all() {
		if _, ok := s.keys[rec.ID]; ok {
			continue // the given key was one of ours
		}
		var key *Key
		if last != nil {
			key = last.keys[rec.ID].key
		}
		if key == nil {
			var err error
			if key, err = r.seals.fromRecord(rec); err != nil {
				return nil, err
			}
		}
		s.keys[rec.ID] = entry{key: key, expires: rec.ExpiresAt}
		published = append(published, key)
		if s.current == nil && rec == found.current {
			s.current = key
		}
	}
	if s.current == nil {
		return nil, errors.New("no stored key signs")
	}
	var err error
	s.jwks, s.etag, err = renderJWKS(published)
	return s, err
}

// shelf is the stored keys, by their states. Expired ones are not on it.
type shelf struct {
	current, next *store.Key // nil: none
	retired       []*store.Key
	retirements   int // see [store.Records.KeyRetirements]
}

// all yields the keys in an order that all nodes agree on: current, next, retired, the last retired first.
func (s *shelf) all() func(yield func(*store.Key) bool) {
	return func(yield func(*store.Key) bool) {
		for _, k := range append([]*store.Key{s.current, s.next}, s.retired...) {
			if k != nil && !yield(k) {
				return
			}
		}
	}
}

func readShelf(rec *store.Records) (shelf, error) {
	var s shelf
	stored, err := rec.Keys()
	if err != nil {
		return s, err
	}
	if s.retirements, err = rec.KeyRetirements(); err != nil {
		return s, err
	}
	for i := range stored {
		k := &stored[i]
		switch {
		case !k.ExpiresAt.IsZero() && !k.ExpiresAt.After(rec.Now()):
		case k.State == store.KeyCurrent && s.current == nil:
			s.current = k
		case k.State == store.KeyNext && s.next == nil:
			s.next = k
		case k.State == store.KeyRetired:
			s.retired = append(s.retired, k)
		default:
			return s, fmt.Errorf("the stored key %q is %q, which is unknown or taken", k.ID, k.State)
		}
	}
	slices.SortFunc(s.retired, func(a, b *store.Key) int {
		return cmp.Or(b.RetiredAt.Compare(a.RetiredAt), cmp.Compare(a.ID, b.ID))
	})
	return s, nil
}
