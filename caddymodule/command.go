package caddymodule

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"text/tabwriter"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "passport",
		Usage: "<noun> <verb>",
		Short: "Manages the OAuth 2.0 issuers: clients, users, tokens, keys",
		Long: `
Manages the OAuth 2.0 issuers of a running Caddy through its admin endpoint, which is
localhost:2019 unless --address, or the config of --config, says otherwise.

Secrets are shown once, when they are made: only their hashes are kept.`,
		CobraFunc: func(cmd *cobra.Command) {
			addCommonFlags(cmd)
			cmd.Args = cobra.NoArgs
			cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
			cmd.AddCommand(installCommand(), clientCommand(), userCommand(), tokenCommand(), keysCommand(), purgeCommand(),
				explainCommand(), backupCommand(), restoreCommand())
		},
	})
}

func addCommonFlags(cmd *cobra.Command) {
	f := cmd.PersistentFlags()
	f.String("address", "", "Address of Caddy's admin endpoint, for example unix//run/caddy/admin.sock")
	f.StringP("config", "c", "", "Config file that has the address, instead of --address")
	f.StringP("adapter", "a", "", "Name of the config adapter for --config")
	f.String("issuer", DefaultIssuer, "Name of the issuer")
	f.Bool("json", false, "Print the answer as JSON")
}

// nounCommand is a command that only has others below it.
func nounCommand(noun, short string, verbs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use:   noun,
		Short: short,
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(verbs...)
	return cmd
}

// admin speaks to the issuer of one command through Caddy's admin endpoint.
type admin struct {
	cmd     *cobra.Command
	address string
	issuer  string
	json    bool
	fault   error // of an argument that no path can have
}

// adminOf reads the common flags of a command.
func adminOf(cmd *cobra.Command) (*admin, error) {
	f := cmd.Flags()
	flag := func(name string) string { return f.Lookup(name).Value.String() }
	address, err := caddycmd.DetermineAdminAPIAddress(flag("address"), nil, flag("config"), flag("adapter"))
	if err != nil {
		return nil, err
	}
	if flag("address") == "" && flag("config") != "" {
		config, err := loadConfig(cmd)
		if err != nil {
			return nil, err
		}
		if config.Admin != nil && config.Admin.Disabled {
			return nil, fmt.Errorf("%s turns the admin endpoint off: nothing can be managed through it", flag("config"))
		}
	}
	if strings.HasPrefix(address, "/") || strings.HasPrefix(address, "unix:") {
		return nil, fmt.Errorf("--address %s: write a unix socket as unix//path/to/socket", address)
	}
	return &admin{cmd: cmd, address: address, issuer: flag("issuer"), json: flag("json") == "true"}, nil
}

// path is the path of a resource of the issuer; its parts are escaped. Parts that would make it the path of another
// resource are a fault, which call answers.
func (a *admin) path(parts ...string) string {
	p := adminBase + url.PathEscape(a.issuer)
	for i, part := range append([]string{a.issuer}, parts...) {
		if part == "" || part == "." || part == ".." {
			noun := "issuer with this name"
			if i > 1 {
				noun = strings.TrimSuffix(parts[0], "s") + " with this ID"
			}
			a.fault = fmt.Errorf("there is no %s: %q", noun, part)
		}
	}
	for _, part := range parts {
		p += "/" + url.PathEscape(part)
	}
	return p
}

// errNotRunning says that nobody listens at the admin endpoint.
var errNotRunning = errors.New("is Caddy running?")

// call sends a request with body (nil: none) as JSON, and decodes the answer into answer (nil: not at all). The error
// is the one that Caddy answered.
func (a *admin) call(method, path string, body, answer any) error {
	if a.fault != nil {
		return a.fault
	}
	var reader io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return err
		}
		reader = bytes.NewReader(encoded)
	}
	resp, err := caddycmd.AdminAPIRequest(a.address, method, path, make(http.Header), reader)
	if err != nil {
		// caddycmd keeps only the text of the error. What Caddy answers may tell of a storage that nobody answers at.
		for _, fault := range []error{syscall.ECONNREFUSED, syscall.ENOENT} {
			if strings.HasPrefix(err.Error(), "performing request: ") && strings.Contains(err.Error(), fault.Error()) {
				return fmt.Errorf("nobody answers at the admin endpoint %s: %w Say --address when it listens elsewhere",
					a.address, errNotRunning)
			}
		}
		return plainError(err)
	}
	defer resp.Body.Close()
	if resp.Header.Get(adminHeader) == "" {
		return fmt.Errorf("%s answers, but it is no admin endpoint of a Caddy with passport: say --address", a.address)
	}
	if answer == nil {
		return nil
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAdminAnswer)).Decode(answer); err != nil {
		return fmt.Errorf("reading the answer of the admin endpoint: %w", err)
	}
	return nil
}

const maxAdminAnswer = 256 << 20

// plainError takes the sentence out of an error of the admin endpoint: caddycmd answers the whole body.
func plainError(err error) error {
	text := err.Error()
	if start := strings.Index(text, "{"); start >= 0 {
		var e caddy.APIError
		if json.Unmarshal([]byte(text[start:]), &e) == nil && e.Message != "" {
			return errors.New(e.Message)
		}
	}
	if strings.Contains(text, "HTTP 404") {
		return errors.New("this Caddy has no passport issuers: its config has neither passport_server nor passport_auth")
	}
	return err
}

// print writes v as JSON when --json says so, and otherwise what text writes in columns.
func (a *admin) print(v any, text func(w io.Writer)) error {
	out := a.cmd.OutOrStdout()
	if a.json {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		return e.Encode(v)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	text(w)
	return w.Flush()
}

// items splits the values of a flag that is a list: its items are separated by spaces or commas, or the flag is
// repeated.
func items(values []string) []string {
	out := []string{}
	for _, value := range values {
		out = append(out, strings.FieldsFunc(value, func(r rune) bool { return r == ' ' || r == ',' })...)
	}
	return out
}
