package issuer

import (
	"context"
	"errors"

	"github.com/oauth2-passport/caddy-passport/store"
)

// passwordGrant is a client that has been told a person's password (RFC 6749 §4.3). It is off unless the configuration
// names it: RFC 9700 §2.4 forbids it, but old applications of one's own may know nothing else.
var passwordGrant = &grant{
	name:        "password",
	wire:        "password",
	anyScope:    true,
	refreshable: true,
	discouraged: "applications see passwords, and people get used to typing them anywhere: use authorization_code",
	issue:       (*Issuer).issueForPassword,
}

// signInBy answers who has that name and password. Whether the name or the password is wrong it does not tell.
func (i *Issuer) signInBy(ctx context.Context, req *tokenRequest, username, password string) (*store.User, error) {
	by := guesser{address: req.from, through: req.client.ID}
	if !req.client.Public {
		by.client = req.client.ID
	}
	u, err := i.signIn(ctx, username, password, by)
	if errors.Is(err, errWrongLogin) {
		return nil, errPassword
	}
	return u, err
}

// issueForPassword gives tokens to a client whose person has been found by signInBy.
func (i *Issuer) issueForPassword(ctx context.Context, req *tokenRequest) (*issued, error) {
	var g gift
	err := i.issuing(ctx, func(r *store.Records) (err error) {
		if err := i.unchanged(r, req.client); err != nil {
			return err
		}
		m := req.mandate()
		m.authenticatedAt = r.Now()
		if m.user, err = i.holder(ctx, r, req.user.ID, r.Now()); err != nil {
			return err
		}
		if !m.user.NotBefore.Equal(req.user.NotBefore) {
			return errPersonGone // the password was changed, and what was given by it ended, since it was right
		}
		g, err = i.newGift(r, m, req.scopes, req.audience)
		return err
	})
	if err != nil {
		return nil, err
	}
	return i.giveAll(ctx, g)
}
