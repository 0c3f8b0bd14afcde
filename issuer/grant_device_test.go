package issuer

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
)

// device is an authorization as the device endpoint makes it.
func (h *house) device(client, scopes string, change ...func(*store.DeviceAuthorization)) (code, userCode string) {
	h.t.Helper()
	code = store.NewSecret(store.DeviceCode)
	h.update(func(r *store.Records) error {
		userCode = strings.ToUpper(store.NewID(r.Now())[24:])
		d := &store.DeviceAuthorization{
			ID: store.NewID(r.Now()), ClientID: client, Issuer: testIdentifier, UserCode: userCode,
			Scopes: strings.Fields(scopes), Interval: pollInterval, State: store.DevicePending, CreatedAt: r.Now(),
			ExpiresAt: r.Now().Add(10 * time.Minute),
		}
		for _, fn := range change {
			fn(d)
		}
		return r.PutDevice(store.HashSecret(code), d)
	})
	return code, userCode
}

// answer is a person's answer to a device.
func (h *house) answer(code string, u *store.User, state store.DeviceState) {
	h.t.Helper()
	h.update(func(r *store.Records) error {
		d, err := r.Device(store.HashSecret(code))
		if err != nil {
			return err
		}
		d.State, d.UserID, d.AuthenticatedAt, d.AnsweredAt = state, u.ID, r.Now(), r.Now()
		return r.PutDevice(store.HashSecret(code), d)
	})
}

func (h *house) askByDevice(client, code string) *http.Request {
	return h.ask(client, deviceCode.wire, "device_code", code)
}

func TestDevice(t *testing.T) {
	h, ann := newPeopledHouse(t)
	code, userCode := h.device("app", "read write")
	h.fault(h.askByDevice("app", code), 400, "authorization_pending")
	h.pass(pollInterval)
	h.fault(h.askByDevice("app", code), 400, "authorization_pending")
	h.answer(code, ann, store.DeviceApproved)
	h.told()
	g := h.gives(h.askByDevice("app", code)) // at once: there is nothing to wait for any more
	if g.refresh == "" || g.scope != "read write" || !h.good(g.access) {
		t.Errorf("%+v", g)
	}
	_, claims := decodeJWT(t, g.access)
	if claims["sub"] != ann.ID || claims["client_id"] != "app" {
		t.Errorf("%v", claims)
	}
	if events := h.told(); len(events) != 2 || events[0].Grant != "device_code" || events[1].Type != RefreshTokenCreated {
		t.Errorf("%+v", events)
	}
	h.fault(h.askByDevice("app", code), 400, "expired_token")
	err := h.db.View(t.Context(), func(r *store.Records) error {
		_, _, err := r.DeviceByUserCode(userCode)
		return err
	})
	if err == nil {
		t.Error("the user code is still there")
	}
	h.gives(h.askByRefresh("app", g.refresh))
}

func TestDeviceErrors(t *testing.T) {
	h, ann := newPeopledHouse(t)
	denied, _ := h.device("app", "read")
	h.answer(denied, ann, store.DeviceDenied)
	expired, _ := h.device("app", "read", func(d *store.DeviceAuthorization) { d.ExpiresAt = d.CreatedAt.Add(time.Second) })
	approvedTooLate, _ := h.device("app", "read", func(d *store.DeviceAuthorization) {
		d.ExpiresAt = d.CreatedAt.Add(time.Second)
	})
	h.answer(approvedTooLate, ann, store.DeviceApproved)
	h.pass(2 * time.Second)
	for _, test := range []struct{ name, client, code, want string }{
		{"denied", "app", denied, "access_denied"},
		{"denied, again", "app", denied, "access_denied"},
		{"expired", "app", expired, "expired_token"},
		{"approved, but expired", "app", approvedTooLate, "expired_token"},
		{"none", "app", "", "invalid_request"},
		{"malformed", "app", "x", "invalid_grant"},
		{"a refresh token", "app", store.NewSecret(store.RefreshToken), "invalid_grant"},
		{"another client's", "site", denied, "invalid_grant"},
		{"a client that may not", "web", denied, "unauthorized_client"},
	} {
		t.Run(test.name, func(t *testing.T) {
			h.t = t
			h.fault(h.askByDevice(test.client, test.code), 400, test.want)
		})
	}
}

// TestPollingWithoutEndWritesNothing: the store is not kept busy by a device that does not wait, and the interval does not
// grow beyond what a device can wait for.
func TestPollingWithoutEndWritesNothing(t *testing.T) {
	h, ann := newPeopledHouse(t)
	code, _ := h.device("app", "read")
	h.fault(h.askByDevice("app", code), 400, "authorization_pending")
	device := func() (d *store.DeviceAuthorization) {
		h.update(func(r *store.Records) (err error) {
			d, err = r.Device(store.HashSecret(code))
			return err
		})
		return d
	}
	before := device()
	for range 20 {
		h.pass(10 * time.Millisecond)
		h.fault(h.askByDevice("app", code), 400, "slow_down")
	}
	if after := device(); !after.PolledAt.Equal(before.PolledAt) || after.Interval != before.Interval {
		t.Errorf("it was written: %+v, before %+v", after, before)
	}
	for range 60 {
		h.pass(notedAgain)
		h.fault(h.askByDevice("app", code), 400, "slow_down")
	}
	if got := device().Interval; got != longestInterval {
		t.Errorf("it has to wait for %s", got)
	}
	h.answer(code, ann, store.DeviceApproved)
	h.gives(h.askByDevice("app", code))
}

// TestPollingFasterThanTheInterval: who does not wait is told so, and has to wait longer (RFC 8628 §3.5). The first poll
// comes as early as it likes.
func TestPollingFasterThanTheInterval(t *testing.T) {
	h, ann := newPeopledHouse(t)
	code, _ := h.device("app", "read")
	for _, step := range []struct {
		after time.Duration
		want  string
	}{
		{0, "authorization_pending"},
		{time.Second, "slow_down"},                               // 10 s from now on
		{pollInterval, "slow_down"},                              // 15 s
		{15*time.Second - pollLeeway/2, "authorization_pending"}, // a little early
		{14 * time.Second, "slow_down"},                          // 20 s
		{20 * time.Second, "authorization_pending"},
		{20 * time.Second, "authorization_pending"},
	} {
		h.pass(step.after)
		h.fault(h.askByDevice("app", code), 400, step.want)
	}
	h.fault(h.askByDevice("other", code), 400, "invalid_grant") // which is no poll of the device
	h.answer(code, ann, store.DeviceApproved)
	h.gives(h.askByDevice("app", code))
}
