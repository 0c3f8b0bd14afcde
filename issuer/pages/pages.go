// Package pages renders what people see: sign-in, consent, device, account, errors. It is server-rendered HTML without
// script, and knows nothing of the issuer: it is given what to show and writes it.
//
// Begin at [New]; [Pages.Render] writes a page, [Pages.Asset] serves what a page names.
package pages

import "net/http"

// Config is what pages are made of. The empty one has working defaults.
type Config struct {
	// Folder holds files that take the place of ours: templates, CSS and texts, by their names. Default: none.
	Folder string
	Brand  Brand
}

// Brand is what the operator's site looks like.
type Brand struct {
	Name  string // default: no name
	Logo  string // path of an SVG or PNG file; default: no logo
	Color string // #rgb or #rrggbb; default: blue
}

// Pages are the pages of an issuer. Its methods may be called from any goroutine.
type Pages struct{}

// New makes the pages. Its errors name file and line.
func New(Config) (*Pages, error) { return &Pages{}, nil }

// Render answers with a page.
func (p *Pages) Render(w http.ResponseWriter, _ *http.Request, status int, v View) {
	w.WriteHeader(status)
	_, _ = w.Write([]byte(v.page() + v.prefix()))
}

// Asset serves the file of that name below <prefix>/assets/. It is nil when there is none.
func (p *Pages) Asset(string) http.Handler { return nil }
