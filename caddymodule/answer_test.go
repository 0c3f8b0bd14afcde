package caddymodule

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/quic-go/quic-go/http3"
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
		for _, protocol := range []string{"HTTP/1.1", "HTTP/2.0", "HTTP/3.0"} {
			t.Run(test.name+" "+protocol, func(t *testing.T) {
				done := make(chan struct{})
				url, client := serve(t, protocol, func(w http.ResponseWriter, _ *http.Request) {
					defer close(done)
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
				})
				client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
				res, err := client.Get(url)
				if err != nil {
					t.Fatal(err)
				}
				defer res.Body.Close()
				if got := res.Header.Get("Location"); got != test.location || res.Proto != protocol {
					t.Errorf("the browser is sent to %s by %s", got, res.Proto)
				}
				<-done // the client has its answer before the log is written
			})
		}
	}
}

// brokenWriter is the response to a client that has gone.
type brokenWriter struct{ http.ResponseWriter }

func (brokenWriter) FlushError() error { return net.ErrClosed }

// TestCodeOfAClientThatHasGone: it is not in the log either.
func TestCodeOfAClientThatHasGone(t *testing.T) {
	w := brokenWriter{httptest.NewRecorder()}
	w.Header().Set("Location", "https://app.example/cb?code=secret")
	w.WriteHeader(http.StatusSeeOther)
	hideAnswer(w)
	if got, want := w.Header().Get("Location"), "https://app.example/cb?REDACTED"; got != want {
		t.Errorf("the log reads %s, want %s", got, want)
	}
}

// serve runs a server of that protocol, and returns a client that speaks it.
func serve(t *testing.T, protocol string, handler http.HandlerFunc) (url string, client *http.Client) {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.EnableHTTP2 = protocol == "HTTP/2.0"
	server.StartTLS()
	t.Cleanup(server.Close)
	if protocol != "HTTP/3.0" {
		return server.URL, server.Client()
	}
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	quic := &http3.Server{Handler: handler, TLSConfig: http3.ConfigureTLSConfig(server.TLS.Clone())}
	go func() { _ = quic.Serve(conn) }()
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	transport := &http3.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "example.com"}}
	t.Cleanup(func() { _, _, _ = transport.Close(), quic.Close(), conn.Close() })
	return "https://" + conn.LocalAddr().String(), &http.Client{Transport: transport}
}
