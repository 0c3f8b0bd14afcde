package store

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"math"
	"time"
)

// Family is all that a client has got by one authorization of a person: the refresh tokens that follow each other, and
// the access tokens. It ends as a whole. Access tokens name it in the claim `grant_id`.
type Family struct {
	ID              string    `json:"id"`
	ClientID        string    `json:"client_id"`
	UserID          string    `json:"user_id"`
	Issuer          string    `json:"issuer"`
	Grant           string    `json:"grant"` // the name of the grant that began it
	Scopes          []string  `json:"scopes,omitempty"`
	Audience        []string  `json:"audience,omitempty"`
	AuthenticatedAt time.Time `json:"authenticated_at,omitzero"`
	CreatedAt       time.Time `json:"created_at"`
	UsedAt          time.Time `json:"used_at"`
	AccessUntil     time.Time `json:"access_until"` // when its last access token is over
	ExpiresAt       time.Time `json:"expires_at"`   // when it is over, however often it is refreshed
	RevokedAt       time.Time `json:"revoked_at,omitzero"`

	access []string // its access tokens that are good, see [Family.Gives]
	tokens rotation
}

// rotation is where a family is with its refresh tokens.
type rotation struct {
	name      string    // the hash of what its tokens name it by; empty where they do not
	current   string    // the hash of the one that has not been used
	until     time.Time // when that one is over
	previous  string    // the hash of the one before
	successor []byte    // the current one, sealed by the one before
	rotatedAt time.Time // when the one before was used
}

// keptFamily is a family as it is kept. What it knows of its refresh tokens is nobody else's business. Times are
// nanoseconds since 1970 (0: none): each refresh reads and writes all of them, and text would cost more than the rest.
type keptFamily struct {
	ID              string   `json:"id"`
	ClientID        string   `json:"client_id"`
	UserID          string   `json:"user_id"`
	Issuer          string   `json:"issuer,omitempty"`
	Grant           string   `json:"grant,omitempty"`
	Scopes          []string `json:"scopes,omitempty"`
	Audience        []string `json:"audience,omitempty"`
	AuthenticatedAt int64    `json:"authenticated_at,omitempty"`
	CreatedAt       int64    `json:"created_at,omitempty"`
	UsedAt          int64    `json:"used_at,omitempty"`
	AccessUntil     int64    `json:"access_until,omitempty"`
	ExpiresAt       int64    `json:"expires_at,omitempty"`
	RevokedAt       int64    `json:"revoked_at,omitempty"`

	Access []string `json:"access,omitempty"`

	Name      string `json:"name,omitempty"`
	Current   string `json:"current,omitempty"`
	Until     int64  `json:"until,omitempty"`
	Previous  string `json:"previous,omitempty"`
	Successor []byte `json:"successor,omitempty"`
	RotatedAt int64  `json:"rotated_at,omitempty"`
}

func (f *Family) kept() *keptFamily {
	return &keptFamily{
		ID: f.ID, ClientID: f.ClientID, UserID: f.UserID, Issuer: f.Issuer, Grant: f.Grant, Scopes: f.Scopes,
		Audience: f.Audience, AuthenticatedAt: nanoseconds(f.AuthenticatedAt), CreatedAt: nanoseconds(f.CreatedAt),
		UsedAt: nanoseconds(f.UsedAt), AccessUntil: nanoseconds(f.AccessUntil), ExpiresAt: nanoseconds(f.ExpiresAt),
		RevokedAt: nanoseconds(f.RevokedAt), Access: f.access, Name: f.tokens.name,
		Current: f.tokens.current, Until: nanoseconds(f.tokens.until),
		Previous: f.tokens.previous, Successor: f.tokens.successor, RotatedAt: nanoseconds(f.tokens.rotatedAt),
	}
}

func (k *keptFamily) family() *Family {
	return &Family{
		ID: k.ID, ClientID: k.ClientID, UserID: k.UserID, Issuer: k.Issuer, Grant: k.Grant, Scopes: k.Scopes,
		Audience: k.Audience, AuthenticatedAt: timeAt(k.AuthenticatedAt), CreatedAt: timeAt(k.CreatedAt),
		UsedAt: timeAt(k.UsedAt), AccessUntil: timeAt(k.AccessUntil), ExpiresAt: timeAt(k.ExpiresAt),
		RevokedAt: timeAt(k.RevokedAt), access: k.Access,
		tokens: rotation{
			name: k.Name, current: k.Current, until: timeAt(k.Until), previous: k.Previous, successor: k.Successor,
			rotatedAt: timeAt(k.RotatedAt),
		},
	}
}

// nanoseconds is a time as a number, the zero time as 0. What is centuries away is as far as can be.
func nanoseconds(t time.Time) int64 {
	const centuries = math.MaxInt64/int64(time.Second) - 1
	switch seconds := t.Unix(); {
	case t.IsZero():
		return 0
	case seconds > centuries:
		return math.MaxInt64
	case seconds < -centuries:
		return math.MinInt64
	}
	return t.UnixNano()
}

