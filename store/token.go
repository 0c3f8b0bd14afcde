package store

import (
	"errors"
	"time"
)

// Token is the record of an access token; the token itself is not kept.
type Token struct {
	ID        string    `json:"id"` // the `jti` of a JWT
	ClientID  string    `json:"client_id"`
	UserID    string    `json:"user_id,omitempty"` // empty: the client acts for itself
	Issuer    string    `json:"issuer,omitempty"`
	Scopes    []string  `json:"scopes,omitempty"`
	Audience  []string  `json:"audience,omitempty"`
	IssuedAt  time.Time `json:"issued_at"`
	ExpiresAt time.Time `json:"expires_at"`
	RevokedAt time.Time `json:"revoked_at,omitzero"`

	KeyID    string `json:"kid,omitempty"`       // of the key that signs it; empty: it is no JWT
	Grant    string `json:"grant,omitempty"`     // the name of the grant that gave it, such as "authorization_code"
	FamilyID string `json:"family_id,omitempty"` // the [Family] that it belongs to; the claim `grant_id` of a JWT

	// Of a personal access token only, which is no JWT but an opaque secret.
	Personal   bool      `json:"personal,omitempty"`
	Name       string    `json:"name,omitempty"` // what its owner calls it
	Hash       string    `json:"hash,omitempty"` // HashSecret
	LastUsedAt time.Time `json:"last_used_at,omitzero"`
}

// Token returns the record of the token with that ID, revoked ones included, or [ErrNotFound].
func (r *Records) Token(id string) (*Token, error) {
	var t Token
	if err := r.get(r.key(kindToken, id), &t); err != nil {
		return nil, err
	}
	if !t.ExpiresAt.After(r.now) {
		return nil, ErrNotFound
	}
	return &t, nil
}

// PutToken records a token until it expires. Its person finds it by its family, see [Family.Gives], or where it has
// none by an index.
func (r *Records) PutToken(t *Token) error {
	if !usable(t.ID) {
		return errBadID
	}
	if err := r.put(r.key(kindToken, t.ID), t, t.ExpiresAt); err != nil {
		return err
	}
	ttl, err := r.ttl(t.ExpiresAt)
	if err != nil {
		return err
	}
	if t.UserID != "" && t.FamilyID == "" {
		if err := r.tx.Put(r.key(kindTokenByUser, t.UserID, t.ID), nil, ttl); err != nil {
			return err
		}
	}
	if t.Personal {
		if t.Hash == "" || t.UserID == "" {
			return errBadID
		}
		if err := r.tx.Put(r.key(kindPersonal, t.Hash), []byte(t.ID), ttl); err != nil {
			return err
		}
		if err := r.tx.Put(r.key(kindPersonalByUser, t.UserID, t.ID), nil, ttl); err != nil {
			return err
		}
	}
	return r.tx.Put(r.key(kindTokenByClient, t.ClientID, t.ID), nil, ttl)
}

// PersonalToken returns the record of the personal access token with that [HashSecret], revoked ones included, or
// [ErrNotFound].
func (r *Records) PersonalToken(hash string) (*Token, error) {
	id, err := r.tx.Get(r.key(kindPersonal, hash))
	if err != nil {
		return nil, err
	}
	return r.Token(string(id))
}

// PersonalTokensOfUser calls fn with each of a person's personal access tokens, revoked ones included, oldest first.
// [ErrStop] ends it.
func (r *Records) PersonalTokensOfUser(userID string, fn func(Token) error) error {
	return r.indexed(r.list(kindPersonalByUser, userID), "", fn)
}

// touchEvery is how exactly it is known when a token was last used: its record is not written at each use.
const touchEvery = time.Minute

// TouchTokens remembers when tokens were used last, by their IDs. Those that are over, revoked, or have been touched
// less than a minute before are left as they are.
func (r *Records) TouchTokens(used map[string]time.Time) error {
	for id, at := range used {
		t, err := r.Token(id)
		switch {
		case errors.Is(err, ErrNotFound):
			continue
		case err != nil:
			return err
		case !t.RevokedAt.IsZero() || at.Sub(t.LastUsedAt) < touchEvery:
			continue
		}
		t.LastUsedAt = at.UTC()
		if err := r.put(r.key(kindToken, id), t, t.ExpiresAt); err != nil {
			return err
		}
	}
	return nil
}

// RevokeToken revokes the token with that ID. One that is revoked already stays so; [ErrNotFound] is answered for one
// that is not known, or over.
func (r *Records) RevokeToken(id string) error {
	t, err := r.Token(id)
	if err != nil {
		return err
	}
	revocation := Revocation{Kind: RevokedToken, ID: id, Until: t.ExpiresAt}
	if !t.RevokedAt.IsZero() {
		// The set in memory has not heard of it where the commit was thought to have failed.
		r.revoked = append(r.revoked, revocation)
		return nil
	}
	t.RevokedAt = r.now
	if err := r.put(r.key(kindToken, id), t, t.ExpiresAt); err != nil {
		return err
	}
	return r.revoke(revocation)
}

// DeleteToken forgets a token's record and its place in the indexes; t is the record as it was read, whole. It does not
// revoke: see [Records.RevokeToken].
func (r *Records) DeleteToken(t *Token) error {
	keys := [][]byte{r.key(kindToken, t.ID), r.key(kindTokenByClient, t.ClientID, t.ID)}
	if t.UserID != "" {
		keys = append(keys, r.key(kindTokenByUser, t.UserID, t.ID))
	}
	if t.Personal {
		keys = append(keys, r.key(kindPersonalByUser, t.UserID, t.ID), r.key(kindPersonal, t.Hash))
	}
	for _, key := range keys {
		if err := r.tx.Delete(key); err != nil {
			return err
		}
	}
	return nil
}

// Tokens calls fn with every token's record, oldest first, after the one named (empty: from the first).
// [ErrStop] ends it.
func (r *Records) Tokens(after string, fn func(Token) error) error {
	return scan(r, r.list(kindToken), after, func(t Token) error {
		if !t.ExpiresAt.After(r.now) {
			return nil
		}
		return fn(t)
	})
}

// TokensOfClient is [Records.Tokens] for one client.
func (r *Records) TokensOfClient(clientID, after string, fn func(Token) error) error {
	return r.indexed(r.list(kindTokenByClient, clientID), after, fn)
}

func (r *Records) indexed(prefix []byte, after string, fn func(Token) error) error {
	return r.tx.Scan(prefix, following(prefix, after), func(key, _ []byte) error {
		return r.ifKnown(unescape(string(key[len(prefix):])), fn)
	})
}

// ifKnown calls fn with the token of that ID unless its record is over, when its place in the index may not be yet.
func (r *Records) ifKnown(id string, fn func(Token) error) error {
	t, err := r.Token(id)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return fn(*t)
}
