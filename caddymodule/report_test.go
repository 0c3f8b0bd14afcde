package caddymodule

import (
	"net/http"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	dto "github.com/prometheus/client_model/go"
)

// reported is how often a reason has been counted.
func reported(reason, reportOnly string) float64 {
	var m dto.Metric
	if err := refusedTotal.WithLabelValues(reason, reportOnly).Write(&m); err != nil {
		panic(err)
	}
	return m.GetCounter().GetValue()
}

// TestReportOnlyPasses sends what a closed route would refuse.
func TestReportOnlyPasses(t *testing.T) {
	h := newHouse(t, `
		passport_auth scopes read {
			require `+"`request.method != \"DELETE\"`"+`
			report_only
			realm "Orders"
			upstream_header X-Legacy-Client {passport.client_id}
		}
		reverse_proxy {$UPSTREAM}`)
	good, other := h.token("read"), h.token("write")
	revoked := h.token("read")
	h.revoke(revoked)
	for _, test := range []struct {
		name, method string
		fields       []string
		label        string // of the counter; empty: passes for good
		log          string
		token        string // that the upstream gets
	}{
		{name: "good", fields: []string{"Authorization", bearer(good)}},
		{name: "no token", label: "no_token", log: "an access token is needed"},
		{name: "of another scheme", label: "no_token", fields: []string{"Authorization", "Basic eDp5"}, token: "Basic eDp5"},
		{name: "another's token", label: "invalid_token", fields: []string{"Authorization", "Bearer their-own"},
			log: "the access token is malformed", token: "Bearer their-own"},
		{name: "revoked", label: "invalid_token", fields: []string{"Authorization", bearer(revoked)},
			log: "the access token has been revoked", token: bearer(revoked)},
		{name: "twice", label: "invalid_request", fields: []string{"Authorization", "Bearer a", "Authorization", "Bearer b"},
			token: "Bearer a|Bearer b"},
		{name: "no scope", label: "insufficient_scope", fields: []string{"Authorization", bearer(other)}, log: `"client_id":"demo"`},
		{name: "not what is required", method: "DELETE", label: "require", fields: []string{"Authorization", bearer(good)},
			log: "requirement 1 of this route is not met"},
	} {
		t.Run(test.name, func(t *testing.T) {
			h.t = t
			if test.method == "" {
				test.method = http.MethodGet
			}
			before, lines := reported(test.label, "true"), strings.Count(h.logged(), "request would be refused")
			forged := []string{"X-Passport-Subject", "admin", "X_Passport_Scope", "*", "X-Legacy-Client", "root"}
			resp := h.send(test.method, "/orders?secret=1", append(forged, test.fields...)...)
			got := h.upstream.last()
			if resp.status != http.StatusOK || got == nil {
				t.Fatalf("%d %s", resp.status, resp.body)
			}
			identity := got.header["X-Passport-Subject"]
			if test.label == "" {
				if len(identity) != 1 || identity[0] != testClient || got.header.Get("X-Legacy-Client") != testClient {
					t.Errorf("the upstream got %v", got.header)
				}
				return
			}
			if identity != nil || got.header["X-Legacy-Client"] != nil || got.header["X_Passport_Scope"] != nil { //nolint:staticcheck // as it is sent
				t.Errorf("an identity reached the upstream: %v", got.header)
			}
			if token := strings.Join(got.header["Authorization"], "|"); token != test.token {
				t.Errorf("the upstream got the token %q, want %q", token, test.token)
			}
			if n := reported(test.label, "true") - before; n != 1 {
				t.Errorf("counted %v times", n)
			}
			log := h.logged()
			if n := strings.Count(log, "request would be refused") - lines; n != 1 {
				t.Fatalf("logged %d times", n)
			}
			line := log[strings.LastIndex(log, `"request would be refused"`):]
			line, _, _ = strings.Cut(line, "\n")
			for _, want := range []string{`"path":"/orders"`, `"realm":"Orders"`, `"method":"` + test.method + `"`,
				`"cause":"` + test.label + `"`, test.log} {
				if !strings.Contains(line, want) {
					t.Errorf("the log lacks %s: %s", want, line)
				}
			}
			if strings.Contains(line, "secret") || strings.Contains(line, "their-own") {
				t.Errorf("the log tells too much: %s", line)
			}
		})
	}
}

