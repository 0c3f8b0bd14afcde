package store

import (
	"context"
	"maps"
	"time"
)

// Shared is what an [Engine] is too that other processes may write to. A [DB] on such a one follows what they revoke.
type Shared interface {
	Shared() bool
}

// How a [DB] follows the revocations of other nodes. A revocation is named by the time at which its transaction began,
// and is seen when that has committed, which takes less than recent as a rule. Now and then a look goes back as far as
// a slow transaction and the nodes' clocks may have put it.
const (
	followInterval = 75 * time.Millisecond
	recent         = 5 * time.Second
	sweepInterval  = 5 * time.Second
	longAgo        = 2 * time.Minute
	epochEvery     = 4 // looks, so that most of them ask the database once
)

// follower is what is known of the revocations of other nodes.
type follower struct {
	seen  map[string]time.Time // IDs of revocations that have been applied, and when
	looks int
	swept time.Time // when the last look back to longAgo began
	last  time.Time // by the wall clock, when the last look that was answered began
}

// Shared tells whether other nodes may write to the same records.
func (db *DB) Shared() bool { return db.shared }

// Behind is for how long nothing has been heard, at now, of what other nodes revoke. It is zero when there are none.
// now is a reading of the database's clock. It costs one atomic load.
func (db *DB) Behind(now time.Time) time.Duration {
	if !db.shared {
		return 0
	}
	return max(0, now.Sub(db.opened)-time.Duration(db.heard.Load()))
}

// follow applies what other nodes revoke, until ctx is done.
func (db *DB) follow(ctx context.Context) {
	ctx = reserve(ctx)
	f := follower{seen: make(map[string]time.Time), last: db.opened.Round(0)}
	ticker := time.NewTicker(followInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			db.look(ctx, &f)
		}
	}
}

// look applies what has come since the last look. When the engine does not answer, [DB.Behind] grows; when it answers
// again, all that was missed meanwhile is looked for.
func (db *DB) look(ctx context.Context, f *follower) {
	begun := db.now()
	back := recent
	thorough := begun.Sub(f.swept) >= sweepInterval
	// A machine that was suspended has a monotonic clock that stood still; the wall clock tells.
	if behind := max(db.Behind(begun), begun.Round(0).Sub(f.last)); thorough || behind > recent/2 {
		back = longAgo + behind
	}
	found := make(map[string]Revocation)
	in := epoch{Number: db.current.Load().number}
	f.looks++
	err := db.view(ctx, func(r *Records) (err error) {
		clear(found)
		if f.looks%epochEvery == 0 {
			if in, err = db.readEpoch(r.tx); err != nil {
				return err
			}
		}
		return r.revocationsSince(begun.Add(-back), func(id string, v Revocation) error {
			if _, known := f.seen[id]; !known {
				found[id] = v
			}
			return nil
		})
	})
	if err == nil && in.Number != db.current.Load().number {
		err = db.enter(ctx, in.Number) // another node has restored a backup
	}
	if err != nil {
		return
	}
	revoked := make([]Revocation, 0, len(found))
	for id, v := range found {
		f.seen[id] = begun
		revoked = append(revoked, v)
	}
	db.revocations.apply(revoked)
	db.heard.Store(int64(begun.Sub(db.opened)))
	f.last = begun.Round(0)
	if thorough {
		f.swept = begun
		maps.DeleteFunc(f.seen, func(_ string, at time.Time) bool { return begun.Sub(at) > 2*longAgo })
	}
}

// revocationsSince calls fn with the revocations whose transactions began at since or later, and their IDs.
func (r *Records) revocationsSince(since time.Time, fn func(id string, v Revocation) error) error {
	prefix := r.list(kindRevocation)
	from := append(append([]byte(nil), prefix...), idAt(since)...)
	return r.tx.Scan(prefix, from, func(key, value []byte) error {
		var v Revocation
		if err := decode(key, value, &v); err != nil {
			return err
		}
		if !v.Until.After(r.now) {
			return nil
		}
		return fn(string(key[len(prefix):]), v)
	})
}
