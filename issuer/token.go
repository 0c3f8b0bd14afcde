package issuer

import (
	"context"
	"errors"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/oauth2-passport/caddy-passport/issuer/verify"
	"github.com/oauth2-passport/caddy-passport/store"
)

// tokenRequest is what is known of a request at the token endpoint.
type tokenRequest struct {
	form   form
	issuer string        // the identifier that holds for the request
	from   string        // the address of the caller
	claims string        // the ID of the client that the caller says it is
	client *store.Client // who it has proven to be
	grant  *grant
	user   *store.User // who has signed in with the request itself

	scopes   []string // what the token will hold, once decided
	audience []string
}

// mandate is what a token of the request stands for, as far as the request itself says it.
func (req *tokenRequest) mandate() mandate {
	return mandate{
		client: req.client, issuer: req.issuer, grant: req.grant, scopes: req.scopes, audience: req.audience,
	}
}

// issued is what a grant gives.
type issued struct {
	access  string
	refresh string // empty: none
	token   *store.Token
}

// lifetime is how long the access token is good, in whole seconds.
func (g *issued) lifetime() time.Duration { return g.token.ExpiresAt.Sub(g.token.IssuedAt) }

// token answers POST /token (RFC 6749 §3.2).
func (e *endpoints) token(w http.ResponseWriter, r *http.Request) {
	req := &tokenRequest{issuer: e.IdentifierFor(r), from: RemoteIP(r)}
	body, err := e.redeem(w, r, req)
	if err != nil {
		e.refuse(w, r, req, err)
		return
	}
	writeJSON(w, body)
}

func (e *endpoints) redeem(w http.ResponseWriter, r *http.Request, req *tokenRequest) ([]byte, error) {
	cred, fault := req.read(w, r)
	if fault != nil {
		return nil, fault
	}
	// A client that changes between its authentication and the grant's Update has to prove itself again. Who changes
	// it at such a pace is the operator, so that a few times are enough.
	for range 3 {
		answer, err := e.attempt(r.Context(), req, cred)
		if !errors.Is(err, errClientChanged) {
			return answer, err
		}
	}
	return nil, errUnavailable
}

// read reads the form of a request, and how its client proves itself.
func (req *tokenRequest) read(w http.ResponseWriter, r *http.Request) (cred credentials, fault *Error) {
	if req.issuer == "" {
		return cred, errHost
	}
	if req.form, fault = readForm(w, r); fault != nil {
		return cred, fault
	}
	cred, fault = readCredentials(r, req.form)
	req.claims = cred.id
	return cred, fault
}

// attempt authenticates the client, decides on the grant, and lets that do its one Update.
func (e *endpoints) attempt(ctx context.Context, req *tokenRequest, cred credentials) ([]byte, error) {
	client, err := e.authenticate(ctx, cred)
	if err != nil {
		return nil, err
	}
	req.client = client
	grantType := req.form.get("grant_type")
	if grantType == "" {
		return nil, errNoGrant
	}
	req.grant = e.grantOf(grantType)
	switch {
	case req.grant == nil:
		return nil, errGrantUnknown.about("The grant type ", grantType, " is not supported.")
	case !req.grant.mayUse(client):
		return nil, errGrantRefused.about("The client may not use the grant ", req.grant.name, ".")
	}
	if req.audience, err = e.audience(req); err != nil {
		return nil, err
	}
	return e.lib.token(ctx, req)
}

// refuse answers with a fault, and tells who looks after the issuer of it.
func (e *endpoints) refuse(w http.ResponseWriter, r *http.Request, req *tokenRequest, err error) {
	event := Event{Type: TokenRefused, ClientID: req.claims}
	if req.grant != nil {
		event.Grant = req.grant.name
	}
	fault := e.fault(err, "token", event.ClientID)
	event.Error = fault.Code
	e.tell(r.Context(), event)
	writeError(w, r, fault)
}

// fault turns what went wrong into what the caller reads. What is not the caller's fault is logged, and answered with
// 503: it may be over soon, and is nobody's business.
func (i *Issuer) fault(err error, endpoint, clientID string) *Error {
	if fault, ok := errors.AsType[*Error](err); ok {
		return fault
	}
	if wait, ok := errors.AsType[*tooManyError](err); ok {
		return errTooMany.after(wait.RetryAfter)
	}
	switch {
	case errors.Is(err, context.Canceled):
		i.log.Debug("the caller is gone", zap.String("endpoint", endpoint))
		return errUnavailable
	case errors.Is(err, verify.ErrOutOfSight): // which is told of where it begins
		return errUnavailable
	}
	i.log.Error("a request could not be answered", zap.String("endpoint", endpoint),
		zap.String("client_id", clientID), zap.Error(err))
	return errUnavailable
}
