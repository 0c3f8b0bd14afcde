package es256

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/fips140"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/big"
	"os"
	"strings"
	"sync"
	"testing"
)

func generate(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return private
}

// signed is the signature of a hash.
func signed(t testing.TB, private *ecdsa.PrivateKey, sum [width]byte) []byte {
	t.Helper()
	r, s, err := ecdsa.Sign(rand.Reader, private, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return join(r, s)
}

func join(r, s *big.Int) []byte {
	signature := make([]byte, Size)
	r.FillBytes(signature[:width])
	s.FillBytes(signature[width:])
	return signature
}

// standard is the verdict of the standard library.
func standard(public *ecdsa.PublicKey, sum [width]byte, signature []byte) bool {
	r, s := new(big.Int).SetBytes(signature[:width]), new(big.Int).SetBytes(signature[width:])
	return ecdsa.Verify(public, sum[:], r, s)
}

// eager is a key that has its table from the beginning.
func eager(t testing.TB, public *ecdsa.PublicKey) *Key {
	t.Helper()
	k := New(public)
	table := newTable(public)
	if table == nil {
		t.Fatal("there is no table")
	}
	k.table.Store(table)
	return k
}

// agree wants the verdict of a table, and the same of the standard library.
func agree(t *testing.T, k *Key, sum [width]byte, signature []byte, want bool) {
	t.Helper()
	if got := standard(k.public, sum, signature); got != want {
		t.Fatalf("the standard library says %v of %x for %x", got, signature, sum)
	}
	if got := k.Verify(&sum, signature); got != want {
		t.Errorf("%v of %x for %x", got, signature, sum)
	}
}

func TestVerify(t *testing.T) {
	for range 20 {
		private := generate(t)
		k := eager(t, &private.PublicKey)
		for n := range 20 {
			sum := sha256.Sum256(fmt.Append(nil, n))
			signature := signed(t, private, sum)
			agree(t, k, sum, signature, true)
			for bit := n; bit < 8*Size; bit += 20 {
				signature[bit/8] ^= 1 << (bit % 8)
				agree(t, k, sum, signature, false)
				signature[bit/8] ^= 1 << (bit % 8)
			}
			for bit := n; bit < 8*width; bit += 20 {
				other := sum
				other[bit/8] ^= 1 << (bit % 8)
				agree(t, k, other, signature, false)
			}
			twin := join(new(big.Int).SetBytes(signature[:width]),
				new(big.Int).Sub(order, new(big.Int).SetBytes(signature[width:])))
			agree(t, k, sum, twin, true)
		}
	}
}

// TestEachMultiple has signatures whose verification multiplies the generator and the public point by given numbers:
// each digit in each column, the least and the greatest, and those whose points are the same or each other's negative.
func TestEachMultiple(t *testing.T) {
	private := generate(t)
	k := eager(t, &private.PublicKey)
	scalar, err := private.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	d := new(big.Int).SetBytes(scalar)
	var of []*big.Int
	for _, n := range []int64{1, 2, 3, 1<<bits - 1, 1 << bits, 1<<bits + 1} {
		of = append(of, big.NewInt(n), new(big.Int).Sub(order, big.NewInt(n)))
	}
	for shift := range uint(256) {
		of = append(of, new(big.Int).Lsh(big.NewInt(1), shift))
	}
	for column := range uint(columns) {
		for digit := range int64(1 << bits) {
			of = append(of, new(big.Int).Lsh(big.NewInt(digit), bits*column))
		}
	}
	one := big.NewInt(1)
	for n, u2 := range of {
		if u2.Sign() == 0 || u2.Cmp(order) >= 0 {
			continue
		}
		public := mod(new(big.Int).Mul(u2, d)) // of the generator
		for _, u1 := range []*big.Int{new(big.Int), one, public, mod(new(big.Int).Sub(order, one))} {
			if n%16 != 0 && u1.Sign() != 0 {
				continue
			}
			sum, signature := signatureBy(t, d, u1, u2)
			agree(t, k, sum, signature, true)
		}
	}
	// The sum of both is the point at infinity, whatever r is.
	for range 20 {
		r, s := number(t), number(t)
		e := mod(new(big.Int).Neg(new(big.Int).Mul(r, d)))
		var sum [width]byte
		e.FillBytes(sum[:])
		agree(t, k, sum, join(r, s), false)
	}
}

// signatureBy is a hash, and a signature of it that is verified by u1 times the generator and u2 times the public point.
func signatureBy(t *testing.T, d, u1, u2 *big.Int) (sum [width]byte, signature []byte) {
	t.Helper()
	point := mod(new(big.Int).Add(u1, new(big.Int).Mul(u2, d)))
	if point.Sign() == 0 {
		t.Fatal("they have no sum")
	}
	r := mod(abscissa(t, point))
	s := mod(new(big.Int).Mul(r, new(big.Int).ModInverse(u2, order)))
	mod(new(big.Int).Mul(u1, s)).FillBytes(sum[:])
	return sum, join(r, s)
}

// abscissa is the x of a multiple of the generator.
func abscissa(t *testing.T, scalar *big.Int) *big.Int {
	t.Helper()
	private, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), scalar.FillBytes(make([]byte, width)))
	if err != nil {
		t.Fatal(err)
	}
	return private.X
}

