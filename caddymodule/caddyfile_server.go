package caddymodule

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func parseServer(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	var s Server
	if err := s.UnmarshalCaddyfile(h.Dispenser); err != nil {
		return nil, err
	}
	if err := checkIssuer(h, s.Issuer); err != nil {
		return nil, err
	}
	return &s, nil
}

// UnmarshalCaddyfile reads the directive passport_server. Syntax:
//
//	passport_server [<matcher>] [<issuer name>] {
//	    prefix <path>
//	}
func (s *Server) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the directive's name
	if d.NextArg() {
		s.Issuer = d.Val()
		if err := checkIssuerName(s.Issuer); err != nil {
			return d.WrapErr(err)
		}
	}
	if d.NextArg() {
		return d.ArgErr()
	}
	return parseBlock(d, "passport_server", map[string]option{
		"prefix": {parse: func(d *caddyfile.Dispenser) error {
			if err := parseText(d, &s.Prefix); err != nil {
				return err
			}
			if err := checkPrefix(s.Prefix); err != nil {
				return d.WrapErr(err)
			}
			return nil
		}},
	})
}

// Interface guards
var _ caddyfile.Unmarshaler = (*Server)(nil)
