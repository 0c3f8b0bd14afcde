package store

import (
	"errors"
	"slices"
	"time"
)

// Browser is a browser in which a person has signed in before. It is found by the hash of a secret in the browser's
// cookie. It is nobody's session, and lets nobody in: it sets the person's own attempts to sign in apart from those of
// strangers.
type Browser struct {
	ID        string    `json:"id"`
	Hash      string    `json:"hash"`
	UserID    string    `json:"user_id"`
	Login     string    `json:"login"` // what was typed to sign in, folded
	CreatedAt time.Time `json:"created_at"`
	ExpiresAt time.Time `json:"expires_at"`
}

// maxBrowsers is how many browsers a person may be known in; the one that was not used for the longest makes room.
const maxBrowsers = 20

// PutBrowser keeps a browser until it expires. The ID is made by [NewID].
func (r *Records) PutBrowser(b *Browser) error {
	if !usable(b.ID) || !usable(b.Hash) || !usable(b.UserID) {
		return errBadID
	}
	if err := r.put(r.key(kindBrowser, b.Hash), b, b.ExpiresAt); err != nil {
		return err
	}
	ttl, err := r.ttl(b.ExpiresAt)
	if err != nil {
		return err
	}
	if err := r.tx.Put(r.key(kindBrowserByUser, b.UserID, b.ID), []byte(b.Hash), ttl); err != nil {
		return err
	}
	all, err := r.browsersOf(b.UserID)
	if err != nil {
		return err
	}
	return r.forgetAll(all[:max(0, len(all)-maxBrowsers)])
}

// Browser returns the browser whose secret has that [HashSecret], or [ErrNotFound].
func (r *Records) Browser(hash string) (*Browser, error) {
	var b Browser
	if err := r.get(r.key(kindBrowser, hash), &b); err != nil {
		return nil, err
	}
	if !b.ExpiresAt.After(r.now) {
		return nil, ErrNotFound
	}
	return &b, nil
}

// ForgetBrowser forgets the browser of a person that has that ID, if there is one.
func (r *Records) ForgetBrowser(userID, id string) error {
	hash, err := r.tx.Get(r.key(kindBrowserByUser, userID, id))
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return r.forgetAll([]Browser{{ID: id, Hash: string(hash), UserID: userID}})
}

// ForgetBrowsers forgets all browsers of a person but the one with the ID except, if any.
func (r *Records) ForgetBrowsers(userID, except string) error {
	all, err := r.browsersOf(userID)
	if err != nil {
		return err
	}
	return r.forgetAll(slices.DeleteFunc(all, func(b Browser) bool { return b.ID == except }))
}

// browsersOf are the browsers of a person, oldest first, with ID and Hash alone.
func (r *Records) browsersOf(userID string) ([]Browser, error) {
	var all []Browser
	err := r.tx.Scan(r.list(kindBrowserByUser, userID), nil, func(key, hash []byte) error {
		all = append(all, Browser{ID: lastPart(key), Hash: string(hash), UserID: userID})
		return nil
	})
	return all, err
}

func (r *Records) forgetAll(browsers []Browser) error {
	for _, b := range browsers {
		err := r.deleteAll([][]byte{r.key(kindBrowser, b.Hash), r.key(kindBrowserByUser, b.UserID, b.ID)})
		if err != nil {
			return err
		}
	}
	return nil
}
