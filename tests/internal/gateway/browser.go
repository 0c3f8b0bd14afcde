package gateway

import (
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
)

// Browser visits the gateway as a person's browser does, without script: it keeps cookies, follows redirects within the
// site and says where its forms come from.
type Browser struct {
	g    *Gateway
	http http.Client
}

// Browser opens a new browser, without any cookie.
func (g *Gateway) Browser() *Browser {
	g.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		g.t.Fatal(err)
	}
	return &Browser{g: g, http: http.Client{
		Transport: g.HTTP.Transport, Timeout: patience, Jar: jar, CheckRedirect: g.HTTP.CheckRedirect,
	}}
}

// Page is what a browser shows in the end.
type Page struct {
	Response
	Path string   // with the query
	Left *url.URL // where it was sent that is not this site; nil: nowhere
}

// Open visits a path or a URL of the site.
func (b *Browser) Open(path string) Page {
	b.g.t.Helper()
	if !strings.HasPrefix(path, "http") {
		path = b.g.URL + path
	}
	req, err := http.NewRequest(http.MethodGet, path, nil)
	if err != nil {
		b.g.t.Fatal(err)
	}
	return b.Do(req)
}

// Send sends a form of a page of the site to a path.
func (b *Browser) Send(path string, form url.Values) Page {
	b.g.t.Helper()
	req := b.g.Request(http.MethodPost, path, form.Encode())
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Origin", b.g.URL)
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	return b.Do(req)
}

// Do sends a request as it is, with the browser's cookies, and follows where it leads.
func (b *Browser) Do(req *http.Request) Page {
	b.g.t.Helper()
	for range 20 {
		resp, err := b.http.Do(req)
		if err != nil {
			b.g.t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil {
			b.g.t.Fatal(err)
		}
		for _, c := range resp.Cookies() {
			if strings.HasSuffix(c.Name, "passport_session") {
				b.g.Secret(c.Value)
			}
		}
		page := Page{Response{resp.StatusCode, resp.Header, string(body)}, req.URL.RequestURI(), nil}
		switch resp.StatusCode {
		case http.StatusFound, http.StatusSeeOther:
		case http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
			b.g.t.Errorf("%s answers %d, which sends a form again", page.Path, resp.StatusCode)
			return page
		default:
			return page
		}
		next, err := resp.Location()
		if err != nil {
			b.g.t.Fatalf("%s leads to %q: %v", page.Path, resp.Header.Get("Location"), err)
		}
		if code := next.Query().Get("code"); code != "" {
			b.g.Secret(code)
		}
		if next.Scheme+"://"+next.Host != b.g.URL {
			page.Left = next
			return page
		}
		if req, err = http.NewRequest(http.MethodGet, next.String(), nil); err != nil {
			b.g.t.Fatal(err)
		}
	}
	b.g.t.Fatalf("more redirects than a browser follows, from %s", req.URL)
	return Page{}
}

// SignIn signs a person in, from the page that Open has led to, and follows where that leads.
func (b *Browser) SignIn(page Page, username, password string) Page {
	b.g.t.Helper()
	b.g.Secret(password)
	form := page.Form("username", username, "password", password)
	if page.Status != http.StatusOK || !strings.Contains(page.Body, `name="password"`) {
		b.g.t.Fatalf("%s is no sign-in page: %d %s", page.Path, page.Status, page.Body)
	}
	return b.Send("/oauth/login", form)
}

// Cookie is the value of a cookie of the site; empty when there is none.
func (b *Browser) Cookie(name string) string {
	u, err := url.Parse(b.g.URL)
	if err != nil {
		return ""
	}
	for _, c := range b.http.Jar.Cookies(u) {
		if c.Name == name {
			return c.Value
		}
	}
	return ""
}

var hiddenField = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`)

// Form is the form of the page as it would be sent: its hidden fields, and what the pairs fill in.
func (p Page) Form(pairs ...string) url.Values {
	form := url.Values{}
	for _, match := range hiddenField.FindAllStringSubmatch(p.Body, -1) {
		form.Set(html.UnescapeString(match[1]), html.UnescapeString(match[2]))
	}
	for i := 0; i < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	return form
}