// timeAt is the inverse of nanoseconds.
func timeAt(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}

// refreshToken is one refresh token of a family that has no name in it, found by its hash. It never changes: the family
// knows what became of it.
type refreshToken struct {
	FamilyID  string `json:"family_id"`
	ExpiresAt int64  `json:"expires_at"` // nanoseconds since 1970
}

// RotateOutcome says what has come of a refresh token that was handed in.
type RotateOutcome int

// What can come of a refresh token.
const (
	Rotated  RotateOutcome = iota // it is used now, and has a successor
	Repeated                      // it was used a moment ago: the same successor again
	Reused                        // it was used before: its family is revoked
)

// maxEnded is how many families one transaction ends, so that it is quick and never too large.
const maxEnded = 250

// maxFamilies is how many families a client may have in one person's name, and some more: the oldest make room now and
// then, for to count them costs more than all else.
const maxFamilies = 100

// PutFamily begins a family. refresh is its first refresh token, good for idle; empty: it has none.
func (r *Records) PutFamily(f *Family, refresh string, idle time.Duration) error {
	if !usable(f.ID) || !usable(f.ClientID) || !usable(f.UserID) {
		return errBadID
	}
	f.CreatedAt, f.UsedAt = r.now, r.now
	if last := len(f.ID) - 1; f.ID[last] == '0' && f.ID[max(last-1, 0)]%4 == 0 { // one in 64 that [NewID] makes
		if err := r.crowdOut(f); err != nil {
			return err
		}
	}
	ttl, err := r.ttl(f.ExpiresAt)
	if err != nil {
		return err
	}
	if err := r.tx.Put(r.key(kindFamilyByUser, f.UserID, f.ClientID, f.ID), nil, ttl); err != nil {
		return err
	}
	if refresh == "" {
		return r.putFamily(f, f.ExpiresAt)
	}
	if err := r.putRefresh(f, refresh, idle); err != nil {
		return err
	}
	return r.putFamily(f, f.tokens.until)
}

// putRefresh makes a refresh token the family's current one.
func (r *Records) putRefresh(f *Family, refresh string, idle time.Duration) error {
	f.tokens.current, f.tokens.until = HashSecret(refresh), earlier(r.now.Add(idle), f.ExpiresAt)
	if name, named := nameIn(refresh); named {
		if f.tokens.name == "" { // it is the same for good
			f.tokens.name = HashSecret(name)
		}
		return nil
	}
	return r.put(r.key(kindRefresh, f.tokens.current),
		&refreshToken{FamilyID: f.ID, ExpiresAt: nanoseconds(f.tokens.until)}, f.tokens.until)
}

// putFamily keeps a family as long as it has a token that is good.
func (r *Records) putFamily(f *Family, until time.Time) error {
	if f.AccessUntil.After(until) {
		until = f.AccessUntil
	}
	return r.put(r.key(kindFamily, f.ID), f.kept(), until)
}

// crowdOut makes room where a client has too many families in a person's name. Most have few, which the index alone
// tells: it may know some that are over, but none too few.
func (r *Records) crowdOut(f *Family) error {
	known := 0
	prefix := r.list(kindFamilyByUser, f.UserID, f.ClientID)
	err := r.tx.Scan(prefix, nil, func(_, _ []byte) error {
		known++
		return nil
	})
	if err != nil || known < maxFamilies {
		return err
	}
	var others []Family
	err = r.familiesOf(prefix, func(f Family) error {
		if others = append(others, f); len(others) == maxFamilies+maxEnded {
			return ErrStop // the next time there are fewer
		}
		return nil
	})
	if err != nil {
		return err
	}
	for len(others) >= maxFamilies {
		if err := r.RevokeFamily(&others[0]); err != nil {
			return err
		}
		others = others[1:]
	}
	return nil
}

// Family returns the family with that ID, revoked ones included, or [ErrNotFound]. Whether its person may still have it
// is for [User.Stands] to say, with its CreatedAt.
func (r *Records) Family(id string) (*Family, error) {
	var kept keptFamily
	if err := r.get(r.key(kindFamily, id), &kept); err != nil {
		return nil, err
	}
	return kept.family(), nil
}

// FamiliesOfUser calls fn with each family of a person that is not revoked, by client. [ErrStop] ends it.
func (r *Records) FamiliesOfUser(userID string, fn func(Family) error) error {
	return r.familiesOf(r.list(kindFamilyByUser, userID), fn)
}

// FamiliesOfClient is [Records.FamiliesOfUser] for what one client has, the oldest first.
func (r *Records) FamiliesOfClient(userID, clientID string, fn func(Family) error) error {
	return r.familiesOf(r.list(kindFamilyByUser, userID, clientID), fn)
}

