package verify

import (
	"context"
	"crypto/sha256"
	"errors"
	"strings"
)

// secretPrefix is what every opaque secret of our own begins with.
const secretPrefix = "passport_"

// Others are the sources, beside our own issuer, whose tokens a route takes.
type Others struct {
	// Trusted are issuers whose JWTs are taken.
	Trusted []*External

	// Introspection is asked about tokens that are no JWT of a known issuer. nil: there is none.
	Introspection *External

	// Ours tells whether a JWT with that `iss` and that `kid` is one of an issuer of ours, whichever: such a token is
	// told to nobody. The error means that it can't be found out.
	Ours func(ctx context.Context, issuer, keyID string) (bool, error)
}

// Verify returns who the token is: by our own issuer, unless own is nil, whose expected `iss` is issuer, or else by one
// of the others. A token is of one source only, by what it says itself; no other is asked about it.
func (o *Others) Verify(ctx context.Context, token string, own *Verifier, issuer string) (*Identity, error) {
	if len(token) > maxToken {
		return nil, ErrMalformed
	}
	if strings.HasPrefix(token, secretPrefix) {
		return o.ours(ctx, token, own, issuer)
	}
	key := cacheKey(sha256.Sum256(bytesOf(token)))
	if own != nil {
		if e := own.cache.get(&key); e != nil {
			return own.known(ctx, e, issuer, own.db.Now())
		}
	}
	for _, x := range o.Trusted {
		if id, err := x.remembered(&key); id != nil || err != nil {
			return id, err
		}
	}
	if o.Introspection != nil {
		if id, err := o.Introspection.remembered(&key); id != nil || err != nil {
			return id, err
		}
	}
	t, ok := split(token)
	if !ok {
		return o.introspect(ctx, token, key)
	}
	return o.route(ctx, token, &t, key, own, issuer)
}

// route verifies a JWT at the source that it names.
func (o *Others) route(
	ctx context.Context, token string, t *compact, key cacheKey, own *Verifier, issuer string,
) (*Identity, error) {
	h, ok := parseHeader(t.header)
	if !ok {
		return nil, ErrMalformed
	}
	iss, ok := issuerOf(t.payload)
	if !ok {
		return nil, ErrMalformed
	}
	if own != nil && (iss == issuer || own.own.keys.Key(h.kid) != nil) {
		return own.Verify(ctx, token, issuer)
	}
	var refused error = ErrIssuer
	for _, x := range o.Trusted {
		trust := x.source.(*trust)
		if trust.issuer != iss {
			continue
		}
		id, err := x.verify(ctx, token, key)
		if err == nil || !errors.Is(err, ErrSignature) {
			return id, err
		}
		refused = err // issuers without an `iss` are told apart by their keys
		if iss != "" {
			return nil, err
		}
	}
	if o.Introspection == nil || !errors.Is(refused, ErrIssuer) {
		return nil, refused
	}
	if o.Ours != nil {
		if ours, err := o.Ours(ctx, iss, h.kid); err != nil || ours {
			return nil, orElse(err, ErrIssuer)
		}
	}
	return o.introspect(ctx, token, key)
}

// ours verifies an opaque secret of our own, which nobody else is told.
func (o *Others) ours(ctx context.Context, token string, own *Verifier, issuer string) (*Identity, error) {
	if own != nil {
		return own.Verify(ctx, token, issuer)
	}
	return nil, ErrIssuer
}

func (o *Others) introspect(ctx context.Context, token string, key cacheKey) (*Identity, error) {
	if o.Introspection == nil || !isBearer(token) {
		return nil, ErrMalformed
	}
	return o.Introspection.verify(ctx, token, key)
}

// isBearer tells whether a token has the form of RFC 6750 §2.1.
func isBearer(token string) bool {
	body := strings.TrimRight(token, "=")
	for i := range len(body) {
		c := body[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && strings.IndexByte("-._~+/", c) < 0 {
			return false
		}
	}
	return body != ""
}

// issuerOf reads the `iss` of a payload, empty when it has none.
func issuerOf(part string) (issuer string, ok bool) {
	text, ok := decodeString(part)
	if !ok {
		return "", false
	}
	ok = object(text, func(name, value string) (ok bool) {
		if name != "iss" {
			return true
		}
		issuer, ok = plain(value)
		return ok && issuer != ""
	})
	return issuer, ok
}

func orElse(err, other error) error {
	if err != nil {
		return err
	}
	return other
}
