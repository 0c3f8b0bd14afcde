package issuer

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/oauth2-passport/caddy-passport/issuer/pages"
	"github.com/oauth2-passport/caddy-passport/store"
)

// The answers to the consent page and the device page.
const (
	decisionApprove = "approve"
	decisionDeny    = "deny"
)

// consentOf is what the person has allowed the client before; nil when nothing.
func (e *endpoints) consentOf(ctx context.Context, q *authorization) (*store.Consent, error) {
	var consent *store.Consent
	err := e.db.View(ctx, func(r *store.Records) (err error) {
		consent, err = r.Consent(q.UserID, q.ClientID)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	return consent, err
}

// covered tells whether a request needs no consent: the client is the operator's own, or the person has allowed it all
// before. Neither helps a client that anybody could pretend to be (RFC 8252 §8.6).
func (e *endpoints) covered(q *authorization, before *store.Consent) bool {
	if unassured(q.client, q.RedirectURI) {
		return false
	}
	if q.client.FirstParty {
		return true
	}
	return before != nil && !slices.ContainsFunc(q.Scopes, func(name string) bool { return !e.allowed(before, name) })
}

// allowed tells whether a consent has a scope, or one that includes it.
func (e *endpoints) allowed(before *store.Consent, name string) bool {
	return before != nil && slices.ContainsFunc(before.Scopes, func(has string) bool { return e.ScopeIncludes(has, name) })
}

// askConsent keeps the request and shows the person who asks for what. The answer names the request, which is good once
// and in this session only.
func (e *endpoints) askConsent(
	w http.ResponseWriter, r *http.Request, q *authorization, v *visitor, before *store.Consent,
) error {
	q.ID = rand.Text()
	err := e.db.Update(r.Context(), func(records *store.Records) error {
		return records.PutRequest(&q.AuthorizationRequest)
	})
	if err != nil {
		return err
	}
	app, err := e.appOf(r.Context(), q.client)
	if err != nil {
		return err
	}
	goal := destinationOf(q.RedirectURI)
	e.keepXSRF(w, r, v)
	e.pages.Render(w, r, http.StatusOK, pages.Consent{
		Prefix: e.prefix, CSRF: v.csrf(), RequestID: q.ID, Username: v.user.Name, DisplayName: v.user.DisplayName,
		Client: app, RedirectHost: goal.shown, LocalOnly: goal.local, Scopes: e.inWords(q.Scopes, before),
	})
	return nil
}

// appOf is a client as people see it.
func (e *endpoints) appOf(ctx context.Context, c *store.Client) (pages.App, error) {
	app := pages.App{ID: c.ID, Name: c.Name, FirstParty: c.FirstParty}
	if c.UserID == "" {
		return app, nil
	}
	err := e.db.View(ctx, func(r *store.Records) error {
		owner, err := r.User(c.UserID)
		if err == nil {
			app.Owner = owner.Name
		}
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return app, nil
	}
	return app, err
}

// inWords describes scopes. New ones are those that a consent has not.
func (e *endpoints) inWords(names []string, before *store.Consent) []pages.Scope {
	known := e.scopes.load().list
	list := make([]pages.Scope, 0, len(names))
	for _, name := range names {
		scope := pages.Scope{Name: name, New: !e.allowed(before, name)}
		at := slices.IndexFunc(known, func(s Scope) bool { return s.Name == name })
		if at >= 0 && known[at].Description != name {
			scope.Description = known[at].Description
		}
		list = append(list, scope)
	}
	return list
}

// authorizeDelete answers DELETE /authorize, by which the person refuses.
func (e *endpoints) authorizeDelete(w http.ResponseWriter, r *http.Request) {
	f, fault := parseForm(r.URL.RawQuery)
	if fault == nil && len(r.Header["Content-Type"]) > 0 {
		f, fault = readForm(w, r)
	}
	if fault != nil {
		e.refusePage(w, r, fault)
		return
	}
	e.decideConsent(w, r, f, decisionDeny)
}

// errNoRequest says that there is no request to be answered.
var errNoRequest = &pageError{kind: pages.FaultExpired, status: http.StatusBadRequest}

// decideConsent does what the person has answered to the consent page.
func (e *endpoints) decideConsent(w http.ResponseWriter, r *http.Request, f form, decision string) {
	v, err := e.visitor(r)
	if err != nil {
		e.refusePage(w, r, err)
		return
	}
	if fault := e.checkForm(r, f, v); fault != nil {
		e.refusePage(w, r, fault)
		return
	}
	take := func(records *store.Records) (*store.AuthorizationRequest, error) {
		return takeRequest(records, f.get("request"), v)
	}
	if decision == decisionApprove {
		e.grantAuthorization(w, r, v, take, true)
		return
	}
	var q *store.AuthorizationRequest
	err = e.db.Update(r.Context(), func(records *store.Records) (err error) {
		if q, err = take(records); err != nil {
			return err
		}
		_, err = e.standing(r.Context(), records, q)
		return err
	})
	if err == nil {
		err = errDenied
	} else {
		q = new(store.AuthorizationRequest) // it has not been taken
	}
	e.refuseAuthorization(w, r, q, err)
}

// takeRequest takes a request that waits for this visitor's answer, in this session. Another's stays where it is.
func takeRequest(r *store.Records, id string, v *visitor) (*store.AuthorizationRequest, error) {
	if id == "" {
		return nil, errNoRequest
	}
	q, err := r.TakeRequest(id)
	if errors.Is(err, store.ErrNotFound) || err == nil && (q.SessionID != v.session.ID || q.UserID != v.user.ID) {
		return nil, errNoRequest
	}
	return q, err
}

// standing returns the client of a request that was right a while ago, if it still is: the client may have been changed
// since.
func (e *endpoints) standing(
	ctx context.Context, r *store.Records, q *store.AuthorizationRequest,
) (*store.Client, error) {
	client := e.clients[q.ClientID]
	if client == nil {
		var err error
		client, err = e.clientIn(ctx, r, q.ClientID)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return nil, err
		}
	}
	if client == nil || client.Disabled {
		return nil, &pageError{kind: pages.FaultClient, status: http.StatusBadRequest}
	}
	if _, ok := redirectURI(client, q.RedirectURI); !ok {
		return nil, &pageError{kind: pages.FaultRedirect, status: http.StatusBadRequest}
	}
	return client, nil
}

// grantAuthorization gives a client what it asks for and the person has allowed, in one Update: the request is taken,
// the consent remembered and the code written, or nothing happens.
func (e *endpoints) grantAuthorization(
	w http.ResponseWriter, r *http.Request, v *visitor,
	take func(*store.Records) (*store.AuthorizationRequest, error), remember bool,
) {
	var q store.AuthorizationRequest
	var give func() ([][2]string, error) // once it is on disk
	err := e.issuing(r.Context(), func(records *store.Records) error {
		taken, err := take(records)
		if err != nil {
			return err
		}
		client, err := e.standing(r.Context(), records, taken)
		if err != nil {
			return err
		}
		q = *taken
		if !slices.Contains(client.Grants, responseGrants[q.ResponseType]) {
			return errResponseTypeRefused
		}
		now := &visitor{secret: v.secret}
		if err := e.visit(r.Context(), records, now); errors.Is(err, errNobody) {
			return errLoginRequired // signed out in the meantime
		} else if err != nil {
			return err
		}
		asked := len(q.Scopes)
		q.Scopes = e.scopes.load().stillAllowed(client, now.user, q.Scopes)
		if asked > 0 && len(q.Scopes) == 0 {
			return errScopeOfPerson
		}
		if remember {
			if err := e.rememberConsent(records, q.UserID, q.ClientID, q.Scopes); err != nil {
				return err
			}
		}
		give, err = e.newAnswer(r.Context(), records, &q, client, now)
		return err
	})
	var params [][2]string
	if err == nil {
		params, err = give()
	}
	if err != nil {
		e.refuseAuthorization(w, r, &q, err)
		return
	}
	e.tell(r.Context(), Event{
		Type: AuthorizationGranted, ClientID: q.ClientID, UserID: q.UserID, Grant: responseGrants[q.ResponseType],
		Scope: strings.Join(q.Scopes, " "),
	})
	e.answer(w, r, &q, params)
}

// newAnswer writes what the client is given: a code, or by the implicit grant an access token. What it returns makes
// the parameters of the answer from that, once it is on disk.
func (e *endpoints) newAnswer(
	ctx context.Context, r *store.Records, q *store.AuthorizationRequest, client *store.Client, v *visitor,
) (give func() ([][2]string, error), err error) {
	if q.ResponseType == responseToken {
		gift, err := e.newGift(r, mandate{
			client: client, issuer: q.Issuer, grant: implicit, user: v.user, authenticatedAt: v.session.AuthenticatedAt,
		}, q.Scopes, q.Audience)
		return func() ([][2]string, error) {
			given, err := e.giveAll(ctx, gift)
			if err != nil {
				return nil, err
			}
			return [][2]string{ // RFC 6749 §4.2.2
				{"access_token", given.access}, {"token_type", "Bearer"},
				{"expires_in", strconv.FormatInt(int64(given.lifetime()/time.Second), 10)},
				{"scope", strings.Join(given.token.Scopes, " ")},
			}, nil
		}, err
	}
	code, err := e.newCode(r, store.Code{
		ClientID: q.ClientID, UserID: v.user.ID, Issuer: q.Issuer, RedirectURI: q.RedirectURI,
		RedirectSent: q.RedirectSent, Scopes: q.Scopes, Audience: q.Audience, Challenge: q.Challenge,
		AuthenticatedAt: v.session.AuthenticatedAt,
	})
	return func() ([][2]string, error) { return [][2]string{{"code", code}}, nil }, err
}

// rememberConsent adds scopes to what a person has allowed a client.
func (e *endpoints) rememberConsent(r *store.Records, userID, clientID string, scopes []string) error {
	consent, err := r.Consent(userID, clientID)
	if errors.Is(err, store.ErrNotFound) {
		consent, err = &store.Consent{UserID: userID, ClientID: clientID}, nil
	}
	if err != nil {
		return err
	}
	for _, name := range scopes {
		if !slices.Contains(consent.Scopes, name) {
			consent.Scopes = append(consent.Scopes, name)
		}
	}
	return r.PutConsent(consent)
}
