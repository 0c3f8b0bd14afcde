package issuer

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/oauth2-passport/caddy-passport/store"
)

// Person is somebody who is kept in the configuration.
type Person struct {
	Name         string
	PasswordHash string // see [CheckPasswordHash]
	Email        string // may be empty
	Limited      bool   // Scopes is all that the person may have; default: every scope that is not restricted
	Scopes       []string
}

// Source is where people come from who have no account of the issuer.
type Source interface {
	// Name is what people of the source are known by in the store: it stays the same, and no two sources share it.
	Name() string

	// Check answers who signs in by that login and password. The error is [ErrUnknownPerson], [ErrWrongPassword], or why
	// the source cannot tell. Passwords are compared by [PasswordMatches].
	Check(ctx context.Context, login, password string) (Profile, error)
}

// Finder is a [Source] that knows its people by heart. Somebody it does not find any more is gone: what was given in
// the person's name is good no more. Find reads memory only.
type Finder interface {
	// Find answers the person with that ID or login.
	Find(login string) (Profile, bool)

	// Hashes are the hashes that passwords are compared with: who signs in with a name that nobody has waits as long.
	Hashes() []string
}

// Profile is what a [Source] says of a person.
type Profile struct {
	ID          string // by which the source knows the person for good; required
	Username    string // required
	Email       string
	DisplayName string
	Limited     bool // Scopes is all that the person may have
	Scopes      []string
}

// What a [Source] answers of somebody who is not let in.
var (
	ErrUnknownPerson = errors.New("nobody has this name")
	ErrWrongPassword = errors.New("the password is wrong")
)

// configSource is [store.User.Source] of the people of the configuration.
const configSource = "config"

// Directory is the people who have no account of the issuer: those of the configuration and those of sources.
type Directory struct {
	persons []Person
	logins  map[string]*Person // by folded names and emails
	sources []Source
	asking  map[string]*asking // of the sources that are no [Finder], by their names
}

// NewDirectory makes a directory. It answers an error that names what is wrong with a person.
func NewDirectory(persons []Person, sources []Source) (*Directory, error) {
	d := &Directory{
		persons: slices.Clone(persons), logins: make(map[string]*Person, len(persons)), sources: sources,
		asking: make(map[string]*asking),
	}
	for i := range d.persons {
		p := &d.persons[i]
		if err := p.check(); err != nil {
			return nil, fmt.Errorf("user %q: %w", p.Name, err)
		}
		for n, login := range []string{p.Name, p.Email} {
			login = store.FoldLogin(login)
			other := d.logins[login]
			switch {
			case login == "" || other == p:
			case other != nil && n == 0:
				return nil, fmt.Errorf("user %q is defined twice", p.Name)
			case other != nil:
				return nil, fmt.Errorf("user %q: the email is that of user %q", p.Name, other.Name)
			default:
				d.logins[login] = p
			}
		}
	}
	for i, s := range sources {
		same := func(other Source) bool { return other.Name() == s.Name() }
		if s.Name() == "" || s.Name() == configSource || slices.ContainsFunc(sources[:i], same) {
			return nil, fmt.Errorf("there are two sources of people with the name %q: give one another", s.Name())
		}
		if _, ok := s.(Finder); !ok {
			d.asking[s.Name()] = new(asking)
		}
	}
	return d, nil
}

// profile is what the configuration says of the person.
func (p *Person) profile() Profile {
	return Profile{
		ID: store.FoldLogin(p.Name), Username: p.Name, Email: p.Email, Limited: p.Limited, Scopes: p.Scopes,
	}
}

func (d *Directory) source(name string) Source {
	for _, s := range d.sources {
		if s.Name() == name {
			return s
		}
	}
	return nil
}

