package store

import (
	"crypto/rand"
	"math/bits"
	"strings"
)

// A refresh token names its family: between the prefix and its own 256 random bits are 32 bytes in base62, the same in
// all tokens of the family. The first half is the family's ID; the second is random, and what proves that the name is
// not made up from an ID, which every access token shows. So a token needs no record of its own, however often it is
// refreshed, and any that a family ever had is known as one of its own.
//
// Tokens without a name, of families whose ID has another form and from before there were names, have a record each:
// see refreshToken.

// NewRefreshToken returns a first refresh token for the family, for [Records.PutFamily].
func (f *Family) NewRefreshToken() string {
	id, ok := parseID(f.ID)
	if !ok {
		return NewSecret(RefreshToken)
	}
	name := [32]byte(append(id[:], make([]byte, 16)...))
	if _, err := rand.Read(name[len(id):]); err != nil {
		panic(err) // crypto/rand.Read never fails since Go 1.24
	}
	return newSecret(RefreshToken, string(appendEntropy(nil, name)))
}

// next is a new token of the family that the token refresh is of.
func (f *Family) next(refresh string) string {
	if name, named := nameIn(refresh); named {
		return newSecret(RefreshToken, name)
	}
	return f.NewRefreshToken()
}

// nameIn is the name in a refresh token; false when it has none.
func nameIn(refresh string) (name string, ok bool) {
	rest, ok := strings.CutPrefix(refresh, string(RefreshToken))
	if !ok || len(rest) != 2*entropyLen+checksumLen {
		return "", false
	}
	return rest[:entropyLen], true
}

// unshared is what a token has that the one before does not tell: its own random bits, or all of it where they do not
// have the same name.
func unshared(before, token string) string {
	name, named := nameIn(before)
	other, _ := nameIn(token)
	if !named || name != other {
		return token
	}
	return token[len(RefreshToken)+entropyLen : len(token)-checksumLen]
}

// shared is the inverse of unshared.
func shared(before, rest string) string {
	name, named := nameIn(before)
	if !named || len(rest) != entropyLen {
		return rest
	}
	token := append([]byte(RefreshToken), name...)
	token = append(token, rest...)
	return string(appendChecksum(token, checksum(token)))
}

// familyIn is the ID of the family that a name is of; empty when it can't be one.
func familyIn(name string) string {
	var n [4]uint64 // the most significant first
	for i := range len(name) {
		carry := uint64(strings.IndexByte(base62, name[i]))
		for k := len(n) - 1; k >= 0; k-- {
			high, low := bits.Mul64(n[k], uint64(len(base62)))
			low, over := bits.Add64(low, carry, 0)
			n[k], carry = low, high+over
		}
		if carry != 0 {
			return ""
		}
	}
	var id [16]byte
	for i := range id {
		id[i] = byte(n[i/8] >> (56 - i%8*8))
	}
	return formatID(id)
}

// FamilyOfToken returns the family of a refresh token, revoked ones included, or [ErrNotFound] for a token that is not
// known, or over. It does not tell whether the token has been used: see [Records.Rotate].
func (r *Records) FamilyOfToken(refresh string) (*Family, error) {
	name, named := nameIn(refresh)
	if !named {
		t, err := r.refreshToken(HashSecret(refresh))
		if err != nil {
			return nil, err
		}
		return r.Family(t.FamilyID)
	}
	f, err := r.Family(familyIn(name))
	if err != nil {
		return nil, err
	}
	// When the family's last token is over, all are.
	if !SecretMatches(f.tokens.name, name) || !f.tokens.until.After(r.now) {
		return nil, ErrNotFound
	}
	return f, nil
}
