package issuer

import (
	"context"
	"crypto/rand"
	_ "embed" // the list of common passwords
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/alexedwards/argon2id"
	"golang.org/x/crypto/bcrypt"
	"golang.org/x/text/unicode/norm"
)

// ownHash is how passwords of own accounts are hashed: the parameters that OWASP's cheat sheet on password storage
// names first for argon2id.
var ownHash = &argon2id.Params{Memory: 19 << 10, Iterations: 2, Parallelism: 1, SaltLength: 16, KeyLength: 32}

// Bounds of a password. NIST SP 800-63B (revision 3) §5.1.1.2 asks for 8 characters at least and for room for 64 or
// more; there are no rules about which.
const (
	minPassword = 8       // characters
	maxPassword = 1 << 10 // bytes
)

// PasswordError says why a password is not taken. It does not repeat it.
type PasswordError struct{ Problem string }

// Error is the problem.
func (e *PasswordError) Error() string { return "the password " + e.Problem }

//go:embed common_passwords.txt
var commonPasswordList string

// commonPasswords are those that everybody tries first, folded.
var commonPasswords = sync.OnceValue(func() map[string]bool {
	common := make(map[string]bool)
	for password := range strings.FieldsSeq(commonPasswordList) {
		common[password] = true
	}
	return common
})

// checkPassword holds a new password against the rules (NIST SP 800-63B §5.1.1.2): its length, the commonest ones, and
// what everybody knows of the account.
func checkPassword(password string, known ...string) error {
	folded := strings.ToLower(strings.TrimSpace(password))
	switch {
	case !utf8.ValidString(password):
		return &PasswordError{"is not UTF-8"}
	case utf8.RuneCountInString(password) < minPassword:
		return &PasswordError{fmt.Sprintf("has less than %d characters", minPassword)}
	case len(password) > maxPassword:
		return &PasswordError{fmt.Sprintf("has more than %d bytes", maxPassword)}
	case commonPasswords()[folded]:
		return &PasswordError{"is one of those that everybody tries first"}
	case isOneCharacter(password):
		return &PasswordError{"is one character, repeated"}
	}
	for _, name := range known {
		local, _, _ := strings.Cut(name, "@")
		if name = strings.ToLower(strings.TrimSpace(name)); name != "" &&
			(folded == name || folded == strings.ToLower(local)) {
			return &PasswordError{"is the account's name or email"}
		}
	}
	return nil
}

func isOneCharacter(s string) bool {
	first, size := utf8.DecodeRuneInString(s)
	return strings.TrimLeft(s[size:], string(first)) == ""
}

// normalPassword is what is hashed of a password: one that was typed on another keyboard is the same (RFC 8265 §4.2.2).
func normalPassword(password string) string { return norm.NFC.String(password) }

// hashPassword hashes a password for an own account. The error is that of the queue.
func hashPassword(ctx context.Context, password string) (string, error) {
	return hashWithin(ctx, maxHashWait, password)
}

// hashWithin is [hashPassword] where nobody waits for longer than that.
func hashWithin(ctx context.Context, wait time.Duration, password string) (hash string, err error) {
	queued := hashing.do(ctx, ownHashKind, wait, func() {
		hash, err = argon2id.CreateHash(normalPassword(password), ownHash)
	})
	return hash, errors.Join(queued, err)
}

// PasswordMatches tells whether hash is that of the password. It waits in the queue that all hashing of the process
// goes through, and answers an error when there is no place, when ctx ends, or when [CheckPasswordHash] refuses the
// hash.
func PasswordMatches(ctx context.Context, hash, password string) (matches bool, err error) {
	if err := CheckPasswordHash(hash); err != nil {
		return false, err
	}
	password = normalPassword(password)
	err = hashing.do(ctx, hashKind(hash), maxHashWait, func() {
		if isArgon2id(hash) {
			matches, _ = argon2id.ComparePasswordAndHash(password, hash) // it was decoded before
		} else {
			matches = bcrypt.CompareHashAndPassword([]byte(hash), []byte(password)) == nil
		}
	})
	return matches && err == nil, err
}

