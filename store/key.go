package store

import "time"

// Key is a signing key of the issuer.
type Key struct {
	ID        string    `json:"id"` // `kid`
	Algorithm string    `json:"algorithm"`
	Private   []byte    `json:"private"` // PKCS #8, DER
	State     KeyState  `json:"state"`
	CreatedAt time.Time `json:"created_at"`
	// ActivatedAt is when it began to sign; RetiredAt when it stopped; ExpiresAt when its last token is over.
	ActivatedAt time.Time `json:"activated_at,omitzero"`
	RetiredAt   time.Time `json:"retired_at,omitzero"`
	ExpiresAt   time.Time `json:"expires_at,omitzero"`
	// LongestToken is the longest lifetime of a token that it may have signed.
	LongestToken time.Duration `json:"longest_token,omitempty"`
}

// KeyState is where a key is in its life.
type KeyState string

// A key is published before it signs, and verifies for as long as a token that it signed may live.
const (
	KeyNext    KeyState = "next"
	KeyCurrent KeyState = "current"
	KeyRetired KeyState = "retired"
)

// Keys returns every key, oldest ID first.
func (r *Records) Keys() ([]Key, error) {
	var keys []Key
	err := scan(r, r.list(kindKey), "", func(k Key) error {
		keys = append(keys, k)
		return nil
	})
	return keys, err
}

// PutKey creates or replaces a key; other nodes, and this one, are told to load the keys anew.
func (r *Records) PutKey(k *Key) error {
	if !usable(k.ID) {
		return errBadID
	}
	if err := r.put(r.key(kindKey, k.ID), k, k.ExpiresAt); err != nil {
		return err
	}
	return r.revoke(Revocation{Kind: KeysChanged})
}

// DeleteKey removes a key at once: tokens that it signed are good no more. It answers [ErrNotFound] when there is none.
func (r *Records) DeleteKey(id string) error {
	if _, err := r.tx.Get(r.key(kindKey, id)); err != nil {
		return err
	}
	if err := r.tx.Delete(r.key(kindKey, id)); err != nil {
		return err
	}
	if err := r.putGone(kindKey, id); err != nil { // or a backup from before would bring it back
		return err
	}
	if err := r.keyRetired(); err != nil {
		return err
	}
	return r.revoke(Revocation{Kind: RevokedKey, ID: id})
}
