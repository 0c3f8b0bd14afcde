package store

import "time"

// Revocation says that tokens are good no more. It is kept as a record, so that it outlives a restart and reaches other
// nodes, and in the [Revocations] in memory, which the gateway asks on each request.
type Revocation struct {
	Kind   RevocationKind `json:"kind"`
	ID     string         `json:"id"`
	Before time.Time      `json:"before,omitzero"` // tokens issued until then; zero: all
	Until  time.Time      `json:"until"`           // forget it then
}

// RevocationKind says what a [Revocation] is about.
type RevocationKind string

// What can be revoked. A revocation of a token lasts until the token has expired. Of a client, a user or a key the
// record itself tells (it is gone, or disabled): their revocations only reach those who have seen it before, who look
// again within [RecheckAfter].
const (
	RevokedToken  RevocationKind = "token" // by its ID, or that of its family, or of a session
	RevokedClient RevocationKind = "client"
	RevokedUser   RevocationKind = "user"
	RevokedKey    RevocationKind = "key"
	KeysChanged   RevocationKind = "keys"         // nothing is revoked, but there are other keys now
	UserChanged   RevocationKind = "user-changed" // nothing is revoked, but a person has another name or other scopes
)

// RecheckAfter is the longest that anybody may rely on what it has read of a client, a user or a key without reading it
// again. Revocations of those are kept for longer than it.
const RecheckAfter = time.Hour

const keepRevocation = 2 * RecheckAfter

// revoke writes a revocation and remembers to tell the set in memory after the commit.
func (r *Records) revoke(v Revocation) error {
	if v.Until.IsZero() {
		v.Until = r.now.Add(keepRevocation)
		if v.Kind != RevokedKey { // who has a key that leaked may date tokens as he likes
			v.Before = r.now
		}
	}
	r.revoked = append(r.revoked, v)
	return r.put(r.key(kindRevocation, NewID(r.now)), v, v.Until)
}

// Revocations calls fn with each revocation that is in force, in the order in which they were made.
func (r *Records) Revocations(fn func(Revocation) error) error {
	return scan(r, r.list(kindRevocation), "", func(v Revocation) error {
		if !v.Until.After(r.now) {
			return nil
		}
		return fn(v)
	})
}

// TokenRef is what a revocation may hit: who a token is. What is empty is hit by none.
type TokenRef struct {
	TokenID, ClientID, UserID, KeyID string
	FamilyID                         string // see [Family]
	IssuedAt                         time.Time
}

// merge joins two revocations of one thing to one that hits what either hits.
func (v Revocation) merge(other Revocation) Revocation {
	if v.Before.IsZero() || other.Before.IsZero() {
		v.Before = time.Time{}
	} else if other.Before.After(v.Before) {
		v.Before = other.Before
	}
	if other.Until.After(v.Until) {
		v.Until = other.Until
	}
	return v
}

func (v Revocation) hits(t TokenRef) bool {
	return v.Before.IsZero() || !t.IssuedAt.After(v.Before)
}

// revokedThings are the revocations of all but tokens. There are few, and every request asks for the same ones, so they
// are never changed but replaced: who reads needs no lock.
type revokedThings map[revocationKey]Revocation

type revocationKey struct {
	kind RevocationKind
	id   string
}

func (m revokedThings) hit(kind RevocationKind, id string, t TokenRef) bool {
	if id == "" {
		return false
	}
	v, ok := m[revocationKey{kind, id}]
	return ok && v.hits(t)
}

// add adds v to a map that nobody reads yet.
func (m revokedThings) add(v Revocation) {
	key := revocationKey{v.Kind, v.ID}
	if old, ok := m[key]; ok {
		v = v.merge(old)
	}
	m[key] = v
}
