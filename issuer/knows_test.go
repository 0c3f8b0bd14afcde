package issuer

import (
	"testing"

	"github.com/oauth2-passport/caddy-passport/store"
)

// TestAskingForAPersonOfTheConfigurationAllocatesNothing asks what each request in the person's name asks.
func TestAskingForAPersonOfTheConfigurationAllocatesNothing(t *testing.T) {
	const hash = "$2a$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy"
	d, err := NewDirectory([]Person{{Name: "Ada", PasswordHash: hash, Email: "ada@example.com"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for external, known := range map[string]bool{"ada": true, "ada@example.com": false, "bob": false, "Ada": false} {
		u := &store.User{Source: configSource, External: external}
		if d.Knows(u) != known {
			t.Errorf("%s is known: %v", external, !known)
		}
	}
	lower, err := NewDirectory([]Person{{Name: "ada", PasswordHash: hash}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	u := &store.User{Source: configSource, External: "ada"}
	if n := testing.AllocsPerRun(100, func() { lower.Knows(u) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
