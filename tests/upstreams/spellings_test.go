//go:build linux

package upstreams

import (
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/oauth2-passport/caddy-passport/tests/internal/gateway"
)

var update = flag.Bool("update", false, "write the golden table anew")

// spellings are targets by which somebody could try to come to the orders: past a passport_auth that stands before them
// alone, or before all that is not public.
var spellings = []string{
	"/orders", "/orders/", "/orders/17", "/orders/list.php", "/orders/all.txt", "/public/hello.txt", "/public/info.php",
	"//orders/17", "///orders//17", "/./orders/17", "/orders/./17", "/x/../orders/17", "/../orders/all.txt",
	"/public/../orders/17", "/public/../orders/list.php", "/public/../orders/all.txt", "/public/./../orders/all.txt",
	"/public//../../orders/all.txt", "/public/x/../../orders/all.txt", "/public/hello.txt/../../orders/all.txt",
	"/public/..//orders/list.php", "/public/../../orders/list.php", "/orders/../public/hello.txt",
	"/ORDERS/17", "/Orders/list.php", "/oRDERS/all.txt", "/PUBLIC/../orders/all.txt", "/orders/LIST.PHP",
	"/%6frders/17", "/%6Frders/list.php", "/%6f%72%64%65%72%73/all.txt", "/orders%2fall.txt", "/orders%2Flist.php",
	"/%2forders/17", "/%2e/orders/all.txt", "/public/%2e%2e/orders/17", "/public/.%2e/orders/all.txt",
	"/public/%2E./orders/list.php", "/public%2f..%2forders%2fall.txt", "/public/..%2forders/list.php",
	"/public/..%2Forders/all.txt", "/public%2f%2e%2e%2forders/17", "/orders/%2e%2e/public/hello.txt",
	"/orders%2f..%2fpublic/hello.txt", "/orders/..%2fpublic/hello.txt",
	"/%256frders/17", "/%256frders/list.php", "/public/%252e%252e/orders/all.txt", "/public/..%252forders/list.php",
	"/public%252f..%252forders%252fall.txt", "/orders%252fall.txt", "/%25256frders/17",
	"/orders;x=1/17", "/orders;/17", "/;x/orders/17", "/public/..;/orders/17", "/public/..;x=y/orders/all.txt",
	"/public;/..;/orders/17", "/public/%2e%2e;/orders/17", "/orders%3bx/17", "/orders/all.txt;.css",
	`/public/..\orders/17`, `/orders\17`, "/public/..%5corders/all.txt", "/%5corders/17", "/public/..%255corders/17",
	"/orders./17", "/orders%20/17", "/orders%2e/17", "/orders/all.txt.", "/orders/all.txt%20", "/orders/list.php%20",
	"/orders/list.php%0a", "/orders/list.php.", "/orders%00/17", "/orders/all.txt%00.css",
	"/public/hello.txt%00/../../orders/all.txt", "/orders/all.txt%3f.css", "/orders/all.txt%23.css", "/orders%23/17",
	"/orders%3f/../public/hello.txt", "/public/hello.txt?/../../orders/all.txt", "/public?/orders/17",
	"/public/..%c0%aforders/17", "/public/%c0%ae%c0%ae/orders/17", "/public/..%ef%bc%8forders/17", "/%c0%aforders/17",
	"/index.php/orders/17", "/index.php//orders/17", "/index.php/public/../orders/17", "/index.php/public/x",
	"/index.php%2forders/17", "/index%2ephp/orders/17", "/INDEX.PHP/orders/17", "/public/../index.php/orders/17",
	"/public/%2e%2e/index.php/orders/17", "/public/info.php/orders/17", "/public/info.php/../../orders/list.php",
	"/public/info.php%2f..%2f..%2forders/list.php", "/index.php;/orders/17", "/index.php?/orders/17",
	"/public/index.php/orders/17", "/orders/list.php/public/x", "//public/orders/17", "//public//orders/17",
	"///public/orders/17", "//index.php/orders/17", "/public:80/orders/17", "/public/%2fx/../../../orders/all.txt",
	"http://{HOST}/orders/17", "http://{HOST}//orders/all.txt", "http://{HOST}/public/../orders/all.txt",
	"http://{HOST}/%6frders/list.php", "/public/hello.txt#/../../orders/all.txt", "/public\t/../orders/17",
}

// guards are the ways to have a passport_auth before the orders.
var guards = []struct{ name, directives string }{
	{"path", "passport_auth /orders* scopes read"},
	{"rest", "@rest not path /public/*\n\tpassport_auth @rest scopes read"},
	{"regexp", "@orders path_regexp ^/orders\n\tpassport_auth @orders scopes read"},
}

