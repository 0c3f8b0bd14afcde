package caddymodule

import (
	"net/http"

	"github.com/oauth2-passport/caddy-passport/issuer/keys"
)

// keyList is what the admin API answers of an issuer's keys.
type keyList struct {
	Keys []keys.Info `json:"keys"`
}

type rotateRequest struct {
	// Force lets the next key sign even when it was published so lately that others may not have seen it.
	Force bool `json:"force,omitempty"`
}

func listKeys(r *http.Request, i *running) (any, error) {
	infos, err := i.ring.List(r.Context())
	if err != nil {
		return nil, err
	}
	return keyList{Keys: infos}, nil
}

func rotateKeys(r *http.Request, i *running) (any, error) {
	var request rotateRequest
	if err := readBody(r, &request); err != nil {
		return nil, err
	}
	if err := i.ring.Rotate(r.Context(), request.Force); err != nil {
		return nil, err
	}
	return listKeys(r, i)
}

func retireKey(r *http.Request, i *running) (any, error) {
	if err := i.ring.Retire(r.Context(), r.PathValue("id")); err != nil {
		return nil, err
	}
	return listKeys(r, i)
}
