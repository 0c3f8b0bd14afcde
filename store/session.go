package store

import (
	"errors"
	"time"
)

// Session is a browser in which a person has signed in. It is found by the hash of the cookie's value.
type Session struct {
	ID              string    `json:"id"` // names it to people and revokes it; no secret
	Hash            string    `json:"hash"`
	UserID          string    `json:"user_id"`
	RemoteIP        string    `json:"remote_ip,omitempty"`
	UserAgent       string    `json:"user_agent,omitempty"`
	BrowserID       string    `json:"browser_id,omitempty"` // of the [Browser] that it was begun in
	CreatedAt       time.Time `json:"created_at"`
	AuthenticatedAt time.Time `json:"authenticated_at"` // when the person last proved who it is
	SeenAt          time.Time `json:"seen_at"`          // to the minute
	IdleUntil       time.Time `json:"idle_until"`       // over then unless it is seen before
	ExpiresAt       time.Time `json:"expires_at"`       // over then whatever happens
}

// Ends is when the session is over unless it is seen before.
func (s *Session) Ends() time.Time {
	if s.IdleUntil.Before(s.ExpiresAt) {
		return s.IdleUntil
	}
	return s.ExpiresAt
}

// maxSessions is how many sessions a person may have; the oldest makes room.
const maxSessions = 50

// PutSession creates or replaces a session until it [Session.Ends]. A person who has too many loses the oldest.
func (r *Records) PutSession(s *Session) error {
	if !usable(s.ID) || !usable(s.Hash) || !usable(s.UserID) {
		return errBadID
	}
	ttl, err := r.ttl(s.Ends())
	if err != nil {
		return err
	}
	if err := r.put(r.key(kindSession, s.Hash), s, s.Ends()); err != nil {
		return err
	}
	if err := r.tx.Put(r.key(kindSessionByUser, s.UserID, s.ID), []byte(s.Hash), ttl); err != nil {
		return err
	}
	var all []Session
	err = r.SessionsOfUser(s.UserID, func(s Session) error {
		all = append(all, s)
		return nil
	})
	if err != nil {
		return err
	}
	for len(all) > maxSessions {
		if err := r.EndSession(&all[0]); err != nil {
			return err
		}
		all = all[1:]
	}
	return nil
}

// Session returns the session whose cookie has that [HashSecret], or [ErrNotFound]. Whether its person may still have
// it is for [User.Stands] to say.
func (r *Records) Session(hash string) (*Session, error) {
	var s Session
	if err := r.get(r.key(kindSession, hash), &s); err != nil {
		return nil, err
	}
	if !s.Ends().After(r.now) {
		return nil, ErrNotFound
	}
	return &s, nil
}

// EndSession ends a session, on this and every other node.
func (r *Records) EndSession(s *Session) error {
	if err := r.revoke(Revocation{Kind: RevokedToken, ID: s.ID, Until: s.ExpiresAt}); err != nil {
		return err
	}
	return r.deleteAll([][]byte{r.key(kindSession, s.Hash), r.key(kindSessionByUser, s.UserID, s.ID)})
}

// EndSessions ends all sessions of a person but the one with the ID except, if any.
func (r *Records) EndSessions(userID, except string) error {
	var all []Session
	err := r.SessionsOfUser(userID, func(s Session) error {
		if s.ID != except {
			all = append(all, s)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for i := range all {
		if err := r.EndSession(&all[i]); err != nil {
			return err
		}
	}
	return nil
}

// SessionsOfUser calls fn with each session of a person, oldest first. [ErrStop] ends it.
func (r *Records) SessionsOfUser(userID string, fn func(Session) error) error {
	return r.tx.Scan(r.list(kindSessionByUser, userID), nil, func(_, hash []byte) error {
		s, err := r.Session(string(hash))
		if errors.Is(err, ErrNotFound) {
			return nil // the record is over, its place in the index not yet
		}
		if err != nil {
			return err
		}
		return fn(*s)
	})
}
