package issuer

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"
)

// slowBody never comes to its end: reading it fails when there is a deadline, and the test when there is none.
type slowBody struct {
	t        *testing.T
	deadline time.Time
	largest  int
}

func (s *slowBody) Read(p []byte) (int, error) {
	s.largest = max(s.largest, len(p))
	if s.deadline.IsZero() {
		s.t.Error("the body may take for ever")
		return 0, io.EOF
	}
	return 0, os.ErrDeadlineExceeded
}

// slowWriter passes the deadline on.
type slowWriter struct {
	http.ResponseWriter
	body *slowBody
}

func (w slowWriter) SetReadDeadline(deadline time.Time) error {
	w.body.deadline = deadline
	return nil
}

// TestRefusesBodyThatNeverEnds: a client that says much and sends little holds neither a connection nor memory.
func TestRefusesBodyThatNeverEnds(t *testing.T) {
	body := &slowBody{t: t}
	r := httptest.NewRequest(http.MethodPost, "/oauth/token", body)
	r.Header.Set("Content-Type", formType)
	r.ContentLength = maxBody
	if _, err := readForm(slowWriter{httptest.NewRecorder(), body}, r); err != errBody {
		t.Errorf("got %v", err)
	}
	if body.largest > 4<<10 {
		t.Errorf("%d bytes were reserved for none", body.largest)
	}
	if body.deadline.IsZero() {
		t.Error("the deadline was taken back while the body is not read")
	}
}

// TestTakesBackDeadlineOfBody: what comes next on the connection has its own time.
func TestTakesBackDeadlineOfBody(t *testing.T) {
	deadline := &slowBody{t: t, deadline: time.Now()}
	r := httptest.NewRequest(http.MethodPost, "/oauth/token", strings.NewReader("a=1"))
	r.Header.Set("Content-Type", formType)
	f, err := readForm(slowWriter{httptest.NewRecorder(), deadline}, r)
	if err != nil || f.get("a") != "1" || !deadline.deadline.IsZero() {
		t.Errorf("%v, %v, deadline %v", f, err, deadline.deadline)
	}
}
