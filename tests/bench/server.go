//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/oauth2-passport/caddy-passport/store/pgstore/pgtest"
)

// postgres starts a PostgreSQL server whose commits are on the disk that the benchmarks use, as they are by default.
func (s *suite) postgres(tb *serverTB) *pgtest.Server {
	// Beside the suite's own folder, which the user that PostgreSQL runs as may not enter.
	if err := os.Setenv("TMPDIR", filepath.Dir(s.dir)); err != nil {
		tb.Fatal(err)
	}
	return pgtest.Start(tb, "fsync=on")
}

// serverTB is what a server for tests reports to, where there is no test.
type serverTB struct {
	testing.TB
	cleanups []func()
	failed   []error
}

// fatalError is what Fatal panics with.
type fatalError struct{ error }

func (*serverTB) Helper() {}

func (tb *serverTB) Cleanup(fn func()) { tb.cleanups = append(tb.cleanups, fn) }

func (tb *serverTB) Error(args ...any) {
	tb.failed = append(tb.failed, errors.New(fmt.Sprint(args...)))
}

func (tb *serverTB) Fatal(args ...any) { panic(fatalError{errors.New(fmt.Sprint(args...))}) }

func (tb *serverTB) Fatalf(format string, args ...any) {
	panic(fatalError{fmt.Errorf(format, args...)})
}

// end stops the server, and adds to err what it has reported.
func (tb *serverTB) end(err *error) {
	switch fatal := recover().(type) {
	case nil:
	case fatalError:
		tb.failed = append(tb.failed, fatal.error)
	default:
		panic(fatal)
	}
	for _, fn := range slices.Backward(tb.cleanups) {
		fn()
	}
	*err = errors.Join(append([]error{*err}, tb.failed...)...)
}
