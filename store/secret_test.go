package store_test

import (
	"hash/crc32"
	"math/big"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
)

var kinds = []store.SecretKind{
	store.PersonalAccessToken, store.RefreshToken, store.AuthorizationCode, store.ClientSecret,
}

// reference is the form of secrets, said another way.
func reference(kind store.SecretKind, random *big.Int) string {
	digits := func(n *big.Int, width int) string {
		text := n.Text(62) // 0-9 a-z A-Z, where secrets have 0-9 A-Z a-z
		swapped := strings.Map(func(c rune) rune {
			switch {
			case c >= 'a':
				return c - 'a' + 'A'
			case c >= 'A':
				return c - 'A' + 'a'
			}
			return c
		}, text)
		return strings.Repeat("0", width-len(swapped)) + swapped
	}
	body := string(kind) + digits(random, 43)
	return body + digits(big.NewInt(int64(crc32.ChecksumIEEE([]byte(body)))), 6)
}

// number is the value of digits of a secret.
func number(t *testing.T, digits string) *big.Int {
	t.Helper()
	n := new(big.Int)
	for _, c := range digits {
		i := strings.IndexRune("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", c)
		if i < 0 {
			t.Fatalf("%q is no digit", c)
		}
		n.Add(n.Mul(n, big.NewInt(62)), big.NewInt(int64(i)))
	}
	return n
}

func TestNewSecret(t *testing.T) {
	for _, kind := range kinds {
		seen := map[string]bool{}
		high := 0
		for range 500 {
			s := store.NewSecret(kind)
			if !regexp.MustCompile(`^`+string(kind)+`[0-9A-Za-z]{49}$`).MatchString(s) || seen[s] {
				t.Fatalf("%q", s)
			}
			seen[s] = true
			n := number(t, s[len(kind):len(kind)+43])
			if n.BitLen() > 256 {
				t.Fatalf("%q has more than 256 bits", s)
			}
			if n.BitLen() == 256 {
				high++
			}
			if want := reference(kind, n); s != want {
				t.Fatalf("%q, want %q", s, want)
			}
			if got, ok := store.ParseSecret(s); !ok || got != kind {
				t.Fatalf("%q is %q, %v", s, got, ok)
			}
		}
		if high < 150 || high > 350 { // the chance of that is 1 in 10^18
			t.Errorf("the highest bit is set in %d of 500", high)
		}
	}
}

func TestParseSecretRefusesTypos(t *testing.T) {
	for _, kind := range kinds {
		s := store.NewSecret(kind)
		for i := range s {
			for _, c := range []byte{'0', 'z', '_', '-', ' ', 0, 0xff, s[i] ^ 0x20} {
				if typo := s[:i] + string(c) + s[i+1:]; typo != s {
					if got, ok := store.ParseSecret(typo); ok || got != "" {
						t.Errorf("%q for %q is taken", typo, s)
					}
				}
			}
			if _, ok := store.ParseSecret(s[:i]); ok {
				t.Errorf("%q for %q is taken", s[:i], s)
			}
			if _, ok := store.ParseSecret(s[:i] + s[i+1:]); ok {
				t.Errorf("%q less its character %d is taken", s, i)
			}
			if i > 0 && s[i] != s[i-1] {
				swapped := s[:i-1] + s[i:i+1] + s[i-1:i] + s[i+1:]
				if _, ok := store.ParseSecret(swapped); ok {
					t.Errorf("%q for %q is taken", swapped, s)
				}
			}
		}
		for _, other := range []string{s + "0", " " + s, s + "\n", s + s, strings.ToUpper(s), strings.ToLower(s)} {
			if _, ok := store.ParseSecret(other); ok {
				t.Errorf("%q is taken", other)
			}
		}
	}
	zero := reference(store.RefreshToken, new(big.Int))
	if got, ok := store.ParseSecret(zero); !ok || got != store.RefreshToken {
		t.Errorf("%q is %q, %v", zero, got, ok)
	}
	strange := string(store.RefreshToken) + strings.Repeat("\n", 43) // with a checksum that fits
	strange += reference("", big.NewInt(int64(crc32.ChecksumIEEE([]byte(strange)))))[37:43]
	if _, ok := store.ParseSecret(strange); ok {
		t.Errorf("%q is taken", strange)
	}
	for _, s := range []string{"", "passport_", "passport_pat", "passport_pat_", "passport_xx_" + zero[12:]} {
		if _, ok := store.ParseSecret(s); ok {
			t.Errorf("%q is taken", s)
		}
	}
}

func TestHashSecret(t *testing.T) {
	for secret, want := range map[string]string{ // FIPS 180-2, appendix B
		"":                             "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
		"abc":                          "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
		strings.Repeat("a", 1_000_000): "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0",
	} {
		if got := store.HashSecret(secret); got != want {
			t.Errorf("the hash of %.10q is %s, want %s", secret, got, want)
		}
	}
}

func TestSecretMatches(t *testing.T) {
	hash := store.HashSecret("secret")
	for _, test := range []struct {
		name, hash, secret string
		want               bool
	}{
		{"the secret", hash, "secret", true},
		{"another", hash, "Secret", false},
		{"none", hash, "", false},
		{"the hash itself", hash, hash, false},
		{"no hash", "", "secret", false},
		{"no hash, no secret", "", "", false},
		{"hash cut", hash[:63], "secret", false},
		{"hash with more", hash + "0", "secret", false},
		{"hash twice", hash + hash, "secret", false},
		{"hash in capitals", strings.ToUpper(hash), "secret", false},
		{"zeros", strings.Repeat("\x00", 64), "secret", false},
	} {
		if got := store.SecretMatches(test.hash, test.secret); got != test.want {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}

func TestNewID(t *testing.T) {
	shape := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	var last string
	seen := map[string]bool{}
	for i := range 10_000 {
		now := start.Add(time.Duration(i) * 300 * time.Nanosecond)
		id := store.NewID(now)
		if !shape.MatchString(id) || seen[id] || id <= last {
			t.Fatalf("%q after %q", id, last)
		}
		seen[id], last = true, id
		if got, ok := store.IDTime(id); !ok || !got.Equal(now.Truncate(time.Millisecond)) {
			t.Fatalf("%q is of %v, %v; want %v", id, got, ok, now)
		}
	}
	// RFC 9562, appendix A.6
	const example = "017f22e2-79b0-7cc3-98c4-dc0c0c07398f"
	want := time.Date(2022, 2, 22, 19, 22, 22, 0, time.UTC)
	if got, ok := store.IDTime(example); !ok || !got.Equal(want) {
		t.Errorf("%s is of %v, %v; want %v", example, got, ok, want)
	}
	for name, id := range map[string]string{
		"empty":           "",
		"short":           example[1:],
		"long":            example + "0",
		"another version": "017f22e2-79b0-4cc3-98c4-dc0c0c07398f",
		"capitals":        strings.ToUpper(example),
		"letters":         "g17f22e2-79b0-7cc3-98c4-dc0c0c07398f",
		"letters behind":  "017f22e2-79b0-7cc3-98c4-dc0c0c07398g",
		"dash missing":    "017f22e2-79b0-7cc3098c4-dc0c0c07398f",
		"dash too many":   "017f22e2-79b0-7cc3-98c4-dc0c-c07398f",
		"other dashes":    "017f22e2x79b0-7cc3-98c4-dc0c0c07398f",
	} {
		if got, ok := store.IDTime(id); ok || !got.IsZero() {
			t.Errorf("%s: %v, %v", name, got, ok)
		}
	}
}