// TestReportOnlyPassesOddTargets sends what could be read as another path, which has to pass a door. Where that door
// only reports, nothing is refused.
func TestReportOnlyPassesOddTargets(t *testing.T) {
	h := newHouse(t, `
		passport_auth /orders* {
			report_only
		}
		passport_auth /closed*
		reverse_proxy {$UPSTREAM}`)
	before := reported("ambiguous_target", "true")
	if resp := h.get("/public/..;/orders"); resp.status != http.StatusOK {
		t.Errorf("%d %s", resp.status, resp.body)
	}
	if n := reported("ambiguous_target", "true") - before; n != 1 {
		t.Errorf("counted %v times", n)
	}
	before = reported("ambiguous_target", "false")
	if resp := h.get("/public/..;/closed"); resp.status != http.StatusBadRequest {
		t.Errorf("%d %s", resp.status, resp.body)
	}
	if n := reported("ambiguous_target", "false") - before; n != 1 {
		t.Errorf("counted %v times", n)
	}
}

// TestReportOnlyBesideAClosedRoute: one passport_auth that reports takes nothing from another that refuses.
func TestReportOnlyBesideAClosedRoute(t *testing.T) {
	h := newHouse(t, `
		passport_auth scopes read
		passport_auth scopes write {
			report_only
		}
		reverse_proxy {$UPSTREAM}`)
	before := reported("no_token", "false")
	if resp := h.get("/"); resp.status != http.StatusUnauthorized {
		t.Errorf("no token: %d", resp.status)
	}
	if n := reported("no_token", "false") - before; n != 1 {
		t.Errorf("counted %v times", n)
	}
	resp := h.get("/", "Authorization", bearer(h.token("read")))
	got := h.upstream.last()
	if resp.status != http.StatusOK || got == nil || got.header.Get("X-Passport-Scope") != "read" {
		t.Errorf("%d %v", resp.status, got)
	}
}

// TestReportOnlyWithoutStorage: what cannot be checked passes, too, and is told at Error.
func TestReportOnlyWithoutStorage(t *testing.T) {
	h := newHouse(t, `
		passport_auth {
			report_only
		}
		reverse_proxy {$UPSTREAM}`)
	token := h.token("read")
	app, _ := activeApp()
	app.find("default").shut()
	resp := h.get("/", "Authorization", bearer(token), "X-Passport-Subject", "admin")
	if got := h.upstream.last(); resp.status != http.StatusOK || got == nil || got.header["X-Passport-Subject"] != nil {
		t.Errorf("%d %v", resp.status, got)
	}
	if log := h.logged(); !strings.Contains(log, `"level":"error"`) || !strings.Contains(log, `"cause":"unavailable"`) {
		t.Errorf("the log does not tell:\n%s", log)
	}
}

// TestMetricsOutliveReloads looks for the counter in the registry of each config.
func TestMetricsOutliveReloads(t *testing.T) {
	h := newHouse(t, "passport_auth\npassport_auth /x")
	count := func() float64 {
		ctx := caddy.ActiveContext()
		families, err := ctx.GetMetricsRegistry().Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if f.GetName() == "caddy_passport_refused_total" {
				var sum float64
				for _, m := range f.GetMetric() {
					sum += m.GetCounter().GetValue()
				}
				return sum
			}
		}
		return 0
	}
	h.get("/")
	before := count()
	for range 3 {
		h.load("http://{$ADDR} {\npassport_server\npassport_auth\n}")
		h.get("/")
	}
	if n := count() - before; before == 0 || n != 3 {
		t.Errorf("counted %v, then %v", before, n)
	}
}
