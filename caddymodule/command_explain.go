package caddymodule

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

func explainCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "explain METHOD URL",
		Short: "Says which demands a request has to meet, which of them fail and why",
		Long: `Says what a running Caddy would do with a request: which passport_auth it comes to, what they
demand, which demands fail and why. Nothing is sent to an upstream. Matchers and rewrites are
followed; handlers that are not asked, for example basic_auth, are named.

The token comes on standard input, with --token -, so that no shell remembers it.`,
		Example: `  caddy passport explain GET https://api.example.com/orders/1
  caddy passport explain POST https://api.example.com/orders --token - < token.txt`,
		Args: cobra.ExactArgs(2),
		RunE: runExplain,
	}
	cmd.Flags().String("token", "", "-: the access token comes on standard input")
	cmd.Flags().String("remote-ip", "127.0.0.1", "The address that the request comes from")
	cmd.Flags().StringArray("header", nil, "A header field of the request, as in 'X-Region: eu'; may be repeated")
	return cmd
}

func runExplain(cmd *cobra.Command, args []string) error {
	a, err := adminOf(cmd)
	if err != nil {
		return err
	}
	asked := explainRequest{Method: args[0], URL: args[1], Header: make(map[string]string)}
	asked.RemoteIP, _ = cmd.Flags().GetString("remote-ip")
	fields, _ := cmd.Flags().GetStringArray("header")
	for _, field := range fields {
		name, value, ok := strings.Cut(field, ":")
		switch {
		case !ok || !isToken(name):
			return fmt.Errorf("--header %q: a header field looks like 'X-Region: eu'", field)
		case strings.EqualFold(name, "Authorization"):
			return errors.New("--header: the token comes on standard input, with --token -")
		}
		asked.Header[name] = strings.TrimSpace(value)
	}
	switch source, _ := cmd.Flags().GetString("token"); source {
	case "":
	case "-":
		if asked.Token, err = readToken(cmd.InOrStdin()); err != nil {
			return err
		}
	default:
		return errors.New("--token takes only -: the token comes on standard input, where no shell remembers it")
	}
	var answer explanation
	if err := a.call(http.MethodPost, adminBase+"explain", asked, &answer); err != nil {
		return err
	}
	return a.print(answer, answer.write)
}

func (e *explanation) write(w io.Writer) {
	fmt.Fprintf(w, "server\t%s, listening on %s\n", e.Server, strings.Join(e.Listen, ", "))
	for i, door := range e.Doors {
		fmt.Fprintf(w, "passport_auth %d\t%s\n", i+1, door.Path)
		if door.After != "" {
			fmt.Fprintf(w, "  after\tan answer of %s, on some of them\n", door.After)
		}
		if who := door.ClientID; who != "" {
			subject := door.Subject
			if door.Username != "" {
				subject = fmt.Sprintf("%s (%s)", door.Username, subject)
			}
			fmt.Fprintf(w, "  token\tof client %s, for %s, with scope %s\n", who, subject, dash(door.Scope))
		}
		for _, option := range []struct {
			set  bool
			name string
		}{
			{door.Session, "session, which is not looked at here: no cookie is"}, {door.Optional, "optional"},
			{door.ReportOnly, "report_only"}, {door.Preflight, "preflight"},
		} {
			if option.set {
				fmt.Fprintf(w, "  option\t%s\n", option.name)
			}
		}
		for _, d := range door.Demands {
			state := "not asked: no good token"
			switch {
			case d.Met != nil && *d.Met:
				state = "met"
			case d.Met != nil:
				state = "NOT MET"
			}
			if d.Error != "" {
				state += ": " + d.Error
			}
			fmt.Fprintf(w, "  %s\t%s\n", d.Demand, state)
		}
		fmt.Fprintf(w, "  result\t%s\n", door.sentence(e.given()))
	}
	if len(e.Doors) == 0 {
		fmt.Fprintln(w, "passport_auth\tnone on the way of this request")
	}
	if len(e.Unasked) > 0 {
		fmt.Fprintf(w, "not asked\t%s\n", strings.Join(e.Unasked, ", "))
	}
	switch {
	case e.Verdict == "refused":
		fmt.Fprintf(w, "verdict\trefused with %d: %s\n", e.Status, e.Reason)
	case e.Verdict == "answered":
		fmt.Fprintf(w, "verdict\tanswered by the issuer itself\n")
	case e.By != "":
		fmt.Fprintf(w, "verdict\tpasses, to %s\n", e.By)
	case len(e.Unasked) > 0:
		fmt.Fprintf(w, "verdict\tpasses\n")
	default:
		fmt.Fprintf(w, "verdict\tnothing answers: %s has no route that does so for this host and path\n", e.Server)
	}
}

// given tells whether a passport_auth lets the request through for somebody.
func (e *explanation) given() bool {
	return slices.ContainsFunc(e.Doors, func(d explainedDoor) bool { return d.Result == "passes" && d.After == "" })
}

// sentence says what becomes of the request at d. given is whether another one lets it through for somebody.
func (d *explainedDoor) sentence(given bool) string {
	switch d.Result {
	case "anonymous":
		return "passes as anonymous"
	case "refused":
		return fmt.Sprintf("refused with %d: %s", d.Status, d.Reason)
	case "reported":
		as := "as anonymous"
		if given {
			as = "with what other passport_auth give"
		}
		return fmt.Sprintf("passes %s, and is reported: would be refused with %d: %s", as, d.Status, d.Reason)
	}
	return d.Result
}
