//go:build linux

package main

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"math/big"
	"net/http"
	"os"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func init() {
	caddy.RegisterModule(floor{})
	httpcaddyfile.RegisterHandlerDirective(floorDirective,
		func(httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) { return new(floor), nil })
	httpcaddyfile.RegisterDirectiveOrder(floorDirective, httpcaddyfile.Before, "basic_auth")
}

const floorDirective = "bench_floor"

// floor is a handler that verifies the ES256 signature of a bearer token by the standard library, and does nothing
// else: no parsing, no claims, no revocation. What a token that nobody has seen costs cannot be less.
type floor struct{ public *ecdsa.PublicKey }

// CaddyModule implements [caddy.Module].
func (floor) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers." + floorDirective, New: func() caddy.Module { return new(floor) }}
}

// Provision takes the key that the issuer of the same gateway signs with.
func (f *floor) Provision(caddy.Context) error {
	block, _ := pem.Decode([]byte(os.Getenv("BENCH_KEY")))
	if block == nil {
		return errors.New("BENCH_KEY is no PEM")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return err
	}
	if key, ok := parsed.(*ecdsa.PrivateKey); ok {
		f.public = &key.PublicKey
	}
	return nil
}

// ServeHTTP implements [caddyhttp.MiddlewareHandler].
func (f *floor) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	dot := strings.LastIndexByte(token, '.')
	if f.public == nil || dot < 0 {
		return caddyhttp.Error(http.StatusUnauthorized, nil)
	}
	signature, err := base64.RawURLEncoding.DecodeString(token[dot+1:])
	if err != nil || len(signature) != 64 {
		return caddyhttp.Error(http.StatusUnauthorized, err)
	}
	sum := sha256.Sum256([]byte(token[:dot]))
	if !ecdsa.Verify(f.public, sum[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])) {
		return caddyhttp.Error(http.StatusUnauthorized, nil)
	}
	return next.ServeHTTP(w, r)
}
