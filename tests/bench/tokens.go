//go:build linux

package main

import (
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"runtime"
	"strings"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwk"
	"golang.org/x/sys/unix"

	"github.com/oauth2-passport/caddy-passport/store"
)

// mint makes access tokens as an issuer does, by the private key that the issuer has been given: faster than by asking
// it, and without its code.
type mint struct {
	algorithm string
	issuer    string
	audience  string // empty: the issuer
	signer    crypto.Signer
	header    string // encoded
	pem       string // what `private_key` takes
}

func newMint(algorithm string) (*mint, error) {
	m := &mint{algorithm: algorithm}
	var err error
	switch algorithm {
	case "ES256":
		m.signer, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "RS256":
		m.signer, err = rsa.GenerateKey(rand.Reader, 2048)
	case "EdDSA":
		_, m.signer, err = ed25519.GenerateKey(rand.Reader)
	default:
		err = fmt.Errorf("no minting of %s", algorithm)
	}
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(m.signer)
	if err != nil {
		return nil, err
	}
	m.pem = string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	key, err := jwk.FromRaw(m.signer.Public())
	if err != nil {
		return nil, err
	}
	thumbprint, err := key.Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, err
	}
	m.header = encode(fmt.Appendf(nil, `{"alg":%q,"typ":"at+jwt","kid":%q}`, algorithm,
		base64.RawURLEncoding.EncodeToString(thumbprint)))
	return m, nil
}

// sign is the signature of a JWS over input, by the standard library alone: also the floor that the token endpoint is
// measured against.
func (m *mint) sign(input []byte) ([]byte, error) {
	switch key := m.signer.(type) {
	case *ecdsa.PrivateKey:
		digest := sha256.Sum256(input)
		r, s, err := ecdsa.Sign(rand.Reader, key, digest[:])
		if err != nil {
			return nil, err
		}
		signature := make([]byte, 64)
		r.FillBytes(signature[:32])
		s.FillBytes(signature[32:])
		return signature, nil
	case *rsa.PrivateKey:
		digest := sha256.Sum256(input)
		return rsa.SignPKCS1v15(nil, key, crypto.SHA256, digest[:])
	default:
		return m.signer.Sign(nil, input, crypto.Hash(0))
	}
}

// record is what the store keeps of a new token.
func (m *mint) record() store.Token {
	now := time.Now().Truncate(time.Second)
	return store.Token{
		ID: store.NewID(now), ClientID: clientID, Issuer: m.issuer, Scopes: []string{"read", "write"},
		Audience: []string{m.issuer}, IssuedAt: now, ExpiresAt: now.Add(2 * time.Hour),
	}
}

// unsigned is the signing input of a new token.
func (m *mint) unsigned() string {
	record := m.record()
	return m.header + "." + encode(fmt.Appendf(nil,
		`{"iss":%q,"sub":%q,"aud":%q,"exp":%d,"iat":%d,"jti":%q,"client_id":%q,"scope":"read write"}`, m.issuer, clientID,
		cmp.Or(m.audience, m.issuer), record.ExpiresAt.Unix(), record.IssuedAt.Unix(), record.ID, clientID))
}

// token is a new access token of the client of the benchmarks.
func (m *mint) token() (string, error) {
	input := m.unsigned()
	signature, err := m.sign([]byte(input))
	return input + "." + encode(signature), err
}

// tokens mints n of them on all cores.
func (m *mint) tokens(n int) ([]string, error) {
	tokens := make([]string, n)
	return tokens, inParallel(n, 0, func(i int) (err error) {
		tokens[i], err = m.token()
		return err
	})
}

// forged makes n tokens whose signature has the form of a good one and is another token's: the most expensive kind to
// refuse, for no check short of the signature itself tells.
func (m *mint) forged(n int) ([]string, error) {
	good, err := m.tokens(64)
	if err != nil {
		return nil, err
	}
	tokens := make([]string, n)
	for i := range tokens {
		donor := good[i%len(good)]
		tokens[i] = m.unsigned() + donor[strings.LastIndexByte(donor, '.'):]
	}
	return tokens, nil
}

// signature is the CPU time of one signature of a token's size, of the median of those that are made until the channel
// is closed: a few at a time, so that the machine has room for what is measured beside.
func (m *mint) signature(stop <-chan struct{}) time.Duration {
	input := []byte(m.unsigned())
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	const atATime = 10
	var times []float64
	for {
		var before, after unix.Timespec
		err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &before)
		for range atATime {
			if _, failure := m.sign(input); failure != nil {
				panic(failure) // the key is our own
			}
		}
		if err == nil {
			err = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &after)
		}
		if err != nil {
			panic(err) // there is such a clock
		}
		times = append(times, float64(after.Nano()-before.Nano())/atATime)
		select {
		case <-stop:
			return time.Duration(spreadOf(times).Median)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func encode(data []byte) string { return base64.RawURLEncoding.EncodeToString(data) }
