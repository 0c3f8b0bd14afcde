package caddymodule

import (
	"net/url"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// oddPath tells whether upstreams may read a path in more than one way. cased says whether the case of letters counts.
func oddPath(u *url.URL, cased bool) bool {
	if u.RawPath != "" {
		return true // something is encoded that need not be, or stands for what is not itself
	}
	path := u.Path
	for i := range len(path) {
		switch c := path[i]; {
		case c == '/':
			if i+1 < len(path) && (path[i+1] == '/' || path[i+1] == '.') ||
				i > 0 && (path[i-1] == '.' || path[i-1] == ' ') || isScript(path[:i]) {
				return true
			}
		case c == '\\', c == ';', c == '%', c == '?', c == '#', c < ' ', c >= 0x7f:
			return true
		case cased && c >= 'A' && c <= 'Z':
			return true
		}
	}
	return strings.HasSuffix(path, ".") || strings.HasSuffix(path, " ")
}

// readings are the other paths that upstreams are known to make of one: decoded and, as Caddy's matchers do it, with
// dot segments resolved and slashes merged.
func readings(u *url.URL, cased bool) []string {
	var all []string
	add := func(path string) {
		for _, p := range []string{path, withoutDots(path), keptDots(path)} {
			p = caddyhttp.CleanPath(p, true)
			if p != u.Path && !slices.Contains(all, p) {
				all = append(all, p)
			}
			if lower := strings.ToLower(p); cased && lower != p && !slices.Contains(all, lower) {
				all = append(all, lower)
			}
		}
	}
	for _, path := range []string{u.Path, unescapedAll(u.Path), u.EscapedPath()} {
		add(path)
		slashed := lookalikes.Replace(path)
		add(slashed)
		if rest, ok := strings.CutPrefix(slashed, "//"); ok { // an authority, to who takes it for a URL
			if _, after, ok := strings.Cut(rest, "/"); ok {
				add("/" + after)
			}
		}
		for _, info := range pathInfos(withoutParameters(slashed)) {
			add(info)
		}
		add(withoutParameters(path))
		add(withoutParameters(slashed))
		add(trimmedSegments(withoutParameters(slashed)))
		if end := strings.IndexAny(path, "\x00?#\r\n"); end >= 0 { // what ends a C string, a path, a line
			add(path[:end])
		}
	}
	return all
}

// scripts are the endings of programs to which servers give the rest of the path (RFC 3875 §4.1.5).
var scripts = []string{".php", ".cgi", ".fcgi", ".pl", ".py", ".asp", ".aspx", ".jsp"}

// isScript tells whether the last segment of a path is a program.
func isScript(path string) bool {
	dot := strings.LastIndexByte(path[max(0, len(path)-len(".fcgi")):], '.')
	if dot < 0 {
		return false
	}
	end := path[max(0, len(path)-len(".fcgi"))+dot:]
	return slices.ContainsFunc(scripts, func(s string) bool { return strings.EqualFold(s, end) })
}

// pathInfos are what programs on a path are given as theirs.
func pathInfos(path string) []string {
	var all []string
	for i := range len(path) {
		if path[i] == '/' && isScript(path[:i]) {
			all = append(all, path[i:])
		}
	}
	return all
}

// lookalikes are what some upstreams take for a slash or a dot: the backslash of Windows, full-width forms, and
// encodings of UTF-8 that are too long.
var lookalikes = strings.NewReplacer(
	`\`, "/", "\uff0f", "/", "\u2215", "/", "\u2044", "/", "\uff3c", "/", "\uff0e", ".", "\u2024", ".",
	"\xc0\xaf", "/", "\xe0\x80\xaf", "/", "\xc1\x9c", "/", "\xc0\xae", ".", "\xe0\x80\xae", ".",
)

// unescapedAll decodes a path as often as it can be decoded, up to four times.
func unescapedAll(path string) string {
	for range 4 {
		again, err := url.PathUnescape(path)
		if err != nil || again == path {
			break
		}
		path = again
	}
	return path
}

// withoutParameters takes the parameters from each segment (RFC 3986 §3.3), as servlet containers do before they look
// at the segments.
func withoutParameters(path string) string {
	if !strings.Contains(path, ";") {
		return path
	}
	segments := strings.Split(path, "/")
	for i, s := range segments {
		segments[i], _, _ = strings.Cut(s, ";")
	}
	return strings.Join(segments, "/")
}

// trimmedSegments takes dots and spaces from the ends of the segments, as Windows does.
func trimmedSegments(path string) string {
	segments := strings.Split(path, "/")
	for i, s := range segments {
		if dots := strings.Trim(s, " "); dots == "." || dots == ".." {
			segments[i] = dots
		} else {
			segments[i] = strings.TrimRight(s, ". ")
		}
	}
	return strings.Join(segments, "/")
}

// withoutDots resolves dot segments as RFC 3986 §5.2.4 does: an empty segment is a segment, too.
func withoutDots(path string) string {
	var kept []string
	segments := strings.Split(strings.TrimPrefix(path, "/"), "/")
	for i, s := range segments {
		switch s {
		case ".", "..":
			if s == ".." && len(kept) > 0 {
				kept = kept[:len(kept)-1]
			}
			if i == len(segments)-1 {
				kept = append(kept, "")
			}
		default:
			kept = append(kept, s)
		}
	}
	return "/" + strings.Join(kept, "/")
}

// keptDots is for upstreams that leave dot segments alone: it makes ordinary ones of them.
func keptDots(path string) string {
	segments := strings.Split(path, "/")
	for i, s := range segments {
		if s == "." || s == ".." {
			segments[i] = "_"
		}
	}
	return strings.Join(segments, "/")
}
