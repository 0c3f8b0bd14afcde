package keys

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"slices"
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
	if slices.Contains(can, alg) {
		return alg, nil
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
			return nil, fmt.Errorf("it holds another PEM block (%.40q) after the private key: give the private key alone",
				more.Type)
		}
		return nil, errors.New("something follows the end of the private key")
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
		return nil, errors.New("it is in the format of OpenSSH: convert it with `ssh-keygen -p -m PKCS8 -f KEY`, or, for " +
			"Ed25519, make another with `openssl genpkey -algorithm ed25519`")
	case "DSA PRIVATE KEY":
		return nil, errors.New("it is a DSA key, which cannot sign tokens")
	}
	return nil, fmt.Errorf("its PEM block is %.40q: a PRIVATE KEY, EC PRIVATE KEY or RSA PRIVATE KEY is needed",
		block.Type)
}
