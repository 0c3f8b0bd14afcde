package keys_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
	"sync"
	"testing"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jws"

	"github.com/oauth2-passport/caddy-passport/issuer/keys"
)

var allAlgorithms = []keys.Algorithm{keys.ES256, keys.ES384, keys.RS256, keys.PS256, keys.EdDSA}

// forEachAlgorithm runs fn with a key of each algorithm, and the same key for the standard library.
func forEachAlgorithm(t *testing.T, fn func(t *testing.T, k *keys.Key, signer crypto.Signer)) {
	for _, alg := range allAlgorithms {
		t.Run(string(alg), func(t *testing.T) {
			k, signer := keyPair(t, alg)
			fn(t, k, signer)
		})
	}
}

// signers are the keys that signerFor has made: an RSA key takes long, under the race detector longer.
var signers sync.Map

// signerFor is a key for alg, always the same.
func signerFor(tb testing.TB, alg keys.Algorithm) crypto.Signer {
	tb.Helper()
	if key, ok := signers.Load(alg); ok {
		return key.(crypto.Signer)
	}
	var key crypto.Signer
	var err error
	switch alg {
	case keys.ES256:
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case keys.ES384:
		key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case keys.RS256, keys.PS256:
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	default:
		_, key, err = ed25519.GenerateKey(rand.Reader)
	}
	if err != nil {
		tb.Fatal(err)
	}
	signers.Store(alg, key)
	return key
}

func generate(tb testing.TB, alg keys.Algorithm) *keys.Key {
	tb.Helper()
	k, err := keys.Generate(alg)
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

func sign(tb testing.TB, k *keys.Key, payload []byte) []byte {
	tb.Helper()
	sig, err := k.Sign(payload)
	if err != nil {
		tb.Fatal(err)
	}
	return sig
}

// verifies tells whether k made the compact JWS token.
func verifies(tb testing.TB, k *keys.Key, token string) bool {
	tb.Helper()
	dot := strings.LastIndexByte(token, '.')
	sig, err := base64.RawURLEncoding.DecodeString(token[dot+1:])
	if err != nil {
		tb.Fatal(err)
	}
	return k.Verify([]byte(token[:dot]), sig)
}

func TestParseAlgorithm(t *testing.T) {
	for _, alg := range allAlgorithms {
		if got, err := keys.ParseAlgorithm(string(alg)); got != alg || err != nil {
			t.Errorf("%s: got %q, %v", alg, got, err)
		}
	}
	if got, err := keys.ParseAlgorithm(""); got != keys.ES256 || err != nil {
		t.Errorf("empty: got %q, %v", got, err)
	}
	for _, name := range []string{"none", "HS256", "es256", "ES512", "RS512", "ES256 "} {
		want := fmt.Sprintf("unknown algorithm %q: use one of ES256, ES384, RS256, PS256, EdDSA", name)
		if got, err := keys.ParseAlgorithm(name); got != "" || err == nil || err.Error() != want {
			t.Errorf("%q: got %q, %v", name, got, err)
		}
	}
}

func TestGenerate(t *testing.T) {
	for _, alg := range allAlgorithms {
		a, b := generate(t, alg), generate(t, alg)
		if a.Algorithm() != alg || a.ID() == b.ID() || len(a.ID()) != 43 {
			t.Errorf("%s: got %v and %v", alg, a, b)
		}
	}
	for _, alg := range []keys.Algorithm{"", "none", "HS256"} {
		if k, err := keys.Generate(alg); k != nil || err == nil {
			t.Errorf("%q: got %v, %v", alg, k, err)
		}
	}
}

// rounds is how often a test repeats what it does with a key: a signature by ECDSA or PSS is another each time, and one
// by RSA is dear.
func rounds(k *keys.Key) int {
	if k.Algorithm() == keys.ES256 {
		return 200
	}
	return 5
}

func TestSignaturesVerifyWithJWX(t *testing.T) {
	forEachAlgorithm(t, func(t *testing.T, k *keys.Key, signer crypto.Signer) {
		for i := range rounds(k) {
			payload := fmt.Appendf(nil, `{"n":%d}`, i)
			token, err := k.SignJWT("at+jwt", payload)
			if err != nil {
				t.Fatal(err)
			}
			got, err := jws.Verify([]byte(token), jws.WithKey(jwa.SignatureAlgorithm(k.Algorithm()), signer.Public()))
			if err != nil {
				t.Fatalf("%s: %v", token, err)
			}
			if !bytes.Equal(got, payload) {
				t.Fatalf("got %s", got)
			}
			if !verifies(t, k, token) {
				t.Fatalf("own token refused: %s", token)
			}
		}
	})
}

func TestVerifiesSignaturesOfJWX(t *testing.T) {
	forEachAlgorithm(t, func(t *testing.T, k *keys.Key, signer crypto.Signer) {
		for i := range rounds(k) {
			token, err := jws.Sign(fmt.Appendf(nil, `{"n":%d}`, i),
				jws.WithKey(jwa.SignatureAlgorithm(k.Algorithm()), signer))
			if err != nil {
				t.Fatal(err)
			}
			if !verifies(t, k, string(token)) {
				t.Fatalf("refused: %s", token)
			}
		}
	})
}

// The keys and signatures of RFC 7515 appendix A.3 and RFC 8037 appendix A.
func TestRFCExamples(t *testing.T) {
	for _, tt := range []struct{ name, jwk, kid, token string }{
		{
			"ES256",
			`{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",` +
				`"y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0","d":"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"}`,
			"oKIywvGUpTVTyxMQ3bwIIeQUudfr_CkLMjCE19ECD-U",
			"eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb2" +
				"90Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
		},
		{
			"EdDSA",
			`{"kty":"OKP","crv":"Ed25519","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",` +
				`"x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`,
			"kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
			"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbh" +
				"ijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k, err := keys.Parse([]byte(tt.jwk), "")
			if err != nil {
				t.Fatal(err)
			}
			if k.ID() != tt.kid {
				t.Errorf("kid: got %s, want %s", k.ID(), tt.kid)
			}
			if !verifies(t, k, tt.token) {
				t.Error("the token of the RFC is refused")
			}
		})
	}
}

