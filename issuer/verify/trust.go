package verify

import (
	"cmp"
	"context"
	"crypto"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// maxSkew is how far the clock of another issuer may be ahead of ours.
const maxSkew = time.Minute

// Trust is what an issuer is made with whose JWTs are good beside our own.
type Trust struct {
	Common

	// Issuer is the `iss` of its tokens, compared exactly. Empty: they have none, and Keys are given.
	Issuer string

	// Name is what [Identity.Issuer] says. Default: Issuer.
	Name string

	// JWKSURI is where its keys are. Default: what its metadata say.
	JWKSURI string

	// Keys are its keys; then none are fetched. Default: none.
	Keys []crypto.PublicKey

	// Algorithms are those that its tokens may be signed with. Default: all of [CheckAlgorithm].
	Algorithms []string

	// ScopeClaim is the claim with the scopes: a string with spaces between them or an array. Default: "scope", or "scp"
	// in a token without.
	ScopeClaim string

	// UsernameClaim is the claim with the name of a person. Default: "preferred_username".
	UsernameClaim string

	// ClientClaim is the claim with the client. Default: "client_id", or "azp" in a token without.
	ClientClaim string

	// Laravel says that the tokens are those of Laravel Passport: one without `sub` is a client's that acts for itself,
	// and the scope `*` stands for all.
	Laravel bool

	// Logger gets what happens when keys are fetched. nil: nobody.
	Logger *zap.Logger
}

// trust verifies the JWTs of another issuer.
type trust struct {
	x                                      *External
	issuer                                 string
	scopeClaim, usernameClaim, clientClaim string
	algorithms                             []string
	laravel                                bool
	keys                                   keySource
	header                                 atomic.Pointer[header] // of the last good token that was new
}

// NewTrust makes a source of the tokens of another issuer.
func NewTrust(config Trust) (*External, error) {
	x := newExternal(cmp.Or(config.Name, config.Issuer), &config.Common)
	t := &trust{
		x:             x,
		issuer:        config.Issuer,
		scopeClaim:    config.ScopeClaim,
		usernameClaim: cmp.Or(config.UsernameClaim, "preferred_username"),
		clientClaim:   config.ClientClaim,
		algorithms:    config.Algorithms,
		laravel:       config.Laravel,
	}
	for _, name := range config.Algorithms {
		if err := CheckAlgorithm(name); err != nil {
			return nil, err
		}
	}
	t.keys = keySource{
		issuer: config.Issuer, jwksURI: config.JWKSURI, now: x.now, logger: config.Logger, spawn: x.spawn,
	}
	if t.keys.logger == nil {
		t.keys.logger = zap.NewNop()
	}
	x.source = t
	if len(config.Keys) > 0 {
		set := new(keySet)
		for _, key := range config.Keys {
			k, err := newPublicKey(key, "", "")
			if err != nil {
				return nil, err
			}
			set.keys = append(set.keys, k)
		}
		t.keys.set.Store(set)
		return x, nil
	}
	if err := CheckIssuer(config.Issuer); err != nil {
		return nil, fmt.Errorf("the issuer %q: %w", config.Issuer, err)
	}
	t.keys.client = newClient(config.Transport)
	return x, nil
}

func (t *trust) run(ctx context.Context) { t.keys.run(ctx) }

// first verifies a token that is not remembered: the signature first, then the claims.
func (t *trust) first(ctx context.Context, token string, key *cacheKey, now time.Time) (*entry, error) {
	c, ok := split(token)
	if !ok {
		return nil, ErrMalformed
	}
	h := t.header.Load()
	known := h != nil && h.encoded == c.header
	if !known {
		if h, ok = parseHeader(c.header); !ok {
			return nil, ErrMalformed
		}
	}
	if !h.foreignAccessToken() {
		return nil, ErrType
	}
	if len(t.algorithms) > 0 && !slices.Contains(t.algorithms, h.alg) {
		return nil, ErrSignature
	}
	if _, ok := algorithms[h.alg]; !ok { // none and HMAC too: the keys are public
		return nil, ErrSignature
	}
	signature, ok := decode(c.signature)
	if !ok {
		return nil, ErrMalformed
	}
	signer, err := t.signer(ctx, h, c.input, signature, now)
	if err != nil {
		return nil, err
	}
	e, err := t.read(&c, h, now)
	if err != nil {
		return nil, err
	}
	e.KeyID, e.signer, e.key = strings.Clone(h.kid), signer, *key
	if !known {
		h.encoded = strings.Clone(h.encoded)
		t.header.Store(h)
	}
	t.x.cache.put(e, now)
	return e, nil
}

// signer finds the key that has made the signature, and fetches the keys anew when none of those that are known has.
func (t *trust) signer(
	ctx context.Context, h *header, input string, signature []byte, now time.Time,
) (string, error) {
	set := t.keys.current(now)
	if set != nil {
		if k := set.signer(h, input, signature); k != nil {
			return k.id, nil
		}
		if t.keys.client == nil || set.knows(h.kid) {
			return "", ErrSignature
		}
	}
	err := t.keys.refresh(ctx)
	fetched := t.keys.current(t.x.now())
	switch {
	case fetched != nil && fetched != set:
		if k := fetched.signer(h, input, signature); k != nil {
			return k.id, nil
		}
		if err == nil {
			return "", ErrSignature
		}
	case fetched != nil && err == nil:
		return "", ErrSignature
	case err == nil:
		err = errors.New("there are none")
	}
	// The issuer may have a new key that could not be fetched: then nobody knows.
	return "", fmt.Errorf("%w: the keys of %s: %w", ErrUnavailable, t.x.name, err)
}

// signer returns the key that has made the signature, nil if none has.
func (s *keySet) signer(h *header, input string, signature []byte) *publicKey {
	for _, k := range s.candidates(h.kid, h.alg) {
		if k.verify(h.alg, input, signature) {
			return k
		}
	}
	return nil
}

// knows tells whether the set has a key of that name: then a bad signature is no reason to fetch another set.
func (s *keySet) knows(kid string) bool {
	return kid != "" && slices.ContainsFunc(s.keys, func(k *publicKey) bool { return k.kid == kid })
}

// again asks whether the key of a token is still one of the issuer's.
func (t *trust) again(e *entry, now time.Time) error {
	set := t.keys.current(now)
	switch {
	case set == nil:
		return errAgain
	case !set.has(e.signer):
		return ErrSignature
	}
	return nil
}

// gone tells it of a running request, which goes on when nobody knows the keys any more.
func (t *trust) gone(w *Watch, now time.Time) *Error {
	set := t.keys.current(now)
	switch {
	case !now.Before(w.id.ExpiresAt):
		return ErrExpired
	case set != nil && !set.has(w.id.signer):
		return ErrSignature
	}
	return nil
}

// foreignAccessToken tells whether the token may be an access token by its `typ`: RFC 9068's, or what issuers from
// before it say, which is JWT or nothing. ID tokens say the same: their claims tell them apart, and the audience.
func (h *header) foreignAccessToken() bool {
	return h.typ == "" || strings.EqualFold(h.typ, "JWT") || strings.EqualFold(h.typ, "application/jwt") ||
		h.accessToken()
}