func mod(n *big.Int) *big.Int { return n.Mod(n, order) }

func number(t *testing.T) *big.Int {
	t.Helper()
	n, err := rand.Int(rand.Reader, new(big.Int).Sub(order, big.NewInt(1)))
	if err != nil {
		t.Fatal(err)
	}
	return n.Add(n, big.NewInt(1))
}

// TestGreatAbscissa has a signature whose point has an x above the order, so that r is what is left of it: one in 2^128
// has, and a key is made for it.
func TestGreatAbscissa(t *testing.T) {
	params := elliptic.P256().Params()
	x := new(big.Int).Add(order, big.NewInt(1))
	for ; ; x.Add(x, big.NewInt(1)) {
		if x.Cmp(params.P) >= 0 {
			t.Fatal("there is no such point")
		}
		compressed := append([]byte{2}, x.FillBytes(make([]byte, width))...)
		if rx, ry := elliptic.UnmarshalCompressed(elliptic.P256(), compressed); rx != nil {
			r, s := new(big.Int).Sub(x, order), number(t)
			k := keyOf(t, rx, ry, r, s)
			agree(t, k, [width]byte{}, join(r, s), true)
			agree(t, k, [width]byte{}, join(x, s), false)
			return
		}
	}
}

// keyOf is the key whose signature of the hash zero is r and s, where r belongs to that point: r/s times the public
// point is the point, so that it is the point divided by r/s.
func keyOf(t *testing.T, x, y, r, s *big.Int) *Key {
	t.Helper()
	by := mod(new(big.Int).Mul(s, new(big.Int).ModInverse(r, order)))
	//nolint:staticcheck // nothing else of the standard library multiplies any point
	qx, qy := elliptic.P256().ScalarMult(x, y, by.Bytes())
	//nolint:staticcheck // as above
	return eager(t, &ecdsa.PublicKey{Curve: elliptic.P256(), X: qx, Y: qy})
}

// TestOrderAddedToS has a signature with so small an s that there is room for the order to be added, which makes another
// signature with the same multiples.
func TestOrderAddedToS(t *testing.T) {
	private, five := generate(t), big.NewInt(5)
	r := mod(new(big.Int).Set(private.X))
	k := keyOf(t, private.X, private.Y, r, five)
	agree(t, k, [width]byte{}, join(r, five), true)
	agree(t, k, [width]byte{}, join(r, new(big.Int).Add(order, five)), false)
}

// TestNumbersOutOfRange has r and s that no signature has.
func TestNumbersOutOfRange(t *testing.T) {
	private := generate(t)
	k := eager(t, &private.PublicKey)
	sum := sha256.Sum256([]byte("a token"))
	good := signed(t, private, sum)
	r, s := new(big.Int).SetBytes(good[:width]), new(big.Int).SetBytes(good[width:])
	most := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 8*width), big.NewInt(1))
	for _, bad := range []*big.Int{
		new(big.Int), order, new(big.Int).Add(order, big.NewInt(1)), elliptic.P256().Params().P, most,
	} {
		for _, sum := range [][width]byte{sum, {}} {
			agree(t, k, sum, join(bad, s), false)
			agree(t, k, sum, join(r, bad), false)
			agree(t, k, sum, join(bad, bad), false)
		}
	}
	for _, n := range []int{0, 1, width, Size - 1, Size + 1} {
		if k.Verify(&sum, make([]byte, n)) || k.Verify(&sum, append(good, 0)) || New(k.public).Verify(&sum, good[:n%Size]) {
			t.Errorf("a signature of %d bytes is good", n)
		}
	}
}

