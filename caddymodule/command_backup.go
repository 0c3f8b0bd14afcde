package caddymodule

import (
	"fmt"
	"io"
	"net/http"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/oauth2-passport/caddy-passport/store"
)

func backupCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "backup FILE",
		Short: "Writes clients, people, keys and what has been given out to a new file",
		Long: `Writes all that the issuer needs to go on elsewhere to a new file: clients, people, consents,
keys, and what has been given out and ended. It is consistent, and nobody waits for it. The
file is written by Caddy, on its machine and as its user, who alone may read it: it has the
private keys.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return fileCall(cmd, "backup", fileRequest{File: args[0]}, "Wrote %d records to %s.\n")
		},
	}
}

func restoreCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Puts what a backup has in the place of what is there",
		Long: `Puts the clients, people and consents of a backup in the place of those that are there. The
file is read by Caddy, on its machine and as its user; it may come from another storage module.
It is checked before anything is replaced. Until that is done, nothing is issued or revoked;
then every node has it within a second.

What has been given out or ended since the backup stays known: no token is good again that was
revoked, no code or refresh token that was used. What was given in the name of a client or a
person that the backup does not have ends.

Keys that are encrypted in the backup need the encryption_key of its day, or that as
former_encryption_key. They are encrypted as the config says now.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			from := cmd.Flags().Lookup("from").Value.String()
			return fileCall(cmd, "restore", fileRequest{File: args[0], From: from}, "Restored %d records from %s.\n")
		},
	}
	cmd.Flags().String("from", "", "Name of the issuer that the backup is of; default: the same")
	return cmd
}

// fileCall lets Caddy do something with a file, and says what it did.
func fileCall(cmd *cobra.Command, verb string, request fileRequest, done string) error {
	a, err := adminOf(cmd)
	if err != nil {
		return err
	}
	if request.File, err = filepath.Abs(request.File); err != nil {
		return err
	}
	var answer store.BackupInfo
	if err := a.call(http.MethodPost, a.path(verb), request, &answer); err != nil {
		return err
	}
	return a.print(answer, func(w io.Writer) { fmt.Fprintf(w, done, answer.Records, request.File) })
}
