package pages

import (
	"bytes"
	"image"
	"image/png"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func pngOf(t testing.TB, width, height int) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, image.NewGray(image.Rect(0, 0, width, height))); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestLogo(t *testing.T) {
	const svg = `<?xml version="1.0"?><!-- c --><svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>`
	for _, test := range []struct{ name, file, content, mediaType, fault string }{
		{"svg", "a.svg", svg, "image/svg+xml", ""},
		{"png", "a.png", string(pngOf(t, 8, 8)), "image/png", ""},
		{"png that is none", "a.png", svg, "", "it is no PNG"},
		{"svg that is none", "a.svg", "<html></html>", "", "it is no SVG"},
		{"svg that is a png", "a.svg", string(pngOf(t, 8, 8)), "", "a.svg:"},
		{"svg of nothing", "a.svg", "", "", "it is no SVG"},
		{"entities", "a.svg", "<!DOCTYPE svg [<!ENTITY a 'x'>]><svg>&a;</svg>", "", "it has a DTD"},
		{"huge picture", "a.png", string(pngOf(t, 5000, 1)), "", "larger than 4096 pixels"},
		{"large file", "a.svg", "<svg>" + strings.Repeat(" ", maxLogo) + "</svg>", "", "more than 65536 bytes"},
		{"other type", "a.html", "<script>", "", "it has to end in .svg or .png"},
	} {
		t.Run(test.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), test.file)
			if err := os.WriteFile(file, []byte(test.content), 0o600); err != nil {
				t.Fatal(err)
			}
			p, err := New(Config{Brand: Brand{Logo: file}})
			if test.fault != "" {
				if err == nil || !strings.Contains(err.Error(), test.fault) || !strings.Contains(err.Error(), file) {
					t.Errorf("got %v, want %q in it", err, test.fault)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if _, body := show(t, p, Login{Prefix: "/oauth"}, "en"); !strings.Contains(body, `<img src="/oauth/assets/`+p.logo) {
				t.Error("the page does not show it")
			}
			w := httptest.NewRecorder()
			p.Asset(p.logo).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
			h := w.Header()
			if h.Get("Content-Type") != test.mediaType || h.Get("X-Content-Type-Options") != "nosniff" ||
				!strings.Contains(h.Get("Content-Security-Policy"), "default-src 'none'") ||
				!strings.Contains(h.Get("Content-Security-Policy"), "sandbox") {
				t.Errorf("headers: %v", h)
			}
		})
	}
	if _, err := New(Config{Brand: Brand{Logo: t.TempDir()}}); err == nil {
		t.Error("a folder is taken for a logo")
	}
}

func TestBrandsThatAreNone(t *testing.T) {
	for _, brand := range []Brand{
		{Color: "green"}, {Color: "#12345"}, {Color: "#gggggg"}, {Color: "#"}, {Color: "+12345"},
		{Color: "#0a5;}body{display:none"},
		{Name: "a\u202eb"}, {Name: "a\nb"}, {Name: strings.Repeat("x", 101)},
	} {
		if _, err := New(Config{Brand: brand}); err == nil {
			t.Errorf("%+v is taken", brand)
		}
	}
}

// TestColorsCanBeRead takes every color of a coarse grid: whichever a brand has, text in it and on it can be read.
func TestColorsCanBeRead(t *testing.T) {
	rule := regexp.MustCompile(`--accent:(#[0-9a-f]{6});--accent-hover:#[0-9a-f]{6};--button:(#[0-9a-f]{6});--button-text:(#[0-9a-f]{6})`)
	const step = 1.0 / 8
	for r := 0.0; r <= 1; r += step {
		for g := 0.0; g <= 1; g += step {
			for b := 0.0; b <= 1; b += step {
				brand := mustColor(color{r, g, b}.String())
				rules := rule.FindAllStringSubmatch(brandCSS(brand), -1)
				if len(rules) != 2 {
					t.Fatal(brandCSS(brand))
				}
				for i, backgrounds := range [][]color{lightBackgrounds, darkBackgrounds} {
					accent, button, text := mustColor(rules[i][1]), mustColor(rules[i][2]), mustColor(rules[i][3])
					for _, background := range backgrounds {
						if c := contrast(accent, background); c < contrastText {
							t.Errorf("%s: links have a contrast of %.2f on %s", brand, c, background)
						}
					}
					if c := contrast(button, text); c < contrastText {
						t.Errorf("%s: a button's text has a contrast of %.2f", brand, c)
					}
				}
			}
		}
	}
	for _, background := range []string{"--page: #f4f6fa", "--bg: #fff;", "--page: #121418", "--bg: #1d2026"} {
		if css, _ := embedded.ReadFile("css/pages.css"); !strings.Contains(string(css), background) {
			t.Errorf("pages.css has other backgrounds than color.go: no %s", background)
		}
	}
	for _, test := range []struct{ in, want string }{{"#0a5", "#00aa55"}, {"0a5", "#00aa55"}, {"#00AA55", "#00aa55"}} {
		if got, err := parseColor(test.in); err != nil || got.String() != test.want {
			t.Errorf("%s: %s %v", test.in, got, err)
		}
	}
}
