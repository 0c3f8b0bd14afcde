package pgstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"go.uber.org/zap"
)

// schemaVersion is the version of the tables; that of the records in them is the store's own.
const schemaVersion = 1

// migrations[i] brings the tables from version i to version i+1. Each statement does no harm when it is run twice.
var migrations = [schemaVersion][]string{
	{
		`CREATE TABLE IF NOT EXISTS passport_records (
			key        bytea PRIMARY KEY,
			value      bytea NOT NULL,
			expires_at timestamptz
		)`,
		`CREATE INDEX IF NOT EXISTS passport_records_expires_at ON passport_records (expires_at)
			WHERE expires_at IS NOT NULL`,
		`CREATE TABLE IF NOT EXISTS passport_schema (version integer PRIMARY KEY)`,
	},
}

// migrationTimeout bounds the making of the tables, which waits for other nodes that make them and for a busy disk.
const migrationTimeout = time.Minute

// migrate brings the tables to this program's version. Nodes that start at once may meet while they make the same
// table; then the one that lost tries again and finds it made.
func (e *Engine) migrate(ctx context.Context) error {
	for attempt := 0; ; attempt++ {
		err := e.migrateOnce(ctx)
		if err == nil || attempt == 20 || !raced(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (e *Engine) migrateOnce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, migrationTimeout)
	defer cancel()
	var exists bool
	err := e.pool.QueryRow(ctx, `SELECT count(*) > 0 FROM information_schema.tables
		WHERE table_name = 'passport_schema' AND table_schema = current_schema()`).Scan(&exists)
	if err != nil {
		return unavailable(err)
	}
	version := 0
	if exists {
		err := e.pool.QueryRow(ctx, `SELECT coalesce(max(version), 0) FROM passport_schema`).Scan(&version)
		if err != nil {
			return unavailable(err)
		}
	}
	if version > schemaVersion {
		return fmt.Errorf("its tables have version %d, this program knows up to version %d: run a newer one",
			version, schemaVersion)
	}
	for ; version < schemaVersion; version++ {
		for _, statement := range migrations[version] {
			if _, err := e.pool.Exec(ctx, statement); err != nil {
				return unavailable(err)
			}
		}
		_, err := e.pool.Exec(ctx, `INSERT INTO passport_schema (version) VALUES ($1) ON CONFLICT DO NOTHING`, version+1)
		if err != nil {
			return unavailable(err)
		}
	}
	return nil
}

// raced tells whether a statement failed because another node ran it at the same time: unique_violation in the
// catalogue, duplicate_table, duplicate_object, internal "tuple concurrently updated", serialization_failure.
func raced(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return false
	}
	switch pg.Code {
	case "23505", "42P07", "42710", "XX000", "40001", "40P01":
		return true
	}
	return false
}

const (
	expiryInterval = time.Minute
	expiryBatch    = 1000

	// The condition stands twice: a row that was put anew since the inner one was read is looked at again by the outer
	// one only.
	deleteExpiredSQL = `DELETE FROM passport_records WHERE key IN (
		SELECT key FROM passport_records WHERE expires_at <= now() LIMIT $1) AND expires_at <= now()`
)

// deleteExpired removes rows that are over, a few at a time, and rests for nine times as long as each step took, as a
// purge does: each node of many does this. Reads do not see them anyway.
func (e *Engine) deleteExpired(ctx context.Context) {
	ticker := time.NewTicker(expiryInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if err := e.sweep(ctx); err != nil && ctx.Err() == nil && !conflict(err) {
			e.logger.Warn("deleting expired records", zap.Error(err))
		}
	}
}

// sweep removes the rows that are over now.
func (e *Engine) sweep(ctx context.Context) error {
	for {
		began := time.Now()
		tag, err := e.pool.Exec(ctx, deleteExpiredSQL, expiryBatch)
		if err != nil || tag.RowsAffected() < expiryBatch {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(9 * time.Since(began)):
		}
	}
}
