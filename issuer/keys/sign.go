package keys

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
)

// pssOptions make the salt as long as the hash: RFC 7518 §3.5 allows no other.
var pssOptions = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}

// Sign returns the JWS signature of payload, the signing input of RFC 7515 §5.1, as bytes that are still to be
// encoded. Every signature of a key has the same length; one by ECDSA is r and s side by side (RFC 7518 §3.4).
func (k *Key) Sign(payload []byte) ([]byte, error) {
	return k.appendSignature(make([]byte, 0, k.sigSize), payload)
}

// appendSignature appends the signature of payload to dst.
func (k *Key) appendSignature(dst, payload []byte) ([]byte, error) {
	switch k.alg {
	case ES256:
		sum := sha256.Sum256(payload)
		return k.appendECDSA(dst, sum[:])
	case ES384:
		sum := sha512.Sum384(payload)
		return k.appendECDSA(dst, sum[:])
	case RS256:
		sum := sha256.Sum256(payload)
		sig, err := rsa.SignPKCS1v15(nil, k.rsa, crypto.SHA256, sum[:])
		if err != nil {
			return nil, fmt.Errorf("signing with %v: %w", k, err)
		}
		return append(dst, sig...), nil
	case PS256:
		sum := sha256.Sum256(payload)
		sig, err := rsa.SignPSS(rand.Reader, k.rsa, crypto.SHA256, sum[:], pssOptions)
		if err != nil {
			return nil, fmt.Errorf("signing with %v: %w", k, err)
		}
		return append(dst, sig...), nil
	default: // EdDSA; newKey knows no other
		return append(dst, ed25519.Sign(k.ed, payload)...), nil
	}
}

func (k *Key) appendECDSA(dst, sum []byte) ([]byte, error) {
	der, err := ecdsa.SignASN1(rand.Reader, k.ec, sum)
	if err != nil {
		return nil, fmt.Errorf("signing with %v: %w", k, err)
	}
	return appendRaw(dst, der, k.sigSize/2)
}

// Verify tells whether signature is the key's signature of signingInput, by the key's own algorithm and no other.
//
// It knows one encoding of a signature. An ECDSA signature has a twin, with the order of the curve minus s for s, that
// is as valid by FIPS 186-5 as the signature itself; so whoever keeps verdicts or revocations names the token by its
// `jti`, not by its bytes.
func (k *Key) Verify(signingInput, signature []byte) bool {
	if len(signature) != k.sigSize {
		return false
	}
	switch k.alg {
	case ES256:
		sum := sha256.Sum256(signingInput)
		return k.es256.Verify(&sum, signature)
	case ES384:
		sum := sha512.Sum384(signingInput)
		var buf [derSize]byte
		return ecdsa.VerifyASN1(&k.ec.PublicKey, sum[:], appendDER(buf[:0], signature))
	case RS256:
		sum := sha256.Sum256(signingInput)
		return rsa.VerifyPKCS1v15(&k.rsa.PublicKey, crypto.SHA256, sum[:], signature) == nil
	case PS256:
		sum := sha256.Sum256(signingInput)
		return rsa.VerifyPSS(&k.rsa.PublicKey, crypto.SHA256, sum[:], signature, pssOptions) == nil
	default: // EdDSA; newKey knows no other
		return ed25519.Verify(k.edPublic, signingInput, signature)
	}
}

// JWS has r and s at a fixed width (RFC 7518 §3.4), the standard library takes and gives the DER of
// SEQUENCE { INTEGER r, INTEGER s } (RFC 3279 §2.2.3). On the curves that are known here, all lengths fit one byte.
const (
	tagInteger  = 0x02
	tagSequence = 0x30

	maxWidth = 48 // bytes of r and of s on P-384
	derSize  = 2 + 2*(2+1+maxWidth)
)

var errBadDER = errors.New("the standard library gave an ECDSA signature of unknown form")

// appendRaw appends r and s of a DER signature to dst, each width bytes wide.
func appendRaw(dst, der []byte, width int) ([]byte, error) {
	if len(der) < 2 || der[0] != tagSequence || int(der[1]) != len(der)-2 {
		return nil, errBadDER
	}
	der = der[2:]
	for range 2 {
		if len(der) < 2 || der[0] != tagInteger || int(der[1]) > len(der)-2 {
			return nil, errBadDER
		}
		n := der[2 : 2+der[1]]
		der = der[2+der[1]:]
		for len(n) > 0 && n[0] == 0 {
			n = n[1:]
		}
		if len(n) > width {
			return nil, errBadDER
		}
		for range width - len(n) {
			dst = append(dst, 0)
		}
		dst = append(dst, n...)
	}
	if len(der) != 0 {
		return nil, errBadDER
	}
	return dst, nil
}

// appendDER appends the DER of a signature that is r and s side by side to dst.
func appendDER(dst, raw []byte) []byte {
	start := len(dst)
	dst = append(dst, tagSequence, 0)
	for _, n := range [2][]byte{raw[:len(raw)/2], raw[len(raw)/2:]} {
		for len(n) > 1 && n[0] == 0 {
			n = n[1:]
		}
		if n[0]&0x80 != 0 {
			dst = append(dst, tagInteger, byte(len(n)+1), 0)
		} else {
			dst = append(dst, tagInteger, byte(len(n)))
		}
		dst = append(dst, n...)
	}
	dst[start+1] = byte(len(dst) - start - 2)
	return dst
}
