package store

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxAccess is how many access tokens a family lists: the newest. Those before are good nonetheless, and end with the
// family; but however often a client refreshes, what is read of its person does not grow.
const maxAccess = 4

// Gives says that the family gives an access token: call it before [Records.PutFamily] or [Records.Rotate], which write
// the family, and [Records.PutToken] after them. The family lists the newest access tokens that are good, so that they
// are found by their person without an entry each in an index.
func (f *Family) Gives(t *Token, now time.Time) {
	if t.ExpiresAt.After(f.AccessUntil) {
		f.AccessUntil = t.ExpiresAt
	}
	f.access = slices.DeleteFunc(f.access, func(entry string) bool {
		_, expires := listedAccess(entry)
		return !expires.After(now)
	})
	f.access = append(f.access, t.ID+" "+strconv.FormatInt(t.ExpiresAt.Unix(), 10))
	f.access = f.access[max(0, len(f.access)-maxAccess):]
}

// AccessTokens calls fn with the access tokens that the family lists, revoked ones included, the newest first: there
// are few. [ErrStop] ends it.
func (r *Records) AccessTokens(f *Family, fn func(Token) error) error {
	for _, entry := range slices.Backward(f.access) {
		id, _ := listedAccess(entry)
		if err := r.ifKnown(id, fn); err != nil {
			if errors.Is(err, ErrStop) {
				return nil
			}
			return err
		}
	}
	return nil
}

// listedAccess reads an entry of a family's list: the ID, and when the token is over.
func listedAccess(entry string) (id string, expires time.Time) {
	at := strings.LastIndexByte(entry, ' ')
	seconds, err := strconv.ParseInt(entry[at+1:], 10, 64)
	if at < 0 || err != nil {
		return entry, time.Time{}
	}
	return entry[:at], time.Unix(seconds, 0)
}

// indexAccess brings the access tokens of a family that leaves the index of the person's families into that of the
// person's tokens.
func (r *Records) indexAccess(f *Family) error {
	for _, entry := range f.access {
		id, expires := listedAccess(entry)
		if !expires.After(r.now) {
			continue
		}
		ttl, err := r.ttl(expires)
		if err != nil {
			return err
		}
		if err := r.tx.Put(r.key(kindTokenByUser, f.UserID, id), nil, ttl); err != nil {
			return err
		}
	}
	return nil
}

// TokensOfUser is [Records.Tokens] for one person. Of a family it has the newest tokens only.
func (r *Records) TokensOfUser(userID, after string, fn func(Token) error) error {
	var listed []string
	err := r.FamiliesOfUser(userID, func(f Family) error {
		for _, entry := range f.access {
			if id, _ := listedAccess(entry); id > after {
				listed = append(listed, id)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	slices.Sort(listed)

	stopped := false
	each := func(id string) error {
		err := r.ifKnown(id, fn)
		stopped = err != nil
		return err
	}
	prefix := r.list(kindTokenByUser, userID)
	err = r.tx.Scan(prefix, following(prefix, after), func(key, _ []byte) error {
		id := unescape(string(key[len(prefix):]))
		for len(listed) > 0 && listed[0] <= id {
			next := listed[0]
			if listed = listed[1:]; next == id {
				continue
			}
			if err := each(next); err != nil {
				return err
			}
		}
		return each(id)
	})
	for err == nil && !stopped && len(listed) > 0 {
		err = each(listed[0])
		listed = listed[1:]
	}
	if errors.Is(err, ErrStop) {
		return nil
	}
	return err
}
