package pages

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

func catalogueOf(t testing.TB, name string) map[string]string {
	t.Helper()
	source, err := embedded.ReadFile("texts/" + name + ".txt")
	if err != nil {
		t.Fatal(err)
	}
	texts, err := parseTexts(name+".txt", string(source), nil)
	if err != nil {
		t.Fatal(err)
	}
	return texts
}

func TestLanguagesHaveTheSameKeys(t *testing.T) {
	en, de := catalogueOf(t, "en"), catalogueOf(t, "de")
	if got, want := slices.Sorted(maps.Keys(de)), slices.Sorted(maps.Keys(en)); !slices.Equal(got, want) {
		t.Errorf("German has\n%s\nEnglish has\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for key, text := range en {
		a, _ := placeholders(text)
		b, _ := placeholders(de[key])
		slices.Sort(a)
		slices.Sort(b)
		if !slices.Equal(a, b) {
			t.Errorf("%s: %q in English, %q in German", key, text, de[key])
		}
		if text == de[key] && len(text) > 12 {
			t.Errorf("%s is not translated", key)
		}
	}
}

// TestEveryTextIsUsed finds texts that no page shows: none of the templates names them, and none of the kinds of
// notices and faults.
func TestEveryTextIsUsed(t *testing.T) {
	used := map[string]bool{"language": true}
	s, err := load("")
	if err != nil {
		t.Fatal(err)
	}
	for _, template := range s.templates {
		for _, m := range regexp.MustCompile(`\((?:t|plain) "([a-z_.]+)"|\{\{(?:t|plain) "([a-z_.]+)"`).FindAllStringSubmatch(template.text, -1) {
			used[m[1]+m[2]] = true
		}
	}
	words, err := os.ReadFile("words.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`"((?:date|ago)\.[a-z]+)"`).FindAllStringSubmatch(string(words), -1) {
		used[m[1]] = true
	}
	for _, kind := range FaultKinds {
		used[joinKey("fault", kind, "title")], used[joinKey("fault", kind, "text")] = true, true
	}
	for _, kind := range AccountFaultKinds {
		used[joinKey("account_fault", kind)] = true
	}
	for _, kind := range Notices {
		used[joinKey("notice", kind)] = true
	}
	for _, kind := range []LoginFault{LoginWrong, LoginTooMany, LoginUnavailable, LoginExpired} {
		used[joinKey("login_fault", kind)] = true
	}
	for _, kind := range []DeviceFault{DeviceUnknown, DeviceTooMany} {
		used[joinKey("device_fault", kind)] = true
	}
	for _, step := range []DeviceStep{DeviceEnter, DeviceConfirm, DeviceDone, DeviceDenied} {
		used[joinKey("device.title", step)], used[joinKey("device", step)] = true, true
	}
	for _, unit := range units {
		for _, stem := range []string{"in", "ago", "duration"} {
			used[stem+"."+unit.name+".one"], used[stem+"."+unit.name+".other"] = true, true
		}
	}
	for key := range catalogueOf(t, "en") {
		if !used[key] {
			t.Errorf("no page shows %s", key)
		}
	}
}

func TestLanguageIsChosenByAcceptLanguage(t *testing.T) {
	p := newPages(t, Config{})
	for _, test := range []struct{ header, want string }{
		{"", "en"},
		{"de", "de"},
		{"de-CH", "de"},
		{"gsw, de;q=0.5", "de"},
		{"fr, de;q=0.5, en;q=0.4", "de"},
		{"fr", "en"},
		{"*", "en"},
		{"en-GB,en;q=0.9,de;q=0.8", "en"},
		{"de;q=0.1, en;q=0.9", "en"},
		{"de;;q", "en"},
		{strings.Repeat("de,", 400), "en"}, // longer than any browser's
		{"\x00", "en"},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Accept-Language", test.header)
		if got := p.languages.list[p.languages.choose(r)].tag.String(); got != test.want {
			t.Errorf("%.40q: %s, want %s", test.header, got, test.want)
		}
	}
}

func TestTimesInWords(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	p := newPages(t, Config{})
	for _, test := range []struct {
		what   string
		show   func(words) (any, error)
		en, de string
	}{
		{"1s", func(w words) (any, error) { return w.in(time.Second) }, "in 1 second", "in 1 Sekunde"},
		{"0.2s", func(w words) (any, error) { return w.in(200 * time.Millisecond) }, "in 1 second", "in 1 Sekunde"},
		{"90s", func(w words) (any, error) { return w.in(90 * time.Second) }, "in 90 seconds", "in 90 Sekunden"},
		{"121s", func(w words) (any, error) { return w.in(121 * time.Second) }, "in 3 minutes", "in 3 Minuten"},
		{"30d", func(w words) (any, error) { return w.duration(30 * 24 * time.Hour) }, "30 days", "30 Tage"},
		{"36h", func(w words) (any, error) { return w.duration(36 * time.Hour) }, "36 hours", "36 Stunden"},
		{"1.5s", func(w words) (any, error) { return w.duration(1500 * time.Millisecond) }, "1 second", "1 Sekunde"},
		{"now", func(w words) (any, error) { return w.ago(now.Add(time.Second)) }, "just now", "gerade eben"},
		{"1m ago", func(w words) (any, error) { return w.ago(now.Add(-time.Minute)) }, "1 minute ago", "vor 1 Minute"},
		{"2d ago", func(w words) (any, error) { return w.ago(now.Add(-50 * time.Hour)) }, "2 days ago", "vor 2 Tagen"},
		{
			"long ago", func(w words) (any, error) { return w.ago(now.AddDate(-1, 0, 0)) },
			`on <time datetime="2025-11-22T12:00:00Z">22 November 2025</time>`,
			`am <time datetime="2025-11-22T12:00:00Z">22. November 2025</time>`,
		},
		{
			"date elsewhere", func(w words) (any, error) {
				return w.date(time.Date(2026, 3, 1, 0, 30, 0, 0, time.FixedZone("", 7200)))
			},
			`<time datetime="2026-02-28T22:30:00Z">28 February 2026</time>`,
			`<time datetime="2026-02-28T22:30:00Z">28. Februar 2026</time>`,
		},
	} {
		for _, c := range p.languages.list {
			want := test.en
			if c.tag.String() == "de" {
				want = test.de
			}
			got, err := test.show(words{c, func() time.Time { return now }})
			if text := joinKey(got); err != nil || text != want {
				t.Errorf("%s: %q %v, want %q", test.what, text, err, want)
			}
		}
	}
}

// folder is a folder of the operator's.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestFolderReplacesOurs(t *testing.T) {
	dir := folder(t, map[string]string{
		"signed_out.html": `{{define "title"}}Bye{{end}}{{define "main"}}<h1>Bye from {{.Brand.Name}}</h1>{{end}}`,
		"de.txt":          "# ours\nlogin.title = Hereinspaziert\r\n",
		"fr.txt":          "login.title = Connexion\nin.seconds.many = dans {n} secondes\n",
		"ar.txt":          "login.title = تسجيل الدخول\n",
		"pages.css":       "main{color:red}",
		"logo.png":        string(pngOf(t, 4, 4)),
		"README.md":       "nothing",
		".hidden.html":    "{{",
	})
	p := newPages(t, Config{Folder: dir, Brand: Brand{Name: "Orders"}})
	for _, test := range []struct {
		language, want string
		view           View
	}{
		{"en", "Bye from Orders", SignedOut{}},
		{"de", "Hereinspaziert", Login{}},
		{"de", "Passwort", Login{}},
		{"fr-FR", "Connexion", Login{}},
		{"fr", "Password", Login{}}, // what is not translated
		{"ar", `<html lang="ar" dir="rtl">`, Login{}},
	} {
		if _, body := show(t, p, test.view, test.language); !strings.Contains(body, test.want) {
			t.Errorf("%s: no %q in %s", test.language, test.want, body)
		}
	}
	if css := string(p.assets[p.css].content); !strings.Contains(css, "main{color:red}") || strings.Contains(css, ".warning") {
		t.Error("the CSS is not that of the folder")
	}
	if !strings.HasSuffix(p.logo, ".png") {
		t.Error("the logo is not that of the folder")
	}
}

