package caddymodule

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/oauth2-passport/caddy-passport/issuer/verify"
)

// Trust is another issuer, whose JWTs are good on a route beside our own.
type Trust struct {
	// Issuer is the other issuer's identifier, an https URL: the `iss` of its tokens, compared exactly. "laravel" stands
	// for tokens that Laravel Passport has issued, which have no `iss`; they need PublicKeyFiles. Placeholders {env.*} and
	// {file.*} are replaced. Required.
	Issuer string `json:"issuer"`

	// JWKSURI is where the issuer's keys are, an https URL. Placeholders {env.*} and {file.*} are replaced. Default: what
	// its metadata say, /.well-known/oauth-authorization-server (RFC 8414) or /.well-known/openid-configuration.
	JWKSURI string `json:"jwks_uri,omitempty"`

	// PublicKeyFiles are files with the issuer's public keys in PEM, read when the config is loaded; then no keys are
	// fetched. Placeholders {env.*} are replaced. Default: none.
	PublicKeyFiles []string `json:"public_key_files,omitempty"`

	// Audience are the values of which a token's `aud` must have at least one. They may have global placeholders.
	// Default: the route's audience, or else the identifier of our own issuer, which its config has to give then. Tokens
	// of Laravel Passport have their client there: they are held against this list only.
	Audience []string `json:"audience,omitempty"`

	// Algorithms are those that the tokens may be signed with. Default: every asymmetric one, RS256 for "laravel"; a key
	// that names its own is good for that only.
	Algorithms []string `json:"algorithms,omitempty"`

	// ScopeClaim is the claim with the scopes, a string with spaces between them or an array. Default: scope, or scp in a
	// token without; scopes for "laravel".
	ScopeClaim string `json:"scope_claim,omitempty"`

	// UsernameClaim is the claim with a person's name. Default: preferred_username.
	UsernameClaim string `json:"username_claim,omitempty"`

	// ClientClaim is the claim with the client. Default: client_id, or azp in a token without; aud for "laravel".
	ClientClaim string `json:"client_claim,omitempty"`
}

// Introspect is another issuer's introspection endpoint (RFC 7662), which is asked about tokens neither our own
// nor JWTs of a trusted issuer.
type Introspect struct {
	// URL is the endpoint, an https URL. Placeholders {env.*} and {file.*} are replaced. Required.
	URL string `json:"url"`

	// ClientID is who asks, by HTTP Basic. Placeholders {env.*} and {file.*} are replaced. Required.
	ClientID string `json:"client_id,omitempty"`

	// ClientSecret is the secret of who asks. Placeholders {env.*} and {file.*} are replaced: better one of them than the
	// secret itself. Required.
	ClientSecret string `json:"client_secret,omitempty"`

	// Audience are the values of which a token's `aud` must have at least one. They may have global placeholders.
	// Default: the route's audience; without that, a token whose `aud` is told must have the identifier of our own issuer
	// there, and one of which none is told is good.
	Audience []string `json:"audience,omitempty"`

	// Cache is how long an answer is taken for true, never past the token's `exp`: a token that is revoked at its issuer
	// may pass that long, and a request that runs with it goes on for that long. Default: 30s.
	Cache caddy.Duration `json:"cache,omitempty"`
}

const (
	issuerOff   = "off"     // no tokens of our own
	laravel     = "laravel" // a [Trust.Issuer]
	maxKeepFor  = time.Hour // of [Introspect.Cache]
	maxKeysSize = 1 << 20   // bytes of a file with public keys
)

// check tells what is wrong with the config, as far as it shows before placeholders are replaced.
func (t *Trust) check() error {
	switch {
	case t.Issuer == laravel && t.JWKSURI != "":
		return errors.New("laravel publishes no keys: give public_key_file, storage/oauth-public.key, not jwks_uri")
	case t.Issuer == laravel && len(t.PublicKeyFiles) == 0:
		return errors.New("laravel needs its public_key_file, storage/oauth-public.key")
	case t.JWKSURI != "" && len(t.PublicKeyFiles) > 0:
		return errors.New("jwks_uri and public_key_file are both given: remove one")
	}
	if t.Issuer != laravel && !hasPlaceholder(t.Issuer) {
		if err := verify.CheckIssuer(t.Issuer); err != nil {
			return fmt.Errorf("the issuer %q: %w", t.Issuer, err)
		}
	}
	if t.JWKSURI != "" && !hasPlaceholder(t.JWKSURI) {
		if err := verify.CheckURL(t.JWKSURI); err != nil {
			return fmt.Errorf("jwks_uri %q: %w", t.JWKSURI, err)
		}
	}
	for _, name := range t.Algorithms {
		if err := verify.CheckAlgorithm(name); err != nil {
			return err
		}
	}
	return nil
}

