package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/oauth2-passport/caddy-passport/issuer"
	"github.com/oauth2-passport/caddy-passport/issuer/keys"
	"github.com/oauth2-passport/caddy-passport/store"
)

func init() {
	caddy.RegisterModule(adminAPI{})
}

// adminBase is where the admin API begins on Caddy's admin endpoint.
const adminBase = "/passport/"

// adminHeader stands in every answer of the admin API, so that the command takes no other server's for one.
const adminHeader = "Caddy-Passport"

// maxAdminBody bounds the body of a request to the admin API, in bytes.
const maxAdminBody = 1 << 20

// adminAPI administers the issuers through Caddy's admin endpoint. Whoever reaches that endpoint administers Caddy, and
// so the issuers: it should be a unix socket, or listen where only the operator comes.
//
//	POST   /passport/install
//	POST   /passport/explain
//	GET    /passport/health                          200 when all is well, else 503
//	GET    /passport/{issuer}/clients                POST makes one, and answers its secret once
//	GET    /passport/{issuer}/clients/{id}           PATCH changes it, DELETE removes it
//	POST   /passport/{issuer}/clients/{id}/secret    a new secret
//	GET    /passport/{issuer}/users                  ?limit=…; POST makes an account
//	GET    /passport/{issuer}/users/{id}             name or ID; PATCH changes, DELETE removes
//	POST   /passport/{issuer}/users/{id}/password    a new password
//	GET    /passport/{issuer}/tokens                 ?client_id=…&user=…&limit=…; POST makes a personal access token
//	GET    /passport/{issuer}/tokens/{jti}           DELETE revokes it
//	POST   /passport/{issuer}/tokens/inspect
//	GET    /passport/{issuer}/keys
//	POST   /passport/{issuer}/keys/rotate
//	DELETE /passport/{issuer}/keys/{kid}
//	POST   /passport/{issuer}/purge
//	POST   /passport/{issuer}/backup                 to a file on Caddy's machine
//	POST   /passport/{issuer}/restore                from one
type adminAPI struct {
	mux *http.ServeMux
}

// CaddyModule returns the Caddy module information.
func (adminAPI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "admin.api.passport",
		New: func() caddy.Module { return new(adminAPI) },
	}
}

// Provision makes the table of the routes. It keeps nothing of the config: each request looks up the one that runs.
func (a *adminAPI) Provision(caddy.Context) error {
	a.mux = http.NewServeMux()
	for pattern, handle := range map[string]adminHandler{
		"POST /passport/install":                      adminInstall,
		"POST /passport/explain":                      aboutWhatWasAsked(adminExplain),
		"GET /passport/health":                        adminHealth,
		"GET /passport/{issuer}/clients":              withIssuer(listClients),
		"POST /passport/{issuer}/clients":             withIssuer(createClient),
		"GET /passport/{issuer}/clients/{id}":         withIssuer(showClient),
		"PATCH /passport/{issuer}/clients/{id}":       withIssuer(updateClient),
		"DELETE /passport/{issuer}/clients/{id}":      withIssuer(deleteClient),
		"POST /passport/{issuer}/clients/{id}/secret": withIssuer(rotateClientSecret),
		"GET /passport/{issuer}/users":                withIssuer(listUsers),
		"POST /passport/{issuer}/users":               withIssuer(createUser),
		"GET /passport/{issuer}/users/{id}":           withIssuer(showUser),
		"PATCH /passport/{issuer}/users/{id}":         withIssuer(updateUser),
		"DELETE /passport/{issuer}/users/{id}":        withIssuer(deleteUser),
		"POST /passport/{issuer}/users/{id}/password": withIssuer(setPassword),
		"GET /passport/{issuer}/tokens":               withIssuer(listTokens),
		"POST /passport/{issuer}/tokens":              withIssuer(createToken),
		"GET /passport/{issuer}/tokens/{id}":          withIssuer(showToken),
		"DELETE /passport/{issuer}/tokens/{id}":       withIssuer(revokeToken),
		"POST /passport/{issuer}/tokens/inspect":      withIssuer(inspectToken),
		"GET /passport/{issuer}/keys":                 withIssuer(listKeys),
		"POST /passport/{issuer}/keys/rotate":         withIssuer(rotateKeys),
		"DELETE /passport/{issuer}/keys/{id}":         withIssuer(retireKey),
		"POST /passport/{issuer}/purge":               withIssuer(purge),
		"POST /passport/{issuer}/backup":              withIssuer(backUp),
		"POST /passport/{issuer}/restore":             withIssuer(restore),
	} {
		a.mux.Handle(pattern, handle)
	}
	return nil
}

// Routes returns the one route of the API on Caddy's admin endpoint.
func (a *adminAPI) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{{
		Pattern: adminBase,
		Handler: caddy.AdminHandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
			a.mux.ServeHTTP(w, r)
			return nil
		}),
	}}
}

// adminHandler answers a request with what it returns, as JSON; nil is an empty answer.
type adminHandler func(*http.Request) (any, error)

// created is an answer with status 201.
type created struct{ body any }

