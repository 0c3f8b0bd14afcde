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

	"github.com/oauth2-passport/caddy-passport/issuer"
	"github.com/oauth2-passport/caddy-passport/store/badgerstore"
)

func installCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "install",
		Short: "Prepares everything for a first start: checks the config, makes storage, keys and the first user",
		Long: `Prepares everything for a first start: checks the config, makes the storage and the keys of
each issuer, and the first user of the one of --issuer: whom --user names or, at a terminal
and where there is nobody yet, whom you say. It may be run again, and beside the Caddy that
runs with the config, which then does the work. Without --config the Caddyfile of the current
folder is used.`,
		Example: `  caddy passport install --config Caddyfile
  caddy passport install --config Caddyfile --user ann --password-stdin < password.txt`,
		Args: cobra.NoArgs,
		RunE: runInstall,
	}
	addFirstUserFlags(cmd)
	return cmd
}

func runInstall(cmd *cobra.Command, _ []string) error {
	config, err := loadConfig(cmd)
	if err != nil {
		return err
	}
	answer, err := installHere(cmd, config)
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
		if answer.User != nil {
			answer.User.write(w)
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
			return a.installUser(answer)
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
func installHere(cmd *cobra.Command, config *caddy.Config) (answer installAnswer, err error) {
	quiet := *config
	quiet.Admin = &caddy.AdminConfig{Disabled: true}
	config = &quiet
	provisioned, err := caddy.ProvisionContext(config)
	if err != nil {
		return answer, err
	}
	loaded, err := provisioned.AppIfConfigured("passport")
	if err != nil {
		return answer, errNoIssuers
	}
	app := loaded.(*App)
	defer func() { _ = app.Cleanup() }()
	ctx := cmd.Context()
	if ctx == nil {
		ctx = context.Background()
	}
	ctx = context.WithValue(ctx, originKey{}, origin{operator: true})
	opening, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if answer, err = install(opening, app); err != nil {
		return answer, err
	}
	name := cmd.Flags().Lookup("issuer").Value.String()
	wanted, err := firstUserOf(cmd, answer.people(name))
	if err != nil || wanted == nil {
		return answer, err
	}
	i := app.find(name)
	if i == nil {
		return answer, app.unknown(name)
	}
	open, err := i.use(ctx)
	if err != nil {
		return answer, err
	}
	answer.User, err = open.firstUser(ctx, wanted)
	return answer, err
}

// firstUser finds the account of that name, or makes it.
func (r *running) firstUser(ctx context.Context, wanted *userChange) (*firstUser, error) {
	found, err := r.issuer.User(ctx, wanted.Username)
	if err == nil {
		return &firstUser{userWithPassword: userWithPassword{userView: userViewOf(found)}}, nil
	}
	if !errors.Is(err, issuer.ErrUnknownUser) {
		return nil, err
	}
	made, password, err := r.issuer.CreateUser(ctx, wanted.newUser())
	if err != nil {
		return nil, err
	}
	return &firstUser{userWithPassword{userViewOf(made), password}, true}, nil
}

// installUser has the Caddy that runs find or make the first user.
func (a *admin) installUser(answer installAnswer) (installAnswer, error) {
	wanted, err := firstUserOf(a.cmd, answer.people(a.issuer))
	if err != nil || wanted == nil {
		return answer, err
	}
	user := new(firstUser)
	err = a.call(http.MethodGet, a.path("users", wanted.Username), nil, user)
	if err != nil && err.Error() == issuer.ErrUnknownUser.Error() {
		err = a.call(http.MethodPost, a.path("users"), wanted, user)
		user.Created = true
	}
	answer.User = user
	return answer, err
}

// people is how many there are of the issuer of that name.
func (a installAnswer) people(name string) int {
	for _, i := range a.Issuers {
		if i.Issuer == name {
			return i.Users
		}
	}
	return 0
}
