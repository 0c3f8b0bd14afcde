package caddymodule

import (
	"crypto/rand"
	"encoding/base64"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// asksForWebSocket tells whether the request is a CONNECT for a WebSocket, as HTTP/2 (RFC 8441) and HTTP/3 (RFC 9220)
// have it, in the forms in which net/http and quic-go give it.
func asksForWebSocket(r *http.Request) bool {
	if r.Method != http.MethodConnect {
		return false
	}
	return r.ProtoMajor == 2 && r.Header.Get(":protocol") == "websocket" || r.ProtoMajor == 3 && r.Proto == "websocket"
}

// webSocketBody is the variable of a request in which reverse_proxy looks for the stream of a WebSocket that came by
// CONNECT.
const webSocketBody = "extended_connect_websocket_body"

// asUpgrade is the request for a WebSocket as HTTP/1.1 has it: a GET with Upgrade (RFC 6455 §4.1). reverse_proxy makes
// the same of a CONNECT for its upstream, but only after the matchers have looked at it: those would see a CONNECT
// where the upstream gets a GET. What it does there (caddy v2.11.9, reverseproxy.go) is done here.
func asUpgrade(r *http.Request) *http.Request {
	key := make([]byte, 16)
	_, _ = rand.Read(key) // it never fails
	upgrade := new(http.Request)
	*upgrade = *r
	caddyhttp.SetVar(r.Context(), webSocketBody, r.Body)
	upgrade.Method, upgrade.Body = http.MethodGet, http.NoBody
	delete(upgrade.Header, ":protocol")
	upgrade.Header["Upgrade"], upgrade.Header["Connection"] = []string{"websocket"}, []string{"Upgrade"}
	//nolint:canonicalheader // as RFC 6455 writes it, and reverse_proxy sends it
	upgrade.Header["Sec-WebSocket-Key"] = []string{base64.StdEncoding.EncodeToString(key)}
	return upgrade
}
