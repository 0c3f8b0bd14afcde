package keys_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lestrrat-go/jwx/v2/jwk"

	"github.com/oauth2-passport/caddy-passport/issuer/keys"
)

// The keys in testdata were made by OpenSSL 3.0 and OpenSSH for these tests.
func testdata(tb testing.TB, name string) string {
	tb.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		tb.Fatal(err)
	}
	return string(data)
}

// jwkOf is the key of a PEM file as a JWK, with members replaced; nil takes one out.
func jwkOf(tb testing.TB, file string, replace map[string]any) string {
	tb.Helper()
	block, _ := pem.Decode([]byte(testdata(tb, file)))
	raw, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		tb.Fatal(err)
	}
	key, err := jwk.FromRaw(raw)
	if err != nil {
		tb.Fatal(err)
	}
	data, err := json.Marshal(key)
	if err != nil {
		tb.Fatal(err)
	}
	var members map[string]any
	if err := json.Unmarshal(data, &members); err != nil {
		tb.Fatal(err)
	}
	for name, value := range replace {
		if value == nil {
			delete(members, name)
		} else {
			members[name] = value
		}
	}
	if data, err = json.Marshal(members); err != nil {
		tb.Fatal(err)
	}
	return string(data)
}

type members = map[string]any

func TestParse(t *testing.T) {
	read := func(name string) string { return testdata(t, name) }
	jwkFrom := func(file string, replace members) string { return jwkOf(t, file, replace) }
	// same has the thumbprint of the same key in its simplest form.
	same := func(file string) string {
		k, err := keys.Parse([]byte(read(file)), "")
		if err != nil {
			t.Fatal(err)
		}
		return k.ID()
	}
	for _, tt := range []struct {
		name, data string
		alg, want  keys.Algorithm
		id         string
	}{
		{"PKCS #8, P-256", read("p256.pem"), "", keys.ES256, ""},
		{"PKCS #8, P-256, alg given", read("p256.pem"), keys.ES256, keys.ES256, ""},
		{"PKCS #8, P-384", read("p384.pem"), "", keys.ES384, ""},
		{"PKCS #8, RSA", read("rsa2048.pem"), "", keys.RS256, ""},
		{"PKCS #8, RSA for PS256", read("rsa2048.pem"), keys.PS256, keys.PS256, same("rsa2048.pem")},
		{"PKCS #8, Ed25519", read("ed25519.pem"), "", keys.EdDSA, ""},
		{"SEC 1", read("p256-sec1.pem"), "", keys.ES256, same("p256.pem")},
		{"SEC 1 after its parameters", read("p256-sec1-params.pem"), "", keys.ES256, ""},
		{"PKCS #1", read("rsa2048-pkcs1.pem"), "", keys.RS256, same("rsa2048.pem")},
		{"byte order mark", "\xef\xbb\xbf" + read("p256.pem"), "", keys.ES256, same("p256.pem")},
		{"blanks around", "\n\t " + read("p256.pem") + "\r\n\n", "", keys.ES256, same("p256.pem")},
		{"lines of Windows", strings.ReplaceAll(read("p256.pem"), "\n", "\r\n"), "", keys.ES256, same("p256.pem")},
		{"text before (RFC 7468 §5.2)", "Key of the issuer\n" + read("p256.pem"), "", keys.ES256, same("p256.pem")},
		{"JWK, P-256", jwkFrom("p256.pem", nil), "", keys.ES256, same("p256.pem")},
		{"JWK, P-384", jwkFrom("p384.pem", nil), "", keys.ES384, same("p384.pem")},
		{"JWK, RSA", jwkFrom("rsa2048.pem", nil), "", keys.RS256, same("rsa2048.pem")},
		{"JWK, RSA for PS256", jwkFrom("rsa2048.pem", nil), keys.PS256, keys.PS256, same("rsa2048.pem")},
		{"JWK, RSA with alg", jwkFrom("rsa2048.pem", members{"alg": "PS256"}), "", keys.PS256, same("rsa2048.pem")},
		{
			"JWK, RSA without its shortcuts", jwkFrom("rsa2048.pem", members{"dp": nil, "dq": nil, "qi": nil}), "",
			keys.RS256, same("rsa2048.pem"),
		},
		{"JWK, Ed25519", jwkFrom("ed25519.pem", nil), "", keys.EdDSA, same("ed25519.pem")},
		{"JWK, alg Ed25519", jwkFrom("ed25519.pem", members{"alg": "Ed25519"}), keys.EdDSA, keys.EdDSA, ""},
		{"JWK, kid", jwkFrom("p256.pem", members{"kid": "2026-05"}), "", keys.ES256, "2026-05"},
		{
			"JWK, use, key_ops and strangers",
			jwkFrom("p256.pem", members{"use": "sig", "key_ops": []string{"verify", "sign"}, "x5c": 1, "D": 1, "ext": true}),
			"", keys.ES256, same("p256.pem"),
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k, err := keys.Parse([]byte(tt.data), tt.alg)
			if err != nil {
				t.Fatal(err)
			}
			if k.Algorithm() != tt.want {
				t.Errorf("got %s, want %s", k.Algorithm(), tt.want)
			}
			if tt.id != "" && k.ID() != tt.id {
				t.Errorf("got kid %s, want %s", k.ID(), tt.id)
			}
			if text := []byte("text"); !k.Verify(text, sign(t, k, text)) {
				t.Error("its signature is refused")
			}
		})
	}
}

