package pages

import (
	"net/http"
	"strings"
)

// setHeaders sets what every page has. Referrer-Policy is not no-referrer: with that, browsers send "Origin: null" with
// forms, and who checks them could not tell ours from others' (Fetch, "append a request Origin header").
func setHeaders(h http.Header, v View, language string) {
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Language", language)
	h.Add("Vary", "Accept-Language")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", policy(v))
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
}

// policy is the Content-Security-Policy of a page. A form stays with the issuer by form-action, unless its answer may
// lead out: Chromium holds every redirect that follows a form against form-action (CSP3), also those of the app, and
// stays on the page without a word when one is not listed. Where an app's callback goes on to, another host or the
// scheme of its native part, nobody here can list, and no source expression stands for all schemes. "https:" would let
// a form of an attacker's through as well; what keeps such a form out is that no text of others becomes markup.
func policy(v View) string {
	forms := "form-action 'self'; "
	if leadsOut(v) {
		forms = ""
	}
	return "default-src 'none'; style-src 'self'; img-src 'self'; " + forms + "frame-ancestors 'none'; base-uri 'none'"
}

// leadsOut tells whether the answer to the page's form may end in a redirect to another origin. After signing in or out
// the path to which the person is sent back may redirect: the authorization endpoint to an app, a page of the site to
// wherever it likes. The forms of the device page and of the account page lead to those pages themselves.
func leadsOut(v View) bool {
	switch v := v.(type) {
	case Login:
		return goesOn(v.Prefix, v.Return)
	case Logout:
		return goesOn(v.Prefix, v.Return)
	case Consent, FormPost:
		return true
	}
	return false
}

// goesOn tells whether an own path may redirect. Two that do not are where most people sign in for.
func goesOn(prefix, path string) bool {
	path, _, _ = strings.Cut(path, "?")
	return path != "" && path != prefix+"/account" && path != prefix+"/device"
}
