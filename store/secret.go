package store

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
	"math/bits"
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
	SessionSecret       SecretKind = "passport_session_" // the value of a browser's cookie
	DeviceCode          SecretKind = "passport_dc_"
)

var secretKinds = [...]SecretKind{
	PersonalAccessToken, RefreshToken, AuthorizationCode, ClientSecret, SessionSecret, DeviceCode,
}

const (
	base62      = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	entropyLen  = 43 // characters of base62 that 256 bits take
	checksumLen = 6  // characters of base62 that 32 bits take

	maxSecretLen = len(RefreshToken) + 2*entropyLen + checksumLen // see familyToken
)

// NewSecret returns a new opaque secret: kind, 256 random bits in base62 and a CRC-32 of all before it, in base62 too.
func NewSecret(kind SecretKind) string { return newSecret(kind, "") }

// newSecret is NewSecret with a name between the kind and the random bits.
func newSecret(kind SecretKind, name string) string {
	var random [32]byte
	if _, err := rand.Read(random[:]); err != nil {
		panic(err) // crypto/rand.Read never fails since Go 1.24
	}
	var buf [maxSecretLen]byte
	s := appendEntropy(append(append(buf[:0], kind...), name...), random)
	return string(appendChecksum(s, checksum(s)))
}

// ParseSecret tells which kind of opaque secret s is. It answers false when s has no known prefix, another length,
// other characters or a wrong checksum: a typo, or a stranger's secret.
func ParseSecret(s string) (SecretKind, bool) {
	for _, kind := range secretKinds {
		random, ok := strings.CutPrefix(s, string(kind))
		if !ok {
			continue
		}
		named := kind == RefreshToken && len(random) == 2*entropyLen+checksumLen
		if !named && len(random) != entropyLen+checksumLen || strings.IndexFunc(random, notBase62) >= 0 {
			return "", false
		}
		body, tail := s[:len(s)-checksumLen], s[len(s)-checksumLen:]
		var buf [checksumLen]byte
		if string(appendChecksum(buf[:0], checksum(body))) != tail {
			return "", false
		}
		return kind, true
	}
	return "", false
}

// HashSecret returns the SHA-256 of s in hexadecimal, the only form in which an opaque secret is kept. The secrets have
// 256 random bits, so a slow hash would buy nothing.
func HashSecret(s string) string {
	hash := hashSecret(s)
	return string(hash[:])
}

// SecretMatches tells in constant time whether hash is the [HashSecret] of s. The empty hash matches nothing.
func SecretMatches(hash, s string) bool {
	want := hashSecret(s)
	var got [len(want)]byte
	copy(got[:], hash)
	return subtle.ConstantTimeCompare(got[:], want[:]) == 1 && len(hash) == len(want)
}

func hashSecret(s string) (hash [2 * sha256.Size]byte) {
	var buf [128]byte // on the stack, for all but strange lengths
	sum := sha256.Sum256(append(buf[:0], s...))
	hex.Encode(hash[:], sum[:])
	return hash
}

// appendEntropy appends 256 bits as a number in base62, the most significant digit first.
func appendEntropy(dst []byte, random [32]byte) []byte {
	const (
		chunk       = 10 // digits that are divided off at once
		chunkModule = 839_299_365_868_340_224
	)
	var n [4]uint64
	for i := range n {
		n[i] = binary.BigEndian.Uint64(random[8*i:])
	}
	start := len(dst)
	dst = append(dst, make([]byte, entropyLen)...)
	for end := len(dst); end > start; end -= chunk {
		var rest uint64
		for i := range n {
			n[i], rest = bits.Div64(rest, n[i], chunkModule)
		}
		putBase62(dst[max(start, end-chunk):end], rest)
	}
	return dst
}

// checksum is the CRC-32 of s. The function of the standard library wants it on the heap.
func checksum[T string | []byte](s T) uint32 {
	sum := ^uint32(0)
	for i := range len(s) {
		sum = crc32.IEEETable[byte(sum)^s[i]] ^ sum>>8
	}
	return ^sum
}

// appendChecksum appends sum in base62.
func appendChecksum(dst []byte, sum uint32) []byte {
	dst = append(dst, make([]byte, checksumLen)...)
	putBase62(dst[len(dst)-checksumLen:], uint64(sum))
	return dst
}

// putBase62 fills dst with the digits of n.
func putBase62(dst []byte, n uint64) {
	for i := len(dst) - 1; i >= 0; i-- {
		dst[i] = base62[n%62]
		n /= 62
	}
}

func notBase62(c rune) bool {
	return (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z')
}
