// Package pages renders what people see: sign-in, consent, device, account, errors. It is server-rendered HTML without
// script, and knows nothing of the issuer: it is given what to show and writes it.
//
// Begin at [New]; [Pages.Render] writes a page, [Pages.Asset] serves what a page names. What a page shows is a [View].
package pages

import (
	"bytes"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
)

// Config is what pages are made of. The empty one has working defaults.
type Config struct {
	// Folder holds files that take the place of ours, by their names: templates (login.html, base.html, …), the CSS
	// (pages.css is our rules, simple.css what they stand on) and texts (de.txt; its lines replace ours, and what it
	// leaves out stays). fr.txt adds a language; what it lacks is shown in English. Default: none.
	Folder string
	Brand  Brand
	Logger *zap.Logger // default: silence
}

// Brand is what the operator's site looks like.
type Brand struct {
	Name  string // up to 100 characters; default: no name
	Logo  string // path of an SVG or PNG file of up to 64 kB; default: logo.svg or logo.png of the folder, else none
	Color string // #rgb or #rrggbb; default: blue. Shades that are hard to read are made darker or lighter
}

// Pages are the pages of an issuer. Its methods may be called from any goroutine.
type Pages struct {
	*edition
	log       *zap.Logger
	brand     Brand
	assets    map[string]*asset
	css, icon string // names of assets
	logo      string // empty: none
}

// edition is the texts and templates that belong together.
type edition struct {
	languages *languages
	templates []map[string]*template.Template // by language, as in languages.list; then by page
}

// ours is the edition without a folder. All pages of the process share it.
var ours = sync.OnceValues(func() (*edition, error) {
	s, err := load("")
	if err != nil {
		return nil, err
	}
	return newEdition(s)
})

func newEdition(s *sources) (*edition, error) {
	e := new(edition)
	var err error
	if e.languages, err = newLanguages(s.texts); err != nil {
		return nil, err
	}
	for _, language := range e.languages.list {
		pages, err := parse(s.templates, words{language, time.Now}.functions())
		if err != nil {
			return nil, err
		}
		e.templates = append(e.templates, pages)
	}
	return e, nil
}

// pageNames are the templates that are a page; base.html is around each.
var pageNames = []string{
	"login", "logout", "signed_out", "consent", "device", "account", "error", "form_post",
}

// New makes the pages. Its errors name the file, and the line where there is one.
func New(c Config) (*Pages, error) {
	p := &Pages{log: c.Logger, brand: c.Brand, assets: make(map[string]*asset)}
	if p.log == nil {
		p.log = zap.NewNop()
	}
	s, err := load(c.Folder)
	if err != nil {
		return nil, err
	}
	if err := p.dress(s, c.Folder); err != nil {
		return nil, err
	}
	if c.Folder == "" {
		p.edition, err = ours()
		return p, err
	}
	if p.edition, err = newEdition(s); err != nil {
		return nil, err
	}
	if err := p.try(s.templates); err != nil {
		return nil, err
	}
	return p, nil
}

// dress sets what the brand looks like.
func (p *Pages) dress(s *sources, folder string) error {
	if err := checkBrandName(p.brand.Name); err != nil {
		return err
	}
	if p.brand.Color == "" {
		p.brand.Color = defaultColor
	}
	color, err := parseColor(p.brand.Color)
	if err != nil {
		return err
	}
	css := s.css["simple.css"].text + "\n" + brandCSS(color) + s.css["pages.css"].text
	p.css = p.add("style", ".css", "text/css; charset=utf-8", []byte(css))
	if p.brand.Logo == "" {
		p.brand.Logo = logoIn(folder)
	}
	if p.brand.Logo == "" {
		icon, err := embedded.ReadFile("icon.svg")
		if err != nil {
			return err
		}
		icon = bytes.ReplaceAll(icon, []byte(defaultColor), []byte(color.readable(black, contrastText, white).String()))
		p.icon = p.add("icon", ".svg", "image/svg+xml", icon)
		return nil
	}
	content, mediaType, err := readLogo(p.brand.Logo)
	if err != nil {
		return err
	}
	p.logo = p.add("logo", filepath.Ext(p.brand.Logo), mediaType, content)
	p.icon = p.logo
	return nil
}

// logoIn finds the logo in the folder; empty when there is none.
func logoIn(folder string) string {
	if folder == "" {
		return ""
	}
	for _, name := range []string{"logo.svg", "logo.png"} {
		file := filepath.Join(folder, name)
		if _, err := os.Stat(file); err == nil {
			return file
		}
	}
	return ""
}

// parse parses the templates of every page.
func parse(sources map[string]source, functions template.FuncMap) (map[string]*template.Template, error) {
	pages := make(map[string]*template.Template, len(pageNames))
	for _, name := range pageNames {
		root := template.New("").Funcs(functions)
		for _, base := range []string{"base.html", name + ".html"} {
			s := sources[base]
			if _, err := root.New(base).Parse(s.text); err != nil {
				return nil, located(err, base, s.file)
			}
		}
		for part, base := range map[string]string{"page": "base.html", "title": name + ".html", "main": name + ".html"} {
			if root.Lookup(part) == nil {
				return nil, fmt.Errorf("%s: it does not define %q", sources[base].file, part)
			}
		}
		pages[name] = root.Lookup("page")
	}
	return pages, nil
}

// located names the operator's file in an error of a template, which knows its base only.
func located(err error, base, file string) error {
	text := err.Error()
	for _, prefix := range []string{"template: ", "html/template:"} {
		text = strings.TrimPrefix(text, prefix)
	}
	if rest, ok := strings.CutPrefix(text, base); ok {
		return errors.New(file + rest)
	}
	return fmt.Errorf("%s: %s", file, text)
}

// page is what a template sees.
type page struct {
	Lang, Dir       string
	Name            string // of the page
	Brand           Brand
	CSS, Icon, Logo string // names of assets
	User            string // who is signed in, for the head of the page; empty: nobody, or it is not shown
	V               View
}

// Render answers with a page, in the language that the request likes best.
func (p *Pages) Render(w http.ResponseWriter, r *http.Request, status int, v View) {
	index := p.languages.choose(r)
	body, err := p.render(index, v)
	if err != nil {
		p.log.Error("rendering a page", zap.String("page", v.page()), zap.Error(err))
		status, body = http.StatusInternalServerError, []byte("<!doctype html><title>Error</title><h1>Error</h1>\n")
	}
	h := w.Header()
	setHeaders(h, v, p.languages.list[index].tag.String())
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // who does not read it has no use for another
	}
}

func (p *Pages) render(language int, v View) ([]byte, error) {
	catalogue := p.languages.list[language]
	data := page{
		Lang: catalogue.tag.String(), Dir: catalogue.direction(), Name: v.page(), Brand: p.brand,
		CSS: p.css, Icon: p.icon, Logo: p.logo, V: v,
	}
	if account, ok := v.(Account); ok {
		data.User = account.Username
	}
	var body bytes.Buffer
	err := p.templates[language][v.page()].Execute(&body, data)
	return body.Bytes(), err
}

// try renders every page, so that what is wrong with a template is known before anybody asks for it.
func (p *Pages) try(templates map[string]source) error {
	for language := range p.languages.list {
		for _, v := range samples() {
			if _, err := p.render(language, v); err != nil {
				base := v.page() + ".html"
				if strings.Contains(err.Error(), "base.html:") {
					base = "base.html"
				}
				return located(err, base, templates[base].file)
			}
		}
	}
	return nil
}
