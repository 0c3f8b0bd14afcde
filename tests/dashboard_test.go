package tests

import (
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// ownMetric is a name of one of our metrics in a query, with the labels that the query chooses by.
var ownMetric = regexp.MustCompile(`(caddy_passport_[a-z_]+)(\{[^}]*\})?`)

// TestDashboard compares the dashboard, and the documentation, with the metrics that there are.
func TestDashboard(t *testing.T) {
	g, _ := start(t, operated)
	token := g.Token("demo", demoSecret, "read")
	g.Get("/orders", token)
	g.Get("/orders", "nonsense")
	g.Form("/oauth/token", "demo", demoSecret, url.Values{"grant_type": {"none"}})
	labels := make(map[string][]string) // of each series
	families := make(map[string]bool)
	for line := range strings.Lines(metricsOf(t, g)) {
		if name, ok := strings.CutPrefix(line, "# TYPE "); ok {
			families[strings.Fields(name)[0]] = true
			continue
		}
		name, rest, _ := strings.Cut(line, "{")
		rest, _, _ = strings.Cut(rest, "}")
		for label := range strings.SplitSeq(rest, ",") {
			label, _, _ = strings.Cut(label, "=")
			labels[name] = append(labels[name], label)
		}
	}

	text, err := os.ReadFile(filepath.Join("..", "docs", "grafana-dashboard.json"))
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			Title, Type string
			Targets     []struct{ Expr, LegendFormat string }
		}
		Templating struct{ List []struct{ Query string } }
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	shown := make(map[string]bool)
	check := func(where, query string) {
		t.Helper()
		found := ownMetric.FindAllStringSubmatch(query, -1)
		if len(found) == 0 {
			t.Errorf("%s asks for nothing of ours: %s", where, query)
		}
		for _, m := range found {
			shown[m[1]] = true
			// What has not happened yet in this test has no series, but is registered.
			known, ok := labels[m[1]]
			if !ok && m[1] != "caddy_passport_events_dropped_total" {
				t.Errorf("%s asks for %s, which there is not", where, m[1])
				continue
			}
			for _, matcher := range regexp.MustCompile(`([a-z_]+)(=~|!=|=)`).FindAllStringSubmatch(m[2], -1) {
				if ok && matcher[1] != "instance" && !slices.Contains(known, matcher[1]) {
					t.Errorf("%s asks for the label %s of %s, which has %v", where, matcher[1], m[1], known)
				}
			}
		}
	}
	for _, p := range dashboard.Panels {
		for _, target := range p.Targets {
			check(p.Title, target.Expr)
		}
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("%s shows nothing", p.Title)
		}
	}
	for _, v := range dashboard.Templating.List {
		if v.Query != "prometheus" {
			check("a variable", v.Query)
		}
	}

	docs, err := os.ReadFile(filepath.Join("..", "docs", "operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	for name := range families {
		if !strings.HasPrefix(name, "caddy_passport_") {
			continue
		}
		if !strings.Contains(string(docs), "| `"+name+"` |") {
			t.Errorf("docs/operations.md does not tell of %s", name)
		}
		if !shown[name] && !shown[name+"_bucket"] {
			t.Errorf("the dashboard does not show %s", name)
		}
	}
	for _, m := range regexp.MustCompile("\\| `(caddy_passport_[a-z_]+)`").FindAllStringSubmatch(string(docs), -1) {
		if _, ok := labels[m[1]]; !ok && !families[m[1]] && m[1] != "caddy_passport_events_dropped_total" {
			t.Errorf("docs/operations.md tells of %s, which there is not", m[1])
		}
	}
}

// TestEventsAreDocumented compares the table of events with those that there are.
func TestEventsAreDocumented(t *testing.T) {
	docs, err := os.ReadFile(filepath.Join("..", "docs", "operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	for line := range strings.Lines(string(docs)) {
		if !strings.HasPrefix(line, "| `passport.") {
			continue
		}
		names, _, _ := strings.Cut(line[2:], " | ")
		for _, m := range regexp.MustCompile("`passport\\.([a-z_]+)`").FindAllStringSubmatch(names, -1) {
			told = append(told, m[1])
		}
	}
	source, err := os.ReadFile(filepath.Join("..", "issuer", "observer.go"))
	if err != nil {
		t.Fatal(err)
	}
	var there []string
	for _, m := range regexp.MustCompile(`EventType += "([a-z_]+)"`).FindAllStringSubmatch(string(source), -1) {
		there = append(there, m[1])
	}
	slices.Sort(told)
	slices.Sort(there)
	if !slices.Equal(told, there) {
		t.Errorf("docs/operations.md has %v,\nthere are %v", told, there)
	}
}
