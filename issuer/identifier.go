package issuer

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"

	"go.uber.org/zap"
)

// IdentifierFor is the issuer identifier that holds for a request: the configured one or, without, scheme://host of
// the request, in lower case and without the scheme's own port. It is empty when the request names no usable host;
// no token bears an empty identifier.
func (i *Issuer) IdentifierFor(r *http.Request) string {
	if i.config.Identifier != "" {
		return i.config.Identifier
	}
	return i.hosts.identifier(r.TLS != nil, r.Host)
}

// maxIdentifier is how many bytes an identifier has at most; each token has it twice.
const maxIdentifier = 512

func (i *Issuer) setIdentifier(identifier string) error {
	if identifier == "" {
		return nil
	}
	u, err := url.Parse(identifier)
	if err != nil {
		return fmt.Errorf("issuer %q is not a URL", identifier)
	}
	// RFC 8414 §2
	switch {
	case u.Scheme != "https" && u.Scheme != "http", u.Host == "":
		err = errors.New("it has to begin with https:// and a host")
	case len(identifier) > maxIdentifier:
		err = fmt.Errorf("it has more than %d characters", maxIdentifier)
	case u.User != nil:
		err = errors.New("it has no room for a user or password")
	case u.RawQuery != "" || u.ForceQuery || strings.Contains(identifier, "#"):
		err = errors.New("it has no room for a query or a fragment")
	case hasControl(identifier) || strings.ContainsAny(identifier, "\" \\<>"):
		err = errors.New("it has characters that no URL has")
	}
	if err != nil {
		return fmt.Errorf("issuer %q: %w", identifier, err)
	}
	if u.Scheme == "http" && !isLoopback(u.Hostname()) {
		i.log.Warn("the issuer identifier should begin with https://", zap.String("identifier", identifier))
	}
	if path := strings.TrimRight(u.Path, "/"); path != "" {
		i.wellKnownPath = wellKnown + path // RFC 8414 §3: inserted between the host and the path
	}
	return nil
}

// origin is scheme and host of an identifier, where the endpoints are.
func origin(identifier string) string {
	if at := strings.Index(identifier, "://"); at >= 0 {
		if slash := strings.IndexByte(identifier[at+3:], '/'); slash >= 0 {
			return identifier[:at+3+slash]
		}
	}
	return identifier
}

// maxHosts bounds what is remembered of hosts: callers can make up any number of them.
const maxHosts = 256

// hosts remembers the identifiers of hosts, so that a request costs a look-up and no memory.
type hosts struct {
	mu    sync.Mutex
	known [2]atomic.Pointer[map[string]string] // by plain and TLS, then by the header Host
}

func (h *hosts) identifier(tls bool, host string) string {
	known := &h.known[0]
	if tls {
		known = &h.known[1]
	}
	if m := known.Load(); m != nil {
		if id, ok := (*m)[host]; ok {
			return id
		}
	}
	id := hostIdentifier(tls, host)
	if id == "" {
		return ""
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	m := make(map[string]string)
	if old := known.Load(); old != nil {
		if len(*old) >= maxHosts {
			return id
		}
		maps.Copy(m, *old)
	}
	m[strings.Clone(host)] = id
	known.Store(&m)
	return id
}

func hostIdentifier(tls bool, host string) string {
	if host == "" || len(host) > 255+len(":65535") {
		return ""
	}
	for i := range len(host) {
		switch c := host[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case c == '.', c == '-', c == '_', c == ':', c == '[', c == ']':
		default:
			return ""
		}
	}
	host = strings.ToLower(host)
	if tls {
		return "https://" + strings.TrimSuffix(host, ":443")
	}
	return "http://" + strings.TrimSuffix(host, ":80")
}

func hasControl(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] == 0x7f {
			return true
		}
	}
	return false
}
