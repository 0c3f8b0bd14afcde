package issuer

import "net/http"

// authorize answers the authorization endpoint (RFC 6749 §3.1). No response type is on, which the metadata states:
// every request is refused here, and nobody is redirected (§4.1.2.1).
func (e *endpoints) authorize(w http.ResponseWriter, r *http.Request) {
	writeError(w, r, errResponseType)
}
