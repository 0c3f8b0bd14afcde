package issuer

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/oauth2-passport/caddy-passport/store"
)

// grant is a way to a token at the token endpoint.
type grant struct {
	name string // in the configuration and in a client's list
	wire string // the parameter `grant_type`

	confidential bool // only for clients that can keep a secret
	anyScope     bool // can give [AnyScope], as in Laravel Passport
	beside       bool // go-oauth2 does not know it: its request does not go through the library

	// issue does the grant's one Update. Its errors are [*Error], [errClientChanged], or what the store answers.
	issue func(*Issuer, context.Context, *tokenRequest) (*issued, error)
}

// existing are the grants that the token endpoint knows.
var existing = []*grant{clientCredentials}

// KnownGrants are the names that a configuration or a client may have for grants.
func KnownGrants() []string {
	return []string{
		"authorization_code", "refresh_token", "client_credentials", "device_code", "personal_access",
		"password", "implicit",
	}
}

// DefaultGrants are the names of the grants that are on when a configuration names none: all but password and implicit,
// which RFC 9700 (§2.4, §2.1.2) advises against.
func DefaultGrants() []string {
	return []string{"authorization_code", "refresh_token", "client_credentials", "device_code", "personal_access"}
}

func (i *Issuer) setGrants(names []string) error {
	if len(names) == 0 {
		i.config.Grants = DefaultGrants()
	}
	for _, name := range i.config.Grants {
		if err := checkGrant(name); err != nil {
			return err
		}
	}
	for _, g := range existing {
		if slices.Contains(i.config.Grants, g.name) {
			i.grants = append(i.grants, g)
		}
	}
	return nil
}

func checkGrant(name string) error {
	if !slices.Contains(KnownGrants(), name) {
		return fmt.Errorf("%q is no grant: there are %s", name, strings.Join(KnownGrants(), ", "))
	}
	return nil
}

// grantOf finds the grant that a request asks for, among those that are on.
func (i *Issuer) grantOf(grantType string) *grant {
	for _, g := range i.grants {
		if g.wire == grantType {
			return g
		}
	}
	return nil
}

// mayUse tells whether a client may use the grant.
func (g *grant) mayUse(c *store.Client) bool {
	return slices.Contains(c.Grants, g.name) && (!g.confidential || !c.Public)
}
