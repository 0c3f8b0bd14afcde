package caddymodule

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// countMatches is a matcher that counts how often it is asked. It may look at anything, as far as the doors know: so
// the case of letters counts for them, and the method.
type countMatches struct {
	For string `json:"for,omitempty"` // a method, or the beginning of a path
}

var matches atomic.Int64

func (countMatches) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.matchers.count_matches", New: func() caddy.Module { return new(countMatches) }}
}

func (m *countMatches) MatchWithError(r *http.Request) (bool, error) {
	matches.Add(1)
	return r.Method == m.For || strings.HasPrefix(strings.ToLower(r.URL.Path), m.For), nil
}

func (m *countMatches) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	d.Args(&m.For)
	return nil
}

var _ caddyhttp.RequestMatcherWithError = (*countMatches)(nil)

func init() { caddy.RegisterModule(countMatches{}) }

// manyReadings are paths that can be read in any number of ways.
var manyReadings = map[string]string{
	"programs":                 strings.Repeat("/.pl", 500) + "/%61",
	"programs and dots":        strings.Repeat("/.pl/.", 300) + "/%61",
	"programs in capitals":     strings.Repeat("/.PL", 500) + "/%61",
	"programs, parameters":     strings.Repeat("/.pl;/.;", 250) + "/%61",
	"programs, encoded":        "/" + strings.Repeat("%2f%2epl", 250),
	"programs, encoded twice":  strings.Repeat("/%252epl", 250),
	"programs and parents":     strings.Repeat("/.pl/..", 280) + "/%61",
	"programs, few":            strings.Repeat("/x.php", 40) + "/a",
	"programs, and much text":  strings.Repeat("/x.php", 25) + "/" + strings.Repeat("a", 1800),
	"an order among programs":  strings.Repeat("/x.php", 40) + "/orders/1" + strings.Repeat("/x.php", 40) + "/1",
	"an order after programs":  strings.Repeat("/x.php", 40) + "/orders/1",
	"an order before programs": "/x.php/orders/1" + strings.Repeat("/x.php", 40) + "/a",
}

// TestRefusesPathWithAnyNumberOfReadings: nobody is asked for a token before, so it may not cost what the sender likes.
func TestRefusesPathWithAnyNumberOfReadings(t *testing.T) {
	h := newHouse(t, "@orders count_matches /orders\npassport_auth @orders scopes read\nreverse_proxy {$UPSTREAM}")
	for name, path := range manyReadings {
		matches.Store(0)
		attacked(t, h, attack{"GET " + path, 400})
		if n := matches.Load(); n != 0 {
			t.Errorf("%s: matchers are asked %d times", name, n)
		}
	}
	attacked(t, h, attack{"GET " + strings.Repeat("/x.php", 8) + "/orders", 400},
		attack{"GET " + strings.Repeat("/x.php", 8) + "/a", 200})
}

// TestReportsPathWithAnyNumberOfReadings: where nothing is refused, the answer takes no longer.
func TestReportsPathWithAnyNumberOfReadings(t *testing.T) {
	h := newHouse(t, `
		@orders count_matches /orders
		passport_auth @orders {
			report_only
		}
		reverse_proxy {$UPSTREAM}`)
	for name, path := range manyReadings {
		matches.Store(0)
		since := len(h.logged())
		attacked(t, h, attack{"GET " + path, 200})
		if lines := strings.Count(h.logged()[since:], `"request would be refused"`); lines != 1 {
			t.Errorf("%s: %d reports", name, lines)
		}
		if n := matches.Load(); n != 1 {
			t.Errorf("%s: matchers are asked %d times", name, n)
		}
	}
}

// TestTriesNoMoreReadingsThanItsBound sends paths of one program more each, until they are refused for their number.
func TestTriesNoMoreReadingsThanItsBound(t *testing.T) {
	h := newHouse(t, "@orders count_matches /orders\npassport_auth @orders scopes read\nreverse_proxy {$UPSTREAM}")
	most := int64(0)
	for n := 1; ; n++ {
		matches.Store(0)
		resp := h.plain("GET", strings.Repeat("/X.pl", n)+"/a%3b")
		if resp.status == http.StatusBadRequest {
			break
		}
		if h.upstream.last(); resp.status != http.StatusOK || n > 100 {
			t.Fatalf("%d programs: %d %s", n, resp.status, resp.body)
		}
		most = max(most, matches.Load())
	}
	if most > maxReadings+2 || most < maxReadings/2 { // as it was sent, in a trial and not, beside them
		t.Errorf("matchers are asked %d times", most)
	}
}

