package tests

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/oauth2-passport/caddy-passport/tests/internal/gateway"
)

// operated is a gateway that an operator watches.
const operated = `{
	default_bind 127.0.0.1
	servers {
		trusted_proxies static private_ranges
	}
	log default {
		exclude passport.audit
	}
	log audit {
		output file audit.log
		include passport.audit
	}
	passport {
		client demo {
			secret {env.DEMO_SECRET}
			grants client_credentials
			scopes read write
		}
	}
}

http://127.0.0.1:{$PORT} {
	tracing {
		span api
	}
	passport_server
	passport_auth scopes read
	reverse_proxy {$UPSTREAM}
}
`

// metric is a sample that Caddy's admin endpoint tells of, -1 when there is none of that name and those labels.
func metric(t *testing.T, g *gateway.Gateway, series string) float64 {
	t.Helper()
	for line := range strings.Lines(metricsOf(t, g)) {
		if value, ok := strings.CutPrefix(line, series+" "); ok {
			f, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				t.Fatal(err)
			}
			return f
		}
	}
	return -1
}

func metricsOf(t *testing.T, g *gateway.Gateway) string {
	t.Helper()
	resp := adminGet(t, g, "/metrics")
	if resp.Status != http.StatusOK {
		t.Fatalf("metrics: %d %s", resp.Status, resp.Body)
	}
	return resp.Body
}

func adminGet(t *testing.T, g *gateway.Gateway, path string) gateway.Response {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, "http://"+g.Admin+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	return g.Do(req)
}

func TestMetrics(t *testing.T) {
	g, _ := start(t, operated)
	token := g.Token("demo", demoSecret, "read")
	for range 3 {
		g.Get("/orders", token)
	}
	g.Get("/orders", "nonsense")
	g.Form("/oauth/token", "demo", "a-wrong-secret-of-enough-characters", url.Values{"grant_type": {"client_credentials"}})
	g.Form("/oauth/token", "demo", demoSecret, url.Values{"grant_type": {"a grant that is none"}})

	want := map[string]float64{
		`caddy_passport_tokens_total{grant="client_credentials",issuer="default",result="issued"}`:      1,
		`caddy_passport_tokens_total{grant="unknown",issuer="default",result="invalid_client"}`:         1,
		`caddy_passport_tokens_total{grant="unknown",issuer="default",result="unsupported_grant_type"}`: 1,
		`caddy_passport_verifications_total{issuer="default",result="miss"}`:                            1,
		`caddy_passport_verifications_total{issuer="default",result="hit"}`:                             2,
		`caddy_passport_verifications_total{issuer="default",result="refused"}`:                         1,
		`caddy_passport_events_total{event="access_token_created",issuer="default"}`:                    1,
		`caddy_passport_events_total{event="refresh_token_reused",issuer="default"}`:                    0,
		`caddy_passport_events_dropped_total{issuer="default"}`:                                         0,
		`caddy_passport_refused_total{reason="invalid_token",report_only="false"}`:                      1,
		`caddy_passport_cache_entries{issuer="default"}`:                                                1,
		`caddy_passport_revocation_lag_seconds{issuer="default"}`:                                       0,
		`caddy_passport_revocations_out_of_sight{issuer="default"}`:                                     0,
		`caddy_passport_store_failures_total{issuer="default",operation="update"}`:                      0,
	}
	compare := func(when string) {
		t.Helper()
		for series, value := range want {
			if got := metric(t, g, series); got != value {
				t.Errorf("%s: %s is %v, want %v", when, series, got, value)
			}
		}
		for _, series := range []string{
			`caddy_passport_store_duration_seconds_count{issuer="default",operation="update"}`,
			`caddy_passport_store_duration_seconds_count{issuer="default",operation="view"}`,
			`caddy_passport_signing_key_activated_timestamp_seconds{issuer="default"}`,
		} {
			if metric(t, g, series) < 1 {
				t.Errorf("%s: %s is missing", when, series)
			}
		}
	}
	compare("at first")

	// Counters are not set back by a reload, and nothing is registered twice.
	for range 3 {
		if err := g.Reload(operated); err != nil {
			t.Fatal(err)
		}
	}
	g.Get("/orders", token)
	want[`caddy_passport_verifications_total{issuer="default",result="miss"}`] = 2 // a config remembers anew
	compare("after reloads")
	if err := g.Reload(strings.Replace(operated, "scopes read\n\treverse", "issuer nobody\n\treverse", 1)); err == nil {
		t.Error("a config with an unknown issuer was accepted")
	}
	compare("after a reload that was refused")
	if text := metricsOf(t, g); strings.Contains(text, "a grant that is none") || strings.Contains(text, demoSecret) {
		t.Error("a caller can make labels")
	}
}

