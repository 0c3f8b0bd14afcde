package issuer

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/oauth2-passport/caddy-passport/issuer/verify"
	"github.com/oauth2-passport/caddy-passport/store"
)

// introspect answers POST /introspect (RFC 7662). A client hears about its own tokens, a resource server about all;
// every other token is not active, for whatever reason, and nothing else is said of it (§2.2, §4).
func (e *endpoints) introspect(w http.ResponseWriter, r *http.Request) {
	q, err := e.readTokenQuery(w, r)
	if err == nil && q.client.Public {
		err = errInvalidClient // §2.1: the endpoint asks for authorization, and a public client has none to show
	}
	body := notActive
	if err == nil {
		body, err = e.about(r.Context(), q, e.IdentifierFor(r))
	}
	if err != nil {
		e.refuseQuery(w, r, "introspect", q, err)
		return
	}
	writeJSON(w, body)
}

// about is what a client hears about a token.
func (i *Issuer) about(ctx context.Context, q tokenQuery, identifier string) ([]byte, error) {
	if kind, ok := store.ParseSecret(q.token); ok && kind == store.RefreshToken {
		known, err := i.knownRefreshToken(ctx, q.token)
		if err != nil || known == nil || known.family.Issuer != identifier || !q.mayHear(known.family.ClientID) {
			return notActive, err
		}
		return introspectionOfRefresh(known), nil
	}
	id, err := i.verified(ctx, q.token, identifier)
	if err != nil || id == nil || !q.mayHear(id.ClientID) {
		return notActive, err
	}
	return introspection(id), nil
}

// mayHear tells whether who asks hears about the tokens of that client.
func (q tokenQuery) mayHear(clientID string) bool {
	return clientID == q.client.ID || q.client.ResourceServer
}

var notActive = []byte(`{"active":false}` + "\n")

// introspection is the answer about a good token, RFC 7662 §2.2.
func introspection(id *verify.Identity) []byte {
	b := append(make([]byte, 0, 512), `{"active":true`...)
	if len(id.Scopes) > 0 {
		b = appendScope(b, id.Scopes)
	}
	b = appendMember(b, "client_id", id.ClientID)
	if id.Username != "" {
		b = appendMember(b, "username", id.Username)
	}
	b = appendMember(b, "token_type", "Bearer")
	b = appendNumber(b, "exp", id.ExpiresAt.Unix())
	b = appendNumber(b, "iat", id.IssuedAt.Unix())
	b = appendMember(b, "sub", id.Subject)
	b = appendAudience(b, id.Audience)
	b = appendMember(b, "iss", id.Issuer)
	b = appendMember(b, "jti", id.TokenID)
	return append(b, "}\n"...)
}

// introspectionOfRefresh is the answer about a refresh token that can be used, RFC 7662 §2.2. It has no token_type, for
// nothing but the token endpoint takes it; by token_use, which others have, too, a resource server that asks can tell
// that it is no access token.
func introspectionOfRefresh(known *knownRefresh) []byte {
	f := known.family
	b := append(make([]byte, 0, 512), `{"active":true`...)
	if len(f.Scopes) > 0 {
		b = appendScope(b, f.Scopes)
	}
	b = appendMember(b, "client_id", f.ClientID)
	b = appendMember(b, "username", known.user.Name)
	b = appendMember(b, "token_use", "refresh_token")
	b = appendNumber(b, "exp", known.expires.Unix())
	b = appendNumber(b, "iat", f.UsedAt.Unix())
	b = appendMember(b, "sub", f.UserID)
	b = appendMember(b, "iss", f.Issuer)
	return append(b, "}\n"...)
}

// verified answers who a token of ours stands for, nil when it is not good, or an error when that cannot be found out.
// It asks the verifier, as the gateway does: the two never disagree, and what one has verified the other need not.
func (i *Issuer) verified(ctx context.Context, token, identifier string) (*verify.Identity, error) {
	id, err := i.verifier.Verify(ctx, token, identifier)
	if _, refused := errors.AsType[*verify.Error](err); refused {
		return nil, nil
	}
	return id, err
}

// identify is [Issuer.verified] for a token that one of our hosts has given, whichever: where each host is an issuer of
// its own, they share clients and records, and who wants to revoke a token need not know which one it came from.
func (i *Issuer) identify(ctx context.Context, token string) (*verify.Identity, error) {
	identifier := i.config.Identifier
	if identifier == "" {
		said, _ := unverifiedClaims(token)["iss"].(string)
		identifier = said
	}
	return i.verified(ctx, token, identifier)
}

// unverifiedClaims is what a JWT says of itself; nil when it is none. Nobody may rely on it.
func unverifiedClaims(token string) map[string]any {
	_, rest, _ := strings.Cut(token, ".")
	payload, _, ok := strings.Cut(rest, ".")
	if !ok {
		return nil
	}
	decoded, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil {
		return nil
	}
	var claims map[string]any
	if err := json.Unmarshal(decoded, &claims); err != nil {
		return nil
	}
	return claims
}
