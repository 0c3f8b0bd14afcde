package store

import "time"

// Code is what an authorization code stands for. It is found by the hash of the code.
type Code struct {
	ID              string    `json:"id"`
	ClientID        string    `json:"client_id"`
	UserID          string    `json:"user_id"`
	Issuer          string    `json:"issuer"`
	RedirectURI     string    `json:"redirect_uri"`
	RedirectSent    bool      `json:"redirect_sent,omitempty"` // so that the token request has to repeat it
	Scopes          []string  `json:"scopes,omitempty"`
	Audience        []string  `json:"audience,omitempty"`
	Challenge       string    `json:"challenge,omitempty"` // `code_challenge` by S256; empty: there was none
	AuthenticatedAt time.Time `json:"authenticated_at"`    // when the person proved who it is
	IssuedAt        time.Time `json:"issued_at"`
	ExpiresAt       time.Time `json:"expires_at"`

	UsedAt   time.Time `json:"used_at,omitzero"`
	FamilyID string    `json:"family_id,omitempty"` // what it gave, once it is used
}

// rememberCode is how long a code is remembered after its end, for that its second use ends what the first gave (RFC
// 6749 §4.1.2).
const rememberCode = 24 * time.Hour

// PutCode keeps a code by its [HashSecret].
func (r *Records) PutCode(hash string, c *Code) error {
	if !usable(hash) || !usable(c.ClientID) || !usable(c.UserID) {
		return errBadID
	}
	return r.put(r.key(kindCode, hash), c, c.ExpiresAt.Add(rememberCode))
}

// Code returns the code with that [HashSecret], used and expired ones included as long as they are remembered, or
// [ErrNotFound]. The caller looks at UsedAt and ExpiresAt.
func (r *Records) Code(hash string) (*Code, error) {
	var c Code
	if err := r.get(r.key(kindCode, hash), &c); err != nil {
		return nil, err
	}
	return &c, nil
}

// UseCode marks a code as used, and remembers which family it gave.
func (r *Records) UseCode(hash string, c *Code, familyID string) error {
	c.UsedAt, c.FamilyID = r.now, familyID
	return r.PutCode(hash, c)
}
