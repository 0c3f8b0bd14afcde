package caddymodule

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"golang.org/x/net/http/httpguts"

	"github.com/oauth2-passport/caddy-passport/issuer"
)

func init() {
	caddy.RegisterModule(new(HTTPUsers))
}

// HTTPUsers is a source of people: an endpoint of an application that has accounts already, which stay there. At each
// sign-in `username` and `password` are sent to it by POST. It answers 200 with the person as JSON,
//
//	{"id": "17", "username": "ann", "email": "ann@example.com", "name": "Ann A.", "scopes": ["read"]}
//
// of which `id` and `username` are required, or 401, 403 or 422 where they are not right. `scopes`, a list or a text,
// is all that the person may have; without it that is every scope that is not restricted. Nothing is kept of the
// password.
type HTTPUsers struct {
	// URL is the endpoint: https, or http to this machine. Placeholders {env.*} and {file.*} are replaced. Required.
	URL string `json:"url"`

	// SourceName is what people of the application are kept by, together with their `id`: keep it when the URL changes.
	// It has to be given where two sources would have the same. Default: http.
	SourceName string `json:"name,omitempty"`

	// Format is how username and password are sent: form or json. Default: form.
	Format string `json:"format,omitempty"`

	// Timeout is how long an answer may take. Default: 5s.
	Timeout caddy.Duration `json:"timeout,omitempty"`

	// Headers are header fields of the request, such as a key for the endpoint. A value may be one placeholder {env.*} or
	// {file.*}. Default: none.
	Headers map[string]string `json:"headers,omitempty"`

	// CA is a PEM file with the certificates of the authorities that the endpoint's may be of. Placeholders {env.*} are
	// replaced. Default: those of the system.
	CA string `json:"ca,omitempty"`

	// PlainHTTP lets passwords go over http to another machine, in a network of your own. Default: false.
	PlainHTTP bool `json:"plain_http,omitempty"`

	headers http.Header
	client  *http.Client
}

// CaddyModule returns the Caddy module information.
func (*HTTPUsers) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "passport.users.http",
		New: func() caddy.Module { return new(HTTPUsers) },
	}
}

// Bounds of a request to the endpoint.
const (
	defaultUsersTimeout = 5 * time.Second
	maxUsersTimeout     = time.Minute
	maxUsersConns       = 16
	maxProfile          = 64 << 10 // bytes of an answer
)

// Provision sets the defaults, replaces placeholders and reads the certificates.
func (h *HTTPUsers) Provision(caddy.Context) error {
	h.SourceName = cmp.Or(h.SourceName, "http")
	h.Format = cmp.Or(h.Format, "form")
	h.Timeout = cmp.Or(h.Timeout, caddy.Duration(defaultUsersTimeout))
	var err error
	if h.URL, err = replace(h.URL); err != nil {
		return fmt.Errorf("url: %w", err)
	}
	h.headers = make(http.Header, len(h.Headers))
	for name, value := range h.Headers {
		if value, err = reveal(value); err != nil {
			return fmt.Errorf("header %s: %w", name, err)
		}
		if err := checkUsersHeader(name, value); err != nil {
			return fmt.Errorf("header %s: %w", name, err)
		}
		h.headers.Set(name, value)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if h.CA != "" {
		if h.CA, err = replace(h.CA); err != nil {
			return fmt.Errorf("ca: %w", err)
		}
		content, err := os.ReadFile(h.CA)
		if err != nil {
			return fmt.Errorf("ca: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(content) {
			return fmt.Errorf("ca: %s has no certificate in PEM", h.CA)
		}
	}
	h.client = &http.Client{
		Transport: &http.Transport{
			DialContext:            (&net.Dialer{KeepAlive: 30 * time.Second}).DialContext,
			TLSClientConfig:        config,
			ForceAttemptHTTP2:      true,
			MaxConnsPerHost:        maxUsersConns,
			MaxIdleConnsPerHost:    maxUsersConns,
			IdleConnTimeout:        time.Minute,
			MaxResponseHeaderBytes: maxProfile,
			DisableCompression:     true, // a small body must not become a big one
		},
		// Who could make a redirect would choose who gets the password.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return nil
}

// Validate checks the config.
func (h *HTTPUsers) Validate() error {
	if err := checkSourceName(h.SourceName); err != nil {
		return err
	}
	if err := h.checkURL(); err != nil {
		return err
	}
	if err := checkFormat(h.Format); err != nil {
		return err
	}
	return checkUsersTimeout(h.Timeout)
}

// Cleanup closes the connections that nobody uses.
func (h *HTTPUsers) Cleanup() error {
	if h.client != nil {
		h.client.CloseIdleConnections()
	}
	return nil
}

func (h *HTTPUsers) checkURL() error {
	u, err := url.Parse(h.URL)
	switch {
	case err != nil || u.Hostname() == "" || u.Scheme != "https" && u.Scheme != "http":
		return errors.New("the URL is no https URL")
	case u.User != nil:
		return errors.New("the URL has a user or a password: give them by header Authorization")
	case u.Fragment != "":
		return errors.New("the URL has a fragment")
	case u.Scheme == "http" && !h.PlainHTTP && !isThisMachine(u.Hostname()):
		return errors.New("the URL is http: whoever is on the way could read the passwords; use https, " +
			"or say plain_http in a network of your own")
	}
	return nil
}

func isThisMachine(host string) bool {
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback() || host == "localhost"
}

func checkFormat(format string) error {
	if format != "form" && format != "json" {
		return fmt.Errorf("the format %q is unknown: there is form, json", format)
	}
	return nil
}

func checkUsersTimeout(timeout caddy.Duration) error {
	if timeout <= 0 || time.Duration(timeout) > maxUsersTimeout {
		return fmt.Errorf("the timeout %s is not above zero, or more than %s", time.Duration(timeout), maxUsersTimeout)
	}
	return nil
}

// checkUsersHeader checks a header field. Errors do not repeat its value.
func checkUsersHeader(name, value string) error {
	switch http.CanonicalHeaderKey(name) {
	case "Content-Type", "Content-Length", "Host", "Accept":
		return errors.New("the request has it already")
	}
	if !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value) {
		return errors.New("it is no header field")
	}
	return nil
}

// Name implements [issuer.Source].
func (h *HTTPUsers) Name() string { return h.SourceName }

// Check implements [issuer.Source]. Whether the name or the password is wrong the application does not say, so it may
// be a person of another source.
func (h *HTTPUsers) Check(ctx context.Context, login, password string) (issuer.Profile, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(h.Timeout))
	defer cancel()
	req, err := h.request(ctx, strings.TrimSpace(login), password)
	if err != nil {
		return issuer.Profile{}, err
	}
	resp, err := h.client.Do(req)
	if err != nil {
		return issuer.Profile{}, err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusUnprocessableEntity:
		_, _ = io.CopyN(io.Discard, resp.Body, maxProfile) // so that the connection can be used again
		return issuer.Profile{}, issuer.ErrUnknownPerson
	default:
		return issuer.Profile{}, fmt.Errorf("%s answers %d; it should be 200, or 401, 403 or 422", h.URL, resp.StatusCode)
	}
	media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if media != "application/json" {
		return issuer.Profile{}, fmt.Errorf("%s answers with %q; it should be application/json", h.URL, media)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxProfile+1))
	switch {
	case err != nil:
		return issuer.Profile{}, err
	case len(body) > maxProfile:
		return issuer.Profile{}, fmt.Errorf("%s answers with more than %d bytes", h.URL, maxProfile)
	}
	profile, err := parseProfile(body)
	if err != nil {
		return issuer.Profile{}, fmt.Errorf("the answer of %s: %w", h.URL, err)
	}
	return profile, nil
}

