package caddymodule

import (
	"io"
	"net/http"
	"net/textproto"
	"slices"
	"strings"

	"github.com/oauth2-passport/caddy-passport/issuer"
)

// identityPrefix begins the names of all header fields that carry an identity to the upstream, folded.
const identityPrefix = "x-passport-"

// folded maps a byte of a header field's name to what an upstream may take it for. CGI and its heirs (WSGI, Rack, PHP)
// make one variable of X-Passport-Subject, x_passport_subject and, some of them, X.Passport.Subject; so letters lose
// their case here, and all that is neither letter nor digit is the same (RFC 3875 §4.1.18).
var folded = func() (table [256]byte) {
	for i := range table {
		switch c := byte(i); {
		case c >= 'A' && c <= 'Z':
			table[i] = c - 'A' + 'a'
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
			table[i] = c
		default:
			table[i] = '-'
		}
	}
	return table
}()

func fold(name string) string {
	b := []byte(name)
	for i, c := range b {
		b[i] = folded[c]
	}
	return string(b)
}

// names are the header fields that only the gateway may send to an upstream: those of the identity, and others that the
// config names.
type names struct {
	others []string // folded
	first  [256]bool
}

// add adds header fields by their names.
func (n *names) add(fields ...string) {
	for _, field := range fields {
		if f := fold(field); f != "" && !slices.Contains(n.others, f) {
			n.others = append(n.others, f)
			n.first[f[0]] = true
		}
	}
}

// has tells whether an upstream could take a header field of that name for one of n. It is asked for each field of each
// request, and most differ in their first letters.
func (n *names) has(name string) bool {
	if name == "" {
		return false
	}
	first := folded[name[0]]
	if n := len(identityPrefix); first == identityPrefix[0] && len(name) >= n && sameFolded(name[:n], identityPrefix) {
		return true
	}
	if !n.first[first] {
		return false
	}
	for _, other := range n.others {
		if len(name) == len(other) && sameFolded(name, other) {
			return true
		}
	}
	return false
}

// sameFolded compares a name with a folded one of the same length.
func sameFolded(name, with string) bool {
	for i := range len(name) {
		if folded[name[i]] != with[i] {
			return false
		}
	}
	return true
}

// strip takes from the request what the caller has no right to tell the upstream: header fields of n in any spelling,
// as trailers too, and the issuer's own cookies, which the visit keeps; and what would have the proxy remove ours.
func (n *names) strip(r *http.Request, v *visit) {
	v.stripped = true
	h := r.Header
	for name := range h {
		if n.has(name) {
			delete(h, name)
		}
	}
	// An upstream that changes to HTTP/2 gets from then on what nobody has looked at: of upgrades, only those to a
	// WebSocket pass.
	if values, ok := h["Upgrade"]; ok && (len(values) != 1 || !strings.EqualFold(values[0], "websocket")) {
		delete(h, "Upgrade")
	}
	delete(h, "Http2-Settings")
	if values, ok := h["Connection"]; ok {
		// A proxy removes the fields that Connection names (RFC 9110 §7.6.1), after we have set ours. Authorization
		// is among them because it may be the upstream's own by then.
		setOrDelete(h, "Connection", filterTokens(values, func(token string) bool {
			return n.has(token) || strings.EqualFold(token, "Authorization")
		}))
	}
	if values, ok := h["Trailer"]; ok {
		setOrDelete(h, "Trailer", filterTokens(values, n.has))
	}
	if values, ok := h["Cookie"]; ok && mayHaveOwn(values) {
		var kept []string
		if v.cookies == nil { // a site within a site sees what is left
			v.session, v.cookies, kept = issuer.SessionIn(values, r.TLS != nil), values, v.cookie[:0]
		}
		setOrDelete(h, "Cookie", withoutOwn(values, kept))
	}
	if r.Trailer != nil { // else none is announced, and net/http tells us of no others
		n.stripTrailers(r.Trailer)
		r.Body = &trailerStripper{r.Body, n, r.Trailer}
	}
}

func (n *names) stripTrailers(trailer http.Header) {
	for name := range trailer {
		if n.has(name) || name == "Authorization" { // it is no field for a trailer (RFC 9110 §6.5.1)
			delete(trailer, name)
		}
	}
}

// trailerStripper is the body of a request that has announced trailers. At its end net/http adds all trailers that came
// to the same map, announced or not; whoever reads the body to its end looks there next.
type trailerStripper struct {
	io.ReadCloser
	names   *names
	trailer http.Header
}

// Read implements [io.Reader].
func (t *trailerStripper) Read(p []byte) (int, error) {
	n, err := t.ReadCloser.Read(p)
	if err != nil {
		t.names.stripTrailers(t.trailer)
	}
	return n, err
}

// Close implements [io.Closer]. Closing a body reads what is left of it.
func (t *trailerStripper) Close() error {
	err := t.ReadCloser.Close()
	t.names.stripTrailers(t.trailer)
	return err
}

func setOrDelete(h http.Header, name string, values []string) {
	if len(values) == 0 {
		delete(h, name)
		return
	}
	h[name] = values
}

// filterTokens takes the tokens that drop tells of from comma-separated lists. It changes no slice that it is given.
func filterTokens(lists []string, drop func(token string) bool) []string {
	kept := make([]string, 0, len(lists))
	for _, list := range lists {
		dropped := false
		var tokens []string
		for token := range strings.SplitSeq(list, ",") {
			if drop(textproto.TrimString(token)) {
				dropped = true
				continue
			}
			tokens = append(tokens, token)
		}
		switch {
		case !dropped:
			kept = append(kept, list)
		case len(tokens) > 0:
			kept = append(kept, textproto.TrimString(strings.Join(tokens, ",")))
		}
	}
	return kept
}

// mayHaveOwn tells, quickly, whether Cookie fields may have one of the issuer's own cookies.
func mayHaveOwn(fields []string) bool {
	return slices.ContainsFunc(fields, func(f string) bool { return strings.Contains(f, "passport_") })
}

// withoutOwn takes the issuer's own cookies from Cookie fields, and appends what is left to kept.
func withoutOwn(fields, kept []string) []string {
	for _, field := range fields {
		if field = cutOwn(field); field != "" {
			kept = append(kept, field)
		}
	}
	return kept
}

// cutOwn takes the issuer's own cookies from one field.
func cutOwn(field string) string {
	for start := 0; start < len(field); {
		pair, _, more := strings.Cut(field[start:], ";")
		end := start + len(pair)
		name, _, _ := strings.Cut(pair, "=")
		switch {
		case !issuer.IsOwnCookie(textproto.TrimString(name)):
			start = end + 1
		case more:
			field = field[:start] + field[end+1:]
		default:
			field = field[:max(0, start-1)]
		}
	}
	return textproto.TrimString(field)
}
