package store

import (
	"errors"
	"slices"
	"strings"
	"time"
)

// User is a person. Its ID is the `sub` of tokens in the person's name; it is made by [NewID], and is no client's.
type User struct {
	ID           string    `json:"id"`
	Name         string    `json:"name"` // the username, as the person writes it
	Email        string    `json:"email,omitempty"`
	DisplayName  string    `json:"display_name,omitempty"`
	PasswordHash string    `json:"password_hash,omitempty"` // in PHC format, of own accounts only
	Source       string    `json:"source,omitempty"`        // where the person comes from; empty: an own account
	External     string    `json:"external,omitempty"`      // the ID that the source knows the person by
	Limited      bool      `json:"limited,omitempty"`       // Scopes is all that the person may have
	Scopes       []string  `json:"scopes,omitempty"`        // unless Limited: every scope that is not restricted
	Disabled     bool      `json:"disabled,omitempty"`
	CreatedAt    time.Time `json:"created_at"`
	UpdatedAt    time.Time `json:"updated_at"`
	SignedInAt   time.Time `json:"signed_in_at,omitzero"`

	// NotBefore ends what was given in the person's name until then: sessions, codes, refresh tokens, access tokens. It is
	// set when the person is disabled, or by [Records.EndUser].
	NotBefore time.Time `json:"not_before,omitzero"`
}

// Stands tells whether something that was given in the person's name at that time is still good, as far as the person
// is concerned. Every reader of a session, code, family or token asks it.
func (u *User) Stands(given time.Time) bool { return !u.Disabled && given.After(u.NotBefore) }

// FoldLogin is how usernames and emails are compared: without spaces around them, and in lower case.
func FoldLogin(login string) string { return strings.ToLower(strings.TrimSpace(login)) }

// logins are what an own account can be signed in to by. Names and emails are one space: nobody's name is another's
// email. Accounts of other sources are looked up there.
func (u *User) logins() []string {
	if u.Source != "" {
		return nil
	}
	logins := []string{FoldLogin(u.Name)}
	if email := FoldLogin(u.Email); email != "" && email != logins[0] {
		logins = append(logins, email)
	}
	return logins
}

// User returns the person with that ID, disabled ones included, or [ErrNotFound].
func (r *Records) User(id string) (*User, error) {
	var u User
	if err := r.get(r.key(kindUser, id), &u); err != nil {
		return nil, err
	}
	return &u, nil
}

// UserByLogin returns the own account with that username or email, or [ErrNotFound].
func (r *Records) UserByLogin(login string) (*User, error) {
	return r.userOf(r.key(kindUserByLogin, FoldLogin(login)))
}

// UserBySource returns the person that a source knows by that ID, or [ErrNotFound].
func (r *Records) UserBySource(source, external string) (*User, error) {
	return r.userOf(r.key(kindUserBySource, source, external))
}

func (r *Records) userOf(index []byte) (*User, error) {
	id, err := r.tx.Get(index)
	if err != nil {
		return nil, err
	}
	return r.User(string(id))
}

// PutUser creates or replaces a person. It answers [ErrTaken] when the name or the email is that of another account.
// Disabling ends all that was given in the person's name, and to the person's own clients; it stays ended when the
// person is enabled again.
func (r *Records) PutUser(u *User) error {
	if !usable(u.ID) || FoldLogin(u.Name) == "" {
		return errBadID
	}
	old, err := r.User(u.ID)
	switch {
	case errors.Is(err, ErrNotFound):
		old = &User{Source: "none"}
	case err != nil:
		return err
	case old.NotBefore.After(u.NotBefore):
		u.NotBefore = old.NotBefore
	}
	u.UpdatedAt = r.now
	if u.CreatedAt.IsZero() {
		u.CreatedAt = r.now
	}
	if err := r.putLogins(u, old); err != nil {
		return err
	}
	if u.Source != "" {
		if err := r.tx.Put(r.key(kindUserBySource, u.Source, u.External), []byte(u.ID), 0); err != nil {
			return err
		}
	}
	if u.Disabled {
		return errors.Join(r.endClientsOf(u.ID), r.EndUser(u))
	}
	if u.differs(old) {
		if err := r.revoke(Revocation{Kind: UserChanged, ID: u.ID}); err != nil {
			return err
		}
	}
	return r.put(r.key(kindUser, u.ID), u, time.Time{})
}

