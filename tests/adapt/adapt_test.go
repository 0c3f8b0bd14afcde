// Package adapt holds the Caddyfile's forms against golden files: what each becomes as JSON, and what is said of the
// faulty ones.
package adapt

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/standard"

	_ "github.com/oauth2-passport/caddy-passport"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestAdapt adapts each testdata/*.caddyfile. Its neighbours are golden: .json is what it becomes; .err is the error of
// adapting it or, where there is a .json too, of provisioning what it becomes.
func TestAdapt(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	t.Setenv("LEGACY_PASSWORD", "the password of the upstream")
	t.Setenv("ORDERS_SECRET", "an-environment-variable-of-40-characters")
	t.Setenv("PASSPORT_ENCRYPTION_KEY", "000102030405060708090a0b0c0d0e0f")
	t.Setenv("DEMO_HASH", "$2y$10$abcdefghijklmnopqrstuuNZ0dSSb8jwhQAN8MaSPP0Er7PqVRe6e")
	t.Setenv("PASSPORT_CA_FILE", newCertificate(t))
	key := newKey(t)
	t.Setenv("PASSPORT_PRIVATE_KEY", string(key))
	t.Setenv("PASSPORT_PRIVATE_KEY_FILE", filepath.Join(t.TempDir(), "key.pem"))
	if err := os.WriteFile(os.Getenv("PASSPORT_PRIVATE_KEY_FILE"), key, 0o600); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("testdata/*.caddyfile")
	if err != nil || len(files) == 0 {
		t.Fatalf("no test data: %v", err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".caddyfile")
		t.Run(name, func(t *testing.T) {
			input, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			golden := strings.TrimSuffix(file, ".caddyfile")
			adapted, err := adapt(t, input)
			if err != nil {
				compare(t, golden+".err", err.Error()+"\n")
				compare(t, golden+".json", "")
				return
			}
			compare(t, golden+".json", string(adapted))
			if err := validate(t, adapted); err != nil {
				compare(t, golden+".err", err.Error()+"\n")
			} else {
				compare(t, golden+".err", "")
			}
		})
	}
	if entries, _ := os.ReadDir(filepath.Join(os.Getenv("XDG_DATA_HOME"), "caddy", "passport")); len(entries) > 0 {
		t.Errorf("validating a config has opened a storage: %v", entries)
	}
}

// TestSecretsWrittenOutAreNotInTheAdaptedConfig holds what caddy adapt prints, and GET /config/ answers, against what
// the Caddyfile had.
func TestSecretsWrittenOutAreNotInTheAdaptedConfig(t *testing.T) {
	const secret = "9f2d0c8b7a6e5f4d3c2b1a0918273645"
	adapted, err := adapt(t, []byte("{\n\tpassport {\n\t\tclient a {\n\t\t\tsecret "+secret+"\n\t\t}\n\t\tclient b {\n"+
		"\t\t\tsecret `{\"odd\": \""+secret+"\"}`\n\t\t}\n\t}\n}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(adapted, []byte(secret)) {
		t.Errorf("the adapted config has the secret:\n%s", adapted)
	}
	if got := bytes.Count(adapted, []byte(`"secret_hash"`)); got != 2 {
		t.Errorf("%d clients have a hash, want 2:\n%s", got, adapted)
	}
}

// TestErrorsNameNoSecret holds errors about secrets against the secrets.
func TestErrorsNameNoSecret(t *testing.T) {
	const secret = "9f2d0c8b7a6e5f4d3c2b1a09"
	for name, input := range map[string]string{
		"too short":             "client a {\n\t\t\tsecret " + secret + "\n\t\t}",
		"half a placeholder":    "client a {\n\t\t\tsecret " + secret + "{env.REST}\n\t\t}",
		"bad key":               "keys {\n\t\t\tprivate_key " + secret + "\n\t\t}",
		"bad encryption key":    "storage badger {\n\t\t\tencryption_key " + secret + "0\n\t\t}",
		"surplus after secret":  "client a {\n\t\t\tsecret x " + secret + "\n\t\t}",
		"password of a user":    "user a {\n\t\t\tpassword " + secret + "\n\t\t}",
		"password for a hash":   "user a {\n\t\t\tpassword_hash " + secret + "\n\t\t}",
		"header of a source":    "users http https://a {\n\t\t\theader Host " + secret + "\n\t\t}",
		"user of a source":      "users http https://a:" + secret + "@b",
		"client without a name": "client {\n\t\t\tsecret " + secret + "\n\t\t}",
	} {
		t.Run(name, func(t *testing.T) {
			adapted, err := adapt(t, []byte("{\n\tpassport {\n\t\t"+input+"\n\t}\n}\n"))
			if err == nil {
				err = validate(t, adapted)
			}
			if err == nil {
				t.Fatal("no error")
			}
			if strings.Contains(err.Error(), secret) {
				t.Errorf("the error has the secret: %v", err)
			}
		})
	}
}

// TestColorWithoutQuotationMarks: to Caddy it is a comment, but not to who writes it.
func TestColorWithoutQuotationMarks(t *testing.T) {
	file := filepath.Join(t.TempDir(), "Caddyfile")
	input := []byte("{\n\tpassport {\n\t\tbrand \"Orders\" {\n\t\t\tcolor #0a5\n\t\t}\n\t}\n}\n")
	if err := os.WriteFile(file, input, 0o600); err != nil {
		t.Fatal(err)
	}
	adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt(input, map[string]any{"filename": file})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(adapted, []byte(`"color":"#0a5"`)) {
		t.Errorf("adapted to %s", adapted)
	}
}

// adapt adapts a Caddyfile. What adapts is formatted as caddy fmt has it, and is the same each time.
func adapt(t *testing.T, input []byte) ([]byte, error) {
	t.Helper()
	var first []byte
	for range 4 { // the order of maps differs from run to run
		result, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt(input, nil)
		if err != nil {
			return nil, err
		}
		for _, w := range warnings {
			t.Errorf("warning: %s", w)
		}
		var indented bytes.Buffer
		if err := json.Indent(&indented, result, "", "\t"); err != nil {
			t.Fatal(err)
		}
		indented.WriteByte('\n')
		if first != nil && !bytes.Equal(first, indented.Bytes()) {
			t.Error("the same Caddyfile is adapted differently the next time")
		}
		first = indented.Bytes()
	}
	return first, nil
}

// validate provisions a config as caddy validate does.
func validate(t *testing.T, config []byte) error {
	t.Helper()
	var cfg caddy.Config
	if err := json.Unmarshal(config, &cfg); err != nil {
		t.Fatal(err)
	}
	return caddy.Validate(&cfg)
}

// newKey makes a private key for ES256, as PEM.
func newKey(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// compare compares got with the golden file; there is none for "".
func compare(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		var err error
		if got == "" {
			if err = os.Remove(file); errors.Is(err, fs.ErrNotExist) {
				err = nil
			}
		} else {
			err = os.WriteFile(file, []byte(got), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s\ngot:\n%s\nwant:\n%s", file, got, want)
	}
}

// newCertificate makes a certificate of an authority, and returns its file.
func newCertificate(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
