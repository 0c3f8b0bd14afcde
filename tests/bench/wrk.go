//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

//go:embed wrk.lua
var wrkScript []byte

// separator stands before each request of a file for wrk; it is in no request.
const separator = '\x1e'

// load is what wrk is told to send. A request is bytes that Go has put together, so that wrk's Lua does no more than
// take the next one: a third of a microsecond, the same for one token as for twenty thousand.
type load struct {
	address  string
	requests [][]byte
	once     bool          // end after the last request instead of beginning again
	clients  int           // connections
	pause    time.Duration // of each connection before each request
	length   time.Duration
}

// answers is what wrk says of a load.
type answers struct {
	Sent     int `json:"sent"`
	Answered int `json:"answered"`
	Micros   int `json:"micros"`
	P50      int `json:"p50"`
	P99      int `json:"p99"`
	Max      int `json:"max"`
	Refused  int `json:"refused"` // status above 399
	Broken   int `json:"broken"`  // not connected, cut or late
}

// script is where wrk finds what it has to do.
func (s *suite) script() string { return filepath.Join(s.dir, "wrk.lua") }

var loadNumber atomic.Int64

// run sends the load by wrk, in one thread, and waits for its end.
func (s *suite) run(ctx context.Context, l load) (answers, error) {
	var a answers
	file := filepath.Join(s.dir, fmt.Sprintf("load-%d", loadNumber.Add(1)))
	if err := os.WriteFile(file, bytes.Join(l.requests, []byte{separator}), 0o600); err != nil {
		return a, err
	}
	defer func() { _ = os.Remove(file) }()
	mode := "again"
	if l.once {
		mode = "once"
	}

	// wrk counts whole seconds: it is told too many and ended by SIGINT, after which it prints its figures. It looks
	// every tenth of a second.
	limit := l.length + 30*time.Second
	if l.once {
		limit += time.Duration(len(l.requests)) * 2 * time.Millisecond
	}
	ctx, cancel := context.WithTimeout(ctx, limit+10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "wrk", "-t1", "-c", strconv.Itoa(l.clients),
		"-d", strconv.Itoa(int(limit.Seconds()))+"s", "--timeout", "10s", "-s", s.script(), "http://"+l.address,
		"--", file, mode, strconv.Itoa(int(l.pause.Milliseconds())))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var stdout bytes.Buffer
	cmd.Stdout = &stdout
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return a, err
	}
	if err := cmd.Start(); err != nil {
		return a, fmt.Errorf("wrk (Debian's package wrk): %w", err)
	}
	begun, usedUp := make(chan struct{}), make(chan struct{})
	complaint := make(chan string, 1)
	go func() {
		var other strings.Builder
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			switch lines.Text() {
			case "begun":
				close(begun)
			case "used up":
				close(usedUp)
			default:
				other.WriteString(lines.Text() + "\n")
			}
		}
		complaint <- other.String()
	}()
	var over <-chan time.Time
	var other string
	ended := false
	for done := false; !done; {
		select {
		case <-begun: // until here wrk ignores SIGINT
			begun = nil
			if !l.once {
				over = time.After(l.length)
			}
		case <-over:
			done = true
		case <-usedUp:
			time.Sleep(10 * time.Millisecond) // it may have been fast
			done = true
		case other = <-complaint: // it ended by itself
			ended, done = true, true
		case <-ctx.Done():
			done = true
		}
	}
	_ = cmd.Process.Signal(syscall.SIGINT)
	if !ended {
		other = <-complaint
	}
	if err := cmd.Wait(); err != nil {
		return a, fmt.Errorf("wrk: %w: %s", err, other)
	}
	at := bytes.LastIndex(stdout.Bytes(), []byte("\n{"))
	if at < 0 {
		return a, fmt.Errorf("wrk: no figures: %s%s", stdout.Bytes(), other)
	}
	if err := json.Unmarshal(stdout.Bytes()[at:], &a); err != nil {
		return a, fmt.Errorf("wrk: %w: %s", err, stdout.Bytes())
	}
	return a, nil
}
