package pages

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strconv"
)

// asset is a file that pages name. Its name holds the hash of what is in it, so that browsers may keep it for ever.
type asset struct {
	mediaType string
	content   []byte
}

// add makes content an asset, and returns its name.
func (p *Pages) add(stem, extension, mediaType string, content []byte) string {
	sum := sha256.Sum256(content)
	name := stem + "-" + hex.EncodeToString(sum[:8]) + extension
	p.assets[name] = &asset{mediaType, content}
	return name
}

// Asset serves the file of that name below <prefix>/assets/. It is nil when there is none.
func (p *Pages) Asset(name string) http.Handler {
	if a := p.assets[name]; a != nil {
		return a
	}
	return nil
}

// ServeHTTP answers with the file.
func (a *asset) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", a.mediaType)
	h.Set("Content-Length", strconv.Itoa(len(a.content)))
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	h.Set("X-Content-Type-Options", "nosniff")
	// Of an SVG that is opened alone, nothing runs. Its own styles may.
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; sandbox; frame-ancestors 'none'")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		_, _ = w.Write(a.content) // who does not read it has no use for it
	}
}
