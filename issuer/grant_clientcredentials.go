package issuer

import (
	"context"

	"github.com/oauth2-passport/caddy-passport/store"
)

// clientCredentials is a client that acts for itself (RFC 6749 §4.4). Only one that can prove who it is may do so.
var clientCredentials = &grant{
	name:         "client_credentials",
	wire:         "client_credentials",
	confidential: true,
	anyScope:     true,
	issue:        (*Issuer).issueClientCredentials,
}

func (i *Issuer) issueClientCredentials(ctx context.Context, req *tokenRequest) (*issued, error) {
	m := req.mandate()
	var token *store.Token
	err := i.issuing(ctx, func(r *store.Records) (err error) {
		if err := i.unchanged(r, req.client); err != nil {
			return err
		}
		if token, err = i.newToken(r, &m); err != nil {
			return err
		}
		return r.PutToken(token)
	})
	if err != nil {
		return nil, err
	}
	return i.give(ctx, m, token)
}
