//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/crypto/bcrypt"
)

const (
	soakPerson   = "ann"
	soakPassword = "correct horse battery staple nine"
)

// launch starts the gateway. Whatever the load makes lasts for twice an access token at most; the log is rolled, so
// that it is as long after an hour as after a minute. Connections to the upstream are given up soon, or it would take
// minutes to see that none is left behind.
func (k *soak) launch(ctx context.Context, upstream string) error {
	hash, err := bcrypt.GenerateFromPassword([]byte(soakPassword), bcrypt.MinCost)
	if err != nil {
		return err
	}
	g, err := k.suite.newGateway("soak", "")
	if err != nil {
		return err
	}
	k.g = g
	g.whole = fmt.Sprintf(`{
	admin %[1]s
	auto_https off
	persist_config off
	grace_period 2s
	log {
		output file %[2]s {
			roll_size 2MiB
			roll_keep 1
			roll_uncompressed
		}
	}
	passport {
		storage badger %[3]s
		scope read "See your orders"
		lifetime access_token %[4]s
		lifetime personal_access_token %[5]s
		lifetime refresh_token %[5]s
		lifetime refresh_token_absolute %[5]s
		lifetime authorization_code %[4]s
		lifetime device_code %[4]s
		lifetime session %[5]s
		lifetime session_idle %[5]s
		refresh_grace 1s
		client %[6]s {
			secret {env.BENCH_CLIENT_SECRET}
			grants client_credentials
			scopes %[14]s
		}
		client %[7]s {
			secret {env.BENCH_SERVER_SECRET}
			grants client_credentials
			resource_server
		}
		client %[8]s {
			secret {env.BENCH_CLIENT_SECRET}
			grants authorization_code refresh_token device_code
			scopes read
			redirect_uris %[9]s
			first_party
		}
		user %[10]s {
			password_hash `+"`%[11]s`"+`
		}
	}
}

http://%[12]s {
	bind 127.0.0.1
	passport_server
	passport_auth scopes read
	reverse_proxy %[13]s {
		flush_interval -1
		transport http {
			keepalive 10s
		}
	}
}
`, g.admin, filepath.Join(g.dir, "caddy-rolled.log"), g.store(), k.lifetime, 2*k.lifetime, clientID, serverID, appID,
		appRedirect, soakPerson, hash, g.guarded, upstream, wideScopes)
	return k.suite.launch(ctx, g, func() (*http.Request, error) {
		return http.NewRequest(http.MethodGet, "http://"+g.guarded+"/oauth/jwks", nil)
	})
}

// administer sends a request to the issuer's part of the admin endpoint.
func (k *soak) administer(ctx context.Context, method, path string, body, into any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://"+k.g.admin+"/passport/default"+path,
		strings.NewReader(string(data)))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK && response.StatusCode != http.StatusCreated &&
		response.StatusCode != http.StatusNoContent {
		return fmt.Errorf("%s %s: %s: %s", method, path, response.Status, answer)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(answer, into)
}

// soakUpstream is the program behind the gateway: it answers, streams events and echoes what comes in a tunnel.
type soakUpstream struct {
	address string
	server  *http.Server
}

func newSoakUpstream() (*soakUpstream, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/orders", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, upstreamBody)
	})
	mux.HandleFunc("/events", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for {
			if _, err := io.WriteString(w, "data: {}\n\n"); err != nil {
				return
			}
			_ = http.NewResponseController(w).Flush()
			select {
			case <-r.Context().Done():
				return
			case <-time.After(200 * time.Millisecond):
			}
		}
	})
	mux.HandleFunc("/socket", func(w http.ResponseWriter, _ *http.Request) {
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		_, _ = io.Copy(conn, buffered)
	})
	u := &soakUpstream{l.Addr().String(), &http.Server{ReadHeaderTimeout: time.Minute, Handler: mux}}
	go func() { _ = u.server.Serve(l) }()
	return u, nil
}

func (u *soakUpstream) close() { _ = u.server.Close() }
