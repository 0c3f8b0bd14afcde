package issuer

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/oauth2-passport/caddy-passport/store"
)

// InvalidError says what is wrong with a client that somebody wants to have.
type InvalidError struct {
	Field   string // in the names of RFC 7591 where it has one: "redirect_uris", "grant_types", "scope", …
	Problem string
}

// Error is field and problem.
func (e *InvalidError) Error() string { return e.Field + ": " + e.Problem }

// Bounds of a client's record.
const (
	maxName         = 255
	maxRedirectURIs = 100
	maxRedirectURI  = 2000
	maxClientScopes = 200
)

// reservedClientID is the `client_id` of personal access tokens, which no client has.
const reservedClientID = "personal_access"

// checkClient holds a client against the rules, and gives it the grants that suit it when it names none.
func (i *Issuer) checkClient(c *store.Client) error {
	if err := checkFields(c); err != nil {
		return err
	}
	return i.checkClientGrants(c)
}

func checkFields(c *store.Client) error {
	switch {
	case c.ID == reservedClientID:
		return &InvalidError{"client_id", reservedClientID + " stands for personal access tokens: give it another"}
	case utf8.RuneCountInString(c.Name) > maxName:
		return &InvalidError{"client_name", fmt.Sprintf("it has more than %d characters", maxName)}
	case hasControl(c.Name) || !utf8.ValidString(c.Name):
		return &InvalidError{"client_name", "it has control characters or is not UTF-8"}
	case c.ResourceServer && c.Public:
		return &InvalidError{"resource_server", "a public client cannot prove who it is, so it cannot be one"}
	case len(c.Scopes) > maxClientScopes:
		return &InvalidError{"scope", fmt.Sprintf("there are more than %d", maxClientScopes)}
	case len(c.RedirectURIs) > maxRedirectURIs:
		return &InvalidError{"redirect_uris", fmt.Sprintf("there are more than %d", maxRedirectURIs)}
	}
	if c.AccessTokenLifetime != 0 {
		if err := checkLifetime(c.AccessTokenLifetime); err != nil {
			return &InvalidError{"access_token_lifetime", err.Error()}
		}
	}
	for _, name := range c.Scopes {
		if name != AnyScope && checkScopeName(name) != nil {
			return &InvalidError{"scope", checkScopeName(name).Error()}
		}
	}
	for _, uri := range c.RedirectURIs {
		if err := checkRedirectURI(uri); err != nil {
			return &InvalidError{"redirect_uris", fmt.Sprintf("%q: %v", uri, err)}
		}
	}
	return nil
}

func (i *Issuer) checkClientGrants(c *store.Client) error {
	if len(c.Grants) == 0 {
		switch {
		case len(c.RedirectURIs) > 0:
			c.Grants = []string{"authorization_code", "refresh_token"}
		case c.Public:
			c.Grants = []string{"device_code", "refresh_token"}
		default:
			c.Grants = []string{"client_credentials"}
		}
		c.Grants = slices.DeleteFunc(c.Grants, func(g string) bool { return !slices.Contains(i.config.Grants, g) })
		return nil
	}
	for _, name := range c.Grants {
		if err := checkGrant(name); err != nil {
			return &InvalidError{"grant_types", err.Error()}
		}
		if !slices.Contains(i.config.Grants, name) {
			return &InvalidError{"grant_types", fmt.Sprintf("%s is off: the issuer's grants are %s", name,
				strings.Join(i.config.Grants, ", "))}
		}
	}
	return nil
}

// usableGrants answers an error where a client is registered for a grant that it could never use.
func usableGrants(c *store.Client) error {
	for _, name := range c.Grants {
		switch {
		case name == clientCredentials.name && c.Public:
			return &InvalidError{"grant_types", name + " is not for a public client: whoever knows its ID could use it"}
		case (name == responseGrants[responseCode] || name == responseGrants[responseToken]) && len(c.RedirectURIs) == 0:
			return &InvalidError{
				"redirect_uris", "there is none, which " + name + " needs: it says where people are sent back to",
			}
		}
	}
	return nil
}

// neverRedirect are schemes that run or read something where the browser is, rather than to lead anywhere.
var neverRedirect = []string{
	"javascript", "data", "vbscript", "file", "blob", "about", "view-source", "ws", "wss", "ftp",
}

// errPlainHTTP says that an answer would go over the network for all to read (RFC 9700 §2.6).
var errPlainHTTP = errors.New("http is for localhost only, use https")

// checkRedirectURI holds a redirect URI against RFC 6749 §3.1.2, RFC 8252 §7 and RFC 9700 §2.1, §4.1.
func checkRedirectURI(uri string) error {
	if len(uri) > maxRedirectURI {
		return fmt.Errorf("it has more than %d characters", maxRedirectURI)
	}
	for i := range len(uri) {
		if c := uri[i]; c <= ' ' || c > '~' || strings.IndexByte(`"<>\^`+"`{|}*", c) >= 0 {
			return errors.New("it has characters that no URI has, or a wildcard: it is compared character by character")
		}
	}
	u, err := url.Parse(uri)
	if err != nil || u.Scheme == "" {
		return errors.New("it is no absolute URI")
	}
	switch {
	case strings.Contains(uri, "#"):
		return errors.New("it has a fragment")
	case u.User != nil:
		return errors.New("it has a user or password")
	case slices.Contains(neverRedirect, strings.ToLower(u.Scheme)):
		return fmt.Errorf("%s: leads nowhere", u.Scheme)
	case u.Scheme == "https" && u.Hostname() == "":
		return errors.New("it has no host")
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		return errPlainHTTP
	case slices.ContainsFunc(strings.Split(u.Path, "/"), func(s string) bool { return s == "." || s == ".." }):
		return errors.New("its path has . or .. in it")
	}
	return nil
}

func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") || strings.HasSuffix(strings.ToLower(host), ".localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}
