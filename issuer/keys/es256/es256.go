// Package es256 verifies signatures of ES256 (RFC 7518 §3.4: ECDSA on P-256 with SHA-256) with keys that have many to
// verify.
//
// The standard library takes each key as one that it has never seen before, and most of its time goes into multiples of
// the public point. Those of a key that verifies again and again are looked up here in a table, which makes a
// verification about two and a half times as fast on amd64. What is verified is no secret, so it need not take the same
// time. Nothing here signs.
package es256

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/fips140"
	"encoding/binary"
	"math/big"
	"sync/atomic"

	"filippo.io/nistec"
)

// Size is how many bytes a signature has: r and s side by side.
const Size = 2 * width

const (
	width = 32 // bytes of a number below the order

	// A multiple of the public point is a sum of one point from each column of the table. With six bits a column that
	// is 43 additions and 260 kB, with five 52 and 155 kB, with seven 37 and 450 kB, more than a processor keeps near.
	bits    = 6
	columns = (8*width + bits - 1) / bits

	// patience is how many good signatures a key verifies by the standard library until it gets a table: to make one
	// takes as long as twenty verifications. Forged ones count for nothing, or whoever sends them could have a table made
	// for each key of another issuer.
	patience = 50
)

// order is the number of points of P-256 (FIPS 186-5, SP 800-186 §3.2.1.3).
var order = elliptic.P256().Params().N

// table has digit × 2^(bits × column) × the public point at [column][digit-1].
type table [columns][1<<bits - 1]nistec.P256Point

// Key is a public key on P-256. It may be used from any goroutine.
type Key struct {
	public *ecdsa.PublicKey
	used   atomic.Int32 // how many good signatures it has verified without a table
	table  atomic.Pointer[table]
}

// New takes a public key, whose curve has to be P-256.
func New(public *ecdsa.PublicKey) *Key { return &Key{public: public} }

// Verify tells whether signature is the key's signature of what has that SHA-256.
func (k *Key) Verify(sum *[width]byte, signature []byte) bool {
	if len(signature) != Size {
		return false
	}
	var r, s big.Int
	r.SetBytes(signature[:width])
	s.SetBytes(signature[width:])
	t := k.table.Load()
	if t != nil {
		return t.verify(sum, &r, &s)
	}
	good := ecdsa.Verify(k.public, sum[:], &r, &s)
	if good && k.used.Add(1) == patience && !fips140.Enabled() { // which wants the validated module for everything
		if t = newTable(k.public); t != nil {
			k.table.Store(t)
		}
	}
	return good
}

func newTable(public *ecdsa.PublicKey) *table {
	encoded, err := public.Bytes()
	if err != nil {
		return nil
	}
	base, err := nistec.NewP256Point().SetBytes(encoded)
	if err != nil {
		return nil
	}
	t := new(table)
	for column := range t {
		points := &t[column]
		points[0].Set(base)
		for i := 1; i < len(points); i++ {
			points[i].Add(&points[i-1], base)
		}
		base.Add(&points[len(points)-1], base)
	}
	return t
}

// verify is the verification of FIPS 186-5 §6.4.2.
func (t *table) verify(sum *[width]byte, r, s *big.Int) bool {
	if r.Sign() == 0 || r.Cmp(order) >= 0 || s.Sign() == 0 || s.Cmp(order) >= 0 {
		return false
	}
	var inverse, u, v big.Int
	if inverse.ModInverse(s, order) == nil {
		return false
	}
	var scalar [width]byte
	u.Mul(u.SetBytes(sum[:]), &inverse)
	point, err := nistec.NewP256Point().ScalarBaseMult(u.Mod(&u, order).FillBytes(scalar[:]))
	if err != nil {
		return false
	}
	v.Mul(r, &inverse)
	t.addMultiple(point, v.Mod(&v, order).FillBytes(scalar[:]))
	x, err := point.BytesX()
	if err != nil {
		return false // the point at infinity has none
	}
	v.SetBytes(x)
	return v.Mod(&v, order).Cmp(r) == 0
}

// addMultiple adds that multiple of the public point to a point.
func (t *table) addMultiple(to *nistec.P256Point, scalar []byte) {
	var words [width/8 + 1]uint64 // the lowest first; and one of zeros
	for i := range width / 8 {
		words[i] = binary.BigEndian.Uint64(scalar[width-8*(i+1):])
	}
	for column := range t {
		word, shift := column*bits/64, column*bits%64
		digit := (words[word]>>shift | words[word+1]<<(64-shift)) & (1<<bits - 1)
		if digit != 0 {
			to.Add(to, &t[column][digit-1])
		}
	}
}
