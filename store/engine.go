// Package store is what is kept: the records of an issuer, their keys and their indexes, and the rules about them.
//
// An [Engine] is an ordered, transactional key-value store; badgerstore is one on disk, for a single node. Everything
// above it is written once, here: begin at [DB], whose View and Update hand out [Records].
package store

import (
	"context"
	"errors"
	"time"
)

// Engine is an ordered, transactional key-value store. Its methods may be called from any goroutine.
type Engine interface {
	// View runs fn on a consistent snapshot. fn writes nothing: Put and Delete answer [ErrReadOnly]. When ctx ends, what
	// fn reads may be answered with its error, and so View.
	View(ctx context.Context, fn func(Tx) error) error

	// Update runs fn in a serializable transaction and returns nil once what it wrote is on disk. fn may run more than
	// once, on another goroutine, and therefore has no effect outside its Tx. When fn returns an error nothing of it
	// is kept and Update returns that error, unwrapped. When ctx ends before fn began, Update returns its error and
	// nothing is written; once fn has begun, Update waits for the outcome, so that its answer is always the truth.
	Update(ctx context.Context, fn func(Tx) error) error

	// Ping tells whether the store can be read and written now.
	Ping(ctx context.Context) error

	// Close waits for running transactions, writes what is pending and lets the resources go. Calls that come later
	// answer [ErrClosed].
	Close() error
}

type reserved struct{}

// reserve marks what a node has to read to know what is revoked.
func reserve(ctx context.Context) context.Context { return context.WithValue(ctx, reserved{}, true) }

// Reserved tells whether a View must not wait until others have read: without it a node would answer nobody. An engine
// that has a limited number of connections keeps one for such a View: each [DB] has no more than one at a time.
func Reserved(ctx context.Context) bool { return ctx.Value(reserved{}) != nil }

// Tx is one transaction. It is valid until the function that received it returns, and belongs to one goroutine.
//
// A key has at least one byte. An engine takes keys of 2,000 bytes, values of a megabyte, and transactions that write
// 10,000 pairs and a megabyte; an update that wants more may be answered with [ErrTooLarge].
type Tx interface {
	// Get returns the value of key, which the caller may keep, or [ErrNotFound].
	Get(key []byte) ([]byte, error)

	// Put sets key to value. With a ttl above zero the pair vanishes after it, to the second; zero keeps it for good.
	// The caller may reuse both slices.
	Put(key, value []byte, ttl time.Duration) error

	// Delete removes key; removing what is not there is no error.
	Delete(key []byte) error

	// Scan calls fn with every pair whose key begins with prefix and is not less than from (nil: all), in ascending
	// order of the keys' bytes, this transaction's own writes included. It ends early when fn returns an error, and
	// returns that error; [ErrStop] ends it without one. key and value are valid during the call of fn only. fn does
	// not write to the transaction.
	Scan(prefix, from []byte, fn func(key, value []byte) error) error
}

// What engines answer. Callers compare with [errors.Is].
var (
	ErrNotFound = errors.New("store: not found")
	ErrReadOnly = errors.New("store: read-only transaction")
	ErrClosed   = errors.New("store: closed")
	ErrTooLarge = errors.New("store: transaction too large")
	ErrStop     = errors.New("store: stop scanning")

	// ErrUnavailable says that the disk is full or broken, or the connection lost: the same call may succeed later. After
	// an Update whose commit failed so, it may be unknown whether it is kept.
	ErrUnavailable = errors.New("store: not available")
)
