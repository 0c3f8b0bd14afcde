package issuer

import "net/http"

// jwks answers GET /jwks: the public keys (RFC 7517 §5).
func (e *endpoints) jwks(w http.ResponseWriter, r *http.Request) {
	body, etag := e.ring.JWKS()
	writeDocument(w, r, "application/jwk-set+json", body, etag)
}

// listScopes answers GET /scopes in the shape of Laravel Passport, which shows it to signed-in people only. Here
// anybody may read it: metadata names the same scopes to everybody, and the page that asks for consent their
// descriptions.
func (e *endpoints) listScopes(w http.ResponseWriter, _ *http.Request) {
	b := append(make([]byte, 0, 512), '[')
	for i, scope := range e.scopes.load().list {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '{')
		b = appendMember(b, "id", scope.Name)
		b = appendMember(b, "description", scope.Description)
		b = append(b, '}')
	}
	writeJSON(w, append(b, "]\n"...))
}
