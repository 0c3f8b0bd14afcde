package issuer

import (
	"context"
	"errors"

	"github.com/oauth2-passport/caddy-passport/store"
)

// UserInfo is a person as operators see it: PasswordHash is always empty.
type UserInfo struct {
	store.User      // the ID is empty for a person of the configuration who has never been here
	Known      bool `json:"known"` // false: gone from where the person comes from
}

func (i *Issuer) userInfo(u store.User) UserInfo {
	profile, known := (*Profile)(nil), true
	if u.Source != "" {
		profile, known = i.people.find(u.Source, u.External)
	}
	if profile != nil {
		profile.copyTo(&u)
	}
	u.PasswordHash = ""
	return UserInfo{User: u, Known: known}
}

// User returns the person with that name, email or ID. People of the configuration, or of a source that knows its
// people by heart, get their record when they are first asked for.
func (i *Issuer) User(ctx context.Context, nameOrID string) (UserInfo, error) {
	var u *store.User
	err := i.db.View(ctx, func(r *store.Records) (err error) {
		u, err = i.lookUp(r, nameOrID)
		return err
	})
	if err == nil && u.UpdatedAt.IsZero() {
		err = i.db.Update(ctx, func(r *store.Records) (err error) {
			if u, err = i.lookUp(r, nameOrID); err != nil {
				return err
			}
			return r.PutUser(u)
		})
	}
	if err != nil {
		return UserInfo{}, err
	}
	return i.userInfo(*u), nil
}

// lookUp finds a person by name, email or ID, in the order of sign-in. Who has no record yet gets one that is to be
// written: its UpdatedAt is zero.
func (i *Issuer) lookUp(r *store.Records, nameOrID string) (*store.User, error) {
	if _, isID := store.IDTime(nameOrID); isID {
		u, err := r.User(nameOrID)
		if errors.Is(err, store.ErrNotFound) {
			err = ErrUnknownUser
		}
		return u, err
	}
	login := store.FoldLogin(nameOrID)
	if login == "" {
		return nil, ErrUnknownUser
	}
	if p := i.people.logins[login]; p != nil {
		u, _, err := materialise(r, configSource, p.profile())
		return u, err
	}
	if u, err := r.UserByLogin(login); !errors.Is(err, store.ErrNotFound) {
		return u, err
	}
	for _, s := range i.people.sources {
		if f, ok := s.(Finder); ok {
			if profile, found := f.Find(login); found {
				u, _, err := materialise(r, s.Name(), profile)
				return u, err
			}
		}
	}
	var found *store.User
	err := r.Users("", func(u store.User) error {
		if u.Source == "" || store.FoldLogin(u.Name) != login && store.FoldLogin(u.Email) != login {
			return nil
		}
		if found != nil {
			return ErrTwoUsers
		}
		found = &u
		return nil
	})
	if err == nil && found == nil {
		err = ErrUnknownUser
	}
	return found, err
}

// UserFilter says which people to list. The empty one means all.
type UserFilter struct {
	After string // the ID of the last one of the page before
	Limit int    // at most so many; 0: no limit
}

// Users lists the people: those of the configuration in its order, then the others by age. With After the first ones
// are left out.
func (i *Issuer) Users(ctx context.Context, filter UserFilter) ([]UserInfo, error) {
	var list []UserInfo
	err := i.db.View(ctx, func(r *store.Records) error {
		list = nil // an engine may run this more than once
		if filter.After == "" {
			for n := range i.people.persons {
				u, _, err := materialise(r, configSource, i.people.persons[n].profile())
				if err != nil {
					return err
				}
				if u.UpdatedAt.IsZero() {
					u.ID, u.CreatedAt = "", u.UpdatedAt
				}
				list = append(list, i.userInfo(*u))
			}
		}
		return r.Users(filter.After, func(u store.User) error {
			info := i.userInfo(u)
			if u.Source == configSource && info.Known {
				return nil
			}
			if filter.Limit > 0 && len(list) >= filter.Limit {
				return store.ErrStop
			}
			list = append(list, info)
			return nil
		})
	})
	return list, err
}
