package pages

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/feature/plural"
	"golang.org/x/text/language"
)

// catalogue is the texts of one language.
type catalogue struct {
	tag   language.Tag
	texts map[string]string
}

// baseLanguage is the language that has every text; what another lacks is taken from it.
const baseLanguage = "en"

// parseTexts reads a catalogue: lines of "key = text", empty ones, and comments that begin with #. file is what errors
// call it. base is the catalogue that says which keys there are, and what may be put in; nil for that itself.
func parseTexts(file, source string, base *catalogue) (map[string]string, error) {
	if !utf8.ValidString(source) {
		return nil, fmt.Errorf("%s: it is not UTF-8", file)
	}
	texts := make(map[string]string)
	number := 0
	for line := range strings.Lines(strings.TrimPrefix(source, "\ufeff")) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		key, text, ok := strings.Cut(line, "=")
		key, text = strings.TrimSpace(key), strings.TrimSpace(text)
		if err := checkText(key, text, ok, base); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", file, number, err)
		}
		if _, ok := texts[key]; ok {
			return nil, fmt.Errorf("%s:%d: the key %s is there twice", file, number, key)
		}
		texts[key] = text
	}
	return texts, nil
}

func checkText(key, text string, ok bool, base *catalogue) error {
	if !ok || key == "" || text == "" {
		return errors.New("a line has the form: key = text")
	}
	names, err := placeholders(text)
	if err != nil {
		return err
	}
	if key == "date.months" && strings.Count(text, "|") != 11 {
		return errors.New("there are twelve months, with | between them")
	}
	if base == nil {
		return nil
	}
	original, ok := base.texts[key]
	if stem, form := pluralKey(key); !ok && form {
		original, ok = base.texts[stem+".other"]
	}
	if !ok {
		return fmt.Errorf("no page has the key %s", key)
	}
	known, _ := placeholders(original)
	for _, name := range names {
		if !slices.Contains(known, name) {
			return fmt.Errorf("nothing is put in for {%s}; there is {%s}", name, strings.Join(known, "}, {"))
		}
	}
	return nil
}

// placeholders lists what stands in braces.
func placeholders(text string) ([]string, error) {
	var names []string
	for {
		_, rest, ok := strings.Cut(text, "{")
		if !ok {
			return names, nil
		}
		name, after, ok := strings.Cut(rest, "}")
		if !ok || name == "" || strings.ContainsAny(name, " {") {
			return nil, errors.New("a brace is not closed")
		}
		names = append(names, name)
		text = after
	}
}

var pluralForms = map[plural.Form]string{
	plural.Zero: "zero", plural.One: "one", plural.Two: "two", plural.Few: "few", plural.Many: "many",
	plural.Other: "other",
}

// pluralKey tells whether a key is a form of the plural, and of what.
func pluralKey(key string) (string, bool) {
	dot := strings.LastIndexByte(key, '.')
	if dot < 0 {
		return key, false
	}
	for _, form := range pluralForms {
		if key[dot+1:] == form {
			return key[:dot], true
		}
	}
	return key, false
}

// number is the key of the text that goes with n things.
func (c *catalogue) number(key string, n int) string {
	form := plural.Cardinal.MatchPlural(c.tag, n, 0, 0, 0, 0)
	if _, ok := c.texts[key+"."+pluralForms[form]]; ok {
		return key + "." + pluralForms[form]
	}
	return key + ".other"
}

// direction is the one in which the language is written.
func (c *catalogue) direction() string {
	script, _ := c.tag.Script()
	switch script.String() {
	case "Arab", "Hebr", "Syrc", "Thaa", "Nkoo", "Adlm", "Rohg", "Mand", "Samr":
		return "rtl"
	}
	return "ltr"
}

// languages are all catalogues, the base first.
type languages struct {
	list    []*catalogue
	matcher language.Matcher
}

func newLanguages(sources map[string]source) (*languages, error) {
	ls := &languages{}
	var base *catalogue
	names := slices.Sorted(maps.Keys(sources))
	names = slices.DeleteFunc(names, func(name string) bool { return name == baseLanguage })
	for _, name := range append([]string{baseLanguage}, names...) {
		s := sources[name]
		tag, err := language.Parse(name)
		if err != nil {
			return nil, fmt.Errorf("%s: the name of the file is no language (BCP 47)", s.file)
		}
		c := &catalogue{tag: tag, texts: make(map[string]string)}
		if base != nil {
			maps.Copy(c.texts, base.texts)
		}
		for _, part := range []source{{file: s.file, text: s.ours}, s} {
			texts, err := parseTexts(part.file, part.text, base)
			if err != nil {
				return nil, err
			}
			maps.Copy(c.texts, texts)
			if name == baseLanguage && base == nil {
				base = &catalogue{tag: tag, texts: maps.Clone(texts)}
			}
		}
		ls.list = append(ls.list, c)
	}
	tags := make([]language.Tag, 0, len(ls.list))
	for _, c := range ls.list {
		tags = append(tags, c.tag)
	}
	ls.matcher = language.NewMatcher(tags)
	return ls, nil
}

// maxAcceptLanguage bounds what is read of a header that anybody may fill.
const maxAcceptLanguage = 512

// choose picks the language that the request's header Accept-Language likes best (RFC 9110 §12.5.4).
func (ls *languages) choose(r *http.Request) int {
	header := r.Header.Get("Accept-Language")
	if header == "" || len(header) > maxAcceptLanguage {
		return 0
	}
	wished, _, err := language.ParseAcceptLanguage(header)
	if err != nil {
		return 0
	}
	_, index, confidence := ls.matcher.Match(wished...)
	if confidence == language.No {
		return 0
	}
	return index
}
