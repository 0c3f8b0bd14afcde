package issuer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/oauth2-passport/caddy-passport/issuer/keys"
	"github.com/oauth2-passport/caddy-passport/store"
)

// mandate says what an access token stands for: who acts in whose name, and what for.
type mandate struct {
	client   *store.Client
	issuer   string // the identifier
	grant    *grant
	scopes   []string
	audience []string // what was asked for; empty: see [Issuer.defaultAudience]

	key *keys.Key // that signs, once there is a record

	user            *store.User // nil: the client acts for itself, and the rest is empty
	authenticatedAt time.Time   // when the person proved who it is
	familyID        string
}

// newToken is the record of an access token, and chooses the key. The transaction is one of issuing.
func (i *Issuer) newToken(r *store.Records, m *mandate) (*store.Token, error) {
	var err error
	if m.key, err = i.ring.Signing(r); err != nil {
		return nil, err
	}
	lifetime := m.client.AccessTokenLifetime
	if lifetime == 0 {
		lifetime = i.config.Lifetimes.AccessToken
	}
	audience := m.audience
	if len(audience) == 0 {
		audience = i.defaultAudience(m.issuer, m.scopes)
	}
	issuedAt := r.Now().Truncate(time.Second).UTC() // `iat` and `exp` are whole seconds
	t := &store.Token{
		ID:        store.NewID(r.Now()),
		KeyID:     m.key.ID(),
		ClientID:  m.client.ID,
		Issuer:    m.issuer,
		Scopes:    m.scopes,
		Audience:  audience,
		IssuedAt:  issuedAt,
		ExpiresAt: issuedAt.Add(lifetime.Truncate(time.Second)),
		Grant:     m.grant.name,
		FamilyID:  m.familyID,
	}
	if m.user != nil {
		t.UserID = m.user.ID
	}
	return t, nil
}

// issuing runs fn in an Update that makes a token, again where a key was retired that it would have been signed with.
func (i *Issuer) issuing(ctx context.Context, fn func(*store.Records) error) error {
	for tries := 0; ; tries++ {
		err := i.db.Update(ctx, fn)
		stale, ok := errors.AsType[*keys.StaleError](err)
		if !ok {
			return err
		}
		if tries == 3 {
			return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
		}
		if err := i.ring.Renew(ctx, stale); err != nil {
			return err
		}
	}
}

// give signs the token of a record that is on disk, and tells of it. When it fails, the record stays behind: nobody has
// the token that belongs to it.
func (i *Issuer) give(ctx context.Context, m mandate, t *store.Token) (*issued, error) {
	access, err := m.key.SignJWT("at+jwt", claims(m, t))
	if err != nil {
		return nil, err
	}
	i.tell(ctx, Event{
		Type: TokenIssued, ClientID: t.ClientID, UserID: t.UserID, TokenID: t.ID, FamilyID: t.FamilyID, Grant: t.Grant,
		Scope: strings.Join(t.Scopes, " "),
	})
	return &issued{access: access, token: t}, nil
}

// claims are those of RFC 9068 §2.2. Without a person `sub` is the client (§2.2, "sub"). `grant_id` names all that came
// of one authorization, so that it can be revoked as a whole.
func claims(m mandate, t *store.Token) []byte {
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
	if m.user != nil {
		c = appendMember(c, "preferred_username", m.user.Name)
		c = appendNumber(c, "auth_time", m.authenticatedAt.Unix())
		c = appendMember(c, "grant_id", t.FamilyID)
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
