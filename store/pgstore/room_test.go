package pgstore

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
	"github.com/oauth2-passport/caddy-passport/store/pgstore/pgtest"
)

// put writes a record.
func (e engine) put(t *testing.T, value string) error {
	t.Helper()
	return e.Update(t.Context(), func(tx store.Tx) error { return tx.Put([]byte("key"), []byte(value), 0) })
}

// refuseWrites lets each write fail with that SQLSTATE, until allow is called.
func (e engine) refuseWrites(t *testing.T, code string) (allow func()) {
	t.Helper()
	run := func(statements ...string) {
		t.Helper()
		for _, sql := range statements {
			if _, err := e.pool.Exec(t.Context(), sql); err != nil {
				t.Fatal(err)
			}
		}
	}
	run(fmt.Sprintf(`CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
		$$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '%s'; END $$`, code),
		`CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON passport_records EXECUTE FUNCTION refuse()`)
	return func() { t.Helper(); run(`DROP TRIGGER refuse ON passport_records`) }
}

// TestPingFailsWhileNothingCanBeWritten, for what each write fails for, and answers again with nobody having written
// anything. A write that fails by itself is no sign of that.
func TestPingFailsWhileNothingCanBeWritten(t *testing.T) {
	e := open(t, pgtest.Start(t).Database())
	defer e.Close()
	for code, want := range map[string]bool{
		"53100": true, "25006": true, "58030": true, // disk_full, read_only_sql_transaction, io_error
		"P0001": false, "23505": false, // raise_exception, unique_violation
	} {
		t.Run(code, func(t *testing.T) {
			allow := e.refuseWrites(t, code)
			if err := e.Ping(t.Context()); err != nil {
				t.Errorf("before anything is written: %v", err)
			}
			if err := e.put(t, "x"); !errors.Is(err, store.ErrUnavailable) {
				t.Fatalf("a write: %v", err)
			}
			for end := time.Now().Add(roomLasts + 2*tryRoom); want && time.Now().Before(end); time.Sleep(tryRoom / 10) {
				if err := e.Ping(t.Context()); !errors.Is(err, store.ErrUnavailable) {
					t.Fatalf("while nothing can be written: %v", err)
				}
			}
			if err := e.Ping(t.Context()); (err != nil) != want {
				t.Errorf("after a write that failed: %v", err)
			}
			allow()
			until(t, "it answers again", func() bool { return e.Ping(t.Context()) == nil })
		})
	}
}

// TestPingFailsWhileSmallWritesAloneComeThrough: of writes that come after one another some find room, and some do not.
func TestPingFailsWhileSmallWritesAloneComeThrough(t *testing.T) {
	e := open(t, pgtest.Start(t).Database())
	defer e.Close()
	for range 5 {
		allow := e.refuseWrites(t, "53100")
		if e.put(t, "large") == nil {
			t.Fatal("the write came through")
		}
		allow()
		if err := e.put(t, "small"); err != nil {
			t.Fatal(err)
		}
		if err := e.Ping(t.Context()); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("after a write that failed and one that came through: %v", err)
		}
	}
	until(t, "writes alone make it answer again", func() bool {
		err := e.put(t, "well")
		_, fault := e.room.ask()
		return err == nil && fault == nil
	})
}

// TestPingWritesNothingWhileAllIsWell, and few records now and then while it is not.
func TestPingWritesNothingWhileAllIsWell(t *testing.T) {
	e := open(t, pgtest.Start(t).Database())
	defer e.Close()
	written := func() (n int) {
		t.Helper()
		err := e.pool.QueryRow(t.Context(), `SELECT count(*) FROM passport_records`).Scan(&n)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	for range 3 {
		if err := e.Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := written(); n != 0 {
		t.Errorf("%d records were written", n)
	}
	allow := e.refuseWrites(t, "53100")
	if e.put(t, "x") == nil {
		t.Fatal("the write came through")
	}
	allow()
	until(t, "it answers again", func() bool { return e.Ping(t.Context()) == nil })
	if n := written(); n != roomRecords {
		t.Errorf("%d records were written", n)
	}
	err := e.View(t.Context(), func(tx store.Tx) error {
		return tx.Scan([]byte("default"), nil, func(key, _ []byte) error { return fmt.Errorf("there is %q", key) })
	})
	if err != nil {
		t.Errorf("an issuer sees it: %v", err)
	}
}

// TestSweepRests for nine tenths of its time, and removes all that is over.
func TestSweepRests(t *testing.T) {
	e := open(t, pgtest.Start(t).Database())
	defer e.Close()
	_, err := e.pool.Exec(t.Context(), `INSERT INTO passport_records
		SELECT int8send(n), 'x', now() - interval '1 second' FROM generate_series(1, $1) AS n`, 5*expiryBatch+1)
	if err != nil {
		t.Fatal(err)
	}
	// Each step waits, which is slower than all that it does.
	const step = 20 * time.Millisecond
	for _, sql := range []string{
		fmt.Sprintf(`CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS
			$$ BEGIN PERFORM pg_sleep(%f); RETURN NULL; END $$`, step.Seconds()),
		`CREATE TRIGGER wait BEFORE DELETE ON passport_records FOR EACH STATEMENT EXECUTE FUNCTION wait()`,
	} {
		if _, err := e.pool.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	if err := e.sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if took, least := time.Since(began), (5*10+1)*step; took < least {
		t.Errorf("six steps and five rests took %v, less than %v", took, least)
	}
	var n int
	if err := e.pool.QueryRow(t.Context(), `SELECT count(*) FROM passport_records`).Scan(&n); err != nil || n != 0 {
		t.Errorf("%d records that are over are left, %v", n, err)
	}
}
