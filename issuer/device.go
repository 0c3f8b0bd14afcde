package issuer

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
)

// deviceCode answers POST /device/code, the device authorization endpoint (RFC 8628 §3.1).
func (e *endpoints) deviceCode(w http.ResponseWriter, r *http.Request) {
	req := &tokenRequest{issuer: e.IdentifierFor(r), from: RemoteIP(r)}
	body, err := e.beginDevice(w, r, req)
	if err != nil {
		e.refuse(w, r, req, err)
		return
	}
	writeJSON(w, body)
}

func (e *endpoints) beginDevice(w http.ResponseWriter, r *http.Request, req *tokenRequest) ([]byte, error) {
	cred, fault := req.read(w, r)
	if fault != nil {
		return nil, fault
	}
	var err error
	if req.client, err = e.authenticate(r.Context(), cred); err != nil {
		return nil, err
	}
	req.grant = deviceCode
	switch {
	case !e.on(req.grant.name):
		return nil, errGrantUnknown
	case !req.grant.mayUse(req.client):
		return nil, errGrantRefused
	}
	asked, fault := parseScope(req.form.get("scope"))
	if fault != nil {
		return nil, fault
	}
	if req.scopes, fault = e.scopes.load().scopesFor(req.client, asked, false); fault != nil {
		return nil, fault
	}
	if req.audience, err = e.audience(req); err != nil {
		return nil, err
	}
	code := store.NewSecret(store.DeviceCode)
	d, err := e.newDevice(r.Context(), req, code)
	if err != nil {
		return nil, err
	}
	return e.deviceAnswer(req, code, d), nil
}

// newDevice records that a device waits for a person. User codes are short, so that one may be another's already.
func (e *endpoints) newDevice(ctx context.Context, req *tokenRequest, code string) (*store.DeviceAuthorization, error) {
	for {
		var d *store.DeviceAuthorization
		err := e.db.Update(ctx, func(r *store.Records) error {
			if err := e.unchanged(r, req.client); err != nil {
				return err
			}
			if err := askedOften(r, req); err != nil {
				return err
			}
			d = &store.DeviceAuthorization{
				ID: store.NewID(r.Now()), ClientID: req.client.ID, Issuer: req.issuer, UserCode: newUserCode(),
				Scopes: req.scopes, Audience: req.audience, Interval: pollInterval, CreatedAt: r.Now(),
				ExpiresAt: r.Now().Add(e.config.Lifetimes.DeviceCode), State: store.DevicePending,
			}
			return r.PutDevice(store.HashSecret(code), d)
		})
		switch {
		case errors.Is(err, store.ErrTaken):
		case errors.Is(err, errClientChanged):
			return nil, errUnavailable
		default:
			return d, err
		}
	}
}

// askedOften bounds how many devices one address lets wait for a client that anybody can claim to be.
func askedOften(r *store.Records, req *tokenRequest) error {
	from := addressSubject(req.from)
	if !req.client.Public || from == "" {
		return nil
	}
	asked := []try{{guessDevice, from}}
	if network := networkSubject(req.from); network != "" {
		asked = append(asked, try{guessDeviceNet, network})
	}
	wait, err := waitFor(r, asked)
	if err != nil {
		return err
	}
	if wait > 0 {
		return errTooMany.after(wait)
	}
	return countWrong(r, asked)
}

// deviceAnswer is what the device gets to know (RFC 8628 §3.2).
func (e *endpoints) deviceAnswer(req *tokenRequest, code string, d *store.DeviceAuthorization) []byte {
	page := origin(req.issuer) + e.prefix + "/device"
	b := append(make([]byte, 0, 512), '{')
	b = appendMember(b, "device_code", code)
	b = appendMember(b, "user_code", d.UserCode)
	b = appendMember(b, "verification_uri", page)
	b = appendMember(b, "verification_uri_complete", page+"?user_code="+d.UserCode)
	b = appendNumber(b, "expires_in", int64(d.ExpiresAt.Sub(d.CreatedAt)/time.Second))
	b = appendNumber(b, "interval", int64(d.Interval/time.Second))
	return append(b, "}\n"...)
}

// userCodeAlphabet has no vowels, so that no word comes up, and no digits, which look like letters (RFC 8628 §6.1).
// Eight of its letters have 34 bits.
const (
	userCodeAlphabet = "BCDFGHJKLMNPQRSTVWXZ"
	userCodeLen      = 8
)

// newUserCode makes a code that a person can type, as XXXX-XXXX.
func newUserCode() string {
	var code strings.Builder
	var b [1]byte
	for n := 0; n < userCodeLen; {
		_, _ = rand.Read(b[:]) // which never fails
		if int(b[0]) >= 256-256%len(userCodeAlphabet) {
			continue // each letter as likely as any other
		}
		if n == userCodeLen/2 {
			code.WriteByte('-')
		}
		code.WriteByte(userCodeAlphabet[int(b[0])%len(userCodeAlphabet)])
		n++
	}
	return code.String()
}

// userCode reads a code as a person types it: case, dashes, spaces and whatever else is no letter or digit do not
// matter. It is false for what is no code.
func userCode(typed string) (string, bool) {
	var letters []byte
	for i := range len(typed) {
		c := typed[i]
		if c >= 'a' && c <= 'z' {
			c -= 'a' - 'A'
		}
		switch {
		case strings.IndexByte(userCodeAlphabet, c) >= 0:
			letters = append(letters, c)
		case c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
			return "", false
		}
		if len(letters) > userCodeLen {
			return "", false
		}
	}
	if len(letters) != userCodeLen {
		return "", false
	}
	return string(letters[:userCodeLen/2]) + "-" + string(letters[userCodeLen/2:]), true
}
