package keys

import (
	"bytes"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
)

// maxKeyFile is the most that Parse reads: an RSA key of 8192 bits takes 6 kB of PEM.
const maxKeyFile = 64 << 10

// Parse reads the private key that data holds: PEM (PKCS #8, or the older forms SEC 1 and PKCS #1) or a JWK (RFC 7517).
// alg is what it is to sign with; when it is empty, that is the JWK's `alg`, or ES256, ES384, RS256 or EdDSA by the
// kind of key. The key's ID is the JWK's `kid`, or else its thumbprint.
//
// Errors say what is wrong with the key, and show nothing of it.
func Parse(data []byte, alg Algorithm) (*Key, error) {
	if alg != "" {
		if _, err := ParseAlgorithm(string(alg)); err != nil {
			return nil, err
		}
	}
	if len(data) > maxKeyFile {
		return nil, fmt.Errorf("it has %d bytes, a key has at most %d", len(data), maxKeyFile)
	}
	data = bytes.TrimSpace(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))) // some editors begin a file with this mark
	if len(data) == 0 {
		return nil, errors.New("it is empty")
	}
	if data[0] == '{' || data[0] == '[' {
		return parseJWK(data, alg)
	}
	priv, err := parsePEM(data)
	if err != nil {
		return nil, err
	}
	if alg, err = fit(priv, alg); err != nil {
		return nil, err
	}
	return newKey(priv, alg, "")
}

// fit checks a private key, and that alg can be used with it. It returns alg, or the usual one for such a key when alg
// is empty.
func fit(priv crypto.Signer, alg Algorithm) (Algorithm, error) {
	var kind string
	var can []Algorithm
	switch priv := priv.(type) {
	case *ecdsa.PrivateKey:
		kind = "an EC key on " + priv.Curve.Params().Name
		for _, a := range []Algorithm{ES256, ES384} {
			if priv.Curve == a.curve() {
				can = append(can, a)
			}
		}
		if len(can) == 0 {
			return "", fmt.Errorf("it is %s: ES256 takes P-256, ES384 takes P-384", kind)
		}
	case *rsa.PrivateKey:
		if err := checkModulus(priv.N); err != nil {
			return "", err
		}
		kind, can = "an RSA key", []Algorithm{RS256, PS256}
	case ed25519.PrivateKey:
		kind, can = "an Ed25519 key", []Algorithm{EdDSA}
	default:
		return "", fmt.Errorf("a key of type %T cannot sign tokens", priv)
	}
	if alg == "" {
		return can[0], nil
	}
	for _, a := range can {
		if a == alg {
			return alg, nil
		}
	}
	return "", fmt.Errorf("it is %s, which cannot sign with %s: use %s", kind, alg, join(can, " or "))
}

// checkModulus checks the length of an RSA key, before anything dear is done with it.
func checkModulus(n *big.Int) error {
	switch bits := n.BitLen(); {
	case bits < rsaBits:
		return fmt.Errorf("its RSA key has %d bits, at least %d are needed (RFC 7518 §3.3)", bits, rsaBits)
	case bits > rsaMaxBits:
		return fmt.Errorf("its RSA key has %d bits, at most %d are taken", bits, rsaMaxBits)
	}
	return nil
}

// parsePEM reads the one private key of a PEM text.
func parsePEM(data []byte) (crypto.Signer, error) {
	block, rest := pem.Decode(data)
	if block == nil {
		return nil, notPEM(data)
	}
	if block.Type == "EC PARAMETERS" { // `openssl ecparam -genkey` puts the name of the curve first
		params := rest
		if block, rest = pem.Decode(params); block == nil {
			return nil, errors.New("it holds the parameters of a curve only (EC PARAMETERS), no private key")
		}
	}
	priv, err := parseBlock(block)
	if err != nil {
		return nil, err
	}
	if rest = bytes.TrimSpace(rest); len(rest) > 0 {
		if more, _ := pem.Decode(rest); more != nil {
			return nil, fmt.Errorf("it holds another PEM block (%q) after the private key: give the private key alone",
				more.Type)
		}
		return nil, fmt.Errorf("there are %d bytes after the end of the private key", len(rest))
	}
	return priv, nil
}

