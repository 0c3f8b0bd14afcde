package keys

import (
	"crypto/x509"
	"fmt"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
)

// encodePrivate is the private part of a key as it is stored, before it is encrypted: PKCS #8 in DER.
func encodePrivate(k *Key) ([]byte, error) {
	var priv any = k.ed
	switch {
	case k.ec != nil:
		priv = k.ec
	case k.rsa != nil:
		priv = k.rsa
	}
	der, err := x509.MarshalPKCS8PrivateKey(priv)
	if err != nil {
		return nil, fmt.Errorf("encoding %v: %w", k, err)
	}
	return der, nil
}

// newRecord is the record of a key that was made now.
func (s seals) newRecord(k *Key, state store.KeyState, now time.Time) (*store.Key, error) {
	private, err := encodePrivate(k)
	if err != nil {
		return nil, err
	}
	rec := &store.Key{ID: k.id, Algorithm: string(k.alg), Private: private, State: state, CreatedAt: now}
	s.close(rec)
	return rec, nil
}

// fromRecord is the key of a record.
func (s seals) fromRecord(rec *store.Key) (*Key, error) {
	k, err := s.parse(rec)
	if err != nil {
		return nil, fmt.Errorf("the stored key %q: %w", rec.ID, err)
	}
	return k, nil
}

func (s seals) parse(rec *store.Key) (*Key, error) {
	alg, err := ParseAlgorithm(rec.Algorithm)
	if err != nil {
		return nil, err
	}
	private, _, err := s.open(rec)
	if err != nil {
		return nil, err
	}
	priv, err := parsePKCS8(private)
	if err != nil {
		return nil, err
	}
	if alg, err = fit(priv, alg); err != nil {
		return nil, err
	}
	return newKey(priv, alg, rec.ID)
}

// Adopt encrypts a stored key of a backup as the ring's own are. The error says that the ring could not use it.
func (r *Ring) Adopt(rec *store.Key) error {
	if _, err := r.seals.parse(rec); err != nil {
		return err
	}
	_, err := r.seals.anew(rec)
	return err
}
