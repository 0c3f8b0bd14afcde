package pages

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// color is one of sRGB, each part from 0 to 1.
type color [3]float64

var (
	black = color{}
	white = color{1, 1, 1}
)

// Contrast that WCAG 2.2 level AA asks for: §1.4.3 of text, §1.4.11 of what marks a control.
const (
	contrastText    = 4.5
	contrastControl = 3
)

// parseColor reads #rgb and #rrggbb. The # may be left out: it begins a comment in some configurations.
func parseColor(s string) (color, error) {
	digits := strings.TrimPrefix(s, "#")
	if len(digits) == 3 {
		digits = string([]byte{digits[0], digits[0], digits[1], digits[1], digits[2], digits[2]})
	}
	n, err := strconv.ParseUint(digits, 16, 32)
	if err != nil || len(digits) != 6 {
		return color{}, fmt.Errorf("%q is no color: it takes the form #0a5 or #00aa55", s)
	}
	return color{float64(n>>16&255) / 255, float64(n>>8&255) / 255, float64(n&255) / 255}, nil
}

func mustColor(s string) color {
	c, err := parseColor(s)
	if err != nil {
		panic(err) // it is one of ours
	}
	return c
}

func (c color) String() string {
	part := func(x float64) int { return int(math.Round(min(max(x, 0), 1) * 255)) }
	return fmt.Sprintf("#%02x%02x%02x", part(c[0]), part(c[1]), part(c[2]))
}

// luminance is the relative luminance of WCAG 2.2.
func (c color) luminance() float64 {
	linear := func(x float64) float64 {
		if x <= 0.04045 {
			return x / 12.92
		}
		return math.Pow((x+0.055)/1.055, 2.4)
	}
	return 0.2126*linear(c[0]) + 0.7152*linear(c[1]) + 0.0722*linear(c[2])
}

// contrast is the contrast ratio of WCAG 2.2, from 1 to 21.
func contrast(a, b color) float64 {
	la, lb := a.luminance(), b.luminance()
	return (max(la, lb) + 0.05) / (min(la, lb) + 0.05)
}

// textOn is the color of text on a background: black or white, whichever is easier to read. One of them always has the
// contrast that text needs.
func textOn(background color) color {
	if contrast(background, white) >= contrast(background, black) {
		return white
	}
	return black
}

// readable moves c towards another color until it has the contrast that is wanted against every background.
func (c color) readable(towards color, wanted float64, backgrounds ...color) color {
	const steps = 50
	for step := range steps + 1 {
		part := float64(step) / steps
		var mixed color
		for i := range c {
			mixed[i] = c[i]*(1-part) + towards[i]*part
		}
		mixed = mustColor(mixed.String()) // what the browser gets, for rounding may take contrast away
		good := true
		for _, background := range backgrounds {
			good = good && contrast(mixed, background) >= wanted
		}
		if good {
			return mixed
		}
	}
	return towards
}

// The backgrounds of the pages, as pages.css has them.
var (
	lightBackgrounds = []color{mustColor("#ffffff"), mustColor("#f4f6fa")}
	darkBackgrounds  = []color{mustColor("#121418"), mustColor("#1d2026")}
)

// defaultColor is the brand's when nobody has chosen one.
const defaultColor = "#0d47a1"

// brandCSS is the rules that give the pages the color of the brand, in light and dark. A button has the color itself
// in light; its edge is what makes it one to see.
func brandCSS(brand color) string {
	rules := func(button, towards color, backgrounds []color) string {
		link := brand.readable(towards, contrastText, backgrounds...)
		return fmt.Sprintf("--accent:%s;--accent-hover:%s;--button:%s;--button-text:%s", link, link, button, textOn(button))
	}
	dark := brand.readable(white, contrastControl, darkBackgrounds...)
	return fmt.Sprintf(":root{%s}\n@media (prefers-color-scheme:dark){:root{%s}}\n",
		rules(brand, black, lightBackgrounds), rules(dark, white, darkBackgrounds))
}