// Bounds of the hashes that are given: one sign-in must not take the machine's memory, nor its time.
const (
	maxHashMemory     = 128 << 10 // KiB
	maxHashIterations = 16
	maxHashLanes      = 16
	maxBcryptCost     = 15
)

var (
	argon2idHash = regexp.MustCompile(
		`^\$argon2id\$v=19\$m=[1-9][0-9]{0,6},t=[1-9][0-9]?,p=[1-9][0-9]?\$[A-Za-z0-9+/]{11,86}\$[A-Za-z0-9+/]{22,86}$`)
	bcryptHash = regexp.MustCompile(`^\$2[aby]\$[0-9]{2}\$[./A-Za-z0-9]{53}$`)
)

func isArgon2id(hash string) bool { return strings.HasPrefix(hash, "$argon2id$") }

// CheckPasswordHash answers an error that does not repeat the hash unless it is one that people can sign in with:
// argon2id as the PHC string format has it, or bcrypt ($2a$, $2b$, $2y$), neither of them costing too much.
func CheckPasswordHash(hash string) error {
	switch {
	case argon2idHash.MatchString(hash):
		params, _, _, err := argon2id.DecodeHash(hash)
		switch {
		case err != nil:
			return errors.New("the argon2id hash is damaged")
		case params.Memory > maxHashMemory, params.Iterations > maxHashIterations, params.Parallelism > maxHashLanes:
			return fmt.Errorf("the argon2id hash costs more than m=%d,t=%d,p=%d", maxHashMemory, maxHashIterations,
				maxHashLanes)
		}
		return nil
	case bcryptHash.MatchString(hash):
		cost, err := bcrypt.Cost([]byte(hash))
		if err != nil || cost > maxBcryptCost {
			return fmt.Errorf("the bcrypt hash has a cost that is none, or more than %d", maxBcryptCost)
		}
		return nil
	}
	return errors.New("it is neither an argon2id hash ($argon2id$v=19$…) nor a bcrypt hash ($2y$…)")
}

// ownHashKind is the [hashKind] of own accounts.
const ownHashKind = "argon2id$v=19$m=19456,t=2,p=1"

// hashKind is the beginning of a hash, which says what it costs.
func hashKind(hash string) string {
	parts := strings.Split(hash, "$")
	if isArgon2id(hash) {
		return strings.Join(parts[1:4], "$")
	}
	return strings.Join(parts[1:3], "$")
}

// isOwnHash tells whether a hash is as strong as those that are made now.
func isOwnHash(hash string) bool {
	params, _, _, err := argon2id.DecodeHash(hash)
	return err == nil && params.Memory >= ownHash.Memory && params.Iterations >= ownHash.Iterations &&
		params.KeyLength >= ownHash.KeyLength
}

// SomePasswordHash is compared with where nobody has the name that was typed, and stands for a hash that is not known
// yet.
const SomePasswordHash = "$argon2id$v=19$m=19456,t=2,p=1$" +
	"bm9ib2R5IGhhcyB0aGlzIQ$bm9ib2R5IGhhcyBhIHBhc3N3b3JkIHdpdGggdGhpcyE"

// passwordLetters have no two that look alike.
const passwordLetters = "abcdefghijkmnpqrstuvwxyz23456789"

// newPassword makes a password of 20 letters, 100 random bits, in groups that can be read aloud.
func newPassword() string {
	var random [20]byte
	if _, err := rand.Read(random[:]); err != nil {
		panic(err) // crypto/rand.Read never fails since Go 1.24
	}
	password := make([]byte, 0, 23)
	for n, b := range random {
		if n > 0 && n%5 == 0 {
			password = append(password, '-')
		}
		password = append(password, passwordLetters[b%byte(len(passwordLetters))])
	}
	return string(password)
}
