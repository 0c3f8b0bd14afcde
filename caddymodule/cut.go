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
	"go.uber.org/zap"

	"github.com/oauth2-passport/caddy-passport/issuer/verify"
)

// errCut is answered to who writes to a response that has been cut.
var errCut = errors.New("the access token is good no more")

// cutPiece is the most that is copied to the client without a look whether the response has been cut.
const cutPiece = 256 << 10

// longAgo is a deadline that has passed.
var longAgo = time.Unix(1, 0)

// passWatched hands on a request for who has been found to call, and cuts it when the token is good no more.
func (a *Auth) passWatched(
	w http.ResponseWriter, r *http.Request, next caddyhttp.Handler, v *visit, open *running, id *verify.Identity,
) error {
	cw := v.spareWriter()
	end := endOf(r)
	byConnection := end != nil
	if !byConnection {
		ctx, cancel := context.WithCancelCause(r.Context())
		defer cancel(nil)
		end, r = cancel, r.WithContext(ctx)
	}
	cw.ResponseWriter, cw.ctx = w, r.Context()
	v.watch(&cw.watch, open, id, end)
	defer cw.watch.Release() //nolint:errcheck // for panics: the cause is asked for below
	around := v.watching
	v.watching = id
	defer func() { v.watching = around }()
	if r.ContentLength != 0 {
		defer cw.cutBody()()
	}
	err := next.ServeHTTP(cw, r)
	why, ok := errors.AsType[*verify.Error](cw.watch.Release())
	if !ok {
		return err
	}
	a.logger.Info("request cut", zap.Object("token", logged{id}), zap.String("reason", why.Description))
	switch {
	case !cw.begun:
		clear(w.Header()) // of what belongs to the answer that was not sent
		if byConnection { // which is good for no other request
			w.Header().Set("Connection", "close")
		}
		return a.refuse(w, r, refusedToken(why))
	case cw.refused, byConnection && !cw.hijacked: // of a hijacked connection nothing looks complete, nor incomplete
		panic(http.ErrAbortHandler) // or what the client got would look complete
	}
	return err
}

// spareWriter returns a writer that no passport_auth has used, for another identity.
func (v *visit) spareWriter() *cutWriter {
	if v.writer.ctx != nil {
		return new(cutWriter)
	}
	return &v.writer
}

// cutWriter is the response to a request that is watched. When the token is good no more, nothing passes any more:
// proxies end with the request's context, but file servers and FastCGI do not look at it.
//
// Its methods belong to the goroutine that answers the request, like those of what it wraps.
type cutWriter struct {
	caddyhttp.ResponseWriterWrapper
	ctx   context.Context // of the request; nil: not in use
	watch verify.Watch

	begun    bool // the header has been sent
	refused  bool // something was written after the cut
	hijacked bool // the connection has been
}

// cutBody sees to it that who reads the request's body does not wait for the caller after the cut, nor gets more of it:
// a proxy that speaks HTTP/2 to its upstream notices the end of the context only between two reads, FastCGI never does.
// done is called before the handler returns, for the response must not be touched after that.
func (w *cutWriter) cutBody() (done func()) {
	finished := make(chan struct{})
	stop := context.AfterFunc(w.ctx, func() {
		defer close(finished)
		if w.watch.Cut() != nil {
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
	if w.watch.Cut() != nil {
		return // what is sent instead, finish decides
	}
	if status < 100 || status > 199 || status == http.StatusSwitchingProtocols {
		w.begun = true
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements [http.ResponseWriter].
func (w *cutWriter) Write(p []byte) (int, error) {
	if w.watch.Cut() != nil {
		w.refused = true
		return 0, errCut
	}
	w.begun = true
	return w.ResponseWriter.Write(p)
}

// ReadFrom implements [io.ReaderFrom].
func (w *cutWriter) ReadFrom(r io.Reader) (total int64, err error) {
	for {
		if w.watch.Cut() != nil {
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
	if w.watch.Cut() != nil {
		w.refused = true
		return errCut
	}
	w.begun = true
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Hijack implements [http.Hijacker]. A proxy that waits for a client which takes nothing does not notice that the
// context has ended; closing the connection wakes it.
func (w *cutWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if w.watch.Cut() != nil {
		return nil, nil, errCut
	}
	conn, buffered, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err == nil {
		w.begun, w.hijacked = true, true
		context.AfterFunc(w.ctx, func() {
			if w.watch.Cut() != nil {
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
