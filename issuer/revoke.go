package issuer

import (
	"context"
	"errors"
	"net/http"

	"github.com/oauth2-passport/caddy-passport/issuer/verify"
	"github.com/oauth2-passport/caddy-passport/store"
)

// revoke answers POST /revoke (RFC 7009). It says 200 to whoever proves to be a client, whatever became of the token:
// one that is not good needs no revoking (§2.2), and one of another client stays good without a word of it (§2.1).
func (e *endpoints) revoke(w http.ResponseWriter, r *http.Request) {
	q, err := e.readTokenQuery(w, r)
	if err == nil {
		err = e.revokeFor(r.Context(), q.client, q.token)
	}
	if err != nil {
		e.refuseQuery(w, r, "revoke", q, err)
		return
	}
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", "0")
	w.WriteHeader(http.StatusOK)
}

// tokenQuery is a request about a token: what revocation and introspection have in common.
type tokenQuery struct {
	claims string        // the ID of the client that the caller says it is
	client *store.Client // who it has proven to be
	token  string
}

// readTokenQuery reads a request about a token and authenticates the client.
func (e *endpoints) readTokenQuery(w http.ResponseWriter, r *http.Request) (q tokenQuery, err error) {
	f, fault := readForm(w, r)
	if fault != nil {
		return q, fault
	}
	cred, fault := readCredentials(r, f)
	q.claims = cred.id
	if fault != nil {
		return q, fault
	}
	if q.client, err = e.authenticate(r.Context(), cred); err != nil {
		return q, err
	}
	if q.token = f.get("token"); q.token == "" {
		return q, errNoToken
	}
	return q, nil
}

// refuseQuery answers a request about a token with a fault, and tells of a client that could not prove who it is: its
// secret was wrong, too many were, or nobody could tell.
func (e *endpoints) refuseQuery(w http.ResponseWriter, r *http.Request, endpoint string, q tokenQuery, err error) {
	fault := e.fault(err, endpoint, q.claims)
	unseen := q.client == nil && (fault.Code == errTooMany.Code || fault.Code == errUnavailable.Code)
	if unseen || fault.Code == errInvalidClient.Code {
		e.tell(r.Context(), Event{Type: ClientRefused, ClientID: q.claims, Error: fault.Code})
	}
	writeError(w, r, fault)
}

func (i *Issuer) revokeFor(ctx context.Context, client *store.Client, token string) error {
	if kind, ok := store.ParseSecret(token); ok {
		if kind == store.RefreshToken {
			return i.revokeRefreshToken(ctx, client.ID, token)
		}
		return nil // a personal access token is its person's to revoke; of the others none is an access token
	}
	id, err := i.identify(ctx, token)
	if err != nil || id == nil || id.ClientID != client.ID {
		return err
	}
	return i.revokeIdentified(ctx, id)
}

// revokeIdentified revokes a token that has been verified. Its record may be missing, where the database has been
// restored from a time before: the token is good without it, and has to be revoked all the same.
func (i *Issuer) revokeIdentified(ctx context.Context, id *verify.Identity) error {
	err := i.db.Update(ctx, func(r *store.Records) error {
		err := r.RevokeToken(id.TokenID)
		if !errors.Is(err, store.ErrNotFound) || !id.ExpiresAt.After(r.Now()) {
			return err
		}
		err = r.PutToken(&store.Token{
			ID: id.TokenID, ClientID: id.ClientID, UserID: id.UserID, Issuer: id.Issuer, Scopes: id.Scopes,
			Audience: id.Audience, IssuedAt: id.IssuedAt, ExpiresAt: id.ExpiresAt,
		})
		if err != nil {
			return err
		}
		return r.RevokeToken(id.TokenID)
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil // it has expired meanwhile
	}
	if err == nil {
		i.tell(ctx, Event{Type: TokenRevoked, ClientID: id.ClientID, UserID: id.UserID, TokenID: id.TokenID})
	}
	return err
}
