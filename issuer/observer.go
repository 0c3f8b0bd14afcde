package issuer

import (
	"context"
	"time"
)

// Observer is told what has happened, after it is on disk. It is called on the request's goroutine and does not block.
type Observer interface {
	Observe(ctx context.Context, e Event)
}

// Event is something that has happened. It holds no secret.
type Event struct {
	Type   EventType
	Time   time.Time
	Issuer string // the name of the issuer, not its identifier

	// ClientID is that of the client. Where something was refused it is what the caller said, which may be anything of
	// up to 255 visible characters, or empty.
	ClientID string
	UserID   string // empty where no person is concerned
	TokenID  string
	FamilyID string // of all that came of one authorization of a person
	KeyID    string // of the key that is concerned: the one that signs from now on, or the one that is retired
	Grant    string // the name of the grant, for example "client_credentials"
	Scope    string // what was given, separated by spaces
	Count    int    // how many, of what concerns many
	Error    string // the code of the protocol error, where something was refused
}

// EventType says what has happened: a thing and what became of it. It is the name of the line in the audit log, a label
// of the metrics and, behind "passport.", the name of an event of Caddy, so that it has small letters and underscores.
type EventType string

// What is told.
const (
	TokenIssued  EventType = "access_token_created"
	TokenRefused EventType = "access_token_refused" // Error says why
	TokenRevoked EventType = "access_token_revoked"
	TokensPurged EventType = "tokens_purged"
	// Of refresh tokens; the last one says that somebody has used one that had been replaced, which ended the family.
	RefreshTokenCreated   EventType = "refresh_token_created"
	RefreshTokenRefreshed EventType = "refresh_token_refreshed"
	RefreshTokenRevoked   EventType = "refresh_token_revoked"
	RefreshTokenReused    EventType = "refresh_token_reused"
	CodeReused            EventType = "code_reused" // which ended what its first use gave

	ClientRefused        EventType = "client_refused" // authentication failed where no tokens are given; Error says why
	ClientCreated        EventType = "client_created"
	ClientUpdated        EventType = "client_updated"
	ClientDisabled       EventType = "client_disabled" // which ended its tokens
	ClientEnabled        EventType = "client_enabled"
	ClientDeleted        EventType = "client_deleted"
	SecretRotated        EventType = "client_secret_rotated"
	AuthorizationGranted EventType = "authorization_granted" // a person lets a client act in its name
	AuthorizationRefused EventType = "authorization_refused" // Error says why
	AuthorizationRevoked EventType = "authorization_revoked" // a person takes all of it back from a client
	SignedOut            EventType = "signed_out"

	KeyRotated EventType = "key_rotated"
	KeyRetired EventType = "key_retired"

	BackupWritten  EventType = "backup_written"
	BackupRestored EventType = "backup_restored"

	SignInSucceeded EventType = "sign_in_succeeded"
	SignInFailed    EventType = "sign_in_failed" // Error says why; UserID is empty where it is not known whose name it is
	// A wrong current password of somebody who is signed in and wants another one, and a wrong user code of a device;
	// Error says why.
	PasswordRefused EventType = "password_refused"
	UserCodeRefused EventType = "user_code_refused"
	UserCreated     EventType = "user_created"
	UserUpdated     EventType = "user_updated"
	UserDisabled    EventType = "user_disabled"
	UserEnabled     EventType = "user_enabled"
	UserDeleted     EventType = "user_deleted"
	PasswordChanged EventType = "password_changed"
)

// EventTypes are all that there are.
func EventTypes() []EventType {
	return []EventType{
		TokenIssued, TokenRefused, TokenRevoked, TokensPurged, RefreshTokenCreated, RefreshTokenRefreshed,
		RefreshTokenRevoked, RefreshTokenReused, CodeReused, ClientRefused, ClientCreated, ClientUpdated, ClientDisabled,
		ClientEnabled, ClientDeleted, SecretRotated, AuthorizationGranted, AuthorizationRefused, AuthorizationRevoked,
		SignedOut, KeyRotated, KeyRetired, BackupWritten, BackupRestored, SignInSucceeded, SignInFailed, PasswordRefused,
		UserCodeRefused, UserCreated, UserUpdated, UserDisabled, UserEnabled, UserDeleted, PasswordChanged,
	}
}

type nobody struct{}

func (nobody) Observe(context.Context, Event) {}

func (i *Issuer) tell(ctx context.Context, e Event) {
	e.Issuer = i.config.Name
	if e.Time.IsZero() {
		e.Time = i.db.Now()
	}
	if !isClientID(e.ClientID) {
		e.ClientID = ""
	}
	i.observer.Observe(ctx, e)
}
