package caddymodule

import (
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/oauth2-passport/caddy-passport/issuer/keys"
	"github.com/oauth2-passport/caddy-passport/store"
)

func keysCommand() *cobra.Command {
	return nounCommand("keys", "Shows, rotates and retires signing keys",
		keysListCommand(), keysRotateCommand(), keysRetireCommand())
}

func keysListCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "Lists the signing keys",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return keysCall(cmd, http.MethodGet, nil, "keys")
		},
	}
}

func keysRotateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rotate",
		Short: "Lets the next key sign; tokens of the old one stay good until they expire",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			force, _ := cmd.Flags().GetBool("force")
			return keysCall(cmd, http.MethodPost, rotateRequest{Force: force}, "keys", "rotate")
		},
	}
	cmd.Flags().Bool("force", false, "Even when others may not have seen the next key yet")
	return cmd
}

func keysRetireCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "retire KID",
		Short: "Removes a key at once, as when it has leaked: every token that it signed is refused",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return keysCall(cmd, http.MethodDelete, nil, "keys", args[0])
		},
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		return fmt.Errorf("%w: a KID that begins with a hyphen is written last, behind two: keys retire -- KID", err)
	})
	return cmd
}

// keysCall does something with the keys and shows what they are afterwards.
func keysCall(cmd *cobra.Command, method string, body any, path ...string) error {
	a, err := adminOf(cmd)
	if err != nil {
		return err
	}
	var answer keyList
	if err := a.call(method, a.path(path...), body, &answer); err != nil {
		return err
	}
	return a.print(answer, func(w io.Writer) {
		fmt.Fprintln(w, "KID\tALGORITHM\tSTATE\tSINCE\tVERIFIES UNTIL")
		for _, k := range answer.Keys {
			state := string(k.State)
			if k.Given {
				state += " (from the config)"
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n",
				k.ID, k.Algorithm, state, timeOrDash(keySince(k)), timeOrDash(k.ExpiresAt))
		}
	})
}

// keySince is when a key came into the state that it is in.
func keySince(k keys.Info) time.Time {
	switch k.State {
	case store.KeyRetired:
		return k.RetiredAt
	case store.KeyCurrent:
		return k.ActivatedAt
	}
	return k.CreatedAt
}

func timeOrDash(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return moment(t.Unix())
}
