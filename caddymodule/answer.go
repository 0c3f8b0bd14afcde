package caddymodule

import (
	"errors"
	"net/http"
	"reflect"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// hideAnswer takes from the header fields of a response that has been sent what the access log must not show: the
// Location by which the issuer gives a client its code or token (RFC 6749 §4.1.2). Caddy's log has Authorization and
// cookies left out, but not this; it reads the header fields when all handlers are done.
func hideAnswer(w http.ResponseWriter) {
	h := w.Header()
	location := h.Get("Location")
	end := strings.IndexAny(location, "?#")
	if end < 0 || !isSent(w) {
		return
	}
	// HTTP/3 sends the header fields no earlier than it has to. A client that is gone gets none, whatever they say now.
	if err := http.NewResponseController(w).Flush(); errors.Is(err, http.ErrNotSupported) {
		return
	}
	h.Set("Location", location[:end+1]+"REDACTED")
}

// isSent tells whether the header fields of a response have gone all the way down: nothing that may have kept them, to
// send them later, is around the site. In a Caddyfile that is so always. What the server itself puts around its own
// writer keeps nothing, but for a recorder that says so.
func isSent(w http.ResponseWriter) bool {
	for {
		wrapped, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return true
		}
		if recorder, ok := w.(caddyhttp.ResponseRecorder); ok && recorder.Buffered() {
			return false
		}
		if reflect.Indirect(reflect.ValueOf(w)).Type().PkgPath() != serverPackage {
			return false
		}
		w = wrapped.Unwrap()
	}
}

var serverPackage = reflect.TypeFor[caddyhttp.Server]().PkgPath()
