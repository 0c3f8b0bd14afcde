package pgstore

import (
	"context"
	"errors"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/oauth2-passport/caddy-passport/store"
	"github.com/oauth2-passport/caddy-passport/store/pgstore/pgtest"
)

// fill puts other records between those of the issuer, so that they are not all on one page of the index, of which the
// database locks whole pages.
func fill(t *testing.T, url string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	for _, statement := range []string{
		`INSERT INTO passport_records SELECT convert_to(p || lpad(n::text, 40, '0'), 'UTF8'), repeat('x', 500)::bytea, NULL
			FROM generate_series(1, 3000) n, unnest(ARRAY['default!z', 'default/aaaa', 'default/epocx', 'default/filler',
			'default/revokee', 'default/tokea']) p`,
		`ANALYZE passport_records`,
	} {
		if _, err := conn.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
}

// TestUpdateUnderWayDoesNotOutliveARestore: one that began before a restore and commits after it fails, or what it wrote
// is carried over.
func TestUpdateUnderWayDoesNotOutliveARestore(t *testing.T) {
	database := pgtest.Start(t).Database()
	one, two := records(t, database), records(t, database)
	err := one.Update(t.Context(), func(r *store.Records) error {
		return r.PutToken(&store.Token{ID: "t", ClientID: "c", IssuedAt: r.Now(), ExpiresAt: r.Now().Add(time.Hour)})
	})
	if err != nil {
		t.Fatal(err)
	}
	fill(t, database)
	file, err := os.Create(filepath.Join(t.TempDir(), "backup"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := one.Backup(t.Context(), file); err != nil {
		t.Fatal(err)
	}
	began, goOn, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	first := true
	go func() {
		done <- two.Update(context.Background(), func(r *store.Records) error {
			if err := r.RevokeToken("t"); err != nil {
				return err
			}
			if first {
				first = false
				close(began)
				<-goOn // the network is slow before the commit
			}
			return nil
		})
	}()
	<-began
	restored := make(chan error, 1)
	go func() {
		_, err := one.Restore(context.Background(), func() (io.ReadCloser, error) { return os.Open(file.Name()) },
			store.RestoreOptions{})
		restored <- err
	}()
	time.Sleep(1500 * time.Millisecond) // the restored records are in force by then, and others hear of them
	close(goOn)
	if err := <-restored; err != nil {
		t.Errorf("restore: %v", err)
	}
	revoked := func() bool {
		return records(t, database).Revocations().Revoked(store.TokenRef{TokenID: "t", ClientID: "c"})
	}
	if err := <-done; err == nil && !revoked() {
		t.Error("the revocation was answered with success, and is lost")
	}
}

// TestExpiryDeletesNoLiveRecord: one that is over is put anew while those that are over are deleted.
func TestExpiryDeletesNoLiveRecord(t *testing.T) {
	database := pgtest.Start(t).Database()
	e := open(t, database)
	defer e.Close()
	ctx := t.Context()
	conn, err := pgx.Connect(ctx, database)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	if _, err = conn.Exec(ctx, `INSERT INTO passport_records VALUES ('k', 'old', now() - interval '1 second')`); err != nil {
		t.Fatal(err)
	}
	tx, err := conn.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(ctx, putSQL, [][]byte{[]byte("k")}, [][]byte{[]byte("new")}, []int64{3600}); err != nil {
		t.Fatal(err)
	}
	deleted := make(chan error, 1)
	go func() {
		_, err := e.pool.Exec(ctx, deleteExpiredSQL, expiryBatch)
		deleted <- err
	}()
	until(t, "the deletion waits for the row", func() bool {
		var n int
		err := e.pool.QueryRow(ctx, `SELECT count(*) FROM pg_locks WHERE NOT granted`).Scan(&n)
		return err == nil && n > 0
	})
	if err := tx.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	if err := <-deleted; err != nil {
		t.Fatal(err)
	}
	if err := e.View(ctx, func(tx store.Tx) error { _, err := tx.Get([]byte("k")); return err }); err != nil {
		t.Errorf("a record that was put for an hour: %v", err)
	}
}

// TestCommitThatMayHaveComeThroughIsNotRunAgain: CockroachDB says 40003 then, statement_completion_unknown.
func TestCommitThatMayHaveComeThroughIsNotRunAgain(t *testing.T) {
	for _, code := range []string{"40003", "40002", "25006", "0A000"} {
		if isOfOne(&pgconn.PgError{Code: code}) {
			t.Errorf("%s is taken for an error of one update: the others are run again", code)
		}
	}
}

// TestStandbyIsRefused: it learns of what is revoked when it likes.
func TestStandbyIsRefused(t *testing.T) {
	primary := pgtest.Start(t)
	database, err := url.Parse(primary.Database())
	if err != nil {
		t.Fatal(err)
	}
	name, standby := strings.TrimPrefix(database.Path, "/"), primary.Standby()
	both := pgtest.URL(name, standby)
	const wanted = "target_session_attrs=read-write"
	for _, asked := range []string{"", "target_session_attrs=any", "target_session_attrs=prefer-standby"} {
		alone := strings.Replace(both, wanted, asked, 1) // as an operator may write it
		if alone == both {
			t.Fatalf("%s does not say which servers are good", both)
		}
		e, err := Open(t.Context(), Options{URL: alone, Timeout: 2 * time.Second})
		if err == nil {
			e.Close()
		}
		if !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "read only") {
			t.Errorf("%q: got %v", asked, err)
		}
	}
	e, err := Open(t.Context(), Options{URL: strings.Replace(pgtest.URL(name, standby, primary), wanted, "", 1)})
	if err != nil {
		t.Fatalf("with its primary: %v", err)
	}
	e.Close()
}
