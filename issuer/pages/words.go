package pages

import (
	"fmt"
	"html/template"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// words are the functions that templates have, in one language.
type words struct {
	*catalogue
	now func() time.Time
}

func (w words) functions() template.FuncMap {
	return template.FuncMap{
		"t":        w.t,
		"plain":    w.plain,
		"in":       w.in,
		"ago":      w.ago,
		"date":     w.date,
		"duration": w.duration,
		"key":      joinKey,
		"name":     cleanName,
		"long":     cleanLong,
		"host":     host,
		"link":     link,
		"seconds":  func(d time.Duration) int64 { return int64(d / time.Second) },
		"lines":    func(list []string) string { return strings.Join(list, "\n") },
		"has":      slices.Contains[[]string],
		"last":     func(i int, list any) bool { return i == reflect.ValueOf(list).Len()-1 },
		"marks":    marks,
	}
}

// t is a text as HTML, with what is put in given as name and value by turns. Values are isolated, so that a name
// written from right to left does not turn the words around it.
func (w words) t(key string, pairs ...any) (template.HTML, error) {
	text, ok := w.texts[key]
	if !ok {
		return "", fmt.Errorf("there is no text %s", key)
	}
	html := template.HTMLEscapeString(text)
	replace := make([]string, 0, len(pairs))
	for i := 0; i+1 < len(pairs); i += 2 {
		replace = append(replace, "{"+fmt.Sprint(pairs[i])+"}", putIn(pairs[i+1]))
	}
	return template.HTML(strings.NewReplacer(replace...).Replace(html)), nil //nolint:gosec // all parts are escaped
}

func putIn(value any) string {
	switch v := value.(type) {
	case template.HTML:
		return string(v)
	case int:
		return strconv.Itoa(v)
	case string:
		return "<bdi>" + template.HTMLEscapeString(cleanName(v)) + "</bdi>"
	}
	return "<bdi>" + template.HTMLEscapeString(cleanName(fmt.Sprint(value))) + "</bdi>"
}

// plain is a text without markup, for the title of a page: what is there is text whatever it looks like.
func (w words) plain(key string, pairs ...any) (string, error) {
	text, ok := w.texts[key]
	if !ok {
		return "", fmt.Errorf("there is no text %s", key)
	}
	replace := make([]string, 0, len(pairs))
	for i := 0; i+1 < len(pairs); i += 2 {
		replace = append(replace, "{"+fmt.Sprint(pairs[i])+"}", cleanName(pairs[i+1]))
	}
	return strings.NewReplacer(replace...).Replace(text), nil
}

func joinKey(parts ...any) string {
	s := make([]string, 0, len(parts))
	for _, part := range parts {
		s = append(s, fmt.Sprint(part))
	}
	return strings.Join(s, ".")
}

// counted is a text with a number in it.
func (w words) counted(key string, n int) (template.HTML, error) {
	return w.t(w.number(key, n), "n", n)
}

// units are those in which people tell how long something lasts.
var units = []struct {
	name string
	of   time.Duration
}{{"days", 24 * time.Hour}, {"hours", time.Hour}, {"minutes", time.Minute}, {"seconds", time.Second}}

// in says when something is possible, e.g. "in 5 minutes". It never says too early.
func (w words) in(d time.Duration) (template.HTML, error) {
	for _, unit := range units {
		// Two of a unit are needed to round up without saying nonsense: 61 seconds are not 2 minutes to anybody.
		if d >= 2*unit.of || unit.of == time.Second {
			return w.counted("in."+unit.name, max(1, int((d+unit.of-1)/unit.of)))
		}
	}
	return "", nil
}

// duration says how long, e.g. "30 days", in the largest unit that it is a whole number of.
func (w words) duration(d time.Duration) (template.HTML, error) {
	for _, unit := range units {
		if d >= unit.of && (d%unit.of == 0 || unit.of == time.Second) {
			return w.counted("duration."+unit.name, int(d/unit.of))
		}
	}
	return w.counted("duration.seconds", 0)
}

// ago says when something was, e.g. "5 minutes ago"; after a month it is a date.
func (w words) ago(t time.Time) (template.HTML, error) {
	past := w.now().Sub(t)
	if past < time.Minute {
		return w.t("ago.now")
	}
	if past >= 31*24*time.Hour {
		date, err := w.date(t)
		if err != nil {
			return "", err
		}
		return w.t("ago.date", "date", date)
	}
	for _, unit := range units {
		if past >= unit.of {
			return w.counted("ago."+unit.name, int(past/unit.of))
		}
	}
	return "", nil
}

// date is the day in words. It is the day in UTC: where the person is nobody knows.
func (w words) date(t time.Time) (template.HTML, error) {
	t = t.UTC()
	months := strings.Split(w.texts["date.months"], "|")
	day, err := w.t("date.format", "day", t.Day(), "year", t.Year(),
		"month", template.HTML(template.HTMLEscapeString(months[t.Month()-1]))) //nolint:gosec // escaped
	if err != nil {
		return "", err
	}
	time := `<time datetime="` + t.Format(time.RFC3339) + `">` + string(day) + `</time>`
	return template.HTML(time), nil //nolint:gosec // all parts are ours
}

// host is something that people have to be able to compare: a host, a code. It is never clipped as a name would be.
func host(s string) template.HTML {
	escaped := template.HTMLEscapeString(cleanLong(s))
	return template.HTML("<code><bdi>" + escaped + "</bdi></code>") //nolint:gosec // as its name says
}

// link is words of a text that lead to a page of ours.
func link(prefix, path string, words template.HTML) template.HTML {
	address := template.HTMLEscapeString(prefix + path)
	return template.HTML(`<a href="` + address + `">` + string(words) + "</a>") //nolint:gosec // all parts are escaped
}

// marks tells whether it helps to mark the new ones: where all are, it does not.
func marks(scopes []Scope) bool {
	return slices.ContainsFunc(scopes, func(s Scope) bool { return !s.New })
}
