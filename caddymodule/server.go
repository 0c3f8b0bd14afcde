package caddymodule

import (
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/oauth2-passport/caddy-passport/issuer"
)

func init() {
	caddy.RegisterModule(new(Server))
}

// Server is the handler passport_server: it serves the endpoints of an issuer, and passes on every request that is for
// none of them.
type Server struct {
	// Issuer is the name of the issuer in the app passport. Default: "default".
	Issuer string `json:"issuer,omitempty"`

	// Prefix is the path that the endpoints have in front. All below it belongs to the issuer. Default: "/oauth".
	Prefix string `json:"prefix,omitempty"`

	instance *instance
	logger   *zap.Logger
	serving  atomic.Pointer[serving]
}

// serving is the handler of an open issuer.
type serving struct {
	*running
	http.Handler
}

// CaddyModule returns the Caddy module information.
func (*Server) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.passport_server",
		New: func() caddy.Module { return new(Server) },
	}
}

// Provision finds the issuer and guards the site.
func (s *Server) Provision(ctx caddy.Context) error {
	s.logger = ctx.Logger()
	if s.Prefix == "" {
		s.Prefix = "/oauth"
	}
	app, err := appOf(ctx)
	if err != nil {
		return err
	}
	if s.instance, err = app.instance(s.Issuer); err != nil {
		return err
	}
	if err := guardSite(ctx); err != nil {
		return err
	}
	return publishServer(ctx, s)
}

// Validate checks the prefix.
func (s *Server) Validate() error { return checkPrefix(s.Prefix) }

// ServeHTTP implements [caddyhttp.MiddlewareHandler].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	running, err := s.instance.use(r.Context())
	if err != nil {
		if !s.mayServe(r.URL.Path) {
			return next.ServeHTTP(w, r)
		}
		s.logger.Error("the issuer is not available", zap.Error(err))
		issuer.Unavailable(w, r)
		return nil
	}
	if !running.issuer.Serves(s.Prefix, r.URL.Path) {
		return next.ServeHTTP(w, r)
	}
	ctx, end := startSpan(r.Context(), "passport.server")
	if ctx != r.Context() {
		r = r.WithContext(ctx)
	}
	s.handler(running).ServeHTTP(w, informed(r))
	if v := visitOf(r); v != nil {
		v.answered = true
	}
	end(nil)
	return nil
}

// informed is the request with what the issuer is told of it: its own cookies, which have been taken out, and the
// client's address as Caddy sees it.
func informed(r *http.Request) *http.Request {
	ctx := r.Context()
	if v := visitOf(r); v != nil && v.stripped {
		ctx = issuer.WithSession(ctx, v.session)
		if v.cookies != nil {
			ctx = issuer.WithCookies(ctx, v.cookies)
		}
	}
	ip, _ := caddyhttp.GetVar(ctx, caddyhttp.ClientIPVarKey).(string)
	return r.WithContext(issuer.WithRemoteIP(ctx, ip))
}

// handler returns the handler of the open issuer.
func (s *Server) handler(r *running) http.Handler {
	now := s.serving.Load()
	if now == nil || now.running != r {
		now = &serving{r, r.issuer.Handler(s.Prefix)}
		s.serving.Store(now)
	}
	return now
}

// mayServe tells whether the path is one of the issuer's, as far as that can be told while it is not open: the paths of
// the metadata depend on its identifier.
func (s *Server) mayServe(path string) bool {
	return s.Prefix == "/" || path == s.Prefix || strings.HasPrefix(path, s.Prefix+"/") ||
		strings.HasPrefix(path, "/.well-known/oauth-authorization-server")
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Server)(nil)
	_ caddy.Validator             = (*Server)(nil)
	_ caddyhttp.MiddlewareHandler = (*Server)(nil)
)