// TestReadsNoMoreOfAPathThanItsBound: the readings beyond it are not even made.
func TestReadsNoMoreOfAPathThanItsBound(t *testing.T) {
	for name, path := range manyReadings {
		u, err := url.ParseRequestURI(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, cased := range []bool{false, true} {
			all, ok := readings(u, cased)
			text := len(strings.Join(all, ""))
			if ok || len(all) > maxReadings || text > maxReadingText {
				t.Errorf("%s: %d readings of %d bytes, all of them: %v", name, len(all), text, ok)
			}
			if n := testing.AllocsPerRun(10, func() { readings(u, cased) }); n > 100 {
				t.Errorf("%s: %v allocations", name, n)
			}
		}
	}
}

// TestReadsAllOfHonestPaths: the bounds are far from what anybody needs.
func TestReadsAllOfHonestPaths(t *testing.T) {
	for _, target := range append([]string{
		"/index.php/wiki/a.php/b.py/c.pl/d.jsp/e", "/a;v=1/b;v=2/../c%2Fd/./e//f", "/" + strings.Repeat("%E4%BA%AC", 200),
		"/Files/" + strings.Repeat("A%2Fb;c/", 200),
	}, honest...) {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			t.Fatal(err)
		}
		if all, ok := readings(u, true); !ok || len(all) > maxReadings/2 {
			t.Errorf("%.40s: %d readings, all of them: %v", target, len(all), ok)
		}
	}
}

// TestRefusesAnyNumberOfMethods: each is tried, before anybody is asked for a token.
func TestRefusesAnyNumberOfMethods(t *testing.T) {
	h := newHouse(t, `
		@write count_matches DELETE
		passport_auth @write scopes write
		reverse_proxy {$UPSTREAM}`)
	fields := func(n int) string {
		var all strings.Builder
		for i := range n {
			fmt.Fprintf(&all, "\nX-HTTP-Method: M%d", i)
		}
		return all.String()
	}
	query := func(n int) string {
		var all strings.Builder
		for i := range n {
			fmt.Fprintf(&all, "&_method=M%d", i)
		}
		return all.String()
	}
	for name, test := range map[string]struct {
		attack
		asked int64
	}{
		"fields":                     {attack{"GET /1" + fields(500), 400}, 0},
		"fields, and what they hide": {attack{"GET /1" + fields(20) + "\nX-HTTP-Method: DELETE", 400}, 0},
		"query":                      {attack{"GET /1?" + query(500), 400}, 0},
		"query, and what it hides":   {attack{"GET /1?" + query(20) + "&_method=DELETE", 400}, 0},
		"both":                       {attack{"GET /1?" + query(5) + fields(10), 400}, 0},
		"the same often":             {attack{"GET /1?" + strings.Repeat("&_method=m0", 500) + fields(1), 200}, 3},
		"some":                       {attack{"GET /1?" + query(maxMethods), 200}, 2 + maxMethods},
		"some, and the guarded one":  {attack{"GET /1?" + query(maxMethods-1) + "&_method=DELETE", 400}, 1 + maxMethods},
	} {
		matches.Store(0)
		attacked(t, h, test.attack)
		if n := matches.Load(); n != test.asked {
			t.Errorf("%s: matchers are asked %d times, want %d", name, n, test.asked)
		}
	}
}

// TestAsksSessionForProofWhenMethodsAreTooMany: one of those that are not looked at may change something.
func TestAsksSessionForProofWhenMethodsAreTooMany(t *testing.T) {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	for range 100 {
		r.Header.Add("X-Http-Method-Override", http.MethodOptions)
	}
	if kind := kindOf(r); kind != looks {
		t.Errorf("a request that only looks is %d", kind)
	}
	r.Method = http.MethodHead // which may be GET
	for _, value := range []string{"get", "head", "options"} {
		r.Header.Add("X-Http-Method", value)
	}
	if kind := kindOf(r); kind != looks {
		t.Errorf("a request that only looks, in many ways, is %d", kind)
	}
	for i := range 20 {
		r.Header.Add("X-Method-Override", fmt.Sprint("LOOK", i))
	}
	if kind := kindOf(r); kind != changes {
		t.Errorf("a request with more methods than are looked at is %d", kind)
	}
}

