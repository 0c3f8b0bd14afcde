package caddymodule

import (
	"fmt"
	"io"
	"net/http"

	"github.com/spf13/cobra"
)

func purgeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "purge",
		Short: "Forgets the records of tokens that are revoked; they stay refused",
		Long: `Forgets the records of tokens that are revoked. A revoked token stays refused: only what
"token list" shows of it is forgotten. Those of expired tokens vanish by themselves, so that
with --expired alone there is nothing to forget.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			a, err := adminOf(cmd)
			if err != nil {
				return err
			}
			f := cmd.Flags()
			var request purgeRequest
			request.Revoked, _ = f.GetBool("revoked")
			request.Expired, _ = f.GetBool("expired")
			request.Hours, _ = f.GetInt("hours")
			if request.Hours < 0 {
				return fmt.Errorf("--hours %d is less than none", request.Hours)
			}
			var answer purgeAnswer
			if err := a.call(http.MethodPost, a.path("purge"), request, &answer); err != nil {
				return err
			}
			return a.print(answer, func(w io.Writer) { fmt.Fprintf(w, "Forgot %d tokens.\n", answer.Purged) })
		},
	}
	cmd.Flags().Bool("revoked", false, "Those that are revoked, as without any flag")
	cmd.Flags().Bool("expired", false, "Those that are expired: they are gone already")
	cmd.Flags().Int("hours", 0, "Only those that have been revoked for this many hours")
	return cmd
}
