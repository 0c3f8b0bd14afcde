package main

import (
	"strings"
	"testing"
)

func TestSummarize(t *testing.T) {
	const pass = `{"Action":"start","Package":"p"}
{"Action":"run","Package":"p","Test":"TestGood"}
{"Action":"output","Package":"p","Test":"TestGood","Output":"=== RUN   TestGood\n"}
{"Action":"output","Package":"p","Test":"TestGood","Output":"    a_test.go:3: chatter\n"}
{"Action":"pass","Package":"p","Test":"TestGood"}
`
	const closing = `{"Action":"output","Package":"p","Output":"ok  \tp\t0.1s\n"}
{"Action":"pass","Package":"p"}
`
	const skip = `{"Action":"output","Package":"p","Test":"TestIdle","Output":"=== RUN   TestIdle\n"}
{"Action":"output","Package":"p","Test":"TestIdle","Output":"    a_test.go:9: no strace here\n"}
{"Action":"output","Package":"p","Test":"TestIdle","Output":"--- SKIP: TestIdle (0.00s)\n"}
{"Action":"skip","Package":"p","Test":"TestIdle"}
`
	const fail = `{"Action":"output","Package":"p","Test":"TestBad","Output":"    a_test.go:7: broken\n"}
{"Action":"fail","Package":"p","Test":"TestBad"}
{"Action":"output","Package":"p","Output":"FAIL\tp\t0.1s\n"}
{"Action":"fail","Package":"p"}
`
	const loud = `{"Action":"output","Package":"p","Test":"TestBad","Output":"    a_test.go:7: broken\n"}
{"Action":"output","Package":"p","Test":"TestBad","Output":"        {\"level\":\"info\"}\n"}
{"Action":"output","Package":"p","Test":"TestBad","Output":"--- FAIL: TestBad (0.00s)\n"}
{"Action":"fail","Package":"p","Test":"TestBad"}
`
	const cut = `{"Action":"output","Package":"p","Test":"TestLong","Output":"panic: test timed out\n"}
{"Action":"fail","Package":"p"}
`
	const build = `{"ImportPath":"p","Action":"build-output","Output":"a.go:1: undefined: x\n"}
{"ImportPath":"p","Action":"build-fail"}
`
	for _, tc := range []struct {
		name, in  string
		ci, ok    bool
		has, lack string
	}{
		{"a pass shows the package alone", pass + closing, true, true, "ok  \tp", "chatter"},
		{"a failure shows its output", pass + fail, false, false, "broken", "chatter"},
		{
			"a failure is told again in the end, without what the test ran",
			loud, false, false, "0 skipped\nFAIL: p TestBad\n    a_test.go:7: broken\n",
			"0 skipped\nFAIL: p TestBad\n    a_test.go:7: broken\n ",
		},
		{"a skip is told with its reason", skip + closing, false, true, "TestIdle: a_test.go:9: no strace here", "FAIL"},
		{"a skip fails in CI", skip + closing, true, false, "no test may skip", "panic"},
		{"a test that was cut off shows its output", cut, false, false, "test timed out", "ok"},
		{"a package that does not compile", build, false, false, "undefined: x", "ok"},
		{"what is not JSON is passed on", "go: no such tool\n" + pass + closing, false, true, "no such tool", "chatter"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var out strings.Builder
			ok, err := summarize(strings.NewReader(tc.in), &out, tc.ci)
			if err != nil {
				t.Fatal(err)
			}
			if ok != tc.ok {
				t.Errorf("success: got %v, want %v", ok, tc.ok)
			}
			if !strings.Contains(out.String(), tc.has) {
				t.Errorf("the output lacks %q:\n%s", tc.has, out.String())
			}
			if strings.Contains(out.String(), tc.lack) {
				t.Errorf("the output has %q:\n%s", tc.lack, out.String())
			}
		})
	}
}