// notPEM says what a text is that is neither PEM nor JSON.
func notPEM(data []byte) error {
	switch {
	case data[0] == tagSequence && bytes.IndexByte(data, 0) >= 0:
		return errors.New("it is DER, not PEM: convert it with `openssl pkey -inform DER -in KEY -out KEY.pem`")
	case bytes.HasPrefix(data, []byte("ssh-")), bytes.HasPrefix(data, []byte("ecdsa-sha2-")):
		return errors.New("it is a public key of SSH: a private key in PEM or JWK is needed")
	case bytes.HasPrefix(data, []byte("\xff\xfe")), bytes.HasPrefix(data, []byte("\xfe\xff")):
		return errors.New("it is text in UTF-16: save it as UTF-8")
	case !bytes.Contains(data, []byte("-----BEGIN ")):
		return errors.New("it is neither PEM (no line -----BEGIN PRIVATE KEY-----) nor a JWK (no {)")
	case !bytes.Contains(data, []byte("\n")):
		return errors.New("its line breaks are lost: PEM needs them after -----BEGIN …----- and before -----END …-----")
	case !bytes.Contains(data, []byte("-----END ")):
		return errors.New("it is cut short: PEM ends with a line -----END …-----")
	}
	return errors.New("it is damaged PEM: its base64, or the pair of its BEGIN and END lines, is wrong")
}

// parseBlock reads a PEM block by its type (RFC 7468, RFC 5915, RFC 8017).
func parseBlock(block *pem.Block) (crypto.Signer, error) {
	if block.Type == "ENCRYPTED PRIVATE KEY" || strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED") {
		return nil, errors.New("it is encrypted with a passphrase: decrypt it with `openssl pkey -in KEY -out KEY.pem`")
	}
	switch block.Type {
	case "PRIVATE KEY":
		return parsePKCS8(block.Bytes)
	case "EC PRIVATE KEY":
		if err := oneDER(block.Bytes); err != nil {
			return nil, err
		}
		if err := checkSEC1(block.Bytes); err != nil {
			return nil, err
		}
		priv, err := x509.ParseECPrivateKey(block.Bytes)
		if err != nil {
			return nil, unreadable("EC PRIVATE KEY", "SEC 1", err)
		}
		return priv, nil
	case "RSA PRIVATE KEY":
		if err := oneDER(block.Bytes); err != nil {
			return nil, err
		}
		if err := checkPKCS1(block.Bytes); err != nil {
			return nil, err
		}
		priv, err := x509.ParsePKCS1PrivateKey(block.Bytes)
		if err != nil {
			return nil, unreadable("RSA PRIVATE KEY", "PKCS #1", err)
		}
		return priv, nil
	case "PUBLIC KEY", "RSA PUBLIC KEY", "EC PUBLIC KEY", "SSH2 PUBLIC KEY":
		return nil, errors.New("it is a public key: the private key is needed")
	case "CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE":
		return nil, errors.New("it is a certificate: the private key is needed")
	case "CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST":
		return nil, errors.New("it is a certificate request: the private key is needed")
	case "OPENSSH PRIVATE KEY":
		return nil, errors.New("it is in the format of OpenSSH: convert it with `ssh-keygen -p -m PKCS8 -f KEY`")
	case "DSA PRIVATE KEY":
		return nil, errors.New("it is a DSA key, which cannot sign tokens")
	}
	return nil, fmt.Errorf("its PEM block is %q: a PRIVATE KEY, EC PRIVATE KEY or RSA PRIVATE KEY is needed", block.Type)
}

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
		return fmt.Errorf("there are %d bytes after the end of the private key, within its PEM block", len(rest))
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

// checkPKCS8 refuses the kinds of keys that are PKCS #8 and none of ours. What it cannot read it leaves to crypto/x509.
func checkPKCS8(der []byte) error {
	var key struct {
		Version   int
		Algorithm struct {
			OID        asn1.ObjectIdentifier
			Parameters asn1.RawValue `asn1:"optional"`
		}
		PrivateKey []byte
	}
	if _, err := asn1.Unmarshal(der, &key); err != nil {
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
	if _, err := asn1.Unmarshal(der, &key); err != nil {
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
	if _, err := asn1.Unmarshal(der, &key); err != nil || key.Tagged.Tag != 0 {
		return nil
	}
	var curve asn1.RawValue
	if _, err := asn1.Unmarshal(key.Tagged.Bytes, &curve); err != nil {
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
	if _, err := asn1.Unmarshal(curve.FullBytes, &name); err != nil {
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
