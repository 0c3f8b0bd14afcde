package issuer

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"go.uber.org/zap"

	"github.com/oauth2-passport/caddy-passport/store"
)

// grant is a way to a token at the token endpoint.
type grant struct {
	name string // in the configuration and in a client's list
	wire string // the parameter `grant_type`

	confidential bool   // only for clients that can keep a secret
	anyScope     bool   // can give [AnyScope], as in Laravel Passport
	refreshable  bool   // gives a refresh token to clients that may use one
	discouraged  string // why it is better left off; empty: it is not
	beside       bool   // go-oauth2 does not know it: its request does not go through the library

	// issue does the grant's one Update. Its errors are [*Error], [errClientChanged], or what the store answers. It is
	// nil of a grant that gives nothing at the token endpoint.
	issue func(*Issuer, context.Context, *tokenRequest) (*issued, error)
}

// existing are the grants that clients can ask for, in the order in which the metadata has them.
var existing = []*grant{authorizationCode, refreshToken, clientCredentials, deviceCode, passwordGrant, implicit}

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
		if !slices.Contains(i.config.Grants, g.name) {
			continue
		}
		i.grants = append(i.grants, g)
		if g.discouraged != "" {
			i.log.Warn("a grant is on that OAuth's security best practice (RFC 9700) advises against",
				zap.String("grant", g.name), zap.String("why", g.discouraged))
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

// grantOf finds the grant that a request asks for at the token endpoint, among those that are on.
func (i *Issuer) grantOf(grantType string) *grant {
	for _, g := range i.grants {
		if g.wire == grantType && g.issue != nil {
			return g
		}
	}
	return nil
}

// on tells whether the configuration has the grant, of [KnownGrants].
func (i *Issuer) on(name string) bool { return slices.Contains(i.config.Grants, name) }

// mayUse tells whether a client may use the grant.
func (g *grant) mayUse(c *store.Client) bool {
	return slices.Contains(c.Grants, g.name) && (!g.confidential || !c.Public)
}