// differs tells whether the person is to be known differently, or may have other scopes, than by the record from
// before.
func (u *User) differs(old *User) bool {
	return old.ID != "" && (u.Name != old.Name || u.Email != old.Email || u.Limited != old.Limited ||
		!slices.Equal(u.Scopes, old.Scopes))
}

func (r *Records) putLogins(u, old *User) error {
	logins, before := u.logins(), old.logins()
	for _, login := range logins {
		id, err := r.tx.Get(r.key(kindUserByLogin, login))
		switch {
		case err == nil && string(id) != u.ID:
			return ErrTaken
		case err != nil && !errors.Is(err, ErrNotFound):
			return err
		case err == nil:
			continue
		}
		if err := r.tx.Put(r.key(kindUserByLogin, login), []byte(u.ID), 0); err != nil {
			return err
		}
	}
	for _, login := range before {
		if slices.Contains(logins, login) {
			continue
		}
		if err := r.tx.Delete(r.key(kindUserByLogin, login)); err != nil {
			return err
		}
	}
	return nil
}

// EndUser ends all that was given in the person's name until now, personal access tokens included, and writes the
// record.
func (r *Records) EndUser(u *User) error {
	u.NotBefore, u.UpdatedAt = r.now, r.now
	if err := r.revoke(Revocation{Kind: RevokedUser, ID: u.ID}); err != nil {
		return err
	}
	if err := r.EndSessions(u.ID, ""); err != nil {
		return err
	}
	if err := r.ForgetBrowsers(u.ID, ""); err != nil {
		return err
	}
	return r.put(r.key(kindUser, u.ID), u, time.Time{})
}

// endClientsOf ends the tokens of the clients that a person has registered.
func (r *Records) endClientsOf(userID string) error {
	var own []Client
	err := r.ClientsOfUser(userID, func(c Client) error {
		own = append(own, c)
		return nil
	})
	if err != nil {
		return err
	}
	for _, c := range own {
		c.TokensNotBefore = r.now
		if err := r.revoke(Revocation{Kind: RevokedClient, ID: c.ID}); err != nil {
			return err
		}
		if err := r.put(r.key(kindClient, c.ID), c, time.Time{}); err != nil {
			return err
		}
	}
	return nil
}

// DeleteUser removes a person with the sessions, consents and own clients, which ends all tokens in the person's name.
// It answers [ErrNotFound] when there is none.
func (r *Records) DeleteUser(id string) error {
	u, err := r.User(id)
	if err != nil {
		return err
	}
	if err := r.EndUser(u); err != nil {
		return err
	}
	var own []string
	err = r.ClientsOfUser(id, func(c Client) error {
		own = append(own, c.ID)
		return nil
	})
	if err != nil {
		return err
	}
	for _, client := range own {
		if err := r.DeleteClient(client); err != nil {
			return err
		}
	}
	gone := [][]byte{r.key(kindUser, id)}
	for _, client := range own {
		gone = append(gone, r.key(kindClientByUser, id, client))
	}
	for _, login := range u.logins() {
		gone = append(gone, r.key(kindUserByLogin, login))
	}
	if u.Source != "" {
		gone = append(gone, r.key(kindUserBySource, u.Source, u.External))
	}
	err = r.ConsentsOfUser(id, func(c Consent) error {
		gone = append(gone, r.key(kindConsent, id, c.ClientID))
		return nil
	})
	if err != nil {
		return err
	}
	return errors.Join(r.putGone(kindUser, id), r.deleteAll(gone))
}

func (r *Records) deleteAll(keys [][]byte) error {
	for _, key := range keys {
		if err := r.tx.Delete(key); err != nil {
			return err
		}
	}
	return nil
}

// Users calls fn with every person, oldest first, after the one with that ID (empty: from the first). [ErrStop] ends
// it.
func (r *Records) Users(after string, fn func(User) error) error {
	return scan(r, r.list(kindUser), after, fn)
}
