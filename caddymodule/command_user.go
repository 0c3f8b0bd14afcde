package caddymodule

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func userCommand() *cobra.Command {
	off, on := true, false
	return nounCommand("user", "Manages people who can sign in",
		userCreateCommand(), userListCommand(), userShowCommand(), userUpdateCommand(),
		userSwitchCommand("disable", "Ends a person's sessions and tokens, and lets nobody sign in by that name", &off),
		userSwitchCommand("enable", "Lets a person sign in again who was disabled", &on),
		userPasswordCommand(), userDeleteCommand())
}

func userCreateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Makes an account; its password is made and shown once, unless it comes on standard input",
		Example: `  caddy passport user create ann --email ann@example.com --scopes "read write"
  caddy passport user create ann --password-stdin < password.txt`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			a, err := adminOf(cmd)
			if err != nil {
				return err
			}
			change, err := userChangeOf(cmd.Flags())
			if err != nil {
				return err
			}
			change.Username = args[0]
			if change.Password, err = passwordFlag(cmd); err != nil {
				return err
			}
			var u userWithPassword
			if err := a.call(http.MethodPost, a.path("users"), change, &u); err != nil {
				return err
			}
			return a.print(u, u.write)
		},
	}
	addUserFlags(cmd.Flags())
	addPasswordFlag(cmd.Flags())
	return cmd
}

func addUserFlags(f *pflag.FlagSet) {
	f.String("email", "", "What the person can sign in with, too")
	f.String("name", "", "What others read of the person")
	f.StringArray("scopes", nil, "All scopes that the person may have (default: every one that is not restricted)")
	f.Bool("all-scopes", false, "The person may have every scope that is not restricted")
}

func addPasswordFlag(f *pflag.FlagSet) {
	f.Bool("password-stdin", false, "Take the password from standard input, its first line")
}

// userChangeOf takes the flags that were given; what was not stays as it is.
func userChangeOf(f *pflag.FlagSet) (*userChange, error) {
	var c userChange
	for name, into := range map[string]**string{"email": &c.Email, "name": &c.Name} {
		if f.Changed(name) {
			text, _ := f.GetString(name)
			*into = &text
		}
	}
	c.AllScopes, _ = f.GetBool("all-scopes")
	if !f.Changed("scopes") {
		return &c, nil
	}
	values, _ := f.GetStringArray("scopes")
	scope := strings.Join(items(values), " ")
	switch {
	case scope == "": // as from a variable that is not set
		return nil, errors.New("--scopes is empty: name the scopes, or say --all-scopes")
	case c.AllScopes:
		return nil, errors.New("--scopes and --all-scopes exclude each other")
	}
	c.Scope = &scope
	return &c, nil
}

// passwordFlag reads the password from standard input, if the flag says so.
func passwordFlag(cmd *cobra.Command) (string, error) {
	if stdin, _ := cmd.Flags().GetBool("password-stdin"); !stdin {
		return "", nil
	}
	line, err := bufio.NewReader(io.LimitReader(cmd.InOrStdin(), 64<<10)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("reading the password from standard input: %w", err)
	}
	if line = strings.TrimRight(line, "\r\n"); line == "" {
		return "", errors.New("there is no password on standard input")
	}
	return line, nil
}

func userListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Lists the people: those of the config, then the others by age",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			a, err := adminOf(cmd)
			if err != nil {
				return err
			}
			limit, _ := cmd.Flags().GetInt("limit")
			var answer userList
			if err := a.call(http.MethodGet, fmt.Sprintf("%s?limit=%d", a.path("users"), limit), nil, &answer); err != nil {
				return err
			}
			return a.print(answer, func(w io.Writer) {
				if len(answer.Users) == 0 {
					fmt.Fprintln(w, "Nobody. Make an account by: caddy passport user create NAME")
					return
				}
				fmt.Fprintln(w, "USERNAME\tEMAIL\tSCOPES\tKEPT IN\tSTATE")
				for _, u := range answer.Users {
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", u.Username, dash(u.Email), u.scopeText(), u.Source, u.state())
				}
				if answer.More {
					fmt.Fprintf(w, "More than %d: raise --limit.\n", len(answer.Users))
				}
			})
		},
	}
	cmd.Flags().Int("limit", 100, "How many at the most")
	return cmd
}

func userShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show NAME",
		Short: "Shows a person (by name, email or ID)",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return userCall(cmd, http.MethodGet, args[0], nil)
		},
	}
}

func userUpdateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "update NAME",
		Short:   "Changes what is said of an account; what is not said stays",
		Example: `  caddy passport user update ann --scopes "read write"`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			change, err := userChangeOf(cmd.Flags())
			if err != nil {
				return err
			}
			if *change == (userChange{}) {
				return errors.New("nothing to change: say what, for example --email or --scopes")
			}
			return userCall(cmd, http.MethodPatch, args[0], change)
		},
	}
	addUserFlags(cmd.Flags())
	return cmd
}

func userSwitchCommand(verb, short string, disabled *bool) *cobra.Command {
	return &cobra.Command{
		Use:   verb + " NAME",
		Short: short,
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return userCall(cmd, http.MethodPatch, args[0], &userChange{Disabled: disabled})
		},
	}
}

func userCall(cmd *cobra.Command, method, name string, change *userChange) error {
	a, err := adminOf(cmd)
	if err != nil {
		return err
	}
	var body any
	if change != nil {
		body = change
	}
	var u userView
	if err := a.call(method, a.path("users", name), body, &u); err != nil {
		return err
	}
	return a.print(u, u.write)
}

func userPasswordCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "password NAME",
		Short: "Gives an account a new password, and ends its sessions and tokens",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			a, err := adminOf(cmd)
			if err != nil {
				return err
			}
			var request passwordRequest
			if request.Password, err = passwordFlag(cmd); err != nil {
				return err
			}
			var u userWithPassword
			if err := a.call(http.MethodPost, a.path("users", args[0], "password"), request, &u); err != nil {
				return err
			}
			return a.print(u, func(w io.Writer) {
				fmt.Fprintf(w, "username\t%s\n", u.Username)
				u.writePassword(w)
				fmt.Fprintf(w, "Sessions and tokens of %s have ended.\n", u.Username)
			})
		},
	}
	addPasswordFlag(cmd.Flags())
	return cmd
}

func userDeleteCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "delete NAME",
		Short: "Removes a person, with sessions, tokens and own clients",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			a, err := adminOf(cmd)
			if err != nil {
				return err
			}
			if err := a.call(http.MethodDelete, a.path("users", args[0]), nil, nil); err != nil {
				return err
			}
			return a.print(map[string]string{"username": args[0]}, func(w io.Writer) {
				fmt.Fprintf(w, "Deleted %s; sessions and tokens have ended.\n", args[0])
			})
		},
	}
}

func (u userView) state() string {
	switch {
	case u.Gone:
		return "gone"
	case u.Disabled:
		return "disabled"
	}
	return "good"
}

// scopeText is the person's scopes for people.
func (u userView) scopeText() string {
	if u.Scope == nil {
		return "(all but restricted ones)"
	}
	return dash(*u.Scope)
}

func (u userView) write(w io.Writer) {
	fmt.Fprintf(w, "username\t%s\n", u.Username)
	fmt.Fprintf(w, "sub\t%s\n", dash(u.ID))
	if u.Email != "" {
		fmt.Fprintf(w, "email\t%s\n", u.Email)
	}
	if u.Name != "" {
		fmt.Fprintf(w, "name\t%s\n", u.Name)
	}
	fmt.Fprintf(w, "scope\t%s\n", u.scopeText())
	fmt.Fprintf(w, "kept in\t%s\n", u.Source)
	fmt.Fprintf(w, "state\t%s\n", u.state())
	if u.SignedInAt != 0 {
		fmt.Fprintf(w, "last sign-in\t%s\n", moment(u.SignedInAt))
	}
}

func (u userWithPassword) write(w io.Writer) {
	u.userView.write(w)
	u.writePassword(w)
}

func (u userWithPassword) writePassword(w io.Writer) {
	if u.Password != "" {
		fmt.Fprintf(w, "password\t%s\n\nKeep the password now: it is not shown again.\n", u.Password)
	}
}
