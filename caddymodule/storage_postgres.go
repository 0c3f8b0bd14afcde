package caddymodule

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"

	"github.com/oauth2-passport/caddy-passport/store"
	"github.com/oauth2-passport/caddy-passport/store/pgstore"
)

func init() {
	caddy.RegisterModule(Postgres{})
}

// Postgres is the storage module postgres: a database on PostgreSQL's wire protocol, for gateways on more than one
// node. All nodes have the same clients, tokens and keys, and each learns within a second what another revokes. The
// nodes' clocks agree to within a minute.
type Postgres struct {
	// URL says where the database is, with user and password: postgres://user:password@host:5432/database, or keywords
	// and values. Its parameter pool_max_conns bounds the connections. Placeholders {env.*} and {file.*} are replaced:
	// better one of them than the URL itself. Required.
	URL string `json:"url,omitempty"`

	config *pgx.ConnConfig
}

// CaddyModule returns the Caddy module information.
func (Postgres) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "passport.storage.postgres",
		New: func() caddy.Module { return new(Postgres) },
	}
}

// Provision replaces placeholders and reads the URL. It connects to nothing.
func (p *Postgres) Provision(caddy.Context) error {
	url, err := reveal(p.URL)
	if err != nil {
		return fmt.Errorf("url: %w", err)
	}
	if p.config, err = pgstore.ParseURL(url); err != nil {
		return fmt.Errorf("url: %w", err)
	}
	p.URL = url
	return nil
}

// UnmarshalCaddyfile reads the module. Syntax:
//
//	postgres <url>    # better {env.*} or {file.*}
func (p *Postgres) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the module's name
	parse := secretText(&p.URL, "the URL, which has a password,", "DATABASE_URL", func(url string) error {
		_, err := pgstore.ParseURL(url)
		return err
	})
	if err := parse.parse(d); err != nil {
		return err
	}
	if d.NextBlock(0) {
		return errors.New("storage postgres has no block: its options are parameters of the URL")
	}
	return nil
}

// Resource implements [Storage]: host, port, database and user.
func (p *Postgres) Resource(string) string {
	return fmt.Sprintf("%s:%d/%s as %s", p.config.Host, p.config.Port, p.config.Database, p.config.User)
}

// Settings implements [Storage].
func (p *Postgres) Settings() [sha256.Size]byte { return sha256.Sum256([]byte(p.URL)) }

// otherSettings says what [Postgres.Settings] is of that [Postgres.Resource] does not have.
func (p *Postgres) otherSettings() string {
	return "another url, of which the password or a parameter such as pool_max_conns differs: restart Caddy with this " +
		"one, for it"
}

// Open implements [Storage].
func (p *Postgres) Open(ctx context.Context, _ string) (store.Engine, error) {
	return pgstore.Open(ctx, pgstore.Options{
		URL:    p.URL,
		Logger: zap.New(currentCore{}).Named(string(p.CaddyModule().ID)),
	})
}

// Interface guards
var (
	_ Storage               = (*Postgres)(nil)
	_ caddy.Provisioner     = (*Postgres)(nil)
	_ caddyfile.Unmarshaler = (*Postgres)(nil)
)
