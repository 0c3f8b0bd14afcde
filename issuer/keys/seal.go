package keys

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/oauth2-passport/caddy-passport/store"
)

// sealedPrefix begins the private part of a stored key that is encrypted; in the clear it begins with 0x30, as all DER
// of a sequence does. What follows is a nonce and what AES-256-GCM made of the key.
var sealedPrefix = []byte("passport-sealed-1:")

// minSecret is the length of the shortest secret that keys are encrypted with, in bytes.
const minSecret = 16

// ErrSealed says that a stored key is encrypted with a secret that is not given.
var ErrSealed = errors.New("it is encrypted")

// What is wrong with a stored key that can't be read.
var (
	errSealed   = fmt.Errorf("%w, and no encryption_key of keys is given", ErrSealed)
	errUnsealed = fmt.Errorf("%w with another encryption_key of keys, or damaged", ErrSealed)
)

// seals encrypt the private parts of stored keys with the first of their secrets, and decrypt those that were encrypted
// with any. None: they are stored in the clear.
type seals []cipher.AEAD

// newSeals makes seals of secrets, of which each has at least 16 bytes.
func newSeals(secrets [][]byte) (seals, error) {
	var s seals
	for _, secret := range secrets {
		if len(secret) < minSecret {
			return nil, fmt.Errorf("an encryption key has at least %d bytes", minSecret)
		}
		key, err := hkdf.Key(sha256.New, secret, nil, "caddy-passport: stored signing keys", 32)
		if err != nil {
			return nil, err
		}
		block, err := aes.NewCipher(key)
		if err != nil {
			return nil, err
		}
		aead, err := cipher.NewGCM(block)
		if err != nil {
			return nil, err
		}
		s = append(s, aead)
	}
	return s, nil
}

// bound is what a sealed key belongs to: it is good in no other record.
func bound(rec *store.Key) []byte { return []byte(rec.ID + "\x00" + rec.Algorithm) }

// close encrypts the private part of a record, which is in the clear.
func (s seals) close(rec *store.Key) {
	if len(s) == 0 {
		return
	}
	nonce := make([]byte, s[0].NonceSize())
	_, _ = rand.Read(nonce) // it does not fail: see crypto/rand
	sealed := append(bytes.Clone(sealedPrefix), nonce...)
	rec.Private = s[0].Seal(sealed, nonce, rec.Private, bound(rec))
}

// open returns the private part of a record in the clear, and whether it is stored as these seals would.
func (s seals) open(rec *store.Key) (private []byte, asWanted bool, err error) {
	sealed, ok := bytes.CutPrefix(rec.Private, sealedPrefix)
	if !ok {
		return rec.Private, len(s) == 0, nil
	}
	if len(s) == 0 {
		return nil, false, errSealed
	}
	for i, aead := range s {
		if len(sealed) < aead.NonceSize() {
			break
		}
		nonce, text := sealed[:aead.NonceSize()], sealed[aead.NonceSize():]
		if private, err = aead.Open(nil, nonce, text, bound(rec)); err == nil {
			return private, i == 0, nil
		}
	}
	return nil, false, errUnsealed
}

// anew encrypts a record as these seals would, and tells whether that is another way than before.
func (s seals) anew(rec *store.Key) (changed bool, err error) {
	private, asWanted, err := s.open(rec)
	if err != nil || asWanted {
		return false, err
	}
	rec.Private = private
	s.close(rec)
	return true, nil
}

// reseal stores the keys of the shelf as these seals would. Those that already are it leaves alone.
func (s seals) reseal(c *change) error {
	for rec := range c.all() {
		changed, err := s.anew(rec)
		if err != nil {
			return fmt.Errorf("the stored key %q: %w", rec.ID, err)
		}
		if !changed {
			continue
		}
		if err := c.rec.PutKey(rec); err != nil {
			return err
		}
	}
	return nil
}

// check tells whether every key of a shelf can be read, and whether all are stored as these seals would.
func (s seals) check(found *shelf) (asWanted bool, err error) {
	asWanted = true
	for rec := range found.all() {
		_, good, err := s.open(rec)
		if err != nil {
			return false, fmt.Errorf("the stored key %q: %w", rec.ID, err)
		}
		asWanted = asWanted && good
	}
	return asWanted, nil
}
