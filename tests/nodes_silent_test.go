package tests

import (
	"errors"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/oauth2-passport/caddy-passport/store/pgstore/pgtest"
	"github.com/oauth2-passport/caddy-passport/tests/internal/gateway"
)

// wire is a network between nodes and a database, which can fall silent: nothing arrives, and no connection ends.
type wire struct {
	addr string

	mu    sync.Mutex
	awake *sync.Cond
	dumb  bool
}

func newWire(t *testing.T, to string) *wire {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{addr: ln.Addr().String()}
	w.awake = sync.NewCond(&w.mu)
	t.Cleanup(func() {
		ln.Close()
		w.silent(false)
	})
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go w.connect(conn, to)
		}
	}()
	return w
}

func (w *wire) connect(from net.Conn, address string) {
	to, err := net.Dial("tcp", address)
	if err != nil {
		from.Close()
		return
	}
	go w.carry(from, to)
	w.carry(to, from)
}

func (w *wire) carry(to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		w.mu.Lock()
		for w.dumb {
			w.awake.Wait()
		}
		w.mu.Unlock()
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (w *wire) silent(yes bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dumb = yes
	w.awake.Broadcast()
}

// TestSilentNetwork has the database answer nothing, and no connection end, as when a cable is cut: tokens that are out
// stay good, who asks for another is told to come again, and all is well by itself once the network is back.
func TestSilentNetwork(t *testing.T) {
	database, err := url.Parse(pgtest.Start(t).Database())
	if err != nil {
		t.Fatal(err)
	}
	w := newWire(t, database.Host)
	direct := database.String()
	database.Host = w.addr
	a, b := startNode(t, database.String()), startNode(t, direct)
	token := a.Token("demo", demoSecret, "read")
	if err := errors.Join(callOn(a, token), callOn(b, token)); err != nil {
		t.Fatal(err)
	}
	w.silent(true)
	var issued, unavailable atomic.Int64
	use := func() error { return callOn(a, token) }
	ask := issuing([]*gateway.Gateway{a}, &issued, &unavailable)
	tr := startTraffic(use, ask, ask)
	if resp, err := issueOn(a); err != nil || resp.Status != http.StatusServiceUnavailable {
		t.Errorf("a token: %d %s %v", resp.Status, resp.Body, err)
	}
	if issued.Load() > 0 {
		t.Error("tokens are issued without the database")
	}
	w.silent(false)
	a.Eventually("tokens are issued again", func() bool { return issued.Load() > 10 })
	tr.stop(t)
	form := url.Values{"token": {token}}
	if resp := b.Form("/oauth/revoke", "demo", demoSecret, form); resp.Status != http.StatusOK {
		t.Fatalf("revoke: %d %s", resp.Status, resp.Body)
	}
	for _, g := range []*gateway.Gateway{a, b} {
		g.Eventually("the token is refused", func() bool { return g.Get("/orders", token).Status == http.StatusUnauthorized })
		g.Eventually("the node is healthy", func() bool {
			return adminGet(t, g, "/passport/health").Status == http.StatusOK
		})
	}
}
