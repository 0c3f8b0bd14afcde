package caddymodule

import (
	"io"
	"net/http"
	"net/textproto"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// privateWriter is the response to a request that passes by a browser's session. What the upstream does not say who may
// keep, is that browser's alone to keep (RFC 9111 §5.2.2.7): not every cache in front heeds Vary. A request with
// Authorization needs no such word (§3.5).
type privateWriter struct {
	caddyhttp.ResponseWriterWrapper
	begun bool // the header has been sent
}

// private wraps the response to a request that passes by a session.
func private(w http.ResponseWriter) *privateWriter {
	w.Header().Add("Vary", "Cookie, Authorization") // or a cache in front gives one person's answer to another
	return &privateWriter{ResponseWriterWrapper: caddyhttp.ResponseWriterWrapper{ResponseWriter: w}}
}

// begin is called before anything is sent.
func (w *privateWriter) begin() {
	if w.begun {
		return
	}
	w.begun = true
	keepPrivate(w.Header())
}

// keepPrivate says that an answer is one browser's alone, unless it is said already who may keep it.
func keepPrivate(h http.Header) {
	for _, field := range h["Cache-Control"] {
		for directive := range strings.SplitSeq(field, ",") {
			name, _, _ := strings.Cut(textproto.TrimString(directive), "=")
			switch strings.ToLower(name) {
			case "public", "private", "no-store", "s-maxage":
				return
			}
		}
	}
	h["Cache-Control"] = append(h["Cache-Control"], "private")
}

// WriteHeader implements [http.ResponseWriter].
func (w *privateWriter) WriteHeader(status int) {
	if status < 100 || status > 199 {
		w.begin()
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements [http.ResponseWriter].
func (w *privateWriter) Write(p []byte) (int, error) {
	w.begin()
	return w.ResponseWriter.Write(p)
}

// ReadFrom implements [io.ReaderFrom].
func (w *privateWriter) ReadFrom(r io.Reader) (int64, error) {
	w.begin()
	return w.ResponseWriterWrapper.ReadFrom(r)
}

// FlushError is what [http.ResponseController] calls to flush.
func (w *privateWriter) FlushError() error {
	w.begin()
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Interface guards
var (
	_ http.ResponseWriter             = (*privateWriter)(nil)
	_ io.ReaderFrom                   = (*privateWriter)(nil)
	_ interface{ FlushError() error } = (*privateWriter)(nil)
)
