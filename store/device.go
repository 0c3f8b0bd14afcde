package store

import (
	"errors"
	"time"
)

// DeviceState says how far a device authorization has come.
type DeviceState string

// The states of a device authorization.
const (
	DevicePending  DeviceState = "pending"
	DeviceApproved DeviceState = "approved"
	DeviceDenied   DeviceState = "denied"
)

// DeviceAuthorization is a device that waits for a person's answer (RFC 8628). It is found by the hash of its device
// code, or by the user code.
type DeviceAuthorization struct {
	ID        string        `json:"id"`
	ClientID  string        `json:"client_id"`
	Issuer    string        `json:"issuer"`
	UserCode  string        `json:"user_code"` // as people are shown it
	Scopes    []string      `json:"scopes,omitempty"`
	Audience  []string      `json:"audience,omitempty"`
	Interval  time.Duration `json:"interval"` // between two polls
	PolledAt  time.Time     `json:"polled_at,omitzero"`
	CreatedAt time.Time     `json:"created_at"`
	ExpiresAt time.Time     `json:"expires_at"`

	State           DeviceState `json:"state"`
	UserID          string      `json:"user_id,omitempty"` // who has answered
	AuthenticatedAt time.Time   `json:"authenticated_at,omitzero"`
	AnsweredAt      time.Time   `json:"answered_at,omitzero"`
}

// PutDevice creates or replaces a device authorization, by the [HashSecret] of its device code. It answers [ErrTaken]
// when the user code is another's.
func (r *Records) PutDevice(hash string, d *DeviceAuthorization) error {
	if !usable(hash) || !usable(d.UserCode) || !usable(d.ClientID) {
		return errBadID
	}
	index := r.key(kindDeviceByCode, d.UserCode)
	other, err := r.tx.Get(index)
	switch {
	case err == nil && string(other) != hash:
		return ErrTaken
	case err != nil && !errors.Is(err, ErrNotFound):
		return err
	}
	ttl, err := r.ttl(d.ExpiresAt)
	if err != nil {
		return err
	}
	if err := r.tx.Put(index, []byte(hash), ttl); err != nil {
		return err
	}
	return r.put(r.key(kindDevice, hash), d, d.ExpiresAt)
}

// Device returns the authorization of a device code, or [ErrNotFound].
func (r *Records) Device(hash string) (*DeviceAuthorization, error) {
	var d DeviceAuthorization
	if err := r.get(r.key(kindDevice, hash), &d); err != nil {
		return nil, err
	}
	if !d.ExpiresAt.After(r.now) {
		return nil, ErrNotFound
	}
	return &d, nil
}

// DeviceByUserCode returns the authorization of a user code and the hash of its device code, or [ErrNotFound].
func (r *Records) DeviceByUserCode(userCode string) (hash string, d *DeviceAuthorization, err error) {
	key, err := r.tx.Get(r.key(kindDeviceByCode, userCode))
	if err != nil {
		return "", nil, err
	}
	d, err = r.Device(string(key))
	return string(key), d, err
}

// DeleteDevice forgets a device authorization: it is used up.
func (r *Records) DeleteDevice(hash string, d *DeviceAuthorization) error {
	return r.deleteAll([][]byte{r.key(kindDevice, hash), r.key(kindDeviceByCode, d.UserCode)})
}
