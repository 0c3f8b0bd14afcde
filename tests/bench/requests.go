//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"runtime"
	"sync"
	"sync/atomic"
)

// get is a request with a token, as wrk sends it.
func get(address, token string) []byte { return getPath(address, "/orders", token) }

func getPath(address, path, token string, more ...string) []byte {
	request := fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n", path, address, token)
	for _, field := range more {
		request = append(append(request, field...), "\r\n"...)
	}
	return append(request, "\r\n"...)
}

// fetchFields are what a browser sends beside when a page's script calls an API. With none of them, a request is so
// small that what the gateway tells the upstream is most of what it sends.
var fetchFields = []string{
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Accept: application/json",
	"Accept-Language: en", "Accept-Encoding: gzip, deflate, br", "Referer: https://app.example/",
	"Origin: https://app.example", "Sec-Fetch-Dest: empty", "Sec-Fetch-Mode: cors", "Sec-Fetch-Site: same-site",
}

func gets(address string, tokens []string) [][]byte {
	requests := make([][]byte, len(tokens))
	for i, token := range tokens {
		requests[i] = get(address, token)
	}
	return requests
}

// post is a form of a client that says who it is by HTTP Basic.
func post(address, path string, form url.Values, id, secret string) []byte {
	body := form.Encode()
	return fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Basic %s\r\n"+
		"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s", path, address,
		base64.StdEncoding.EncodeToString([]byte(id+":"+secret)), len(body), body)
}

var credentialsGrant = url.Values{"grant_type": {"client_credentials"}, "scope": {"read"}}

// call posts a form to the issuer and decodes its answer, which may be empty.
func (g *gateway) call(ctx context.Context, path string, form url.Values, id, secret string, into any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+g.guarded+path,
		bytes.NewReader([]byte(form.Encode())))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.SetBasicAuth(id, secret)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("POST %s: %s: %s", path, response.Status, data)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(data, into)
}

// issue asks the issuer for a token.
func (g *gateway) issue(ctx context.Context) (string, error) {
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	err := g.call(ctx, "/oauth/token", credentialsGrant, clientID, clientSecret, &answer)
	return answer.AccessToken, err
}

// issueMany asks for n tokens, and does with each what then says.
func (g *gateway) issueMany(ctx context.Context, n int, then func(token string) error) ([]string, error) {
	tokens := make([]string, n)
	return tokens, inParallel(n, 16, func(i int) (err error) {
		if tokens[i], err = g.issue(ctx); err != nil || then == nil {
			return err
		}
		return then(tokens[i])
	})
}

// revoked are tokens that came about as in life: given by the issuer, used, then revoked by their client.
func (g *gateway) revoked(ctx context.Context, n int) ([]string, error) {
	return g.issueMany(ctx, n, func(token string) error {
		if err := expect(ctx, g, token, http.StatusOK); err != nil {
			return err
		}
		if err := g.call(ctx, "/oauth/revoke", url.Values{"token": {token}}, clientID, clientSecret, nil); err != nil {
			return err
		}
		return expect(ctx, g, token, http.StatusUnauthorized)
	})
}

// present sends a token to the guarded site and tells the status.
func (g *gateway) present(ctx context.Context, token string) (int, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+g.guarded+"/orders", nil)
	if err != nil {
		return 0, err
	}
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	defer func() { _ = response.Body.Close() }()
	_, err = io.Copy(io.Discard, response.Body)
	return response.StatusCode, err
}

// inParallel calls fn for each of n, as many at a time as told (0: as many as there are cores), until one fails.
func inParallel(n, workers int, fn func(i int) error) error {
	if workers == 0 {
		workers = runtime.NumCPU()
	}
	var next atomic.Int64
	var failed atomic.Pointer[error]
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for failed.Load() == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if err := fn(i); err != nil {
					failed.Store(&err)
				}
			}
		})
	}
	group.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}

// expect presents a token and fails when the status is another.
func expect(ctx context.Context, g *gateway, token string, status int) error {
	got, err := g.present(ctx, token)
	if err == nil && got != status {
		err = fmt.Errorf("a token was answered with %d where %d is due", got, status)
	}
	return err
}
