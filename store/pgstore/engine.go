// Package pgstore is a [store.Engine] on PostgreSQL's wire protocol, for gateways on more than one node. It asks for
// nothing that CockroachDB or YugabyteDB lack: one table, serializable transactions, and retries.
package pgstore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/zap"

	"github.com/oauth2-passport/caddy-passport/store"
)

// Options say which database to use, and how.
type Options struct {
	// URL is the connection string, as a URL or as keywords and values; see [pgxpool.ParseConfig]. It may name
	// pool_max_conns; one connection is opened beyond these.
	URL string
	// Timeout bounds one transaction, its retries and the wait for a connection included. Default: 10 seconds.
	Timeout time.Duration
	Logger  *zap.Logger
}

// Engine keeps an issuer's records in a PostgreSQL database.
type Engine struct {
	pool    *pgxpool.Pool
	sight   *pgxpool.Pool // one connection for what is [store.Reserved], which others may not use up
	timeout time.Duration
	logger  *zap.Logger
	room    room

	mu      sync.Mutex
	closed  bool
	inside  sync.WaitGroup // transactions and what runs beside them; nothing is added once closed
	stop    context.CancelFunc
	queue   []*update // in line
	writers int       // goroutines that come for them

	retrying chan struct{} // holds one token for the transaction that is run again
}

// Open connects to the database and makes the tables where they are missing. Many nodes may do so at once. No
// error has the password.
func Open(ctx context.Context, o Options) (*Engine, error) {
	config, err := pgxpool.ParseConfig(o.URL)
	if err != nil {
		return nil, errURL
	}
	if o.Timeout <= 0 {
		o.Timeout = 10 * time.Second
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	if config.ConnConfig.ConnectTimeout == 0 {
		config.ConnConfig.ConnectTimeout = o.Timeout
	}
	// A standby knows of what is revoked when it likes, whatever target_session_attrs says.
	config.ConnConfig.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, unavailable(err)
	}
	one := config.Copy()
	one.MaxConns, one.MinConns, one.MinIdleConns = 1, 0, 0
	sight, err := pgxpool.NewWithConfig(ctx, one)
	if err != nil {
		pool.Close()
		return nil, unavailable(err)
	}
	e := &Engine{pool: pool, sight: sight, timeout: o.Timeout, logger: o.Logger, retrying: make(chan struct{}, 1)}
	if err := e.migrate(ctx); err != nil {
		e.closePools()
		return nil, err
	}
	headroom()
	background, stop := context.WithCancel(context.Background())
	e.stop = stop
	e.inside.Go(func() { e.deleteExpired(background) })
	return e, nil
}

// errURL does not repeat what it is about: that has a password.
var errURL = errors.New("it is no connection string: write postgres://user:password@host:5432/database")

// ParseURL reads a connection string without connecting to anything.
func ParseURL(url string) (*pgx.ConnConfig, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, errURL
	}
	return config.ConnConfig, nil
}

// Shared tells that other nodes may write to the same records.
func (e *Engine) Shared() bool { return true }

// Ping tells whether the database answers, and takes writes.
func (e *Engine) Ping(ctx context.Context) error {
	if err := e.enter(); err != nil {
		return err
	}
	defer e.inside.Done()
	ctx, cancel := context.WithTimeout(ctx, e.timeout)
	defer cancel()
	if err := e.pool.Ping(ctx); err != nil {
		return unavailable(err)
	}
	return unavailable(e.takesWrites(ctx))
}

// Close waits for running transactions and closes the connections.
func (e *Engine) Close() error {
	e.mu.Lock()
	again := e.closed
	e.closed = true
	e.mu.Unlock()
	e.stop()
	e.inside.Wait()
	if again {
		return store.ErrClosed
	}
	e.closePools()
	return nil
}

func (e *Engine) closePools() {
	e.pool.Close()
	e.sight.Close()
}

// View runs fn on one snapshot. It may take as long as an update, or until the deadline of ctx where that is later; the
// wait for a connection and each round trip take no longer than an update in either case. It writes nothing, so that
// there is no outcome to wait for once the caller has gone.
func (e *Engine) View(ctx context.Context, fn func(store.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := e.enter(); err != nil {
		return err
	}
	defer e.inside.Done()
	t := &tx{caller: ctx, begin: "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", readOnly: true}
	whole := e.timeout
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) > whole {
		whole, t.trip = time.Until(deadline), e.timeout
	}
	var cancel context.CancelFunc
	t.ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), whole)
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(lastTrip, cancel) })()
	pool := e.pool
	if store.Reserved(ctx) {
		pool = e.sight
	}
	acquiring, acquired := context.WithTimeout(ctx, e.timeout)
	conn, err := pool.Acquire(acquiring)
	acquired()
	if err != nil {
		return lost(ctx, err)
	}
	defer conn.Release() // a connection that is left within a transaction is closed by the pool
	t.conn = conn.Conn()
	defer t.abandon()
	if err := fn(t); err != nil {
		if t.fault != nil {
			return passing(t.fault) // what went wrong, not what fn made of it
		}
		return err
	}
	return passing(t.commit())
}

// lastTrip is what is left to a round trip whose caller goes: one that is cut short costs the database a connection,
// and callers who go come by the thousand.
const lastTrip = 250 * time.Millisecond

// passing marks a conflict of a View, which PostgreSQL has none of, but others that speak its protocol have, as a
// failure that may pass: fn has used what it has read, so that it is not run again here.
func passing(err error) error {
	if conflict(err) {
		return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	return err
}

// enter lets a transaction in, unless the engine is closed. Who came in calls inside.Done.
func (e *Engine) enter() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return store.ErrClosed
	}
	e.inside.Add(1)
	return nil
}

// conflict tells whether a transaction failed because of another and may succeed when it is run again:
// serialization_failure and deadlock_detected.
func conflict(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (pg.Code == "40001" || pg.Code == "40P01")
}

// unavailable marks err as the database's failure, which may pass. Its text has no connection string.
func unavailable(err error) error {
	if err == nil || errors.Is(err, store.ErrUnavailable) || conflict(err) {
		return err
	}
	return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
}

// lost is [unavailable] of a View. That its caller has gone is no failure of the database.
func lost(caller context.Context, err error) error {
	if gone := caller.Err(); err != nil && errors.Is(gone, context.Canceled) {
		return gone
	}
	return unavailable(err)
}

var _ store.Engine = (*Engine)(nil)
