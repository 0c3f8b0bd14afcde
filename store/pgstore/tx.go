package pgstore

import (
	"context"
	"errors"
	"maps"
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
		SELECT key, value, CASE WHEN seconds = 0 THEN NULL ELSE now() + seconds * interval '1 second' END
		FROM unnest($1::bytea[], $2::bytea[], $3::bigint[]) AS r (key, value, seconds)
		ON CONFLICT (key) DO UPDATE SET value = excluded.value, expires_at = excluded.expires_at`
	deleteSQL = `DELETE FROM passport_records WHERE key = $1`
)

// Bounds of one transaction: what is sent within the time that one may take.
const (
	maxWrites = 20_000
	maxSize   = 16 << 20 // bytes
)

// maxRead is how many values are remembered for the next update of a transaction.
const maxRead = 1000

// scanPage is how many pairs a scan fetches at a time.
const scanPage = 1000

// tx is one transaction. It begins at the first read and keeps its writes until the commit.
type tx struct {
	ctx      context.Context
	caller   context.Context // of a View, which ends with it; of an update nil
	trip     time.Duration   // bounds each round trip; zero: ctx does
	conn     *pgx.Conn
	begin    string
	readOnly bool

	begun  bool
	writes map[string]write
	size   int               // bytes of keys and values in writes
	undo   []undone          // what takes back the writes of the update that runs
	read   map[string][]byte // what updates have read, nil what there is not: the next one reads it for nothing
	fault  error             // why nothing of it may be kept; the first reason counts
}

// undone is what stood for a key before it was written.
type undone struct {
	key   string
	write write
	was   bool // there was a write of an update before
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
	if value, ok := t.read[string(key)]; ok {
		return found(value)
	}
	var value []byte
	err := t.query(getSQL, []any{key}, func(rows pgx.Rows) error { return rows.Scan(&value) })
	if err != nil {
		return nil, err
	}
	if !t.readOnly && len(t.read) < maxRead {
		if t.read == nil {
			t.read = make(map[string][]byte)
		}
		t.read[string(key)] = value
	}
	return found(value)
}

// found is the answer about a value that was read, nil where there is none. The caller may change it.
func found(value []byte) ([]byte, error) {
	if value == nil {
		return nil, store.ErrNotFound
	}
	return append([]byte{}, value...), nil
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
	old, ok := t.writes[string(key)]
	if ok {
		t.size -= len(key) + len(old.value)
	}
	t.undo = append(t.undo, undone{string(key), old, ok})
	t.size += len(key) + len(w.value)
	t.writes[string(key)] = w
	if len(t.writes) > maxWrites || t.size > maxSize {
		t.fault = store.ErrTooLarge // whatever the function makes of it
	}
	return t.fault
}

// takeBack undoes the writes of the update that runs.
func (t *tx) takeBack() {
	for _, u := range slices.Backward(t.undo) {
		t.size -= len(u.key) + len(t.writes[u.key].value)
		if u.was {
			t.writes[u.key] = u.write
			t.size += len(u.key) + len(u.write.value)
		} else {
			delete(t.writes, u.key)
		}
	}
	t.undo = t.undo[:0]
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
	if t.fault == nil && t.caller != nil && t.caller.Err() != nil {
		t.fault = lost(t.caller, t.caller.Err())
	}
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
	t.fault = t.send(batch)
	return t.fault
}

// send is a round trip.
func (t *tx) send(batch *pgx.Batch) error {
	ctx, cancel := t.ofTrip()
	defer cancel()
	err := t.conn.SendBatch(ctx, batch).Close()
	if t.caller != nil {
		return lost(t.caller, err)
	}
	return unavailable(err)
}

func (t *tx) ofTrip() (context.Context, context.CancelFunc) {
	if t.trip == 0 {
		return t.ctx, func() {}
	}
	return context.WithTimeout(t.ctx, t.trip)
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
	// One order for all, so that transactions wait for each other instead of dying together.
	var puts, values [][]byte
	var seconds []int64
	for _, key := range slices.Sorted(maps.Keys(t.writes)) {
		w := t.writes[key]
		if w.deleted {
			batch.Queue(deleteSQL, []byte(key))
			continue
		}
		puts, values, seconds = append(puts, []byte(key)), append(values, w.value), append(seconds, w.seconds)
	}
	if len(puts) > 0 {
		batch.Queue(putSQL, puts, values, seconds)
	}
	batch.Queue("COMMIT")
	err := t.send(batch)
	if err == nil {
		t.begun = false
	}
	return err
}

// abandon ends a transaction that was not committed.
func (t *tx) abandon() {
	if !t.begun || t.conn.IsClosed() {
		return
	}
	// A failure leaves the connection within the transaction; the pool closes such a one.
	ctx, cancel := t.ofTrip()
	defer cancel()
	_, _ = t.conn.Exec(ctx, "ROLLBACK")
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
