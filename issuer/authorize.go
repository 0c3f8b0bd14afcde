package issuer

import "net/http"

// authorize answers the authorization endpoint (RFC 6749 §3.1). No response type is on, which the metadata states:
// every request is refused, on a page of its own, for without one there is nobody to redirect to (§4.1.2.1).
func (e *endpoints) authorize(w http.ResponseWriter, r *http.Request) {
	writeError(w, r, errResponseType)
}
