package caddymodule

import (
	"errors"
	"fmt"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/oauth2-passport/caddy-passport/issuer"
	"github.com/oauth2-passport/caddy-passport/issuer/pages"
	"github.com/oauth2-passport/caddy-passport/store"
)

// UserSource is a module of the namespace passport.users: where people come from who have no account of the issuer.
type UserSource interface {
	caddy.Module
	issuer.Source
}

// User is a person who is kept in the config.
type User struct {
	// Name is the username. Required.
	Name string `json:"name"`

	// PasswordHash is argon2id as a PHC string, or bcrypt, as `caddy hash-password` makes them. A placeholder {env.*} or
	// {file.*} is replaced. Required.
	PasswordHash string `json:"password_hash"`

	// Email is what the person can sign in with, too. Default: none.
	Email string `json:"email,omitempty"`

	// Scopes are all that the person may have. Default: every scope that is not restricted.
	Scopes []string `json:"scopes,omitempty"`
}

// Brand is what the issuer's pages look like.
type Brand struct {
	// Name stands on top of the pages, up to 100 characters. Default: none.
	Name string `json:"name,omitempty"`

	// Logo is the path of an SVG or PNG file of up to 64 kB. Placeholders {env.*} are replaced. Default: logo.svg or
	// logo.png of the folder of the pages, else none.
	Logo string `json:"logo,omitempty"`

	// Color is #rgb or #rrggbb. Default: blue.
	Color string `json:"color,omitempty"`
}

// provisionPeople replaces placeholders and loads the sources.
func (c *Issuer) provisionPeople(ctx caddy.Context) error {
	c.users = make([]issuer.Person, 0, len(c.Users))
	for i := range c.Users {
		user, err := c.Users[i].provision()
		if err != nil {
			return fmt.Errorf("user %q: %w", c.Users[i].Name, err)
		}
		c.users = append(c.users, user)
	}
	if c.UserSourcesRaw != nil {
		modules, err := ctx.LoadModule(c, "UserSourcesRaw")
		if err != nil {
			return fmt.Errorf("users: %w", err)
		}
		for _, module := range modules.([]any) {
			c.sources = append(c.sources, module.(UserSource))
		}
	}
	var err error
	if c.people, err = issuer.NewDirectory(c.users, c.sources); err != nil {
		return err
	}
	if c.Pages, err = replace(c.Pages); err != nil {
		return fmt.Errorf("pages: %w", err)
	}
	if c.Brand != nil {
		if c.Brand.Logo, err = replace(c.Brand.Logo); err != nil {
			return fmt.Errorf("brand: logo: %w", err)
		}
	}
	return nil
}

// provision replaces placeholders and makes the person's record.
func (u *User) provision() (issuer.Person, error) {
	hash, err := reveal(u.PasswordHash)
	if err != nil {
		return issuer.Person{}, fmt.Errorf("password_hash: %w", err)
	}
	if err := checkPasswordHash(strings.TrimSpace(hash)); err != nil {
		return issuer.Person{}, fmt.Errorf("password_hash: %w", err)
	}
	return u.person(strings.TrimSpace(hash)), nil
}

// person is the user as package issuer has it.
func (u *User) person(hash string) issuer.Person {
	return issuer.Person{
		Name: u.Name, PasswordHash: hash, Email: u.Email, Limited: u.Scopes != nil, Scopes: u.Scopes,
	}
}

// checkPasswordHash says what to do where there is no hash. It repeats nothing of what may be a password.
func checkPasswordHash(hash string) error {
	if err := issuer.CheckPasswordHash(hash); err != nil {
		return fmt.Errorf("%w: %s", err, howToHash)
	}
	return nil
}

const howToHash = "make one by `caddy hash-password --algorithm argon2id`"

// pagesConfig is what the pages look like.
func (c *Issuer) pagesConfig() pages.Config {
	config := pages.Config{Folder: c.Pages}
	if c.Brand != nil {
		config.Brand = pages.Brand(*c.Brand)
	}
	return config
}

// userKnown tells whether a person is still where it comes from, by the config that is in force: also for requests that
// came under an older one and are still running.
func (i *instance) userKnown(u *store.User) bool {
	for next := i.successor.Load(); next != nil; next = i.successor.Load() {
		i = next
	}
	return i.config.people.Knows(u)
}

// errSourceName is the fault of a name that a source cannot have.
var errSourceName = errors.New("the name has other characters than letters, digits, - and _, or more than 64")

// checkSourceName checks the name by which the people of a source are kept.
func checkSourceName(name string) error {
	if checkIssuerName(name) != nil {
		return errSourceName
	}
	return nil
}
