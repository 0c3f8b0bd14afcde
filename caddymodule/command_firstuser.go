package caddymodule

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// firstUser is the account that an installation makes, or finds.
type firstUser struct {
	userWithPassword
	Created bool `json:"created"` // false: it was there before, and stays as it is
}

func addFirstUserFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.String("user", "", "Name of the first user, who stays as it is when there is one of this name")
	f.String("email", "", "The first user's email")
	f.StringArray("scopes", nil, "All scopes that the first user may have (default: every one that is not restricted)")
	f.Bool("all-scopes", false, "The first user may have every scope that is not restricted")
	addPasswordFlag(f)
}

// firstUserOf answers whom the flags want to be made or, where nobody is there yet and somebody sits at a terminal,
// whom that wants; nil for nobody. people is how many there are.
func firstUserOf(cmd *cobra.Command, people int) (*userChange, error) {
	change, err := userChangeOf(cmd.Flags())
	if err != nil {
		return nil, err
	}
	if change.Username, _ = cmd.Flags().GetString("user"); change.Username != "" {
		change.Password, err = passwordFlag(cmd)
		return change, err
	}
	if stdin, _ := cmd.Flags().GetBool("password-stdin"); stdin || *change != (userChange{}) {
		return nil, errors.New("whose? Name the first user by --user")
	}
	if people > 0 || !sitsThere(cmd) {
		return nil, nil
	}
	return askFirstUser(cmd, change)
}

// sitsThere tells whether somebody sits at a terminal, who can be asked.
func sitsThere(cmd *cobra.Command) bool {
	in, ok := cmd.InOrStdin().(*os.File)
	return ok && term.IsTerminal(int(in.Fd())) && term.IsTerminal(int(os.Stderr.Fd())) &&
		cmd.Flags().Lookup("json").Value.String() != "true"
}

func askFirstUser(cmd *cobra.Command, change *userChange) (*userChange, error) {
	out := cmd.ErrOrStderr()
	fmt.Fprint(out, "Username of the first user (empty: make none): ")
	name, err := bufio.NewReader(io.LimitReader(os.Stdin, 4096)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if change.Username = strings.TrimSpace(name); change.Username == "" {
		return nil, nil
	}
	fmt.Fprint(out, "Password (empty: make one): ")
	password, err := term.ReadPassword(int(os.Stdin.Fd()))
	fmt.Fprintln(out)
	if err != nil {
		return nil, err
	}
	change.Password = string(password)
	return change, nil
}

func (u firstUser) write(w io.Writer) {
	if !u.Created {
		fmt.Fprintf(w, "user %s\twas there before\n", u.Username)
		return
	}
	fmt.Fprintf(w, "user %s\tcreated\n", u.Username)
	u.writePassword(w)
}
