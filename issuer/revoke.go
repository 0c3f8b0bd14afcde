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
	client, token, err := e.tokenParameter(r)
	if err == nil {
		err = e.revokeFor(r.Context(), client, token)
	}
	if err != nil {
		e.refuseClient(w, r, client, "revoke", err)
		return
	}
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", "0")
	w.WriteHeader(http.StatusOK)
}

// tokenParameter authenticates the client of a request about a token, and returns both.
func (e *endpoints) tokenParameter(r *http.Request) (*store.Client, string, error) {
	f, fault := readForm(r)
	if fault != nil {
		return nil, "", fault
	}
	cred, fault := readCredentials(r, f)
	if fault != nil {
		return nil, "", fault
	}
	client, err := e.authenticate(r.Context(), cred)
	if err != nil {
		return nil, "", err
	}
	token := f.get("token")
	if token == "" {
		return client, "", errNoToken
	}
	return client, token, nil
}

// refuseClient answers with a fault of an endpoint that gives no tokens.
func (e *endpoints) refuseClient(
	w http.ResponseWriter, r *http.Request, client *store.Client, endpoint string, err error,
) {
	var event Event
	if client != nil {
		event.ClientID = client.ID
	}
	fault := e.fault(err, endpoint, event.ClientID)
	if fault.Code == errInvalidClient.Code {
		event.Type, event.Error = ClientRefused, fault.Code
		e.tell(r.Context(), event)
	}
	writeError(w, r, fault)
}

func (i *Issuer) revokeFor(ctx context.Context, client *store.Client, token string) error {
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
