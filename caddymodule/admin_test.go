package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// administer starts Caddy, and gives what a request to its admin API is answered.
func administer(t *testing.T) (
	l *life, call func(ctx context.Context, request, body string) *httptest.ResponseRecorder,
) {
	t.Helper()
	l = newLife(t)
	l.mustLoad(l.caddyfile("storage badger {$DIR}/db", ""))
	api := new(adminAPI)
	if err := api.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	return l, func(ctx context.Context, request, body string) *httptest.ResponseRecorder {
		method, path, _ := strings.Cut(request, " ")
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(ctx, method, adminBase+path, strings.NewReader(body))
		api.mux.ServeHTTP(w, r)
		return w
	}
}

// TestAdminTellsWhoseFaultItIs: what was asked for wrongly is 400.
func TestAdminTellsWhoseFaultItIs(t *testing.T) {
	l, call := administer(t)
	ctx := t.Context()
	damaged := filepath.Join(l.dir, "damaged")
	if err := os.WriteFile(damaged, []byte(`{"format":"caddy-passport backup","version":1,"schema":2,"issuer":"default"}`+
		"\n"+`{"kind":"client","id":"a","record":{"id":1}}`+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if w := call(ctx, "POST default/users", `{"username":"ann"}`); w.Code != http.StatusCreated {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	megabyte := strings.Repeat("x", maxAdminBody)
	file := func(path string) string { return fmt.Sprintf(`{"file":%q}`, path) }
	for name, c := range map[string]struct {
		request, body string
		want          int
	}{
		"no JSON":                    {"POST default/clients", "x", 400},
		"unknown member":             {"POST default/purge", `{"x":1}`, 400},
		"a megabyte":                 {"POST default/clients", `{"client_name":"` + megabyte + `"}`, 400},
		"limit":                      {"GET default/tokens?limit=0", "", 400},
		"client without a name":      {"POST default/clients", `{}`, 400},
		"client's redirect":          {"POST default/clients", `{"client_name":"c","redirect_uris":["x"]}`, 400},
		"client's grant":             {"POST default/clients", `{"client_name":"c","grant_types":["x"]}`, 400},
		"client is disabled":         {"POST default/clients", `{"client_name":"c","disabled":true}`, 400},
		"client becomes public":      {"PATCH default/clients/demo", `{"public":true}`, 400},
		"user without a name":        {"POST default/users", `{}`, 400},
		"user's email":               {"POST default/users", `{"username":"bob","email":"x"}`, 400},
		"user's scope":               {"POST default/users", `{"username":"bob","scope":"x"}`, 400},
		"user's hash":                {"POST default/users", `{"username":"bob","password_hash":"x"}`, 400},
		"user's password":            {"POST default/users", `{"username":"bob","password":"x"}`, 400},
		"user's password is known":   {"POST default/users/ann/password", `{"password":"password"}`, 400},
		"user is disabled":           {"POST default/users", `{"username":"bob","disabled":true}`, 400},
		"user gets another name":     {"PATCH default/users/ann", `{"username":"bob"}`, 400},
		"user's changed email":       {"PATCH default/users/ann", `{"email":"x"}`, 400},
		"token without a name":       {"POST default/tokens", `{"user":"ann"}`, 400},
		"token's scope":              {"POST default/tokens", `{"user":"ann","name":"t","scope":"x"}`, 400},
		"token's lifetime":           {"POST default/tokens", `{"user":"ann","name":"t","expires_in":-1}`, 400},
		"purge's hours":              {"POST default/purge", `{"hours":-1}`, 400},
		"keys rotated too early":     {"POST default/keys/rotate", "", 400},
		"backup to no absolute path": {"POST default/backup", file("saved"), 400},
		"backup to no folder":        {"POST default/backup", file(l.dir + "/none/saved"), 400},
		"backup into a file":         {"POST default/backup", file(damaged + "/saved"), 400},
		"backup to a long name":      {"POST default/backup", file(l.dir + "/" + strings.Repeat("x", 300)), 400},
		"restore of no file":         {"POST default/restore", file(l.dir + "/none"), 400},
		"restore of a folder":        {"POST default/restore", file(l.dir), 400},
		"restore of a damaged one":   {"POST default/restore", file(damaged), 400},
		"explain no URL":             {"POST explain", `{"method":"GET","url":"x"}`, 400},
		"explain no method":          {"POST explain", `{"method":"G T","url":"http://` + l.addr + `/"}`, 400},
		"no such issuer":             {"GET none/clients", "", 404},
		"no such user":               {"GET default/users/bob", "", 404},
		"user twice":                 {"POST default/users", `{"username":"Ann"}`, 409},
	} {
		t.Run(name, func(t *testing.T) {
			if w := call(ctx, c.request, c.body); w.Code != c.want || w.Header().Get("Retry-After") != "" {
				t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
			}
		})
	}
}

// TestAdminTakesItsOwnFaultsUponItself: a disk that is full, and whatever nobody has thought of, is not the caller's.
func TestAdminTakesItsOwnFaultsUponItself(t *testing.T) {
	for _, fault := range []error{
		&fs.PathError{Op: "write", Path: "/saved", Err: syscall.ENOSPC},
		badPath(&fs.PathError{Op: "open", Path: "/saved", Err: syscall.EMFILE}),
		errors.New("nobody has thought of it"),
	} {
		w := httptest.NewRecorder()
		adminHandler(func(*http.Request) (any, error) { return nil, fault }).
			ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/", nil))
		if w.Code != http.StatusInternalServerError || !strings.Contains(w.Body.String(), fault.Error()) {
			t.Errorf("%v is answered with %d %s", fault, w.Code, w.Body)
		}
	}
}

// TestAdminIsToldToComeAgain when passwords are hashed for more people than the machine can.
func TestAdminIsToldToComeAgain(t *testing.T) {
	_, call := administer(t)
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for i := range 1000 {
		all.Go(func() {
			w := call(ctx, "POST default/users", fmt.Sprintf(`{"username":"u%d"}`, i))
			seconds, _ := strconv.Atoi(w.Header().Get("Retry-After"))
			switch {
			case w.Code == http.StatusTooManyRequests && seconds > 0:
				cancel() // so much for that
			case w.Code != http.StatusCreated && ctx.Err() == nil:
				t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
			}
		})
	}
	all.Wait()
	if ctx.Err() == nil {
		t.Error("nobody is told")
	}
	cancel()
}