func TestParseTellsWhatIsWrong(t *testing.T) {
	read := func(name string) string { return testdata(t, name) }
	jwkFrom := func(file string, replace members) string { return jwkOf(t, file, replace) }
	b64 := base64.RawURLEncoding.EncodeToString
	p256, err := keys.Parse([]byte(read("p256.pem")), "")
	if err != nil {
		t.Fatal(err)
	}
	order := p256.Public().(*ecdsa.PublicKey).Params().N.Bytes()

	for _, tt := range []struct {
		name, data string
		alg        keys.Algorithm
		want       string
	}{
		// what it is at all
		{"empty", "", "", "it is empty"},
		{"blank", " \n\t", "", "it is empty"},
		{"too long", strings.Repeat("x", 64<<10+1), "", "it has 65537 bytes, a key has at most 65536"},
		{
			"algorithm", read("p256.pem"), "HS256",
			`unknown algorithm "HS256": use one of ES256, ES384, RS256, PS256, EdDSA`,
		},
		{"some text", "hunter2", "", "it is neither PEM (no line -----BEGIN PRIVATE KEY-----) nor a JWK (no {)"},
		{
			"DER", read("p256.der"), "",
			"it is DER, not PEM: convert it with `openssl pkey -inform DER -in KEY -out KEY.pem`",
		},
		{"UTF-16", "\xff\xfe-\x00-\x00", "", "it is text in UTF-16: save it as UTF-8"},

		// PEM
		{
			"line breaks lost", strings.ReplaceAll(read("p256.pem"), "\n", " "), "",
			"its line breaks are lost: PEM needs them after -----BEGIN …----- and before -----END …-----",
		},
		{
			"line breaks escaped", strings.ReplaceAll(read("p256.pem"), "\n", `\n`), "",
			"its line breaks are lost: PEM needs them after -----BEGIN …----- and before -----END …-----",
		},
		{"cut short", read("p256.pem")[:100], "", "it is cut short: PEM ends with a line -----END …-----"},
		{
			"damaged base64", strings.Replace(read("p256.pem"), "MIG", "M!G", 1), "",
			"it is damaged PEM: its base64, or the pair of its BEGIN and END lines, is wrong",
		},
		{
			"wrong END", strings.Replace(read("p256.pem"), "END PRIVATE", "END PUBLIC", 1), "",
			"it is damaged PEM: its base64, or the pair of its BEGIN and END lines, is wrong",
		},
		{
			"encrypted PKCS #8", read("p256-encrypted.pem"), "",
			"it is encrypted with a passphrase: decrypt it with `openssl pkey -in KEY -out KEY.pem`",
		},
		{
			"encrypted SEC 1", read("p256-sec1-encrypted.pem"), "",
			"it is encrypted with a passphrase: decrypt it with `openssl pkey -in KEY -out KEY.pem`",
		},
		{"public key", read("p256-public.pem"), "", "it is a public key: the private key is needed"},
		{"public RSA key", read("rsa2048-public.pem"), "", "it is a public key: the private key is needed"},
		{"certificate", read("certificate.pem"), "", "it is a certificate: the private key is needed"},
		{
			"OpenSSH", read("openssh.pem"), "",
			"it is in the format of OpenSSH: convert it with `ssh-keygen -p -m PKCS8 -f KEY`, or, for Ed25519, make another " +
				"with `openssl genpkey -algorithm ed25519`",
		},
		{"public key of SSH", read("ssh.pub"), "", "it is a public key of SSH: a private key in PEM or JWK is needed"},
		{
			"another block", "-----BEGIN PGP MESSAGE-----\n\nAAAA\n-----END PGP MESSAGE-----\n", "",
			`its PEM block is "PGP MESSAGE": a PRIVATE KEY, EC PRIVATE KEY or RSA PRIVATE KEY is needed`,
		},
		{
			"parameters only", strings.SplitAfter(read("p256-sec1-params.pem"), "END EC PARAMETERS-----\n")[0], "",
			"it holds the parameters of a curve only (EC PARAMETERS), no private key",
		},
		{
			"two keys", read("p256.pem") + read("p384.pem"), "",
			`it holds another PEM block ("PRIVATE KEY") after the private key: give the private key alone`,
		},
		{
			"key and certificate", read("p256.pem") + read("certificate.pem"), "",
			`it holds another PEM block ("CERTIFICATE") after the private key: give the private key alone`,
		},
		{"text after the PEM", read("p256.pem") + "\nx x\n", "", "something follows the end of the private key"},
		{
			"bytes after the DER", reblock(t, read("p256.pem"), func(der []byte) []byte { return append(der, 1, 2) }), "",
			"something follows the end of the private key, within its PEM block",
		},
		{
			"bytes after the DER, SEC 1",
			reblock(t, read("p256-sec1.pem"), func(der []byte) []byte { return append(der, 1) }), "",
			"something follows the end of the private key, within its PEM block",
		},
		{
			"bytes after the DER, PKCS #1",
			reblock(t, read("rsa2048-pkcs1.pem"), func(der []byte) []byte { return append(der, 1) }), "",
			"something follows the end of the private key, within its PEM block",
		},
		{
			"block without DER", reblock(t, read("p256.pem"), func([]byte) []byte { return nil }), "",
			"its PRIVATE KEY block is not a valid PKCS #8 key: asn1: syntax error: sequence truncated",
		},
		{
			"DER cut short", reblock(t, read("p256.pem"), func(der []byte) []byte { return der[:60] }), "",
			"its PRIVATE KEY block is not a valid PKCS #8 key: asn1: syntax error: data truncated",
		},
		{
			"SEC 1 named as PKCS #1", strings.ReplaceAll(read("p256-sec1.pem"), "EC PRIVATE", "RSA PRIVATE"), "",
			"its RSA PRIVATE KEY block is not a valid PKCS #1 key: x509: failed to parse private key " +
				"(use ParseECPrivateKey instead for this key format)",
		},
		{
			"PKCS #8 named as SEC 1", strings.ReplaceAll(read("p256.pem"), " PRIVATE", " EC PRIVATE"), "",
			"its EC PRIVATE KEY block is not a valid SEC 1 key: x509: failed to parse private key " +
				"(use ParsePKCS8PrivateKey instead for this key format)",
		},

		// keys of a kind that is not ours
		{"P-521", read("p521.pem"), "", "it is an EC key on P-521: ES256 takes P-256, ES384 takes P-384"},
		{"secp256k1", read("secp256k1.pem"), "", "it is an EC key on secp256k1: ES256 takes P-256, ES384 takes P-384"},
		{
			"secp256k1, SEC 1", read("secp256k1-sec1.pem"), "",
			"it is an EC key on secp256k1: ES256 takes P-256, ES384 takes P-384",
		},
		{
			"brainpool", read("brainpool.pem"), "",
			"it is an EC key on brainpoolP256r1: ES256 takes P-256, ES384 takes P-384",
		},
		{
			"explicit curve", read("p256-explicit.pem"), "",
			"its curve is given by its parameters, not by name: convert it with `openssl pkey -ec_param_enc named_curve " +
				"-in KEY -out KEY.pem`",
		},
		{"X25519", read("x25519.pem"), "", "it is an X25519 key, which agrees on keys but cannot sign"},
		{"X448", read("x448.pem"), "", "it is an X448 key, which agrees on keys but cannot sign"},
		{"Ed448", read("ed448.pem"), "", "it is an Ed448 key: EdDSA takes Ed25519"},
		{"DSA", read("dsa.pem"), "", "it is a DSA key, which cannot sign tokens"},
		{
			"RSA for PSS only", read("rsa-pss.pem"), "",
			"it is an RSA key that is bound to PSS (id-RSASSA-PSS): export it as a plain RSA key",
		},
		{"RSA 1024", read("rsa1024.pem"), "", "its RSA key has 1024 bits, at least 2048 are needed (RFC 7518 §3.3)"},
		{
			"RSA 1024, PKCS #1", read("rsa1024-pkcs1.pem"), "",
			"its RSA key has 1024 bits, at least 2048 are needed (RFC 7518 §3.3)",
		},
		{"RSA 512", read("rsa512.pem"), "", "its RSA key has 512 bits, at least 2048 are needed (RFC 7518 §3.3)"},
		{
			"RSA of three primes", read("rsa-3primes.pem"), "",
			"it is an RSA key of more than two primes, which is not supported",
		},
		{
			"RSA with parts that do not belong together",
			reblock(t, read("rsa2048-pkcs1.pem"), func(der []byte) []byte { return flip(der, 40, 1) }), "",
			"its RSA PRIVATE KEY block is not a valid PKCS #1 key: crypto/rsa: p * q != n",
		},

		// an algorithm that does not fit
		{
			"P-256 for ES384", read("p256.pem"), keys.ES384,
			"it is an EC key on P-256, which cannot sign with ES384: use ES256",
		},
		{
			"P-384 for ES256", read("p384.pem"), keys.ES256,
			"it is an EC key on P-384, which cannot sign with ES256: use ES384",
		},
		{
			"P-256 for RS256", read("p256.pem"), keys.RS256,
			"it is an EC key on P-256, which cannot sign with RS256: use ES256",
		},
		{
			"RSA for ES256", read("rsa2048.pem"), keys.ES256,
			"it is an RSA key, which cannot sign with ES256: use RS256 or PS256",
		},
		{
			"Ed25519 for ES256", read("ed25519.pem"), keys.ES256,
			"it is an Ed25519 key, which cannot sign with ES256: use EdDSA",
		},

		// JWK
		{"JSON array", `[]`, "", "it is a JSON array: a single JWK is needed"},
		{"broken JSON", `{"kty":"EC",}`, "", "it is not valid JSON, at byte 13"},
		{"JSON and more", `{"kty":"EC"} x`, "", "it is not valid JSON, at byte 14"},
		{"no kty", `{}`, "", "it has no kty: it is no JWK"},
		{"kty number", `{"kty":1}`, "", "its kty is not a text"},
		{"kty null", `{"kty":null}`, "", "its kty is not a text"},
		{"kty unknown", `{"kty":"AKP"}`, "", `its kty is "AKP": EC, RSA or OKP is needed`},
		{
			"symmetric", `{"kty":"oct","k":"c2VjcmV0"}`, "",
			"it is a symmetric key (kty oct): whoever could verify could sign",
		},
		{"JWK set", `{"keys":[` + jwkFrom("p256.pem", nil) + `]}`, "", "it is a JWK set: give one private key of it"},
		{
			"use", jwkFrom("p256.pem", members{"use": "enc"}), "",
			`its use is "enc": a key for signatures (sig) is needed`,
		},
		{
			"key_ops", jwkFrom("p256.pem", members{"key_ops": []string{"verify"}}), "",
			"its key_ops does not allow to sign",
		},
		{"key_ops no list", jwkFrom("p256.pem", members{"key_ops": "sign"}), "", "its key_ops is not a list of texts"},
		{
			"alg", jwkFrom("p256.pem", members{"alg": "none"}), "",
			`its alg: unknown algorithm "none": use one of ES256, ES384, RS256, PS256, EdDSA`,
		},
		{
			"alg of another kind", jwkFrom("p256.pem", members{"alg": "RS256"}), "",
			"its alg does not fit its key: it is an EC key on P-256, which cannot sign with RS256: use ES256",
		},
		{
			"alg that is not asked for", jwkFrom("rsa2048.pem", members{"alg": "PS256"}), keys.RS256,
			"its alg is PS256, but RS256 is asked for",
		},
		{
			"kid with a path", jwkFrom("p256.pem", members{"kid": "../../etc/passwd"}), "",
			"its kid has a character other than letters, digits and - . _ ~ : = +",
		},
		{
			"kid with a quote", jwkFrom("p256.pem", members{"kid": `"`}), "",
			"its kid has a character other than letters, digits and - . _ ~ : = +",
		},
		{
			"kid too long", jwkFrom("p256.pem", members{"kid": strings.Repeat("k", 129)}), "",
			"its kid has 129 bytes, at most 128 are taken",
		},
		{"kid number", jwkFrom("p256.pem", members{"kid": 1}), "", "its kid is not a text"},

		{
			"EC public", jwkFrom("p256.pem", members{"d": nil}), "",
			"it is a public key (it has no d): the private key is needed",
		},
		{"EC without crv", jwkFrom("p256.pem", members{"crv": nil}), "", "its kty is EC, but it has no crv"},
		{"EC on P-521", jwkFrom("p521.pem", nil), "", "it is an EC key on P-521: ES256 takes P-256, ES384 takes P-384"},
		{
			"EC on secp256k1", jwkFrom("p256.pem", members{"crv": "secp256k1"}), "",
			"it is an EC key on secp256k1: ES256 takes P-256, ES384 takes P-384",
		},
		{
			"EC on some curve", jwkFrom("p256.pem", members{"crv": "a\nb"}), "",
			`it is an EC key on "a\nb": ES256 takes P-256, ES384 takes P-384`,
		},
		{"EC without y", jwkFrom("p256.pem", members{"y": nil}), "", "it has no y"},
		{
			"EC with padding", jwkFrom("p256.pem", members{"d": strings.Repeat("A", 43) + "="}), "",
			"its d is not base64url without padding",
		},
		{
			"EC with base64 not of URLs", jwkFrom("p256.pem", members{"x": strings.Repeat("+", 43)}), "",
			"its x is not base64url without padding",
		},
		{
			"EC with line break", jwkFrom("p256.pem", members{"x": strings.Repeat("A", 43) + "\n"}), "",
			"its x is not base64url without padding",
		},
		{
			"EC with short d", jwkFrom("p256.pem", members{"d": b64(make([]byte, 31))}), "",
			"its d has 31 bytes, a key on P-256 has 32",
		},
		{
			"EC with long x", jwkFrom("p256.pem", members{"x": b64(make([]byte, 33))}), "",
			"its x has 33 bytes, a key on P-256 has 32",
		},
		{
			"EC with d zero", jwkFrom("p256.pem", members{"d": b64(make([]byte, 32))}), "",
			"its d is not a private key on P-256: zero, or not less than the order of the curve",
		},
		{
			"EC with d the order", jwkFrom("p256.pem", members{"d": b64(order)}), "",
			"its d is not a private key on P-256: zero, or not less than the order of the curve",
		},
		{
			"EC with another's d", jwkFrom("p256.pem", members{"d": b64(bytes.Repeat([]byte{1}, 32))}), "",
			"its public part (x, y) does not belong to its private part (d)",
		},
		{
			"EC off the curve", jwkFrom("p256.pem", members{"x": b64(bytes.Repeat([]byte{1}, 32))}), "",
			"its public part (x, y) does not belong to its private part (d)",
		},

		{
			"OKP public", jwkFrom("ed25519.pem", members{"d": nil}), "",
			"it is a public key (it has no d): the private key is needed",
		},
		{"OKP without crv", jwkFrom("ed25519.pem", members{"crv": nil}), "", "its kty is OKP, but it has no crv"},
		{
			"OKP X25519", jwkFrom("ed25519.pem", members{"crv": "X25519"}), "",
			"it is an X25519 key, which agrees on keys but cannot sign",
		},
		{
			"OKP Ed448", jwkFrom("ed25519.pem", members{"crv": "Ed448"}), "",
			"it is an OKP key on Ed448: EdDSA takes Ed25519",
		},
		{
			"OKP with long d", jwkFrom("ed25519.pem", members{"d": b64(make([]byte, 64))}), "",
			"its d has 64 bytes, a key on Ed25519 has 32",
		},
		{
			"OKP with another's d", jwkFrom("ed25519.pem", members{"d": b64(make([]byte, 32))}), "",
			"its public part (x) does not belong to its private part (d)",
		},

		{
			"RSA public", jwkFrom("rsa2048.pem", members{"d": nil}), "",
			"it is a public key (it has no d): the private key is needed",
		},
		{"RSA without n", jwkFrom("rsa2048.pem", members{"n": nil}), "", "it has no n"},
		{
			"RSA without primes", jwkFrom("rsa2048.pem", members{"p": nil, "q": nil}), "",
			"it has no p: an RSA key is needed with its primes (p, q)",
		},
		{
			"RSA with oth", jwkFrom("rsa2048.pem", members{"oth": []int{}}), "",
			"it is an RSA key of more than two primes, which is not supported",
		},
		{
			"RSA 1024 JWK", jwkFrom("rsa1024.pem", nil), "",
			"its RSA key has 1024 bits, at least 2048 are needed (RFC 7518 §3.3)",
		},
		{
			"RSA too long", jwkFrom("rsa2048.pem", members{"n": b64(bytes.Repeat([]byte{255}, 2000))}), "",
			"its RSA key has 16000 bits, at most 8192 are taken",
		},
		{"RSA with e zero", jwkFrom("rsa2048.pem", members{"e": "AA"}), "", "its e is zero"},
		{
			"RSA with long e", jwkFrom("rsa2048.pem", members{"e": "AQAAAAAB"}), "",
			"its e has 6 bytes, at most 4 are taken",
		},
		{
			"RSA with long d", jwkFrom("rsa2048.pem", members{"d": b64(bytes.Repeat([]byte{1}, 257))}), "",
			"its d has 257 bytes, its n has 256",
		},
		{
			"RSA with e even", jwkFrom("rsa2048.pem", members{"e": "BA"}), "",
			"its e is even or 1: it is no exponent of an RSA key",
		},
		{
			"RSA with another p", jwkFrom("rsa2048.pem", members{"p": b64(bytes.Repeat([]byte{1}, 128))}), "",
			"its parts (n, e, d, p, q and what else is given) do not belong together",
		},
		{
			"RSA with another d", jwkFrom("rsa2048.pem", members{"d": b64(bytes.Repeat([]byte{1}, 256))}), "",
			"its parts (n, e, d, p, q and what else is given) do not belong together",
		},
		{
			"RSA with another dp", jwkFrom("rsa2048.pem", members{"dp": b64(bytes.Repeat([]byte{1}, 128))}), "",
			"its parts (n, e, d, p, q and what else is given) do not belong together",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k, err := keys.Parse([]byte(tt.data), tt.alg)
			if err == nil {
				t.Fatalf("it is taken: %v", k)
			}
			if err.Error() != tt.want {
				t.Errorf("got  %s\nwant %s", err, tt.want)
			}
		})
	}
}

