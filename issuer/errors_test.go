package issuer

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func TestRefusalNamesWhatItIsAbout(t *testing.T) {
	h := newHouse(t)
	for name, test := range map[string]struct {
		client, grant, scope string
		code, description    string
	}{
		"a scope that the client may not have": {"limited", "client_credentials", "write read",
			"invalid_scope", "The client may not have the scope read."},
		"a restricted scope": {"orders-sync", "client_credentials", "admin",
			"invalid_scope", "The client may not have the scope admin."},
		"every scope": {"orders-sync", "client_credentials", "*",
			"invalid_scope", "The client may not have the scope *."},
		"an unknown scope": {"orders-sync", "client_credentials", "read foo:bar",
			"invalid_scope", "The scope foo:bar is unknown."},
		"a grant of others": {"web", "client_credentials", "",
			"unauthorized_client", "The client may not use the grant client_credentials."},
		"an unknown grant": {"orders-sync", "urn:example:grant", "",
			"unsupported_grant_type", "The grant type urn:example:grant is not supported."},
	} {
		t.Run(name, func(t *testing.T) {
			form := url.Values{"grant_type": {test.grant}, "scope": {test.scope}}
			o := object(t, h.do(request("/oauth/token", form, "Authorization", basic(test.client, testSecret))))
			if o["error"] != test.code || o["error_description"] != test.description {
				t.Errorf("got %v", o)
			}
		})
	}
}

// TestRefusalRepeatsNothingDangerous: what is not like a name is not sent back, nor what is long.
func TestRefusalRepeatsNothingDangerous(t *testing.T) {
	h := newHouse(t)
	long := strings.Repeat("a", maxNamed+1)
	for _, bad := range []string{
		"<script>alert(1)</script>", "a'b", "`a`", "a&b", `a"b`, `a\b`, "a\tb", "é", "a\u202eb", long,
	} {
		for _, form := range []url.Values{
			{"grant_type": {"client_credentials"}, "scope": {bad}}, {"grant_type": {bad}}, {"grant_type": {bad + " " + bad}},
		} {
			res := h.do(request("/oauth/token", form, "Authorization", basic("orders-sync", testSecret)))
			o := object(t, res)
			description, _ := o["error_description"].(string)
			if res.StatusCode != http.StatusBadRequest || description == "" || len(description) > 200 ||
				strings.Contains(description, bad) {
				t.Errorf("%q: %d %v", bad, res.StatusCode, o)
			}
		}
	}
}

// TestRefusalOfUnknownNameIsNotKept: descriptions that name something are made for one answer.
func TestRefusalOfUnknownNameIsNotKept(t *testing.T) {
	h := newHouse(t)
	for _, scope := range []string{"foo", "bar"} {
		form := url.Values{"grant_type": {"client_credentials"}, "scope": {scope}}
		o := object(t, h.do(request("/oauth/token", form, "Authorization", basic("orders-sync", testSecret))))
		if o["error_description"] != "The scope "+scope+" is unknown." {
			t.Errorf("got %v", o)
		}
	}
}
