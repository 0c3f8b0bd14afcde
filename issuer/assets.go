package issuer

import "net/http"

// asset answers GET /assets/{name}: what the pages name, such as their CSS and the logo.
func (e *endpoints) asset(w http.ResponseWriter, r *http.Request) {
	if asset := e.pages.Asset(r.PathValue("name")); asset != nil {
		asset.ServeHTTP(w, r)
		return
	}
	writeError(w, r, errNoSuchEndpoint)
}