func (r *Records) familiesOf(prefix []byte, fn func(Family) error) error {
	return r.tx.Scan(prefix, nil, func(key, _ []byte) error {
		f, err := r.Family(lastPart(key))
		switch {
		case errors.Is(err, ErrNotFound):
			return nil // the record is over, its place in the index not yet
		case err != nil:
			return err
		case !f.RevokedAt.IsZero():
			return nil
		}
		return fn(*f)
	})
}

// RefreshTokenUsed tells whether a refresh token of f has been used, and when f's current one is over.
func (f *Family) RefreshTokenUsed(refresh string) (used bool, until time.Time) {
	return HashSecret(refresh) != f.tokens.current, f.tokens.until
}

func (r *Records) refreshToken(hash string) (*refreshToken, error) {
	var t refreshToken
	if err := r.get(r.key(kindRefresh, hash), &t); err != nil {
		return nil, err
	}
	if !timeAt(t.ExpiresAt).After(r.now) {
		return nil, ErrNotFound
	}
	return &t, nil
}

// Rotate uses a refresh token of f, which [Records.FamilyOfToken] has answered in this transaction and the caller has
// found good: not revoked, its client's, its person standing. It returns the successor, good for idle.
//
// A token that is used again within grace, as long as nobody has used its successor, gets the same one: an answer was
// lost, or two tabs have asked at once. Used again after that it has been stolen: f is revoked, which holds once the
// transaction commits (RFC 9700 §4.14.2).
//
// The caller gives f a later AccessUntil before the call where it issues an access token.
func (r *Records) Rotate(f *Family, refresh string, idle, grace time.Duration) (string, RotateOutcome, error) {
	hash := HashSecret(refresh)
	switch {
	case hash == f.tokens.current:
		next := f.next(refresh)
		f.tokens.previous, f.tokens.successor = hash, seal(refresh, f.ID, unshared(refresh, next))
		f.tokens.rotatedAt, f.UsedAt = r.now, r.now
		if err := r.putRefresh(f, next, idle); err != nil {
			return "", Rotated, err
		}
		return next, Rotated, r.putFamily(f, f.tokens.until)
	case hash != f.tokens.previous || r.now.Sub(f.tokens.rotatedAt) >= grace:
		return "", Reused, r.RevokeFamily(f)
	case !f.tokens.until.After(r.now):
		return "", Repeated, ErrNotFound
	}
	next, err := open(refresh, f.ID, f.tokens.successor)
	if err != nil {
		return "", Repeated, err
	}
	f.UsedAt = r.now
	return shared(refresh, next), Repeated, r.putFamily(f, f.tokens.until)
}

// RevokeFamily ends a family: its refresh tokens and its access tokens. One that is revoked already stays so.
func (r *Records) RevokeFamily(f *Family) error {
	until := f.AccessUntil
	if !until.After(r.now) {
		until = r.now.Add(time.Minute) // there is nothing left to hit but a clock that differs
	}
	revocation := Revocation{Kind: RevokedToken, ID: f.ID, Until: until}
	if !f.RevokedAt.IsZero() {
		// The set in memory has not heard of it where the commit was thought to have failed.
		r.revoked = append(r.revoked, revocation)
		return nil
	}
	f.RevokedAt = r.now
	// Its record stays as long as one of its tokens may be handed in: that is told from a token that nobody knows.
	if err := r.put(r.key(kindFamily, f.ID), f.kept(), later(f.ExpiresAt, until)); err != nil {
		return err
	}
	if err := r.tx.Delete(r.key(kindFamilyByUser, f.UserID, f.ClientID, f.ID)); err != nil {
		return err
	}
	if err := r.indexAccess(f); err != nil {
		return err
	}
	return r.revoke(revocation)
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// sealer is the cipher of a refresh token's successor. Its key comes from the token, which is not kept: who reads the
// database gets no refresh token. A token has 256 random bits, so that a hash makes a key of it, another one than the
// one that it is found by. A token seals once.
func sealer(refresh string) cipher.AEAD {
	key := sha256.Sum256(append([]byte("caddy-passport: successor of a refresh token\x00"), refresh...))
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic(err) // the key has 32 bytes
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err) // AES has blocks of 16 bytes
	}
	return aead
}

func seal(refresh, familyID, successor string) []byte {
	aead := sealer(refresh)
	nonce := make([]byte, aead.NonceSize(), aead.NonceSize()+len(successor)+aead.Overhead())
	if _, err := rand.Read(nonce); err != nil {
		panic(err) // crypto/rand.Read never fails since Go 1.24
	}
	return aead.Seal(nonce, nonce, []byte(successor), []byte(familyID))
}

func open(refresh, familyID string, sealed []byte) (string, error) {
	aead := sealer(refresh)
	if len(sealed) < aead.NonceSize() {
		return "", errors.New("store: a sealed refresh token is damaged")
	}
	successor, err := aead.Open(nil, sealed[:aead.NonceSize()], sealed[aead.NonceSize():], []byte(familyID))
	if err != nil {
		return "", errors.New("store: a sealed refresh token is damaged")
	}
	return string(successor), nil
}
