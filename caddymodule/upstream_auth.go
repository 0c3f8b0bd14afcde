package caddymodule

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/oauth2-passport/caddy-passport/issuer/verify"
)

// UpstreamAuth is the credential that the upstream knows. A request gets it only when it is let through for somebody:
// an anonymous one, a preflight, one without a good token have none, and what the caller sent in its place is removed.
// It is of exactly one kind.
//
// Placeholders {env.*} and {file.*} are replaced when the config is loaded, those of the identity and the request with
// each request. One that comes out empty then leaves the request without a credential.
type UpstreamAuth struct {
	// Basic is a user and a password, in the header field Authorization.
	Basic *UpstreamBasic `json:"basic,omitempty"`

	// Header is a header field, such as one for an API key.
	Header *UpstreamHeader `json:"header,omitempty"`

	// JWT is a token of the issuer that the upstream alone takes.
	JWT *UpstreamJWT `json:"jwt,omitempty"`

	field string // the header field that it stands in
	parts []credentialPart
	basic bool
}

// UpstreamBasic is a credential by HTTP Basic authentication (RFC 7617).
type UpstreamBasic struct {
	// Username may have placeholders. Required; it has no colon.
	Username string `json:"username"`

	// Password may have placeholders: better {env.*} or {file.*} than the password itself. Required.
	Password string `json:"password"`
}

// UpstreamHeader is a credential in a header field.
type UpstreamHeader struct {
	// Name is the field's name. What the caller sends under it is removed on every route of the site; only
	// Authorization, where tokens come in, is removed on this route alone. Required.
	Name string `json:"name"`

	// Value may have placeholders: better {env.*} or {file.*} than the key itself. Required.
	Value string `json:"value"`
}

// credentialPart is a piece of a credential: a text, or a placeholder that is replaced with each request.
type credentialPart struct{ text, placeholder string }

// perRequest and perConfig are the placeholders that a credential may have. All else in braces is what it is, for
// passwords have braces too.
var (
	credentialPlaceholder = regexp.MustCompile(`\{(env|file|passport|http)\.[^{}]+\}`)
	configPlaceholder     = regexp.MustCompile(`^\{(env|file)\.`)
)

// credentialParts splits a value, and replaces what is known already.
func credentialParts(value string) ([]credentialPart, error) {
	var parts []credentialPart
	add := func(text string) {
		if last := len(parts) - 1; last >= 0 && parts[last].placeholder == "" {
			parts[last].text += text
		} else if text != "" {
			parts = append(parts, credentialPart{text: text})
		}
	}
	from := 0
	for _, at := range credentialPlaceholder.FindAllStringIndex(value, -1) {
		add(value[from:at[0]])
		from = at[1]
		name := value[at[0]:at[1]]
		if !configPlaceholder.MatchString(name) {
			parts = append(parts, credentialPart{placeholder: name[1 : len(name)-1]})
			continue
		}
		text, err := replace(name)
		if err != nil {
			return nil, err
		}
		add(text)
	}
	add(value[from:])
	for _, p := range parts {
		if err := checkCredential(p.text); err != nil {
			return nil, err
		}
	}
	if len(parts) == 0 {
		return nil, errors.New("it is empty")
	}
	return parts, nil
}

// isLiteralCredential tells whether a credential is written out, without any placeholder.
func isLiteralCredential(value string) bool { return !credentialPlaceholder.MatchString(value) }

// checkCredential tells whether a text can stand in a header field. Errors do not repeat it.
func checkCredential(text string) error {
	if strings.ContainsFunc(text, isControl) {
		return errors.New("it has a control character")
	}
	return nil
}

func isControl(c rune) bool { return c < ' ' || c == 0x7f }

