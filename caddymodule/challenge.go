package caddymodule

import (
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// challenge is what the answer to a refused request says of its route: the scopes of all passport_auth on the way of
// the request, those before this one and those after it, and the first protected resource among theirs. A client that
// asks for a token by what it has been told (RFC 6750 §3.1, RFC 9728 §5.1) is not told of another demand next.
//
// Which these are is found out only for answers that tell it, and only where not every one of the site says the same:
// it takes about as long as the matchers of the site take for a request that passes. Strangers pay no more than that.
func (a *Auth) challenge(r *http.Request, refused *refusal) challenge {
	c := challenge{realm: a.Realm, scope: a.wanted, metadata: a.metadata()}
	tells := refused.status == http.StatusUnauthorized || refused.status == http.StatusForbidden
	d := doorsOf(r)
	if !tells || d == nil || !d.various || !refused.scoped && !d.resources {
		return c
	}
	c.scope, c.metadata = "", ""
	var scopes []string
	for _, p := range append(d.pass(r, asItCame(r)), passing{door: a}) { // itself, if it was not found
		if p.door.ReportOnly {
			continue
		}
		for scope := range strings.FieldsSeq(p.door.wanted) {
			if !slices.Contains(scopes, scope) {
				scopes = append(scopes, scope)
			}
		}
		if c.metadata == "" {
			c.metadata = p.door.metadata()
		}
	}
	c.scope = strings.Join(scopes, " ")
	return c
}

// metadata is the URL of the metadata of the protected resource that the route is; empty: it is none.
func (a *Auth) metadata() string {
	if a.resource == nil {
		return ""
	}
	return a.resource.metadata
}

// refuse answers a request that may not pass.
func (a *Auth) refuse(w http.ResponseWriter, r *http.Request, refused *refusal) error {
	if a.Preflight {
		letScriptsRead(w.Header())
	}
	return refused.answer(w, a.challenge(r, refused))
}

// doorsOf are the doors of the site that a request has come into last, or of the error routes if it has come to these;
// nil: there is neither around.
func doorsOf(r *http.Request) *doors {
	if e, ok := caddyhttp.GetVar(r.Context(), errorGuardVar).(*errorGuard); ok {
		return e.doors()
	}
	if v := visitOf(r); v != nil && v.site != nil {
		return v.site.doors()
	}
	return nil
}

// asItCame is the target of a request before the handlers of its site have changed it.
func asItCame(r *http.Request) reading {
	as := reading{method: r.Method, host: r.Host, url: *r.URL}
	if original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok {
		as.method, as.url = original.Method, *original.URL
	}
	if caddyhttp.GetVar(r.Context(), webSocketBody) != nil {
		as.method = http.MethodGet // see asUpgrade
	}
	return as
}
