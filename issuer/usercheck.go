package issuer

import (
	"errors"
	"fmt"
	"net/mail"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/oauth2-passport/caddy-passport/store"
)

// Bounds of what is kept of a person.
const (
	maxUserName   = 255 // characters
	maxEmail      = 254 // bytes, RFC 5321 §4.5.3.1.3
	maxUserScopes = 200
)

// checkUserName holds a username against the rules: it is text that people can tell from another, and no ID.
func checkUserName(name string) error {
	_, isID := store.IDTime(name)
	switch {
	case name == "":
		return &InvalidError{"username", "it is missing"}
	case utf8.RuneCountInString(name) > maxUserName:
		return &InvalidError{"username", fmt.Sprintf("it has more than %d characters", maxUserName)}
	case strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsGraphic(r) }) || !utf8.ValidString(name):
		return &InvalidError{"username", "it has characters that nobody sees, or is not UTF-8"}
	case strings.Join(strings.Fields(name), " ") != name:
		return &InvalidError{"username", "it has spaces around it, or more than one between its words"}
	case isID:
		return &InvalidError{"username", "it has the form of an ID"}
	}
	return nil
}

func checkDisplayName(name string) error {
	switch {
	case utf8.RuneCountInString(name) > maxUserName:
		return &InvalidError{"name", fmt.Sprintf("it has more than %d characters", maxUserName)}
	case hasControl(name) || !utf8.ValidString(name):
		return &InvalidError{"name", "it has control characters or is not UTF-8"}
	}
	return nil
}

func checkEmail(email string) error {
	if email == "" {
		return nil
	}
	if a, err := mail.ParseAddress(email); err != nil || a.Address != email || len(email) > maxEmail {
		return &InvalidError{"email", "it is no email address"}
	}
	return nil
}

func checkUserScopes(names []string) error {
	if len(names) > maxUserScopes {
		return &InvalidError{"scope", fmt.Sprintf("there are more than %d", maxUserScopes)}
	}
	for _, name := range names {
		if name == AnyScope {
			continue
		}
		if err := checkScopeName(name); err != nil {
			return &InvalidError{"scope", err.Error()}
		}
	}
	return nil
}

// check holds what a source says of a person against the rules.
func (p *Profile) check() error {
	if p.ID == "" || len(p.ID) > maxUserName || !utf8.ValidString(p.ID) {
		return &InvalidError{"id", "it is missing, too long, or not UTF-8"}
	}
	if err := checkUserName(p.Username); err != nil {
		return err
	}
	if err := checkEmail(p.Email); err != nil {
		return err
	}
	if err := checkDisplayName(p.DisplayName); err != nil {
		return err
	}
	return checkUserScopes(p.Scopes)
}

// check holds a person of the configuration against the rules.
func (p *Person) check() error {
	if err := checkUserName(p.Name); err != nil {
		return err
	}
	if err := checkEmail(p.Email); err != nil {
		return err
	}
	if err := checkUserScopes(p.Scopes); err != nil {
		return err
	}
	if p.PasswordHash == "" {
		return errors.New("password_hash is missing")
	}
	if err := CheckPasswordHash(p.PasswordHash); err != nil {
		return fmt.Errorf("password_hash: %w", err)
	}
	return nil
}
