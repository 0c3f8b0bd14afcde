package store

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"hash/crc32"
	"math/big"
	"strings"
)

// SecretKind says what an opaque secret is; it is also the prefix that people and secret scanners know it by.
type SecretKind string

// The opaque secrets that an issuer gives out.
const (
	PersonalAccessToken SecretKind = "passport_pat_"
	RefreshToken        SecretKind = "passport_rt_"
	AuthorizationCode   SecretKind = "passport_ac_"
	ClientSecret        SecretKind = "passport_secret_"
)

const (
	base62      = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	entropyLen  = 43 // characters of base62 that 256 bits take
	checksumLen = 6  // characters of base62 that 32 bits take
)

// NewSecret returns a new opaque secret: kind, 256 random bits in base62 and a CRC-32 of all before it, in base62 too.
func NewSecret(kind SecretKind) string {
	var bits [32]byte
	if _, err := rand.Read(bits[:]); err != nil {
		panic(err) // crypto/rand.Read never fails since Go 1.24
	}
	s := string(kind) + encodeBase62(new(big.Int).SetBytes(bits[:]), entropyLen)
	return s + checksum(s)
}

// ParseSecret tells which kind of opaque secret s is. It answers false when s has no known prefix, another length or
// a wrong checksum: a typo, or a stranger's secret.
func ParseSecret(s string) (SecretKind, bool) {
	for _, kind := range []SecretKind{PersonalAccessToken, RefreshToken, AuthorizationCode, ClientSecret} {
		if !strings.HasPrefix(s, string(kind)) {
			continue
		}
		if len(s) != len(kind)+entropyLen+checksumLen {
			return "", false
		}
		body, sum := s[:len(s)-checksumLen], s[len(s)-checksumLen:]
		if subtle.ConstantTimeCompare([]byte(checksum(body)), []byte(sum)) != 1 {
			return "", false
		}
		return kind, true
	}
	return "", false
}

// HashSecret returns the SHA-256 of s in hexadecimal, the only form in which an opaque secret is kept. The secrets have
// 256 random bits, so a slow hash would buy nothing.
func HashSecret(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

// SecretMatches tells in constant time whether hash is the [HashSecret] of s. The empty hash matches nothing.
func SecretMatches(hash, s string) bool {
	return len(hash) == 2*sha256.Size && subtle.ConstantTimeCompare([]byte(hash), []byte(HashSecret(s))) == 1
}

func checksum(s string) string {
	return encodeBase62(new(big.Int).SetUint64(uint64(crc32.ChecksumIEEE([]byte(s)))), checksumLen)
}

func encodeBase62(n *big.Int, width int) string {
	out := make([]byte, width)
	digit, base := new(big.Int), big.NewInt(int64(len(base62)))
	for i := width - 1; i >= 0; i-- {
		n.DivMod(n, base, digit)
		out[i] = base62[digit.Int64()]
	}
	return string(out)
}
