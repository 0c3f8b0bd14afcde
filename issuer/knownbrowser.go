package issuer

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
)

// A browser in which somebody has signed in is known from then on, by a cookie (OWASP's "device cookies"): wrong
// passwords for that person count for the browser alone. So a stranger who guesses all day long keeps waiting whoever
// signs in with a new browser, for a minute at most, and nobody else. The cookie lets nobody in, and who steals one has
// won a few guesses at one account.

// browserCookie holds a secret for each of the last people who have signed in with the browser.
const browserCookie = "passport_browser"

const (
	keepBrowser      = 90 * 24 * time.Hour // from the last time that the person has signed in with it
	maxBrowserPeople = 5
	browserSecretLen = 26 // of [rand.Text]: 128 bits
	secretSeparator  = "."
)

// browserSecrets are those of the browser's cookie.
func (e *endpoints) browserSecrets(r *http.Request) []string {
	var secrets []string
	for secret := range strings.SplitSeq(onlyCookie(r, e.cookieName(r, browserCookie)), secretSeparator) {
		if len(secret) == browserSecretLen && len(secrets) < maxBrowserPeople {
			secrets = append(secrets, secret)
		}
	}
	return secrets
}

// knownBrowser is the browser that one of the secrets belongs to, if it is the person with that login who has signed in
// with it; nil when there is none. What it reads depends on the secrets, and not on who has the login.
func (i *Issuer) knownBrowser(ctx context.Context, secrets []string, login string) (*store.Browser, error) {
	if len(secrets) == 0 {
		return nil, nil
	}
	var known *store.Browser
	err := i.db.View(ctx, func(r *store.Records) error {
		for _, secret := range secrets {
			b, err := r.Browser(store.HashSecret(secret))
			if errors.Is(err, store.ErrNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			switch is, err := i.isLoginOf(ctx, r, b, login); {
			case err != nil:
				return err
			case is:
				known = b
				return nil
			}
		}
		return nil
	})
	return known, err
}

// isLoginOf tells whether a login is that of the person who has signed in with the browser, as of now.
func (i *Issuer) isLoginOf(ctx context.Context, r *store.Records, b *store.Browser, login string) (bool, error) {
	u, err := i.personOf(ctx, r, b.UserID)
	if errors.Is(err, errNobody) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if u.Source == "" && i.people.logins[login] != nil {
		return false, nil // of the config, which comes before the storage
	}
	if u.Source == "" || u.Source == configSource {
		return login == store.FoldLogin(u.Name) || login == store.FoldLogin(u.Email), nil
	}
	// Of another source it is known what was typed, and not which emails are logins: one that it tells of may be somebody
	// else's. And by now the login may be that of somebody who comes before the source.
	if login != b.Login && login != store.FoldLogin(u.Name) || i.people.logins[login] != nil {
		return false, nil
	}
	_, err = r.UserByLogin(login)
	if errors.Is(err, store.ErrNotFound) {
		return true, nil
	}
	return false, err
}

// newKnown is what a browser is known by from now on, while a person signs in with it. The secret is always a new one:
// whoever knew the one from before is a stranger again.
type newKnown struct {
	secret string
	before []string // secrets that the browser has sent
	others []string // those of them that are other people's, and stay
	login  string
}

func (e *endpoints) newKnownBrowser(r *http.Request, login string) *newKnown {
	return &newKnown{secret: rand.Text(), before: e.browserSecrets(r), login: store.FoldLogin(login)}
}

// put writes that the browser is known for the person, and answers the record's ID.
func (n *newKnown) put(r *store.Records, u *store.User) (id string, err error) {
	n.others = nil
	for _, secret := range n.before {
		b, err := r.Browser(store.HashSecret(secret))
		switch {
		case errors.Is(err, store.ErrNotFound):
		case err != nil:
			return "", err
		case b.UserID == u.ID:
			if err := r.ForgetBrowser(u.ID, b.ID); err != nil {
				return "", err
			}
		case len(n.others) < maxBrowserPeople-1:
			n.others = append(n.others, secret)
		}
	}
	id = store.NewID(r.Now())
	return id, r.PutBrowser(&store.Browser{
		ID: id, Hash: store.HashSecret(n.secret), UserID: u.ID, Login: n.login,
		CreatedAt: r.Now(), ExpiresAt: r.Now().Add(keepBrowser),
	})
}

// cookie is the value of the cookie, once that is written.
func (n *newKnown) cookie() string {
	return strings.Join(append([]string{n.secret}, n.others...), secretSeparator)
}
