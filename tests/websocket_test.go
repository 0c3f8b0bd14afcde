package tests

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/oauth2-passport/caddy-passport/tests/internal/gateway"
)

// TestWebSocketOverHTTP3 opens one by CONNECT (RFC 9220) where a door stands for GET, which is what the upstream gets:
// it is asked for a token, passes with one, and is cut when that is revoked.
func TestWebSocketOverHTTP3(t *testing.T) {
	ended := make(chan struct{})
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || r.Header.Get("Upgrade") != "websocket" || r.Header.Get("X-Passport-Client") != "demo" {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer close(ended)
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		_, _ = io.Copy(conn, buffered)
	}))
	t.Cleanup(upstream.Close)
	g := gateway.Start(t, `{
	default_bind 127.0.0.1
	skip_install_trust
	auto_https disable_redirects
	passport {
		client demo {
			secret {env.DEMO_SECRET}
			grants client_credentials
		}
	}
}

https://localhost:{$PORT} {
	tls internal
	passport_server
	@get method GET
	passport_auth @get
	reverse_proxy {$UPSTREAM}
}
`, "UPSTREAM="+upstream.Listener.Addr().String(), "DEMO_SECRET="+demoSecret)

	pem, err := os.ReadFile(filepath.Join(g.Dir, "data", "caddy", "pki", "authorities", "local", "root.crt"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	ready := time.Now().Add(time.Minute)
	for { // Caddy makes its certificate when it serves already
		conn, err := tls.Dial("tcp", "127.0.0.1:"+g.Port, &tls.Config{RootCAs: roots, ServerName: "localhost"})
		if err == nil {
			_ = conn.Close()
			break
		}
		if time.Now().After(ready) {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
	}
	form := func(path string, values url.Values) map[string]any {
		t.Helper()
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
		req, _ := http.NewRequest(http.MethodPost, "https://localhost:"+g.Port+path, strings.NewReader(values.Encode()))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.SetBasicAuth("demo", demoSecret)
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: %d %s", path, resp.StatusCode, body)
		}
		return gateway.Response{Body: string(body)}.JSON()
	}
	token, _ := form("/oauth/token", url.Values{"grant_type": {"client_credentials"}})["access_token"].(string)
	g.Secret(token)

	config := &tls.Config{RootCAs: roots, ServerName: "localhost", NextProtos: []string{http3.NextProtoH3}}
	conn, err := quic.DialAddr(t.Context(), "127.0.0.1:"+g.Port, config, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.CloseWithError(0, "") })
	client := (&http3.Transport{}).NewClientConn(conn)
	<-client.ReceivedSettings()
	open := func(header http.Header) (*http3.RequestStream, *http.Response) {
		t.Helper()
		stream, err := client.OpenRequestStream(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_ = stream.SetDeadline(time.Now().Add(time.Minute))
		header.Set("Sec-WebSocket-Version", "13")
		err = stream.SendRequestHeader(&http.Request{
			Method: http.MethodConnect, Proto: "websocket", Host: "localhost:" + g.Port, Header: header,
			URL: &url.URL{Scheme: "https", Host: "localhost:" + g.Port, Path: "/chat"},
		})
		if err != nil {
			t.Fatal(err)
		}
		resp, err := stream.ReadResponse()
		if err != nil {
			t.Fatal(err)
		}
		return stream, resp
	}
	if _, resp := open(http.Header{}); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("without a token: %d", resp.StatusCode)
	}
	stream, resp := open(http.Header{"Authorization": {"Bearer " + token}})
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("with a token: %d", resp.StatusCode)
	}
	if _, err := io.WriteString(stream, "ping"); err != nil {
		t.Fatal(err)
	}
	echo := make([]byte, 4)
	if _, err := io.ReadFull(stream, echo); err != nil || string(echo) != "ping" {
		t.Fatalf("%q, %v", echo, err)
	}
	form("/oauth/revoke", url.Values{"token": {token}})
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Error("the WebSocket outlives its token")
	}
}
