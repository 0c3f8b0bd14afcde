package caddymodule

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// keeper is a writer of some module that keeps the header fields to itself for a while.
type keeper struct {
	*caddyhttp.ResponseWriterWrapper
}

// TestCodesInTheAccessLog: what the log reads when all is done has no code, and what is not sent yet has it still.
func TestCodesInTheAccessLog(t *testing.T) {
	buffers := func(int, http.Header) bool { return true }
	for _, test := range []struct {
		name     string
		around   func(http.ResponseWriter) http.ResponseWriter
		location string
		want     string
	}{
		{"query", nil, "https://app.example/cb?code=secret&state=x", "https://app.example/cb?REDACTED"},
		{"fragment", nil, "app:/cb#access_token=secret", "app:/cb#REDACTED"},
		{"neither", nil, "/oauth/account", "/oauth/account"},
		{"recorded", func(w http.ResponseWriter) http.ResponseWriter {
			return caddyhttp.NewResponseRecorder(w, nil, nil)
		}, "/cb?code=secret", "/cb?REDACTED"},
		{"buffered", func(w http.ResponseWriter) http.ResponseWriter {
			return caddyhttp.NewResponseRecorder(w, new(bytes.Buffer), buffers)
		}, "/cb?code=secret", "/cb?code=secret"},
		{"kept", func(w http.ResponseWriter) http.ResponseWriter {
			return &keeper{&caddyhttp.ResponseWriterWrapper{ResponseWriter: w}}
		}, "/cb?code=secret", "/cb?code=secret"},
		{"kept below", func(w http.ResponseWriter) http.ResponseWriter {
			return caddyhttp.NewResponseRecorder(&keeper{&caddyhttp.ResponseWriterWrapper{ResponseWriter: w}}, nil, nil)
		}, "/cb?code=secret", "/cb?code=secret"},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if test.around != nil {
					w = test.around(w)
				}
				w.Header().Set("Location", test.location)
				w.WriteHeader(http.StatusSeeOther)
				hideAnswer(w)
				if got := w.Header().Get("Location"); got != test.want {
					t.Errorf("the log reads %s", got)
				}
				if recorder, ok := w.(caddyhttp.ResponseRecorder); ok && recorder.Buffered() {
					if err := recorder.WriteResponse(); err != nil {
						t.Error(err)
					}
				}
			}))
			defer server.Close()
			client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
			res, err := client.Get(server.URL)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			if got := res.Header.Get("Location"); got != test.location {
				t.Errorf("the browser is sent to %s", got)
			}
		})
	}
}
