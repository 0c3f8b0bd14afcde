package caddymodule

import (
	"context"
	"net"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/oauth2-passport/caddy-passport/issuer"
)

// auditLogger is the name of the audit log below that of the app: an operator writes it to a file of its own with
// `include passport.audit`.
const auditLogger = "audit"

// origin is who did what happened, and from where.
type origin struct {
	operator bool   // through the admin endpoint, or by a command that needs none
	remote   string // IP address of the caller, as Caddy's trusted_proxies let it be seen; empty: nobody called
	identity string // of an operator with a certificate: its subject
}

// actorOf says in one word who acted.
func (o *origin) actorOf(e *issuer.Event) string {
	switch {
	case o.operator:
		return "operator"
	case o.remote == "":
		return "system"
	case e.UserID != "", e.Type == issuer.SignInFailed: // whose name may be nobody's
		return "user"
	}
	return "client"
}

type originKey struct{}

// withOperator says of what is done under the context of a request to the admin endpoint who does it.
func withOperator(r *http.Request) *http.Request {
	from := origin{operator: true, remote: r.RemoteAddr}
	if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		from.remote = host
	}
	if from.remote == "@" { // a unix socket, of which Go knows no address
		from.remote = ""
	}
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		from.identity = bounded(r.TLS.PeerCertificates[0].Subject.String())
	}
	return r.WithContext(context.WithValue(r.Context(), originKey{}, from))
}

// originOf says under which circumstances something happens.
func originOf(ctx context.Context) origin {
	if from, ok := ctx.Value(originKey{}).(origin); ok {
		return from
	}
	remote, _ := caddyhttp.GetVar(ctx, caddyhttp.ClientIPVarKey).(string)
	return origin{remote: remote}
}
