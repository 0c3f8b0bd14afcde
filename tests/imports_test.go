package tests

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/oauth2-passport/caddy-passport/tests/internal/gateway"
)

const module = "github.com/oauth2-passport/caddy-passport"

// TestImportsRunOneWay holds the rooms apart: caddymodule knows everybody, store knows nobody, and only caddymodule
// knows Caddy.
func TestImportsRunOneWay(t *testing.T) {
	// A package may import the rooms that stand beside the longest prefix of its path, and what is not of this module.
	// Every package must be under one of the prefixes.
	may := map[string][]string{
		"": {"caddymodule"},
		"caddymodule": {"issuer", "issuer/keys", "issuer/verify", "issuer/pages", "store",
			"store/badgerstore", "store/pgstore"},
		"issuer":            {"issuer/keys", "issuer/verify", "issuer/pages", "store"},
		"issuer/keys":       {"issuer/keys/es256", "store"},
		"issuer/keys/es256": {},
		"issuer/verify":     {"issuer/keys", "issuer/keys/es256", "store"},
		"issuer/pages":      {},
		"store":             {},
		"store/badgerstore": {"store"},
		"store/pgstore":     {"store"},
		"store/storetest":   {"store"},
	}
	for _, pkg := range packages(t) {
		path := strings.TrimPrefix(strings.TrimPrefix(pkg.ImportPath, module), "/")
		if path == "tests" || strings.HasPrefix(path, "tests/") {
			continue
		}
		room := longestPrefix(may, path)
		if room == "" && path != "" {
			t.Errorf("%s is in no room; add it to this test and to the plan of the house", pkg.ImportPath)
			continue
		}
		for _, imported := range pkg.Imports {
			if other, ours := strings.CutPrefix(imported, module+"/"); ours && !slices.Contains(may[room], other) {
				t.Errorf("%s imports %s; it may import %q of this module", pkg.ImportPath, imported, may[room])
			}
			if room == "store" && standardLibraryHasNot(imported) {
				t.Errorf("%s imports %s; it may import the standard library only", pkg.ImportPath, imported)
			}
		}
		if room == "" || room == "caddymodule" {
			continue
		}
		for _, imported := range slices.Concat(pkg.Deps, pkg.TestImports, pkg.XTestImports) {
			if strings.HasPrefix(imported, "github.com/caddyserver/caddy") {
				t.Errorf("%s depends on %s; only caddymodule knows Caddy", pkg.ImportPath, imported)
				break // the rest follows from it
			}
		}
	}
}

type goPackage struct {
	ImportPath                               string
	Imports, Deps, TestImports, XTestImports []string
}

func packages(t *testing.T) []goPackage {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,Deps,TestImports,XTestImports", "./...")
	cmd.Dir = gateway.Root(t)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var list []goPackage
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var pkg goPackage
		if err := dec.Decode(&pkg); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		list = append(list, pkg)
	}
	if len(list) < 5 {
		t.Fatalf("go list knows %d packages only", len(list))
	}
	return list
}

// longestPrefix is the key of rooms that is path or the nearest folder above it.
func longestPrefix(rooms map[string][]string, path string) string {
	for path != "" {
		if _, ok := rooms[path]; ok {
			return path
		}
		path = path[:max(strings.LastIndexByte(path, '/'), 0)]
	}
	return ""
}

// standardLibraryHasNot goes by the rule that the paths of other modules begin with a domain name.
func standardLibraryHasNot(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return strings.Contains(first, ".")
}
