package issuer

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
)

// credentials are what a client says of itself.
type credentials struct {
	id     string
	secret string
	from   string // the address of the caller
	// raw is the secret before the form-decoding of RFC 6749 §2.3.1, where it makes a difference: many clients, curl
	// among them, send it as it is, and a + or % in it must not lock them out.
	raw string
}

// maxBasic bounds the header Authorization.
const maxBasic = 4 << 10

// readCredentials finds out how the client authenticates, and lets it do so in one way only (RFC 6749 §2.3).
func readCredentials(r *http.Request, f form) (credentials, *Error) {
	c := credentials{id: f.get("client_id"), secret: f.get("client_secret"), from: RemoteIP(r)}
	// RFC 7521 §4.2; with nothing else it is a way that we do not support
	assertion := f.get("client_assertion") != "" || f.get("client_assertion_type") != ""

	header := r.Header["Authorization"]
	switch {
	case len(header) > 1:
		return c, errTwoAuthns
	case len(header) == 1 && (c.secret != "" || assertion), c.secret != "" && assertion:
		return c, errTwoWays
	case assertion:
		return c, errAuthnMethod
	case len(header) == 0 && c.id == "":
		return c, errNoClient
	case len(header) == 0:
		return c, nil
	}
	scheme, token, _ := strings.Cut(header[0], " ")
	if !strings.EqualFold(scheme, "Basic") {
		return c, errAuthnMethod
	}
	basic, ok := parseBasic(strings.TrimLeft(token, " "))
	basic.from = c.from
	if !ok {
		return basic, errInvalidClient
	}
	if c.id != "" && c.id != basic.id {
		return basic, errTwoIDs
	}
	return basic, nil
}

// parseBasic reads the credentials of the scheme Basic (RFC 7617 §2), which RFC 6749 §2.3.1 wants to be form-encoded
// before, so that an ID may have a colon.
func parseBasic(token string) (credentials, bool) {
	if len(token) > maxBasic {
		return credentials{}, false
	}
	decoded, err := base64.StdEncoding.DecodeString(token)
	if err != nil {
		return credentials{}, false
	}
	id, raw, ok := strings.Cut(string(decoded), ":")
	if !ok {
		return credentials{}, false
	}
	id, ok = unescape(id)
	if !ok || id == "" {
		return credentials{}, false
	}
	c := credentials{id: id, secret: raw}
	if secret, ok := unescape(raw); ok && secret != raw {
		c.secret, c.raw = secret, raw
	}
	return c, true
}

// nobodysHash is compared with where there is no client, or none with a secret.
var nobodysHash = store.HashSecret("nobody has this secret, for it is not one that anybody is given")

// authenticate answers the client that the credentials prove, or [errInvalidClient]. A public client has no secret to
// prove itself with: see what it says of itself as a claim, and give it nothing that depends on it.
//
// Who fails learns nothing from the answer, nor from the time that it takes: a look-up in the store, a record decoded
// and the comparison of a hash are done in each case. Who goes on guessing is answered [*tooManyError]: at one client
// without that anything is looked at, at many as [secretAddresses] says.
func (i *Issuer) authenticate(ctx context.Context, cred credentials) (*store.Client, error) {
	addressWait := time.Duration(0)
	if cred.secret != "" {
		now := i.db.Now()
		if wait := i.secrets.wait(&cred, now); wait > 0 {
			return nil, &tooManyError{RetryAfter: wait}
		}
		addressWait = i.secrets.addresses.wait(cred.from, now)
	}
	client, configured := i.clients[cred.id]
	if !configured {
		var err error
		if client, err = i.storedClient(ctx, cred.id); err != nil {
			return nil, err
		}
	}
	hash := nobodysHash
	if client != nil && !client.Public {
		hash = client.SecretHash
	}
	proven := store.SecretMatches(hash, cred.secret)
	if cred.raw != "" {
		proven = store.SecretMatches(hash, cred.raw) || proven
	}
	if client != nil && client.Public {
		proven = cred.secret == ""
	}
	if client == nil || client.Disabled {
		proven = false
	}
	if addressWait > 0 && !i.secrets.addresses.proven.has(cred.subject(), i.db.Now()) {
		proven = false // be the secret right or wrong
	}
	if proven {
		if cred.secret != "" {
			i.rightSecret(ctx, &cred)
		}
		return client, nil
	}
	if cred.secret != "" {
		if addressWait == 0 {
			i.secrets.addresses.count(cred.from, i.db.Now())
		}
		i.wrongSecret(ctx, &cred)
	}
	if configured {
		if _, err := i.storedClient(ctx, unknownID); err != nil {
			return nil, err
		}
	}
	if addressWait > 0 {
		return nil, &tooManyError{RetryAfter: addressWait}
	}
	return nil, errInvalidClient
}

