package pages

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"
)

func newPages(t testing.TB, c Config) *Pages {
	t.Helper()
	p, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// show renders a page as a browser of that language gets it.
func show(t testing.TB, p *Pages, v View, language string) (*http.Response, string) {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, "/oauth/x", nil)
	r.Header.Set("Accept-Language", language)
	w := httptest.NewRecorder()
	p.Render(w, r, http.StatusOK, v)
	return w.Result(), w.Body.String()
}

// document parses a page.
func document(t testing.TB, p *Pages, v View, language string) *html.Node {
	t.Helper()
	_, body := show(t, p, v, language)
	doc, err := html.Parse(strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func attr(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func hasAttr(n *html.Node, name string) bool {
	return slices.ContainsFunc(n.Attr, func(a html.Attribute) bool { return a.Key == name })
}

// all lists the elements of those names; of all names when there are none.
func all(n *html.Node, names ...string) []*html.Node {
	var list []*html.Node
	for d := range n.Descendants() {
		if d.Type == html.ElementNode && (len(names) == 0 || slices.Contains(names, d.Data)) {
			list = append(list, d)
		}
	}
	return list
}

func textOf(n *html.Node) string {
	var b strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode {
			b.WriteString(d.Data)
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

// eachPage calls fn with every sample in every language.
func eachPage(t *testing.T, fn func(t *testing.T, v View, doc *html.Node)) {
	p := newPages(t, Config{Brand: Brand{Name: "Orders"}})
	for _, language := range []string{"en", "de"} {
		for _, v := range samples() {
			t.Run(language+"/"+v.page(), func(t *testing.T) { fn(t, v, document(t, p, v, language)) })
		}
	}
}

func TestEveryPageIsOneDocument(t *testing.T) {
	eachPage(t, func(t *testing.T, _ View, doc *html.Node) {
		root := all(doc, "html")[0]
		if attr(root, "lang") == "" || attr(root, "dir") != "ltr" {
			t.Errorf("html: %v", root.Attr)
		}
		for _, once := range []string{"title", "h1", "main"} {
			nodes := all(doc, once)
			if len(nodes) != 1 || textOf(nodes[0]) == "" {
				t.Errorf("%d times %s", len(nodes), once)
			}
		}
		if title := textOf(all(doc, "title")[0]); strings.ContainsAny(title, "<&{") {
			t.Errorf("the title is %q", title)
		}
		level := 1
		for _, h := range all(doc, "h1", "h2", "h3", "h4") {
			if got := int(h.Data[1] - '0'); got > level+1 {
				t.Errorf("%q skips a level", textOf(h))
			} else {
				level = got
			}
		}
		if found := all(doc, "script", "style", "iframe", "object", "base"); len(found) > 0 {
			t.Errorf("the page has %s", found[0].Data)
		}
	})
}

func TestIDsAreUniqueAndNamedOnesExist(t *testing.T) {
	eachPage(t, func(t *testing.T, _ View, doc *html.Node) {
		ids := make(map[string]bool)
		focused := 0
		for _, n := range all(doc) {
			if id := attr(n, "id"); id != "" {
				if ids[id] {
					t.Errorf("the id %s is there twice", id)
				}
				ids[id] = true
			}
			if hasAttr(n, "autofocus") {
				focused++
			}
			for _, a := range n.Attr {
				if a.Key == "style" || strings.HasPrefix(a.Key, "on") {
					t.Errorf("%s has the attribute %s", n.Data, a.Key)
				}
			}
		}
		if focused > 1 {
			t.Errorf("%d elements want the focus", focused)
		}
		for _, n := range all(doc) {
			for _, name := range []string{"for", "aria-describedby", "aria-labelledby"} {
				for id := range strings.FieldsSeq(attr(n, name)) {
					if !ids[id] {
						t.Errorf("%s of %s names %q, which is not there", name, n.Data, id)
					}
				}
			}
		}
	})
}

func TestEveryFieldHasALabel(t *testing.T) {
	eachPage(t, func(t *testing.T, _ View, doc *html.Node) {
		labels := make(map[string]string)
		for _, n := range all(doc, "label") {
			labels[attr(n, "for")] = textOf(n)
		}
		for _, n := range all(doc, "input", "select", "textarea") {
			if attr(n, "type") != "hidden" && !hasAttr(n, "hidden") && labels[attr(n, "id")] == "" {
				t.Errorf("%s %s has no label", n.Data, attr(n, "name"))
			}
		}
		for _, n := range all(doc, "button") {
			if textOf(n) == "" || attr(n, "type") != "submit" {
				t.Errorf("a button: %q, type %s", textOf(n), attr(n, "type"))
			}
		}
	})
}

func TestEveryFormHasTheTokenAgainstForgery(t *testing.T) {
	eachPage(t, func(t *testing.T, v View, doc *html.Node) {
		if v.prefix() == "" || v.page() == "form_post" {
			return
		}
		for _, form := range all(doc, "form") {
			if attr(form, "method") != "post" || !strings.HasPrefix(attr(form, "action"), v.prefix()+"/") {
				t.Errorf("a form: %v", form.Attr)
			}
			if !slices.ContainsFunc(all(form, "input"), func(n *html.Node) bool {
				return attr(n, "name") == "_token" && attr(n, "value") == "t"
			}) {
				t.Errorf("the form for %s has no token", attr(form, "action"))
			}
		}
	})
}

func TestButtonsAndFieldsOfTheContract(t *testing.T) {
	p := newPages(t, Config{})
	full := slices.IndexFunc(samples(), func(v View) bool { a, ok := v.(Account); return ok && a.CSRF != "" })
	for _, test := range []struct {
		view    View
		buttons []string
		fields  map[string]string // name: autocomplete
	}{
		{Login{}, []string{"Sign in"}, map[string]string{"username": "username", "password": "current-password"}},
		{Consent{}, []string{"Authorize", "Deny"}, nil},
		{Device{Step: DeviceEnter}, []string{"Continue"}, map[string]string{"user_code": "one-time-code"}},
		{Device{Step: DeviceConfirm}, []string{"Authorize", "Deny"}, nil},
		{
			samples()[full], []string{"Create token", "Revoke", "Disconnect"},
			map[string]string{"current_password": "current-password", "new_password": "new-password"},
		},
	} {
		doc := document(t, p, test.view, "en")
		for _, name := range test.buttons {
			if !slices.ContainsFunc(all(doc, "button"), func(n *html.Node) bool { return textOf(n) == name }) {
				t.Errorf("%s has no button %q", test.view.page(), name)
			}
		}
		for name, complete := range test.fields {
			if !slices.ContainsFunc(all(doc, "input"), func(n *html.Node) bool {
				return attr(n, "name") == name && attr(n, "autocomplete") == complete
			}) {
				t.Errorf("%s has no field %s with autocomplete %s", test.view.page(), name, complete)
			}
		}
	}
}

func TestFocusIsOnTheFirstFaultyField(t *testing.T) {
	p := newPages(t, Config{})
	base := Account{PersonalTokens: true, OwnClients: true, CanChangePassword: true, PasswordLength: 8,
		Clients: []OwnClient{{ID: "3", Name: "My app", Created: time.Now()}}}
	account := func(kind AccountFaultKind, clientID string) View {
		v := base
		v.Fault.Kind, v.Values.ClientID = kind, clientID
		return v
	}
	for _, test := range []struct {
		name, want string
		view       View
	}{
		{"sign-in", "username", Login{}},
		{"sign-in, name known", "password", Login{Username: "jane"}},
		{"sign-in failed", "password", Login{Username: "jane", Fault: LoginWrong}},
		{"device", "user_code", Device{Step: DeviceEnter, Fault: DeviceUnknown}},
		{"consent: nothing, for a key pressed too early would say yes", "", Consent{}},
		{"token", "token-name", account(TokenNameMissing, "")},
		{"new app", "client-redirect", account(ClientRedirect, "")},
		{"app", "client-redirect-0", account(ClientRedirect, "3")},
		{"app's name", "client-name-0", account(ClientNameMissing, "3")},
		{"password", "new-password", account(PasswordShort, "")},
		{"current password", "current-password", account(PasswordWrong, "")},
	} {
		t.Run(test.name, func(t *testing.T) {
			doc := document(t, p, test.view, "en")
			var focused string
			for _, n := range all(doc, "input", "textarea", "button") {
				if hasAttr(n, "autofocus") {
					focused = attr(n, "id")
				}
			}
			if focused != test.want {
				t.Errorf("the focus is on %q, want %q", focused, test.want)
			}
		})
	}
}

func TestHeadersOfAPage(t *testing.T) {
	p := newPages(t, Config{})
	res, _ := show(t, p, Login{}, "de-AT, en;q=0.5")
	for name, want := range map[string]string{
		"Content-Type":    "text/html; charset=utf-8",
		"Cache-Control":   "no-store",
		"X-Frame-Options": "DENY",
		"Referrer-Policy": "same-origin",
		"Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; " +
			"frame-ancestors 'none'; base-uri 'none'",
		"X-Content-Type-Options": "nosniff",
		"Content-Language":       "de",
		"Vary":                   "Accept-Language",
	} {
		if got := res.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestFormsStayUnlessTheirAnswerMayLeadOut(t *testing.T) {
	for _, test := range []struct {
		name string
		view View
		out  bool
	}{
		{"sign-in", Login{Prefix: "/oauth"}, false},
		{"sign-in for an app", Login{Prefix: "/oauth", Return: "/oauth/authorize?client_id=7"}, true},
		{"sign-in for a page", Login{Prefix: "/oauth", Return: "/orders?x=/oauth/account"}, true},
		{"sign-in for a page of such a name", Login{Prefix: "/oauth", Return: "/account"}, true},
		{"sign-in for the account", Login{Prefix: "/oauth", Return: "/oauth/account?notice=x"}, false},
		{"sign-in for the account, at the root", Login{Return: "/account"}, false},
		{"sign-in for a device", Login{Prefix: "/oauth", Return: "/oauth/device?user_code=x"}, false},
		{"sign-out", Logout{Prefix: "/oauth"}, false},
		{"sign-out, then a page", Logout{Prefix: "/oauth", Return: "/"}, true},
		{"signed out", SignedOut{}, false},
		{"consent", Consent{}, true},
		{"form post", FormPost{}, true},
		{"device", Device{Step: DeviceConfirm}, false},
		{"account", Account{}, false},
		{"fault", Fault{}, false},
	} {
		got := policy(test.view)
		if stays := strings.Contains(got, "; form-action 'self';"); stays == test.out ||
			strings.Contains(got, "form-action") != stays {
			t.Errorf("%s: %s", test.name, got)
		}
	}
}

// TestAPageIsSmall counts what a page needs in all: every file that it names is ours.
func TestAPageIsSmall(t *testing.T) {
	const limit = 60_000
	p := newPages(t, Config{Brand: Brand{Name: "Orders"}})
	for _, v := range samples() {
		_, body := show(t, p, v, "de")
		total := len(body)
		doc, _ := html.Parse(strings.NewReader(body))
		for _, n := range all(doc, "link", "img") {
			name := attr(n, "href") + attr(n, "src")
			rest, ok := strings.CutPrefix(name, v.prefix()+"/assets/")
			w := httptest.NewRecorder()
			if !ok || p.Asset(rest) == nil {
				t.Fatalf("%s names %q", v.page(), name)
			}
			p.Asset(rest).ServeHTTP(w, httptest.NewRequest(http.MethodGet, name, nil))
			total += w.Body.Len()
		}
		if total > limit {
			t.Errorf("%s takes %d bytes", v.page(), total)
		}
	}
}

func TestAssetsAreKeptForEver(t *testing.T) {
	p := newPages(t, Config{})
	w := httptest.NewRecorder()
	p.Asset(p.css).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/oauth/assets/"+p.css, nil))
	if got := w.Header().Get("Content-Type"); got != "text/css; charset=utf-8" {
		t.Errorf("Content-Type: %s", got)
	}
	if got := w.Header().Get("Cache-Control"); !strings.Contains(got, "immutable") {
		t.Errorf("Cache-Control: %s", got)
	}
	if strings.Contains(w.Body.String(), "url(") {
		t.Error("the CSS names another file")
	}
	other := newPages(t, Config{Brand: Brand{Color: "#0a5"}})
	if other.css == p.css {
		t.Error("another CSS has the same name")
	}
	for _, name := range []string{"", "style.css", "../pages.css", p.css + "x"} {
		if p.Asset(name) != nil {
			t.Errorf("there is an asset %q", name)
		}
	}
}

func TestNewScopesAreMarkedWhereThereAreOldOnes(t *testing.T) {
	p := newPages(t, Config{})
	scope := func(name string, isNew bool) Scope { return Scope{Name: name, Description: "Do " + name, New: isNew} }
	for _, test := range []struct {
		name   string
		scopes []Scope
		marks  int
	}{
		{"first time", []Scope{scope("read", true), scope("write", true)}, 0},
		{"one more", []Scope{scope("read", false), scope("write", true)}, 1},
		{"none", nil, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			doc := document(t, p, Consent{Client: App{Name: "x"}, Scopes: test.scopes}, "en")
			if got := len(all(doc, "mark")); got != test.marks {
				t.Errorf("%d are marked, want %d", got, test.marks)
			}
			for _, s := range test.scopes {
				if !strings.Contains(textOf(doc), s.Description) {
					t.Errorf("%q is not there", s.Description)
				}
			}
		})
	}
}

func TestConsentNamesWhoAndWhere(t *testing.T) {
	p := newPages(t, Config{})
	v := Consent{Client: App{Name: "Orders sync", Owner: "jane"}, RedirectHost: "app.example", Username: "joe"}
	text := textOf(document(t, p, v, "en"))
	for _, want := range []string{"Orders sync", "Registered by jane", "app.example", "joe"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not there: %s", want, text)
		}
	}
	if strings.Contains(text, "your own computer") {
		t.Error("it warns without reason")
	}
	v.LocalOnly = true
	if text := textOf(document(t, p, v, "en")); !strings.Contains(text, "your own computer") {
		t.Error("it does not warn of localhost")
	}
}

// TestPagesThatEndLeadToTheAccount: nobody is left on a page that leads nowhere, and who is asked for consent can look
// where it is taken back.
func TestPagesThatEndLeadToTheAccount(t *testing.T) {
	p := newPages(t, Config{})
	for _, test := range []struct {
		name, words string
		view        View
	}{
		{"fault", "Your account", Fault{Prefix: "/oauth", Kind: FaultNotFound}},
		{"device connected", "Your account", Device{Prefix: "/oauth", Step: DeviceDone}},
		{"device not connected", "Your account", Device{Prefix: "/oauth", Step: DeviceDenied}},
		{"sign-out", "Back to your account", Logout{Prefix: "/oauth"}},
		{"consent", "the page of your account", Consent{Prefix: "/oauth"}},
		{"device", "the page of your account", Device{Prefix: "/oauth", Step: DeviceConfirm, Username: "jane"}},
	} {
		if !slices.ContainsFunc(all(document(t, p, test.view, "en"), "a"), func(n *html.Node) bool {
			return attr(n, "href") == "/oauth/account" && textOf(n) == test.words
		}) {
			t.Errorf("%s: no link %q to the account", test.name, test.words)
		}
	}
}

// TestACodeThatIsThereIsNotAskedFor: the person only compares it (RFC 8628 §3.3.1).
func TestACodeThatIsThereIsNotAskedFor(t *testing.T) {
	p := newPages(t, Config{})
	const enter, compare = "Enter the code", "Does your device show this code?"
	for _, test := range []struct {
		name, want, not string
		view            Device
	}{
		{"none", enter, compare, Device{}},
		{"from a link", compare, enter, Device{UserCode: "BCDF-GHJK"}},
		{"wrong", enter, compare, Device{UserCode: "BCDF-GHJK", Fault: DeviceUnknown}},
	} {
		test.view.Step = DeviceEnter
		text := textOf(document(t, p, test.view, "en"))
		if !strings.Contains(text, test.want) || strings.Contains(text, test.not) {
			t.Errorf("%s: %s", test.name, text)
		}
	}
}

func TestATokenWithoutPermissionsSaysSo(t *testing.T) {
	p := newPages(t, Config{})
	const want = "No permissions: it only says who you are."
	for _, test := range []struct {
		scopes []Scope
		says   bool
	}{{nil, true}, {[]Scope{{Name: "read"}}, false}} {
		v := Account{PersonalTokens: true, Tokens: []PersonalToken{{Name: "laptop", Scopes: test.scopes}}}
		if text := textOf(document(t, p, v, "en")); strings.Contains(text, want) != test.says {
			t.Errorf("%d permissions: %s", len(test.scopes), text)
		}
	}
}
