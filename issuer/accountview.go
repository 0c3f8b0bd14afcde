package issuer

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/oauth2-passport/caddy-passport/issuer/pages"
	"github.com/oauth2-passport/caddy-passport/store"
)

// fillAccount adds what the account page shows of the visitor.
func (e *endpoints) fillAccount(ctx context.Context, v *visitor, page *pages.Account) error {
	u := v.user
	page.Prefix, page.CSRF = e.prefix, v.csrf()
	page.Username, page.DisplayName, page.Email = u.Name, u.DisplayName, u.Email
	page.PersonalTokens, page.OwnClients = e.on(personalAccess), e.ownClientsOn()
	page.CanChangePassword, page.PasswordLength = u.Source == "", minPassword
	page.AvailableScopes = e.inWords(e.scopesOfUser(u), nil)
	page.TokenLifetimes = lifetimesUpTo(e.config.Lifetimes.PersonalAccessToken)
	done, err := e.turnOf(ctx, turnToSee, u.ID)
	if err != nil {
		return err
	}
	defer done()
	return e.db.View(ctx, func(r *store.Records) error {
		apps, err := e.connectionsOf(r, u)
		if err != nil {
			return err
		}
		page.Apps = nil // an engine may run this more than once
		for _, c := range apps {
			page.Apps = append(page.Apps, pages.App{
				ID: c.client.ID, Name: c.client.Name, Owner: c.owner, FirstParty: c.client.FirstParty,
				Scopes: e.inWords(c.scopes, nil), Since: c.since,
			})
		}
		own, err := ownClientsIn(r, u.ID)
		if err != nil {
			return err
		}
		page.Clients = nil
		for _, c := range own {
			page.Clients = append(page.Clients, pages.OwnClient{
				ID: c.ID, Name: c.Name, RedirectURIs: c.RedirectURIs, Confidential: !c.Public, Disabled: c.Disabled,
				Created: c.CreatedAt,
			})
		}
		page.Tokens = nil
		err = r.PersonalTokensOfUser(u.ID, func(t store.Token) error {
			if t.RevokedAt.IsZero() && u.Stands(madeAt(&t)) {
				page.Tokens = append(page.Tokens, pages.PersonalToken{
					ID: t.ID, Name: t.Name, Scopes: e.inWords(t.Scopes, nil), Created: t.IssuedAt, Expires: t.ExpiresAt,
					LastUsed: t.LastUsedAt,
				})
			}
			return nil
		})
		if err != nil {
			return err
		}
		page.Sessions = nil
		return r.SessionsOfUser(u.ID, func(s store.Session) error {
			if u.Stands(s.CreatedAt) {
				page.Sessions = append(page.Sessions, pages.Session{
					ID: s.ID, Device: browserName(s.UserAgent), IP: s.RemoteIP, Since: s.CreatedAt, Seen: s.SeenAt,
					Current: s.ID == v.session.ID,
				})
			}
			return nil
		})
	})
}

// scopesOfUser lists the scopes that exist and the person may have.
func (i *Issuer) scopesOfUser(u *store.User) []string {
	known := i.scopes.load()
	var names []string
	for _, scope := range known.list {
		if known.personMayHave(u, scope.Name) {
			names = append(names, scope.Name)
		}
	}
	return names
}

// lifetimesUpTo are those that people may choose from for a token; the longest is the last.
func lifetimesUpTo(longest time.Duration) []time.Duration {
	const day = 24 * time.Hour
	var list []time.Duration
	for _, d := range []time.Duration{day, 7 * day, 30 * day, 90 * day, 180 * day, 365 * day} {
		if d < longest {
			list = append(list, d)
		}
	}
	return append(list, longest)
}

func isBlank(s string) bool { return strings.TrimSpace(s) == "" }

// checkTokenName tells whether it is the name for which a personal access token was refused.
func checkTokenName(name string) error {
	if utf8.RuneCountInString(strings.TrimSpace(name)) > maxName || hasControl(name) || !utf8.ValidString(name) {
		return &InvalidError{"name", "it is too long, or has control characters"}
	}
	return nil
}

// appOfForm is the client that a form describes, and what was typed.
func appOfForm(f url.Values) (ownClient, pages.AccountValues) {
	n := ownClient{name: strings.TrimSpace(f.Get("name")), redirectURIs: fieldsOf(f.Get("redirect"))}
	return n, pages.AccountValues{ClientName: f.Get("name"), RedirectURI: f.Get("redirect")}
}

// refuseApp says which field of the form is wrong; other errors stay what they are.
func refuseApp(err error, n ownClient, values pages.AccountValues) error {
	fault := &accountError{status: http.StatusUnprocessableEntity, values: values}
	if _, ok := errors.AsType[*tooManyThingsError](err); ok {
		fault.fault.Kind = pages.ClientTooMany
		return fault
	}
	invalid, ok := errors.AsType[*InvalidError](err)
	switch {
	case !ok:
		return err
	case invalid.Field == "client_name" && n.name == "":
		fault.fault.Kind = pages.ClientNameMissing
	case invalid.Field == "client_name":
		fault.fault.Kind = pages.ClientNameInvalid
	case len(n.redirectURIs) == 0:
		fault.fault.Kind = pages.ClientRedirectNone
	default:
		fault.fault.Kind = pages.ClientRedirect
		bad := func(uri string) bool { return checkRedirectURI(uri) != nil }
		if at := slices.IndexFunc(n.redirectURIs, bad); at >= 0 {
			fault.fault.Value = n.redirectURIs[at]
			if errors.Is(checkRedirectURI(fault.fault.Value), errPlainHTTP) {
				fault.fault.Kind = pages.ClientRedirectHTTP
			}
		}
	}
	return fault
}

// maxPageFields bounds the fields of a form of ours: a scope is a field.
const maxPageFields = 512

// readPageForm reads a form of our own pages. Other than in OAuth, fields come more than once, and have lines.
func readPageForm(w http.ResponseWriter, r *http.Request) (url.Values, *Error) {
	if !isForm(r.Header["Content-Type"]) {
		return nil, errContentType
	}
	body, fault := readBody(w, r)
	if fault != nil {
		return nil, fault
	}
	return parsePageForm(body)
}

func parsePageForm(body string) (url.Values, *Error) {
	if strings.Count(body, "&") >= maxPageFields {
		return nil, errFormMalformed
	}
	f, err := url.ParseQuery(body)
	if err != nil {
		return nil, errFormMalformed
	}
	for name, values := range f {
		if len(values) > 1 && name != "scopes" && name != "scopes[]" {
			return nil, errTwice
		}
		for _, value := range values {
			if len(value) > maxValue {
				return nil, errTooLong
			}
			if !utf8.ValidString(value) || strings.ContainsRune(value, 0) {
				return nil, errCharacters
			}
		}
	}
	return f, nil
}
