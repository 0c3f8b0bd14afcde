package caddymodule

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/oauth2-passport/caddy-passport/issuer/verify"
	"github.com/oauth2-passport/caddy-passport/store"
)

// tracerName is what spans of ours say that they come from.
const tracerName = "github.com/oauth2-passport/caddy-passport"

// startSpan begins a span below that of the request, if Caddy's directive tracing has begun one. Without it nothing is
// made, and end does nothing.
func startSpan(ctx context.Context, name string) (_ context.Context, end func(error)) {
	parent := trace.SpanFromContext(ctx)
	if !parent.IsRecording() {
		return ctx, func(error) {}
	}
	ctx, span := parent.TracerProvider().Tracer(tracerName).Start(ctx, name)
	return ctx, func(err error) { endSpan(span, err) }
}

// verificationSpan is the span of a token that is verified for the first time.
func verificationSpan(ctx context.Context) (context.Context, func(error)) {
	return startSpan(ctx, "passport.verify")
}

// endSpan ends a span. Of an error only its kind is told; that a token is refused is none of ours.
func endSpan(span trace.Span, err error) {
	if refused, ok := errors.AsType[*verify.Error](err); ok {
		span.SetAttributes(attribute.String("passport.refused", refused.Description))
	} else if err != nil {
		span.SetStatus(codes.Error, "not available")
	}
	span.End()
}

// traceTransaction makes a span of a transaction that is over.
func traceTransaction(ctx context.Context, t store.Transaction) {
	parent := trace.SpanFromContext(ctx)
	if !parent.IsRecording() {
		return
	}
	name := "passport.store.view"
	if t.Update {
		name = "passport.store.update"
	}
	_, span := parent.TracerProvider().Tracer(tracerName).Start(ctx, name, trace.WithTimestamp(t.Began))
	if errors.Is(t.Err, store.ErrUnavailable) {
		endSpan(span, t.Err)
		return
	}
	span.End()
}
