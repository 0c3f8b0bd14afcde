package verify

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
)

const (
	recordUse  = time.Minute // how often the use of a token or a session is recorded, at most
	maxUses    = 64 << 10    // that wait to be written; others are recorded when they come again
	usesAtOnce = 200         // that are written in one transaction
)

// uses are the uses of personal access tokens and sessions that are to be written.
type uses struct {
	mu      sync.Mutex
	waiting []*opaque
}

// note has the use of a token or a session recorded, unless that has been done not long ago.
func (u *uses) note(e *entry, now time.Time) {
	o := e.opaque
	last := o.used.Load()
	if now.UnixNano()-last < int64(o.every) || !o.used.CompareAndSwap(last, now.UnixNano()) {
		return
	}
	if o.session {
		o.until.Store(now.Add(o.length).UnixNano())
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.waiting) < maxUses {
		u.waiting = append(u.waiting, o)
	}
}

// run writes what waits each second until ctx is done, and once more then.
func (u *uses) run(ctx context.Context, db *store.DB) {
	second := time.NewTicker(time.Second)
	defer second.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			u.write(last, db)
			return
		case <-second.C:
			u.write(ctx, db)
		}
	}
}

// write writes what waits. What cannot be written is forgotten: it is written at the next use after a minute.
func (u *uses) write(ctx context.Context, db *store.DB) {
	u.mu.Lock()
	waiting := u.waiting
	u.waiting = nil
	u.mu.Unlock()
	for len(waiting) > 0 {
		n := min(len(waiting), usesAtOnce)
		if db.Update(ctx, func(r *store.Records) error { return record(r, waiting[:n]) }) != nil {
			return
		}
		waiting = waiting[n:]
	}
}

func record(r *store.Records, used []*opaque) error {
	tokens := make(map[string]time.Time)
	for _, o := range used {
		at := time.Unix(0, o.used.Load()).UTC()
		if !o.session {
			tokens[o.name] = at
			continue
		}
		s, err := r.Session(o.name)
		switch {
		case errors.Is(err, store.ErrNotFound):
			continue // it is over
		case err != nil:
			return err
		case !at.After(s.SeenAt):
			continue
		}
		s.SeenAt = at
		if until := at.Add(o.length); until.After(s.IdleUntil) {
			s.IdleUntil = until
		}
		if err := r.PutSession(s); err != nil {
			return err
		}
	}
	return r.TouchTokens(tokens)
}
