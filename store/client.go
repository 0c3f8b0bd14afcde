package store

import (
	"errors"
	"hash/maphash"
	"time"
)

// Client is an OAuth client that was registered through the API; those of the config are not in the store.
type Client struct {
	ID                  string        `json:"id"`
	Name                string        `json:"name"`
	SecretHash          string        `json:"secret_hash,omitempty"` // HashSecret; empty for a public client
	Public              bool          `json:"public,omitempty"`
	Grants              []string      `json:"grants,omitempty"`
	Scopes              []string      `json:"scopes,omitempty"` // what it may ask for; empty: all that are not restricted
	RedirectURIs        []string      `json:"redirect_uris,omitempty"`
	FirstParty          bool          `json:"first_party,omitempty"`
	ResourceServer      bool          `json:"resource_server,omitempty"`       // may introspect every token
	AccessTokenLifetime time.Duration `json:"access_token_lifetime,omitempty"` // zero: that of the issuer
	UserID              string        `json:"user_id,omitempty"`               // its owner; empty: the operator
	Disabled            bool          `json:"disabled,omitempty"`
	CreatedAt           time.Time     `json:"created_at"`
	UpdatedAt           time.Time     `json:"updated_at"`

	// TokensNotBefore kills the tokens that were issued until then: it is set when the client is disabled.
	TokensNotBefore time.Time `json:"tokens_not_before,omitzero"`

	version uint64 // of the record that it was read from; zero: of none
}

// clientVersions makes a version of a record.
var clientVersions = maphash.MakeSeed()

// Client returns the client with that ID, or [ErrNotFound].
func (r *Records) Client(id string) (*Client, error) {
	key := r.key(kindClient, id)
	value, err := r.tx.Get(key)
	if err != nil {
		return nil, err
	}
	c := &Client{version: maphash.Bytes(clientVersions, value)}
	if err := decode(key, value, c); err != nil {
		return nil, err
	}
	return c, nil
}

// ClientUnchanged tells whether the record of a client is still what it was when [Records.Client] read c from it. It
// costs less than to read the client again.
func (r *Records) ClientUnchanged(c *Client) (bool, error) {
	value, err := r.tx.Get(r.key(kindClient, c.ID))
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil && maphash.Bytes(clientVersions, value) == c.version, err
}

// PutClient creates or replaces a client. Disabling one ends its tokens; they stay ended when it is enabled again.
func (r *Records) PutClient(c *Client) error {
	if !usable(c.ID) {
		return errBadID
	}
	switch old, err := r.Client(c.ID); {
	case err == nil:
		c.TokensNotBefore = later(c.TokensNotBefore, old.TokensNotBefore)
		if old.UserID != c.UserID {
			if err := r.tx.Delete(r.key(kindClientByUser, old.UserID, c.ID)); err != nil {
				return err
			}
		}
	case !errors.Is(err, ErrNotFound):
		return err
	}
	c.UpdatedAt = r.now
	if c.CreatedAt.IsZero() {
		c.CreatedAt = r.now
	}
	if c.Disabled {
		c.TokensNotBefore = r.now
		if err := r.revoke(Revocation{Kind: RevokedClient, ID: c.ID}); err != nil {
			return err
		}
	}
	if err := r.indexClient(c); err != nil {
		return err
	}
	return r.put(r.key(kindClient, c.ID), c, time.Time{})
}

// indexClient lets a client be found by its owner.
func (r *Records) indexClient(c *Client) error {
	if c.UserID == "" {
		return nil
	}
	return r.tx.Put(r.key(kindClientByUser, c.UserID, c.ID), nil, 0)
}

// DeleteClient removes a client, which ends its tokens. It answers [ErrNotFound] when there is none.
func (r *Records) DeleteClient(id string) error {
	c, err := r.Client(id)
	if err != nil {
		return err
	}
	if err := r.revoke(Revocation{Kind: RevokedClient, ID: id}); err != nil {
		return err
	}
	return errors.Join(r.putGone(kindClient, id), r.markDeleted(c), r.tx.Delete(r.key(kindClient, id)))
}

// markDeleted leaves word in the place of a person's client for as long as its revocation is kept in memory.
func (r *Records) markDeleted(c *Client) error {
	if c.UserID == "" {
		return nil
	}
	until := r.now.Add(keepRevocation)
	return r.put(r.key(kindClientByUser, c.UserID, c.ID), until, until)
}

// ClientsDeleted is how many of a person's clients have been deleted whose revocations are kept in memory.
func (r *Records) ClientsDeleted(userID string) (n int, err error) {
	err = r.tx.Scan(r.list(kindClientByUser, userID), nil, func(key, value []byte) error {
		if len(value) == 0 {
			return nil // it is there
		}
		var until time.Time
		if err := decode(key, value, &until); err != nil {
			return err
		}
		if until.After(r.now) {
			n++
		}
		return nil
	})
	return n, err
}

// Clients calls fn with every client, sorted by ID, after the one named (empty: from the first). [ErrStop] ends it.
func (r *Records) Clients(after string, fn func(Client) error) error {
	return scan(r, r.list(kindClient), after, fn)
}

// ClientsOfUser calls fn with every client that the person has registered, sorted by ID. [ErrStop] ends it.
func (r *Records) ClientsOfUser(userID string, fn func(Client) error) error {
	prefix := r.list(kindClientByUser, userID)
	return r.tx.Scan(prefix, nil, func(key, value []byte) error {
		if len(value) > 0 {
			return nil // see markDeleted
		}
		c, err := r.Client(unescape(string(key[len(prefix):])))
		if err != nil {
			return err
		}
		return fn(*c)
	})
}
