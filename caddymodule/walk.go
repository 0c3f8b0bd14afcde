package caddymodule

import (
	"fmt"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/intercept"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// branch is a list of routes that a handler runs.
type branch struct {
	path   string // in the config, below the handler
	routes caddyhttp.RouteList
	after  string // what it takes to come there: "" nothing, "answer", "error"
}

// What it takes to come to a [branch].
const (
	afterAnswer = "answer"
	afterError  = "error"
)

// branches lists the lists of routes within a handler of Caddy's, as the config has them. A named route is none of
// them: it belongs to the server.
func branches(h caddyhttp.MiddlewareHandler) (all []branch) {
	switch h := h.(type) {
	case *caddyhttp.Subroute:
		all = append(all, branch{"routes", inConfig(h.Routes), ""})
		if h.Errors != nil {
			all = append(all, branch{"errors/routes", inConfig(h.Errors.Routes), afterError})
		}
	case *reverseproxy.Handler:
		all = responseBranches(h.HandleResponse)
	case *intercept.Intercept:
		all = responseBranches(h.HandleResponse)
	}
	return all
}

func responseBranches(responses []caddyhttp.ResponseHandler) (all []branch) {
	for i, response := range responses {
		all = append(all, branch{fmt.Sprintf("handle_response/%d/routes", i), inConfig(response.Routes), afterAnswer})
	}
	return all
}

// inConfig is a list of routes as the config has it: without what guards it.
func inConfig(list caddyhttp.RouteList) caddyhttp.RouteList {
	if s := siteIn(list); s != nil {
		return s.routes
	}
	if e := errorsIn(list); e != nil {
		if e.routes != nil {
			return e.routes
		}
		return list[1:]
	}
	return list
}
