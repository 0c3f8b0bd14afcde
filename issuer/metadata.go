package issuer

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

// metadata answers GET /.well-known/oauth-authorization-server (RFC 8414 §3).
func (e *endpoints) metadata(w http.ResponseWriter, r *http.Request) {
	identifier := e.IdentifierFor(r)
	if identifier == "" {
		writeError(w, r, errHost)
		return
	}
	doc := e.documents.get(identifier, e.scopes.load(), func() []byte { return e.renderMetadata(identifier) })
	writeDocument(w, r, "application/json", doc.body, doc.etag)
}

// renderMetadata states what is on, and nothing else (RFC 8414 §2). authorization_endpoint is there also when no grant
// uses it: clients of MCP take no metadata without (the TypeScript SDK refuses it whole). That nothing can be asked for
// there, response_types_supported says, which is empty then. grant_types_supported is there when empty, for without it
// clients would assume authorization_code and implicit.
func (e *endpoints) renderMetadata(identifier string) []byte {
	base := origin(identifier) + e.prefix
	secrets := []string{"client_secret_basic", "client_secret_post"}
	everybody := []string{"client_secret_basic", "client_secret_post", "none"}

	grantTypes, tokenMethods := []string{}, secrets
	for _, g := range e.grants {
		grantTypes = append(grantTypes, g.wire)
		if !g.confidential {
			tokenMethods = everybody
		}
	}
	var scopeNames []string
	for _, scope := range e.scopes.load().list {
		scopeNames = append(scopeNames, scope.Name)
	}

	b := append(make([]byte, 0, 1024), '{')
	b = appendMember(b, "issuer", identifier)
	b = appendMember(b, "authorization_endpoint", base+"/authorize")
	b = appendMember(b, "token_endpoint", base+"/token")
	b = appendList(b, "token_endpoint_auth_methods_supported", tokenMethods)
	b = appendMember(b, "revocation_endpoint", base+"/revoke")
	b = appendList(b, "revocation_endpoint_auth_methods_supported", everybody)
	b = appendMember(b, "introspection_endpoint", base+"/introspect")
	b = appendList(b, "introspection_endpoint_auth_methods_supported", secrets)
	b = appendMember(b, "jwks_uri", base+"/jwks")
	b = appendList(b, "grant_types_supported", grantTypes)
	b = e.appendAuthorization(b)
	if e.on(deviceCode.name) {
		b = appendMember(b, "device_authorization_endpoint", base+"/device/code") // RFC 8628 §4
	}
	if len(scopeNames) > 0 { // §3.2: a list without elements is left out
		b = appendList(b, "scopes_supported", scopeNames)
	}
	return append(b, "}\n"...)
}

// appendAuthorization states what can be asked for at the authorization endpoint.
func (e *endpoints) appendAuthorization(b []byte) []byte {
	var types, modes []string
	if e.on(authorizationCode.name) {
		types, modes = []string{responseCode}, []string{modeQuery, modeFormPost}
	}
	if e.on(implicit.name) {
		types, modes = append(types, responseToken), append(modes, modeFragment)
		if len(modes) == 1 {
			modes = append(modes, modeFormPost)
		}
	}
	b = appendList(b, "response_types_supported", types)
	if len(types) == 0 {
		return b
	}
	b = appendList(b, "response_modes_supported", modes)
	b = appendList(b, "prompt_values_supported", []string{"none", "login", "consent"})
	b = append(appendName(b, "authorization_response_iss_parameter_supported"), "true"...) // RFC 9207 §3
	if e.on(authorizationCode.name) {
		b = appendList(b, "code_challenge_methods_supported", []string{"S256"}) // RFC 7636 §4.2; plain protects nobody
	}
	return b
}

// documents remembers metadata by issuer identifier. Callers can make up hosts, so that it is bounded as those are.
type documents struct {
	mu    sync.Mutex
	known atomic.Pointer[map[string]*document]
}

type document struct {
	scopes *scopes // the state that it was rendered from
	body   []byte
	etag   string
}

func (d *documents) get(identifier string, of *scopes, render func() []byte) *document {
	if known := d.known.Load(); known != nil {
		if doc := (*known)[identifier]; doc != nil && doc.scopes == of {
			return doc
		}
	}
	body := render()
	sum := sha256.Sum256(body)
	doc := &document{of, body, `"` + hex.EncodeToString(sum[:16]) + `"`}
	d.mu.Lock()
	defer d.mu.Unlock()
	known := make(map[string]*document)
	if old := d.known.Load(); old != nil && len(*old) < maxHosts {
		maps.Copy(known, *old)
	}
	known[identifier] = doc
	d.known.Store(&known)
	return doc
}

// cacheFor is how many seconds public documents may be kept: not longer than a key is published before it signs.
const cacheFor = 300

// writeDocument answers with a document that anybody may keep for a while.
func writeDocument(w http.ResponseWriter, r *http.Request, contentType string, body []byte, etag string) {
	h := w.Header()
	h.Set("Cache-Control", "public, max-age="+strconv.Itoa(cacheFor))
	h.Set("ETag", etag)
	if matches(r.Header.Get("If-None-Match"), etag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body)
	}
}

// matches compares an If-None-Match with a strong entity tag, weakly (RFC 9110 §13.1.2).
func matches(ifNoneMatch, etag string) bool {
	for tag := range strings.SplitSeq(ifNoneMatch, ",") {
		tag = strings.TrimSpace(tag)
		if tag == "*" || strings.TrimPrefix(tag, "W/") == etag {
			return true
		}
	}
	return false
}
