package issuer

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
)

// newToken is the record of an access token for the request's client, acting for itself.
func (i *Issuer) newToken(now time.Time, req *tokenRequest) *store.Token {
	lifetime := req.client.AccessTokenLifetime
	if lifetime == 0 {
		lifetime = i.config.Lifetimes.AccessToken
	}
	audience := req.audience
	if len(audience) == 0 {
		audience = i.defaultAudience(req)
	}
	issuedAt := now.Truncate(time.Second).UTC() // `iat` and `exp` are whole seconds
	return &store.Token{
		ID:        store.NewID(now),
		ClientID:  req.client.ID,
		Issuer:    req.issuer,
		Scopes:    req.scopes,
		Audience:  audience,
		IssuedAt:  issuedAt,
		ExpiresAt: issuedAt.Add(lifetime.Truncate(time.Second)),
	}
}

// give signs the token of a record that is on disk, and tells of it. When it fails, the record stays behind: nobody has
// the token that belongs to it.
func (i *Issuer) give(ctx context.Context, req *tokenRequest, t *store.Token) (*issued, error) {
	key := i.ring.Current()
	if key == nil {
		return nil, errors.New("there is no key to sign with")
	}
	access, err := key.SignJWT("at+jwt", claims(t))
	if err != nil {
		return nil, err
	}
	i.tell(ctx, Event{
		Type: TokenIssued, ClientID: t.ClientID, UserID: t.UserID, TokenID: t.ID, Grant: req.grant.name,
		Scope: strings.Join(t.Scopes, " "),
	})
	return &issued{access: access, token: t}, nil
}

// claims are those of RFC 9068 §2.2. Without a person `sub` is the client (§2.2, "sub").
func claims(t *store.Token) []byte {
	subject := t.UserID
	if subject == "" {
		subject = t.ClientID
	}
	c := append(make([]byte, 0, 512), '{')
	c = appendMember(c, "iss", t.Issuer)
	c = appendMember(c, "sub", subject)
	c = appendAudience(c, t.Audience)
	c = appendNumber(c, "exp", t.ExpiresAt.Unix())
	c = appendNumber(c, "iat", t.IssuedAt.Unix())
	c = appendMember(c, "jti", t.ID)
	c = appendMember(c, "client_id", t.ClientID)
	if len(t.Scopes) > 0 {
		c = appendScope(c, t.Scopes)
	}
	return append(c, '}')
}

// maxAudience bounds what a token's `aud` holds, in bytes: a token has to fit into a header.
const maxAudience = 1 << 10

// audience is what the token is for, if the request says so: the resources that it asks for (RFC 8707 §2). It is empty
// otherwise; see [Issuer.defaultAudience].
func (i *Issuer) audience(req *tokenRequest) ([]string, error) {
	var audience []string
	length := 0
	for _, resource := range req.form.all("resource") {
		length += len(resource)
		if length > maxAudience {
			return nil, errTarget
		}
		if resource == "" {
			continue
		}
		known, ok := i.resources.find(resource, req.issuer)
		if !ok {
			return nil, errTarget
		}
		if !slices.Contains(audience, known) {
			audience = append(audience, known)
		}
	}
	return audience, nil
}
