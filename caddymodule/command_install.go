package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

func installCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "install",
		Short: "Prepares everything for a first start: checks the config, makes storage and keys",
		Long: `Prepares everything for a first start: checks the config, makes the storage and the keys of
each issuer. It may be run again, and beside a running Caddy, which then does the work. Without
--config the Caddyfile of the current folder is used.`,
		Args: cobra.NoArgs,
		RunE: runInstall,
	}
}

func runInstall(cmd *cobra.Command, _ []string) error {
	config, err := loadConfig(cmd)
	if err != nil {
		return err
	}
	a, err := adminOf(cmd)
	if err != nil {
		return err
	}
	if cmd.Flags().Lookup("address").Value.String() == "" && config.Admin != nil && config.Admin.Listen != "" {
		a.address = config.Admin.Listen
	}
	var answer installAnswer
	// A Caddy that runs with these issuers holds their storage: it does the work. One without them is in nobody's way.
	err = a.call(http.MethodPost, adminBase+"install", nil, &answer)
	if err != nil {
		if answer, err = installHere(cmd.Context(), config); err != nil {
			return err
		}
	}
	return a.print(answer, func(w io.Writer) {
		for _, i := range answer.Issuers {
			fmt.Fprintf(w, "issuer %s\tready\n", i.Issuer)
			fmt.Fprintf(w, "  storage\t%s\n", i.Storage)
			fmt.Fprintf(w, "  signing key\t%s %s\n", i.Algorithm, i.KeyID)
			fmt.Fprintf(w, "  clients\t%d in the config, %d in the storage\n", i.ConfigClients, i.StoredClients)
		}
	})
}

// loadConfig reads and adapts the config that the flags name, or that of the current folder.
func loadConfig(cmd *cobra.Command) (*caddy.Config, error) {
	f := cmd.Flags()
	file := f.Lookup("config").Value.String()
	encoded, loaded, _, err := caddycmd.LoadConfig(file, f.Lookup("adapter").Value.String())
	if err != nil {
		return nil, err
	}
	if loaded == "" {
		return nil, errors.New("there is no Caddyfile in this folder: name the config by --config")
	}
	config := new(caddy.Config)
	if err := json.Unmarshal(encoded, config); err != nil {
		return nil, fmt.Errorf("%s: %w", loaded, err)
	}
	return config, nil
}

// installHere does the work in this process, for no Caddy holds the storage.
func installHere(ctx context.Context, config *caddy.Config) (installAnswer, error) {
	config.Admin = &caddy.AdminConfig{Disabled: true}
	provisioned, err := caddy.ProvisionContext(config)
	if err != nil {
		return installAnswer{}, err
	}
	loaded, err := provisioned.AppIfConfigured("passport")
	if err != nil {
		return installAnswer{}, errNoIssuers
	}
	app := loaded.(*App)
	defer func() { _ = app.Cleanup() }()
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return install(ctx, app)
}
