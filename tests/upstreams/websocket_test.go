//go:build linux

package upstreams

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/websocket"

	"github.com/oauth2-passport/caddy-passport/tests/internal/gateway"
)

// echo answers with every message that it gets, after one that tells who calls. gone tells of connections that ended.
func echo(t *testing.T) (addr string, gone <-chan error) {
	t.Helper()
	ended := make(chan error, 8)
	server := httptest.NewServer(websocket.Handler(func(conn *websocket.Conn) {
		conn.MaxPayloadBytes = 64 << 20
		header := conn.Request().Header
		err := websocket.Message.Send(conn, header.Get("X-Passport-Client")+" "+header.Get("Authorization"))
		for err == nil {
			var message []byte
			if err = websocket.Message.Receive(conn, &message); err == nil {
				err = websocket.Message.Send(conn, message)
			}
		}
		ended <- err
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://"), ended
}

// dial opens a WebSocket at the gateway.
func dial(t *testing.T, g *gateway.Gateway, path, bearer string) (*websocket.Conn, error) {
	config, err := websocket.NewConfig("ws"+strings.TrimPrefix(g.URL, "http")+path, g.URL)
	if err != nil {
		return nil, err
	}
	if bearer != "" {
		config.Header.Set("Authorization", "Bearer "+bearer)
	}
	conn, err := config.DialContext(t.Context())
	if err == nil {
		conn.MaxPayloadBytes = 64 << 20
		err = conn.SetDeadline(time.Now().Add(patience))
	}
	return conn, err
}

func TestWebSocketEcho(t *testing.T) {
	upstream, gone := echo(t)
	g := start(t, recipe(t, "websocket.md"), upstream)
	if conn, err := dial(t, g, "/orders/live", ""); err == nil {
		_ = conn.Close()
		t.Error("it opens without a token")
	}
	upgrade := g.Request(http.MethodGet, "/orders/live", "")
	upgrade.Header = http.Header{
		"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"},
		"Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="}, "Origin": {g.URL},
	}
	refused(t, "without a token", g.Do(upgrade), "")

	bearer, other := token(g), token(g)
	conn, err := dial(t, g, "/orders/live", bearer)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	stays, err := dial(t, g, "/orders/live", other)
	if err != nil {
		t.Fatal(err)
	}
	defer stays.Close()
	var who string
	if err := websocket.Message.Receive(conn, &who); err != nil || who != clientID+" " {
		t.Fatalf("the upstream says %q, %v", who, err)
	}
	if err := websocket.Message.Receive(stays, &who); err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{0, 1, 125, 126, 1 << 16, 5 << 20} {
		exchange(t, conn, size)
	}

	revoke(t, g, bearer)
	var message []byte
	if err := websocket.Message.Receive(conn, &message); err == nil {
		t.Errorf("the upstream sent %q", message)
	} else if timeout, ok := err.(interface{ Timeout() bool }); ok && timeout.Timeout() {
		t.Error("the connection outlives its token")
	}
	select {
	case <-gone:
	case <-time.After(patience):
		t.Error("the upstream's connection outlives the token")
	}
	exchange(t, stays, 1000) // another's goes on
	refused(t, "once it is revoked", try(t, g, upgrade, bearer), "invalid_token")
}

// exchange sends a message of that many bytes and waits for its echo.
func exchange(t *testing.T, conn *websocket.Conn, size int) {
	t.Helper()
	sent := bytes.Repeat([]byte("a"), size)
	errs := make(chan error, 1)
	go func() { errs <- websocket.Message.Send(conn, sent) }()
	var got []byte
	if err := websocket.Message.Receive(conn, &got); err != nil || !bytes.Equal(got, sent) {
		t.Fatalf("%d bytes: got %d, %v", size, len(got), err)
	}
	if err := <-errs; err != nil {
		t.Fatal(err)
	}
}

// try sends a request with a token.
func try(t *testing.T, g *gateway.Gateway, req *http.Request, bearer string) gateway.Response {
	t.Helper()
	req = req.Clone(t.Context())
	req.Header.Set("Authorization", "Bearer "+bearer)
	resp, err := g.Try(req)
	if err != nil && err != io.EOF {
		t.Fatal(err)
	}
	return resp
}
