package caddymodule

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func TestParseBearer(t *testing.T) {
	long := strings.Repeat("a", 1<<20)
	tests := map[string]struct {
		value, token string
		how          sent
	}{
		"usual":                     {"Bearer abc.def-_~+/=", "abc.def-_~+/=", sentOnce},
		"lower case":                {"bearer abc", "abc", sentOnce},
		"any case":                  {"bEaReR abc", "abc", sentOnce},
		"several spaces":            {"Bearer    abc", "abc", sentOnce},
		"very long":                 {"Bearer " + long, long, sentOnce},
		"a space within":            {"Bearer abc def", "abc def", sentOnce}, // for who verifies it
		"empty":                     {"", "", sentNone},
		"scheme alone":              {"Bearer", "", sentMalformed},
		"scheme and spaces":         {"Bearer   ", "", sentMalformed},
		"tab":                       {"Bearer\tabc", "", sentMalformed},
		"NUL":                       {"Bearer\x00abc", "", sentMalformed},
		"no space":                  {"Bearer=abc", "", sentMalformed},
		"comma":                     {"Bearer,abc", "", sentMalformed},
		"no-break space":            {"Bearer\u00a0abc", "", sentMalformed},
		"another scheme":            {"Basic YTpi", "", sentNone},
		"a longer scheme":           {"BearerX abc", "", sentNone},
		"a longer scheme, hyphen":   {"Bearer-2 abc", "", sentNone},
		"a shorter scheme":          {"Bear er", "", sentNone},
		"not at the beginning":      {" Bearer abc", "", sentNone},
		"another, then a token":     {"Basic YTpi, Bearer abc", "", sentNone},
		"letters that look like it": {"\u0412earer abc", "", sentNone},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if token, how := parseBearer(test.value); token != test.token || how != test.how {
				t.Errorf("%.40q, %d", token, how)
			}
		})
	}
}

func TestRefusesOddAuthorizationFields(t *testing.T) {
	h := newHouse(t, `
		passport_auth
		reverse_proxy {$UPSTREAM}`)
	token := h.token("read")
	for name, value := range map[string]string{
		"trailing comma": "Bearer " + token + ",", "two tokens": "Bearer " + token + " " + token,
		"two schemes": "Bearer " + token + ", Basic YTpi", "quoted": `Bearer "` + token + `"`,
		"as a parameter": "Bearer token=" + token, "tab before": "Bearer\t" + token, "tab after spaces": "Bearer  \t" + token,
		"tab within": "Bearer " + token[:20] + "\t" + token[20:], "padding": "Bearer " + token + "==",
		"percent": "Bearer " + strings.Replace(token, ".", "%2e", 1), "plus": "Bearer+" + token,
		"very long": "Bearer " + strings.Repeat("a.", 5000), "dots": "Bearer " + strings.Repeat(".", 8000),
		"high bytes": "Bearer " + token + "\xff\xfe", "unsigned": "Bearer " + token[:strings.LastIndex(token, ".")+1],
		"twice the scheme": "Bearer Bearer " + token, "colon": "Bearer: " + token,
	} {
		t.Run(name, func(t *testing.T) {
			h.t = t
			resp := h.plain("GET", "/", "Authorization: "+value)
			if resp.status != http.StatusUnauthorized {
				t.Errorf("%d %s", resp.status, resp.body)
			}
			if h.upstream.last() != nil {
				t.Error("the upstream was reached")
			}
		})
	}
	for name, value := range map[string]string{"NUL": "Bearer " + token + "\x00", "NUL within": "Bearer a\x00b"} {
		t.Run(name, func(t *testing.T) {
			h.t = t
			resp := h.plain("GET", "/", "Authorization: "+value)
			if resp.status != http.StatusBadRequest { // by net/http
				t.Errorf("%d %s", resp.status, resp.body)
			}
		})
	}
	t.Run("spaces around", func(t *testing.T) {
		h.t = t
		resp := h.plain("GET", "/", "Authorization: \t Bearer   "+token+" \t")
		if resp.status != http.StatusOK {
			t.Errorf("%d %s", resp.status, resp.body)
		}
	})
	h.t = t
	if strings.Contains(h.logged(), token) {
		t.Error("the token is in the log")
	}
}

func FuzzBearer(f *testing.F) {
	for _, seed := range []string{"Bearer abc", "bearer  a.b.c", "Bearer", "Basic YTpi", "Bearer\x00a", "BEARER a b"} {
		f.Add(seed, "a=b&access_token=c")
	}
	f.Add("Bearer a", "access%5Ftoken")
	f.Add("Bearer a", "%zz;access_token")
	f.Fuzz(func(t *testing.T, value, query string) {
		token, how := parseBearer(value)
		switch how {
		case sentOnce:
			if token == "" || token[0] == ' ' || !strings.HasSuffix(value, " "+token) ||
				!strings.EqualFold(strings.TrimRight(value[:len(value)-len(token)], " "), "bearer") {
				t.Errorf("%q gives %q", value, token)
			}
		case sentNone, sentMalformed:
			if token != "" {
				t.Errorf("%q gives %q, but %d", value, token, how)
			}
			if fields := strings.Fields(value); how == sentNone && len(fields) > 1 && strings.EqualFold(fields[0], "bearer") &&
				!strings.HasPrefix(value, " ") && value[6] == ' ' {
				t.Errorf("%q is no token", value)
			}
		default:
			t.Errorf("%q: %d", value, how)
		}
		r := &http.Request{URL: &url.URL{RawQuery: query}, Header: http.Header{"Authorization": {value}}}
		if _, how = bearerToken(r); how == sentOnce {
			if known, err := url.ParseQuery(query); err == nil && known.Has("access_token") {
				t.Errorf("%q has a token, too", query)
			}
		}
	})
}
