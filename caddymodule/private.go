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
	begun  bool      // the header has been sent
	values [2]string // of Vary and Cache-Control, which need slices
}

// private wraps the response to a request that passes by a session.
func private(w http.ResponseWriter) *privateWriter {
	p := &privateWriter{
		ResponseWriterWrapper: caddyhttp.ResponseWriterWrapper{ResponseWriter: w},
		values:                [2]string{"Cookie, Authorization", "private"},
	}
	addField(w.Header(), "Vary", p.values[0:1:1]) // or a cache in front gives one person's answer to another
	return p
}

// addField adds a value to a header field. The slice is the field's from then on, where that has no other value.
func addField(h http.Header, name string, value []string) {
	if len(h[name]) > 0 {
		value = append(h[name], value...)
	}
	h[name] = value
}

// begin is called before anything is sent.
func (w *privateWriter) begin() {
	if w.begun {
		return
	}
	w.begun = true
	if h := w.Header(); !isKeepingSaid(h["Cache-Control"]) {
		addField(h, "Cache-Control", w.values[1:2:2])
	}
}

// isKeepingSaid tells whether fields of Cache-Control say who may keep an answer.
func isKeepingSaid(fields []string) bool {
	for _, field := range fields {
		for directive := range strings.SplitSeq(field, ",") {
			name, _, _ := strings.Cut(textproto.TrimString(directive), "=")
			switch strings.ToLower(name) {
			case "public", "private", "no-store", "s-maxage":
				return true
			}
		}
	}
	return false
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
