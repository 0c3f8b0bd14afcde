package verify

import (
	"errors"
	"fmt"
)

// Error says why a token is refused: the caller's fault, `invalid_token` in RFC 6750 §3.1. Errors are made once and
// compared with [errors.Is]; every other error of this package means that nothing could be found out about the token.
type Error struct {
	// Description is the `error_description`. It names no value of the token.
	Description string
}

// Error is the description.
func (e *Error) Error() string { return e.Description }

// Why a token is refused.
var (
	ErrMalformed   = &Error{"the access token is malformed"}
	ErrType        = &Error{"this is no access token"}
	ErrIssuer      = &Error{"the access token comes from another issuer"}
	ErrSignature   = &Error{"the access token carries no valid signature of its issuer"}
	ErrExpired     = &Error{"the access token has expired"}
	ErrNotYetValid = &Error{"the access token is not valid yet"}
	ErrRevoked     = &Error{"the access token has been revoked"}
	ErrClientGone  = &Error{"the client that the access token was issued to is gone or disabled"}
	ErrUserGone    = &Error{"the person whom the access token was issued to is gone or disabled"}
	ErrMistyped    = &Error{"the access token is mistyped or incomplete: its checksum is wrong"}
	ErrSession     = &Error{"the session is over: sign in again"}
	ErrAudience    = &Error{"the access token is meant for another audience"}
	ErrInactive    = &Error{"the access token has expired, was revoked, or is unknown to its issuer"}
	ErrBound       = &Error{"the access token is bound to a key of its client, so it is no bearer token"}
)

// ErrUnavailable is in the chain of errors that say that storage could not tell whether a token is good. It is no
// [Error]: the token is not refused, and not taken either.
var ErrUnavailable = errors.New("verify: storage is not available")

// ErrOutOfSight is an [ErrUnavailable]: what other nodes revoke has not been heard of for longer than [Config.Lag].
var ErrOutOfSight = fmt.Errorf("%w: what other nodes revoke is out of sight", ErrUnavailable)

// ErrCutOutOfSight is why a running request ends then. A token is never refused with it.
var ErrCutOutOfSight = &Error{"what other nodes revoke is out of sight, so the access token cannot be relied upon"}

// ErrCutUnasked is why a running request ends whose token names no `exp`, when the introspection endpoint could not be
// asked about it for too long. A token is never refused with it.
var ErrCutUnasked = &Error{"the issuer of the access token cannot be asked about it, so it cannot be relied upon"}