// find answers what is known of a person from elsewhere now. It is nil for somebody whose source tells only when the
// person signs in. known says whether the person is still there, as far as that is known.
func (d *Directory) find(source, external string) (profile *Profile, known bool) {
	if source == configSource {
		if p := d.logins[external]; p != nil && store.FoldLogin(p.Name) == external {
			found := p.profile()
			return &found, true
		}
		return nil, false
	}
	s := d.source(source)
	if f, ok := s.(Finder); ok {
		found, ok := f.Find(external)
		if !ok || found.ID != external {
			return nil, false
		}
		return &found, true
	}
	return nil, s != nil
}

// Knows tells whether a person is still where it comes from. It reads memory only. Of people whose source tells only
// when they sign in, it tells whether the source is still there. Each request in the name of such a person asks it.
func (d *Directory) Knows(u *store.User) bool {
	switch u.Source {
	case "":
		return true
	case configSource:
		p := d.logins[u.External]
		return p != nil && store.FoldLogin(p.Name) == u.External
	}
	s := d.source(u.Source)
	if f, ok := s.(Finder); ok {
		found, ok := f.Find(u.External)
		return ok && found.ID == u.External
	}
	return s != nil
}

// UserKnown tells whether a person is still where it comes from: an account of the issuer, a person of the
// configuration, or one of a source. It reads memory only.
func (i *Issuer) UserKnown(u *store.User) bool { return i.people.Knows(u) }

// errNobody says that there is no such person, or none who may do anything now.
var errNobody = errors.New("there is no such person, or it is disabled")

// personOf returns the person with that ID as it is now: enabled, known to its source, with what the configuration says
// of it. The error is [errNobody], or that of the store.
func (i *Issuer) personOf(_ context.Context, r *store.Records, id string) (*store.User, error) {
	u, err := r.User(id)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, errNobody
	case err != nil:
		return nil, err
	case u.Disabled:
		return nil, errNobody
	}
	if u.Source == "" {
		return u, nil
	}
	profile, known := i.people.find(u.Source, u.External)
	if !known {
		return nil, errNobody
	}
	if profile != nil {
		profile.copyTo(u)
	}
	return u, nil
}

// copyTo writes what is known of a person into its record, and tells whether that changes it.
func (p *Profile) copyTo(u *store.User) (changed bool) {
	scopes := p.Scopes
	if !p.Limited {
		scopes = nil
	}
	changed = u.Name != p.Username || u.Email != p.Email || u.DisplayName != p.DisplayName ||
		u.Limited != p.Limited || !slices.Equal(u.Scopes, scopes)
	u.Name, u.Email, u.DisplayName, u.Limited, u.Scopes = p.Username, p.Email, p.DisplayName, p.Limited, scopes
	return changed
}

// materialise reads the record of a person from elsewhere, or makes one that has yet to be written, and brings it up to
// date.
func materialise(r *store.Records, source string, p Profile) (u *store.User, changed bool, err error) {
	u, err = r.UserBySource(source, p.ID)
	switch {
	case errors.Is(err, store.ErrNotFound):
		u = &store.User{ID: store.NewID(r.Now()), Source: source, External: p.ID, CreatedAt: r.Now()}
	case err != nil:
		return nil, false, err
	}
	created := u.Name == ""
	return u, p.copyTo(u) || created, nil
}

// impostor tells whether a source gives somebody the name of a person who comes first at sign-in: upstreams know people
// by their names.
func (i *Issuer) impostor(r *store.Records, source string, p Profile) (bool, error) {
	if source == configSource {
		return false, nil
	}
	if i.people.logins[store.FoldLogin(p.Username)] != nil {
		return true, nil
	}
	switch _, err := r.UserByLogin(p.Username); {
	case err == nil:
		return true, nil
	case !errors.Is(err, store.ErrNotFound):
		return false, err
	}
	for _, s := range i.people.sources {
		if s.Name() == source {
			break
		}
		if f, ok := s.(Finder); ok {
			if _, found := f.Find(p.Username); found {
				return true, nil
			}
		}
	}
	return false, nil
}
