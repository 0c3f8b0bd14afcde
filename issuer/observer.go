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
	Grant    string // the name of the grant, for example "client_credentials"
	Scope    string // what was given, separated by spaces
	Error    string // the code of the protocol error, where something was refused
}

// EventType says what has happened.
type EventType string

// What is told.
const (
	TokenIssued   EventType = "token.issued"
	TokenRefused  EventType = "token.refused" // Error says why
	TokenRevoked  EventType = "token.revoked"
	ClientRefused EventType = "client.refused" // authentication failed, at an endpoint that gives no tokens
	ClientCreated EventType = "client.created"
	ClientUpdated EventType = "client.updated"
	ClientDeleted EventType = "client.deleted"
	SecretRotated EventType = "client.secret_rotated"
	TokensPurged  EventType = "tokens.purged"
)

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