// reblock changes what is in a PEM block.
func reblock(tb testing.TB, text string, fn func(der []byte) []byte) string {
	tb.Helper()
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		tb.Fatal("no PEM")
	}
	block.Bytes = fn(block.Bytes)
	return string(pem.EncodeToMemory(block))
}

// What is wrong with a key is told to whoever reads the log: no piece of the key may be in it.
func TestParseErrorsShowNothingOfTheKey(t *testing.T) {
	files, err := filepath.Glob("testdata/*.*")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		data := testdata(t, filepath.Base(file))
		for cut := 0; cut < len(data); cut += 7 {
			for _, broken := range []string{data[:cut], data[cut:], data[:cut] + "#" + data[cut:]} {
				_, err := keys.Parse([]byte(broken), "")
				if err == nil {
					continue
				}
				for line := range strings.Lines(data) {
					line = strings.TrimSpace(line)
					if len(line) > 32 && strings.Contains(err.Error(), line[8:24]) {
						t.Fatalf("%s at %d: %v", file, cut, err)
					}
				}
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/*.*")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		f.Add([]byte(testdata(f, filepath.Base(file))), "")
	}
	for _, file := range []string{"p256.pem", "p384.pem", "rsa2048.pem", "ed25519.pem", "p521.pem"} {
		f.Add([]byte(jwkOf(f, file, nil)), "")
	}
	f.Add([]byte(jwkOf(f, "p256.pem", members{"kid": "a", "alg": "ES256", "use": "sig"})), "ES256")
	f.Add([]byte(jwkOf(f, "rsa2048.pem", members{"key_ops": []string{"sign"}})), "PS256")
	f.Fuzz(func(t *testing.T, data []byte, alg string) {
		k, err := keys.Parse(data, keys.Algorithm(alg))
		if err != nil {
			if k != nil {
				t.Fatal("a key beside an error")
			}
			return
		}
		if alg != "" && k.Algorithm() != keys.Algorithm(alg) {
			t.Fatalf("got %v for %q", k, alg)
		}
		if k.ID() == "" || len(k.ID()) > 128 {
			t.Fatalf("kid %q", k.ID())
		}
		text := []byte("text")
		if !k.Verify(text, sign(t, k, text)) {
			t.Fatalf("%v does not verify what it signed", k)
		}
	})
}

func TestParseKeepsThePublicKey(t *testing.T) {
	forEachAlgorithm(t, func(t *testing.T, k *keys.Key, signer crypto.Signer) {
		if !signer.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(k.Public()) {
			t.Errorf("%v has another public key", k)
		}
	})
}
