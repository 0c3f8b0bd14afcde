package issuer

import (
	"github.com/oauth2-passport/caddy-passport/issuer/keys"
	"github.com/oauth2-passport/caddy-passport/issuer/verify"
	"github.com/oauth2-passport/caddy-passport/store"
)

// Check answers the error that [New] would answer, when there are no database and keys yet: a configuration can be
// looked at while another one runs on them. It does not look at the pages, which takes longer: [pages.New] does.
func Check(c Config) error {
	c.DB, c.Ring, c.Verifier = new(store.DB), new(keys.Ring), new(verify.Verifier) // New keeps them and asks nothing
	c.Logger, c.checking = nil, true
	_, err := New(c)
	return err
}

// CheckScope holds a name against RFC 6749 §3.3, scope-token. [AnyScope] is no name of a scope.
func CheckScope(name string) error { return checkScopeName(name) }

// CheckUserName holds the name of a person against the rules: up to 255 characters that people see, without spaces
// around them.
func CheckUserName(name string) error { return checkUserName(name) }