// check is that of [Trust].
func (i *Introspect) check() error {
	if !hasPlaceholder(i.URL) {
		if err := verify.CheckURL(i.URL); err != nil {
			return fmt.Errorf("%q: %w", i.URL, err)
		}
	}
	switch {
	case i.ClientID == "":
		return errors.New("client_id is missing: the endpoint has to know who asks")
	case i.ClientSecret == "":
		return errors.New("client_secret is missing")
	case i.Cache < 0 || time.Duration(i.Cache) > maxKeepFor:
		return fmt.Errorf("cache is not between 0 and %s", maxKeepFor)
	}
	return nil
}

// foreign is what a gate takes beside the tokens of our own issuer.
type foreign struct {
	verify.Others
	demands []foreignDemand
}

// foreignDemand is what a gate demands of the tokens of one source.
type foreignDemand struct {
	source   *verify.External
	audience []string
	must     bool // also of a token that has no `aud`
	any      bool // nothing is demanded
}

// start has the sources work, if they do not yet.
func (f *foreign) start() {
	for i := range f.demands {
		f.demands[i].source.Start()
	}
}

// intended tells whether a token is meant for the route.
func (f *foreign) intended(id *verify.Identity) error {
	for i := range f.demands {
		d := &f.demands[i]
		if d.source != id.External() {
			continue
		}
		if d.any || !d.must && len(id.Audience) == 0 {
			return nil
		}
		return id.IntendedFor(d.audience...)
	}
	return verify.ErrIssuer // not reached: it came from one of them
}

// provisionForeign finds the sources of a route, nil if it has none. audience is what the route demands itself,
// identifier that of our own issuer: empty where it is not given.
func (a *App) provisionForeign(
	trust []*Trust, introspect *Introspect, audience []string, identifier string,
) (*foreign, error) {
	if len(trust) == 0 && introspect == nil {
		return nil, nil
	}
	f := new(foreign)
	f.Ours = a.ours
	var known []string
	if identifier != "" {
		known = []string{identifier}
	}
	for _, t := range trust {
		source, demand, err := a.trust(t, audience, known)
		if err != nil {
			return nil, fmt.Errorf("trust %s: %w", t.Issuer, err)
		}
		if slices.ContainsFunc(f.Trusted, func(x *verify.External) bool { return x.Name() == source.Name() }) {
			return nil, fmt.Errorf("trust %s is repeated", t.Issuer)
		}
		if identifier != "" && source.Name() == identifier {
			return nil, fmt.Errorf("trust %s: that is our own issuer", t.Issuer)
		}
		f.Trusted = append(f.Trusted, source)
		f.demands = append(f.demands, demand)
	}
	if introspect == nil {
		return f, nil
	}
	source, demand, err := a.introspect(introspect, audience, known)
	if err != nil {
		return nil, fmt.Errorf("introspect: %w", err)
	}
	f.Introspection = source
	f.demands = append(f.demands, demand)
	return f, nil
}