func TestFaultsOfAFolderNameFileAndLine(t *testing.T) {
	for _, test := range []struct{ name, file, content, want string }{
		{"no template of that name", "logn.html", "", "logn.html: there is nothing of that name to be replaced"},
		{"template syntax", "login.html", "\n\n{{if}}", "login.html:3: missing value for if"},
		{"no such field", "login.html", "{{define \"title\"}}x{{end}}{{define \"main\"}}\n{{.V.Nick}}{{end}}", "login.html:2:"},
		{"no such text", "consent.html", "{{define \"title\"}}x{{end}}{{define \"main\"}}\n\n{{t \"nothing\"}}{{end}}", "consent.html:3:"},
		{"no such function", "error.html", "\n{{shout .}}", `error.html:2: function "shout" not defined`},
		{"nothing defined", "login.html", "hello", "login.html: it does not define"},
		{"script where data cannot be safe", "login.html", "{{define \"title\"}}x{{end}}{{define \"main\"}}\n<a href={{if .V.Client}}\"{{end}}>{{end}}", "login.html:"},
		{"base without page", "base.html", "hello", "base.html"},
		{"no such key", "de.txt", "\nlogin.titel = x", "de.txt:2: no page has the key login.titel"},
		{"no equals sign", "de.txt", "login.title", "de.txt:1: a line has the form"},
		{"empty text", "de.txt", "login.title =", "de.txt:1: a line has the form"},
		{"twice", "de.txt", "login.title = a\n\nlogin.title = b", "de.txt:3: the key login.title is there twice"},
		{"other placeholder", "de.txt", "login.client = {application}", "de.txt:1: nothing is put in for {application}; there is {app}"},
		{"open brace", "de.txt", "login.client = {app", "de.txt:1: a brace is not closed"},
		{"eleven months", "de.txt", "date.months = " + strings.Repeat("x|", 10) + "x", "de.txt:1: there are twelve months"},
		{"no language", "klingonisch-x.txt", "login.title = nuqneH", "klingonisch-x.txt: the name of the file is no language"},
		{"no UTF-8", "de.txt", "login.title = \xff", "de.txt: it is not UTF-8"},
		{"too large", "pages.css", strings.Repeat("x", maxFile+1), "pages.css: it has more than"},
		{"logo", "logo.svg", "<svg>\n<g></svg>", "logo.svg:2:"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := folder(t, map[string]string{test.file: test.content})
			_, err := New(Config{Folder: dir})
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), dir) {
				t.Errorf("got %v, want %q in it", err, test.want)
			}
		})
	}
	if _, err := New(Config{Folder: filepath.Join(t.TempDir(), "none")}); err == nil {
		t.Error("a folder that is not there is taken")
	}
}