// auditLines are the lines of the audit log so far.
func auditLines(t *testing.T, g *gateway.Gateway) (lines []map[string]any) {
	t.Helper()
	file, err := os.Open(filepath.Join(g.Dir, "audit.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for scanner := bufio.NewScanner(file); scanner.Scan(); {
		g.HasNoSecret(scanner.Text())
		var line map[string]any
		if err := json.Unmarshal(scanner.Bytes(), &line); err != nil {
			t.Fatalf("%q: %v", scanner.Text(), err)
		}
		lines = append(lines, line)
	}
	return lines
}

// TestAudit does what is security-relevant, by each way, and looks for its line: who, what, which client, from where.
func TestAudit(t *testing.T) {
	g, _ := start(t, operated)
	const caller = "203.0.113.7"
	form := func(path, secret string, values url.Values) {
		t.Helper()
		req := formOfDemo(g, path, values)
		req.SetBasicAuth("demo", secret)
		req.Header.Set("X-Forwarded-For", caller)
		g.Do(req)
	}
	form("/oauth/token", demoSecret, url.Values{"grant_type": {"client_credentials"}, "scope": {"read write"}})
	form("/oauth/token", "a-wrong-secret-of-enough-characters", url.Values{"grant_type": {"client_credentials"}})
	token := g.Token("demo", demoSecret, "read")
	form("/oauth/revoke", demoSecret, url.Values{"token": {token}})
	id, _ := createClient(t, g)
	for _, args := range [][]string{
		{"client", "update", id, "--name", "Another"}, {"client", "rotate-secret", id}, {"client", "delete", id},
		{"keys", "rotate", "--force"}, {"backup", filepath.Join(g.Dir, "backup")},
	} {
		if out, faults, code := g.Caddy(append([]string{"passport"}, args...)...); code != 0 {
			t.Fatalf("%v: %s%s", args, out, faults)
		}
	}

	lines := auditLines(t, g)
	for _, want := range []map[string]string{
		{"msg": "access_token_created", "actor": "client", "client_id": "demo", "remote_ip": caller,
			"grant_type": "client_credentials", "scope": "read write", "jti": ""},
		{"msg": "access_token_refused", "actor": "client", "client_id": "demo", "remote_ip": caller, "error": "invalid_client"},
		{"msg": "access_token_revoked", "actor": "client", "client_id": "demo", "remote_ip": caller, "jti": ""},
		{"msg": "client_created", "actor": "operator", "client_id": id, "remote_ip": "127.0.0.1"},
		{"msg": "client_updated", "actor": "operator", "client_id": id},
		{"msg": "client_secret_rotated", "actor": "operator", "client_id": id},
		{"msg": "client_deleted", "actor": "operator", "client_id": id},
		{"msg": "key_rotated", "actor": "operator", "kid": ""},
	} {
		found := false
		for _, line := range lines {
			matches := line["logger"] == "passport.audit" && line["issuer"] == "default"
			for name, value := range want {
				got, ok := line[name].(string)
				matches = matches && ok && (value == "" || got == value)
			}
			found = found || matches
		}
		if !found {
			t.Errorf("no line %v in %v", want, lines)
		}
	}
	if last := lines[len(lines)-1]; last["msg"] != "backup_written" || last["count"] == nil {
		t.Errorf("of a backup the log says %v", last)
	}
	if strings.Contains(g.Log(), "access_token_created") {
		t.Error("the audit log is in the default log too, from which it is excluded")
	}

	// The config that comes writes on.
	if err := g.Reload(operated); err != nil {
		t.Fatal(err)
	}
	g.Token("demo", demoSecret, "read")
	if after := auditLines(t, g); len(after) != len(lines)+1 {
		t.Errorf("%d lines after a reload and a token, there were %d", len(after), len(lines))
	}
}

func TestHealth(t *testing.T) {
	g, _ := start(t, operated)
	resp := adminGet(t, g, "/passport/health")
	var answer struct {
		Status  string
		Issuers []struct {
			Issuer, Status string
			Storage        struct{ OK bool }
			Keys           struct {
				OK  bool
				Kid string
			}
			Revocations struct {
				OK, Shared bool
				Then       string
			}
		}
	}
	if err := json.Unmarshal([]byte(resp.Body), &answer); err != nil || resp.Status != http.StatusOK {
		t.Fatalf("%d %s: %v", resp.Status, resp.Body, err)
	}
	if answer.Status != "ok" || len(answer.Issuers) != 1 {
		t.Fatalf("%s", resp.Body)
	}
	one := answer.Issuers[0]
	if one.Issuer != "default" || one.Status != "ok" || !one.Storage.OK || !one.Keys.OK || one.Keys.Kid == "" ||
		!one.Revocations.OK || one.Revocations.Shared || one.Revocations.Then != "refuse" {
		t.Errorf("%s", resp.Body)
	}
}

// TestTraces: with Caddy's directive tracing, what the gateway does is in the caller's trace.
func TestTraces(t *testing.T) {
	upstream := gateway.NewUpstream(t)
	g := gateway.Start(t, operated, "UPSTREAM="+upstream.Addr, "DEMO_SECRET="+demoSecret,
		"OTEL_TRACES_EXPORTER=console", "OTEL_BSP_SCHEDULE_DELAY=50")
	traced := func(req *http.Request, trace int) {
		t.Helper()
		req.Header.Set("Traceparent", fmt.Sprintf("00-%032x-00000000000000aa-01", trace))
		g.Do(req)
	}
	token := g.Token("demo", demoSecret, "read")
	traced(formOfDemo(g, "/oauth/token", url.Values{"grant_type": {"client_credentials"}}), 0x1f)
	for _, n := range []int{0x2f, 0x3f} { // the second time it is remembered
		req := g.Request(http.MethodGet, "/orders", "")
		req.Header.Set("Authorization", "Bearer "+token)
		traced(req, n)
	}
	spans := func(trace int) (names []string) {
		for line := range strings.Lines(g.Log()) {
			var span struct {
				Name        string
				SpanContext struct{ TraceID string }
			}
			if json.Unmarshal([]byte(line), &span) == nil && span.SpanContext.TraceID == fmt.Sprintf("%032x", trace) {
				names = append(names, span.Name)
			}
		}
		return names
	}
	has := func(names []string, want ...string) bool {
		text := strings.Join(names, " ")
		for _, name := range want {
			if !strings.Contains(text, name) {
				return false
			}
		}
		return true
	}
	g.Eventually("the spans of a token", func() bool {
		return has(spans(0x1f), "api", "passport.server", "passport.store.update")
	})
	g.Eventually("the spans of a new token", func() bool { return has(spans(0x2f), "api", "passport.verify") })
	g.Eventually("the spans of a token that is known", func() bool { return has(spans(0x3f), "api") })
	if names := spans(0x3f); has(names, "passport") {
		t.Errorf("a token that is remembered makes spans: %v", names)
	}
}