// unknownID is an ID that no client has.
const unknownID = "unknown"

// storedClient reads a client from the store; nil when there is none, for which it works as hard.
func (i *Issuer) storedClient(ctx context.Context, id string) (*store.Client, error) {
	if !isClientID(id) {
		id = unknownID
	}
	var client *store.Client
	err := i.db.View(ctx, func(r *store.Records) (err error) {
		client, err = i.clientIn(ctx, r, id)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		var decoy store.Client
		return nil, json.Unmarshal(decoyRecord, &decoy)
	}
	if err != nil {
		return nil, fmt.Errorf("reading a client: %w", err)
	}
	return client, nil
}

// clientIn reads a client from the store as it may act now: that of a person who is disabled or gone is Disabled too.
// It is not for being written back.
func (i *Issuer) clientIn(ctx context.Context, r *store.Records, id string) (*store.Client, error) {
	client, err := r.Client(id)
	if err != nil || client.UserID == "" {
		return client, err
	}
	if _, err := i.personOf(ctx, r, client.UserID); errors.Is(err, errNobody) {
		client.Disabled = true
	} else if err != nil {
		return nil, err
	}
	return client, nil
}

// decoyRecord has the shape of a client's record.
var decoyRecord = []byte(`{"id":"01900000-0000-7000-8000-000000000000","name":"A client that is none",` +
	`"secret_hash":"0000000000000000000000000000000000000000000000000000000000000000",` +
	`"grants":["client_credentials"],"scopes":["read","write"],` +
	`"created_at":"2026-01-01T00:00:00.000000000Z","updated_at":"2026-01-01T00:00:00.000000000Z"}`)

// errClientChanged is the answer to a client whose record is not what it was when it authenticated: begin anew.
var errClientChanged = errors.New("the client has changed")

// unchanged tells whether an authenticated client is still what it was, in the transaction that acts on it.
func (i *Issuer) unchanged(r *store.Records, client *store.Client) error {
	if i.clients[client.ID] == client {
		return nil
	}
	same, err := r.ClientUnchanged(client)
	if err == nil && (!same || client.Disabled) {
		return errClientChanged
	}
	return err
}

// minSecret is how many characters a secret of the configuration needs at least: fewer can be guessed, and nothing
// slows down who tries.
const minSecret = 32

// HashClientSecret returns the hash of a secret that an operator has chosen, as [store.Client] wants it. It answers an
// error that does not repeat the secret when it has less than 32 characters, or some that no client can send.
func HashClientSecret(secret string) (string, error) {
	switch {
	case len(secret) < minSecret:
		return "", fmt.Errorf("a client secret needs at least %d characters", minSecret)
	case len(secret) > maxBasic/4:
		return "", fmt.Errorf("a client secret has at most %d characters", maxBasic/4)
	case !isText(secret):
		return "", errors.New("a client secret has no control characters")
	}
	return store.HashSecret(secret), nil
}

const maxClientID = 255

// isClientID holds an ID against RFC 6749 appendix A.1, but for the characters that are trouble in headers and logs.
func isClientID(id string) bool { return isVisible(id) && len(id) <= maxClientID }
