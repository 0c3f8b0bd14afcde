package caddymodule

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/spf13/cobra"

	"github.com/oauth2-passport/caddy-passport/issuer/verify"
)

func tokenCommand() *cobra.Command {
	return nounCommand("token", "Shows and revokes access tokens, makes personal ones",
		tokenCreateCommand(), tokenListCommand(), tokenShowCommand(), tokenRevokeCommand(), tokenInspectCommand())
}

func tokenListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Lists the tokens that have not expired, oldest first",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			a, err := adminOf(cmd)
			if err != nil {
				return err
			}
			limit, _ := cmd.Flags().GetInt("limit")
			client, _ := cmd.Flags().GetString("client")
			query := url.Values{"limit": {fmt.Sprint(limit)}}
			if client != "" {
				query.Set("client_id", client)
			}
			if user, _ := cmd.Flags().GetString("user"); user != "" {
				query.Set("user", user)
			}
			var answer tokenList
			if err := a.call(http.MethodGet, a.path("tokens")+"?"+query.Encode(), nil, &answer); err != nil {
				return err
			}
			return a.print(answer, func(w io.Writer) {
				if len(answer.Tokens) == 0 {
					fmt.Fprintln(w, "No tokens.")
					return
				}
				fmt.Fprintln(w, "TOKEN ID\tCLIENT ID\tSCOPES\tEXPIRES\tSTATE")
				for _, t := range answer.Tokens {
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", t.ID, t.ClientID, dash(t.Scope), moment(t.ExpiresAt), t.state())
				}
				if answer.More {
					fmt.Fprintf(w, "More than %d: narrow the list by --client or --user, or raise --limit.\n", len(answer.Tokens))
				}
			})
		},
	}
	cmd.Flags().String("client", "", "Only tokens of this client")
	cmd.Flags().String("user", "", "Only tokens in the name of this person (name or ID)")
	cmd.Flags().Int("limit", 100, "How many at the most")
	return cmd
}

func tokenCreateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "create --user NAME --name LABEL",
		Short:   "Makes a personal access token and shows it, once",
		Example: `  caddy passport token create --user ann --name "Ann's script" --scopes "read"`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			a, err := adminOf(cmd)
			if err != nil {
				return err
			}
			var request newTokenRequest
			request.User, _ = cmd.Flags().GetString("user")
			request.Name, _ = cmd.Flags().GetString("name")
			if request.User == "" || request.Name == "" {
				return fmt.Errorf("a personal access token needs a person, --user, and a name that tells it from others, --name")
			}
			scopes, _ := cmd.Flags().GetStringArray("scopes")
			request.Scope = strings.Join(items(scopes), " ")
			if text, _ := cmd.Flags().GetString("lifetime"); text != "" {
				lifetime, err := caddy.ParseDuration(text)
				if err != nil || lifetime < time.Second {
					return fmt.Errorf("--lifetime %q is no duration: write 12h or 30d", text)
				}
				request.ExpiresIn = int64(lifetime / time.Second)
			}
			var t newToken
			if err := a.call(http.MethodPost, a.path("tokens"), request, &t); err != nil {
				return err
			}
			return a.print(t, func(w io.Writer) {
				t.write(w)
				fmt.Fprintf(w, "access_token\t%s\n\nKeep the token now: it is not shown again.\n", t.AccessToken)
			})
		},
	}
	cmd.Flags().String("user", "", "The person in whose name the token speaks (name or ID)")
	cmd.Flags().String("name", "", "What tells the token from others of the person")
	cmd.Flags().StringArray("scopes", nil, "Its scopes (default: none)")
	cmd.Flags().String("lifetime", "", "How long it is good, for example 30d (default: as long as the issuer lets it)")
	return cmd
}

func tokenShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show ID",
		Short: "Shows what is known of a token (ID is its jti)",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			a, err := adminOf(cmd)
			if err != nil {
				return err
			}
			var t tokenView
			if err := a.call(http.MethodGet, a.path("tokens", args[0]), nil, &t); err != nil {
				return err
			}
			return a.print(t, t.write)
		},
	}
}

func tokenRevokeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "revoke ID",
		Short: "Revokes a token (ID is its jti): it is refused from the next request on",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			a, err := adminOf(cmd)
			if err != nil {
				return err
			}
			if err := a.call(http.MethodDelete, a.path("tokens", args[0]), nil, nil); err != nil {
				return err
			}
			return a.print(map[string]string{"jti": args[0]}, func(w io.Writer) {
				fmt.Fprintf(w, "Revoked %s.\n", args[0])
			})
		},
	}
}

func tokenInspectCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "inspect",
		Short:   "Says what a token is and whether it is good; the token comes on standard input",
		Example: `  caddy passport token inspect < token.txt`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			a, err := adminOf(cmd)
			if err != nil {
				return err
			}
			token, err := readToken(cmd.InOrStdin())
			if err != nil {
				return err
			}
			var t inspection
			if err := a.call(http.MethodPost, a.path("tokens", "inspect"), inspectRequest{Token: token}, &t); err != nil {
				return err
			}
			return a.print(t, t.write)
		},
	}
}

// readToken takes the first line of what it reads, which is not longer than any token is.
func readToken(r io.Reader) (string, error) {
	line, err := bufio.NewReader(io.LimitReader(r, 64<<10)).ReadString('\n')
	if err != nil && err != io.EOF {
		return "", fmt.Errorf("reading the token from standard input: %w", err)
	}
	if line = strings.TrimSpace(line); line == "" {
		return "", fmt.Errorf("there is no token on standard input: caddy passport token inspect < token.txt")
	}
	return line, nil
}

// states are the reasons for which a token is refused, as a list has them.
var states = map[string]string{
	verify.ErrRevoked.Description:    "revoked",
	verify.ErrKeyRetired.Description: "key retired",
	verify.ErrClientGone.Description: "client gone",
	verify.ErrUserGone.Description:   "user gone",
	verify.ErrExpired.Description:    "expired",
}

func (t tokenView) state() string {
	if t.Active {
		return "good"
	}
	return cmp.Or(states[t.Reason], t.Reason, "refused")
}

func (t tokenView) write(w io.Writer) {
	fmt.Fprintf(w, "jti\t%s\nclient_id\t%s\nsub\t%s\nscope\t%s\naud\t%s\niat\t%s\nexp\t%s\nstate\t%s\n",
		t.ID, t.ClientID, t.Subject, dash(t.Scope), dash(strings.Join(t.Audience, " ")),
		moment(t.IssuedAt), moment(t.ExpiresAt), t.state())
	if t.UsedAt != 0 {
		fmt.Fprintf(w, "last used\t%s\n", moment(t.UsedAt))
	}
}

func (t inspection) write(w io.Writer) {
	if !t.Active {
		fmt.Fprintf(w, "active\tno\nreason\t%s\n", t.Reason)
	} else {
		fmt.Fprintln(w, "active\tyes")
	}
	if t.Token != nil {
		t.Token.write(w)
	}
}

// moment is a time in seconds since 1970 as people read it.
func moment(unix int64) string { return time.Unix(unix, 0).UTC().Format(time.RFC3339) }