// TestRefusesPathThatNginxSeesOtherwise sends each spelling without a token to three gateways before four nginx. None
// of them may serve the orders. The golden table tells what Caddy's matchers see, what each nginx serves to who asks it
// itself, and what the gateways make of it.
func TestRefusesPathThatNginxSeesOtherwise(t *testing.T) {
	n := startNginx(t)
	servers := []struct{ name, addr string }{
		{"nginx", n.plain}, {"path info", n.pathInfo}, {"caseless", n.caseless}, {"twice", n.twice},
	}
	var sites strings.Builder
	sites.WriteString(issuer)
	for _, guard := range guards {
		for at, server := range servers {
			fmt.Fprintf(&sites, "\nhttp://%s-%d.localhost:{$PORT} {\n\tpassport_server\n\t%s\n\treverse_proxy %s\n}\n",
				guard.name, at, guard.directives, server.addr)
		}
	}
	for _, guard := range guards { // Caddy itself as the server of PHP
		fmt.Fprintf(&sites, "\nhttp://%s-caddy.localhost:{$PORT} {\n\tpassport_server\n\t%s\n\troot %s/www\n"+
			"\tphp_fastcgi unix/%s\n\tfile_server\n}\n", guard.name, guard.directives, n.dir, n.fpm)
	}
	sites.WriteString("\nhttp://sees.localhost:{$PORT} {\n\t@orders path /orders*\n\trespond @orders orders\n" +
		"\t@public path /public/*\n\trespond @public public\n\trespond other\n}\n")
	g := gateway.Start(t, sites.String(), "CLIENT_SECRET="+clientSecret)
	host := func(name string) string { return name + ".localhost:" + g.Port }

	var table strings.Builder
	columns := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprint(columns, "target\tmatcher")
	for _, server := range servers {
		fmt.Fprint(columns, "\t", server.name)
	}
	for _, guard := range guards {
		fmt.Fprint(columns, "\t", guard.name)
	}
	fmt.Fprintln(columns)
	if len(spellings) < 60 || len(slices.Compact(slices.Sorted(slices.Values(spellings)))) != len(spellings) {
		t.Error("spellings are missing, or repeated")
	}
	mistakable := 0
	for _, target := range spellings {
		sees := serves(t, "127.0.0.1:"+g.Port, host("sees"), target, "")
		fmt.Fprintf(columns, "%q\t%s", target, sees)
		reached := false
		for _, server := range servers {
			what := serves(t, server.addr, server.addr, target, "")
			reached = reached || what == "orders"
			fmt.Fprint(columns, "\t", what)
		}
		if reached && sees != "orders" {
			mistakable++
		}
		for _, guard := range guards {
			made := ""
			for at, server := range servers {
				what := serves(t, "127.0.0.1:"+g.Port, host(fmt.Sprintf("%s-%d", guard.name, at)), target, "")
				if what == "orders" {
					t.Errorf("%s before %s: %q reaches the orders without a token", guard.name, server.name, target)
				}
				if what != "401" && what != "400" {
					what = "passed on"
				}
				if made != "" && made != what {
					t.Errorf("%s: %q is answered with %s and %s", guard.name, target, made, what)
				}
				made = what
			}
			fmt.Fprint(columns, "\t", made)
			if serves(t, "127.0.0.1:"+g.Port, host(guard.name+"-caddy"), target, "") == "orders" {
				t.Errorf("%s before php_fastcgi: %q reaches the orders without a token", guard.name, target)
			}
		}
		fmt.Fprintln(columns)
	}
	if mistakable < 10 {
		t.Errorf("only %d spellings are seen otherwise by nginx: the table shows too little", mistakable)
	}
	if err := columns.Flush(); err != nil {
		t.Fatal(err)
	}
	const golden = "testdata/spellings.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(table.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	for got, want := range lines(table.String(), string(want)) {
		if got != want {
			t.Errorf("the table differs (-update writes it anew):\n%s\nwas\n%s", got, want)
		}
	}

	// With a token the orders are there.
	bearer := g.Do(tokenRequest(t, g, host("path-0"))).String("access_token")
	g.Secret(bearer)
	for _, target := range []string{"/orders/17", "/orders/list.php", "/orders/all.txt"} {
		if what := serves(t, "127.0.0.1:"+g.Port, host("path-0"), target, bearer); what != "orders" {
			t.Errorf("%s with a token: %s", target, what)
		}
	}
	bearer = g.Do(tokenRequest(t, g, host("path-caddy"))).String("access_token")
	g.Secret(bearer)
	for _, target := range []string{"/orders/17", "/orders/list.php", "/orders/all.txt"} {
		if what := serves(t, "127.0.0.1:"+g.Port, host("path-caddy"), target, bearer); what != "orders" {
			t.Errorf("php_fastcgi, %s with a token: %s", target, what)
		}
	}
}

// serves sends a target as it is, and tells what the answer is: the orders, what is public, or a status.
func serves(t *testing.T, addr, host, target, bearer string) string {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	authorization := ""
	if bearer != "" {
		authorization = "Authorization: Bearer " + bearer + "\r\n"
	}
	target = strings.ReplaceAll(target, "{HOST}", host)
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\n%sConnection: close\r\n\r\n", target, host,
		authorization); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn) // as it comes: an nginx that decodes line breaks makes HTTP/0.9 of the request
	if err != nil {
		t.Fatalf("%q at %s: %v", target, host, err)
	}
	head, body, _ := strings.Cut(string(answer), "\r\n\r\n")
	switch text := string(answer); {
	case body == "orders", strings.Contains(text, "the orders"), strings.Contains(text, `"page":"orders"`):
		return "orders"
	case body == "public", strings.Contains(text, "for everybody"), strings.Contains(text, `"page":"public"`):
		return "public"
	case body == "other":
		return "other"
	}
	if fields := strings.Fields(head); len(fields) > 1 && strings.HasPrefix(head, "HTTP/") {
		return fields[1]
	}
	return "nothing"
}

// tokenRequest asks for a token at one of the sites.
func tokenRequest(t *testing.T, g *gateway.Gateway, host string) *http.Request {
	t.Helper()
	req := g.Request(http.MethodPost, "/oauth/token", "grant_type=client_credentials&scope=read")
	req.Host = host
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(clientID, strings.ReplaceAll(clientSecret, " ", "+"))
	return req
}

// lines are the lines of two texts side by side.
func lines(a, b string) func(yield func(a, b string) bool) {
	return func(yield func(a, b string) bool) {
		as, bs := strings.Split(a, "\n"), strings.Split(b, "\n")
		for i := range max(len(as), len(bs)) {
			var one, other string
			if i < len(as) {
				one = as[i]
			}
			if i < len(bs) {
				other = bs[i]
			}
			if !yield(one, other) {
				return
			}
		}
	}
}
