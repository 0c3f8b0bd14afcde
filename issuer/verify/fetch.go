package verify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Bounds of what is asked of another issuer.
const (
	fetchTimeout = 10 * time.Second // for all of one request
	maxDocument  = 1 << 20          // bytes of a metadata document or a JWK set
)

// errRedirect is why a redirect is not followed: whoever could make one would choose whose keys are taken.
var errRedirect = errors.New("it redirects, which is not followed: name the final URL")

// newClient makes the client for the requests to another issuer.
func newClient(transport http.RoundTripper) *http.Client {
	if transport == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.TLSHandshakeTimeout = fetchTimeout / 2
		t.ResponseHeaderTimeout = fetchTimeout
		t.MaxResponseHeaderBytes = 64 << 10
		t.MaxIdleConnsPerHost = maxAsking
		t.MaxConnsPerHost = maxAsking
		transport = t
	}
	return &http.Client{
		Transport:     transport,
		Timeout:       fetchTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return errRedirect },
	}
}

// CheckURL tells whether another issuer may be asked at that URL: it is https, or http to this machine itself.
func CheckURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Opaque != "" || u.Hostname() == "":
		return errors.New("it is no https URL")
	case u.User != nil:
		return errors.New("it has a user name: what it holds would stand in logs")
	case strings.Contains(text, "#"):
		return errors.New("it has a fragment")
	case u.Scheme == "https", u.Scheme == "http" && isLoopback(u.Hostname()):
		return nil
	case u.Scheme == "http":
		return errors.New("it is http: whoever is on the way could give other keys; use https")
	}
	return errors.New("it is no https URL")
}

// CheckIssuer tells whether that may be the identifier of another issuer (RFC 8414 §2).
func CheckIssuer(text string) error {
	if err := CheckURL(text); err != nil {
		return err
	}
	if strings.Contains(text, "?") {
		return errors.New("it has a query, an issuer identifier has none")
	}
	return nil
}

func isLoopback(host string) bool {
	if ip := net.ParseIP(host); ip != nil {
		return ip.IsLoopback()
	}
	return host == "localhost"
}

// get fetches a JSON document, and tells how long it may be kept; zero: the answer does not say.
func get(ctx context.Context, client *http.Client, from string) (body []byte, keep time.Duration, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return nil, 0, err
	}
	req.Header.Set("Accept", "application/json, application/jwk-set+json")
	resp, err := client.Do(req)
	if err != nil {
		return nil, 0, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, 0, fmt.Errorf("%s answers %d", from, resp.StatusCode)
	}
	body, err = readAll(resp.Body, maxDocument)
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %w", from, err)
	}
	return body, maxAge(resp.Header), nil
}

// readAll reads a body that has no more than limit bytes.
func readAll(r io.Reader, limit int64) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(body)) > limit {
		return nil, fmt.Errorf("the answer has more than %d bytes", limit)
	}
	return body, nil
}

// maxAge is how long an answer may be kept, by Cache-Control (RFC 9111 §5.2.2). Zero: it does not say. What must not be
// kept is kept for a nanosecond.
func maxAge(h http.Header) time.Duration {
	for field := range strings.SplitSeq(strings.Join(h.Values("Cache-Control"), ","), ",") {
		name, value, _ := strings.Cut(strings.ToLower(strings.TrimSpace(field)), "=")
		switch name {
		case "no-store", "no-cache":
			return 1
		case "max-age":
			seconds, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 31)
			if err != nil {
				continue
			}
			return max(time.Duration(seconds)*time.Second, 1)
		}
	}
	return 0
}
