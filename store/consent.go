package store

import (
	"errors"
	"time"
)

// Consent is what a person has allowed a client.
type Consent struct {
	UserID    string    `json:"user_id"`
	ClientID  string    `json:"client_id"`
	Scopes    []string  `json:"scopes,omitempty"`
	GrantedAt time.Time `json:"granted_at"` // the first time
	UpdatedAt time.Time `json:"updated_at"`
}

// Consent returns what a person has allowed a client, or [ErrNotFound].
func (r *Records) Consent(userID, clientID string) (*Consent, error) {
	var c Consent
	if err := r.get(r.key(kindConsent, userID, clientID), &c); err != nil {
		return nil, err
	}
	return &c, nil
}

// PutConsent creates or replaces a consent. It stays until [Records.Disconnect].
func (r *Records) PutConsent(c *Consent) error {
	if !usable(c.UserID) || !usable(c.ClientID) {
		return errBadID
	}
	c.UpdatedAt = r.now
	if c.GrantedAt.IsZero() {
		c.GrantedAt = r.now
	}
	return r.put(r.key(kindConsent, c.UserID, c.ClientID), c, time.Time{})
}

// ConsentsOfUser calls fn with each consent of a person, sorted by the client's ID. [ErrStop] ends it.
func (r *Records) ConsentsOfUser(userID string, fn func(Consent) error) error {
	return scan(r, r.list(kindConsent, userID), "", fn)
}

// Disconnect takes back all that a client has in a person's name: the consent, and every family with its tokens. There
// may be none. more tells that there are too many families for one transaction: then it is called in others until there
// are none left.
func (r *Records) Disconnect(userID, clientID string) (more bool, err error) {
	var ids []string
	err = r.tx.Scan(r.list(kindFamilyByUser, userID, clientID), nil, func(key, _ []byte) error {
		if more = len(ids) == maxEnded; more {
			return ErrStop
		}
		ids = append(ids, lastPart(key))
		return nil
	})
	if err != nil {
		return false, err
	}
	for _, id := range ids {
		if err := r.endFamily(userID, clientID, id); err != nil {
			return false, err
		}
	}
	if err := r.put(r.key(kindDisconnected, userID, clientID), r.now, r.now.Add(rememberDisconnected)); err != nil {
		return false, err
	}
	return more, r.tx.Delete(r.key(kindConsent, userID, clientID))
}

// endFamily revokes a family by its place in the index, which goes in any case: the record may be over before it.
func (r *Records) endFamily(userID, clientID, id string) error {
	f, err := r.Family(id)
	switch {
	case errors.Is(err, ErrNotFound):
	case err != nil:
		return err
	default:
		if err := r.RevokeFamily(f); err != nil {
			return err
		}
	}
	return r.tx.Delete(r.key(kindFamilyByUser, userID, clientID, id))
}

// rememberDisconnected is longer than a code, or the code of a device, is good.
const rememberDisconnected = 24 * time.Hour

// Disconnected is when a person has last disconnected a client: codes and devices that were approved until then, and
// have not been redeemed, are good for nothing. It is the zero time when that is a day ago, or never was.
func (r *Records) Disconnected(userID, clientID string) (at time.Time, err error) {
	err = r.get(r.key(kindDisconnected, userID, clientID), &at)
	if errors.Is(err, ErrNotFound) {
		return time.Time{}, nil
	}
	return at, err
}

// AuthorizationRequest is a request at the authorization endpoint that waits for a person's answer.
type AuthorizationRequest struct {
	ID           string    `json:"id"`
	UserID       string    `json:"user_id"`
	SessionID    string    `json:"session_id"` // only in this session it may be answered
	Issuer       string    `json:"issuer"`
	ClientID     string    `json:"client_id"`
	RedirectURI  string    `json:"redirect_uri"`
	RedirectSent bool      `json:"redirect_sent,omitempty"` // it was a parameter, so that the token request repeats it
	ResponseType string    `json:"response_type"`
	ResponseMode string    `json:"response_mode,omitempty"`
	State        string    `json:"state,omitempty"`
	Scopes       []string  `json:"scopes,omitempty"`
	Audience     []string  `json:"audience,omitempty"`
	Challenge    string    `json:"challenge,omitempty"` // `code_challenge` by S256
	CreatedAt    time.Time `json:"created_at"`
}

// keepRequest is how long a person may take to answer.
const keepRequest = 10 * time.Minute

// maxRequests is how many requests may wait in one session; the oldest makes room. A link elsewhere is enough to begin
// one.
const maxRequests = 20

// PutRequest keeps a request until it is answered, for ten minutes at most.
func (r *Records) PutRequest(q *AuthorizationRequest) error {
	if !usable(q.ID) || !usable(q.SessionID) {
		return errBadID
	}
	q.CreatedAt = r.now
	if err := r.makeRoom(q); err != nil {
		return err
	}
	return r.put(r.key(kindRequest, q.ID), q, r.now.Add(keepRequest))
}

// makeRoom writes down which requests of its session were the last ones, and forgets the one before.
func (r *Records) makeRoom(q *AuthorizationRequest) error {
	key := r.key(kindRequestsOf, q.SessionID)
	var last []string
	if err := r.get(key, &last); err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	for last = append(last, q.ID); len(last) > maxRequests; last = last[1:] {
		if err := r.tx.Delete(r.key(kindRequest, last[0])); err != nil {
			return err
		}
	}
	return r.put(key, last, r.now.Add(keepRequest))
}

// TakeRequest returns a request and forgets it, so that it is answered once, or [ErrNotFound].
func (r *Records) TakeRequest(id string) (*AuthorizationRequest, error) {
	var q AuthorizationRequest
	if err := r.get(r.key(kindRequest, id), &q); err != nil {
		return nil, err
	}
	if !q.CreatedAt.Add(keepRequest).After(r.now) {
		return nil, ErrNotFound
	}
	return &q, r.tx.Delete(r.key(kindRequest, id))
}
