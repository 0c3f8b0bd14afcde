package pgstore

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/oauth2-passport/caddy-passport/store"
)

const (
	getSQL = `SELECT value FROM passport_records
		WHERE key = $1 AND (expires_at IS NULL OR expires_at > now())`
	// Two statements, not one with a condition that may be off: a prepared plan of that does not end where the prefix
	// does.
	scanSQL = `SELECT key, value FROM passport_records
		WHERE key >= $1 AND key < $3 AND (expires_at IS NULL OR expires_at > now()) ORDER BY key LIMIT $2`
	scanToEndSQL = `SELECT key, value FROM passport_records
		WHERE key >= $1 AND (expires_at IS NULL OR expires_at > now()) ORDER BY key LIMIT $2`
	putSQL = `INSERT INTO passport_records (key, value, expires_at)
		VALUES ($1, $2, CASE WHEN $3::bigint = 0 THEN NULL ELSE now() + $3::bigint * interval '1 second' END)
		ON CONFLICT (key) DO UPDATE SET value = excluded.value, expires_at = excluded.expires_at`
	deleteSQL = `DELETE FROM passport_records WHERE key = $1`
)

// Bounds of one transaction: what is sent within the time that one may take.
const (
	maxWrites = 20_000
	maxSize   = 16 << 20 // bytes
)

// scanPage is how many pairs a scan fetches at a time.
const scanPage = 1000

// tx is one transaction. It begins at the first read and keeps its writes until the commit.
type tx struct {
	ctx      context.Context
	conn     *pgx.Conn
	begin    string
	readOnly bool

	begun  bool
	writes map[string]write
	size   int   // bytes of keys and values in writes
	fault  error // why nothing of it may be kept; the first reason counts
}

type write struct {
	value   []byte
	seconds int64 // of life; 0: for good
	deleted bool
}

func (t *tx) Get(key []byte) ([]byte, error) {
	if w, ok := t.writes[string(key)]; ok {
		if w.deleted {
			return nil, store.ErrNotFound
		}
		return slices.Clone(w.value), nil
	}
	var value []byte
	err := t.query(getSQL, []any{key}, func(rows pgx.Rows) error { return rows.Scan(&value) })
	if err != nil {
		return nil, err
	}
	if value == nil {
		return nil, store.ErrNotFound
	}
	return value, nil
}

func (t *tx) Put(key, value []byte, ttl time.Duration) error {
	seconds := int64(max(ttl, 0) / time.Second)
	if ttl > 0 && ttl%time.Second != 0 {
		seconds++ // a record must not vanish before its time
	}
	return t.write(key, write{value: append([]byte{}, value...), seconds: seconds})
}

func (t *tx) Delete(key []byte) error { return t.write(key, write{deleted: true}) }

func (t *tx) write(key []byte, w write) error {
	if t.readOnly {
		return store.ErrReadOnly
	}
	if t.writes == nil {
		t.writes = make(map[string]write)
	}
	if old, ok := t.writes[string(key)]; ok {
		t.size -= len(key) + len(old.value)
	}
	t.size += len(key) + len(w.value)
	t.writes[string(key)] = w
	if len(t.writes) > maxWrites || t.size > maxSize {
		t.fault = store.ErrTooLarge // whatever the function makes of it
	}
	return t.fault
}

// Scan fetches page by page, for fn may read from the same connection.
func (t *tx) Scan(prefix, from []byte, fn func(key, value []byte) error) error {
	pending := t.pending(prefix, from)
	next := append([]byte{}, prefix...) // never NULL
	if string(from) > string(next) {
		next = slices.Clone(from)
	}
	end := successor(prefix)
	for more := true; more; {
		var page []pair
		sql, args := scanToEndSQL, []any{next, scanPage}
		if end != nil {
			sql, args = scanSQL, append(args, end)
		}
		err := t.query(sql, args, func(rows pgx.Rows) error {
			var p pair
			err := rows.Scan(&p.key, &p.value)
			page = append(page, p)
			return err
		})
		if err != nil {
			return err
		}
		if more = len(page) == scanPage; more {
			next = append(slices.Clone(page[len(page)-1].key), 0)
		}
		for _, p := range page {
			for len(pending) > 0 && pending[0] < string(p.key) {
				if err := t.emit(pending[0], fn); err != nil {
					return stopped(err)
				}
				pending = pending[1:]
			}
			if _, ok := t.writes[string(p.key)]; ok {
				continue // this transaction's own write stands for it, and is emitted in its turn
			}
			if err := fn(p.key, p.value); err != nil {
				return stopped(err)
			}
		}
	}
	for _, key := range pending {
		if err := t.emit(key, fn); err != nil {
			return stopped(err)
		}
	}
	return nil
}

type pair struct{ key, value []byte }

func stopped(err error) error {
	if errors.Is(err, store.ErrStop) {
		return nil
	}
	return err
}

// pending is the sorted keys of this transaction's own writes within the bounds of a scan.
func (t *tx) pending(prefix, from []byte) []string {
	var keys []string
	for key := range t.writes {
		if strings.HasPrefix(key, string(prefix)) && key >= string(from) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

func (t *tx) emit(key string, fn func(key, value []byte) error) error {
	w := t.writes[key]
	if w.deleted {
		return nil
	}
	return fn([]byte(key), w.value)
}

// query runs a read, with the beginning of the transaction in the same round trip when it is the first.
func (t *tx) query(sql string, args []any, each func(pgx.Rows) error) error {
	if t.fault != nil {
		return t.fault
	}
	batch := &pgx.Batch{}
	if !t.begun {
		batch.Queue(t.begin)
		t.begun = true
	}
	batch.Queue(sql, args...).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			if err := each(rows); err != nil {
				return err
			}
		}
		return rows.Err()
	})
	t.fault = unavailable(t.conn.SendBatch(t.ctx, batch).Close())
	return t.fault
}

// commit sends the writes and the commit in one round trip.
func (t *tx) commit() error {
	if t.fault != nil {
		return t.fault
	}
	if !t.begun && len(t.writes) == 0 {
		return nil
	}
	batch := &pgx.Batch{}
	if !t.begun {
		batch.Queue(t.begin)
		t.begun = true
	}
	keys := make([]string, 0, len(t.writes))
	for key := range t.writes {
		keys = append(keys, key)
	}
	slices.Sort(keys) // one order for all, so that transactions wait for each other instead of dying together
	for _, key := range keys {
		if w := t.writes[key]; w.deleted {
			batch.Queue(deleteSQL, []byte(key))
		} else {
			batch.Queue(putSQL, []byte(key), w.value, w.seconds)
		}
	}
	batch.Queue("COMMIT")
	err := t.conn.SendBatch(t.ctx, batch).Close()
	if err == nil {
		t.begun = false
	}
	return unavailable(err)
}

// abandon ends a transaction that was not committed.
func (t *tx) abandon() {
	if !t.begun || t.conn.IsClosed() {
		return
	}
	// A failure leaves the connection within the transaction; the pool closes such a one.
	_, _ = t.conn.Exec(t.ctx, "ROLLBACK")
}

// successor is the least key that is greater than every key with the prefix, nil when there is none.
func successor(prefix []byte) []byte {
	end := slices.Clone(prefix)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i] < 0xff {
			end[i]++
			return end[:i+1]
		}
	}
	return nil
}
