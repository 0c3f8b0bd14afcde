package issuer

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestAuthorizeRedirectsNobody: no response type is on, and nobody is sent anywhere.
func TestAuthorizeRedirectsNobody(t *testing.T) {
	h := newHouse(t)
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		r := httptest.NewRequest(method, "https://api.example.com/oauth/authorize?response_type=code&client_id=orders-sync"+
			"&redirect_uri=https://evil.example/cb&state=1", nil)
		w := httptest.NewRecorder()
		h.issuer.Handler("/oauth").ServeHTTP(w, r)
		if w.Code != http.StatusBadRequest || w.Header().Get("Location") != "" ||
			!strings.Contains(w.Body.String(), `"unsupported_response_type"`) {
			t.Errorf("%s: %d %v %s", method, w.Code, w.Header(), w.Body)
		}
	}
}
