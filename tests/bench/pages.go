//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/oauth2-passport/caddy-passport/issuer/pages"
)

// kept is a response that is kept.
type kept struct {
	header http.Header
	body   bytes.Buffer
}

func (w *kept) Header() http.Header         { return w.header }
func (w *kept) Write(p []byte) (int, error) { return w.body.Write(p) }
func (w *kept) WriteHeader(int)             {}

// linked finds what a page loads.
var linked = regexp.MustCompile(`(?:href|src)="/oauth/assets/([^"]+)"`)

// pagesInProcess is what the pages that people see weigh with all that a browser loads for them, none of it compressed,
// and what it takes to render the one that most people see.
func (s *suite) pagesInProcess(ctx context.Context) ([]*row, error) {
	p, err := pages.New(pages.Config{Brand: pages.Brand{Name: "Orders"}})
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost/oauth/login", http.NoBody)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept-Language", "de-DE,de;q=0.9,en;q=0.5") // German is longer
	signIn := pages.Login{
		Prefix: "/oauth", CSRF: clientSecret, Return: "/oauth/authorize?client_id=shop", Client: "Corner shop",
	}
	var heaviest float64
	var each []string
	for _, one := range []struct {
		name string
		view pages.View
	}{{"sign-in", signIn}, {"consent", consentPage()}, {"device", devicePage()}, {"account", accountPage()}} {
		size, err := weigh(p, r, one.view)
		if err != nil {
			return nil, err
		}
		heaviest = max(heaviest, size)
		each = append(each, fmt.Sprintf("%s %.1f", one.name, size/1e3))
	}
	weight := &row{
		Work: "the heaviest page with all that it loads", Value: heaviest / 1e3, bars: []bar{valueAtMost("", 60, " kB")},
		Measured: fmt.Sprintf("%.1f kB: %s, of a person with ten of everything", heaviest/1e3, strings.Join(each, ", ")),
	}

	var times, allocations []float64
	for range 2 * s.rounds {
		one, err := onOneThread(func() { p.Render(&nowhere{header: make(http.Header)}, r, http.StatusOK, signIn) })
		if err != nil {
			return nil, err
		}
		times, allocations = append(times, one.cpu/1e3), append(allocations, one.allocations)
	}
	t := spreadOf(times)
	rendering := &row{
		Work: "rendering the sign-in page, in process", Value: t.Median,
		Measured: fmt.Sprintf("%.0f µs of CPU (%.0f–%.0f), %.0f allocations", t.Median, t.Least, t.Most,
			spreadOf(allocations).Median),
	}
	weight.settle()
	rendering.settle()
	return []*row{weight, rendering}, nil
}

// weigh is how many bytes a page and what it loads have.
func weigh(p *pages.Pages, r *http.Request, v pages.View) (float64, error) {
	page := kept{header: make(http.Header)}
	p.Render(&page, r, http.StatusOK, v)
	size := page.body.Len()
	files := linked.FindAllSubmatch(page.body.Bytes(), -1)
	if len(files) < 2 {
		return 0, fmt.Errorf("a page without style sheet and icon:\n%s", page.body.Bytes())
	}
	for _, file := range files {
		asset := p.Asset(string(file[1]))
		if asset == nil {
			return 0, fmt.Errorf("a page loads %s, which is not there", file[1])
		}
		w := kept{header: make(http.Header)}
		asset.ServeHTTP(&w, r)
		size += w.body.Len()
	}
	return float64(size), nil
}

var pageScopes = []pages.Scope{
	{Name: "read", Description: "See your orders"}, {Name: "write", Description: "Place and change orders"},
}

func consentPage() pages.View {
	return pages.Consent{
		Prefix: "/oauth", CSRF: clientSecret, RequestID: clientSecret, Username: "ann", RedirectHost: "127.0.0.1:8080",
		Client: pages.App{ID: "shop", Name: "Corner shop"}, LocalOnly: true, Scopes: pageScopes,
	}
}

func devicePage() pages.View {
	return pages.Device{
		Prefix: "/oauth", CSRF: clientSecret, Step: pages.DeviceConfirm, UserCode: "BCDF-GHJK", Username: "ann",
		Client: pages.App{ID: "shop", Name: "Corner shop"}, Scopes: pageScopes,
	}
}

// accountPage is that of a person who has ten of everything.
func accountPage() pages.View {
	now := time.Now()
	v := pages.Account{
		Prefix: "/oauth", CSRF: clientSecret, Username: "ann", Email: "ann@example.com", PersonalTokens: true,
		OwnClients: true, CanChangePassword: true, PasswordLength: 8, AvailableScopes: pageScopes,
		TokenLifetimes: []time.Duration{24 * time.Hour, 30 * 24 * time.Hour},
	}
	for i := range 10 {
		id := fmt.Sprintf("01a2067b-cdc0-7b69-b412-146d2703527%d", i)
		v.Apps = append(v.Apps, pages.App{ID: id, Name: "Corner shop", Scopes: pageScopes, Since: now})
		v.Tokens = append(v.Tokens, pages.PersonalToken{
			ID: id, Name: "Backup of my orders", Scopes: pageScopes, Created: now, Expires: now, LastUsed: now,
		})
		v.Clients = append(v.Clients, pages.OwnClient{
			ID: id, Name: "My own app", RedirectURIs: []string{"https://app.example/callback"}, Confidential: true, Created: now,
		})
		v.Sessions = append(v.Sessions, pages.Session{
			ID: id, Device: "Firefox · Linux", IP: "203.0.113.7", Since: now, Seen: now, Current: i == 0,
		})
	}
	return v
}