// provision replaces the placeholders that are known already.
func (u *UpstreamAuth) provision(i *instance) error {
	var err error
	switch {
	case u.Basic != nil:
		u.field, u.basic = "Authorization", true
		user, err := credentialParts(u.Basic.Username)
		if err != nil {
			return fmt.Errorf("upstream_auth basic: the user: %w", err)
		}
		for _, p := range user {
			if strings.Contains(p.text, ":") {
				return errors.New("upstream_auth basic: the user has a colon")
			}
		}
		password, err := credentialParts(u.Basic.Password)
		if err != nil {
			return fmt.Errorf("upstream_auth basic: the password: %w", err)
		}
		u.parts = append(append(user, credentialPart{text: ":"}), password...)
		if !hasPlaceholderPart(u.parts) {
			credential, _ := u.credential(nil)
			u.parts, u.basic = []credentialPart{{text: credential}}, false
		}
	case u.Header != nil:
		u.field = http.CanonicalHeaderKey(u.Header.Name)
		if u.parts, err = credentialParts(u.Header.Value); err != nil {
			return fmt.Errorf("upstream_auth header: %w", err)
		}
	case u.JWT != nil && i == nil:
		return errors.New("upstream_auth jwt: issuer is off, and there is no key to sign with")
	case u.JWT != nil:
		if u.field, err = u.JWT.provision(i); err != nil {
			return fmt.Errorf("upstream_auth jwt: %w", err)
		}
	}
	return nil
}

func hasPlaceholderPart(parts []credentialPart) bool {
	for _, p := range parts {
		if p.placeholder != "" {
			return true
		}
	}
	return false
}

// own are the header fields that callers may not send anywhere on the site.
func (u *UpstreamAuth) own() []string {
	if u == nil || u.field == "" || u.field == "Authorization" {
		return nil
	}
	return []string{u.field}
}

// validate checks what is configured beside it.
func (u *UpstreamAuth) validate(a *Auth) error {
	if u == nil {
		return nil
	}
	kinds := 0
	for _, given := range []bool{u.Basic != nil, u.Header != nil, u.JWT != nil} {
		if given {
			kinds++
		}
	}
	if kinds != 1 {
		return errors.New("upstream_auth: there is one of basic, header and jwt")
	}
	if u.field == "Authorization" {
		if a.ForwardToken {
			return errors.New("upstream_auth and forward_token both want the header field Authorization: remove one")
		}
	} else if err := checkUpstreamHeader(u.field); err != nil {
		return fmt.Errorf("upstream_auth: %w", err)
	}
	for _, h := range a.upstream {
		if h.name == u.field {
			return fmt.Errorf("upstream_auth and upstream_header both set %s: remove one", u.field)
		}
	}
	if u.JWT != nil {
		return u.JWT.validate(a.gate)
	}
	return nil
}

// withhold takes from the request what the caller may have put in the place of the credential. It is called once the
// token has been read, whatever becomes of the request.
func (u *UpstreamAuth) withhold(r *http.Request) {
	if u != nil && u.field == "Authorization" { // the site takes others
		delete(r.Header, u.field)
	}
}

// set gives the request the credential, after it has been let through for id.
func (u *UpstreamAuth) set(r *http.Request, v *visit, id *verify.Identity) error {
	if u == nil {
		return nil
	}
	if u.JWT != nil {
		token, err := u.JWT.token(r, id)
		if err != nil {
			return err
		}
		v.credential[0] = token
	} else {
		repl, _ := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
		credential, ok := u.credential(repl)
		if !ok {
			delete(r.Header, u.field)
			return nil
		}
		v.credential[0] = credential
	}
	r.Header[u.field] = v.credential[0:1:1]
	return nil
}

// credential is what the header field gets; false when a placeholder came out empty, or as what cannot stand there.
func (u *UpstreamAuth) credential(repl *caddy.Replacer) (string, bool) {
	if len(u.parts) == 1 && u.parts[0].placeholder == "" && !u.basic {
		return u.parts[0].text, true
	}
	var b strings.Builder
	user := true // of basic: the colon is still to come
	for _, p := range u.parts {
		text := p.text
		if p.placeholder != "" {
			value, _ := repl.Get(p.placeholder)
			text = caddy.ToString(value)
			if text == "" || strings.ContainsFunc(text, isControl) || u.basic && user && strings.Contains(text, ":") {
				return "", false // a colon would make another user and password of it
			}
		} else if text == ":" {
			user = false
		}
		b.WriteString(text)
	}
	if u.basic {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(b.String())), true
	}
	return strings.TrimSpace(b.String()), true
}