func (h *HTTPUsers) request(ctx context.Context, login, password string) (*http.Request, error) {
	body, media := []byte(url.Values{"username": {login}, "password": {password}}.Encode()),
		"application/x-www-form-urlencoded"
	if h.Format == "json" {
		var err error
		body, err = json.Marshal(map[string]string{"username": login, "password": password})
		if err != nil {
			return nil, err
		}
		media = "application/json"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.URL, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	maps.Copy(req.Header, h.headers)
	req.GetBody = nil // what has been sent is not sent again: it may have counted as a wrong password
	req.Header.Set("Content-Type", media)
	req.Header.Set("Accept", "application/json")
	return req, nil
}

// parseProfile reads what the application says of a person. An ID may be a number.
func parseProfile(body []byte) (issuer.Profile, error) {
	var p struct {
		ID       json.RawMessage `json:"id"`
		Username string          `json:"username"`
		Email    *string         `json:"email"`
		Name     *string         `json:"name"`
		Scopes   json.RawMessage `json:"scopes"`
	}
	if err := json.Unmarshal(body, &p); err != nil {
		return issuer.Profile{}, errors.New("it is not the JSON that is expected here")
	}
	profile := issuer.Profile{Username: p.Username, Email: value(p.Email), DisplayName: value(p.Name)}
	var number json.Number
	switch {
	case json.Unmarshal(p.ID, &profile.ID) == nil && profile.ID != "":
	case json.Unmarshal(p.ID, &number) == nil && number != "":
		profile.ID = number.String()
	default:
		return issuer.Profile{}, errors.New("it has no id")
	}
	if len(p.Scopes) == 0 || string(p.Scopes) == "null" {
		return profile, nil
	}
	var text string
	profile.Limited = true
	switch {
	case json.Unmarshal(p.Scopes, &profile.Scopes) == nil:
	case json.Unmarshal(p.Scopes, &text) == nil:
		profile.Scopes = strings.Fields(text)
	default:
		return issuer.Profile{}, errors.New("its scopes are neither a list nor a text")
	}
	return profile, nil
}

// Interface guards
var (
	_ UserSource         = (*HTTPUsers)(nil)
	_ caddy.Provisioner  = (*HTTPUsers)(nil)
	_ caddy.Validator    = (*HTTPUsers)(nil)
	_ caddy.CleanerUpper = (*HTTPUsers)(nil)
)