// TestVectors are the signatures for P-256 with SHA-256 of NIST's validation program
// (https://csrc.nist.gov/projects/cryptographic-algorithm-validation-program/digital-signatures).
func TestVectors(t *testing.T) {
	file, err := os.Open("testdata/SigVer.rsp")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	v := map[string][]byte{}
	passed, failed := 0, 0
	for lines := bufio.NewScanner(file); lines.Scan(); {
		name, value, ok := strings.Cut(lines.Text(), " = ")
		if !ok {
			continue
		}
		if name != "Result" {
			if v[name], err = hex.DecodeString(value); err != nil {
				t.Fatal(err)
			}
			continue
		}
		public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append(append([]byte{4}, v["Qx"]...), v["Qy"]...))
		if err != nil {
			t.Fatal(err)
		}
		want := strings.HasPrefix(value, "P")
		agree(t, eager(t, public), sha256.Sum256(v["Msg"]), append(v["R"], v["S"]...), want)
		if want {
			passed++
		} else {
			failed++
		}
	}
	if passed != 3 || failed != 12 {
		t.Errorf("%d good ones, %d bad ones", passed, failed)
	}
}

// TestTableInTime: a key that verifies much gets its table, one that does not costs no memory, and the verdicts are the
// same while many ask.
func TestTableInTime(t *testing.T) {
	private := generate(t)
	k := New(&private.PublicKey)
	sum := sha256.Sum256([]byte("a token"))
	good := signed(t, private, sum)
	bad := append([]byte(nil), good...)
	bad[Size-1] ^= 1
	for range patience - 1 {
		if !k.Verify(&sum, good) || k.Verify(&sum, bad) {
			t.Fatal("a wrong verdict")
		}
	}
	if k.table.Load() != nil {
		t.Error("a key that has verified little has a table")
	}
	if fips140.Enabled() { // it never has one
		return
	}
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 100 {
				if !k.Verify(&sum, good) || k.Verify(&sum, bad) {
					t.Error("a wrong verdict")
				}
			}
		})
	}
	group.Wait()
	if k.table.Load() == nil {
		t.Error("a key that has verified much has no table")
	}
}

// FuzzVerify compares the verdicts with those of the standard library.
func FuzzVerify(f *testing.F) {
	f.Add([]byte("key"), []byte("sum"), []byte("signature"), true)
	f.Add([]byte{1}, []byte{}, make([]byte, Size), false)
	f.Fuzz(func(t *testing.T, seed, hash, tail []byte, valid bool) {
		scalar := new(big.Int).SetBytes(seed)
		if scalar = mod(scalar); scalar.Sign() == 0 {
			scalar.SetInt64(1)
		}
		private, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), scalar.FillBytes(make([]byte, width)))
		if err != nil {
			t.Fatal(err)
		}
		var sum [width]byte
		copy(sum[:], hash)
		signature := make([]byte, Size)
		if valid {
			signature = signed(t, private, sum)
			for i := range min(len(tail), Size) {
				signature[i] ^= tail[i]
			}
		} else {
			copy(signature, tail)
		}
		want := standard(&private.PublicKey, sum, signature)
		if got := eager(t, &private.PublicKey).Verify(&sum, signature); got != want {
			t.Errorf("%v of %x for %x by %x", got, signature, sum, scalar)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	private := generate(b)
	sum := sha256.Sum256([]byte("a token"))
	signature := signed(b, private, sum)
	k := eager(b, &private.PublicKey)
	b.Run("table", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			k.Verify(&sum, signature)
		}
	})
	b.Run("standard library", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			standard(&private.PublicKey, sum, signature)
		}
	})
	b.Run("making the table", func(b *testing.B) {
		for b.Loop() {
			newTable(&private.PublicKey)
		}
	})
}