func (h adminHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r = withOperator(r)
	r.Body = http.MaxBytesReader(w, r.Body, maxAdminBody)
	w.Header().Set("Cache-Control", "no-store") // answers may hold a new secret
	w.Header().Set(adminHeader, "1")
	body, err := h(r)
	status := http.StatusOK
	other, told := body.(answered)
	switch made, ok := body.(created); {
	case err != nil:
		status, body = adminStatus(err), caddy.APIError{Message: err.Error()}
		if wait := comeAgain(status, err); wait > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(wait))
		}
		if status == http.StatusInternalServerError && r.Context().Err() == nil {
			caddy.Log().Named("admin.api.passport").Error("administering an issuer", zap.String("method", r.Method),
				zap.String("path", r.URL.Path), zap.Error(err))
		}
	case ok:
		status, body = http.StatusCreated, made.body
	case told:
		status, body = other.status, other.body
	case body == nil:
		w.WriteHeader(http.StatusNoContent)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the connection is gone: nobody to tell
}

// errNoIssuers is answered when the config that runs has no issuer.
var errNoIssuers = errors.New("the config has no passport issuers: add passport_server or passport_auth to a site")

// administered is the app of the config that runs now.
func administered() (*App, error) {
	app, _ := activeApp()
	if app == nil {
		return nil, statusError{http.StatusNotFound, errNoIssuers}
	}
	return app, nil
}

// withIssuer finds the issuer that the path names, open.
func withIssuer(h func(*http.Request, *running) (any, error)) adminHandler {
	return func(r *http.Request) (any, error) {
		app, err := administered()
		if err != nil {
			return nil, err
		}
		name := r.PathValue("issuer")
		i := app.find(name)
		if i == nil {
			return nil, statusError{http.StatusNotFound, app.unknown(name)}
		}
		open, err := i.use(r.Context())
		if err != nil {
			return nil, statusError{http.StatusServiceUnavailable, err}
		}
		return h(r, open)
	}
}

// statusError is an error with the status that it is answered with.
type statusError struct {
	status int
	error
}

func (e statusError) Unwrap() error { return e.error }

// badRequest is an error of what was asked for, to be answered with 400.
func badRequest(format string, args ...any) error {
	return statusError{http.StatusBadRequest, fmt.Errorf(format, args...)}
}

// aboutWhatWasAsked takes errors that say nothing else for those of what was asked for.
func aboutWhatWasAsked(h adminHandler) adminHandler {
	return func(r *http.Request) (any, error) {
		body, err := h(r)
		if err != nil && adminStatus(err) == http.StatusInternalServerError {
			err = statusError{http.StatusBadRequest, err}
		}
		return body, err
	}
}

func adminStatus(err error) int {
	if e, ok := errors.AsType[statusError](err); ok {
		return e.status
	}
	switch {
	case errors.Is(err, store.ErrNotFound), errors.Is(err, issuer.ErrUnknownClient),
		errors.Is(err, issuer.ErrUnknownToken), errors.Is(err, issuer.ErrUnknownUser):
		return http.StatusNotFound
	case errors.Is(err, issuer.ErrConfiguredClient), errors.Is(err, issuer.ErrPublicClient),
		errors.Is(err, issuer.ErrUserTaken), errors.Is(err, issuer.ErrUserElsewhere), errors.Is(err, issuer.ErrTwoUsers),
		errors.Is(err, keys.ErrGivenKey):
		return http.StatusConflict
	case errors.Is(err, store.ErrUnavailable), errors.Is(err, store.ErrClosed):
		return http.StatusServiceUnavailable
	case isInvalid(err):
		return http.StatusBadRequest
	}
	if _, busy := issuer.RetryAfter(err); busy {
		return http.StatusTooManyRequests
	}
	return http.StatusInternalServerError
}

// isInvalid tells whether an error is about what was asked for.
func isInvalid(err error) bool {
	_, field := errors.AsType[*issuer.InvalidError](err)
	_, password := errors.AsType[*issuer.PasswordError](err)
	_, early := errors.AsType[*keys.TooEarlyError](err)
	_, backup := errors.AsType[*store.BackupError](err)
	return field || password || early || backup || errors.Is(err, issuer.ErrPersonalAccessOff)
}

// comeAgain says in how many seconds it is worth to come again; zero says nothing.
func comeAgain(status int, err error) int {
	if wait, busy := issuer.RetryAfter(err); busy && status == http.StatusTooManyRequests {
		return int(math.Ceil(max(wait, time.Second).Seconds()))
	}
	if status == http.StatusServiceUnavailable {
		return 1
	}
	return 0
}

// readBody decodes the JSON of a request. Unknown members are errors: a misspelled one would be lost in silence.
func readBody(r *http.Request, into any) error {
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil && !errors.Is(err, io.EOF) {
		return badRequest("the body is not the JSON that is expected here: %w", err)
	}
	return nil
}

// Interface guards
var (
	_ caddy.AdminRouter = (*adminAPI)(nil)
	_ caddy.Provisioner = (*adminAPI)(nil)
)

// unknown says which issuers the config has, one of that name not among them.
func (a *App) unknown(name string) error {
	var names []string
	for _, i := range a.all() {
		names = append(names, i.name)
	}
	return fmt.Errorf("there is no issuer %q: the config that runs has %s", name, known(names))
}
