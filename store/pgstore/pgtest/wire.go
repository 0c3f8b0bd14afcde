package pgtest

import (
	"net"
	"net/url"
	"sync"
	"testing"
)

// Wire is a network between nodes and a database, which can fall silent: nothing arrives, and no connection ends.
type Wire struct {
	to   string
	addr string

	mu    sync.Mutex
	awake *sync.Cond
	dumb  bool
}

// NewWire begins at an address of its own, and ends at that of the database, which is a URL.
func NewWire(t testing.TB, database string) *Wire {
	t.Helper()
	to, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &Wire{to: to.Host, addr: ln.Addr().String()}
	w.awake = sync.NewCond(&w.mu)
	t.Cleanup(func() {
		ln.Close()
		w.Silent(false)
	})
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go w.connect(conn)
		}
	}()
	return w
}

// Through is the URL of a database as it is reached by the wire.
func (w *Wire) Through(database string) string {
	through, err := url.Parse(database)
	if err != nil {
		return ""
	}
	through.Host = w.addr
	return through.String()
}

// Silent has nothing arrive from now on, or again.
func (w *Wire) Silent(yes bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dumb = yes
	w.awake.Broadcast()
}

func (w *Wire) connect(from net.Conn) {
	to, err := net.Dial("tcp", w.to)
	if err != nil {
		from.Close()
		return
	}
	go w.carry(from, to)
	w.carry(to, from)
}

func (w *Wire) carry(to, from net.Conn) {
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
