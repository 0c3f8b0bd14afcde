package pages

import (
	"strings"
	"testing"

	"golang.org/x/net/html"
)

var nasty = []string{
	`<script>alert(1)</script>`,
	`"><img src=x onerror=alert(1)>`,
	`' onfocus=alert(1) autofocus x='`,
	`</title><script>alert(1)</script>`,
	`</textarea><script>alert(1)</script>`,
	`javascript:alert(1)`,
	`{{.V.CSRF}}{app}{user}`,
	"a\u202egnp.exe",
	"a\u2066\u2067\u2069\u200f\u061cb",
	"zero\u200b\ufeff\u00adwidth\u2028\u0000\x1b[31m",
	"Z" + strings.Repeat("\u0301", 1000),
	strings.Repeat("very long ", 500),
	"\u3164\u2800\u00a0",
}

// nastyViews have a string wherever the text of others is shown.
func nastyViews(s string) []View {
	app := App{ID: s, Name: s, Owner: s, Scopes: []Scope{{Name: s, Description: s, New: true}, {Name: "x"}}}
	account := Account{
		Prefix: "/oauth", CSRF: s, Username: s, DisplayName: s, Email: s, Apps: []App{app}, PersonalTokens: true,
		Tokens: []PersonalToken{{ID: s, Name: s, Scopes: app.Scopes}}, AvailableScopes: app.Scopes, OwnClients: true,
		Clients:  []OwnClient{{ID: s, Name: s, RedirectURIs: []string{s}, Confidential: true}},
		Sessions: []Session{{ID: s, Device: s, IP: s}, {}}, CanChangePassword: true,
		Values: AccountValues{TokenName: s, ClientName: s, RedirectURI: s},
		Notice: NoticeTokenCreated, NewToken: s, NewTokenName: s, NewClientID: s, NewClientSecret: s,
	}
	redirect := account
	redirect.Fault = AccountFault{Kind: ClientRedirect, Value: s}
	return []View{
		Login{Prefix: "/oauth", CSRF: s, Return: s, Username: s, Client: s, Fault: LoginWrong},
		Logout{Prefix: "/oauth", CSRF: s, Return: s, Username: s},
		Consent{Prefix: "/oauth", CSRF: s, RequestID: s, Username: s, DisplayName: s, Client: app,
			RedirectHost: s, LocalOnly: true, Scopes: app.Scopes},
		Device{Prefix: "/oauth", Step: DeviceEnter, UserCode: s},
		Device{Prefix: "/oauth", Step: DeviceConfirm, UserCode: s, Username: s, Client: app, Scopes: app.Scopes},
		account, redirect,
		Fault{Prefix: "/oauth", Kind: FaultRequest, Detail: s},
		FormPost{Prefix: "/oauth", RedirectURI: s, Client: s, Params: [][2]string{{s, s}}},
	}
}

// TestScriptThroughNames: whatever others have named themselves, a page has the elements and attributes that it has
// for a harmless name.
func TestScriptThroughNames(t *testing.T) {
	p := newPages(t, Config{Brand: Brand{Name: "Orders"}})
	shape := func(doc *html.Node) string {
		var b strings.Builder
		for _, n := range all(doc) {
			b.WriteString(n.Data)
			for _, a := range n.Attr {
				b.WriteString(" " + a.Key)
			}
			b.WriteByte('\n')
		}
		return b.String()
	}
	for _, language := range []string{"en", "de"} {
		for _, s := range nasty {
			harmless := nastyViews("harmless")
			for i, v := range nastyViews(s) {
				got, want := shape(document(t, p, v, language)), shape(document(t, p, harmless[i], language))
				if got != want {
					t.Errorf("%.40q changes the page %s:\n%s", s, v.page(), got)
				}
			}
		}
	}
}

// TestScriptAsTheTargetOfAForm: no form leads to a script, even if such a redirect URI were registered.
func TestScriptAsTheTargetOfAForm(t *testing.T) {
	p := newPages(t, Config{})
	for _, uri := range []string{"javascript:alert(1)", "JaVaScRiPt:alert(1)", "data:text/html,x", " javascript:alert(1)"} {
		form := all(document(t, p, FormPost{RedirectURI: uri}, "en"), "form")[0]
		if action := strings.ToLower(attr(form, "action")); strings.Contains(action, "script") || strings.Contains(action, "data:") {
			t.Errorf("%s: the form leads to %s", uri, action)
		}
	}
}

// TestNamesThatTurnTheTextAround: characters that nobody sees and that change what is around them are not shown, and a
// name takes a bounded place.
func TestNamesThatTurnTheTextAround(t *testing.T) {
	p := newPages(t, Config{})
	for _, s := range nasty {
		for _, v := range nastyViews(s) {
			doc := document(t, p, v, "en")
			text := shown(all(doc, "main")[0])
			title := textOf(all(doc, "title")[0])
			if i := strings.IndexAny(text+title, "\u202e\u2066\u2067\u2069\u200f\u061c\u200b\ufeff\u00ad\u2028\x00\x1b\u3164"); i >= 0 {
				t.Errorf("%s shows %.60q", v.page(), (text + title)[i:])
			}
			if strings.Contains(text, strings.Repeat("\u0301", 5)) {
				t.Errorf("%s shows a heap of accents", v.page())
			}
			if len(title) > 600 {
				t.Errorf("%s has a title of %d bytes", v.page(), len(title))
			}
		}
	}
}

// shown is the text of an element but for what the person has typed, and secrets of ours.
func shown(n *html.Node) string {
	var b strings.Builder
	for c := range n.ChildNodes() {
		switch {
		case c.Type == html.TextNode:
			b.WriteString(c.Data)
		case c.Data != "textarea" && attr(c, "class") != "secret":
			b.WriteString(shown(c))
		}
	}
	return b.String()
}

func TestClean(t *testing.T) {
	for _, test := range []struct{ name, in, want string }{
		{"plain", "Orders sync", "Orders sync"},
		{"spaces", "  a \t\n  b ", "a b"},
		{"right to left is fine", "شركة", "شركة"},
		{"an accent is fine", "Cafe\u0301", "Cafe\u0301"},
		{"joiners within words are fine", "می\u200cخواهم", "می\u200cخواهم"},
		{"emoji", "👩\u200d💻 dev", "👩\u200d💻 dev"},
		{"direction", "a\u202eb\u2066c\u200f", "abc"},
		{"invisible", "\u200b\u3164\u2800", "?"},
		{"no UTF-8", "a\xffb", "ab"},
		{"empty", "", ""},
		{"long", strings.Repeat("x", 81), strings.Repeat("x", 80) + "…"},
		{"just not long", strings.Repeat("x", 80), strings.Repeat("x", 80)},
		{"joiners alone", "a" + strings.Repeat("\u200d", 50), "a" + strings.Repeat("\u200d", 4)},
	} {
		if got := cleanName(test.in); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}
