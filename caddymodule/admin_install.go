package caddymodule

import (
	"context"
	"net/http"

	"github.com/oauth2-passport/caddy-passport/issuer"
)

// installAnswer says what is ready after an installation.
type installAnswer struct {
	Issuers []installedIssuer `json:"issuers"`
	User    *firstUser        `json:"user,omitempty"` // who was asked for
}

type installedIssuer struct {
	Issuer        string `json:"issuer"`  // its name
	Storage       string `json:"storage"` // module and what it has open
	Algorithm     string `json:"algorithm"`
	KeyID         string `json:"kid"` // of the key that signs
	ConfigClients int    `json:"config_clients"`
	StoredClients int    `json:"stored_clients"`
	Users         int    `json:"users"` // people, wherever they are kept; 2: two or more
}

func adminInstall(r *http.Request) (any, error) {
	app, err := administered()
	if err != nil {
		return nil, err
	}
	return install(r.Context(), app)
}

// install opens each issuer, which makes its storage and its keys where they are missing, and says what is there.
func install(ctx context.Context, app *App) (answer installAnswer, err error) {
	for _, i := range app.all() {
		open, err := i.use(ctx)
		if err != nil {
			return answer, statusError{http.StatusServiceUnavailable, err}
		}
		clients, err := open.issuer.Clients(ctx)
		if err != nil {
			return answer, err
		}
		installed := installedIssuer{
			Issuer:  i.name,
			Storage: i.config.storage.CaddyModule().ID.Name() + " " + i.config.storage.Resource(i.name),
		}
		if key := open.ring.Current(); key != nil {
			installed.Algorithm, installed.KeyID = string(key.Algorithm()), key.ID()
		}
		for _, c := range clients {
			if c.Configured {
				installed.ConfigClients++
			} else {
				installed.StoredClients++
			}
		}
		people, err := open.issuer.Users(ctx, issuer.UserFilter{Limit: 2})
		if err != nil {
			return answer, err
		}
		installed.Users = len(people)
		answer.Issuers = append(answer.Issuers, installed)
	}
	return answer, nil
}
