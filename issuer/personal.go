package issuer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/oauth2-passport/caddy-passport/store"
)

// PersonalAccessClient is the client that personal access tokens are said to be of. There is none: who holds such a
// token acts as the person. No client may have this ID.
const PersonalAccessClient = "personal_access"

// personalAccess is the name of the grant in the configuration. It has nothing to do with the token endpoint.
const personalAccess = "personal_access"

// How many personal access tokens a person may have: good ones, and with those that have been revoked before their
// time, which everybody keeps in mind until then.
const (
	maxPersonalTokens = 200
	maxPersonalEver   = 1000
)

// ErrPersonalAccessOff is what [Issuer.CreatePersonalToken] answers where the configuration does without the grant.
var ErrPersonalAccessOff = errors.New("personal access tokens are off: the issuer's grants do without personal_access")

// CreatePersonalToken makes a personal access token (an API key) for a person, and tells the secret this once. Without
// a lifetime it has the configured one, which is also the longest. The scopes are what the person may have; without any
// the token has none, for nobody is given by default what never asks again.
func (i *Issuer) CreatePersonalToken(
	ctx context.Context, userID, name string, scopes []string, lifetime time.Duration,
) (secret string, t *store.Token, err error) {
	if !i.on(personalAccess) {
		return "", nil, ErrPersonalAccessOff
	}
	name = strings.TrimSpace(name)
	if lifetime, err = i.checkPersonal(name, scopes, lifetime); err != nil {
		return "", nil, err
	}
	secret = store.NewSecret(store.PersonalAccessToken)
	err = i.db.Update(ctx, func(r *store.Records) error {
		u, err := i.holder(ctx, r, userID, r.Now())
		if errors.Is(err, errPersonGone) {
			return ErrUnknownUser
		}
		if err != nil {
			return err
		}
		given, err := i.scopesOfPerson(u, scopes)
		if err != nil {
			return err
		}
		if err := roomForPersonal(r, userID); err != nil {
			return err
		}
		now := r.Now().Truncate(time.Second)
		t = &store.Token{
			ID: store.NewID(r.Now()), ClientID: PersonalAccessClient, UserID: userID, Issuer: i.config.Identifier,
			Scopes: given, IssuedAt: now, ExpiresAt: now.Add(lifetime), Grant: personalAccess,
			Personal: true, Name: name, Hash: store.HashSecret(secret),
		}
		if i.config.Identifier != "" {
			t.Audience = []string{i.config.Identifier}
		}
		return r.PutToken(t)
	})
	if err != nil {
		return "", nil, err
	}
	i.tell(ctx, Event{
		Type: TokenIssued, ClientID: t.ClientID, UserID: t.UserID, TokenID: t.ID, Grant: t.Grant,
		Scope: strings.Join(t.Scopes, " "),
	})
	return secret, t, nil
}

// checkPersonal holds a wish for a personal access token against the rules that are the same for everybody.
func (i *Issuer) checkPersonal(name string, scopes []string, lifetime time.Duration) (time.Duration, error) {
	longest := i.config.Lifetimes.PersonalAccessToken
	if lifetime == 0 {
		lifetime = longest
	}
	switch {
	case name == "":
		return 0, &InvalidError{"name", "it is missing"}
	case utf8.RuneCountInString(name) > maxName:
		return 0, &InvalidError{"name", fmt.Sprintf("it has more than %d characters", maxName)}
	case hasControl(name) || !utf8.ValidString(name):
		return 0, &InvalidError{"name", "it has control characters or is not UTF-8"}
	case lifetime < time.Second || lifetime > longest:
		return 0, &InvalidError{"expires_in", fmt.Sprintf("a personal access token lives between a second and %s", longest)}
	case len(scopes) > maxTokenScopes || len(strings.Join(scopes, " ")) > maxTokenScope:
		return 0, &InvalidError{"scopes", fmt.Sprintf("there are more than %d, or than fit into %d bytes", maxTokenScopes,
			maxTokenScope)}
	}
	return lifetime.Truncate(time.Second), nil
}

// scopesOfPerson answers the scopes, each once, or an error where the person may not have one of them.
func (i *Issuer) scopesOfPerson(u *store.User, asked []string) ([]string, error) {
	known := i.scopes.load()
	var given []string
	for _, name := range asked {
		switch {
		case slices.Contains(given, name):
		case name != AnyScope && known.byName[name] == nil:
			return nil, &InvalidError{"scopes", fmt.Sprintf("%q is no scope", name)}
		case !known.personMayHave(u, name):
			return nil, &InvalidError{"scopes", fmt.Sprintf("the user may not have %s", name)}
		default:
			given = append(given, name)
		}
	}
	return given, nil
}

func roomForPersonal(r *store.Records, userID string) error {
	good, all := 0, 0
	err := r.PersonalTokensOfUser(userID, func(t store.Token) error {
		if all++; t.RevokedAt.IsZero() {
			good++
		}
		return nil
	})
	switch {
	case err != nil:
		return err
	case good >= maxPersonalTokens:
		return &InvalidError{"name", fmt.Sprintf("a user has up to %d personal access tokens", maxPersonalTokens)}
	case all >= maxPersonalEver:
		return &InvalidError{"name", fmt.Sprintf("a user has up to %d personal access tokens, those that were revoked "+
			"before their time counted: some have to expire first", maxPersonalEver)}
	}
	return nil
}

// PersonalTokens lists a person's personal access tokens that are good, oldest first. Their Hash is empty.
func (i *Issuer) PersonalTokens(ctx context.Context, userID string) ([]store.Token, error) {
	var list []store.Token
	err := i.db.View(ctx, func(r *store.Records) error {
		list = nil
		return r.PersonalTokensOfUser(userID, func(t store.Token) error {
			if t.Hash = ""; t.RevokedAt.IsZero() {
				list = append(list, t)
			}
			return nil
		})
	})
	return list, err
}

// RevokePersonalToken revokes one of a person's personal access tokens, from the next request on. It answers
// [ErrUnknownToken] for every other ID, also that of another person's token.
func (i *Issuer) RevokePersonalToken(ctx context.Context, userID, id string) error {
	var revoked *store.Token
	err := i.db.Update(ctx, func(r *store.Records) (err error) {
		if revoked, err = r.Token(id); err != nil {
			return err
		}
		if !revoked.Personal || revoked.UserID != userID {
			return store.ErrNotFound
		}
		return r.RevokeToken(id)
	})
	if errors.Is(err, store.ErrNotFound) {
		return ErrUnknownToken
	}
	if err == nil && revoked.RevokedAt.IsZero() {
		i.tell(ctx, Event{
			Type: TokenRevoked, ClientID: revoked.ClientID, UserID: userID, TokenID: id, Grant: revoked.Grant,
		})
	}
	return err
}