func TestSignJWTHeader(t *testing.T) {
	k := generate(t, keys.ES256)
	for _, typ := range []string{"at+jwt", "JWT", `od"d<&\`, "", "a", "b", "c", "d", "e", "f", "g", "at+jwt", "g"} {
		token, err := k.SignJWT(typ, claims)
		if err != nil {
			t.Fatal(err)
		}
		header, err := base64.RawURLEncoding.DecodeString(token[:strings.IndexByte(token, '.')])
		if err != nil {
			t.Fatal(err)
		}
		var got map[string]string
		if err := json.Unmarshal(header, &got); err != nil {
			t.Fatalf("%s: %v", header, err)
		}
		if got["alg"] != "ES256" || got["typ"] != typ || got["kid"] != k.ID() {
			t.Errorf("%q: got %s", typ, header)
		}
		if _, ok := got["typ"]; ok != (typ != "") {
			t.Errorf("%q: got %s", typ, header)
		}
		if !verifies(t, k, token) {
			t.Errorf("%q: refused", typ)
		}
	}
}

func TestSignJWTFromManyGoroutines(t *testing.T) {
	forEachAlgorithm(t, func(t *testing.T, k *keys.Key, _ crypto.Signer) {
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				for j := range 5 {
					token, err := k.SignJWT(fmt.Sprintf("t%d", (i+j)%3), claims)
					if err != nil || !verifies(t, k, token) {
						t.Errorf("%q, %v", token, err)
					}
				}
			})
		}
		wg.Wait()
	})
}

func TestSignaturesHaveFixedWidth(t *testing.T) {
	want := map[keys.Algorithm]int{keys.ES256: 64, keys.ES384: 96, keys.RS256: 256, keys.PS256: 256, keys.EdDSA: 64}
	forEachAlgorithm(t, func(t *testing.T, k *keys.Key, _ crypto.Signer) {
		n, short := rounds(k), 0
		if k.Algorithm() == keys.ES256 {
			n = 2000 // one signature in 128 has an r or an s that needs a zero in front
		}
		for i := range n {
			payload := fmt.Append(nil, i)
			sig := sign(t, k, payload)
			if len(sig) != want[k.Algorithm()] {
				t.Fatalf("got %d bytes", len(sig))
			}
			if sig[0] == 0 || sig[len(sig)/2] == 0 {
				short++
				if !k.Verify(payload, sig) {
					t.Fatalf("refused: %x", sig)
				}
			}
		}
		if n > 1000 && short == 0 {
			t.Error("no signature with a zero in front was seen")
		}
	})
}

func TestRefusesAlteredSignatures(t *testing.T) {
	forEachAlgorithm(t, func(t *testing.T, k *keys.Key, signer crypto.Signer) {
		payload := []byte("eyJhbGciOiJFUzI1NiJ9.e30")
		good := sign(t, k, payload)
		if !k.Verify(payload, good) {
			t.Fatal("a good signature is refused")
		}
		half := len(good) / 2
		bad := map[string][]byte{
			"none":              nil,
			"empty":             {},
			"one byte":          {0},
			"short":             good[:len(good)-1],
			"short at front":    good[1:],
			"long":              append(bytes.Clone(good), 0),
			"zero in front":     append([]byte{0}, good...),
			"twice":             append(bytes.Clone(good), good...),
			"zeros":             make([]byte, len(good)),
			"ones":              bytes.Repeat([]byte{0xff}, len(good)),
			"r zero":            append(make([]byte, half), good[half:]...),
			"s zero":            append(bytes.Clone(good[:half]), make([]byte, half)...),
			"halves swapped":    append(bytes.Clone(good[half:]), good[:half]...),
			"of another text":   sign(t, k, []byte("another")),
			"of another key":    sign(t, generate(t, k.Algorithm()), payload),
			"in base64":         []byte(base64.RawURLEncoding.EncodeToString(good)),
			"first bit flipped": flip(good, 0, 0x80),
			"last bit flipped":  flip(good, len(good)-1, 1),
		}
		switch public := signer.Public().(type) {
		case *ecdsa.PublicKey:
			// r+N and s+N are the same numbers to a verifier that does not look. Each half of zeros plus N is N itself.
			order := public.Params().N.Bytes()
			bad["s is the order"] = append(bytes.Clone(good[:half]), order...)
			bad["r is the order"] = append(bytes.Clone(order), good[half:]...)
			der, err := ecdsa.SignASN1(rand.Reader, signer.(*ecdsa.PrivateKey), hash(k.Algorithm(), payload))
			if err != nil {
				t.Fatal(err)
			}
			bad["DER"] = der
			bad["DER cut to width"] = der[:len(good)]
		case *rsa.PublicKey:
			bad["plus N"] = new(big.Int).Add(new(big.Int).SetBytes(good), public.N).Bytes()
		case ed25519.PublicKey:
			// RFC 8032 §5.1.7: s is less than the order of the group.
			l, _ := new(big.Int).SetString("1000000000000000000000000000000014def9dea2f79cd65812631a5cf5d3ed", 16)
			s := new(big.Int).SetBytes(reversed(good[32:]))
			bad["s plus the order"] = append(bytes.Clone(good[:32]), reversed(s.Add(s, l).FillBytes(make([]byte, 32)))...)
		}
		for name, sig := range bad {
			if k.Verify(payload, sig) {
				t.Errorf("%s: accepted", name)
			}
		}
		if k.Verify(nil, good) || k.Verify(payload[1:], good) {
			t.Error("accepted for another text")
		}
	})
}

func flip(b []byte, i int, bit byte) []byte {
	b = bytes.Clone(b)
	b[i] ^= bit
	return b
}

func reversed(b []byte) []byte {
	out := make([]byte, len(b))
	for i, c := range b {
		out[len(b)-1-i] = c
	}
	return out
}

// RFC 7518 §3.5: the salt is as long as the hash.
func TestRefusesPSSWithAnotherSalt(t *testing.T) {
	k, signer := keyPair(t, keys.PS256)
	payload := []byte("text")
	sum := sha256.Sum256(payload)
	for salt, want := range map[int]bool{
		rsa.PSSSaltLengthAuto: false, rsa.PSSSaltLengthEqualsHash: true, 32: true, 1: false, 31: false, 33: false, 20: false,
	} {
		sig, err := rsa.SignPSS(rand.Reader, signer.(*rsa.PrivateKey), crypto.SHA256, sum[:],
			&rsa.PSSOptions{SaltLength: salt})
		if err != nil {
			t.Fatal(err)
		}
		if got := k.Verify(payload, sig); got != want {
			t.Errorf("salt %d: got %v", salt, got)
		}
	}
}

// A key has one algorithm (RFC 8725 §3.1): what the same RSA key signed by another is refused.
func TestRefusesSignatureByAnotherAlgorithm(t *testing.T) {
	signer := signerFor(t, keys.RS256)
	text := []byte("text")
	for _, pair := range [][2]keys.Algorithm{{keys.RS256, keys.PS256}, {keys.PS256, keys.RS256}} {
		a, err := keys.Parse(pemPKCS8(t, signer), pair[0])
		if err != nil {
			t.Fatal(err)
		}
		b, err := keys.Parse(pemPKCS8(t, signer), pair[1])
		if err != nil {
			t.Fatal(err)
		}
		if b.Verify(text, sign(t, a, text)) {
			t.Errorf("%s accepts %s", pair[1], pair[0])
		}
	}
	// PKCS #1 v1.5 with another hash.
	k, err := keys.Parse(pemPKCS8(t, signer), keys.RS256)
	if err != nil {
		t.Fatal(err)
	}
	sha1, err := rsa.SignPKCS1v15(nil, signer.(*rsa.PrivateKey), crypto.SHA1, make([]byte, 20))
	if err != nil {
		t.Fatal(err)
	}
	if k.Verify(text, sha1) {
		t.Error("accepts another hash")
	}
}

func TestPrintingAKeyTellsNoSecret(t *testing.T) {
	forEachAlgorithm(t, func(t *testing.T, k *keys.Key, _ crypto.Signer) {
		want := string(k.Algorithm()) + " key " + k.ID()
		for _, verb := range []string{"%v", "%+v", "%s"} {
			if got := fmt.Sprintf(verb, k); got != want {
				t.Errorf("%s: got %s", verb, got)
			}
		}
		if got := fmt.Sprintf("%#v", k); got != "keys.Key{"+want+"}" {
			t.Errorf("got %s", got)
		}
		if got, err := json.Marshal(map[string]any{"key": k}); string(got) != `{"key":{}}` || err != nil {
			t.Errorf("got %s, %v", got, err)
		}
	})
}

func TestSignJWTAllocatesLittle(t *testing.T) {
	k, signer := keyPair(t, keys.ES256)
	sum := sha256.Sum256(claims)
	floor := testing.AllocsPerRun(50, func() {
		if _, err := floorSign(signer, keys.ES256, sum[:]); err != nil {
			t.Fatal(err)
		}
	})
	got := testing.AllocsPerRun(50, func() {
		if _, err := k.SignJWT("at+jwt", claims); err != nil {
			t.Fatal(err)
		}
	})
	if got > floor+3 {
		t.Errorf("%v allocations, the standard library makes %v", got, floor)
	}
}

// TestGeneratedKeysAreNoFlags: a command that is given the ID of one takes it for that.
func TestGeneratedKeysAreNoFlags(t *testing.T) {
	for range 600 {
		k, err := keys.Generate(keys.EdDSA)
		if err != nil || strings.HasPrefix(k.ID(), "-") {
			t.Fatalf("%v %v", k, err)
		}
	}
}
