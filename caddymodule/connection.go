package caddymodule

import (
	"context"
	"net"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// endOfConnection is where a connection's context has the function that ends it, and so the context of its request.
type endOfConnection struct{}

// watchConnections has the connections of a server be endable. In HTTP/1 a connection has one request at a time: to end
// that, no request needs a context of its own, which would be dearer than all else that a good token costs.
func watchConnections(srv *caddyhttp.Server) {
	srv.RegisterConnContext(func(ctx context.Context, _ net.Conn) context.Context {
		// Beneath a context that may end, ours would be kept until that does, long after the connection.
		if ctx.Done() != nil || ctx.Value(endOfConnection{}) != nil {
			return ctx
		}
		ctx, end := context.WithCancelCause(ctx)
		return context.WithValue(ctx, endOfConnection{}, end)
	})
}

// endOf returns what ends a request by its connection; nil where that has others too, or cannot be ended.
func endOf(r *http.Request) context.CancelCauseFunc {
	if r.ProtoMajor != 1 {
		return nil
	}
	end, _ := r.Context().Value(endOfConnection{}).(context.CancelCauseFunc)
	return end
}
