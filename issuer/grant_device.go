package issuer

import (
	"context"
	"errors"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
)

// deviceCode is a device without a browser whose person answers on another one (RFC 8628). The device polls.
var deviceCode = &grant{
	name:        "device_code",
	wire:        "urn:ietf:params:oauth:grant-type:device_code",
	refreshable: true,
	beside:      true,
	issue:       (*Issuer).redeemDeviceCode,
}

const (
	pollInterval = 5 * time.Second // between two polls, RFC 8628 §3.2
	slowDownBy   = 5 * time.Second // §3.5
	// pollLeeway is how much earlier a poll may come: it is the device that waits, and the network that hurries.
	pollLeeway = 500 * time.Millisecond
	// notedAgain is for how long a poll that was written down is not followed by another that is.
	notedAgain      = time.Second
	longestInterval = 2 * time.Minute
)

func (i *Issuer) redeemDeviceCode(ctx context.Context, req *tokenRequest) (*issued, error) {
	code := req.form.get("device_code")
	if code == "" {
		return nil, errParameterMissing
	}
	if kind, ok := store.ParseSecret(code); !ok || kind != store.DeviceCode {
		return nil, errDeviceCode
	}
	hash := store.HashSecret(code)
	var g gift
	var wait *Error // to be answered, while what the poll has changed is kept
	err := i.issuing(ctx, func(r *store.Records) error {
		g, wait = gift{}, nil
		if err := i.unchanged(r, req.client); err != nil {
			return err
		}
		d, err := r.Device(hash)
		if errors.Is(err, store.ErrNotFound) {
			return errDeviceExpired // we have made the code, its checksum says; it is over or used up
		}
		if err != nil {
			return err
		}
		if d.ClientID != req.client.ID || d.Issuer != req.issuer {
			return errDeviceCode
		}
		if !d.CreatedAt.After(req.client.TokensNotBefore) {
			return errDeviceExpired
		}
		switch d.State {
		case store.DeviceApproved:
			g, err = i.redeemDevice(ctx, r, req, hash, d)
			return err
		case store.DeviceDenied:
			return errDeviceDenied
		}
		var noted bool
		if wait, noted = poll(r.Now(), d); !noted {
			return nil
		}
		return r.PutDevice(hash, d)
	})
	if err != nil {
		return nil, err
	}
	if wait != nil {
		return nil, wait
	}
	return i.giveAll(ctx, g)
}

// redeemDevice gives what a person has approved, and uses the code up.
func (i *Issuer) redeemDevice(ctx context.Context, r *store.Records, req *tokenRequest, hash string,
	d *store.DeviceAuthorization,
) (gift, error) {
	err := connected(r, d.UserID, d.ClientID, d.AnsweredAt)
	if err != nil {
		return gift{}, err
	}
	m := req.mandate()
	m.authenticatedAt = d.AuthenticatedAt
	if m.user, err = i.holder(ctx, r, d.UserID, d.AnsweredAt); err != nil {
		return gift{}, err
	}
	g, err := i.newGift(r, m, d.Scopes, d.Audience)
	if err != nil {
		return gift{}, err
	}
	return g, r.DeleteDevice(hash, d)
}

// poll notes that the device has asked, and says what it is told: to wait, and to wait longer from now on where it did
// not wait long enough (RFC 8628 §3.5). The first time it has nothing to wait for. A device that asks without end has
// nothing written: whoever has a code could keep the disk busy.
func poll(now time.Time, d *store.DeviceAuthorization) (answer *Error, noted bool) {
	if d.Interval <= 0 {
		d.Interval = pollInterval
	}
	if !d.PolledAt.IsZero() && now.Sub(d.PolledAt) < notedAgain {
		return errSlowDown, false
	}
	early := !d.PolledAt.IsZero() && now.Sub(d.PolledAt)+pollLeeway < d.Interval
	d.PolledAt = now
	if early {
		d.Interval = min(d.Interval+slowDownBy, longestInterval)
		return errSlowDown, true
	}
	return errAuthorizationPending, true
}
