package issuer

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/oauth2-passport/caddy-passport/store"
)

// What the management of people answers beside [*InvalidError], [*PasswordError] and the store's errors. Compare with
// [errors.Is].
var (
	ErrUnknownUser   = errors.New("there is no person with this name or ID")
	ErrUserTaken     = errors.New("the name or the email is that of another person")
	ErrUserElsewhere = errors.New("the person is kept in the configuration, or where it comes from, and can only be " +
		"changed there; to disable it works here")
	ErrTwoUsers = errors.New("more than one person has this name: say the ID")
)

// NewUser is an account that is to be made.
type NewUser struct {
	Name        string
	Email       string // may be empty
	DisplayName string // may be empty
	Limited     bool   // Scopes is all that the person may have; default: every scope that is not restricted
	Scopes      []string

	// Password is the password, or PasswordHash what is kept of one elsewhere, see [CheckPasswordHash]. Without both a
	// password is made.
	Password, PasswordHash string
}

// CreateUser makes an account. A password that is made is told this once.
func (i *Issuer) CreateUser(ctx context.Context, n NewUser) (info UserInfo, password string, err error) {
	u := store.User{
		Name: n.Name, Email: n.Email, DisplayName: n.DisplayName, PasswordHash: n.PasswordHash,
		Limited: n.Limited, Scopes: slices.Clone(n.Scopes),
	}
	if err := checkUser(&u); err != nil {
		return info, "", err
	}
	if err := i.scopesExist(u.Scopes); err != nil {
		return info, "", err
	}
	switch {
	case n.Password != "" && n.PasswordHash != "":
		return info, "", &InvalidError{"password_hash", "there is a password, too"}
	case n.PasswordHash != "":
		err = CheckPasswordHash(n.PasswordHash)
	default:
		u.PasswordHash, password, err = hashOrMake(ctx, n.Password, &u)
	}
	if err != nil {
		return info, "", err
	}
	err = i.db.Update(ctx, func(r *store.Records) error {
		if err := i.nameIsFree(r, &u); err != nil {
			return err
		}
		u.ID, u.CreatedAt = store.NewID(r.Now()), r.Now()
		return r.PutUser(&u)
	})
	if errors.Is(err, store.ErrTaken) {
		err = ErrUserTaken
	}
	if err != nil {
		return info, "", err
	}
	i.tell(ctx, Event{Type: UserCreated, UserID: u.ID})
	return i.userInfo(u), password, nil
}

// hashOrMake hashes a password for an account, or one that it makes when there is none.
func hashOrMake(ctx context.Context, password string, u *store.User) (hash, made string, err error) {
	if password == "" {
		made = newPassword()
		password = made
	} else if err := checkPassword(password, u.Name, u.Email); err != nil {
		return "", "", err
	}
	hash, err = hashPassword(hashingAs(ctx, knownOnes), password) // only an operator comes here
	return hash, made, err
}

func checkUser(u *store.User) error {
	if err := checkUserName(u.Name); err != nil {
		return err
	}
	if err := checkEmail(u.Email); err != nil {
		return err
	}
	if err := checkDisplayName(u.DisplayName); err != nil {
		return err
	}
	return checkUserScopes(u.Scopes)
}

// scopesExist keeps a misspelled scope from being a list that gives nothing.
func (i *Issuer) scopesExist(names []string) error {
	for _, name := range names {
		if name != AnyScope && i.scopes.load().byName[name] == nil {
			return &InvalidError{"scope", fmt.Sprintf("there is no scope %q", name)}
		}
	}
	return nil
}

// nameIsFree answers [ErrUserTaken] when somebody from elsewhere has the name or the email of an account: upstreams
// know people by their names. Of the store's own accounts the store knows.
func (i *Issuer) nameIsFree(r *store.Records, u *store.User) error {
	for _, login := range []string{store.FoldLogin(u.Name), store.FoldLogin(u.Email)} {
		if login == "" {
			continue
		}
		if i.people.logins[login] != nil {
			return ErrUserTaken
		}
		for _, s := range i.people.sources {
			if f, ok := s.(Finder); ok {
				if _, found := f.Find(login); found {
					return ErrUserTaken
				}
			}
		}
	}
	name := store.FoldLogin(u.Name)
	return r.Users("", func(other store.User) error {
		if other.Source != "" && store.FoldLogin(other.Name) == name {
			return ErrUserTaken
		}
		return nil
	})
}

// UserChange is what to change of a person; what is nil stays as it is.
type UserChange struct {
	Email       *string
	DisplayName *string
	Scopes      *[]string // all that the person may have from now on; empty: none
	AllScopes   bool      // instead: every scope that is not restricted
	Disabled    *bool     // disabling ends sessions and tokens
}

