package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/oauth2-passport/caddy-passport/issuer"
)

// resource is a protected resource (RFC 9728) that a passport_auth guards: what it is called, and who says what is
// needed there. Its metadata is served by the site, which stands before all routes of the block.
type resource struct {
	id       string // the resource identifier, RFC 9728 §1.2
	host     string
	path     string // where its metadata is
	metadata string // the same, as a URL
	name     string // what people call it; empty: it has no name
	scopes   []string
	servers  []string // authorization servers beside the issuer
	instance *instance
}

const wellKnownResource = "/.well-known/oauth-protected-resource"

// newResource reads a resource identifier.
func newResource(id string) (*resource, error) {
	u, err := url.Parse(id)
	if err != nil {
		return nil, fmt.Errorf("resource %q is no URL", id)
	}
	switch {
	case u.Scheme != "https" && u.Scheme != "http", u.Hostname() == "":
		err = errors.New("it has to begin with https:// and a host")
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		err = errors.New("http is for loopback addresses only: it has to begin with https://")
	case u.User != nil:
		err = errors.New("it has no room for a user or password")
	case u.RawQuery != "" || u.ForceQuery || strings.Contains(id, "#"):
		err = errors.New("it has no room for a query or a fragment")
	case u.RawPath != "" || u.String() != id || strings.ContainsAny(id, "\"\\ <>{}*"):
		err = errors.New("it has to be written as URLs are, without what need not be escaped")
	case len(id) > maxResource:
		err = fmt.Errorf("it has more than %d characters", maxResource)
	}
	if err != nil {
		return nil, fmt.Errorf("resource %q: %w", id, err)
	}
	path := u.Path
	if path == "/" { // RFC 9728 §3.1
		path = ""
	}
	path = wellKnownResource + path
	where := url.URL{Scheme: u.Scheme, Host: u.Host, Path: path}
	return &resource{id: id, host: strings.ToLower(u.Host), path: path, metadata: where.String()}, nil
}

// maxResource is how many bytes a resource identifier has at most; tokens have it.
const maxResource = 512

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || err == nil && addr.IsLoopback()
}

// provisionResource reads the resource of the route, which becomes one of the audiences that it demands.
func (a *Auth) provisionResource() (audience []string, err error) {
	if a.Resource == "" {
		return a.Audience, nil
	}
	id, err := replace(a.Resource)
	if err != nil {
		return nil, fmt.Errorf("resource: %w", err)
	}
	if a.resource, err = newResource(id); err != nil {
		return nil, err
	}
	if slices.Contains(a.Audience, id) {
		return a.Audience, nil
	}
	return append(slices.Clone(a.Audience), id), nil
}

// publish tells the issuer and the site of what the route demands.
func (a *Auth) publish(ctx caddy.Context) error {
	if i := a.gate.instance; i != nil && (a.resource != nil || len(a.Audience) == 0) {
		route := issuer.Route{Scopes: a.gate.scopes, AnyScope: a.gate.anyScope}
		if a.resource != nil {
			route.Resource = a.resource.id
		}
		i.guards(route)
	}
	if a.resource == nil {
		return nil
	}
	a.resource.instance = a.gate.instance
	for _, t := range a.Trust {
		server, err := replace(t.Issuer)
		if err != nil {
			return err
		}
		if strings.HasPrefix(server, "https://") { // the others have no metadata to be found
			a.resource.servers = append(a.resource.servers, server)
		}
	}
	a.resource.scopes = strings.Fields(a.wanted)
	if a.Realm != defaultRealm {
		a.resource.name = a.Realm
	}
	return publishResource(ctx, a.resource)
}

// resources are those of a site. They are added while the config is provisioned.
type resources []*resource

// add adds a resource. Several routes may have the same; their scopes are put together.
func (l *resources) add(res *resource) {
	for _, known := range *l {
		if known.id == res.id && known.instance == res.instance {
			for _, scope := range res.scopes {
				if !slices.Contains(known.scopes, scope) {
					known.scopes = append(slices.Clip(known.scopes), scope)
				}
			}
			if known.name == "" {
				known.name = res.name
			}
			for _, server := range res.servers {
				if !slices.Contains(known.servers, server) {
					known.servers = append(slices.Clip(known.servers), server)
				}
			}
			return
		}
	}
	added := *res
	*l = append(*l, &added)
}

// find returns the resource whose metadata a request asks for, or nil. Where two hosts have the same path, the host
// tells; a host that has none asks through a proxy that names itself.
func (l resources) find(r *http.Request) *resource {
	if len(l) == 0 || !strings.HasPrefix(r.URL.Path, wellKnownResource) {
		return nil
	}
	var found *resource
	for _, res := range l {
		if res.path != r.URL.Path {
			continue
		}
		if strings.EqualFold(res.host, r.Host) {
			return res
		}
		if found == nil {
			found = res
		}
	}
	return found
}

// serve answers a request for the metadata (RFC 9728 §3). Scripts of every origin may read it, as they may the metadata
// of the issuer: it depends on no credential.
func (res *resource) serve(w http.ResponseWriter, r *http.Request, logger *zap.Logger) {
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("X-Content-Type-Options", "nosniff")
	const methods = "GET, HEAD, OPTIONS"
	switch r.Method {
	case http.MethodGet, http.MethodHead:
	case http.MethodOptions:
		h.Set("Allow", methods)
		if r.Header.Get("Access-Control-Request-Method") != "" {
			h.Set("Access-Control-Allow-Methods", methods)
			h.Set("Access-Control-Allow-Headers", "*") // MCP clients send MCP-Protocol-Version
			h.Set("Access-Control-Max-Age", "7200")
		}
		w.WriteHeader(http.StatusNoContent)
		return
	default:
		h.Set("Allow", methods)
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	body, err := res.document(r)
	if err != nil {
		logger.Error("the issuer is not available", zap.Error(err))
		issuer.Unavailable(w, r)
		return
	}
	h.Set("Cache-Control", "public, max-age=300")
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodGet {
		_, _ = w.Write(body)
	}
}

// document is the metadata, RFC 9728 §2.
func (res *resource) document(r *http.Request) ([]byte, error) {
	servers := slices.Clone(res.servers)
	if res.instance != nil {
		open, err := res.instance.use(r.Context())
		if err != nil {
			return nil, err
		}
		if identifier := open.issuer.IdentifierFor(r); identifier != "" {
			servers = slices.Insert(servers, 0, identifier)
		}
	}
	body, err := json.Marshal(struct {
		Resource      string   `json:"resource"`
		Servers       []string `json:"authorization_servers,omitempty"`
		Scopes        []string `json:"scopes_supported,omitempty"`
		BearerMethods []string `json:"bearer_methods_supported"`
		Name          string   `json:"resource_name,omitempty"`
	}{res.id, servers, res.scopes, []string{"header"}, res.name})
	return append(body, '\n'), err
}
