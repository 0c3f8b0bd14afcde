package keys

import (
	"crypto"
	"crypto/x509"
	"fmt"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
)

// sealPrivate and openPrivate are the only two that touch the private part of a stored key: PKCS #8 in DER. Encrypting
// it belongs here.

func sealPrivate(k *Key) ([]byte, error) {
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

func openPrivate(sealed []byte) (crypto.Signer, error) {
	return parsePKCS8(sealed)
}

// newRecord is the record of a key that was made now.
func newRecord(k *Key, state store.KeyState, now time.Time) (*store.Key, error) {
	private, err := sealPrivate(k)
	if err != nil {
		return nil, err
	}
	return &store.Key{ID: k.id, Algorithm: string(k.alg), Private: private, State: state, CreatedAt: now}, nil
}

// fromRecord is the key of a record.
func fromRecord(rec *store.Key) (*Key, error) {
	k, err := func() (*Key, error) {
		alg, err := ParseAlgorithm(rec.Algorithm)
		if err != nil {
			return nil, err
		}
		priv, err := openPrivate(rec.Private)
		if err != nil {
			return nil, err
		}
		if alg, err = fit(priv, alg); err != nil {
			return nil, err
		}
		return newKey(priv, alg, rec.ID)
	}()
	if err != nil {
		return nil, fmt.Errorf("the stored key %q: %w", rec.ID, err)
	}
	return k, nil
}
