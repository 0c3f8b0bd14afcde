package gateway

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// Upstream is the API behind the gateway: it keeps what it received and answers 200 with the headers as JSON.
type Upstream struct {
	Addr string // host:port

	mu       sync.Mutex
	requests []Received
}

// Received is a request as the upstream got it.
type Received struct {
	Method, Host, URI string
	Header, Trailer   http.Header
	Body              string
}

// NewUpstream starts one; it is closed when the test ends.
func NewUpstream(t testing.TB) *Upstream {
	t.Helper()
	u := &Upstream{}
	server := httptest.NewServer(u)
	t.Cleanup(server.Close)
	u.Addr = strings.TrimPrefix(server.URL, "http://")
	return u
}

func (u *Upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	u.mu.Lock()
	u.requests = append(u.requests, Received{r.Method, r.Host, r.RequestURI, r.Header, r.Trailer, string(body)})
	u.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"path": r.URL.Path, "headers": r.Header})
}

// Requests are those that came so far.
func (u *Upstream) Requests() []Received {
	u.mu.Lock()
	defer u.mu.Unlock()
	return append([]Received(nil), u.requests...)
}

// Last is the newest of them; the zero value when there is none.
func (u *Upstream) Last() Received {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.requests) == 0 {
		return Received{}
	}
	return u.requests[len(u.requests)-1]
}
