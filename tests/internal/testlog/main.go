// Command testlog reads what `go test -json` prints and shows what a person wants to see of it: the output of tests
// that failed, one line a package, and in the end what each of those tests said itself, and the tests that were
// skipped. It exits with 1 when a test failed, or when one was
// skipped and the environment has CI=true: in CI, everything that a test needs is there.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
)

func main() {
	ok, err := summarize(os.Stdin, os.Stdout, os.Getenv("CI") == "true")
	if err != nil {
		fmt.Fprintln(os.Stderr, "testlog:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

// event is a line of `go test -json` (go doc test2json, and go help buildjson for those of the compiler).
type event struct {
	Action, Package, Test, Output string
}

// summarize copies what matters of the events in r to w and tells whether the run was a success.
func summarize(r io.Reader, w io.Writer, skipFails bool) (bool, error) {
	type test struct{ pkg, name string }
	output := map[test][]string{} // of the tests that have not ended
	var passed, failed int
	var faults, skipped []string
	broken := false

	show := func(t test) {
		for _, line := range output[t] {
			if !strings.HasPrefix(line, "=== ") {
				fmt.Fprint(w, line)
			}
		}
		delete(output, t)
	}

	// Lines have no bound: a test may print what it likes.
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) == 0 && err == io.EOF {
			break
		}
		if err != nil && err != io.EOF {
			return false, err
		}
		var e event
		if json.Unmarshal(line, &e) != nil || e.Action == "" {
			_, _ = w.Write(line) // not an event: the go command itself speaks
			continue
		}
		t := test{e.Package, e.Test}
		switch {
		case e.Action == "build-output":
			fmt.Fprint(w, e.Output)
		case e.Action == "build-fail":
			broken = true
		case e.Action == "output" && e.Test == "":
			if e.Output != "PASS\n" && !strings.HasPrefix(e.Output, "=== ") {
				fmt.Fprint(w, e.Output)
			}
		case e.Action == "output":
			output[t] = append(output[t], e.Output)
		case e.Test == "" && e.Action == "fail":
			broken = true
			for left := range output { // of tests that a panic or the time limit cut off
				if left.pkg == e.Package {
					faults = append(append(faults, "cut off: "+e.Package+" "+left.name+"\n"), said(output[left])...)
					show(left)
				}
			}
		case e.Test == "":
			// a package began, passed, or has no tests: its closing line says so
		case e.Action == "pass":
			passed++
			delete(output, t)
		case e.Action == "fail":
			failed++
			faults = append(faults, "FAIL: "+e.Package+" "+e.Test+"\n")
			faults = append(faults, said(output[t])...)
			show(t)
		case e.Action == "skip":
			skipped = append(skipped, e.Package+" "+e.Test+": "+reason(output[t]))
			delete(output, t)
		}
	}

	fmt.Fprintf(w, "\n%d tests passed, %d failed, %d skipped\n", passed, failed, len(skipped))
	for _, fault := range faults {
		fmt.Fprint(w, fault)
	}
	for _, s := range skipped {
		fmt.Fprintf(w, "skipped: %s\n", s)
	}
	if skipFails && len(skipped) > 0 {
		fmt.Fprintln(w, "FAIL: in CI no test may skip")
	}
	return failed == 0 && !broken && (!skipFails || len(skipped) == 0), nil
}

// ownLine begins what a test said with t.Error and the like, and not a process that it started.
var ownLine = regexp.MustCompile(`^\s+\S+\.go:\d+: `)

// said is the end of what a test said itself, which may stand far up between the logs of what it ran.
func said(output []string) (lines []string) {
	const most, length = 10, 500
	for _, line := range output {
		if ownLine.MatchString(line) {
			if len(line) > length {
				line = strings.ToValidUTF8(line[:length], "") + " …\n"
			}
			lines = append(lines, line)
		}
	}
	return lines[max(0, len(lines)-most):]
}

// reason is what a test said when it skipped: the line between its "=== RUN" and "--- SKIP".
func reason(output []string) string {
	for _, line := range output {
		if line = strings.TrimSpace(line); !strings.HasPrefix(line, "=== ") && !strings.HasPrefix(line, "--- ") {
			return line
		}
	}
	return "no reason given"
}