// trust finds the source of the tokens of another issuer.
func (a *App) trust(t *Trust, audience, identifier []string) (source *verify.External, d foreignDemand, err error) {
	if err = t.check(); err != nil {
		return nil, d, err
	}
	with := verify.Trust{
		Algorithms: t.Algorithms, ScopeClaim: t.ScopeClaim, UsernameClaim: t.UsernameClaim, ClientClaim: t.ClientClaim,
		Logger: a.ctx.Logger(),
	}
	if t.Issuer == laravel {
		with.Name, with.Laravel = laravel, true
		with.ScopeClaim = cmp.Or(t.ScopeClaim, "scopes")
		with.ClientClaim = cmp.Or(t.ClientClaim, "aud")
		if len(with.Algorithms) == 0 {
			with.Algorithms = []string{"RS256"}
		}
	} else {
		if with.Issuer, err = replace(t.Issuer); err == nil {
			err = verify.CheckIssuer(with.Issuer)
		}
		if err != nil {
			return nil, d, fmt.Errorf("the issuer: %w", err)
		}
	}
	if with.JWKSURI, err = replace(t.JWKSURI); err != nil {
		return nil, d, fmt.Errorf("jwks_uri: %w", err)
	}
	if with.JWKSURI != "" {
		if err = verify.CheckURL(with.JWKSURI); err != nil {
			return nil, d, fmt.Errorf("jwks_uri: %w", err)
		}
	}
	content := []any{with.Issuer, with.Name, with.JWKSURI, with.Algorithms, with.ScopeClaim, with.UsernameClaim,
		with.ClientClaim}
	for _, name := range t.PublicKeyFiles {
		text, err := readPublicKeys(name)
		if err != nil {
			return nil, d, fmt.Errorf("public_key_file: %w", err)
		}
		list, err := verify.ParsePublicKeys(text)
		if err != nil {
			return nil, d, fmt.Errorf("public_key_file %s: %w", name, err)
		}
		with.Keys = append(with.Keys, list...)
		content = append(content, text)
	}
	d.must = true
	if d.audience, err = replaceAll(t.Audience); err != nil {
		return nil, d, fmt.Errorf("audience: %w", err)
	}
	switch {
	case len(d.audience) > 0:
	case t.Issuer == laravel:
		d.any = true
	case len(audience) > 0:
		d.audience = audience
	case len(identifier) > 0:
		d.audience = identifier
	default:
		return nil, d, errNoAudience
	}
	d.source, err = a.source(content, func() (*verify.External, error) { return verify.NewTrust(with) })
	return d.source, d, err
}

var errNoAudience = errors.New("it needs an audience: the value that its tokens have in aud for this API " +
	"(the issuer of the passport option is none, for it has no fixed identifier)")

// introspect finds the source of tokens of which an endpoint is asked.
func (a *App) introspect(
	i *Introspect, audience, identifier []string,
) (source *verify.External, d foreignDemand, err error) {
	if err = i.check(); err != nil {
		return nil, d, err
	}
	with := verify.Introspection{Keep: time.Duration(i.Cache)}
	if with.URL, err = replace(i.URL); err != nil {
		return nil, d, err
	}
	if with.ClientID, err = replace(i.ClientID); err != nil {
		return nil, d, fmt.Errorf("client_id: %w", err)
	}
	if with.ClientSecret, err = reveal(i.ClientSecret); err != nil {
		return nil, d, fmt.Errorf("client_secret: %w", err)
	}
	if d.audience, err = replaceAll(i.Audience); err != nil {
		return nil, d, fmt.Errorf("audience: %w", err)
	}
	switch {
	case len(d.audience) > 0:
		d.must = true
	case len(audience) > 0:
		d.audience, d.must = audience, true
	default:
		d.audience = identifier
	}
	content := []any{"introspect", with.URL, with.ClientID, with.ClientSecret, with.Keep}
	d.source, err = a.source(content, func() (*verify.External, error) { return verify.NewIntrospection(with) })
	return d.source, d, err
}

// ours tells whether a JWT with that `iss` and that `kid` is one of an issuer of the config.
func (a *App) ours(ctx context.Context, issuer, keyID string) (bool, error) {
	for _, i := range a.all() {
		if issuer != "" && issuer == i.config.Identifier {
			return true, nil
		}
		open, err := i.use(ctx)
		if err != nil {
			return false, err
		}
		if open.ring.Key(keyID) != nil {
			return true, nil
		}
	}
	return false, nil
}

// readPublicKeys reads a file with public keys.
func readPublicKeys(name string) ([]byte, error) {
	name, err := replace(name)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxKeysSize {
		return nil, fmt.Errorf("%s is no file with public keys", name)
	}
	return os.ReadFile(name)
}

func replaceAll(list []string) ([]string, error) {
	list = slices.Clone(list)
	for i, value := range list {
		var err error
		if list[i], err = replace(value); err != nil {
			return nil, err
		}
		if strings.TrimSpace(list[i]) == "" {
			return nil, errors.New("one is empty")
		}
	}
	return list, nil
}

// contentKey names what is made of some content.
func contentKey(content []any) ([sha256.Size]byte, error) {
	text, err := json.Marshal(content)
	return sha256.Sum256(text), err
}
