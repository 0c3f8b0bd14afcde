package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/oauth2-passport/caddy-passport/store/badgerstore"
)

func installCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "install",
		Short: "Prepares everything for a first start: checks the config, makes storage and keys",
		Long: `Prepares everything for a first start: checks the config, makes the storage and the keys of
each issuer. It may be run again, and beside the Caddy that runs with the config, which then
does the work. Without --config the Caddyfile of the current folder is used.`,
		Args: cobra.NoArgs,
		RunE: runInstall,
	}
}

func runInstall(cmd *cobra.Command, _ []string) error {
	config, err := loadConfig(cmd)
	if err != nil {
		return err
	}
	answer, err := installHere(cmd.Context(), config)
	if errors.Is(err, badgerstore.ErrInUse) {
		answer, err = installBeside(cmd, config, err)
	}
	if err != nil {
		return err
	}
	a := &admin{cmd: cmd, json: cmd.Flags().Lookup("json").Value.String() == "true"}
	return a.print(answer, func(w io.Writer) {
		for _, i := range answer.Issuers {
			fmt.Fprintf(w, "issuer %s\tready\n", i.Issuer)
			fmt.Fprintf(w, "  storage\t%s\n", i.Storage)
			fmt.Fprintf(w, "  signing key\t%s %s\n", i.Algorithm, i.KeyID)
			fmt.Fprintf(w, "  clients\t%d in the config, %d in the storage\n", i.ConfigClients, i.StoredClients)
		}
	})
}

// installBeside asks the Caddy that runs, for it may be what has the storage. Otherwise inUse, which says that another
// process has it, is the answer.
func installBeside(cmd *cobra.Command, config *caddy.Config, inUse error) (answer installAnswer, err error) {
	a, err := adminOf(cmd)
	if err != nil {
		return answer, err
	}
	if config.Admin != nil && config.Admin.Listen != "" && cmd.Flags().Lookup("address").Value.String() == "" {
		a.address = config.Admin.Listen
	}
	if err := a.call(http.MethodPost, adminBase+"install", nil, &answer); err != nil {
		return answer, fmt.Errorf("%w; and the Caddy that may have it does not say so: %w", inUse, err)
	}
	for _, i := range answer.Issuers {
		// The error names the folder, as the answer does.
		if _, folder, _ := strings.Cut(i.Storage, " "); strings.Contains(inUse.Error(), folder+":") {
			return answer, nil
		}
	}
	return answer, fmt.Errorf("%w, which is not the Caddy at %s", inUse, a.address)
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
	quiet := *config
	quiet.Admin = &caddy.AdminConfig{Disabled: true}
	config = &quiet
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
