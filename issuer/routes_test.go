package issuer

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// TestRoutes reads the route table as a request does.
func TestRoutes(t *testing.T) {
	answer := func(*endpoints, http.ResponseWriter, *http.Request) {}
	for _, prefix := range []string{"", "/auth"} {
		e := &endpoints{prefix: prefix, routes: map[string]*route{}, parents: map[string]*route{}}
		list := &route{path: "/things", get: answer, post: answer}
		item := &route{path: "/things/{id}", put: answer, del: answer}
		e.add(list, item)
		for _, test := range []struct {
			path  string
			route *route
			id    string
		}{
			{"/things", list, ""},
			{"/things/", nil, ""},
			{"/things/17", item, "17"},
			{"/things/{id}", item, "{id}"},
			{"/things/17/", nil, ""},
			{"/things/17/more", nil, ""},
			{"/other/17", nil, ""},
			{"/", nil, ""},
			{"", nil, ""},
		} {
			r := httptest.NewRequest(http.MethodGet, "https://api.example.com/", nil)
			r.URL.Path = prefix + test.path
			if got := e.find(r); got != test.route || r.PathValue("id") != test.id {
				t.Errorf("%q: %v with %q", r.URL.Path, got, r.PathValue("id"))
			}
			if got := list.matches(test.path) || item.matches(test.path); got != (test.route != nil) {
				t.Errorf("matches %q: %t", test.path, got)
			}
		}
		for route, want := range map[*route]string{
			list: "GET, HEAD, POST, OPTIONS",
			item: "PUT, DELETE, OPTIONS",
		} {
			if got := route.methods(); got != want {
				t.Errorf("%s: %s", route.path, got)
			}
		}
	}
}