// TestTriesNoMatcherBehindTheLastDoor: those of php_fastcgi look at files, and nothing is to be found behind them.
func TestTriesNoMatcherBehindTheLastDoor(t *testing.T) {
	for name, test := range map[string]struct {
		directives string
		tried      bool
	}{
		"after":              {"passport_auth /orders* scopes read\nreverse_proxy @counted {$UPSTREAM}", false},
		"in a branch":        {"handle /x {\npassport_auth\n}\nhandle {\nreverse_proxy @counted {$UPSTREAM}\n}", false},
		"after, in a branch": {"handle {\npassport_auth /orders*\nreverse_proxy @counted {$UPSTREAM}\n}", false},
		"before":             {"route {\nheader @counted X-A b\npassport_auth /orders*\nreverse_proxy {$UPSTREAM}\n}", true},
		"before, in a branch": {"route {\nroute {\nheader @counted X-A b\n}\npassport_auth /orders*\n" +
			"reverse_proxy {$UPSTREAM}\n}", true},
		"between": {"route {\npassport_auth /x\nheader @counted X-A b\npassport_auth /orders*\n" +
			"reverse_proxy {$UPSTREAM}\n}", true},
		"between, in a branch": {"route {\nroute {\npassport_auth /x\nheader @counted X-A b\n}\npassport_auth /orders*\n" +
			"reverse_proxy {$UPSTREAM}\n}", true},
		"before one that is invoked": {"route {\nheader @counted X-A b\ninvoke door\nreverse_proxy {$UPSTREAM}\n}", true},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouseOf(t, "&(door) {\npassport_auth /orders*\n}\n"+
				"http://{$ADDR} {\npassport_server\n@counted count_matches\n"+
				"invoke /never door\n"+test.directives+"\n}")
			matches.Store(0)
			attacked(t, h, attack{"GET /public/a%2fb", 200})
			if n := matches.Load(); n == 0 || (n > 1) != test.tried {
				t.Errorf("matchers are asked %d times", n)
			}
			if name != "in a branch" {
				attacked(t, h, attack{"GET /public/..;/orders/1", 400})
			}
		})
	}
}

// TestTrialsLeaveRequestAsItWas: what handlers do in one way to read a request is done in no other.
func TestTrialsLeaveRequestAsItWas(t *testing.T) {
	h := newHouse(t, `
		@twice {
			path /twice*
			header X-Tried *
		}
		@alone {
			path /alone*
			header X-Alone *
		}
		route {
			request_header /tried* X-Tried yes
			request_header /tried* -X-Sent
			request_header /alone* X-Alone yes
			passport_auth @twice scopes read
			passport_auth @alone scopes read
			reverse_proxy {$UPSTREAM}
		}`)
	attacked(t, h, attack{"GET /x.php/tried.php/twice", 200}, attack{"GET /x.php/tried.php/alone", 400})
	h.plain("GET", "/x.php/tried.php/twice", "X-Sent: yes")
	got := h.upstream.last()
	if got == nil || got.header.Get("X-Sent") != "yes" || got.header.Get("X-Tried") != "" {
		t.Errorf("the upstream got %v", got)
	}
}

// TestCopiesNoHeaderForEachReading: a request may have many fields.
func TestCopiesNoHeaderForEachReading(t *testing.T) {
	h := newHouse(t, "passport_auth /orders* scopes read\nrespond 204")
	server := h.server()
	path := strings.Repeat("/x.pl", 20) + "/a"
	bytes := func(path string, fields int) int64 {
		r := httptest.NewRequest(http.MethodGet, "http://"+h.addr+path, nil)
		for i := range fields {
			r.Header.Set(fmt.Sprint("X-", i), "a")
		}
		return testing.Benchmark(func(b *testing.B) {
			for b.Loop() {
				server.ServeHTTP(nowhere{make(http.Header)}, r.Clone(b.Context()))
			}
		}).AllocedBytesPerOp()
	}
	once := bytes("/a", 1000) - bytes("/a", 0)
	if more := bytes(path, 1000) - bytes(path, 0); more > 3*once {
		t.Errorf("of 1000 fields, %d bytes are kept for a path of many readings, and %d for a plain one", more, once)
	}
}
