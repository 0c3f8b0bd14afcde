package caddymodule

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/oauth2-passport/caddy-passport/issuer/verify"
)

// errCut is answered to who writes to a response that has been cut.
var errCut = errors.New("the access token is good no more")

// cutPiece is the most that is copied to the client without a look whether the response has been cut.
const cutPiece = 256 << 10

// longAgo is a deadline that has passed.
var longAgo = time.Unix(1, 0)

// cutWriter is the response to a request that is watched. When the request's context ends because the token is good no
// more, nothing passes any more: proxies end with the context, but file servers and FastCGI do not look at it.
//
// Except for cut, its methods belong to the goroutine that answers the request, like those of what it wraps.
type cutWriter struct {
	caddyhttp.ResponseWriterWrapper
	ctx context.Context // nil: not in use

	begun   bool // the header has been sent
	refused bool // something was written after the cut
}

// cut tells why the token is good no more, nil while it is.
func (w *cutWriter) cut() *verify.Error {
	if w.ctx.Err() == nil {
		return nil
	}
	why, _ := errors.AsType[*verify.Error](context.Cause(w.ctx)) // else the caller is gone, or the request is over
	return why
}

// cutBody sees to it that who reads the request's body does not wait for the caller after the cut: a proxy that speaks
// HTTP/2 to its upstream notices the end of the context only between two reads. done is called before the handler
// returns, for the response must not be touched after that.
func (w *cutWriter) cutBody() (done func()) {
	finished := make(chan struct{})
	stop := context.AfterFunc(w.ctx, func() {
		defer close(finished)
		if w.cut() != nil {
			_ = http.NewResponseController(w.ResponseWriter).SetReadDeadline(longAgo)
		}
	})
	return func() {
		if !stop() {
			<-finished
		}
	}
}

// WriteHeader implements [http.ResponseWriter].
func (w *cutWriter) WriteHeader(status int) {
	if w.cut() != nil {
		return // what is sent instead, finish decides
	}
	if status < 100 || status > 199 || status == http.StatusSwitchingProtocols {
		w.begun = true
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements [http.ResponseWriter].
func (w *cutWriter) Write(p []byte) (int, error) {
	if w.cut() != nil {
		w.refused = true
		return 0, errCut
	}
	w.begun = true
	return w.ResponseWriter.Write(p)
}

// ReadFrom implements [io.ReaderFrom].
func (w *cutWriter) ReadFrom(r io.Reader) (total int64, err error) {
	for {
		if w.cut() != nil {
			w.refused = true
			return total, errCut
		}
		w.begun = true
		n, err := w.ResponseWriterWrapper.ReadFrom(io.LimitReader(r, cutPiece))
		total += n
		if err != nil || n < cutPiece {
			return total, err
		}
	}
}

// FlushError is what [http.ResponseController] calls to flush.
func (w *cutWriter) FlushError() error {
	if w.cut() != nil {
		w.refused = true
		return errCut
	}
	w.begun = true
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Hijack implements [http.Hijacker]. A proxy that waits for a client which takes nothing does not notice that the
// context has ended; closing the connection wakes it.
func (w *cutWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if w.cut() != nil {
		return nil, nil, errCut
	}
	conn, buffered, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err == nil {
		w.begun = true
		context.AfterFunc(w.ctx, func() {
			if w.cut() != nil {
				_ = conn.Close() // whoever uses it sees the error
			}
		})
	}
	return conn, buffered, err
}

// Interface guards
var (
	_ http.ResponseWriter             = (*cutWriter)(nil)
	_ http.Hijacker                   = (*cutWriter)(nil)
	_ io.ReaderFrom                   = (*cutWriter)(nil)
	_ interface{ FlushError() error } = (*cutWriter)(nil)
)
