//go:build linux

package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"html"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"
)

var hiddenInput = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`)

// visit is a person who signs in, lets an app act, and signs out; the app redeems its code and refreshes a few times.
func (k *soak) visit(ctx context.Context) error {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return err
	}
	browser := &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}
	err = k.send(ctx, browser, "/oauth/login", url.Values{"username": {soakPerson}, "password": {soakPassword}})
	if err != nil {
		return err
	}
	code, err := k.code(ctx, browser)
	if err != nil {
		return err
	}
	redeem := url.Values{
		"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {appRedirect}, "code_verifier": {verifier},
	}
	tokens, err := k.grant(ctx, redeem)
	if err != nil {
		return err
	}
	for range 3 {
		if tokens, err = k.grant(ctx, url.Values{
			"grant_type": {"refresh_token"}, "refresh_token": {tokens.Refresh},
		}); err != nil {
			return err
		}
	}
	if err := k.active(ctx, tokens.Access, true); err != nil {
		return err
	}
	// A code that is used again ends all that came of it.
	if _, err := k.grant(ctx, redeem); err == nil {
		return errors.New("a code was redeemed twice")
	} else if !strings.Contains(err.Error(), "invalid_grant") {
		return err
	}
	if err := expect(ctx, k.g, tokens.Access, http.StatusUnauthorized); err != nil {
		return err
	}
	return k.send(ctx, browser, "/oauth/logout", url.Values{})
}

// send opens a page of the issuer and sends its form, as a browser does.
func (k *soak) send(ctx context.Context, browser *http.Client, path string, form url.Values) error {
	page, body, err := k.browse(ctx, browser, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	if page.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s", path, page.Status)
	}
	for _, field := range hiddenInput.FindAllStringSubmatch(body, -1) {
		form.Set(html.UnescapeString(field[1]), html.UnescapeString(field[2]))
	}
	answer, _, err := k.browse(ctx, browser, http.MethodPost, path, form)
	if err == nil && answer.StatusCode != http.StatusSeeOther {
		err = fmt.Errorf("POST %s: %s", path, answer.Status)
	}
	return err
}

func (k *soak) browse(
	ctx context.Context, browser *http.Client, method, path string, form url.Values,
) (*http.Response, string, error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://"+k.g.guarded+path, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, "", err
	}
	if method == http.MethodPost {
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		request.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	response, err := browser.Do(request)
	if err != nil {
		return nil, "", err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	return response, string(body), err
}

// code is what the authorization endpoint sends the app by the person's browser.
func (k *soak) code(ctx context.Context, browser *http.Client) (string, error) {
	sum := sha256.Sum256([]byte(verifier))
	path := "/oauth/authorize?" + url.Values{
		"response_type": {"code"}, "client_id": {appID}, "redirect_uri": {appRedirect}, "scope": {"read"},
		"code_challenge":        {base64.RawURLEncoding.EncodeToString(sum[:])},
		"code_challenge_method": {"S256"}, "state": {"soak"},
	}.Encode()
	answer, _, err := k.browse(ctx, browser, http.MethodGet, path, nil)
	if err != nil {
		return "", err
	}
	to, err := answer.Location()
	if err != nil || to.Query().Get("code") == "" {
		return "", fmt.Errorf("no code: %s, to %v", answer.Status, to)
	}
	return to.Query().Get("code"), nil
}

type granted struct {
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
}

func (k *soak) grant(ctx context.Context, form url.Values) (tokens granted, err error) {
	err = k.g.call(ctx, "/oauth/token", form, appID, clientSecret, &tokens)
	return tokens, err
}

// stream is the job of opening what lasts, and seeing it end: with its token by turns revoked and expired, and given up
// by the caller.
func (k *soak) stream(n int) func(context.Context) error {
	return func(ctx context.Context) error {
		n++
		token, err := k.g.issue(ctx)
		if err != nil {
			return err
		}
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", k.g.guarded)
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close() }()
		defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
		if err := conn.SetDeadline(time.Now().Add(k.lifetime + time.Minute)); err != nil {
			return err
		}
		in, err := openStream(conn, k.g.guarded, token, n%2 == 0)
		if err != nil {
			return err
		}
		switch n % 3 {
		case 0: // given up
			return nil
		case 1:
			err = k.g.call(ctx, "/oauth/revoke", url.Values{"token": {token}}, clientID, clientSecret, nil)
			if err != nil {
				return err
			}
		}
		if _, err := io.Copy(io.Discard, in); errors.Is(err, os.ErrDeadlineExceeded) {
			return errors.New("a stream outlives its token")
		}
		return nil
	}
}

// openStream opens an event stream or a tunnel, and returns what comes of it, once something has.
func openStream(conn net.Conn, host, token string, tunnel bool) (io.Reader, error) {
	request, err := http.NewRequest(http.MethodGet, "http://"+host+"/events", nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+token)
	want := http.StatusOK
	if tunnel {
		request.URL.Path, want = "/socket", http.StatusSwitchingProtocols
		request.Header.Set("Connection", "Upgrade")
		request.Header.Set("Upgrade", "websocket")
	}
	if err := request.Write(conn); err != nil {
		return nil, err
	}
	buffered := bufio.NewReader(conn)
	response, err := http.ReadResponse(buffered, request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != want {
		return nil, fmt.Errorf("a stream was answered with %s", response.Status)
	}
	var in io.Reader = response.Body
	if tunnel {
		in = buffered
		if _, err := io.WriteString(conn, "ping"); err != nil {
			return nil, err
		}
	}
	_, err = io.ReadFull(in, make([]byte, 4))
	return in, err
}
