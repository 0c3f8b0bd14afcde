package gateway

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Response is an answer, read whole.
type Response struct {
	Status int
	Header http.Header
	Body   string
}

// JSON is the body as an object; nil when it is something else.
func (r Response) JSON() map[string]any {
	var object map[string]any
	if json.Unmarshal([]byte(r.Body), &object) != nil {
		return nil
	}
	return object
}

// String is a member of the body's object; "" when it has no such text.
func (r Response) String(member string) string {
	s, _ := r.JSON()[member].(string)
	return s
}

func newClient() *http.Client {
	return &http.Client{
		Transport:     &http.Transport{MaxIdleConnsPerHost: 64},
		Timeout:       patience,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Do sends a request and reads the answer. The test ends when there is none.
func (g *Gateway) Do(req *http.Request) Response {
	g.t.Helper()
	resp, err := g.Try(req)
	if err != nil {
		g.t.Fatal(err)
	}
	return resp
}

// Try is Do for requests that may fail, and for goroutines that are not the test's own.
func (g *Gateway) Try(req *http.Request) (Response, error) {
	resp, err := g.HTTP.Do(req)
	if err != nil {
		return Response{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return Response{resp.StatusCode, resp.Header, string(body)}, err
}

// Request makes a request to a path of the site; body "" is none.
func (g *Gateway) Request(method, path, body string) *http.Request {
	g.t.Helper()
	req, err := http.NewRequest(method, g.URL+path, strings.NewReader(body))
	if err != nil {
		g.t.Fatal(err)
	}
	return req
}

// Get asks for a path of the site, with a bearer token unless that is "".
func (g *Gateway) Get(path, token string) Response {
	g.t.Helper()
	req := g.Request(http.MethodGet, path, "")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	return g.Do(req)
}

// Form posts a form to a path of the site, by HTTP Basic with the credentials encoded as RFC 6749 section 2.3.1 says,
// or without when id is "".
func (g *Gateway) Form(path, id, secret string, form url.Values) Response {
	g.t.Helper()
	req := g.Request(http.MethodPost, path, form.Encode())
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if id != "" {
		req.SetBasicAuth(url.QueryEscape(id), url.QueryEscape(secret))
		g.Secret(secret)
	}
	return g.Do(req)
}

// Token gets an access token for the client itself; scope "" asks for none. The test ends when it is refused.
func (g *Gateway) Token(id, secret, scope string) string {
	g.t.Helper()
	form := url.Values{"grant_type": {"client_credentials"}}
	if scope != "" {
		form.Set("scope", scope)
	}
	resp := g.Form("/oauth/token", id, secret, form)
	token := resp.String("access_token")
	if resp.Status != http.StatusOK || token == "" {
		g.t.Fatalf("token for %s: %d %s", id, resp.Status, resp.Body)
	}
	g.Secret(token)
	return token
}

// Eventually waits until the condition holds and ends the test when it doesn't within a minute. It is for what another
// process does in its own time, never for asserting how long that takes.
func (g *Gateway) Eventually(what string, condition func() bool) {
	g.t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if condition() {
			return
		}
	}
	g.t.Fatalf("not within %s: %s", patience, what)
}
