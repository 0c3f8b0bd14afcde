package issuer

import (
	"context"
	"sync"
)

// turns lets guesses at one thing happen one after the other, so that who sends many at once cannot have them all
// looked at before the first one counts; and what is dear of one person, so that it is dear to nobody else.
type turns struct {
	mu    sync.Mutex
	lines map[string]*line // where somebody is
}

type line struct {
	turn   chan struct{} // full while as many have their turn as may
	people int           // who have their turn, or wait for it
}

// maxLine is how many may wait in one line.
const maxLine = 16

// take waits for a turn of the line of that name, which as many as atOnce may have. Who has it calls done. The error is
// that of ctx, or [*tooManyError] when the line is too long.
func (t *turns) take(ctx context.Context, name string, atOnce int) (done func(), err error) {
	t.mu.Lock()
	l := t.lines[name]
	if l == nil {
		if t.lines == nil {
			t.lines = make(map[string]*line)
		}
		l = &line{turn: make(chan struct{}, atOnce)}
		t.lines[name] = l
	}
	if l.people >= atOnce+maxLine {
		t.mu.Unlock()
		return nil, &tooManyError{RetryAfter: busyRetry}
	}
	l.people++
	t.mu.Unlock()

	leave := func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if l.people--; l.people == 0 {
			delete(t.lines, name)
		}
	}
	select {
	case l.turn <- struct{}{}:
		return func() { <-l.turn; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}
