package pages

import (
	"net/http"
	"net/netip"
	"net/url"
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

// policy is the Content-Security-Policy of a page.
func policy(v View) string {
	forms := "'self'"
	switch v := v.(type) {
	case Login:
		if source := formSource(v.RedirectURI); source != "" {
			forms += " " + source
		}
	case Consent:
		// Chromium holds the redirect that answers a form against form-action too.
		if source := formSource(v.RedirectURI); source != "" {
			forms += " " + source
		}
	case FormPost:
		if source := formSource(v.RedirectURI); source != "" {
			forms = source
		}
	}
	return "default-src 'none'; style-src 'self'; img-src 'self'; form-action " + forms +
		"; frame-ancestors 'none'; base-uri 'none'"
}

// formSource is the source expression (CSP3 §2.3.1) for a URI: its origin, or its scheme when that has no origin or the
// expression cannot say it. It is empty when the URI is none.
func formSource(uri string) string {
	u, err := url.Parse(uri)
	if err != nil || u.Scheme == "" {
		return ""
	}
	if u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return u.Scheme + ":" // a parsed scheme has letters, digits and +-. only
	}
	if addr, err := netip.ParseAddr(u.Hostname()); err == nil && addr.Is6() {
		return u.Scheme + ":"
	}
	for i := range len(u.Host) {
		c := u.Host[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && strings.IndexByte("-.:_", c) < 0 {
			return u.Scheme + ":"
		}
	}
	return u.Scheme + "://" + u.Host
}
