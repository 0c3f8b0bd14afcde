package caddymodule

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func clientCommand() *cobra.Command {
	return nounCommand("client", "Manages OAuth clients",
		clientCreateCommand(), clientListCommand(), clientShowCommand(), clientUpdateCommand(),
		clientSecretCommand(), clientDeleteCommand())
}

func clientCreateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "create --name NAME",
		Short:   "Registers a client and shows its secret, once",
		Example: `  caddy passport client create --name "Orders sync" --grants client_credentials --scopes "read write"`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			a, err := adminOf(cmd)
			if err != nil {
				return err
			}
			change, err := clientChangeOf(cmd.Flags())
			if err != nil {
				return err
			}
			if change.Name == nil {
				return fmt.Errorf("a client needs a name that people know it by: --name")
			}
			var c clientWithSecret
			if err := a.call(http.MethodPost, a.path("clients"), change, &c); err != nil {
				return err
			}
			return a.print(c, func(w io.Writer) { c.write(w); c.writeSecret(w) })
		},
	}
	addClientFlags(cmd.Flags())
	cmd.Flags().Bool("public", false, "The client can't keep a secret (a browser or native app) and gets none")
	cmd.Flags().String("user", "", "The person whom the client belongs to")
	return cmd
}

// addClientFlags adds what can be said of a client at any time.
func addClientFlags(f *pflag.FlagSet) {
	f.String("name", "", "What people know the client by")
	f.StringArray("grants", nil, "Grant types that it may use (default: those that suit it)")
	f.StringArray("scopes", nil, "All scopes that it may have (default: every one that is not restricted)")
	f.Bool("all-scopes", false, "It may have every scope that is not restricted")
	f.StringArray("redirect-uri", nil, "A URI to which people may be sent back; may be repeated")
	f.Bool("first-party", false, "The client is the operator's own: people are not asked for consent")
	f.Bool("resource-server", false, "The client may introspect every token")
	f.String("access-token-lifetime", "", `How long its access tokens are good, for example 5m (default: the issuer's)`)
}

// clientChangeOf takes the flags that were given; what was not stays as it is.
func clientChangeOf(f *pflag.FlagSet) (*clientChange, error) {
	var c clientChange
	list := func(name string, into **[]string, read func([]string) []string) {
		if f.Changed(name) {
			values, _ := f.GetStringArray(name)
			values = read(values)
			*into = &values
		}
	}
	flag := func(name string, into **bool) {
		if f.Changed(name) {
			value, _ := f.GetBool(name)
			*into = &value
		}
	}
	if f.Changed("name") {
		name, _ := f.GetString("name")
		c.Name = &name
	}
	list("grants", &c.GrantTypes, items)
	list("redirect-uri", &c.RedirectURIs, func(uris []string) []string { return uris })
	var scopes *[]string
	if list("scopes", &scopes, items); scopes != nil {
		if len(*scopes) == 0 { // as from a variable that is not set: it must not widen what the client may have
			return nil, errors.New("--scopes is empty: name the scopes, or say --all-scopes")
		}
		scope := strings.Join(*scopes, " ")
		c.Scope = &scope
	}
	if all, _ := f.GetBool("all-scopes"); all {
		if scopes != nil {
			return nil, errors.New("--scopes and --all-scopes exclude each other")
		}
		c.Scope = new(string)
	}
	flag("first-party", &c.FirstParty)
	flag("resource-server", &c.ResourceServer)
	if f.Lookup("public") != nil {
		flag("public", &c.Public)
		if user, _ := f.GetString("user"); user != "" {
			c.User = &user
		}
	}
	if f.Lookup("disabled") != nil {
		flag("disabled", &c.Disabled)
	}
	if f.Changed("access-token-lifetime") {
		text, _ := f.GetString("access-token-lifetime")
		lifetime, err := caddy.ParseDuration(text)
		if err != nil {
			return nil, fmt.Errorf("--access-token-lifetime %q is no duration: write 5m, 2h or 30d", text)
		}
		seconds := int64(lifetime / time.Second)
		c.AccessTokenLifetime = &seconds
	}
	return &c, nil
}

func clientListCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "Lists the clients",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			a, err := adminOf(cmd)
			if err != nil {
				return err
			}
			var answer clientList
			if err := a.call(http.MethodGet, a.path("clients"), nil, &answer); err != nil {
				return err
			}
			return a.print(answer, func(w io.Writer) {
				if len(answer.Clients) == 0 {
					fmt.Fprintln(w, "No clients. Make one by: caddy passport client create --name NAME")
					return
				}
				fmt.Fprintln(w, "CLIENT ID\tNAME\tGRANTS\tSCOPES\tKEPT IN")
				for _, c := range answer.Clients {
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n",
						c.ID, c.Name, dash(strings.Join(c.GrantTypes, " ")), c.scopeText(), c.Source)
				}
			})
		},
	}
}

func clientShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show ID",
		Short: "Shows a client",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return clientCall(cmd, http.MethodGet, args[0], nil)
		},
	}
}

func clientUpdateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "update ID",
		Short: "Changes what is said of a client; what is not said stays",
		Example: `  caddy passport client update ID --scopes "read write"
  caddy passport client update ID --disabled`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			change, err := clientChangeOf(cmd.Flags())
			if err != nil {
				return err
			}
			if *change == (clientChange{}) {
				return fmt.Errorf("nothing to change: say what, for example --name or --scopes")
			}
			return clientCall(cmd, http.MethodPatch, args[0], change)
		},
	}
	addClientFlags(cmd.Flags())
	cmd.Flags().Bool("disabled", false, "Refuse the client and end its tokens; --disabled=false lets it in again")
	return cmd
}

func clientCall(cmd *cobra.Command, method, id string, change *clientChange) error {
	a, err := adminOf(cmd)
	if err != nil {
		return err
	}
	var body any
	if change != nil {
		body = change
	}
	var c clientView
	if err := a.call(method, a.path("clients", id), body, &c); err != nil {
		return err
	}
	return a.print(c, c.write)
}

func clientSecretCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "rotate-secret ID",
		Short: "Gives a client a new secret and shows it, once; the old one is good no more",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			a, err := adminOf(cmd)
			if err != nil {
				return err
			}
			var c clientWithSecret
			if err := a.call(http.MethodPost, a.path("clients", args[0], "secret"), nil, &c); err != nil {
				return err
			}
			return a.print(c, func(w io.Writer) {
				fmt.Fprintf(w, "client_id\t%s\n", c.ID)
				c.writeSecret(w)
			})
		},
	}
}

func clientDeleteCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "delete ID",
		Short: "Removes a client and ends its tokens",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			a, err := adminOf(cmd)
			if err != nil {
				return err
			}
			if err := a.call(http.MethodDelete, a.path("clients", args[0]), nil, nil); err != nil {
				return err
			}
			return a.print(map[string]string{"client_id": args[0]}, func(w io.Writer) {
				fmt.Fprintf(w, "Deleted %s; its tokens are good no more.\n", args[0])
			})
		},
	}
}

func (c clientView) write(w io.Writer) {
	fmt.Fprintf(w, "client_id\t%s\n", c.ID)
	fmt.Fprintf(w, "client_name\t%s\n", c.Name)
	fmt.Fprintf(w, "grant_types\t%s\n", dash(strings.Join(c.GrantTypes, " ")))
	fmt.Fprintf(w, "scope\t%s\n", c.scopeText())
	if len(c.RedirectURIs) > 0 {
		fmt.Fprintf(w, "redirect_uris\t%s\n", strings.Join(c.RedirectURIs, " "))
	}
	if c.AccessTokenLifetime > 0 {
		fmt.Fprintf(w, "access_token_lifetime\t%s\n", time.Duration(c.AccessTokenLifetime)*time.Second)
	}
	for _, f := range []struct {
		name string
		on   bool
	}{
		{"public", c.Public}, {"first_party", c.FirstParty}, {"resource_server", c.ResourceServer}, {"disabled", c.Disabled},
	} {
		if f.on {
			fmt.Fprintf(w, "%s\tyes\n", f.name)
		}
	}
	if c.User != "" {
		fmt.Fprintf(w, "user\t%s\n", c.User)
	}
	fmt.Fprintf(w, "kept in\t%s\n", c.Source)
}

// scopeText is the client's scopes for people: an empty list means that it is not limited to one.
func (c clientView) scopeText() string {
	if c.Scope == "" {
		return "(all but restricted ones)"
	}
	return c.Scope
}

func (c clientWithSecret) writeSecret(w io.Writer) {
	if c.Secret != "" {
		fmt.Fprintf(w, "client_secret\t%s\n\nKeep the secret now: it is not shown again.\n", c.Secret)
	}
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
