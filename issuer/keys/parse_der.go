package keys

import (
	"crypto"
	"crypto/ecdh"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
)

// parsePKCS8 reads a private key in PKCS #8 (RFC 5208).
func parsePKCS8(der []byte) (crypto.Signer, error) {
	if err := oneDER(der); err != nil {
		return nil, err
	}
	if err := checkPKCS8(der); err != nil {
		return nil, err
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, unreadable("PRIVATE KEY", "PKCS #8", err)
	}
	switch key := key.(type) {
	case *ecdh.PrivateKey:
		return nil, errors.New("it is an X25519 key, which agrees on keys but cannot sign")
	case crypto.Signer:
		return key, nil
	}
	return nil, fmt.Errorf("a key of type %T cannot sign tokens", key)
}

// unreadable wraps an error of crypto/x509, which tells of structure, never of content.
func unreadable(block, format string, err error) error {
	return fmt.Errorf("its %s block is not a valid %s key: %w", block, format, err)
}

// oneDER refuses bytes after the end of the key, which crypto/x509 overlooks.
func oneDER(der []byte) error {
	var all asn1.RawValue
	rest, err := asn1.Unmarshal(der, &all)
	if err == nil && len(rest) > 0 {
		return errors.New("something follows the end of the private key, within its PEM block")
	}
	return nil // what is no DER at all is told by the parser of the format
}

// Kinds of keys that are PKCS #8, and none of ours, by the OID of their algorithm or curve.
var foreignKeys = map[string]string{
	"1.2.840.113549.1.1.10": "an RSA key that is bound to PSS (id-RSASSA-PSS): export it as a plain RSA key",
	"1.2.840.10040.4.1":     "a DSA key, which cannot sign tokens",
	"1.2.840.113549.1.3.1":  "a Diffie-Hellman key, which cannot sign",
	"1.3.101.111":           "an X448 key, which agrees on keys but cannot sign",
	"1.3.101.113":           "an Ed448 key: EdDSA takes Ed25519",
	"1.3.132.0.10":          "an EC key on secp256k1: ES256 takes P-256, ES384 takes P-384",
	"1.3.36.3.3.2.8.1.1.7":  "an EC key on brainpoolP256r1: ES256 takes P-256, ES384 takes P-384",
	"1.3.36.3.3.2.8.1.1.11": "an EC key on brainpoolP384r1: ES256 takes P-256, ES384 takes P-384",
}

// decode reads the beginning of DER, as far as into goes. It answers false for what it cannot read: that is left to
// crypto/x509 to tell of.
func decode(der []byte, into any) bool {
	_, err := asn1.Unmarshal(der, into)
	return err == nil
}

// checkPKCS8 refuses the kinds of keys that are PKCS #8 and none of ours.
func checkPKCS8(der []byte) error {
	var key struct {
		Version   int
		Algorithm struct {
			OID        asn1.ObjectIdentifier
			Parameters asn1.RawValue `asn1:"optional"`
		}
		PrivateKey []byte
	}
	if !decode(der, &key) {
		return nil
	}
	if err := foreign(key.Algorithm.OID); err != nil {
		return err
	}
	if key.Algorithm.OID.String() == "1.2.840.113549.1.1.1" { // rsaEncryption
		return checkPKCS1(key.PrivateKey)
	}
	if key.Algorithm.OID.String() == "1.2.840.10045.2.1" { // id-ecPublicKey, RFC 5480 §2.1.1
		return checkCurve(key.Algorithm.Parameters)
	}
	return nil
}

// checkPKCS1 checks the length and the form of the RSA key that der holds.
func checkPKCS1(der []byte) error {
	var key struct {
		Version int
		N       *big.Int
	}
	if !decode(der, &key) {
		return nil
	}
	if key.Version == 1 { // multi, RFC 8017 §A.1.2
		return errors.New("it is an RSA key of more than two primes, which is not supported")
	}
	return checkModulus(key.N)
}

// checkSEC1 checks the curve of the EC key that der holds.
func checkSEC1(der []byte) error {
	var key struct {
		Version    int
		PrivateKey []byte
		Tagged     asn1.RawValue `asn1:"optional"` // [0] the curve, [1] the public key
	}
	var curve asn1.RawValue
	if !decode(der, &key) || key.Tagged.Tag != 0 || !decode(key.Tagged.Bytes, &curve) {
		return nil
	}
	return checkCurve(curve)
}

// checkCurve refuses a curve that is not given by its name, or that crypto/x509 does not know.
func checkCurve(curve asn1.RawValue) error {
	if curve.Class == asn1.ClassUniversal && curve.Tag == asn1.TagSequence {
		return errors.New("its curve is given by its parameters, not by name: convert it with " +
			"`openssl pkey -ec_param_enc named_curve -in KEY -out KEY.pem`")
	}
	var name asn1.ObjectIdentifier
	if !decode(curve.FullBytes, &name) {
		return nil
	}
	return foreign(name)
}

func foreign(oid asn1.ObjectIdentifier) error {
	if kind := foreignKeys[oid.String()]; kind != "" {
		return fmt.Errorf("it is %s", kind)
	}
	return nil
}
