package keys_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/pem"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oauth2-passport/caddy-passport/issuer/keys"
)

// claims is what an access token of a client holds, as long as one is.
var claims = []byte(`{"iss":"https://api.example.com","sub":"orders-sync","aud":"https://api.example.com",` +
	`"exp":1790000000,"iat":1789996400,"jti":"01998e0c-3f7a-7c3e-9d7e-3a1b5c7d9e0f","client_id":"orders-sync",` +
	`"scope":"read write"}`)

// BenchmarkSignJWT measures, for each algorithm, a whole token beside the floor: the signature by the standard library
// alone, of a hash that is at hand.
func BenchmarkSignJWT(b *testing.B) {
	for _, alg := range allAlgorithms {
		k, signer := keyPair(b, alg)
		sum := hash(alg, claims)
		b.Run(string(alg), func(b *testing.B) {
			sideBySide(b, func() bool {
				_, err := floorSign(signer, alg, sum)
				return err == nil
			}, func() bool {
				_, err := k.SignJWT("at+jwt", claims)
				return err == nil
			})
		})
	}
}

// BenchmarkVerify measures, for each algorithm, Key.Verify of a token beside the floor: the standard library alone, of
// a hash and a signature in its own format that are at hand.
func BenchmarkVerify(b *testing.B) {
	for _, alg := range allAlgorithms {
		k, signer := keyPair(b, alg)
		token, err := k.SignJWT("at+jwt", claims)
		if err != nil {
			b.Fatal(err)
		}
		input := []byte(token[:strings.LastIndexByte(token, '.')])
		signature := sign(b, k, input)
		sum := hash(alg, input)
		native, err := floorSign(signer, alg, sum)
		if err != nil {
			b.Fatal(err)
		}
		public := signer.Public()
		b.Run(string(alg), func(b *testing.B) {
			sideBySide(b, func() bool { return floorVerify(public, alg, sum, native) },
				func() bool { return k.Verify(input, signature) })
		})
	}
}

// sideBySide runs two functions by turns, so that what else the machine does slows both alike. It reports the median
// of ours as ns/op, that of the floor, how many times the floor ours takes, and the allocations of both.
func sideBySide(b *testing.B, floor, ours func() bool) {
	var took [2][]time.Duration
	for b.Loop() {
		for i, fn := range [2]func() bool{floor, ours} {
			start := time.Now()
			ok := fn()
			took[i] = append(took[i], time.Since(start))
			if !ok {
				b.Fatal("failed")
			}
		}
	}
	median := func(d []time.Duration) float64 {
		slices.Sort(d)
		return float64(d[len(d)/2])
	}
	a, c := median(took[0]), median(took[1])
	b.ReportMetric(c, "ns/op")
	b.ReportMetric(a, "floor-ns/op")
	b.ReportMetric(c/a, "x-floor")
	b.ReportMetric(testing.AllocsPerRun(20, func() { ours() }), "our-allocs/op")
	b.ReportMetric(testing.AllocsPerRun(20, func() { floor() }), "floor-allocs/op")
}

// keyPair is the same key for this package and for the standard library.
func keyPair(tb testing.TB, alg keys.Algorithm) (*keys.Key, crypto.Signer) {
	tb.Helper()
	signer := signerFor(tb, alg)
	k, err := keys.Parse(pemPKCS8(tb, signer), alg)
	if err != nil {
		tb.Fatal(err)
	}
	return k, signer
}

func pemPKCS8(tb testing.TB, signer crypto.Signer) []byte {
	tb.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(signer)
	if err != nil {
		tb.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// hash is what the standard library signs: the hash of input, or for Ed25519 input itself.
func hash(alg keys.Algorithm, input []byte) []byte {
	switch alg {
	case keys.EdDSA:
		return input
	case keys.ES384:
		sum := sha512.Sum384(input)
		return sum[:]
	}
	sum := sha256.Sum256(input)
	return sum[:]
}

func floorSign(signer crypto.Signer, alg keys.Algorithm, sum []byte) ([]byte, error) {
	switch key := signer.(type) {
	case *ecdsa.PrivateKey:
		return ecdsa.SignASN1(rand.Reader, key, sum)
	case *rsa.PrivateKey:
		if alg == keys.PS256 {
			return rsa.SignPSS(rand.Reader, key, crypto.SHA256, sum, pss)
		}
		return rsa.SignPKCS1v15(nil, key, crypto.SHA256, sum)
	}
	return ed25519.Sign(signer.(ed25519.PrivateKey), sum), nil
}

func floorVerify(public crypto.PublicKey, alg keys.Algorithm, sum, signature []byte) bool {
	switch key := public.(type) {
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(key, sum, signature)
	case *rsa.PublicKey:
		if alg == keys.PS256 {
			return rsa.VerifyPSS(key, crypto.SHA256, sum, signature, pss) == nil
		}
		return rsa.VerifyPKCS1v15(key, crypto.SHA256, sum, signature) == nil
	}
	return ed25519.Verify(public.(ed25519.PublicKey), sum, signature)
}

var pss = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}
