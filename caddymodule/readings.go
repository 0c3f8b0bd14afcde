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

// How much of a path is read in other ways: each reading costs as much as the matchers of the site do, and callers may
// send what has any number of them, without a token. None who means well comes near to it.
const (
	maxOddPath     = 2 << 10  // bytes as it was sent
	maxReadings    = 32       // paths that come of it
	maxReadingText = 32 << 10 // their bytes
)

// readings are the other paths that upstreams are known to make of one: decoded and, as Caddy's matchers do it, with
// dot segments resolved and slashes merged. It is false when there are too many, or the path is too long: then some are
// missing.
func readings(u *url.URL, cased bool) ([]string, bool) {
	if len(u.EscapedPath()) > maxOddPath {
		return nil, false
	}
	p := pathReadings{sent: u.Path, cased: cased}
	for _, path := range []string{u.Path, unescapedAll(u.Path), u.EscapedPath()} {
		p.read(path)
		slashed := lookalikes.Replace(path)
		p.read(slashed)
		if rest, ok := strings.CutPrefix(slashed, "//"); ok { // an authority, to who takes it for a URL
			if _, after, ok := strings.Cut(rest, "/"); ok {
				p.read("/" + after)
			}
		}
		bare := withoutParameters(slashed)
		infos := pathInfos(bare)
		if len(infos) > maxReadings { // each is a reading
			return nil, false
		}
		for _, info := range infos {
			p.read(info)
		}
		p.read(withoutParameters(path))
		p.read(bare)
		p.read(trimmedSegments(bare))
		if end := strings.IndexAny(path, "\x00?#\r\n"); end >= 0 { // what ends a C string, a path, a line
			p.read(path[:end])
		}
	}
	return p.all, !p.over
}

// pathReadings gathers the readings of a path, as long as they are not too many.
type pathReadings struct {
	sent  string
	cased bool
	done  []string // that have been read
	all   []string // that came of it
	text  int      // bytes of all
	over  bool
}

// read adds what upstreams make of a path that is like the one that was sent.
func (p *pathReadings) read(path string) {
	if p.over || slices.Contains(p.done, path) {
		return
	}
	p.done = append(p.done, path)
	p.add(path)
	if !strings.HasPrefix(path, "/") || strings.Contains(path, "/.") {
		p.add(withoutDots(path))
		p.add(keptDots(path))
	}
}

func (p *pathReadings) add(path string) {
	path = caddyhttp.CleanPath(path, true)
	p.put(path)
	if p.cased {
		p.put(strings.ToLower(path))
	}
}

func (p *pathReadings) put(path string) {
	if p.over || path == p.sent || slices.Contains(p.all, path) {
		return
	}
	p.text += len(path)
	if p.over = len(p.all) == maxReadings || p.text > maxReadingText; !p.over {
		p.all = append(p.all, path)
	}
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

// pathInfos are what programs on a path are given as theirs. Beyond maxReadings, one more stands for all.
func pathInfos(path string) []string {
	var all []string
	for i := range len(path) {
		if path[i] == '/' && isScript(path[:i]) {
			if all = append(all, path[i:]); len(all) > maxReadings {
				break
			}
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
