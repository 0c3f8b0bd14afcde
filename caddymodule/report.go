package caddymodule

import (
	"errors"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/oauth2-passport/caddy-passport/issuer/verify"
)

// passReported hands on a request that would have been refused. It goes on as nobody's, even if its token is good: who
// does not meet the demands of the route gets nothing that the route gives, no identity headers, placeholders or
// credentials for the upstream. A token that is good does not reach the upstream; what is none of ours does, for it may
// be what the upstream's callers send it today.
func (a *Auth) passReported(
	w http.ResponseWriter, r *http.Request, next caddyhttp.Handler, v *visit, id *verify.Identity, refused *refusal,
) error {
	a.report(r, v, id, refused)
	if id != nil {
		a.keepToken(r, v)
	}
	return next.ServeHTTP(w, r)
}

// passToReport hands on a request for who has been found to call, and tells when the token was good no more before the
// request was over, where it would have been cut.
func (a *Auth) passToReport(
	w http.ResponseWriter, r *http.Request, next caddyhttp.Handler, v *visit, open *running, id *verify.Identity,
) error {
	cw := v.spareWriter() // for its watch alone
	cw.ctx = r.Context()
	one := &cw.watch
	v.watch(one, open, id, func(error) {})
	defer one.Release() //nolint:errcheck // for panics: the cause is asked for below
	err := next.ServeHTTP(w, r)
	if why, ok := errors.AsType[*verify.Error](one.Release()); ok {
		a.report(r, v, id, refusedToken(why))
	}
	return err
}

// report tells of a request that would have been refused.
func (a *Auth) report(r *http.Request, v *visit, id *verify.Identity, refused *refusal) {
	refused.count(true)
	entry := a.logger.Check(max(refused.level(), zapcore.InfoLevel), "request would be refused")
	if entry == nil {
		return
	}
	entry.Write(append(a.about(r, refused), refused.fields(v, id)...)...)
}

// about is what log lines tell of a request.
func (a *Auth) about(r *http.Request, refused *refusal) []zap.Field {
	return []zap.Field{
		zap.String("method", r.Method), zap.String("host", r.Host), zap.String("path", r.URL.Path),
		zap.String("realm", a.Realm), zap.String("cause", refused.label()),
	}
}
