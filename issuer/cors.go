package issuer

import "net/http"

// allowAnyOrigin lets scripts of every origin read the answer (Fetch, "CORS protocol"). It is safe because nothing in
// such an answer depends on a cookie: browsers send none with it, and who has the credentials that an endpoint asks for
// could call it without a browser too.
func allowAnyOrigin(h http.Header) { h.Set("Access-Control-Allow-Origin", "*") }

// options answers OPTIONS, a preflight among them.
func (r *route) options(w http.ResponseWriter, req *http.Request) {
	h := w.Header()
	h.Set("Allow", r.methods())
	if r.cross && req.Header.Get("Access-Control-Request-Method") != "" {
		h.Set("Access-Control-Allow-Methods", r.methods())
		h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, MCP-Protocol-Version")
		h.Set("Access-Control-Max-Age", "7200") // the most that Chromium honors
	}
	w.WriteHeader(http.StatusNoContent)
}