// UpdateUser changes the person with that name or ID. Of people from elsewhere only Disabled can be changed.
func (i *Issuer) UpdateUser(ctx context.Context, nameOrID string, change UserChange) (UserInfo, error) {
	var u *store.User
	var was bool
	err := i.db.Update(ctx, func(r *store.Records) (err error) {
		if u, err = i.lookUp(r, nameOrID); err != nil {
			return err
		}
		if u.Source != "" && change != (UserChange{Disabled: change.Disabled}) {
			return ErrUserElsewhere
		}
		was = u.Disabled
		set(&u.Email, change.Email)
		set(&u.DisplayName, change.DisplayName)
		set(&u.Disabled, change.Disabled)
		if change.Scopes != nil {
			if err := i.scopesExist(*change.Scopes); err != nil {
				return err
			}
			u.Limited, u.Scopes = true, slices.Clone(*change.Scopes)
		}
		if change.AllScopes {
			u.Limited, u.Scopes = false, nil
		}
		if change != (UserChange{Disabled: change.Disabled}) {
			if err := checkUser(u); err != nil {
				return err
			}
		}
		if change.Email != nil {
			if err := i.nameIsFree(r, u); err != nil {
				return err
			}
		}
		return r.PutUser(u)
	})
	if errors.Is(err, store.ErrTaken) {
		err = ErrUserTaken
	}
	if err != nil {
		return UserInfo{}, err
	}
	event := Event{Type: UserUpdated, UserID: u.ID}
	if u.Disabled == was || change != (UserChange{Disabled: change.Disabled}) {
		i.tell(ctx, event)
	}
	if event.Type = UserEnabled; u.Disabled {
		event.Type = UserDisabled
	}
	if u.Disabled != was {
		i.tell(ctx, event)
	}
	return i.userInfo(*u), nil
}

// SetPassword gives an account a new password, or one that it makes and tells this once when there is none. Sessions
// and tokens of the person end.
func (i *Issuer) SetPassword(ctx context.Context, nameOrID, password string) (info UserInfo, made string, err error) {
	found, err := i.User(ctx, nameOrID)
	if err != nil {
		return info, "", err
	}
	if found.Source != "" {
		return info, "", ErrUserElsewhere
	}
	hash, made, err := hashOrMake(ctx, password, &found.User)
	if err != nil {
		return info, "", err
	}
	u, err := i.setPassword(ctx, found.ID, "", hash)
	if err != nil {
		return info, "", err
	}
	return i.userInfo(*u), made, nil
}

// setPassword writes the hash of a new password, unless old is given and not the one that is there.
func (i *Issuer) setPassword(ctx context.Context, id, old, hash string) (u *store.User, err error) {
	err = i.db.Update(ctx, func(r *store.Records) (err error) {
		u, err = r.User(id)
		switch {
		case errors.Is(err, store.ErrNotFound):
			return ErrUnknownUser
		case err != nil:
			return err
		case old != "" && u.PasswordHash != old:
			return errWrongLogin
		}
		u.PasswordHash = hash
		for _, login := range []string{store.FoldLogin(u.Name), store.FoldLogin(u.Email)} {
			if err := r.ForgetGuesses(guessLogin, login); err != nil {
				return err
			}
		}
		return r.EndUser(u)
	})
	if err != nil {
		return nil, err
	}
	i.tell(ctx, Event{Type: PasswordChanged, UserID: id})
	return u, nil
}

// changePassword gives a person who is signed in a new password, for the old one. Sessions and tokens end, the session
// in which it happens too: begin another one, for the record that it answers. The error is [errWrongLogin],
// [*tooManyError], [*PasswordError], [ErrUserElsewhere], or the store's.
func (i *Issuer) changePassword(ctx context.Context, u *store.User, old, password string) (*store.User, error) {
	ctx = hashingAs(ctx, knownOnes)
	if u.Source != "" {
		return nil, ErrUserElsewhere
	}
	if err := checkPassword(password, u.Name, u.Email); err != nil {
		return nil, err
	}
	done, err := i.turns.take(ctx, "password "+u.ID, 1)
	if err == nil {
		defer done()
		err = i.provePassword(ctx, u, old)
	}
	if err != nil {
		why := failed(err, errWrongLogin, failedWrongPassword)
		i.tell(ctx, Event{Type: PasswordRefused, UserID: u.ID, Error: why})
		return nil, err
	}
	hash, err := hashPassword(ctx, password)
	if err != nil {
		return nil, err
	}
	return i.setPassword(ctx, u.ID, u.PasswordHash, hash)
}

// provePassword compares what somebody gives for the own password. It has a turn of the person's.
func (i *Issuer) provePassword(ctx context.Context, u *store.User, password string) error {
	if password == "" || len(password) > maxPassword {
		return errWrongLogin // by its form
	}
	switch wait, err := i.guess(ctx, guessPassword, u.ID); {
	case err != nil:
		return err
	case wait > 0:
		return &tooManyError{RetryAfter: wait}
	}
	right, err := PasswordMatches(ctx, u.PasswordHash, password)
	if err != nil {
		return err
	}
	if err := i.guessed(ctx, guessPassword, u.ID, right); err != nil {
		return err
	}
	if !right {
		return errWrongLogin
	}
	return nil
}

// DeleteUser removes the person with that name or ID, which ends sessions and tokens and deletes the person's own
// clients. Of people from elsewhere only those who are gone there can be removed, or whose source tells only when they
// sign in.
func (i *Issuer) DeleteUser(ctx context.Context, nameOrID string) error {
	var id string
	err := i.db.Update(ctx, func(r *store.Records) error {
		u, err := i.lookUp(r, nameOrID)
		if err != nil {
			return err
		}
		if profile, _ := i.people.find(u.Source, u.External); profile != nil {
			return ErrUserElsewhere
		}
		id = u.ID
		return r.DeleteUser(id)
	})
	if err != nil {
		return err
	}
	i.tell(ctx, Event{Type: UserDeleted, UserID: id})
	return nil
}
