package issuer

import (
	"fmt"
	"net/url"
	"reflect"
	"strings"
	"testing"
)

// audienceOf asks for a token and returns its `aud`, as a list.
func audienceOf(t *testing.T, h *house, form url.Values) []any {
	t.Helper()
	form.Set("grant_type", "client_credentials")
	o := object(t, h.do(request("/oauth/token", form, "Authorization", basic("orders-sync", testSecret))))
	token, ok := o["access_token"].(string)
	if !ok {
		t.Fatal(o)
	}
	_, claims := decodeJWT(t, token)
	if one, ok := claims["aud"].(string); ok {
		return []any{one}
	}
	list, _ := claims["aud"].([]any)
	return list
}

func TestDefaultAudience(t *testing.T) {
	const (
		own  = "https://api.example.com"
		mcp  = "https://api.example.com/mcp"
		mail = "https://mail.example.com"
	)
	for _, test := range []struct {
		name   string
		routes []Route
		scope  string
		want   []any
	}{
		{"no routes", nil, "read", []any{own}},
		{"no resources", []Route{{Scopes: []string{"read"}}}, "write", []any{own}},
		{"the only route", []Route{{Resource: mcp}}, "", []any{mcp}},
		{"scopes tell", []Route{{Scopes: []string{"read"}}, {Resource: mcp, Scopes: []string{"write"}}}, "write",
			[]any{mcp}},
		{"scopes tell of the other", []Route{{Scopes: []string{"read"}}, {Resource: mcp, Scopes: []string{"write"}}},
			"read", []any{own}},
		{"enough for both", []Route{{Scopes: []string{"read"}}, {Resource: mcp, Scopes: []string{"read"}}}, "read",
			[]any{own, mcp}},
		{"one scope of two", []Route{{Resource: mcp, Scopes: []string{"read", "write"}}}, "read", []any{own}},
		{"any of two", []Route{{Resource: mcp, AnyScope: []string{"read", "write"}}}, "read", []any{mcp}},
		{"none of any", []Route{{Resource: mcp, AnyScope: []string{"read"}}}, "write", []any{own}},
		{"several routes of one", []Route{{Resource: mcp, Scopes: []string{"read"}},
			{Resource: mcp, Scopes: []string{"write"}}}, "read write", []any{mcp}},
		{"two resources", []Route{{Resource: mcp, Scopes: []string{"read"}},
			{Resource: mail, Scopes: []string{"write"}}}, "read write", []any{mcp, mail}},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHouse(t)
			for _, r := range test.routes {
				h.issuer.NameRoutes(r)
				h.issuer.NameRoutes(r)
			}
			if got := audienceOf(t, h, url.Values{"scope": {test.scope}}); !reflect.DeepEqual(got, test.want) {
				t.Errorf("aud %v, want %v", got, test.want)
			}
		})
	}
}

func TestDefaultAudienceFitsIntoToken(t *testing.T) {
	h := newHouse(t)
	for i := range 64 {
		h.issuer.NameRoutes(Route{Resource: fmt.Sprintf("https://%d.example.com/%s", i, strings.Repeat("x", 64))})
	}
	if got := audienceOf(t, h, url.Values{}); !reflect.DeepEqual(got, []any{"https://api.example.com"}) {
		t.Errorf("aud %v", got)
	}
}

// TestRefusesWiderAudienceThanAskedFor: who asks for one resource gets a token for that alone.
func TestRefusesWiderAudienceThanAskedFor(t *testing.T) {
	h := newHouse(t)
	h.issuer.NameRoutes(Route{}, Route{Resource: "https://api.example.com/mcp"}, Route{Resource: "https://b.example.com"})
	for asked, want := range map[string]string{
		"https://api.example.com/mcp": "https://api.example.com/mcp",
		"HTTPS://API.example.com/mcp": "https://api.example.com/mcp",
		"https://api.example.com/":    "https://api.example.com",
		"https://b.example.com/":      "https://b.example.com",
		"https://b.example.com":       "https://b.example.com",
	} {
		if got := audienceOf(t, h, url.Values{"resource": {asked}}); !reflect.DeepEqual(got, []any{want}) {
			t.Errorf("%s: aud %v", asked, got)
		}
	}
	for _, other := range []string{
		"https://b.example.com/mcp", "https://api.example.com/MCP", "https://api.example.com/mcp/", "http://b.example.com",
		"https://b.example.com:444", "https://b.example.com?x", "https://u@b.example.com", "b.example.com", "%",
	} {
		form := url.Values{"grant_type": {"client_credentials"}, "resource": {other}}
		h.fault(request("/oauth/token", form, "Authorization", basic("orders-sync", testSecret)), 400, "invalid_target")
	}
}
